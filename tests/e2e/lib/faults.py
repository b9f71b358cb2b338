# SPDX-License-Identifier: MPL-2.0
"""The fault layers of tests/faults: plans, and which errors the kernel documents for which call."""

import errno
import mmap
import os
import struct
import subprocess

from . import netns

FOR_EVER = 0xffffffff
NOTHING, ALLOCATION, SHORT = -1, -2, 0
MAX_SYSCALL = 512
SIZE = 40 + 4 * MAX_SYSCALL

# As their manual pages have them, without EFAULT: no pointer of ours comes from outside, and a wrong
# one is a bug that sanitizers look for. Blocking is told as EAGAIN by calls that never block here.
# The most likely ones come first.
FILE = "ENOENT EACCES EIO ELOOP ENOMEM EROFS EPERM ENOTDIR"
DOCUMENTED = {
    "read": "EIO EINTR EAGAIN EBADF EINVAL EISDIR",
    "readv": "EIO EINTR EAGAIN EBADF EINVAL EISDIR",
    "write": "EIO EINTR EAGAIN ENOSPC EBADF EDQUOT EFBIG EINVAL EPERM EPIPE",
    "writev": "EIO EINTR EAGAIN ENOSPC EBADF EINVAL EPERM",
    "openat": "EMFILE ENOENT EACCES ENFILE ENOMEM ENODEV ENXIO EPERM EINTR ELOOP EBUSY ENOTDIR",
    "poll": "EINTR ENOMEM EINVAL",
    "ppoll": "EINTR ENOMEM EINVAL",
    "mmap": "ENOMEM EAGAIN EPERM EACCES EINVAL ENFILE ENODEV",
    "mprotect": "ENOMEM EACCES EINVAL",
    "munmap": "EINVAL ENOMEM",
    "madvise": "EINVAL ENOMEM EAGAIN EIO",
    "mlock": "ENOMEM EPERM EAGAIN",
    "mlock2": "ENOMEM EPERM EAGAIN",
    "rt_sigaction": "EINVAL",
    "ioctl": "EPERM ENOTTY EINVAL EBUSY ENODEV ENOMEM",
    "socket": "EMFILE ENFILE ENOBUFS ENOMEM EACCES EAFNOSUPPORT EINVAL EPROTONOSUPPORT",
    "connect": "ECONNREFUSED EACCES EPERM EAGAIN EINTR EADDRINUSE EBADF ENOTSOCK EPROTOTYPE ETIMEDOUT",
    "accept4": "EMFILE ENFILE ECONNABORTED EINTR EAGAIN ENOBUFS ENOMEM EPERM EPROTO EBADF EINVAL",
    "sendto": "EAGAIN ENOBUFS ENOMEM EINTR EPIPE ECONNRESET EACCES EBADF EINVAL EMSGSIZE ENOTCONN",
    "sendmsg": "EAGAIN ENOBUFS ENOMEM EINTR EHOSTUNREACH ENETUNREACH EPERM EACCES EINVAL EMSGSIZE"
               " ENETDOWN EIO EBADF",
    "sendmmsg": "EAGAIN ENOBUFS ENOMEM EINTR EHOSTUNREACH ENETUNREACH EPERM EACCES EINVAL EMSGSIZE"
                " ENETDOWN EIO EBADF",
    "recvfrom": "EAGAIN EINTR ENOMEM ENOBUFS ECONNREFUSED EBADF EINVAL ENOTCONN ENOTSOCK",
    "recvmsg": "EAGAIN EINTR ENOMEM ENOBUFS ECONNREFUSED EBADF EINVAL ENOTCONN ENOTSOCK",
    "recvmmsg": "EAGAIN EINTR ENOMEM ENOBUFS ECONNREFUSED EBADF EINVAL ENOTCONN ENOTSOCK",
    "bind": "EADDRINUSE EACCES EADDRNOTAVAIL ENOMEM EINVAL EBADF EROFS ENOENT",
    "listen": "EADDRINUSE EBADF ENOTSOCK EOPNOTSUPP",
    "setsockopt": "ENOPROTOOPT EINVAL EPERM ENOMEM EBADF ENOTSOCK",
    "getsockopt": "ENOPROTOOPT EINVAL EBADF ENOTSOCK",
    "getsockname": "ENOBUFS EINVAL EBADF ENOTSOCK",
    "fcntl": "EBADF EACCES EINTR EINVAL EMFILE EPERM",
    "mkdir": "EEXIST ENOSPC EDQUOT EMLINK " + FILE,
    "unlink": "EBUSY " + FILE,
    "chmod": FILE, "newfstatat": FILE, "access": FILE, "chdir": FILE, "statx": FILE,
    "readlink": "EINVAL " + FILE,
    "renameat2": "EEXIST EINVAL EBUSY ENOSPC " + FILE,
    "prctl": "EINVAL EPERM",
    "sched_getaffinity": "EINVAL ESRCH",
    "epoll_wait": "EINTR EBADF EINVAL",
    "epoll_pwait": "EINTR EBADF EINVAL",
    "epoll_pwait2": "EINTR ENOSYS EBADF EINVAL",
    "epoll_ctl": "ENOMEM ENOSPC EEXIST EBADF EINVAL ENOENT EPERM",
    "epoll_create1": "EMFILE ENFILE ENOMEM EINVAL",
    "eventfd2": "EMFILE ENFILE ENODEV ENOMEM EINVAL",
    "signalfd4": "EMFILE ENFILE ENODEV ENOMEM EINVAL EBADF",
    "inotify_init1": "EMFILE ENFILE ENOMEM EINVAL",
    "inotify_add_watch": "ENOSPC ENOMEM EACCES EBADF EINVAL ENOENT ENOTDIR",
    "prlimit64": "EPERM EINVAL ESRCH",
    "io_uring_setup": "ENOMEM EPERM EMFILE ENFILE ENOSYS EINVAL",
    "io_uring_register": "ENOMEM EINVAL EBADF EBUSY EMFILE ENXIO EOPNOTSUPP EACCES",
    "io_uring_enter": "EAGAIN EBUSY EINTR EBADF EBADFD EEXIST EINVAL ENXIO EOPNOTSUPP",
    "clone": "EAGAIN ENOMEM EPERM EINVAL",
    "clone3": "EAGAIN ENOMEM EPERM EINVAL",
    "setsid": "EPERM",
    "dup2": "EMFILE EBUSY EINTR EBADF",
    "close_range": "ENOSYS EMFILE ENOMEM EINVAL",
    "pipe2": "EMFILE ENFILE",
    "clock_nanosleep": "EINTR EINVAL",
    "seccomp": "EINVAL EACCES ENOSYS ENOMEM EPERM",
    "landlock_create_ruleset": "EOPNOTSUPP ENOSYS EINVAL",
    "landlock_add_rule": "EOPNOTSUPP EBADF EINVAL",
    "landlock_restrict_self": "EOPNOTSUPP EPERM EBADF EINVAL E2BIG",
    "capset": "EPERM EINVAL",
    "setgroups": "EPERM ENOMEM EINVAL",
    "setresuid": "EPERM EAGAIN EINVAL",
    "setresgid": "EPERM EAGAIN EINVAL",
}
# Never tried for ever: being interrupted, as a loop that tries again is right then, and a write that
# fails: all that is written to are eventfds, which can only be full, and the log.
NOT_FOR_EVER = {"write"}
# EBADFD of the TUN's ioctls is how an interface that is gone looks; EBADF is taken for the same.
# Not tried, because a failure without the effect does not exist or the C library does not survive
# it: close (the descriptor is gone whatever it returns), brk, uname, arch_prctl, rseq, and
# getrandom, without which libsodium ends the process at once, as it should.


def tool(name):
    """Path of a program of tests/faults, from the build of the daemon under test."""
    build = os.path.join(os.path.dirname(netns.ringtun_bin()), "..", "..")
    return os.path.realpath(os.path.join(build, "tests/faults", name))


def missing():
    """Why system calls can not be made to fail here, or None."""
    if not os.access(tool("inject"), os.X_OK):
        return "no tests/faults/inject in the daemon's build"
    with open("/dev/null", "wb") as null:
        path = os.path.join("/tmp", f"plan-{os.getpid()}")
        plan = Plan(path)
        r = subprocess.run([tool("inject"), path, "/bin/true"], stdout=null, stderr=null)
        plan.close()
    return "this kernel does not hand over system calls (seccomp)" if r.returncode else None


def numbers():
    """System calls by name."""
    out = subprocess.run([tool("inject"), "--names"], stdout=subprocess.PIPE, text=True).stdout
    return {name: int(n) for name, n in (line.split() for line in out.splitlines())}


class Plan:
    """What shall fail in one process (tests/faults/fault_plan.h)."""

    def __init__(self, path):
        self.path = path
        with open(path, "w+b") as f:
            f.write(struct.pack("<iiII", NOTHING, 0, 0, 0).ljust(SIZE, b"\0"))
            f.flush()
            self.map = mmap.mmap(f.fileno(), SIZE)

    def close(self):
        self.map.close()
        os.unlink(self.path)

    def _put(self, offset, form, value):
        struct.pack_into(form, self.map, offset, value)

    def _get(self, offset):
        return struct.unpack_from("<I", self.map, offset)[0]

    def arm(self, what, error, skip=0, times=1):
        self.disarm()
        self._put(16, "<I", 0)
        self._put(4, "<i", getattr(errno, error) if isinstance(error, str) else error)
        self._put(8, "<I", skip)
        self._put(12, "<I", times)
        self._put(0, "<i", what)

    def disarm(self):
        self._put(0, "<i", NOTHING)

    def reset(self):
        """For a process that is about to start."""
        self.map[16:SIZE] = b"\0" * (SIZE - 16)

    @property
    def n_failed(self):
        return self._get(16)

    @property
    def n_allocations(self):
        return self._get(24)

    @property
    def n_live(self):
        return self._get(28)

    def calls(self):
        """How often each system call was made, by number."""
        counts = struct.unpack_from(f"<{MAX_SYSCALL}I", self.map, 32)
        return {n: c for n, c in enumerate(counts) if c}

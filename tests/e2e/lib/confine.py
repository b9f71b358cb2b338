# SPDX-License-Identifier: MPL-2.0
"""Makes system calls fail for a process that is about to be started: hosts without IPv6, kernels
and containers without io_uring. Used as preexec_fn of subprocess.Popen."""

import ctypes
import errno
import os
import platform
import struct

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_ALLOW = 0x7FFF0000
LD_W_ABS, JEQ_K, RET_K = 0x20, 0x15, 0x06
OFFSET_NR, OFFSET_ARCH, OFFSET_ARG0, OFFSET_ARG1 = 0, 4, 16, 24

MACHINES = {  # AUDIT_ARCH_*, system call numbers
    "x86_64": (0xC000003E, {
        "socket": 41, "ptrace": 101, "capset": 126, "prctl": 157, "pivot_root": 155, "mount": 165,
        "umount2": 166, "swapon": 167, "reboot": 169, "init_module": 175, "quotactl": 179,
        "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272,
        "perf_event_open": 298, "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310,
        "process_vm_writev": 311, "finit_module": 313, "seccomp": 317, "bpf": 321,
        "userfaultfd": 323, "io_uring_setup": 425, "io_uring_enter": 426,
        "io_uring_register": 427, "clone3": 435, "landlock_create_ruleset": 444}),
    "aarch64": (0xC00000B7, {
        "umount2": 39, "mount": 40, "pivot_root": 41, "quotactl": 60, "capset": 91, "unshare": 97,
        "kexec_load": 104, "init_module": 105, "ptrace": 117, "reboot": 142, "prctl": 167,
        "socket": 198, "add_key": 217, "request_key": 218, "keyctl": 219, "swapon": 224,
        "perf_event_open": 241, "open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270,
        "process_vm_writev": 271, "finit_module": 273, "seccomp": 277, "bpf": 280,
        "userfaultfd": 282, "io_uring_setup": 425, "io_uring_enter": 426,
        "io_uring_register": 427, "clone3": 435, "landlock_create_ruleset": 444}),
}

# What the default profile of container engines denies, as far as a program like ours might notice.
CONTAINER_DENIES = (
    "ptrace", "pivot_root", "mount", "umount2", "swapon", "reboot", "init_module", "quotactl",
    "kexec_load", "add_key", "request_key", "keyctl", "unshare", "perf_event_open",
    "open_by_handle_at", "setns", "process_vm_readv", "process_vm_writev", "finit_module", "bpf",
    "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register")

libc = ctypes.CDLL(None, use_errno=True)


class SockFprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def supported():
    return platform.machine() in MACHINES


def program(syscall, error, arg0, arg1):
    """cBPF that answers @syscall (whose first arguments are @arg0 and @arg1, if given) with @error."""
    arch, numbers = MACHINES[platform.machine()]
    tests = [(OFFSET_ARCH, arch), (OFFSET_NR, numbers[syscall])]
    tests += [(offset, arg) for offset, arg in ((OFFSET_ARG0, arg0), (OFFSET_ARG1, arg1))
              if arg is not None]
    code = []
    for i, (offset, value) in enumerate(tests):
        to_allow = 2 * (len(tests) - 1 - i) + 1  # instructions between here and the last one
        code.append((LD_W_ABS, 0, 0, offset))
        code.append((JEQ_K, 0, to_allow, value))
    code.append((RET_K, 0, 0, SECCOMP_RET_ERRNO | error))
    code.append((RET_K, 0, 0, SECCOMP_RET_ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code), len(code)


def deny(syscall, error, arg0=None, arg1=None):
    """A function that denies @syscall to the calling process and its children for ever."""
    code, n = program(syscall, error, arg0, arg1)

    def install():
        prog = SockFprog(n, code)
        if not is_root() and libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or \
                libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(prog), 0, 0) != 0:
            os._exit(126)
    return install


def is_root():
    return os.geteuid() == 0  # who needs no no_new_privs, and shall not have it by accident


def all_of(*actions):
    """One preexec_fn that does several things, in order."""
    def run():
        for action in actions:
            action()
    return run


def container():
    """The default seccomp profile of a container engine. clone3 does not exist in there, so that the
    C library uses clone, whose flags a filter can read."""
    return all_of(*(deny(name, errno.EPERM) for name in CONTAINER_DENIES),
                  deny("clone3", errno.ENOSYS))

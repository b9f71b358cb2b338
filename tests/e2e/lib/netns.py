# SPDX-License-Identifier: MPL-2.0
"""Network namespaces, links and daemons for the end-to-end tests.

A Lab owns everything a test makes: namespaces, processes, a temporary directory, control
sockets. Leaving its `with` block removes all of it, also after an exception, SIGINT, SIGTERM or
SIGHUP. Names carry the process id, so that several scripts can run at once; what a killed script
left behind is removed by the next one (Lab.sweep).

    with Lab() as lab:
        a, b = lab.pair()                      # 192.0.2.1/.2, 2001:db8::1/::2 on a veth
        d = a.daemon()                         # RINGTUN_BIN -f IFNAME; waits for its socket
        a.run("ip", "link", "set", d.ifname, "up")
        lab.uapi(d.ifname, "get=1\\n\\n")
"""

import contextlib
import ctypes
import fcntl
import itertools
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
SOCKET_DIR = "/var/run/wireguard"
CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
SANITIZER_OPTIONS = ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS")

libc = ctypes.CDLL(None, use_errno=True)


def ringtun_bin():
    """Absolute path of the daemon under test."""
    path = os.environ.get("RINGTUN_BIN") or os.path.join(ROOT, "build/src/daemon/ringtun")
    return shutil.which(path) or os.path.abspath(path)


def wireguard_go_bin():
    """Absolute path of wireguard-go, or None."""
    return shutil.which(os.environ.get("WIREGUARD_GO", "wireguard-go"))


def is_wireguard_go(path):
    """Whether the daemon under test is wireguard-go, whose known differences tests may name."""
    return os.path.basename(path).startswith("wireguard-go")


def setns(fd):
    if libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def missing():
    """The reason why these tests can not run here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    for tool in ("ip", "wg"):
        if not shutil.which(tool):
            return f"needs the command {tool}"
    pid = os.fork()
    if pid == 0:  # a child, because its namespace must not be ours
        os._exit(probe_namespace())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {0: None, 2: "network namespaces can not be made"}.get(code, "no usable /dev/net/tun")


def require():
    """Ends the process, after saying why, if nothing can run here."""
    reason = missing()
    if reason:
        print(f"skip all: {reason}")
        sys.exit(77)
    if not os.access(ringtun_bin(), os.X_OK):
        print(f"not ok setup: no daemon at {ringtun_bin()}: build it or set RINGTUN_BIN")
        sys.exit(1)


def probe_namespace():
    if libc.unshare(CLONE_NEWNET) != 0:
        return 2
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"probe0", 0x1001))
    except OSError:
        return 3
    return 0


def wait_until(condition, timeout=5.0, step=0.01):
    """Polls @condition until it is true; returns its last value."""
    end = time.monotonic() + timeout
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(step)
    return value


class Netns:
    """One network namespace of a lab."""

    def __init__(self, lab, name):
        self.lab = lab
        self.name = name

    def argv(self, *args):
        return ["ip", "netns", "exec", self.name, *map(str, args)]

    def run(self, *args, check=True, timeout=60, **kw):
        """Runs a command to its end; stdout and stderr are text. Raises when it fails."""
        kw = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **kw}
        r = subprocess.run(self.argv(*args), timeout=timeout, **kw)
        if check and r.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, args))}: {r.returncode}: {r.stderr}")
        return r

    def out(self, *args, **kw):
        return self.run(*args, **kw).stdout

    def popen(self, *args, **kw):
        """Starts a command; the lab ends it. `ip netns exec` execs, so .pid is the command's."""
        return self.lab.adopt(subprocess.Popen(self.argv(*args), **kw))

    def sysctl(self, key, value):
        self.run("sysctl", "-qw", f"{key}={value}")

    def has_link(self, ifname):
        return self.run("ip", "link", "show", "dev", ifname, check=False).returncode == 0

    @contextlib.contextmanager
    def enter(self):
        """Sockets made in this block (by this thread) live in the namespace."""
        with open("/proc/thread-self/ns/net") as old, open(f"/run/netns/{self.name}") as new:
            setns(new.fileno())
            try:
                yield
            finally:
                setns(old.fileno())

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_DGRAM, protocol=0):
        with self.enter():
            return socket.socket(family, kind, protocol)

    def pids(self):
        r = subprocess.run(["ip", "netns", "pids", self.name], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True)
        return [int(p) for p in r.stdout.split()]

    def daemon(self, ifname=None, binary=None, args=("-f",), env=None, wait=True, **kw):
        """Starts the daemon under test in the foreground and waits for its control socket."""
        d = Daemon(self, ifname or self.lab.ifname(), binary or ringtun_bin(), args, env, **kw)
        if wait:
            d.wait_socket()
        return d

    def background(self, ifname=None, binary=None, args=(), env=None, timeout=15, **kw):
        """Starts the daemon as wg-quick does and returns what its parent process did."""
        ifname = ifname or self.lab.ifname()
        self.lab.own_socket(ifname)
        before = self.pids()
        start = time.monotonic()
        r = self.run(binary or ringtun_bin(), *args, ifname, check=False, timeout=timeout,
                     env=self.lab.environment(env), stdin=subprocess.DEVNULL, **kw)
        return Background(self, ifname, r, time.monotonic() - start, before)


class Background:
    """A daemon in the background: .status, .stdout and .stderr are its parent's."""

    def __init__(self, ns, ifname, result, seconds, before):
        self.ifname = ifname
        self.status, self.stdout, self.stderr = result.returncode, result.stdout, result.stderr
        self.seconds = seconds
        self.pids = [p for p in ns.pids() if p not in before]

    @property
    def pid(self):
        (pid,) = self.pids
        return pid

    def alive(self):
        return any(process_state(p) not in ("Z", "X", None) for p in self.pids)


class Daemon:
    """A daemon in the foreground. Its output goes to .log_path."""

    def __init__(self, ns, ifname, binary, args, env, **kw):
        self.ns = ns
        self.ifname = ifname
        self.log_path = os.path.join(ns.lab.dir, f"{ifname}.{next(ns.lab.count)}.log")
        ns.lab.own_socket(ifname)
        with open(self.log_path, "wb") as log:
            kw = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **kw}
            self.process = ns.popen(binary, *args, ifname, env=ns.lab.environment(env), **kw)
        self.pid = self.process.pid

    def wait_socket(self, timeout=10):
        def ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"daemon ended early: {self.process.returncode}: {self.log()}")
            return socket_answers(self.ifname)
        if not wait_until(ready, timeout):
            raise RuntimeError(f"no answer on {socket_path(self.ifname)}: {self.log()}")

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def alive(self):
        return self.process.poll() is None

    def wait(self, timeout=5):
        """Exit status; raises subprocess.TimeoutExpired."""
        return self.process.wait(timeout)

    def stop(self, sig=signal.SIGTERM, timeout=5):
        """Ends it and returns (exit status, seconds it took)."""
        start = time.monotonic()
        self.process.send_signal(sig)
        return self.process.wait(timeout), time.monotonic() - start

    def fds(self):
        """What each open descriptor points to."""
        fds = {}
        for n in os.listdir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                fds[int(n)] = os.readlink(f"/proc/{self.pid}/fd/{n}")
        return fds

    def rss_kib(self):
        with open(f"/proc/{self.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


def socket_path(ifname):
    return f"{SOCKET_DIR}/{ifname}.sock"


def has_socket(ifname):
    try:
        return stat.S_ISSOCK(os.lstat(socket_path(ifname)).st_mode)
    except OSError:  # not there, or a name that no file can have
        return False


def uapi_connect(ifname, timeout=5):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # As wg(8) does: a blocking connect, which waits while the backlog is full.
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(timeout), 0))
    try:
        s.connect(socket_path(ifname))
    except OSError:
        s.close()
        raise
    s.settimeout(timeout)
    return s


def socket_answers(ifname):
    try:
        uapi_connect(ifname, 1).close()
        return True
    except OSError:
        return False


class Lab:
    """Owner of everything a test makes."""

    PREFIX = "rtun"

    def __init__(self):
        self.count = itertools.count(1)
        self.namespaces = []
        self.processes = []
        self.ifnames = []
        self.undo = []
        self.dir = None
        self.old_handlers = {}

    # Life cycle

    def __enter__(self):
        self.sweep()
        self.dir = tempfile.mkdtemp(prefix=f"{self.PREFIX}-{os.getpid()}-")
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self.old_handlers[sig] = signal.signal(sig, interrupted)
        return self

    def __exit__(self, *exc):
        for sig in self.old_handlers:  # a second Ctrl-C must not leave half of it behind
            signal.signal(sig, signal.SIG_IGN)
        try:
            self.close()
        finally:
            for sig, handler in self.old_handlers.items():
                signal.signal(sig, handler)

    def end_processes(self):
        """Ends everything that runs in the lab, daemons in the background included."""
        for ns in self.namespaces:
            end_pids(ns.pids())

    def close(self):
        for action in reversed(self.undo):
            with contextlib.suppress(Exception):
                action()
        self.end_processes()
        for p in self.processes:
            if p.poll() is None:
                p.kill()
            p.wait()
            for pipe in (p.stdin, p.stdout, p.stderr):
                if pipe:
                    pipe.close()
        for ns in self.namespaces:
            delete_namespace(ns.name)
        for ifname in self.ifnames:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(socket_path(ifname))
        shutil.rmtree(self.dir, ignore_errors=True)

    def on_close(self, action):
        """Runs @action before the rest is removed, newest first."""
        self.undo.append(action)

    @classmethod
    def sweep(cls):
        """Removes namespaces of scripts that were killed before they could."""
        for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
            part = name.split("-")
            if part[0] == cls.PREFIX and len(part) == 3 and not os.path.exists(f"/proc/{part[1]}"):
                r = subprocess.run(["ip", "netns", "pids", name], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True)
                end_pids([int(p) for p in r.stdout.split()])
                delete_namespace(name)

    # Making things

    def netns(self):
        """A new namespace with lo up."""
        ns = Netns(self, f"{self.PREFIX}-{os.getpid()}-{next(self.count)}")
        self.namespaces.append(ns)
        subprocess.run(["ip", "netns", "add", ns.name], check=True)
        ns.run("sh", "-c", "ip link set lo up; echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad;"
               "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad")
        return ns

    def link(self, a, b, name_a="veth0", name_b="veth0", net=0, mtu=1500):
        """Joins two namespaces: 192.0.(2+@net).1 and .2, 2001:db8:@net::1 and ::2."""
        # Unequal ifindices: with equal ones the kernel announces the carrier up to a second late.
        index = 100 + 2 * next(self.count)
        a.run("ip", "link", "add", name_a, "index", index, "mtu", mtu, "type", "veth",
              "peer", "name", name_b, "index", index + 1, "mtu", mtu, "netns", b.name)
        for ns, dev, host in ((a, name_a, 1), (b, name_b, 2)):
            ns.run("ip", "addr", "add", f"192.0.{2 + net}.{host}/24", "dev", dev)
            ns.run("ip", "-6", "addr", "add", f"2001:db8:{net:x}::{host}/64", "dev", dev, "nodad")
            ns.run("ip", "link", "set", dev, "up")

    def pair(self, mtu=1500):
        """Two namespaces joined by a veth pair: 192.0.2.1 and .2, 2001:db8:0::1 and ::2."""
        a, b = self.netns(), self.netns()
        self.link(a, b, mtu=mtu)
        return a, b

    def ifname(self):
        """A name for a tunnel interface, unique on the machine: the socket directory is shared
        by all namespaces."""
        name = f"rt{os.getpid() % 10**7}x{next(self.count)}"
        self.own_socket(name)
        return name

    def own_socket(self, ifname):
        if ifname not in self.ifnames:
            self.ifnames.append(ifname)

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.path(name), "w", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(text)
        return self.path(name)

    def adopt(self, process):
        self.processes.append(process)
        return process

    def environment(self, extra=None):
        """The environment of a daemon: no variable of ours steers it but @extra, sanitizers
        report into the lab (their stderr is /dev/null in the background)."""
        env = {k: v for k, v in os.environ.items()
               if not k.startswith(("RINGTUN_", "WG_")) and k != "LOG_LEVEL"}
        for key in SANITIZER_OPTIONS:
            env[key] = ":".join(filter(None, (env.get(key), f"log_path={self.path('sanitizer')}")))
        for key, value in (extra or {}).items():
            env[key] = str(value)
        return env

    def sanitizer_reports(self):
        """What a sanitizer had to say about any daemon of this lab."""
        reports = []
        for name in sorted(os.listdir(self.dir)):
            if name.startswith("sanitizer."):
                with open(self.path(name), errors="replace") as f:
                    reports.append(f.read())
        return "\n".join(reports)

    # Talking to daemons

    @staticmethod
    def uapi(ifname, text, timeout=5):
        """Sends one transaction and returns its reply up to and without the empty line."""
        with uapi_connect(ifname, timeout) as s:
            s.sendall(text.encode())
            reply = b""
            while not reply.endswith(b"\n\n") and (chunk := s.recv(65536)):
                reply += chunk
        return reply.decode().removesuffix("\n\n")

    def drops(self):
        """Why the daemons of this lab dropped packets, as far as they tell."""
        text = []
        for ifname in self.ifnames:
            with contextlib.suppress(OSError):
                lines = self.uapi(ifname, "status=1\n\n", timeout=1).splitlines()
                text += [f"{ifname} {line}" for line in lines
                         if line.startswith("drop_") and not line.endswith(("=0", ": 0"))]
        return "; ".join(text)


def interrupted(sig, _frame):
    sys.exit(128 + sig)


def end_pids(pids, grace=2.0):
    """SIGTERM, then SIGKILL, for processes inside a namespace of ours."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)
        pids = wait_gone(pids, grace)
        if not pids:
            return


def wait_gone(pids, timeout):
    """Those of @pids that are still running (zombies are not) after @timeout seconds."""
    left = list(pids)

    def gone():
        left[:] = [p for p in left if process_state(p) not in ("Z", "X", None)]
        return not left
    wait_until(gone, timeout)
    return left


def process_state(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def delete_namespace(name):
    subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL, check=False)

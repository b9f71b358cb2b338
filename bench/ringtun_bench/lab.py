# SPDX-License-Identifier: MPL-2.0
"""Owner of everything that a run makes: namespaces, processes, control sockets, a temporary
directory, changed kernel settings. Leaving its `with` block takes all of it back, whatever happened
inside; what a killed run left is removed by the next one (sweep). Touches nothing that it did not
make: namespaces carry the process id of their run, and only processes inside of them are ended.
"""

import contextlib
import ctypes
import fcntl
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

from .accounting import is_running
from .errors import BenchError

PREFIX = "rtb"
SOCKET_DIR = "/var/run/wireguard"
STATE_DIR = "/run/ringtun-bench"
LOCK_WAIT_SEC = 900
CONGESTION_CONTROL = "cubic"  # the kernel's default; that of a machine may pace by timers
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

libc = ctypes.CDLL(None, use_errno=True)


def wait_until(condition, timeout=5.0, step=0.01):
    """Polls @condition until it is true; returns its last value."""
    end = time.monotonic() + timeout
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(step)
    return value


def command(*args, step, **kw):
    """Runs a command to its end and returns its output; BenchError names @step."""
    args = [str(a) for a in args]
    try:
        r = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                           timeout=kw.pop("timeout", 60), **kw)
    except FileNotFoundError:
        raise BenchError(step, f"the command {args[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise BenchError(step, f"{' '.join(args)[:200]}: no end in sight") from None
    if r.returncode != 0:
        said = (r.stderr.strip() or r.stdout.strip() or f"exit status {r.returncode}")[-500:]
        raise BenchError(step, f"{' '.join(args)[:200]}: {said}")
    return r.stdout


def end_processes(pids, grace=2.0):
    """SIGTERM, then SIGKILL after @grace seconds."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)
        wait_until(lambda: not any(map(is_running, pids)), grace)
        pids = [p for p in pids if is_running(p)]
        if not pids:
            return


def congestion_controls():
    """What TCP can be told to use here."""
    with open("/proc/sys/net/ipv4/tcp_available_congestion_control") as f:
        return f.read().split()


def namespace_pids(name):
    r = subprocess.run(["ip", "netns", "pids", name], stdout=subprocess.PIPE,
                       stderr=subprocess.DEVNULL, text=True, check=False)
    return [int(p) for p in r.stdout.split()]


def delete_namespace(name):
    end_processes(namespace_pids(name))
    subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL, check=False)


class Namespace:
    def __init__(self, lab, name):
        self.lab = lab
        self.name = name

    def argv(self, *args):
        return ["ip", "netns", "exec", self.name, *map(str, args)]

    def run(self, *args, step, **kw):
        return command(*self.argv(*args), step=step, **kw)

    def start(self, *args, **kw):
        """Starts a command; the lab ends it. `ip netns exec` execs: .pid is the command's."""
        return self.lab.start(self.argv(*args), **kw)

    def pids(self):
        return namespace_pids(self.name)

    def sysctl(self, key, value):
        self.run("sysctl", "-qw", f"{key}={value}", step=f"setting {key}")

    def set_congestion_control(self, name):
        self.sysctl("net.ipv4.tcp_congestion_control", name)


class Lab:
    """What a run or a case owns. Labs nest: a case's lab lives inside of the run's."""

    numbers = itertools.count(1)

    def __init__(self, cpus=None):
        self.cpus = cpus  # processes are pinned to these; None = all
        self.namespaces = []
        self.processes = []
        self.ifnames = []

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix=f"ringtun-bench-{os.getpid()}-")
        return self

    def __exit__(self, *exc):
        # All at once: daemons that wait for nothing share the grace period.
        end_processes([p for ns in self.namespaces for p in ns.pids()])
        for process in self.processes:
            self.bury(process)
        for ns in self.namespaces:
            delete_namespace(ns.name)
        for ifname in self.ifnames:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(socket_path(ifname))
        reap_orphans({p.pid for p in self.processes})
        shutil.rmtree(self.dir, ignore_errors=True)

    @staticmethod
    def bury(process):
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()

    def namespace(self):
        """A new namespace with lo up."""
        name = f"{PREFIX}-{os.getpid()}-{next(self.numbers)}"
        step = "making a network namespace"
        command("ip", "netns", "add", name, step=step)
        ns = Namespace(self, name)
        self.namespaces.append(ns)
        command("ip", "-n", name, "link", "set", "lo", "up", step=step)
        ns.run("sh", "-c", "for i in all default; do echo 0 >/proc/sys/net/ipv6/conf/$i/accept_dad;"
               " done; true", step=step)
        if CONGESTION_CONTROL in congestion_controls():
            ns.set_congestion_control(CONGESTION_CONTROL)
        return ns

    def link(self, a, b, net=0, dev="veth0"):
        """Joins two namespaces: 192.0.(2+@net).1 and .2 on a veth pair."""
        # Unequal ifindices: with equal ones the kernel announces the carrier up to a second late.
        index, step = 100 + 2 * next(self.numbers), "making a veth pair"
        command("ip", "-n", a.name, "link", "add", dev, "index", index, "type", "veth", "peer", "name",
                dev, "index", index + 1, "netns", b.name, step=step)
        for ns, host in ((a, 1), (b, 2)):
            command("ip", "-n", ns.name, "addr", "add", f"192.0.{2 + net}.{host}/24", "dev", dev,
                    step=step)
            command("ip", "-n", ns.name, "link", "set", dev, "up", step=step)

    def ifname(self):
        """Unique on the machine: all namespaces share the directory of the control sockets."""
        name = f"rtb{os.getpid() % 10**6}x{next(self.numbers)}"
        self.ifnames.append(name)
        return name

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        path = self.path(name)
        with open(path, "w", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(text)
        return path

    def start(self, argv, **kw):
        cpus = self.cpus

        def prepare():  # in the child
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if cpus:
                os.sched_setaffinity(0, cpus)
        kw = {"stdin": subprocess.DEVNULL, "text": True, **kw}
        process = subprocess.Popen([str(a) for a in argv], preexec_fn=prepare, **kw)
        self.processes.append(process)
        return process


def socket_path(ifname):
    return f"{SOCKET_DIR}/{ifname}.sock"


def reap_orphans(known):
    """Daemons that put themselves into the background are our children since their parent ended
    (we are their subreaper); zombies of theirs go here."""
    with contextlib.suppress(ChildProcessError):
        while (child := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)):
            if child.si_pid in known:
                return  # its Popen object waits for it
            os.waitpid(child.si_pid, 0)


class Settings:
    """Kernel settings that a run changes for the whole machine, and puts back. They are noted in a
    file first, so that the next run can put back what a killed one could not."""

    AUTOGROUP = "/proc/sys/kernel/sched_autogroup_enabled"

    def __init__(self):
        self.path = os.path.join(STATE_DIR, f"{os.getpid()}.json")
        self.saved = {}

    def __enter__(self):
        # With autogroups the scheduler shares CPUs between sessions, not processes: a daemon that
        # called setsid() gets half of the machine against all processes of the benchmark.
        self.change(self.AUTOGROUP, "0")
        return self

    def change(self, path, value):
        try:
            with open(path) as f:
                old = f.read().strip()
        except OSError:
            return
        if old == value:
            return
        self.saved[path] = old
        with open(self.path, "w") as f:
            json.dump(self.saved, f)
        with contextlib.suppress(OSError), open(path, "w") as f:
            f.write(value)

    def __exit__(self, *exc):
        restore(self.path)


def restore(path):
    with contextlib.suppress(OSError, ValueError):
        with open(path) as f:
            saved = json.load(f)
        for name, value in saved.items():
            with contextlib.suppress(OSError), open(name, "w") as f:
                f.write(value)
        os.unlink(path)


def sweep():
    """Removes what runs that were killed left behind."""
    for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
        part = name.split("-")
        if len(part) == 3 and part[0] == PREFIX and not os.path.exists(f"/proc/{part[1]}"):
            delete_namespace(name)
    for name in os.listdir(STATE_DIR):
        pid = name.removesuffix(".json")
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            restore(os.path.join(STATE_DIR, name))


@contextlib.contextmanager
def exclusive(note):
    """One benchmark at a time: two would measure each other."""
    os.makedirs(STATE_DIR, exist_ok=True)
    with open(os.path.join(STATE_DIR, "lock"), "w") as lock:
        end = time.monotonic() + LOCK_WAIT_SEC
        is_told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise BenchError("start", "another ringtun-bench is still running") from None
            if not is_told:
                note("another ringtun-bench is running: waiting for its end")
                is_told = True
            time.sleep(0.5)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
        sweep()
        yield


def check_environment():
    """BenchError unless namespaces can be made here."""
    if os.geteuid() != 0:
        raise BenchError("start", "needs root, to make network namespaces and interfaces")
    for tool, package in (("ip", "iproute2"), ("wg", "wireguard-tools"), ("sysctl", "procps")):
        if not shutil.which(tool):
            raise BenchError("start", f"needs the command {tool} (package {package})")

#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""System calls and allocations that fail. Each call that the daemon makes fails with the errors that
the kernel documents for it: while it starts, and while it is configured, shakes hands and carries
packets. It must go on, or end with status 1 and a message; it never crashes, hangs, applies half of a
`set`, or keeps what it should have given back; and once the fault is over, packets pass again.

By default with a few errors per call; E2E_LONG=1: all, once, ten times and for ever, at each place.
TEST_CALLS="mmap clone3": only these calls."""

import contextlib
import os
import signal
import subprocess
import time

from lib import faults, netns, report
from lib.faults import FOR_EVER, Plan
from lib.life import set_link
from lib.netns import socket_answers, uapi_connect, wait_until
from lib.report import case, check, equal, skip
from lib.tunnel import Tunnel, to_hex, wg_out

LONG = bool(os.environ.get("E2E_LONG"))
ONLY = os.environ.get("TEST_CALLS", "").split()
LIMIT = 1700 if LONG else 140
START_SECONDS = 8  # under a fault, on a busy machine
REMOVED = "the control socket was removed"  # what ENOENT of lstat() makes it believe (U-072)
RECOVER_SECONDS = 20  # the protocol tries again after 5 s, the interface's state after 1 s


def need_tools():
    reason = faults.missing()
    if reason:
        skip(reason)


def tell(text):
    if os.environ.get("E2E_VERBOSE"):
        print(f"# {text}", flush=True)


def verdict(problems, n):
    """@problems by what failed."""
    print(f"# {n} faults", flush=True)
    check(n > 0, "nothing failed")
    check(not problems, f"{len(problems)} of {n}: " + "; ".join(problems))


# While it starts

class Start:
    """One start of the daemon under a plan, judged."""

    def __init__(self, lab, ns, plan, engine, background=False):
        self.lab, self.ns, self.plan = lab, ns, plan
        self.ifname = lab.ifname()
        self.log_path = lab.path(f"{self.ifname}.log")
        self.file_path = lab.path(f"{self.ifname}.file")
        self.in_background = background
        self.args = ["--verbosity=info", f"--log={self.file_path}" if background else "-f"]
        self.env = lab.environment({"RINGTUN_IO": engine})
        self.pids = []

    def launch(self, wrapper, env=None):
        with open(self.log_path, "wb") as log:
            return self.ns.popen(*wrapper, netns.ringtun_bin(), *self.args, self.ifname,
                                 env={**self.env, **(env or {})}, stdin=subprocess.DEVNULL,
                                 stdout=log, stderr=log)

    def log(self):
        text = ""
        for path in (self.log_path, self.file_path):
            with contextlib.suppress(FileNotFoundError), open(path, errors="replace") as f:
                text += f.read()
        return text.strip()

    def judge(self, wrapper, env=None):
        """None, or what is wrong."""
        p = self.launch(wrapper, env)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait_ready(p)
        if p.poll() is not None and (p.returncode != 0 or not self.in_background):
            self.plan.disarm()
            return self.judge_end(p.returncode)
        self.plan.disarm()
        return self.judge_running(p)

    def wait_ready(self, p):
        end = time.monotonic() + START_SECONDS
        while p.poll() is None and time.monotonic() < end and not socket_answers(self.ifname):
            time.sleep(0.003)
        if self.in_background:
            p.wait(START_SECONDS)

    def judge_end(self, status):
        if status == 0 and REMOVED in self.log():
            return self.judge_left_over()
        if status != 1:
            return f"exit status {status}: {self.log()[-300:]}"
        if "ringtun: " not in self.log() and "ERROR" not in self.log():
            return "ended without a message"
        return self.judge_left_over()

    def judge_left_over(self):
        if not wait_until(lambda: not netns.has_socket(self.ifname), 3):
            return "left its socket behind"
        # without an orderly end io_uring holds it for some more milliseconds
        if not wait_until(lambda: not self.ns.has_link(self.ifname), 2):
            return "left its interface behind"
        return None

    def judge_gone(self):
        """In the background it may end after it was ready, and then only the log can tell."""
        log = self.log()
        if "ERROR: " not in log and REMOVED not in log:
            return f"ended without a message: {log[-300:]}"
        return self.judge_left_over()

    def judge_running(self, p):
        try:
            reply = self.lab.uapi(self.ifname, "get=1\n\n", timeout=START_SECONDS)
        except OSError as e:  # it may just be ending
            if self.in_background:
                if wait_until(lambda: not self.daemons(), 3):
                    return self.judge_gone()
            elif wait_until(lambda: p.poll() is not None, 3):
                return self.judge_end(p.returncode)
            return f"does not answer ({e}): {self.log()[-300:]}"
        if not reply.endswith("errno=0"):
            return f"says {reply!r}"
        if not self.in_background:
            p.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return None if p.wait(START_SECONDS) == 0 else f"ended with {p.returncode}"
            return "does not end"
        pids = self.daemons()
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        if not netns.wait_gone(pids, START_SECONDS):
            return None
        for pid in pids:  # it shall not be taken for the next one
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return "does not end"

    def daemons(self):
        return [x for x in self.ns.pids() if is_daemon(x)]


def is_daemon(pid):
    """Not the fault layer's process, nor the daemon's own that removes the socket."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f, \
            open(f"/proc/{pid}/comm") as comm:
        program = os.path.basename(f.read().split(b"\0")[0])
        return program == b"ringtun" and "sweeper" not in comm.read()
    return False


def can_last(name, error):
    return error != "EINTR" and name not in faults.NOT_FOR_EVER


# What differs from the case before; the rest is tried again with E2E_LONG only.
WITH_URING = {"io_uring_setup", "io_uring_register", "io_uring_enter", "mmap"}
TO_BACKGROUND = {"setsid", "chdir", "dup2", "dup3", "close_range", "pipe2", "clone", "openat"}
WITH_POLL = {"readv", "writev", "recvmmsg", "recvmsg", "sendmmsg", "epoll_wait", "epoll_pwait2"}


def chosen(calls, some):
    """(name, number, number of calls, errors) of the calls to make fail."""
    for name, number in faults.numbers().items():
        errors = faults.DOCUMENTED.get(name, "").split()
        is_wanted = name in ONLY if ONLY else LONG or not some or name in some
        if calls.get(number) and errors and is_wanted:
            yield name, number, calls[number], errors


def start_plans(calls, some):
    """(name, number, error, skip, times) for all that was called."""
    for name, number, n_calls, errors in chosen(calls, some):
        for error in errors if LONG else errors[:1]:
            if can_last(name, error):
                yield name, number, error, 0, FOR_EVER
        for error in errors if LONG else errors[:1]:
            yield name, number, error, 0, 1
            if LONG:
                yield name, number, error, 0, 10
        # every place once; of calls that are made often, for the same thing, the first
        for place in range(1, min(n_calls, 200 if LONG else 3)):
            yield name, number, errors[place % len(errors)], place, 1
            if LONG and name == "mmap":  # no more memory from there on
                yield name, number, "ENOMEM", place, FOR_EVER


def start_faults(lab, engine, some=None, background=False):
    need_tools()
    ns, plan = lab.netns(), Plan(lab.path("plan"))
    wrapper = (faults.tool("inject"), plan.path)
    problems, n = [], 0
    problem = Start(lab, ns, plan, engine, background).judge(wrapper)
    check(not problem, f"without a fault: {problem}")
    calls = plan.calls()
    for name, number, error, place, times in start_plans(calls, some):
        plan.reset()
        plan.arm(number, error, place, times)
        problem = Start(lab, ns, plan, engine, background).judge(wrapper)
        n += plan.n_failed > 0
        tell(f"{name} {error} at {place} x {times}: {problem or 'good'}")
        if problem:
            problems.append(f"{name} {error} at {place} x {times}: {problem}")
    verdict(problems, n)


@case("each system call fails during the start, poll", timeout=LIMIT)
def start_poll(lab):
    start_faults(lab, "poll")


@case("each system call fails during the start, io_uring", timeout=LIMIT)
def start_uring(lab):
    start_faults(lab, "auto", WITH_URING)


@case("each system call fails on the way to the background", timeout=LIMIT)
def start_background(lab):
    start_faults(lab, "poll", TO_BACKGROUND, background=True)


# While it works

class Rig:
    """A tunnel whose first end has faults."""

    def __init__(self, lab, engine, wrapper, env=None):
        self.lab = lab
        self.plan = Plan(lab.path(f"plan{next(lab.count)}"))
        self.env = {"RINGTUN_IO": engine, **(env(self.plan) if env else {})}
        self.wrapper = [x.replace("PLAN", self.plan.path) for x in wrapper]
        self.t = Tunnel(lab, binary_a=self.wrapper[0], env_a=self.env,
                        args_a=(*self.wrapper[1:], netns.ringtun_bin(), "-f", "--verbosity=info"),
                        both_endpoints=True)
        self.a, self.b = self.t.a, self.t.b
        self.number = 0
        self.open_sockets()
        check(self.passes(RECOVER_SECONDS), "no traffic without a fault")
        self.fds = len(self.a.daemon.fds())

    def open_sockets(self):
        self.sa, self.sb = self.a.ns.socket(), self.b.ns.socket()
        self.sa.bind(("0.0.0.0", 7))
        self.sb.bind(("0.0.0.0", 7))
        self.sb.setblocking(False)

    def send(self, may_answer=True):
        with contextlib.suppress(OSError):
            self.sa.sendto(b"%d" % self.number, (self.b.v4, 7))
        if may_answer:
            with contextlib.suppress(OSError):
                self.sb.sendto(b"back", (self.a.v4, 7))

    def passes(self, seconds):
        """Whether a packet from now reaches the other end, and one comes back."""
        self.number += 1
        there = back = False
        begin = time.monotonic()
        end = begin + seconds
        with contextlib.suppress(OSError):
            while self.sa.recv(64, 0x40):
                pass
        while not (there and back) and time.monotonic() < end and self.a.daemon.alive():
            # One end first: initiations that cross undo each other, and here, where an injected
            # system call takes milliseconds, they would cross at each try.
            self.send(may_answer=there or time.monotonic() > begin + 7)
            pause = time.monotonic() + 0.05
            while time.monotonic() < pause and not (there and back):
                with contextlib.suppress(BlockingIOError):
                    there |= self.sb.recv(64) == b"%d" % self.number
                with contextlib.suppress(OSError):
                    back |= self.sa.recv(64, 0x40) == b"back"
                time.sleep(0.001)
        return there and back

    def get(self):
        """Settings, without what changes by itself."""
        lines = self.lab.uapi(self.a.ifname, "get=1\n\n", timeout=5).splitlines()
        return [x for x in lines if not x.startswith(
            ("last_handshake", "rx_bytes", "tx_bytes", "endpoint="))]

    def set_text(self, i):
        """A change of everything that `set` can change."""
        return "\n".join([
            "set=1", f"private_key={to_hex(self.a.keys.private)}",
            f"listen_port={51820 + 100 + i % 2}", f"fwmark={i % 2}",
            f"public_key={to_hex(self.b.keys.public)}", f"persistent_keepalive_interval={25 + i}",
            f"allowed_ip=10.99.{i % 250}.0/24", f"allowed_ip=fd99:{i:x}::/32",
            f"public_key={i + 1:064x}", f"allowed_ip=10.98.{i % 250}.0/24", "", ""])

    def attempt_set(self, i):
        """The errno that `set` gave; None: the connection ended without a reply."""
        try:
            reply = self.lab.uapi(self.a.ifname, self.set_text(i), timeout=2)
        except OSError:
            return None
        return int(reply.removeprefix("errno=")) if reply.startswith("errno=") else None

    def handshake(self):
        """The other end forgets us and begins anew, and so do we."""
        peer = f"public_key={to_hex(self.a.keys.public)}\n"
        self.lab.uapi(self.b.ifname, f"set=1\n{peer}remove=true\n{peer}"
                      f"endpoint={self.t.outer_endpoint(self.a)}\nallowed_ip={self.a.v4}/32\n"
                      f"allowed_ip={self.a.v6}/128\n\n")

    def work(self, i):
        """Some of everything, while a fault is armed. Returns what `set` said."""
        error = self.attempt_set(i)
        self.handshake()
        for _ in range(5):
            self.send()
            time.sleep(0.004)
        set_link(self.a.ns, self.a.ifname, "down")
        with contextlib.suppress(OSError):
            self.lab.uapi(self.a.ifname, "get=1\n\n", timeout=0.3)
        set_link(self.a.ns, self.a.ifname, "up")
        for _ in range(5):
            self.send()
            time.sleep(0.004)
        with contextlib.suppress(OSError):
            self.lab.uapi(self.a.ifname, "status=1\n\n", timeout=0.3)
        return error

    def restore(self):
        """As at the beginning, in one `set`: what wg(8) does."""
        text = wg_out("setconf", self.a.ifname, self.a.conf)
        self.a.ns.run("ip", "addr", "replace", f"{self.a.v4}/24", "dev", self.a.ifname)
        return text

    def judge_end(self):
        try:
            status = self.a.daemon.wait(5)
        except subprocess.TimeoutExpired:
            return "does not end"
        log = self.a.daemon.log()
        if status == 0 and REMOVED in log:
            return None
        if status != 1 or "ERROR" not in log:
            return f"ended with status {status}: {log[-300:]!r}"
        return None

    def try_fault(self, i, what, error, skip_n, times):
        """None, or what is wrong."""
        before = self.get()
        self.plan.arm(what, error, skip_n, times)
        try:
            answer = self.work(i)
        except RuntimeError:
            answer = None  # its interface is gone
        self.plan.disarm()
        if not self.a.daemon.alive() or not wait_until(lambda: socket_answers(self.a.ifname), 3):
            return self.judge_end()
        try:
            return self.judge_running(before, answer)
        except (OSError, RuntimeError) as e:
            wait_until(lambda: not self.a.daemon.alive(), 1)
            return self.judge_end() if not self.a.daemon.alive() else f"after it: {e}"

    def judge_running(self, before, answer):
        after = self.get()
        # U-029: with a port that is not to be had the mark is in force already
        if answer and [x for x in after if "fwmark" not in x] != \
                [x for x in before if "fwmark" not in x]:
            return f"set said errno={answer}, but did " + " ".join(sorted(set(after) ^ set(before)))
        if answer is None and after != before and sum(x not in before for x in after) < 6:
            return "half a set: " + " ".join(sorted(set(after) ^ set(before)))
        self.restore()
        if not self.passes(RECOVER_SECONDS):
            if not self.a.daemon.alive():
                return self.judge_end()
            return f"no traffic any more: {self.lab.drops()}; {self.a.daemon.log()[-300:]}"
        fds = wait_until(lambda: len(self.a.daemon.fds()) <= self.fds and 1 or 0, 3)
        return None if fds else f"keeps descriptors: {self.a.daemon.fds()}"


def work_plans(calls, some):
    for name, number, n_calls, errors in chosen(calls, some):
        for error in errors if LONG else errors[:1]:
            yield name, number, error, 0, 1
            if can_last(name, error):
                yield name, number, error, 0, FOR_EVER
            if LONG:
                yield name, number, error, 0, 10
        for place in range(1, min(n_calls, 100 if LONG else 3)):
            yield name, number, errors[place % len(errors)], place, 1


def run_faults(lab, make_rig, plans):
    rig, problems, n = make_rig(), [], 0
    for i, (name, number, error, place, times) in enumerate(plans):
        start = time.monotonic()
        problem = rig.try_fault(i, number, error, place, times)
        n += rig.plan.n_failed > 0
        if problem:
            problems.append(f"{name} {error} at {place} x {times}: {problem}")
        tell(f"{name} {error} at {place} x {times}: {problem or 'good'}, {rig.plan.n_failed} failed, "
             f"{time.monotonic() - start:.2f} s")
        if problem or not rig.a.daemon.alive():
            if rig.a.daemon.alive():
                rig.a.daemon.stop(signal.SIGKILL)
            rig = make_rig()
    status, _ = rig.a.daemon.stop()
    equal(status, 0, "exit status")
    verdict(problems, n)


def work_faults(lab, engine, some=None):
    need_tools()

    def make_rig():
        return Rig(lab, engine, (faults.tool("inject"), "PLAN"))
    rig = make_rig()
    rig.plan.reset()  # what it did to get here is another case
    rig.plan.arm(faults.NOTHING, 0)
    os_begun(rig.plan)
    rig.work(0)
    calls = rig.plan.calls()
    rig.a.daemon.stop()
    run_faults(lab, make_rig, work_plans(calls, some))


def os_begun(plan):
    """It runs already."""
    plan._put(20, "<I", 1)  # pylint: disable=protected-access


@case("each system call fails at work, io_uring", timeout=LIMIT)
def work_uring(lab):
    work_faults(lab, "auto")


@case("each system call fails at work, poll", timeout=LIMIT)
def work_poll(lab):
    work_faults(lab, "poll", WITH_POLL)


@case("UAPI in halves: short reads and writes", timeout=LIMIT)
def short_io(lab):
    need_tools()
    plan = Plan(lab.path("plan"))
    numbers = faults.numbers()
    d = lab.netns().daemon(binary=faults.tool("inject"),
                           args=(plan.path, netns.ringtun_bin(), "-f"))
    text = "set=1\n" + "".join(f"public_key={i:064x}\nallowed_ip=10.0.{i}.0/24\n"
                               for i in range(1, 200)) + "\n"
    lab.uapi(d.ifname, text)
    expected = lab.uapi(d.ifname, "get=1\n\n")
    for name in ("recvfrom", "sendto"):
        plan.arm(numbers[name], faults.SHORT, 0, FOR_EVER)
        equal(lab.uapi(d.ifname, text), "errno=0", "set")
        equal(lab.uapi(d.ifname, "get=1\n\n"), expected, "get")
        check(plan.n_failed > 0, f"no {name} was cut")
    plan.disarm()


# Allocations

def nomem_env(plan):
    return {"LD_PRELOAD": faults.tool("nomem.so"), "FAULT_PLAN": plan.path}


def need_nomem():
    need_tools()
    with open(netns.ringtun_bin(), "rb") as f:
        if b"__asan_init" in (text := f.read()) or b"__tsan_init" in text:
            skip("a sanitizer has an allocator of its own")


@case("each allocation fails during the start", timeout=LIMIT)
def start_nomem(lab):
    need_nomem()
    ns, problems, n = lab.netns(), [], 0
    plan = Plan(lab.path("plan"))
    # libseccomp (2.5) crashes when one of its hundreds of allocations fails, in its own code
    env = {**nomem_env(plan), "RINGTUN_SECCOMP": "off"}
    for engine in ("auto", "poll") if LONG else ("auto",):
        plan.reset()
        problem = Start(lab, ns, plan, engine).judge((), env)
        check(not problem, f"without a fault: {problem}")
        total, live = plan.n_allocations, plan.n_live
        step = 1 if LONG else max(1, total // 100)
        for place in range(0, total, step):
            for times in (1, FOR_EVER) if LONG or place % 8 == 0 else (1,):
                plan.reset()
                plan.arm(faults.ALLOCATION, "ENOMEM", place, times)
                start = Start(lab, ns, plan, engine)
                problem = start.judge((), env)
                n += plan.n_failed > 0
                # after the last words of a library nobody can free anything
                if not problem and plan.n_live > live and "a library gave up" not in start.log():
                    problem = f"{plan.n_live} allocations are never freed, usually {live}"
                if problem:
                    problems.append(f"{engine}, allocation {place} x {times}: {problem}")
    verdict(problems, n)


@case("each allocation fails at work: set, handshake, traffic", timeout=LIMIT)
def work_nomem(lab):
    need_nomem()

    def make_rig():
        return Rig(lab, "auto", ("/usr/bin/env",), nomem_env)
    rig = make_rig()
    before = rig.plan.n_allocations
    rig.work(0)
    total = rig.plan.n_allocations - before
    rig.a.daemon.stop()
    plans = [("allocation", faults.ALLOCATION, "ENOMEM", place, times)
             for place in range(total + 4)
             for times in ((1, 10, FOR_EVER) if LONG or place % 9 == 0 else (1,))]
    run_faults(lab, make_rig, plans)


if __name__ == "__main__":
    report.main()

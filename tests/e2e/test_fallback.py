#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
# Runs alone: it measures, or counts what a busy machine delays.
"""One and the same traffic with each engine, with each offload switched off in turn, with a kernel that
refuses offloads while the daemon runs (faults.c, preloaded), and with io_uring refused in each of
the ways that occur (PITFALLS 43, 44, 46, 55): nothing is lost, and the daemon says what it does without."""

import errno
import os
import resource
import time

from lib import confine, netns, report, traffic
from lib.gateway import Gateway, faulty_kernel, one_of_everything, status
from lib.report import case, check, equal
from lib.tunnel import Tunnel

ENGINES = ("uring", "poll")
SWITCHES = ("tun-tso", "tun-uso", "udp-gso", "udp-gro", "multi-queue", "steering")
ERRORS = (errno.EIO, errno.EMSGSIZE, errno.EINVAL, errno.EOPNOTSUPP)


def totals(end, *keys):
    return {k: sum(w[k] for w in status(end)["worker"]) for k in keys}


# Switches

def suite(engine, *options):
    def run(lab):
        args = ("--io", engine, "--threads=2", *options)
        g = Gateway(lab, args, args)
        equal({status(end)["io"] for end in (g.a, g.b)}, {engine}, "engine")
        equal({w["bursts"] for end in (g.a, g.b) for w in status(end)["worker"]},
              {"ring" if engine == "uring" else "calls"}, "what asks the kernel for bursts")
        one_of_everything(g)
        for option in options:
            key = option.removeprefix("--").removesuffix("=off").replace("-", "_")
            s = status(g.a)
            equal((s[key], s[f"{key}_why"]), ("off", "by option"), key)
    return run


for _engine in ENGINES:
    case(f"one of everything, {_engine}")(suite(_engine))
    for _switch in SWITCHES:
        case(f"one of everything, {_engine}, --{_switch}=off")(suite(_engine, f"--{_switch}=off"))
    case(f"one of everything, {_engine}, all switches off")(
        suite(_engine, *(f"--{s}=off" for s in SWITCHES)))


# Refusals while running

def refused(engine, error):
    def run(lab):
        env = faulty_kernel(E2E_GSO_ERROR=error, E2E_TUN_ERROR=error)
        args = ("--verbose", "--io", engine, "--threads=2")
        g = Gateway(lab, args, args, env_a=env, env_b=env)
        one_of_everything(g)
        for end in (g.a, g.b):
            s, n = status(end), totals(end, "gso_fallbacks", "write_fallbacks")
            check(all(n.values()), f"nothing was refused: {n}")
            equal((s["tun_gro"], s["tun_gro_why"]), ("refused", os.strerror(error)), "tun_gro")
            # EMSGSIZE is about one route, and says nothing of others
            equal(s["udp_gso"], "on" if error == errno.EMSGSIZE else "refused", "udp_gso")
            log = end.daemon.log()
            equal(log.count("tun_gro is off"), 1, "times that the log tells of tun_gro")
            equal(log.count("udp_gso is off"), int(error != errno.EMSGSIZE),
                  "times that the log tells of udp_gso")
    return run


for _engine in ENGINES:
    for _error in ERRORS:
        case(f"pitfalls 43 44 46 offloads refused with {errno.errorcode[_error]} lose nothing,"
             f" {_engine}")(refused(_engine, _error))


# No io_uring

def without(capability):
    """How to start daemons as a root who lacks a capability."""
    args = ("--bounding-set", f"-{capability}", netns.ringtun_bin(), "-f", "--verbose")
    return {"binary_a": "setpriv", "binary_b": "setpriv", "args_a": args, "args_b": args}


def expect_poll(lab, reason, **how):
    g = Gateway(lab, **{"options": ("--verbose",), "far_options": ("--verbose",), **how})
    for end in (g.a, g.b):
        s = status(end)
        equal((s["io"], s.get("io_why")), ("poll", f"io_uring is refused: {reason}"), "engine")
        check("io_uring is not available" in end.daemon.log(), "the log does not say so")
    one_of_everything(g)


def denied(error):
    def run(lab):
        if not confine.supported():
            report.skip("no seccomp filter for this machine")
        expect_poll(lab, os.strerror(error), preexec_fn=confine.deny("io_uring_setup", error))
    return run


for _error in (errno.EPERM, errno.ENOSYS):
    case(f"pitfall 55 io_uring answers {errno.errorcode[_error]}: said, and nothing lost")(
        denied(_error))


@case("pitfall 55 sysctl io_uring_disabled: said, and nothing lost")
def disabled(lab):
    path = "/proc/sys/kernel/io_uring_disabled"
    try:
        with open(path) as f:
            old = f.read()
        with open(path, "w") as f:  # 1: for those without CAP_SYS_ADMIN, so for nobody else here
            f.write("1" if old.strip() == "0" else old)
    except OSError as e:
        report.skip(str(e))

    def restore():
        with open(path, "w") as f:
            f.write(old)
    lab.on_close(restore)
    expect_poll(lab, os.strerror(errno.EPERM), **without("sys_admin"))


def no_locked_memory():
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))


@case("pitfall 55 RLIMIT_MEMLOCK of 0: said, and nothing lost")
def memlock(lab):
    how = {**without("ipc_lock"), "preexec_fn": no_locked_memory}
    d = Gateway(lab, **how)
    if status(d.a)["io"] == "uring":  # kernels before 6.14 count no ring against the limit
        one_of_everything(d)
        return
    lab.end_processes()
    expect_poll(lab, os.strerror(errno.ENOMEM), **how)


# Shared cipher work, sleep

def idle_ticks():
    with open("/proc/stat") as f:
        fields = f.readline().split()
    return int(fields[4]), sum(map(int, fields[1:9]))


@case("one TCP stream uses the cipher of more than one core where cores idle", timeout=60)
def fan_out(lab):
    if len(os.sched_getaffinity(0)) < 2:
        report.skip("one CPU")
    t = Tunnel(lab, args_a=("-f", "--threads=2"), args_b=("-f", "--threads=2"))
    idle_before, all_before = idle_ticks()
    end = time.monotonic() + 20
    served = 0
    while not served and time.monotonic() < end:
        problem = traffic.tcp_transfer(t.a.ns, t.b.ns, t.b.v4, 4 << 20)
        check(not problem, f"TCP: {problem}")
        served = sum(totals(e, "batches_served")["batches_served"] for e in (t.a, t.b))
        time.sleep(0.1)  # both ends and the stream's own are on this machine
    idle_after, all_after = idle_ticks()
    idle_share = (idle_after - idle_before) / max(1, all_after - all_before)
    if not served and idle_share < 0.3:
        report.skip(f"no core was idle for long ({idle_share:.0%})")
    check(served, f"nobody did another one's cipher work, with {idle_share:.0%} idle")


def switches(pid):
    """Context switches so far, by thread."""
    n = {}
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/status") as f:
            fields = dict(line.partition(":")[::2] for line in f)
        n[tid, fields["Name"].strip()] = int(fields["voluntary_ctxt_switches"])
    return n


def woken(pid, seconds):
    """How often the workers and the control thread of a daemon woke up meanwhile. Its first thread
    watches the directory of sockets, which all daemons of the machine share."""
    before = switches(pid)
    time.sleep(seconds)
    return {f"{name} {tid}": n - before.get((tid, name), 0)
            for (tid, name), n in switches(pid).items() if name.startswith("rt-")}


@case("an idle daemon with a peer wakes up for timers only", timeout=60)
def idle(lab):
    for engine in ENGINES:
        t = Tunnel(lab, args_a=("-f", "--io", engine), args_b=("-f", "--io", engine))
        check(traffic.reaches(t.a.ns, t.b.v4), "no tunnel")
        for _ in range(5):  # interfaces that just came up go on telling of it for a while
            n = woken(t.a.daemon.pid, 2)
            if sum(n.values()) <= 2:
                break
        check(all(k == 0 for name, k in n.items() if "worker" in name) and sum(n.values()) <= 2,
              f"{engine}: wake-ups in two seconds: {n}")


if __name__ == "__main__":
    report.main()

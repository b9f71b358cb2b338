# SPDX-License-Identifier: MPL-2.0
"""What a trial cost: CPU time of the daemons and of the machine, context switches, memory, and how
much of the machine others used meanwhile. Reads /proc only.

CPU time that the kernel spends in soft interrupts is charged to whoever was running, so a daemon's
own figure is neither all nor only its work; the machine's figure has all of it.
"""

import contextlib
import glob
import os
import time

TICKS = os.sysconf("SC_CLK_TCK")
PF_KTHREAD = 0x00200000
MACHINE_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
BUSY_FIELDS = ("user", "nice", "system", "irq", "softirq")
GONE = (FileNotFoundError, ProcessLookupError)


def process_stat(pid):
    """Fields of /proc/PID/stat after the name, the state first; None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()
    except GONE:
        return None


def process_state(pid):
    stat = process_stat(pid)
    return stat[0] if stat else None


def is_running(pid):
    return process_state(pid) not in (None, "Z", "X")


def process_cpu(pid):
    """CPU seconds of a process and of its children that ended."""
    stat = process_stat(pid)
    return sum(map(int, stat[11:15])) / TICKS if stat else 0.0


def process_switches(pid):
    """(voluntary, involuntary) context switches of all threads."""
    totals = [0, 0]
    for path in glob.glob(f"/proc/{pid}/task/*/status"):
        with contextlib.suppress(*GONE), open(path) as f:
            for line in f:
                if line.startswith("voluntary_ctxt"):
                    totals[0] += int(line.split()[1])
                elif line.startswith("nonvoluntary_ctxt"):
                    totals[1] += int(line.split()[1])
    return totals


def peak_rss(pid):
    """Largest resident set so far, in bytes."""
    with contextlib.suppress(*GONE), open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def machine_cpu():
    """Seconds by kind since boot, over all CPUs."""
    with open("/proc/stat") as f:
        values = [int(v) / TICKS for v in f.readline().split()[1:]]
    return dict(zip(MACHINE_FIELDS, values))


def machine_switches():
    with open("/proc/stat") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("ctxt "))


def descendants(root):
    """@root and every process below it."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := process_stat(name)):
            parents[int(name)] = int(stat[1])
    family = {root}
    grown = True
    while grown:
        grown = False
        for pid, parent in parents.items():
            if parent in family and pid not in family:
                family.add(pid)
                grown = True
    return family


def foreign_cpu():
    """CPU seconds of all processes that are not ours. With those of their dead children, because a
    compiler that starts and ends within a trial is noise too. Kernel threads are left out: most of
    what they do in a trial is ours."""
    ours = descendants(os.getpid())
    total = 0.0
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in ours:
            continue
        stat = process_stat(name)
        if stat and not int(stat[6]) & PF_KTHREAD:
            total += sum(map(int, stat[11:15])) / TICKS
    return total


def frequency_mhz():
    """Mean clock frequency of the CPUs, or None where the kernel does not tell."""
    values = []
    for path in glob.glob("/sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq"):
        with contextlib.suppress(OSError), open(path) as f:
            values.append(int(f.read()) / 1000)
    if not values:
        with open("/proc/cpuinfo") as f:
            values = [float(line.split(":")[1]) for line in f if line.startswith("cpu MHz")]
    return sum(values) / len(values) if values else None


class Meter:
    """Measures its `with` block. @pids are those of the daemons under test."""

    def __init__(self, pids):
        self.pids = list(pids)

    def __enter__(self):
        self.start = self.read()
        return self

    def __exit__(self, *exc):
        self.end = self.read()
        self.rss = [peak_rss(p) for p in self.pids]

    def read(self):
        switches = [sum(s) for s in zip(*(process_switches(p) for p in self.pids))] or [0, 0]
        return {"wall": time.monotonic(), "machine": machine_cpu(), "foreign": foreign_cpu(),
                "daemon": sum(process_cpu(p) for p in self.pids), "switches": switches,
                "all_switches": machine_switches(), "mhz": frequency_mhz()}

    def difference(self, key):
        return self.end[key] - self.start[key]

    def cost(self, gigabytes=None, megapackets=None):
        """What goes into a trial as "cpu"."""
        machine = self.machine_seconds()
        busy = sum(machine[k] for k in BUSY_FIELDS)
        cost = {"wall_s": self.difference("wall"), "machine_s": busy,
                "switches_machine": self.difference("all_switches")}
        if self.pids:
            voluntary, involuntary = (after - before for before, after in
                                      zip(self.start["switches"], self.end["switches"]))
            cost.update(daemon_s=self.difference("daemon"), switches_voluntary=voluntary,
                        switches_involuntary=involuntary, peak_rss_bytes=max(self.rss))
        for name, amount in (("gb", gigabytes), ("mpkt", megapackets)):
            for what in ("daemon", "machine"):
                if amount and f"{what}_s" in cost:
                    cost[f"{what}_s_per_{name}"] = cost[f"{what}_s"] / amount
        return cost

    def machine_seconds(self):
        return {k: self.end["machine"][k] - self.start["machine"][k] for k in MACHINE_FIELDS}

    def noise(self):
        """What goes into a trial as "noise": shares of the whole machine's time."""
        capacity = max(1e-9, self.difference("wall") * (os.cpu_count() or 1))
        return {"steal_share": max(0.0, self.machine_seconds()["steal"]) / capacity,
                "foreign_share": max(0.0, self.difference("foreign")) / capacity,
                "mhz": self.end["mhz"]}

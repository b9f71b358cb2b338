# SPDX-License-Identifier: MPL-2.0
"""Describes the machine that a result comes from. No names of people, hosts or networks."""

import contextlib
import os
import platform
import re
import shutil
import subprocess

from .accounting import frequency_mhz


def first_line(path):
    with contextlib.suppress(OSError), open(path) as f:
        return f.readline().strip()
    return None


def cpu_field(name):
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith(name):
                return line.split(":", 1)[1].strip()
    return None


def memory_bytes():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def distribution():
    with contextlib.suppress(OSError), open("/etc/os-release") as f:
        for line in f:
            if line.startswith("PRETTY_NAME="):
                return line.split("=", 1)[1].strip().strip('"')
    return None


def virtualization():
    flags = (cpu_field("flags") or "").split()
    return "virtual machine" if "hypervisor" in flags else "bare metal or unknown"


def tool_version(*argv, pattern=r"([0-9]+(?:\.[0-9]+)+)"):
    if not shutil.which(argv[0]):
        return None
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        r = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=5, check=False)
        match = re.search(pattern, r.stdout)
        return match[1] if match else None
    return None


INTERESTING_FLAGS = ("aes", "avx2", "avx512f", "avx512bw", "avx512vl", "avx512ifma", "vaes",
                     "vpclmulqdq", "asimd", "sve")


def describe():
    """What goes into a results document as "machine"."""
    cpu = "/sys/devices/system/cpu/cpu0/cpufreq"
    flags = (cpu_field("flags") or cpu_field("Features") or "").split()
    return {
        "cpu_model": cpu_field("model name") or platform.machine(),
        "cpu_family_model": "/".join(filter(None, (cpu_field("cpu family"), cpu_field("model\t"))))
                            or None,
        "cpu_flags": [f for f in INTERESTING_FLAGS if f in flags],
        "cpus": os.cpu_count(),
        "usable_cpus": len(os.sched_getaffinity(0)),
        "mhz": frequency_mhz(),
        "governor": first_line(f"{cpu}/scaling_governor"),
        "memory_bytes": memory_bytes(),
        "virtualization": virtualization(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "distribution": distribution(),
        "clocksource": first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "tools": {"python": platform.python_version(), "iperf3": tool_version("iperf3", "--version"),
                  "wg": tool_version("wg", "--version"),
                  "ip": tool_version("ip", "-V", pattern=r"iproute2[-, ]*(\S+)")},
    }


def summary(machine):
    """One line for the head of a report."""
    gib = machine["memory_bytes"] / 2**30
    return (f"{machine['cpu_model']} ({machine['usable_cpus']} of {machine['cpus']} CPUs, "
            f"{machine['virtualization']}), {gib:.0f} GiB, Linux {machine['kernel']}, "
            f"{machine['distribution'] or machine['architecture']}")

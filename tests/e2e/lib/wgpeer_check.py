# SPDX-License-Identifier: MPL-2.0
"""Checks that run side by side, each in a process with a lab of its own.

    @check("P-034 reserved bytes", timeout=20)
    def reserved_bytes(rig): ...

Prints "ok NAME", "not ok NAME: reason" or "skip NAME: reason" as checks end. Timer checks mostly
wait, so all of them run at once (waits=True); the others share a few slots; a check that loads the
machine runs when nothing but waiting goes on (alone=True).

Options: words select checks by name; --long adds the checks of more than two minutes; --list shows
the names; -j N slots; --reference: the daemon is wireguard-go, skip its known differences."""

import argparse
import dataclasses
import os
import signal
import sys
import time
import traceback
from typing import Callable, Optional

from . import netns, report

try:
    from .wgpeer_rig import Rig
except ModuleNotFoundError as e:
    sys.exit(f"not ok setup: {e}; the Debian package is python3-cryptography")

FAILED, SKIPPED = 1, 2


@dataclasses.dataclass
class Check:
    """One check and how to run it."""
    name: str
    function: Callable
    timeout: int
    needs_rig: bool  # the function takes a Rig; else it runs without privileges
    waits: bool
    alone: bool
    long: bool
    known: bool  # a known difference of wireguard-go
    settings: Optional[dict]


CHECKS = []


def check(name, *, timeout=60, rig=True, waits=False, alone=False, long=False, known=False, **kw):
    """Registers a check; further arguments go to Rig()."""
    def register(function):
        CHECKS.append(Check(name, function, timeout, rig, waits, alone, long, known, kw))
        return function
    return register


def run_one(c):
    if not c.needs_rig:
        c.function()
        return

    def with_rig(lab):
        with Rig(lab, **c.settings) as rig:
            c.function(rig)
            report.check(rig.daemon.alive() or rig.may_end, "the daemon ended")
    report.run_case(with_rig, c.timeout)


def line_of(c, reference):
    """(exit status, line) of one check, run here and now."""
    try:
        run_one(c)
        return 0, f"ok {c.name}"
    except report.Skipped as e:
        return SKIPPED, f"skip {c.name}: {report.one_line(e)}"
    except report.TooSlow:
        reason = f"not done after {c.timeout} s"
    except Exception as e:  # pylint: disable=broad-except
        if os.environ.get("E2E_VERBOSE"):
            traceback.print_exc()
        reason = str(e) if isinstance(e, report.Failed) else f"{type(e).__name__}: {e}"
    if reference and c.known:
        return SKIPPED, f"skip {c.name}: known difference: {report.one_line(reason)}"
    return FAILED, f"not ok {c.name}: {report.one_line(reason)}"


def start(c, reference):
    """Forks a process that runs @c and prints its line."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = FAILED
    try:
        status, line = line_of(c, reference)
        os.write(1, (line + "\n").encode())  # one write: lines of several processes stay whole
    finally:
        os._exit(status)


class Pool:
    """The checks that are running."""

    def __init__(self, slots, reference):
        self.slots, self.reference = slots, reference
        self.running = {}
        self.failed = 0

    def busy(self):
        return sum(not c.waits for c in self.running.values())

    def may_start(self, c):
        if c.waits:
            return True
        if any(r.alone for r in self.running.values()):
            return False
        return self.busy() < (1 if c.alone else self.slots)

    def start(self, c):
        self.running[start(c, self.reference)] = c
        if c.waits:
            time.sleep(0.1)  # their set-ups would only slow each other down

    def reap(self, flags=0):
        """Takes note of one check that ended; False if there was none."""
        pid, status = os.waitpid(-1, flags)
        if pid not in self.running:
            return pid != 0
        del self.running[pid]
        self.failed += os.waitstatus_to_exitcode(status) not in (0, SKIPPED)
        return True

    def stop(self):
        for pid in self.running:
            os.kill(pid, signal.SIGTERM)
        while self.running:
            self.reap()


def run_all(checks, slots, reference):
    """Runs @checks and returns how many failed."""
    pool = Pool(slots, reference)
    signal.signal(signal.SIGTERM, netns.interrupted)
    try:
        for c in sorted(checks, key=lambda c: (not c.waits, c.alone)):
            while not pool.may_start(c):
                pool.reap()
            pool.start(c)
        while pool.running:
            pool.reap()
    except BaseException:
        pool.stop()
        raise
    return pool.failed


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("words", nargs="*", help="run the checks whose name contains one of these")
    p.add_argument("--long", action="store_true")
    p.add_argument("--list", action="store_true")
    p.add_argument("--reference", action="store_true")
    p.add_argument("-j", type=int, default=4, metavar="N")
    return p.parse_args()


def main():
    """Runs the registered checks and ends the process."""
    args = options()
    checks = [c for c in CHECKS if not args.words or any(w in c.name for w in args.words)]
    checks = [c for c in checks if args.long or not c.long]
    if args.list:
        print("\n".join(c.name for c in checks))
        sys.exit(0)
    netns.require()
    netns.Lab.sweep()
    sys.exit(1 if run_all(checks, args.j, args.reference) else 0)

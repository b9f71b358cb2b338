# SPDX-License-Identifier: MPL-2.0
"""Runs the cases of one end-to-end script and prints one line per check.

    ok NAME | not ok NAME: reason | skip NAME: reason

Exit status 0 = all good, 1 = a check failed, 77 = nothing could run here. Arguments of the script
select the cases whose name contains one of them.
"""

import os
import signal
import sys
import traceback

from . import netns

CASES = []


class Failed(Exception):
    """A check did not hold."""


class Skipped(Exception):
    """A check can not run here."""


class TooSlow(BaseException):
    """A case passed its time limit. Not an Exception: no handler in a test may swallow it."""


def case(name, timeout=30):
    """Registers a function that takes a Lab as one check called @name."""
    def register(function):
        CASES.append((name, function, timeout))
        return function
    return register


def check(condition, reason):
    if not condition:
        raise Failed(reason)


def equal(got, expected, what="value"):
    if got != expected:
        raise Failed(f"{what}: got {got!r}, expected {expected!r}")


def skip(reason):
    raise Skipped(reason)


def one_line(text):
    return " | ".join(str(text).split("\n"))[:4000]


def too_slow(_sig, _frame):
    raise TooSlow()


def run_case(function, timeout):
    """Returns None, or raises what went wrong."""
    signal.signal(signal.SIGALRM, too_slow)
    with netns.Lab() as lab:
        signal.alarm(timeout)
        try:
            function(lab)
        except Failed as e:
            details = "; ".join(filter(None, (lab.drops(), lab.sanitizer_reports())))
            raise Failed(f"{e} ({details})" if details else str(e)) from None
        finally:
            signal.alarm(0)  # cleaning up may take its time
        lab.end_processes()
        reports = lab.sanitizer_reports()
        check(not reports, "sanitizer: " + reports)


def verdict(name, function, timeout):
    """Prints the line of one case; returns whether it failed."""
    try:
        run_case(function, timeout)
    except Skipped as e:
        print(f"skip {name}: {one_line(e)}", flush=True)
        return False
    except TooSlow:
        print(f"not ok {name}: not done after {timeout} s", flush=True)
        return True
    except Exception as e:  # pylint: disable=broad-except
        reason = str(e) if isinstance(e, Failed) else f"{type(e).__name__}: {e}"
        print(f"not ok {name}: {one_line(reason)}", flush=True)
        if os.environ.get("E2E_VERBOSE"):
            traceback.print_exc()
        return True
    print(f"ok {name}", flush=True)
    return False


def main():
    """Runs the registered cases and ends the process."""
    netns.require()
    wanted = sys.argv[1:]
    failed = 0
    for name, function, timeout in CASES:
        if not wanted or any(w in name for w in wanted):
            failed += verdict(name, function, timeout)
    sys.exit(1 if failed else 0)

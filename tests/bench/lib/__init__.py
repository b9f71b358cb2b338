# SPDX-License-Identifier: MPL-2.0
"""Runs the checks of one script of the harness's tests and prints one line per check.

    ok NAME | not ok NAME: reason | skip NAME: reason

Exit status 0 = all good, 1 = a check failed, 77 = nothing could run here. Arguments select the checks
whose name contains one of them; with --long those run, too, that take their time.
"""

import os
import signal
import subprocess
import sys
import tempfile
import traceback

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BENCH = os.path.join(ROOT, "bench")
PROGRAM = os.path.join(BENCH, "ringtun-bench")
PYTHON = "/usr/bin/python3"  # what the program itself runs on

sys.dont_write_bytecode = True
sys.path.insert(0, BENCH)

CHECKS = []


class Skip(Exception):
    """A check can not run here."""


class TooSlow(BaseException):
    """A check passed its time limit."""


def check(name, timeout=60, is_long=False):
    """Registers a function as one check."""
    def register(function):
        if not is_long or "--long" in sys.argv:
            CHECKS.append((name, function, timeout))
        return function
    return register


def expect(condition, reason):
    if not condition:
        raise AssertionError(reason)


def equal(got, wanted, what="value"):
    expect(got == wanted, f"{what}: got {got!r}, wanted {wanted!r}")


def close(got, wanted, share, what="value"):
    expect(abs(got - wanted) <= share * abs(wanted),
           f"{what}: got {got:g}, wanted {wanted:g} to within {share:.1%}")


def raises(kind, function, *args, containing=""):
    """Returns the exception that the call raised."""
    try:
        function(*args)
    except kind as e:
        expect(containing in str(e), f"{e!r} does not say {containing!r}")
        return e
    raise AssertionError(f"{function.__name__} raised no {kind.__name__}")


def daemon():
    """Path of the daemon under test."""
    path = os.environ.get("RINGTUN_BIN") or os.path.join(ROOT, "build/src/daemon/ringtun")
    if not os.access(path, os.X_OK):
        raise Skip(f"no daemon at {path}: build it or set RINGTUN_BIN")
    return os.path.abspath(path)


def use_helpers():
    """The load generator of the build that the daemon under test comes from."""
    build = os.path.realpath(os.path.join(os.path.dirname(daemon()), "..", ".."))
    if not os.path.exists(os.path.join(build, "bench", "gen", "ringtun-bench-gen")):
        raise Skip(f"no ringtun-bench-gen in {build}")
    os.environ.setdefault("RINGTUN_BENCH_HELPERS", build)


def need_root():
    if os.geteuid() != 0:
        raise Skip("needs root")


def run(*args, timeout=120, **kw):
    """Runs ringtun-bench; stdout and stderr are text."""
    kw = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL,
          "text": True, **kw}
    return subprocess.run([PROGRAM, *map(str, args)], timeout=timeout, check=False, **kw)


def one_line(text):
    return " | ".join(str(text).split("\n"))[:2000]


def too_slow(_sig, _frame):
    raise TooSlow()


def verdict(name, function, timeout):
    """Prints the line of one check; returns "ok", "failed" or "skipped"."""
    signal.signal(signal.SIGALRM, too_slow)
    signal.alarm(timeout)
    try:
        with tempfile.TemporaryDirectory(prefix="ringtun-bench-test-") as directory:
            function(directory)
    except Skip as e:
        print(f"skip {name}: {one_line(e)}", flush=True)
        return "skipped"
    except TooSlow:
        print(f"not ok {name}: no end after {timeout} s", flush=True)
        return "failed"
    except Exception as e:
        where = traceback.extract_tb(e.__traceback__)[-1]
        print(f"not ok {name}: {type(e).__name__}: {one_line(e)} "
              f"({os.path.basename(where.filename)}:{where.lineno})", flush=True)
        return "failed"
    finally:
        signal.alarm(0)
    print(f"ok {name}", flush=True)
    return "ok"


def main():
    words = [w for w in sys.argv[1:] if w != "--long"]
    results = [verdict(*c) for c in CHECKS if not words or any(w in c[0] for w in words)]
    if "failed" in results:
        sys.exit(1)
    sys.exit(0 if "ok" in results else 77)

# SPDX-License-Identifier: MPL-2.0
"""Finds and runs the small C programs that do what must be fast."""

import glob
import json
import os
import subprocess

from .errors import BenchError

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))  # of the source tree, when run from there
DIRECTORY_VARIABLE = "RINGTUN_BENCH_HELPERS"


def candidates(name):
    """Where a helper may be: where the caller says, installed beside this package, or built."""
    named = os.environ.get(DIRECTORY_VARIABLE)
    if named:
        yield os.path.join(named, name)
        yield from sorted(glob.glob(os.path.join(named, "bench", "*", name)))
        return
    yield os.path.join(HERE, "..", "..", "..", "libexec", "ringtun-bench", name)
    yield from sorted(glob.glob(os.path.join(ROOT, "build", "bench", "*", name)))


def find(name):
    for path in candidates(name):
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return os.path.realpath(path)
    raise BenchError(f"looking for {name}", "it is neither installed nor built: run bench/quickstart "
                     f"or ninja -C build, or name its directory in {DIRECTORY_VARIABLE}")


def parse(name, text):
    try:
        return json.loads(text)
    except ValueError:
        raise BenchError(name, f"no JSON on its output: {text.strip()[-200:]}") from None


def run(name, *args, timeout):
    """Runs a helper to its end and returns what it printed as JSON."""
    try:
        r = subprocess.run([find(name), *map(str, args)], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                           timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise BenchError(name, f"no end after {timeout} s") from None
    if r.returncode != 0:
        raise BenchError(name, r.stderr.strip()[-300:] or f"exit status {r.returncode}")
    return parse(name, r.stdout)

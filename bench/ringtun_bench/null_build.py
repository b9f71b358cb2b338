# SPDX-License-Identifier: MPL-2.0
"""Builds ringtun without its cipher, to show what the data path alone allows. Such a build encrypts
nothing; it stays in a cache directory and is never installed."""

import os
import subprocess

from .errors import BenchError
from .helpers import ROOT

STEP = "building ringtun without cipher"


def cache_dir():
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
                        "ringtun-bench")


def run(*argv):
    try:
        r = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=900, check=False)
    except FileNotFoundError:
        raise BenchError(STEP, f"the command {argv[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise BenchError(STEP, "no end after 15 minutes") from None
    if r.returncode != 0:
        raise BenchError(STEP, r.stdout.strip()[-800:])


def build():
    """Path of the daemon."""
    if not os.path.exists(os.path.join(ROOT, "meson.build")):
        raise BenchError(STEP, "only possible from the source tree")
    directory = os.path.join(cache_dir(), "build-null")
    # Not the release type, which refuses this option, but optimised as that is.
    options = ["--buildtype=debugoptimized", "-Doptimization=3", "-Dnull_cipher=true",
               "-Dtests=false"]
    if os.path.exists(os.path.join(directory, "build.ninja")):
        run("meson", "configure", directory, *options)
    else:
        os.makedirs(cache_dir(), exist_ok=True)
        run("meson", "setup", directory, ROOT, *options)
    run("ninja", "-C", directory, "src/daemon/ringtun")
    return os.path.join(directory, "src/daemon/ringtun")

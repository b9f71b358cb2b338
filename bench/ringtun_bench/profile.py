# SPDX-License-Identifier: MPL-2.0
"""Flame graphs of the daemons by perf: one more trial of a case with perf attached, after all rounds,
so that no figure is measured under a profiler."""

import contextlib
import os
import select
import shutil
import subprocess

from . import plots
from .errors import BenchError

HERTZ = 499
READY_SEC = 20
MIN_SHARE = 0.002  # narrower frames are left out of the picture
MAX_DEPTH = 48
FRAME_COLOURS = ("#e8743b", "#f0975b", "#f4b183", "#e05d2f", "#f6c28b")


def check():
    if not shutil.which("perf"):
        raise BenchError("profiling", "needs the command perf (package linux-perf)")


def record(network, path):
    """Starts perf on the daemons of a network, and returns when it records; the caller ends it by
    stop(). What runs for a second only would be over before a busy machine has perf ready."""
    pids = ",".join(map(str, network.daemon_pids()))
    (control, to_perf), (from_perf, answer) = os.pipe(), os.pipe()
    # cpu-clock: also where a virtual machine has no hardware counters
    process = network.lab.start(
        ["perf", "record", "-q", "-e", "cpu-clock", "-F", HERTZ, "-g", "-p", pids, "-o", path, "--delay=-1",
         f"--control=fd:{control},{answer}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=(control, answer))
    os.close(control)
    os.close(answer)
    process.pipes = os.fdopen(to_perf, "wb", 0), os.fdopen(from_perf, "rb", 0)
    with contextlib.suppress(BrokenPipeError):
        process.pipes[0].write(b"enable\n")
    # Its end, too, makes the other pipe readable.
    if not select.select([from_perf], [], [], READY_SEC)[0] or b"ack" not in process.pipes[1].read(16):
        raise BenchError("perf", stop(process).strip()[-300:] or "it does not begin to record")
    return process


def stop(process):
    process.terminate()
    try:
        _, err = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        raise BenchError("perf", "no end after SIGTERM") from None
    finally:
        for pipe in process.pipes:  # perf records nothing once they are closed
            pipe.close()
    return err


def fold(text):
    """Stacks of `perf script`, the outermost frame first, joined by ";", with their counts."""
    stacks = {}
    frames, command = [], None
    for line in [*text.splitlines(), ""]:
        if not line.strip():
            if command:
                key = ";".join([command, *reversed(frames)])
                stacks[key] = stacks.get(key, 0) + 1
            frames, command = [], None
        elif not line[0].isspace():
            command = line.split()[0]
        else:
            words = line.strip().split(" ", 1)
            name = words[1].rsplit(" (", 1)[0] if len(words) > 1 else "?"
            frames.append(name.rsplit("+0x", 1)[0].replace(";", ":") or "?")
    return stacks


def folded(path):
    r = subprocess.run(["perf", "script", "-i", path, "-F", "comm,ip,sym,dso"],
                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=120,
                       check=False)
    stacks = fold(r.stdout)
    if not stacks:
        raise BenchError("perf", "it recorded no sample")
    return stacks


def tree(stacks):
    """{frame: (count, children)} from folded stacks."""
    root = {}
    for stack, count in stacks.items():
        level = root
        for frame in stack.split(";")[:MAX_DEPTH]:
            entry = level.setdefault(frame, [0, {}])
            entry[0] += count
            level = entry[1]
    return root


def boxes(level, total, x=0.0, depth=0):
    """(depth, x, width, frame) of every frame wide enough, x and width as shares."""
    for frame, (count, children) in sorted(level.items()):
        width = count / total
        if width >= MIN_SHARE:
            yield depth, x, width, frame
            yield from boxes(children, total, x, depth + 1)
        x += width


def flame(stacks, title):
    """The picture."""
    plots.require()
    total = sum(stacks.values())
    found = list(boxes(tree(stacks), total))
    height = 1 + max((b[0] for b in found), default=0)
    figure, ax = plots.pyplot.subplots(figsize=(13, 0.6 + 0.2 * height), layout="constrained")
    for depth, x, width, frame in found:
        colour = FRAME_COLOURS[sum(frame.encode()) % len(FRAME_COLOURS)]
        ax.broken_barh([(x, width)], (depth, 0.94), facecolors=colour)
        room = int(width * 240)
        if room > 3:
            text = frame if len(frame) <= room else frame[:room - 1] + "…"
            ax.text(x + 0.001, depth + 0.47, text, fontsize=6, va="center", clip_on=True)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, height)
    ax.axis("off")
    ax.set_title(f"{title}: {total} samples at {HERTZ} Hz", loc="left", fontsize=9)
    return figure


def write_folded(stacks, path):
    """In the form that flamegraph.pl, inferno and speedscope read."""
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w") as f:
            f.writelines(f"{stack} {count}\n" for stack, count in sorted(stacks.items()))
    except OSError as e:
        raise BenchError("writing stacks", f"{path}: {e.strerror}") from None

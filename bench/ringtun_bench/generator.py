# SPDX-License-Identifier: MPL-2.0
"""Datagrams by ringtun-bench-gen: bench/gen/PROTOCOL.md says what it takes and prints."""

import contextlib
import json
import signal
import subprocess

from . import helpers
from .errors import BenchError
from .search import Point
from .stats import Histogram
from .tunnel import ADDRESS_B

PROGRAM = "ringtun-bench-gen"
MIN_SIZE = 32
WARM_UP_SEC = 0.2
LINGER_SEC = 0.1    # what comes later than so long after the end markers of its flow counts as lost
OVERHEAD_SEC = 0.5  # of a trial: start, warm-up, end markers, stragglers
SLACK_SEC = 15
MAX_SEGMENTS, MAX_BYTES = 64, 65000
SENDERS = ("auto", "packet", "socket")


def n_segments(size):
    """Datagrams per call with UDP_SEGMENT."""
    return max(1, min(MAX_SEGMENTS, MAX_BYTES // size))


@contextlib.contextmanager
def receiver(ns, *args):
    """A role that waits for another: started, bound, and ended at the end of the block."""
    process = ns.start(helpers.find(PROGRAM), *args, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        line = process.stdout.readline()
        if line.strip() != "READY":
            raise BenchError(f"{PROGRAM} {args[0]}", process.stderr.read().strip()[-300:]
                             or "it did not become ready")
        yield process
    finally:
        process.kill()
        process.wait()


def result(process, who, timeout, is_killed=True):
    """What a program printed at its end."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        if is_killed:
            process.kill()
        raise BenchError(who, f"no end after {timeout:.0f} s") from None
    try:
        return json.loads(out.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise BenchError(who, err.strip()[-300:] or "it printed no result") from None


def received_result(process, grace=LINGER_SEC + 1.5):
    """What a receiver counted, once its sender has ended. It ends by the end markers; where an
    overloaded tunnel lost all of those, it is told to."""
    with contextlib.suppress(BenchError):
        return result(process, f"{PROGRAM} recv", grace, is_killed=False)
    process.send_signal(signal.SIGTERM)
    return result(process, f"{PROGRAM} recv", SLACK_SEC)


def udp(network, size, pps, seconds, segments=1, via="auto"):
    """Datagrams from a to b at @pps (0 = as fast as the sender can), sent @via one of SENDERS. Returns
    (Point, meter)."""
    via = "socket" if segments > 1 else via  # who uses UDP_SEGMENT uses UDP_GRO, too
    limit = WARM_UP_SEC + seconds + SLACK_SEC
    with network.meter() as meter:
        with receiver(network.b, "recv", "--limit", f"{limit:g}", "--linger", LINGER_SEC,
                      *(["--gro"] if segments > 1 else [])) as process:
            sender = network.a.start(
                helpers.find(PROGRAM), "send", "--to", ADDRESS_B, "--rate", f"{pps:g}",
                "--duration", f"{seconds:g}", "--warm-up", WARM_UP_SEC, "--size", size,
                "--segments", segments, "--via", via, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            sent = result(sender, f"{PROGRAM} send", limit + SLACK_SEC)
            received = received_result(process)
    return point(pps, sent, received), meter


def point(pps, sent, received):
    """@sent and @received are what the two roles printed. "all_received" and "all_bytes" are with
    the warm-up, whose cost is in the meter too."""
    if not sent["sent"]:
        raise BenchError(f"{PROGRAM} send", f"nothing was sent: {sent['last_error']}")
    warm_up = received["warm_up_received"]
    mean_size = received["bytes"] / received["received"] if received["received"] else 0
    extra = {key: received[key] for key in ("bytes", "reordered", "duplicates", "socket_drops")}
    extra["all_received"] = received["received"] + warm_up
    extra["all_bytes"] = received["bytes"] + round(warm_up * mean_size)
    extra["sender_late_us"] = sent["late_max_us"]
    extra["send_errors"] = sent["send_errors"]
    if "via" in sent:
        extra["sent_via"] = sent["via"]
    if received["delay_ns"]["count"]:
        extra["delay_us"] = {f"p{p}": v / 1e3
                             for p, v in received["delay_ns"]["percentiles"].items()}
    return Point(pps, sent["sent"], received["received"], sent["seconds"], extra)


def echo(network, pps, seconds):
    """Round trips of datagrams from a to b and back: (histogram in ns, number lost)."""
    limit = WARM_UP_SEC + seconds + SLACK_SEC
    with receiver(network.b, "echo", "--limit", f"{limit:g}"):
        prober = network.a.start(
            helpers.find(PROGRAM), "rtt", "--to", ADDRESS_B, "--rate", f"{pps:g}", "--duration",
            f"{seconds:g}", "--warm-up", WARM_UP_SEC, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        found = result(prober, f"{PROGRAM} rtt", limit + SLACK_SEC)
    if not found["received"]:
        raise BenchError(f"{PROGRAM} rtt", "no answer came back")
    return Histogram(found["rtt_ns"]["buckets"]), found["lost"]

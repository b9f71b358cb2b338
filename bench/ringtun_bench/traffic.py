# SPDX-License-Identifier: MPL-2.0
"""Traffic by programs that are not ours: iperf3 for TCP, ping for round trips."""

import contextlib
import json
import re
import subprocess

from .errors import BenchError
from .lab import wait_until
from .stats import Histogram
from .tunnel import ADDRESS_B

IPERF_PORT = 5201
LISTEN = "0A"
PING_TIME = re.compile(r" time=([0-9.]+) ms")


def listens(pid, port):
    """Whether somebody in the namespace of process @pid listens on a TCP port."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/net/{table}") as f:
            for line in f.readlines()[1:]:
                field = line.split()
                if field[3] == LISTEN and int(field[1].rsplit(":", 1)[1], 16) == port:
                    return True
    return False


@contextlib.contextmanager
def iperf_server(ns):
    """A server for one test. In the foreground: -D would put it into a session of its own."""
    server = ns.start("iperf3", "-s", "-1", "-p", IPERF_PORT, stdout=subprocess.PIPE,
                      stderr=subprocess.STDOUT)
    if not wait_until(lambda: listens(server.pid, IPERF_PORT), 5):
        server.kill()
        raise BenchError("starting the iperf3 server", (server.stdout.read() or "it does not listen"
                                                        ).strip()[-300:])
    try:
        yield
    finally:
        server.kill()
        server.wait()


def iperf_argv(network, streams, seconds, is_both_ways=False):
    argv = ["iperf3", "-c", ADDRESS_B, "-p", IPERF_PORT, "-t", f"{seconds:g}", "-P", streams, "-J"]
    return network.a.argv(*argv, *(["--bidir"] if is_both_ways else []))


def iperf_seconds(seconds):
    """iperf3 takes whole seconds only."""
    return max(1, round(seconds))


def delivered_bytes(text):
    """Bytes that arrived and the receiver's seconds, from iperf3's JSON, both directions added."""
    try:
        result = json.loads(text)
        if "error" in result:
            raise BenchError("iperf3", result["error"])
        end = result["end"]
        sums = [end[k] for k in ("sum_received", "sum_received_bidir_reverse") if k in end]
        return sum(s["bytes"] for s in sums), max(s["seconds"] for s in sums)
    except (ValueError, KeyError, TypeError):
        raise BenchError("iperf3", f"no result: {text.strip()[-200:]}") from None


def tcp(network, streams, seconds, is_both_ways=False):
    """One iperf3 run; returns (bytes delivered, seconds, meter)."""
    seconds = iperf_seconds(seconds)
    with iperf_server(network.b):
        with network.meter() as meter:
            r = network.lab.start(iperf_argv(network, streams, seconds, is_both_ways),
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            out, err = network.output_of(r, seconds + 20, "iperf3")
    if r.returncode != 0 and not out.strip():
        raise BenchError("iperf3", err.strip()[-300:])
    return *delivered_bytes(out), meter


@contextlib.contextmanager
def tcp_in_background(network, streams=1):
    """TCP at full speed for the length of the block."""
    with iperf_server(network.b):
        client = network.lab.start(iperf_argv(network, streams, 3600), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            yield
            if client.poll() is not None:
                raise BenchError("iperf3", "the background stream ended early")
        finally:
            client.kill()
            client.wait()


def ping(network, count, interval, address=ADDRESS_B):
    """Round trips in nanoseconds as a histogram, and the number of pings without an answer."""
    r = network.lab.start(network.a.argv("ping", "-n", "-c", count, "-i", f"{interval:g}", "-W", 1,
                                         address), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = network.output_of(r, count * interval + 20, "ping")
    times = [float(t) for t in PING_TIME.findall(out)]
    if not times:
        raise BenchError("ping", f"no answer from {address}: {out.strip()[-200:]}")
    return Histogram((round(t * 1e6), 1) for t in times), count - len(times)

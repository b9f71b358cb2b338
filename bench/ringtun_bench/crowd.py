# SPDX-License-Identifier: MPL-2.0
"""Many peers at once, by ringtun-bench-crowd: one process that connects thousands of sessions to a
gateway and sends from all of them."""

import subprocess

from . import generator, helpers
from .errors import BenchError
from .lab import command
from .tunnel import ADDRESS_B, PORT

PROGRAM = "ringtun-bench-crowd"
GATEWAY = f"192.0.2.2:{PORT}"
GENERATOR_PORT = 5310
INNER_NET = 0x0A800000  # 10.128.0.0/9
WINDOW = 64  # unanswered initiations: below what any gateway takes for a flood
CONNECT_SEC = 60
LINGER_SEC = 0.3  # of several flows, which wait in several queues


def peer_sections(n_peers):
    """The crowd's part of a gateway's configuration."""
    return command(helpers.find(PROGRAM), "config", "--peers", n_peers, step="making peers")


def arguments(network, n_peers, window, *more):
    return [helpers.find(PROGRAM), "run", "--peers", n_peers, "--gateway", GATEWAY, "--key",
            network.public, "--window", window, "--limit", CONNECT_SEC, *more]


def start(network, *argv):
    return network.a.start(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def connect(network, n_peers, window):
    """Connects all peers; what the crowd printed."""
    found = generator.result(start(network, *arguments(network, n_peers, window)), PROGRAM,
                             CONNECT_SEC + generator.SLACK_SEC)
    if not found["handshakes"]:
        raise BenchError("connecting", "the gateway answered no handshake")
    return found


def peer_endpoints(keys, keepalive_sec):
    """A `set` that tells a gateway where its peers are, and to keep in touch with them. @keys are the
    peers' public keys in hexadecimal, in the order of their numbers."""
    lines = ["set=1"]
    for i, key in enumerate(keys):
        lines.append(f"public_key={key}\nupdate_only=true\n"
                     f"endpoint=198.{18 + (i >> 16)}.{i >> 8 & 255}.{i & 255}:{PORT}\n"
                     f"persistent_keepalive_interval={keepalive_sec}")
    return "\n".join(lines) + "\n\n"


def answer(network, n_peers, begin):
    """Peers that wait; begin() makes the gateway connect to all of them. What the crowd printed."""
    process = start(network, helpers.find(PROGRAM), "answer", "--peers", n_peers, "--gateway",
                    GATEWAY, "--key", network.public, "--limit", CONNECT_SEC)
    process.stdout.readline()  # READY, or the end
    begin()
    return generator.result(process, PROGRAM, CONNECT_SEC + generator.SLACK_SEC)


def send(network, n_peers, size, seconds):
    """Connects all peers, then sends from all in turn. Returns (Point, meter of the load alone, what
    the crowd printed)."""
    limit = CONNECT_SEC + seconds + generator.SLACK_SEC
    with generator.receiver(network.b, "recv", "--bind", ADDRESS_B, "--limit", f"{limit:g}",
                            "--linger", LINGER_SEC) as receiver:
        process = start(network, *arguments(
            network, n_peers, WINDOW, "--to", f"{ADDRESS_B}:{GENERATOR_PORT}", "--size", size,
            "--duration", f"{seconds:g}", "--warm-up", generator.WARM_UP_SEC, "--rate", 0))
        process.stdout.readline()  # CONNECTED, or the end
        with network.meter() as meter:
            sent = generator.result(process, PROGRAM, limit + generator.SLACK_SEC)
            if sent["handshakes"] < n_peers:
                raise BenchError("connecting", f"only {sent['handshakes']} of {n_peers} peers got a "
                                 f"session within {CONNECT_SEC} s")
            received = generator.received_result(receiver)
    sent = {"last_error": "unknown", "late_max_us": 0, **sent}
    return generator.point(0, sent, received), meter, {"handshakes": {
        k: sent[k] for k in ("handshakes_per_s", "handshake_seconds", "initiations", "cookies")}}

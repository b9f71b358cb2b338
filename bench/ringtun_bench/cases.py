# SPDX-License-Identifier: MPL-2.0
"""What is measured. Each case builds its network for every implementation, and measures one of them
once per round. Families of cases are told apart by a number in their name: tcp-4, udp-256."""

import fnmatch
import os
import re
import time

from . import crowd, generator, traffic
from .errors import BenchError, Skipped, UsageError
from .lab import congestion_controls
from .search import lossless
from .stats import Histogram
from .tunnel import Gateway, Hub, Pair

GIGA, MEGA, KILO = 1e9, 1e6, 1e3
START_PPS = 20000
NEAR_STEP = 1.1  # of a search that begins where the last one ended
IMIX = "imix"
RTT_PPS = 500
SETTLE_SEC = 0.5  # before a measurement under load


class Measurement:
    """What one trial found. @gigabytes and @megapackets are what the cost is divided by."""

    def __init__(self, value, meter, gigabytes=None, megapackets=None, detail=None):
        self.value = value
        self.meter = meter
        self.gigabytes = gigabytes
        self.megapackets = megapackets
        self.detail = detail or {}


class Case:
    group = "other"
    better = "higher"
    unit = ""
    x = None      # position on the axis of its group's plot
    cpus = None   # number of CPUs that everything is pinned to
    needs_iperf = False

    def __init__(self, name, title):
        self.name = name
        self.title = title

    def network(self, lab, implementation):
        return Pair(lab, implementation)

    def describe(self):
        return {"name": self.name, "title": self.title, "group": self.group, "unit": self.unit,
                "better": self.better, "x": self.x}


class Tcp(Case):
    group = "tcp"
    unit = "Gbit/s"
    needs_iperf = True

    def __init__(self, name, streams, title=None, is_both_ways=False):
        super().__init__(name, title or self.streams_title(streams))
        self.streams = streams
        self.is_both_ways = is_both_ways
        self.x = streams

    @staticmethod
    def streams_title(streams):
        return f"TCP, {streams} stream{'s' if streams > 1 else ''}"

    def seconds(self, options):
        return traffic.iperf_seconds(options.seconds) + 0.5

    def measure(self, network, options, memory):
        done, seconds, meter = traffic.tcp(network, self.streams, options.seconds,
                                           self.is_both_ways)
        return Measurement(done * 8 / seconds / GIGA, meter, gigabytes=done / GIGA,
                           detail={"bytes": done, "seconds": seconds})


class WithBbr:
    """TCP paced by a timer for each super-packet, which is what this shows the price of."""

    NAME = "bbr"

    def network(self, lab, implementation):
        if self.NAME not in congestion_controls():
            raise Skipped(f"this kernel has no {self.NAME}")
        network = super().network(lab, implementation)
        for ns in lab.namespaces:
            ns.set_congestion_control(self.NAME)
        return network


class TcpBbr(WithBbr, Tcp):
    pass


class TcpHub(Tcp):
    group = "hub"

    def __init__(self, name, streams):
        super().__init__(name, streams, f"{self.streams_title(streams)}, through a gateway")

    def network(self, lab, implementation):
        return Hub(lab, implementation)


class TcpShaped(Tcp):
    """TCP over a link that delays, loses or reorders, below the tunnel."""

    group = "netem"

    def __init__(self, name, title, outer):
        super().__init__(name, 4, title)
        self.outer = outer

    def network(self, lab, implementation):
        return Pair(lab, implementation, self.outer)


class TcpPinned(Tcp):
    group = "cpus"

    def __init__(self, name, n_cpus):
        super().__init__(name, 4, f"TCP, 4 streams, everything on {n_cpus} "
                         f"CPU{'s' if n_cpus > 1 else ''}")
        self.cpus = n_cpus
        self.x = n_cpus


def size_title(size):
    return "IMIX" if size == IMIX else f"{size}-byte datagrams"


class UdpCase(Case):
    unit = "kpps"

    def __init__(self, name, title, size):
        super().__init__(name, title)
        self.size = size
        self.x = size

    @staticmethod
    def measurement(point, meter, detail=None):
        return Measurement(point.delivered_pps / KILO, meter,
                           gigabytes=point.extra["all_bytes"] / GIGA,
                           megapackets=point.extra["all_received"] / MEGA,
                           detail={**point.describe(), **(detail or {})})


class UdpLossless(UdpCase):
    group = "lossless"

    def __init__(self, name, size):
        super().__init__(name, f"{size_title(size)}, highest lossless rate", size)

    def seconds(self, options):
        return 8 * (options.trial_seconds + generator.OVERHEAD_SEC)

    def measure(self, network, options, memory):
        """A search. Later rounds begin where the last one ended."""
        meters = {}

        def trial(pps):
            point, meters[pps] = generator.udp(network, self.size, pps, options.trial_seconds,
                                                via=options.sender)
            network.check_alive()
            return point
        found = lossless(trial, memory.get("start", START_PPS), options.loss, options.resolution,
                         options.repeats, NEAR_STEP if "start" in memory else 2.0)
        if not found.best:
            raise BenchError("lossless rate", f"more than {options.loss:.2%} lost even at "
                             f"{found.points[-1].asked_pps:.0f} datagrams per second")
        memory["start"] = found.best.asked_pps
        return self.measurement(found.best, meters[found.best.asked_pps], {
            "limited_by": found.limit, "search": [p.describe() for p in found.points]})


class UdpOverload(UdpCase):
    """As fast as the sender can: what is delivered, and what it costs."""

    group = "overload"

    def __init__(self, name, size, n_segments=1, group="overload"):
        how = "sent with UDP_SEGMENT" if n_segments > 1 else "delivered under overload"
        super().__init__(name, f"{size_title(size)}, {how}", size)
        self.n_segments = n_segments
        self.group = group

    def seconds(self, options):
        return options.seconds + generator.OVERHEAD_SEC

    def measure(self, network, options, memory):
        point, meter = generator.udp(network, self.size, 0, options.seconds, self.n_segments,
                                     options.sender)
        return self.measurement(point, meter)


class UdpHub(UdpOverload):
    def __init__(self, name, size):
        super().__init__(name, size, group="hub")
        self.title = f"{size_title(size)} through a gateway, delivered under overload"

    def network(self, lab, implementation):
        return Hub(lab, implementation)


class RoundTrip(Case):
    """Percentiles of round trips, by the generator's echo or by ping, idle or under TCP."""

    group = "latency"
    unit = "us"
    better = "lower"

    def __init__(self, name, is_ping, is_loaded):
        what = "Ping round trip" if is_ping else "UDP round trip"
        super().__init__(name, f"{what}, {'during one TCP stream' if is_loaded else 'idle'}")
        self.is_ping = is_ping
        self.is_loaded = is_loaded
        self.needs_iperf = is_loaded

    def seconds(self, options):
        return options.seconds + generator.OVERHEAD_SEC + (1 if self.is_loaded else 0)

    def round_trips(self, network, options):
        with network.meter() as meter:
            if self.is_ping:
                histogram, lost = traffic.ping(network, max(5, round(options.seconds * 100)), 0.01)
            else:
                histogram, lost = generator.echo(network, RTT_PPS, options.seconds)
        return histogram, lost, meter

    def measure(self, network, options, memory):
        if self.is_loaded:
            with traffic.tcp_in_background(network):
                time.sleep(SETTLE_SEC)
                histogram, lost, meter = self.round_trips(network, options)
        else:
            histogram, lost, meter = self.round_trips(network, options)
        detail = {"lost": lost, "histogram_ns": histogram.buckets(),
                  "hdr_histogram": histogram.encoded(),
                  "percentiles_us": {k: v / KILO for k, v in histogram.percentiles().items()}}
        return Measurement(histogram.percentile(50) / KILO, meter, detail=detail)


class PingBbr(WithBbr, RoundTrip):
    """Cubic fills whatever queue there is, BBR tries not to."""

    def __init__(self, name):
        super().__init__(name, is_ping=True, is_loaded=True)
        self.title += " with BBR"


class Idle(Case):
    """A configured tunnel without traffic."""

    group = "idle"
    unit = "wake-ups/s"
    better = "lower"

    def __init__(self):
        super().__init__("idle", "Idle with one peer: wake-ups of both daemons")

    def seconds(self, options):
        return options.seconds + SETTLE_SEC

    def measure(self, network, options, memory):
        time.sleep(SETTLE_SEC)
        if not network.daemon_pids():
            raise Skipped("there is no daemon")
        with network.meter() as meter:
            time.sleep(options.seconds)
        cost = meter.cost()
        wall = cost["wall_s"]
        return Measurement(cost["switches_voluntary"] / wall, meter,
                           detail={"cpu_share": cost["daemon_s"] / wall})


class FirstPacket(Case):
    """From the first packet without a session to its answer: one handshake is in between."""

    group = "setup"
    unit = "ms"
    better = "lower"
    REPEATS = 10

    def __init__(self):
        super().__init__("first-packet", "First round trip without a session")

    def seconds(self, options):
        return 3

    def measure(self, network, options, memory):
        histogram = Histogram()
        with network.meter() as meter:
            for _ in range(self.REPEATS):
                network.forget_session()
                times, lost = traffic.ping(network, 1, 0.01)
                if lost:
                    raise BenchError("first packet", "no answer within a second")
                histogram.merge(times)
        return Measurement(histogram.percentile(50) / MEGA, meter,
                           detail={"histogram_ns": histogram.buckets()})


class Handshakes(Case):
    """How fast a gateway answers, with so few initiations in flight that none takes it for a flood."""

    group = "setup"
    unit = "handshakes/s"

    def __init__(self, name, n_peers):
        super().__init__(name, f"{n_peers} peers connect one after the other")
        self.n_peers = n_peers

    def network(self, lab, implementation):
        return Gateway(lab, implementation, crowd.peer_sections(self.n_peers))

    def seconds(self, options):
        return 2 + self.n_peers / 1500

    def connect(self, network, window):
        with network.meter() as meter:
            return crowd.connect(network, self.n_peers, window), meter

    def measure(self, network, options, memory):
        found, meter = self.connect(network, crowd.WINDOW)
        return Measurement(found["handshakes_per_s"], meter, detail=found)


class Reconnect(Handshakes):
    """All at once, each from an address of its own, as after a gateway's restart. A peer without
    answer tries again after five seconds."""

    unit = "s"
    better = "lower"

    def __init__(self, name, n_peers):
        super().__init__(name, n_peers)
        self.title = f"{n_peers} peers connect at once, time until the last one has a session"

    def measure(self, network, options, memory):
        found, meter = self.connect(network, 0)
        if found["handshakes"] < self.n_peers:
            raise BenchError("connecting", f"only {found['handshakes']} of {self.n_peers} peers got "
                             f"a session within {crowd.CONNECT_SEC} s")
        return Measurement(found["handshake_seconds"], meter, detail=found)


class ManyPeers(Case):
    """Datagrams from many peers in turn, as fast as the crowd seals them."""

    group = "peers"
    unit = "kpps"
    SIZE = 256

    def __init__(self, name, n_peers):
        super().__init__(name, f"{self.SIZE}-byte datagrams from {n_peers} active "
                         f"peer{'s' if n_peers > 1 else ''}")
        self.n_peers = n_peers
        self.x = n_peers

    def network(self, lab, implementation):
        return Gateway(lab, implementation, crowd.peer_sections(self.n_peers))

    def seconds(self, options):
        return options.seconds + 3 + self.n_peers / 3000

    def measure(self, network, options, memory):
        point, meter, detail = crowd.send(network, self.n_peers, self.SIZE, options.seconds)
        return UdpCase.measurement(point, meter, detail)


NETEM = {
    "netem-delay": ("TCP, 4 streams, 10 ms each way", ("netem", "delay", "10ms", "limit", "100000")),
    "netem-loss": ("TCP, 4 streams, 5 ms each way and 0.1 % lost",
                   ("netem", "delay", "5ms", "loss", "0.1%", "limit", "100000")),
    "netem-reorder": ("TCP, 4 streams, 5 ms each way and 1 % reordered",
                      ("netem", "delay", "5ms", "reorder", "1%", "limit", "100000")),
}

SINGLE = {
    "tcp-bidir": lambda n: Tcp(n, 1, "TCP, one stream in each direction at once", True),
    "tcp-bbr": lambda n: TcpBbr(n, 1, "TCP, one stream, with BBR"),
    "udp-imix": lambda n: UdpLossless(n, IMIX),
    "overload-imix": lambda n: UdpOverload(n, IMIX),
    "rtt-idle": lambda n: RoundTrip(n, is_ping=False, is_loaded=False),
    "rtt-tcp": lambda n: RoundTrip(n, is_ping=False, is_loaded=True),
    "ping-idle": lambda n: RoundTrip(n, is_ping=True, is_loaded=False),
    "ping-tcp": lambda n: RoundTrip(n, is_ping=True, is_loaded=True),
    "ping-bbr": PingBbr,
    "first-packet": lambda n: FirstPacket(),
    "idle": lambda n: Idle(),
    **{name: lambda n: TcpShaped(n, *NETEM[n]) for name in NETEM},
}

# name, lowest and highest number, constructor
FAMILIES = {
    "tcp": (1, 128, Tcp),
    "udp": (generator.MIN_SIZE, 65000, UdpLossless),
    "overload": (generator.MIN_SIZE, 65000, UdpOverload),
    "gso": (generator.MIN_SIZE, 1372, lambda n, size: UdpOverload(
        n, size, generator.n_segments(size), "gso")),
    "hub-tcp": (1, 128, TcpHub),
    "hub-udp": (generator.MIN_SIZE, 65000, UdpHub),
    "peers": (1, 10000, ManyPeers),
    "handshakes": (1, 10000, Handshakes),
    "reconnect": (1, 10000, Reconnect),
    "cpus": (1, os.cpu_count() or 1, TcpPinned),
}

QUICK = ("tcp-1", "tcp-4", "udp-64", "overload-64", "ping-idle", "ping-tcp")
DEFAULT = ("tcp-1", "tcp-4", "tcp-16", "tcp-bidir", "tcp-bbr", "udp-64", "udp-256", "udp-512",
           "udp-1372", "udp-imix", "overload-64", "overload-256", "overload-512", "overload-1372", "gso-64",
           "gso-1372", "rtt-idle", "rtt-tcp", "ping-idle", "ping-tcp", "ping-bbr", "hub-tcp-4",
           "hub-udp-64", "peers-1", "peers-10", "peers-100", "peers-1000", "peers-10000", "handshakes-1000",
           "reconnect-1000", "first-packet", *NETEM,
           *(f"cpus-{n + 1}" for n in range(os.cpu_count() or 1)), "idle")


def make(name):
    """The case of that name; UsageError if there is none."""
    if name in SINGLE:
        return SINGLE[name](name)
    match = re.fullmatch(r"([a-z-]+)-([0-9]{1,6})", name)
    if match and match[1] in FAMILIES:
        low, high, construct = FAMILIES[match[1]]
        number = int(match[2])
        if not low <= number <= high:
            raise UsageError(f"--case {name}: the number must be from {low} to {high}")
        return construct(name, number)
    raise UsageError(f"--case {name}: no such case; ringtun-bench tunnel --list-cases shows them")


def select(patterns):
    """Cases for names and shell patterns ("udp-*") in order, each once."""
    names = []
    for pattern in patterns:
        if any(c in pattern for c in "*?["):
            found = fnmatch.filter(DEFAULT, pattern)
            if not found:
                raise UsageError(f"--case {pattern}: matches no case")
            names += found
        else:
            names.append(pattern)
    return [make(n) for n in dict.fromkeys(names)]

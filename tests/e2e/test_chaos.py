#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""What a network and a host do to a tunnel at their worst. Each time the tunnel comes back by
itself, within the timers of the protocol, and a TCP stream through it goes on and arrives intact.
One end runs the io_uring engine, the other one the poll engine; what matters to an engine is done
to both. With E2E_LONG=1 stopped processes stay stopped for minutes."""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

from lib import report, traffic
from lib.impair import bad_pair
from lib.netns import wait_until
from lib.report import case, check, equal, skip
from lib.tunnel import Tunnel, wg

LONG = os.environ.get("E2E_LONG") == "1"
TCP_RTO_MAX_MS = 44  # Linux 6.15: without it TCP waits up to as long again as an outage took
TCP_USER_TIMEOUT = 18
REKEY_TIMEOUT = 5.4  # s, with its jitter
UNANSWERED = 15.4  # s, until data that nobody answers cause a handshake
TCP_RESUMES = 10  # s, after the tunnel did: it tries each second
SECOND = 10 ** 9


class Stream:
    """TCP through the tunnel for as long as the block lasts. At its end all must have arrived."""

    def __init__(self, source, destination, address, rate=64 << 10, patience=60):
        self.listener = destination.socket(kind=socket.SOCK_STREAM)
        self.listener.bind((address, 0))
        self.listener.listen(1)
        self.source, self.rate, self.patience = source, rate, patience
        self.sent, self.got = hashlib.sha256(), hashlib.sha256()
        self.n_sent = self.n_got = 0
        self.stop = threading.Event()
        self.errors = []

    def guard(self, function):
        try:
            function()
        except OSError as e:
            self.errors.append(f"{function.__name__}: {e}")

    def send(self):
        rng = random.Random(1)
        with self.source.socket(kind=socket.SOCK_STREAM) as s:
            s.settimeout(self.patience)
            s.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, self.patience * 1000)
            with contextlib.suppress(OSError):
                s.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, 1000)
            s.connect(self.listener.getsockname())
            while not self.stop.is_set():
                part = rng.randbytes(self.rate // 50)
                s.sendall(part)
                self.sent.update(part)
                self.n_sent += len(part)
                time.sleep(0.02)
            s.shutdown(socket.SHUT_WR)
            self.receiver.join(self.patience)

    def receive(self):
        self.listener.settimeout(self.patience)
        conn, _ = self.listener.accept()
        with conn, self.listener:
            conn.settimeout(self.patience)
            while data := conn.recv(1 << 16):
                self.got.update(data)
                self.n_got += len(data)

    def moves(self, within):
        """Whether anything arrives from now on."""
        before = self.n_got
        return wait_until(lambda: self.n_got > before, within)

    def __enter__(self):
        self.receiver = threading.Thread(target=self.guard, args=(self.receive,), daemon=True)
        self.sender = threading.Thread(target=self.guard, args=(self.send,), daemon=True)
        self.receiver.start()
        self.sender.start()
        return self

    def __exit__(self, kind, *_):
        self.stop.set()
        if kind:  # the case has failed already
            return
        self.sender.join(self.patience)
        check(not self.errors, f"TCP: {self.errors}, {self.n_got} of {self.n_sent} bytes")
        check(self.n_sent > 0 and self.n_got == self.n_sent,
              f"TCP: {self.n_got} of {self.n_sent} bytes arrived")
        check(self.got.digest() == self.sent.digest(), "TCP: contents differ")


@contextlib.contextmanager
def tcp(t, **kw):
    """Streams both ways, which TCP does not give up before their patience ends."""
    with Stream(t.a.ns, t.b.ns, t.b.v4, **kw) as to_b, Stream(t.b.ns, t.a.ns, t.a.v4, **kw) as to_a:
        time.sleep(0.3)
        yield to_b, to_a


def tunnel(lab, swap=False, **kw):
    """A Tunnel of both engines: a, who knows the endpoint, is on io_uring unless @swap."""
    io = ("--io=auto", "--io=poll")[::-1 if swap else 1]
    return Tunnel(lab, args_a=("-f", io[0]), args_b=("-f", io[1]), **kw)


def bad_tunnel(lab):
    a, b, bridge = bad_pair(lab)
    lab.pair = lambda mtu: (a, b)
    return tunnel(lab), bridge


def expect_back(ns, address, within, what):
    """Traffic passes again; returns after how long. @within comes from the protocol's timers; a
    second is for the machine."""
    start = time.monotonic()
    check(traffic.reaches(ns, address, within + 1), f"{what}: nothing for {within + 1:.1f} s")
    return time.monotonic() - start


def dropped(lab, ifname, reason):
    status = lab.uapi(ifname, "status=1\n\n")
    return sum(int(line.partition("=")[2]) for line in status.splitlines()
               if line.startswith(f"drop_{reason}="))


# The network

@case("chaos: 30 % of the datagrams get lost, both ways", timeout=150)
def loss(lab):
    t, bridge = bad_tunnel(lab)
    bridge.set(loss=0.3)
    # An attempt needs two of two; 12 of them all fail once in 3000 times.
    expect_back(t.a.ns, t.b.v4, 12 * REKEY_TIMEOUT, "handshake under loss")
    with tcp(t, rate=24 << 10):
        time.sleep(3)
        p = traffic.ping(t.a.ns, t.b.v4, count=100, interval=0.01)
    check(20 <= p.received <= 80, f"{p.received} of 100 pings came back: is there loss?")


@case("chaos: half of the datagrams arrive twice", timeout=60)
def double(lab):
    t, bridge = bad_tunnel(lab)
    bridge.set(double=0.5)
    expect_back(t.a.ns, t.b.v4, REKEY_TIMEOUT, "start")
    with tcp(t), traffic.Flow(t.a.ns, t.b.ns, t.a.v4, t.b.v4) as flow:
        time.sleep(2)
    check(not flow.verdict(), flow.verdict())
    check(dropped(lab, t.b.ifname, "rx_replay") > flow.sent / 4, "where are the duplicates?")


@case("chaos: a tenth of the datagrams arrives 5 s late", timeout=90)
def late(lab):
    t, bridge = bad_tunnel(lab)
    expect_back(t.a.ns, t.b.v4, REKEY_TIMEOUT, "start")
    with tcp(t, rate=16 << 10):
        bridge.set(delayed=0.1, delay=5)
        with traffic.Flow(t.a.ns, t.b.ns, t.a.v4, t.b.v4, rate=200) as flow:
            time.sleep(6)
            flow.stopping.set()
            time.sleep(5.2)
        bridge.set()
    # up to 1000 numbers late, which the replay window of 8128 allows
    check(flow.reordered > flow.sent / 20, f"only {flow.reordered} were late")
    check(not (flow.lost or flow.doubled or flow.damaged), flow.verdict())
    equal(dropped(lab, t.b.ifname, "rx_replay"), 0, "taken for replays")


@case("chaos: the outer link shrinks to an MTU of 576 under traffic, and grows again")
def shrink(lab):
    t = tunnel(lab)
    expect_back(t.a.ns, t.b.v4, REKEY_TIMEOUT, "start")
    with tcp(t, rate=1 << 20):
        for mtu in (1280, 576, 1000, 1500):
            for e in (t.a, t.b):
                e.ns.run("ip", "link", "set", "veth0", "mtu", mtu)
            time.sleep(0.4)
            p = traffic.ping(t.a.ns, t.b.v4, count=5, size=1300)
            check(p.received == 5, f"MTU {mtu}: {p.received} of 5 large pings")


def flap_links(ends, dev, times):
    for e in ends:
        ifname = dev or e.ifname
        batch = e.ns.lab.write(f"flap-{e.ifname}", f"link set {ifname} down\nlink set {ifname} up\n"
                               * times)
        yield e.ns.popen("ip", "-batch", batch)


@case("chaos: a thousand flaps of each tunnel interface under traffic", timeout=150)
def flap_tunnel(lab):
    t = tunnel(lab, both_endpoints=True)
    expect_back(t.a.ns, t.b.v4, REKEY_TIMEOUT, "start")
    fds = [len(e.daemon.fds()) for e in (t.a, t.b)]
    with tcp(t):
        for p in list(flap_links((t.a, t.b), None, 1000)):
            equal(p.wait(120), 0, "status of ip")
        # The last initiation or response before may forbid another one for as long.
        expect_back(t.a.ns, t.b.v4, 2 * REKEY_TIMEOUT, "after the flaps")
    equal([len(e.daemon.fds()) for e in (t.a, t.b)], fds, "descriptors")


@case("chaos: a thousand flaps of the link below under traffic", timeout=150)
def flap_below(lab):
    t = tunnel(lab, both_endpoints=True)
    expect_back(t.a.ns, t.b.v4, REKEY_TIMEOUT, "start")
    with tcp(t):
        (p,) = flap_links((t.a,), "veth0", 1000)
        equal(p.wait(120), 0, "status of ip")
        expect_back(t.a.ns, t.b.v4, REKEY_TIMEOUT, "after the flaps")


# The host

@case("chaos: outer addresses go, come back, and others take their place", timeout=60)
def addresses(lab):
    t = tunnel(lab, both_endpoints=True)
    expect_back(t.a.ns, t.b.v4, REKEY_TIMEOUT, "start")
    with tcp(t):
        for e in (t.a, t.b):
            old, new = f"192.0.2.{e.host}/24", f"192.0.2.{e.host + 70}/24"
            e.ns.run("ip", "addr", "del", old, "dev", "veth0")
            time.sleep(1)
            check(not traffic.reaches(t.a.ns, t.b.v4, 0.3), "reachable without an address")
            e.ns.run("ip", "addr", "add", new, "dev", "veth0")
            # The session lives: the other end follows the first packet from the new address.
            expect_back(e.ns, (t.b if e is t.a else t.a).v4, 1, "new address")
            expect_back((t.b if e is t.a else t.a).ns, e.v4, 1, "to the new address")


@case("chaos: the route to the peer is lost and comes back", timeout=60)
def routes(lab):
    t = tunnel(lab)
    expect_back(t.a.ns, t.b.v4, REKEY_TIMEOUT, "start")
    with tcp(t):
        for e in (t.a, t.b):
            e.ns.run("ip", "route", "del", "192.0.2.0/24", "dev", "veth0")
            time.sleep(1)
            check(not traffic.reaches(t.a.ns, t.b.v4, 0.3), "reachable without a route")
            e.ns.run("ip", "route", "add", "192.0.2.0/24", "dev", "veth0")
            expect_back(t.a.ns, t.b.v4, 1, "route")


@case("chaos: each tunnel interface moves to another namespace and back", timeout=60)
def moves(lab):
    t = tunnel(lab, both_endpoints=True)
    expect_back(t.a.ns, t.b.v4, REKEY_TIMEOUT, "start")
    with tcp(t):
        for e, other in ((t.a, t.b), (t.b, t.a)):
            home, away = e.ns, lab.netns()
            # The stream's sockets stay at home: what comes here for them must not be reset.
            away.run("nft", "add table ip t;"
                     "add chain ip t in { type filter hook input priority 0; };"
                     "add rule ip t in meta l4proto tcp drop")
            for there, here in ((away, home), (home, away)):
                here.run("ip", "link", "set", e.ifname, "netns", there.name)
                e.ns = there
                e.up()
                expect_back(there, other.v4, REKEY_TIMEOUT, "moved")


@case("chaos: SIGSTOP of one end, then of the other", timeout=900 if LONG else 90)
def stopped(lab):
    t = tunnel(lab)
    seconds = 200 if LONG else 4  # 200: the session has expired meanwhile
    expect_back(t.a.ns, t.b.v4, REKEY_TIMEOUT, "start")
    with tcp(t, patience=4 * seconds + 60) as streams:
        for e in (t.a, t.b):
            e.daemon.process.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            check(not traffic.reaches(t.a.ns, t.b.v4, 0.3), "reachable while stopped")
            e.daemon.process.send_signal(signal.SIGCONT)
            # The other end may just be waiting for an answer to its initiation.
            expect_back(t.a.ns, t.b.v4, REKEY_TIMEOUT if LONG else 1, "continued")
            for s in streams:
                check(s.moves(TCP_RESUMES), "the stream does not go on")


def killed(lab, swap):
    t = tunnel(lab, swap)
    expect_back(t.a.ns, t.b.v4, REKEY_TIMEOUT, "start")
    with tcp(t):
        t.b.daemon.process.send_signal(signal.SIGKILL)
        t.b.daemon.wait()
        t.b.daemon = t.b.ns.daemon(ifname=t.b.ifname, args=("-f",))
        wg("setconf", t.b.ifname, t.b.conf)
        t.b.up()
        # The new one does not know where a is: a finds out that nobody answers.
        took = expect_back(t.a.ns, t.b.v4, UNANSWERED, "restarted")
    check(took > 5, f"after {took:.1f} s: did the old session live on?")


# Clocks

class Clocks:
    """The daemons' clocks, by a preloaded library: the machine's own must be left alone."""

    def __init__(self, lab):
        compiler = shutil.which("cc") or skip("needs a C compiler")
        library = lab.path("clock_shift.so")
        source = os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib/clock_shift.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
        self.path = lab.write("clock", "\0" * 16)
        self.env = {"LD_PRELOAD": library, "CLOCK_SHIFT": self.path}

    def jump(self, realtime=0, boottime=0):
        with open(self.path, "r+b") as f:
            f.write(struct.pack("qq", int(realtime * SECOND), int(boottime * SECOND)))


def clock_tunnel(lab, swap):
    """Only a's clocks jump."""
    with open(os.environ.get("RINGTUN_BIN") or "/dev/null", "rb") as f:
        if b"__asan_init" in (text := f.read()) or b"__tsan_init" in text:
            skip("a sanitizer's own clock_gettime comes first")
    clocks = Clocks(lab)
    return tunnel(lab, swap, env_a=clocks.env, both_endpoints=True), clocks


def time_of_day(lab, swap):
    t, clocks = clock_tunnel(lab, swap)
    expect_back(t.a.ns, t.b.v4, REKEY_TIMEOUT, "start")
    first = t.a.peer().handshake
    with tcp(t), traffic.Flow(t.a.ns, t.b.ns, t.a.v4, t.b.v4) as flow:
        for seconds in (365 * 86400, -1, -20 * 365 * 86400, 0):
            clocks.jump(realtime=seconds)
            time.sleep(0.5)
        # 20 years ago nobody would take our initiations for new ones: the peer begins.
        clocks.jump(realtime=-20 * 365 * 86400)
        time.sleep(0.1)
    check(not flow.verdict(), flow.verdict())
    equal(t.a.peer().handshake, first, "handshake: the session does not depend on it")
    t.b.ns.run("ip", "link", "set", t.b.ifname, "down")
    t.b.ns.run("ip", "link", "set", t.b.ifname, "up")
    expect_back(t.b.ns, t.a.v4, REKEY_TIMEOUT, "a new session, begun by the peer")
    check(abs(t.a.peer().handshake - time.time() + 20 * 365 * 86400) < 60,
          "the jump did not reach the daemon")


def suspended(lab, swap):
    t, clocks = clock_tunnel(lab, swap)
    expect_back(t.a.ns, t.b.v4, REKEY_TIMEOUT, "start")
    with tcp(t):
        t.a.daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(1)
        clocks.jump(9 * 3600, 9 * 3600)
        t.a.daemon.process.send_signal(signal.SIGCONT)
        expect_back(t.a.ns, t.b.v4, REKEY_TIMEOUT, "resumed")
    check(t.a.peer().handshake > time.time() + 8 * 3600,
          "the old session lives on, or the jump did not reach the daemon")


# These happen to one end, so to the other engine as well with E2E_LONG=1.

for _swap in (False, True) if LONG else (False,):
    _which = ", engines swapped" if _swap else ""
    case(f"chaos: kill -9 of the peer{_which}", timeout=90)(
        lambda lab, swap=_swap: killed(lab, swap))
    case(f"chaos: the time of day jumps by years, both ways, and by a second{_which}", timeout=60)(
        lambda lab, swap=_swap: time_of_day(lab, swap))
    case(f"chaos: suspended for 9 hours{_which}", timeout=60)(
        lambda lab, swap=_swap: suspended(lab, swap))


if __name__ == "__main__":
    report.main()

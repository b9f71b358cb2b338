#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
# Runs alone: it measures, or counts what a busy machine delays.
"""Floods, hostile datagrams and large numbers (sections 6, 7, 21 and 23 of the protocol).

Under a flood datagrams get lost before the daemon sees them, so these checks repeat what they
send, and claim no more than holds whatever was lost."""

import os
import random
import socket
import struct
import time

from lib import wgpeer as wg
from lib import wgpeer_inner as inner
from lib.report import check as ensure
from lib.report import equal, skip
from lib.wgpeer_check import check, main
from lib.wgpeer_flood import Flood
from lib.wgpeer_rig import FAR4, FAR6, HOST4, HOST6, INNER4, INNER6
from lib.wgpeer_udp import UDP_SEGMENT

FLOODER, NEIGHBOUR = "192.0.2.66", "2001:db8::3"


def add_far_addresses(rig):
    rig.far.run("ip", "addr", "add", f"{FLOODER}/24", "dev", "veth0")
    rig.far.run("ip", "-6", "addr", "add", f"{NEIGHBOUR}/64", "dev", "veth0", "nodad")


def flooded(rig):
    add_far_addresses(rig)
    return rig.own(Flood(rig, FLOODER))


def answered(d):
    """The index of the initiation that a response or cookie reply answers."""
    return struct.unpack_from("<I", d.data, 8 if wg.kind_of(d.data) == wg.RESPONSE else 4)[0]


def reply_to(peer, make, kinds, tries=60, gap=0.05):
    """Sends what @make returns again and again until a message of one of @kinds answers the last
    one sent or one before it: (what was sent, Datagram)."""
    sent = {}
    for _ in range(tries):
        i = make()
        sent[i.index] = i
        peer.send(i.message)
        end = time.monotonic() + gap
        while (d := peer.recv(end - time.monotonic())) is not None:
            index = answered(d)
            if wg.kind_of(d.data) in kinds and index in sent:  # else late, to an earlier one
                return sent[index], d
    ensure(False, f"no message of type {kinds} to {tries} initiations")


def get_cookie(rig, peer):
    i, d = reply_to(peer, peer.initiation, (wg.COOKIE_REPLY,))
    receiver, cookie = wg.open_cookie_reply(d.data, rig.public, i.mac1)
    equal(receiver, i.index, "receiver of the cookie reply")
    return cookie, d


# Under load

STEADY = 0.03  # seconds; load that lapses needs longer to be noticed again


class Round:
    """Initiations with mac2 by all @peers at once, between initiations without it by the
    @canaries, whose answers tell whether there was load all the time."""

    def __init__(self, peers, canaries, cookie_of):
        self.first, self.last = ([c.initiation() for c in canaries] for _ in range(2))
        self.burst = [p.initiation(cookie=cookie_of[p.udp]) for p in peers]
        for i, p in (*zip(self.first, canaries), *zip(self.burst, peers),
                     *zip(self.last, canaries)):
            p.send(i.message)
        self.answers = {}
        for udp in {canaries[0].udp, *cookie_of}:
            patience = 2  # they may have to pass a long queue
            while (d := udp.recv(patience)) is not None:
                self.answers[answered(d)] = d
                patience = 0.25

    def kinds(self, initiations):
        return [wg.kind_of(self.answers[i.index].data) for i in initiations
                if i.index in self.answers]

    def times(self, initiations):
        return [self.answers[i.index].time for i in initiations if i.index in self.answers]

    def under_load(self):
        """Load before and after, with no time to lapse in between."""
        before, after = self.kinds(self.first), self.kinds(self.last)
        if set(before + after) != {wg.COOKIE_REPLY} or not before or not after:
            return False
        return max(self.times(self.last)) - min(self.times(self.first)) < STEADY


def judged(rig, peers, cookie_of, judge):
    """Calls @judge with the types of the answers to @peers for up to four rounds that were under
    load."""
    udp = rig.udp()
    canaries = [rig.peer(udp=udp) for _ in range(12)]
    n, end = 0, time.monotonic() + 12
    while n < 4 and time.monotonic() < end:
        r = Round(peers, canaries, cookie_of)
        kinds = r.kinds(r.burst)
        if r.under_load() and kinds:
            judge(kinds)
            n += 1
    if n == 0:
        skip("load was never steady enough to tell")


def limited(kinds):
    """Of many initiations with mac2 at once not more than the burst are answered, and those refused
    get no cookie reply."""
    equal(set(kinds), {wg.RESPONSE}, "answers to initiations with mac2")
    ensure(len(kinds) <= 6, f"{len(kinds)} responses at once")


def refused(kinds):
    equal(set(kinds), {wg.COOKIE_REPLY}, "answers to initiations with a wrong mac2")


@check("P-106 P-120 P-122 P-104 under a flood: cookie replies, and a way in with mac2", alone=True)
def cookies(rig):
    p = rig.peer()
    flooded(rig)
    cookie, d = get_cookie(rig, p)
    equal(d.tos, 0, "TOS of a cookie reply")
    equal(d.source[:2], (HOST4, rig.port), "source of a cookie reply")
    ensure(session_through(rig, p, cookie), "no packet through a session")


@check("P-104 P-122 a wrong cookie, or that of another port or address, is refused", alone=True)
def wrong_cookies(rig):
    owner = rig.peer()
    add_far_addresses(rig)
    others = [rig.udp(), rig.udp(FLOODER)]
    peers = [owner] * 3 + [rig.peer(udp=u) for u in others for _ in range(3)]
    rig.own(Flood(rig, FLOODER))
    cookie, _ = get_cookie(rig, owner)
    judged(rig, peers, {owner.udp: os.urandom(16), **{u: cookie for u in others}}, refused)


def session_through(rig, peer, cookie):
    """Whether @peer gets a session and a packet through it. What waits in the daemon's queues may
    replace a session before we confirm it, so the newest response counts."""
    sent = {}
    for n in range(200):
        if n < 20:
            i = peer.initiation(cookie=cookie)
            sent[i.index] = i
            peer.send(i.message)
        while (d := peer.recv(0.05)) is not None:
            if wg.kind_of(d.data) == wg.RESPONSE and answered(d) in sent:
                peer.send_in(sent[answered(d)].consume(d.data), n)
        if rig.delivered(0.05) is not None:
            return True
    return False


@check("P-106 P-122 an unknown peer gets a cookie too; without mac1 nobody does", alone=True)
def cookie_for_anybody(rig):
    stranger = rig.peer(configure=False)
    flooded(rig)
    get_cookie(rig, stranger)
    stranger.drain(0.3)
    for _ in range(30):
        i = stranger.initiation()
        stranger.send(i.message[:116] + os.urandom(16) + i.message[132:])
    stranger.silent(0.5, "to a bad mac1 under load")


@check("P-122 P-107 under load a response without mac2 gets a cookie reply", alone=True)
def cookie_for_response(rig):
    p = rig.peer(endpoint=True)
    flooded(rig)
    get_cookie(rig, rig.peer())  # load has begun
    rig.send_out(p)
    received = p.receive_initiation(20)
    sessions, cookie = {}, None
    for _ in range(400):
        response, session = received.respond(cookie=cookie)
        sessions[session.local] = session, response, cookie
        p.send(response)
        d = p.recv(0.05)
        if d and wg.kind_of(d.data) == wg.INITIATION:  # a retransmission: only it counts now
            received = wg.ReceivedInitiation(p.private, d.data)
        if d and wg.kind_of(d.data) == wg.COOKIE_REPLY and cookie is None:
            _, response, _ = sessions[struct.unpack_from("<I", d.data, 4)[0]]
            _, cookie = wg.open_cookie_reply(d.data, rig.public, response[60:76])
        if d and wg.kind_of(d.data) == wg.TRANSPORT:
            session, _, used = sessions[struct.unpack_from("<I", d.data, 4)[0]]
            session.open(d.data)
            ensure(used, "a response without mac2 was accepted under load")
            return
    ensure(False, f"no session; cookie reply seen: {cookie is not None}")


@check("P-123 with mac2 a source has 5 at once and 20 per second", alone=True)
def token_bucket(rig):
    first = rig.peer()
    peers = [first] + [rig.peer(udp=first.udp) for _ in range(29)]
    flooded(rig)
    cookie, _ = get_cookie(rig, first)
    judged(rig, peers, {first.udp: cookie}, limited)


@check("P-123 the sources of one IPv6 /64 share a limit", alone=True, known=True)
def token_bucket_v6(rig):
    add_far_addresses(rig)
    sources = [rig.udp(a) for a in (FAR6, NEIGHBOUR)]
    rig.own(Flood(rig, FLOODER))
    peers = [rig.peer(udp=udp) for _ in range(15) for udp in sources]
    judged(rig, peers, {p.udp: get_cookie(rig, p)[0] for p in peers[:2]}, limited)


@check("P-121 load ends a second after the flood", alone=True)
def load_ends(rig):
    p = rig.peer()
    flood = flooded(rig)
    get_cookie(rig, p)
    flood.close()
    time.sleep(2.5)  # and what still waits in buffers
    p.drain(0)
    i = p.send_initiation()
    rig.works(p, i.consume(p.expect(wg.RESPONSE).data))


@check("P-127 sessions keep flowing both ways through a flood", alone=True)
def sessions_flow(rig):
    p = rig.peer()
    session = p.connect()
    flooded(rig)
    get_cookie(rig, rig.peer())
    into, out = 0, 0
    for mark in range(200):
        p.send_in(session, mark)
        rig.send_out(p, mark)
        into += rig.delivered(0.05) is not None
        d = p.recv(0.05)
        out += d is not None and session.owns(d.data)
    ensure(into >= 160 and out >= 160, f"of 200 packets {into} came in and {out} went out")


@check("P-121 P-125 a hundred initiations at once are all answered", alone=True)
def hundred_at_once(rig):
    udp = rig.udp()
    peers = [rig.peer(udp=udp) for _ in range(100)]
    initiations = {}
    for p in peers:
        i = p.initiation()
        initiations[i.index] = i
    for i in initiations.values():
        udp.send(i.message, (HOST4, rig.port))
    for _ in range(100):
        d = peers[0].expect(wg.RESPONSE)
        initiations.pop(struct.unpack_from("<I", d.data, 8)[0]).consume(d.data)


@check("P-121 a hundred initiations per second bring no load", alone=True)
def hundred_per_second(rig):
    peers = [rig.peer() for _ in range(10)]
    for _ in range(30):
        start = time.monotonic()
        for p in peers:
            p.handshake()
        time.sleep(max(0.0, start + 0.1 - time.monotonic()))


@check("P-055 P-440 one initiation repeated a thousand times has one answer", alone=True)
def repeated(rig):
    p = rig.peer()
    i = p.initiation()
    for _ in range(1000):
        p.send(i.message)
    time.sleep(0.5)
    kinds = [wg.kind_of(d.data) for d in p.drain(n=1)]  # so many may be load
    equal((kinds.count(wg.RESPONSE), set(kinds) - {wg.RESPONSE, wg.COOKIE_REPLY}), (1, set()),
          "responses, and other messages")


@check("P-124 P-126 P-481 a flood from thousands of sources costs little memory and passes",
       alone=True, known=True)
def many_sources(rig):
    rig.far.sysctl("net.ipv4.ip_forward", 0)
    before = rig.daemon.rss_kib()
    flood = rig.own(Flood(rig, FAR4, spoofed=True))
    time.sleep(6)
    grown = rig.daemon.rss_kib() - before
    flood.close()
    ensure(grown < 96 << 10, f"{grown} KiB more")
    time.sleep(2.5)
    p = rig.peer()
    rig.works(p, p.connect())


# Hostile datagrams

def types(rng):
    return (b"", struct.pack("<I", rng.randrange(1, 5)), b"\0\0\0\0", b"\5\0\0\0", b"\4\0\0\1")


@check("P-034 P-480 P-440 datagrams of every length from 0 to 2000", alone=True)
def all_lengths(rig):
    p = rig.peer()
    session = p.connect()
    rng = random.Random(1)
    for n in range(2001):
        for head in types(rng):
            p.send((head + rng.randbytes(n))[:n])
    p.silent()
    rig.works(p, session)


@check("P-036 P-480 the largest datagrams, IPv4 and IPv6", alone=True)
def largest(rig):
    rng = random.Random(2)
    for far in (FAR4, FAR6):
        p = rig.peer(address=far)
        session = p.connect()
        top = 65527 if p.udp.v6 else 65507
        for n in (2048, 4096, 9000, 16384, 32767, 32768, 65000, 65506, 65507, top):
            for head in types(rng):
                p.send((head + rng.randbytes(n))[:min(n, top if not p.udp.v6 else 65507)])
            for index in (session.remote, session.remote ^ 1):
                garbage = rng.randbytes(min(n, 65507) - 16)
                p.send(struct.pack("<IIQ", wg.TRANSPORT, index, n) + garbage)
        p.silent(0.2)
        rig.works(p, session)


@check("P-480 empty datagrams alone and among others", alone=True)
def empty_datagrams(rig):
    for far in (FAR4, FAR6):
        p = rig.peer(address=far)
        session = p.connect()
        for _ in range(3000):
            p.send(b"")
        rig.works(p, session)
        for mark in range(100):
            p.send(b"")
            p.send_in(session, mark)
        rig.delivers(list(range(100)))


@check("P-147 P-480 datagrams that arrive as one large segment, the last one shorter", alone=True)
def coalesced(rig):
    for far in (FAR4, FAR6):
        p = rig.peer(address=far)
        session = p.connect()
        for size, n in ((64, 60), (1400, 40), (500, 64), (80, 2)):
            inside = [inner.marked(p.inner4, INNER4, k) + bytes(size - 60) for k in range(n)]
            data = [session.seal(i[:size - 32]) for i in inside[:-1]]
            data.append(session.seal(inside[-1][:28]))
            equal({len(d) for d in data[:-1]} - {len(data[0])}, set(), "other sizes")
            p.udp.socket.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(data[0]))
            p.send(b"".join(data))
            p.udp.socket.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
            rig.delivers(list(range(n)), f"{n} packets of {size} bytes in one segment")


@check("P-480 P-441 a large segment of garbage with good messages in it", alone=True)
def coalesced_garbage(rig):
    p = rig.peer()
    session = p.connect()
    rng = random.Random(3)
    data = []
    for k in range(40):
        good = session.seal(inner.marked(p.inner4, INNER4, k) + bytes(100))
        data += [good, rng.choice((rng.randbytes(len(good)), bytes(len(good)),
                                   good[:16] + rng.randbytes(len(good) - 16),
                                   struct.pack("<I", 1) + rng.randbytes(len(good) - 4)))]
    p.udp.socket.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(data[0]))
    p.send(b"".join(data))
    p.udp.socket.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
    rig.delivers(list(range(40)))


@check("P-480 P-262 random plaintexts of an authenticated peer", alone=True)
def random_plaintexts(rig):
    p = rig.peer()
    session = p.connect()
    rng = random.Random(4)
    for _ in range(3000):
        plaintext = bytearray(rng.randbytes(rng.randrange(0, 200)))
        if plaintext and rng.random() < 0.8:
            plaintext[0] = rng.choice((0x45, 0x46, 0x4F, 0x40, 0x60, 0x6F))
        if len(plaintext) > 20 and rng.random() < 0.5:
            struct.pack_into("!H", plaintext, rng.choice((2, 4)), rng.randrange(0, 220))
            plaintext[12:16] = inner.packed(p.inner4)
        p.send(session.seal(bytes(plaintext), pad=False))
    rig.tun.all(0.3)
    p.drain()
    rig.works(p, session)


@check("P-480 P-267 random packets from the TUN", alone=True)
def random_packets(rig):
    p = rig.peer("allowed_ip=0.0.0.0/0", "allowed_ip=::/0")
    session = p.connect()
    rng = random.Random(5)
    for _ in range(3000):
        packet = bytearray(rng.randbytes(rng.randrange(1, 200)))
        if rng.random() < 0.8:
            packet[0] = rng.choice((0x45, 0x46, 0x4F, 0x40, 0x60, 0x6F))
        rig.inject(bytes(packet))
        p.drain(0)
    p.drain(0.3)
    rig.tun.all(0.1)
    rig.works(p, session)


@check("P-482 the tunnel's own packets routed into the tunnel", alone=True)
def recursion(rig):
    p = rig.peer("allowed_ip=0.0.0.0/0")
    session = p.connect()
    before = rig.daemon.rss_kib()
    rig.host.run("ip", "addr", "add", f"{INNER4}/32", "dev", rig.ifname)
    rig.host.run("ip", "route", "add", f"{FAR4}/32", "dev", rig.ifname)
    rig.set_peer(p, f"endpoint={p.endpoint}")
    for mark in range(200):
        rig.send_out(p, mark)
    time.sleep(2)
    rig.get()
    rig.host.run("ip", "route", "del", f"{FAR4}/32", "dev", rig.ifname)
    ensure(rig.daemon.rss_kib() - before < 64 << 10, "it grew by more than 64 MiB")
    p.drain(0.5)
    rig.tun.all(0.2)
    rig.works(p, session)


# Many peers

@check("P-366 P-345 two peers of different families in alternation", alone=True)
def alternating(rig):
    peers = [rig.peer(address=a) for a in (FAR4, FAR6)]
    sessions = [p.connect() for p in peers]
    for mark in range(100):
        for p in peers:
            rig.send_out(p, mark)
    for p, session, host in zip(peers, sessions, (HOST4, HOST6)):
        for mark in range(100):
            _, plaintext, d = p.transport(session)
            equal((inner.mark_of(plaintext), d.source[0]), (mark, host), "packet and source")


@check("P-366 neighbours that do not answer clog what is sent to them, nothing else", alone=True,
       known=True)
def clogged(rig):
    good = rig.peer()
    session = good.connect()
    udp = rig.udp()
    dead = [rig.peer(udp=udp) for _ in range(60)]
    for n, p in enumerate(dead):
        p.connect()
        rig.set_peer(p, f"endpoint=192.0.2.{100 + n}:9")
    for _ in range(100):  # each neighbour's queue holds 200 KB for some seconds, the socket less
        for p in dead:
            rig.inject(inner.sized(INNER4, p.inner4, 1400))
        time.sleep(0.002)
    for mark in range(20):
        good.send_in(session, mark)
        ensure(rig.delivered(1) is not None, "nothing is received while sending is clogged")
    start = time.monotonic()
    rig.get()
    ensure(time.monotonic() - start < 1, "get took more than a second")
    for mark in range(60):
        rig.send_out(good, mark)
        if good.recv(0.25):
            break
    else:
        ensure(False, "nothing is sent to a living peer for 15 s")
    time.sleep(4)
    good.drain()
    rig.works(good, session)


@check("P-241 P-481 hundreds of dead peers with full queues cost little memory", alone=True,
       known=True)
def dead_peers(rig):
    udp = rig.udp()
    peers = [rig.peer(udp=udp, endpoint=True) for _ in range(100)]
    before = rig.daemon.rss_kib()
    for p in peers:
        for mark in range(200):
            rig.inject(inner.sized(INNER4, p.inner4, 1400))
            if mark % 100 == 99:
                time.sleep(0.005)
    time.sleep(0.5)
    grown = rig.daemon.rss_kib() - before
    ensure(grown < 80 << 10, f"{grown} KiB more for at most {100 * 129 * 1400 >> 10} KiB")
    for p in peers[1:]:
        rig.set_peer(p, "remove=true")
    peers[0].drain()
    session = peers[0].connect()
    peers[0].drain(0.3)  # what was staged
    rig.works(peers[0], session)


@check("P-090 P-093 P-387 thousands of peers that come, shake hands and go", timeout=90, alone=True)
def churn(rig):
    udp = rig.udp()
    keep = rig.peer()
    session = keep.connect()
    before = None
    for n in range(800):
        p = rig.peer(udp=udp)
        i = p.send_initiation()
        i.consume(p.expect(wg.RESPONSE).data)
        rig.set_peer(p, "remove=true")
        if n == 300:
            before = rig.daemon.rss_kib()
    grown = rig.daemon.rss_kib() - before
    ensure(grown < 8 << 10, f"{grown} KiB more after 500 peers")
    rig.works(keep, session)


@check("P-147 P-366 UDP of the host's own sockets, both families", alone=True)
def real_sockets(rig):
    p = rig.peer()
    session = p.connect()
    rig.host.run("ip", "addr", "add", f"{INNER4}/16", "dev", rig.ifname)
    rig.host.run("ip", "-6", "addr", "add", f"{INNER6}/32", "dev", rig.ifname, "nodad")
    for family, peer_address, own in ((socket.AF_INET, p.inner4, INNER4),
                                      (socket.AF_INET6, p.inner6, INNER6)):
        with rig.host.socket(family) as s:
            s.bind((own, 4000))
            s.settimeout(2)
            for n in range(30):
                s.sendto(b"out%03d" % n, (peer_address, 5000))
                ensure(b"out%03d" % n in p.plaintext(session), "payload of a UDP packet")
                p.send(session.seal(inner.udp(peer_address, own, 5000, 4000, b"in%03d" % n)))
                data, source = s.recvfrom(100)
                equal((data, source[:2]), (b"in%03d" % n, (peer_address, 5000)), "UDP packet")


# Nearly two minutes of waiting, beside all the above

@check("P-200 P-221 P-223 P-227 P-248 P-010 20 initiations, then silence, then new traffic",
       timeout=150, waits=True)
def give_up(rig):
    p = rig.peer(endpoint=True)
    rig.send_out(p, 1)
    seen = [p.receive_initiation()]
    while (d := p.recv(8)) is not None:
        r = wg.ReceivedInitiation(p.private, d.data)
        r.time = d.time
        seen.append(r)
    gaps = [b.time - a.time for a, b in zip(seen, seen[1:])]
    ensure(4.99 <= min(gaps) and max(gaps) <= 6.1, f"gaps of {min(gaps):.3f} to {max(gaps):.3f} s")
    ensure(max(gaps) - min(gaps) > 0.15, f"no jitter: {min(gaps):.4f} to {max(gaps):.4f}")
    equal(len(seen), 20, "initiations")
    for field in ("ephemeral", "index", "stamp"):
        equal(len({getattr(r, field) for r in seen}), 20, f"different values of {field}")
    ensure(all(a.stamp < b.stamp for a, b in zip(seen, seen[1:])), "a timestamp went back")
    rig.send_out(p, 2)
    session = p.accept()
    equal(inner.mark_of(p.plaintext(session)), 2, "the packet queued after giving up")
    p.silent(why="the packet from before was dropped")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Transport messages as seen from outside: counters and replay, order, key-pair slots, staging,
padding and the validation of inner packets (sections 8, 9, 11 and 12 of the protocol)."""

import os
import struct
import time

from lib import wgpeer as wg
from lib import wgpeer_inner as inner
from lib.report import check as ensure
from lib.report import equal
from lib.wgpeer_check import check, main
from lib.wgpeer_rig import FAR6, HOST6, INNER4, INNER6, QUIET

RAM = wg.REJECT_AFTER_MESSAGES
L = 8129  # the distance that is just too far (P-145)


# Replay window

def accepted(rig, peer, session, counters, n):
    """The positions of those @counters whose packets are delivered, which should be @n."""
    for position, counter in enumerate(counters):
        peer.send_in(session, position, counter=counter)
    return rig.marks(n=n)


def sequence(rig, verdicts):
    """Runs (accept?, counter...) groups on a fresh session."""
    p = rig.peer()
    session = p.handshake()
    counters = [c for _, *group in verdicts for c in group]
    expected = [ok for ok, *group in verdicts for _ in group]
    got = accepted(rig, p, session, counters, sum(expected))
    for position, (counter, ok) in enumerate(zip(counters, expected)):
        equal(position in got, ok, f"acceptance of counter {counter} at position {position}")
    equal(len(got), sum(expected), "number of delivered packets")


@check("P-144 P-145 P-146 the replay sequence")
def replay_sequence(rig):
    sequence(rig, (
        (True, 0, 1), (False, 1), (True, 9, 8, 7), (False, 7), (True, L, L - 1), (False, L - 1),
        (True, L - 2, 2), (False, 2), (True, L + 16), (False, 3, L + 16),
        (True, 4 * L, 4 * L - 8128),
        (False, 10, 4 * L - L), (True, 4 * L - 8127), (False, 0), (False, RAM), (True, RAM - 1),
        (False, RAM, RAM - 1)))


@check("P-144 exactly at the edge of the window")
def replay_edge(rig):
    for top in (8128, 8129, 8192, 8193, 100_000, 2**32, 2**63):
        sequence(rig, ((True, top, top - 8128), (False, top - 8128, top - 8129, top)
                       if top > 8128 else (False, top - 8128, top)))


@check("P-146 jumps by every power of two")
def replay_jumps(rig):
    top, verdicts = 0, [(True, 0)]
    for power in range(0, 63):
        previous, top = top, top + 2**power
        verdicts += [(True, top), (False, top)]
        if power >= 14:
            verdicts.append((False, previous, previous + 1))
            verdicts.append((True, top - 8000))
    sequence(rig, verdicts)


@check("P-144 the highest counters of all")
def replay_highest(rig):
    sequence(rig, ((False, RAM, RAM + 1, 2**64 - 1), (True, 3, RAM - 1), (False, RAM - 1, 4)))


def fill(rig, peer, session, first, last):
    """Counters first..last, each of which has to be delivered."""
    for start in range(first, last + 1, 128):
        chunk = range(start, min(start + 128, last + 1))
        for c in chunk:
            peer.send_in(session, c, counter=c)
        for c in chunk:
            packet = rig.delivered()
            ensure(packet is not None, f"counter {c} was not delivered")
            equal(inner.mark_of(packet), c, "order of delivery")


@check("P-145 a window filled without gaps")
def replay_filled(rig):
    p = rig.peer()
    s = p.handshake()
    fill(rig, p, s, 1, 8128)
    equal(accepted(rig, p, s, (0, 0, 8128), 1), [0], "accepted of 0, 0, 8128")
    s = p.handshake()
    fill(rig, p, s, 2, 8129)
    equal(accepted(rig, p, s, (0, 1, 1), 1), [1], "accepted of 0, 1, 1")


@check("P-144 P-147 packets in reverse and in random order arrive once, as they came")
def reordered(rig):
    p = rig.peer()
    session = p.handshake()
    counters = list(range(200, 0, -1)) + [0] + list(range(201, 300, 2)) + list(range(202, 300, 2))
    got = accepted(rig, p, session, counters + counters, len(counters))
    equal(got, list(range(len(counters))), "delivered positions")


@check("P-142 P-143 what fails to decrypt moves nothing")
def forged_counters(rig):
    p = rig.peer()
    session = p.handshake()
    p.send_in(session, 1, counter=0)
    for counter in (5, 20_000, 2**40, RAM - 1):
        message = session.seal(p.marked(9), counter=counter)
        p.send(message[:-1] + bytes([message[-1] ^ 1]))
        p.send(struct.pack("<IIQ", wg.TRANSPORT, session.remote, counter + 1) + message[16:])
    p.send_in(session, 2, counter=1)
    p.send_in(session, 3, counter=5)
    rig.delivers([1, 2, 3])


@check("P-147 P-140 thousands of packets each way stay in order")
def in_order(rig):
    p = rig.peer()
    session = p.handshake()
    fill(rig, p, session, 0, 2047)
    for start in range(0, 2000, 200):
        for mark in range(start, start + 200):
            rig.send_out(p, mark)
        for mark in range(start, start + 200):
            counter, plaintext, _ = p.transport(session)
            equal((counter, inner.mark_of(plaintext)), (mark, mark), "counter and packet")


# Key pairs

def sends_with(rig, peer, session, mark=50):
    """The daemon sends with @session."""
    rig.send_out(peer, mark)
    equal(inner.mark_of(peer.plaintext(session)), mark, "mark of the packet sent")


@check("P-170 P-172 as responder: current keeps sending until the new pair is confirmed")
def responder_unconfirmed(rig):
    p = rig.peer()
    current = p.connect()
    p.handshake()
    sends_with(rig, p, current)
    ensure(rig.takes(p, current), "current does not receive beside an unconfirmed next")
    sends_with(rig, p, current)


@check("P-170 P-172 P-177 a further handshake replaces next")
def responder_replaces_next(rig):
    p = rig.peer()
    current, lost, newest = p.connect(), p.handshake(), p.handshake()
    ensure(rig.refuses(p, lost), "a replaced next still receives")
    sends_with(rig, p, current)
    ensure(rig.takes(p, newest), "next does not receive")
    sends_with(rig, p, newest)


@check("P-173 a keepalive confirms")
def keepalive_confirms(rig):
    p = rig.peer()
    old, new = p.connect(), p.handshake()
    before = rig.handshake_time(p)
    p.send(new.seal())
    p.confirmed(before)
    sends_with(rig, p, new)
    ensure(rig.takes(p, old), "previous does not receive")


@check("P-172 P-173 P-177 previous is destroyed by the next handshake, not before")
def responder_previous(rig):
    p = rig.peer()
    first, second = p.connect(), p.connect()
    ensure(rig.takes(p, first), "previous does not receive")
    third = p.handshake()
    ensure(rig.refuses(p, first), "previous still receives after a new handshake")
    ensure(rig.takes(p, second), "current does not receive")
    sends_with(rig, p, second)
    ensure(rig.takes(p, third), "next does not receive")
    ensure(rig.takes(p, second), "current did not become previous")


@check("P-174 data on previous never makes it current")
def previous_stays_previous(rig):
    p = rig.peer()
    old, new = p.connect(), p.connect()
    ensure(rig.takes(p, old), "previous does not receive")
    sends_with(rig, p, new)


@check("P-174 what was refused on next does not confirm it")
def forged_does_not_confirm(rig):
    p = rig.peer()
    current, new = p.connect(), p.handshake()
    message = new.seal(p.marked(1))
    p.send(message[:-1] + bytes([message[-1] ^ 1]))
    sends_with(rig, p, current)


@check("P-173 P-265 data that the host never sees confirms all the same")
def invalid_inner_confirms(rig):
    p = rig.peer()
    p.connect()
    new = p.handshake()
    before = rig.handshake_time(p)
    p.send(new.seal(b"\0" * 16))
    p.confirmed(before)
    sends_with(rig, p, new)
    equal(rig.marks(), [], "delivered packets")


@check("P-175 P-221 P-242 a responder without confirmed session stages and sends on confirmation")
def staged_until_confirmed(rig):
    p = rig.peer()
    session = p.handshake()
    for mark in range(5):
        rig.send_out(p, mark)
    p.silent(why="before the session is confirmed, 5 s after a response not over")
    p.send(session.seal())
    for mark in range(5):
        counter, plaintext, _ = p.transport(session)
        equal((counter, inner.mark_of(plaintext)), (mark, mark), "counter and staged packet")
    p.silent()


@check("P-173 P-147 the data packet that confirms is delivered, staged ones follow")
def data_confirms(rig):
    p = rig.peer()
    session = p.handshake()
    rig.send_out(p, 8)
    p.silent(0.1)
    p.send_in(session, 7)
    equal(inner.mark_of(p.plaintext(session)), 8, "staged packet")
    equal(inner.mark_of(rig.delivered()), 7, "delivered packet")


# Staging

def stage(rig, peer, n):
    """@n packets for a peer that is not there yet; returns the daemon's initiation."""
    rig.send_out(peer, 0)
    received = peer.receive_initiation()
    for mark in range(1, n):
        rig.send_out(peer, mark)
    time.sleep(0.3)
    return received


def staged_marks(peer, session, n):
    """The marks of what was staged, at least @n packets."""
    return [inner.mark_of(session.open(d.data)[1]) for d in peer.drain(QUIET, n)]


@check("P-240 P-242 P-244 staged packets come in order with consecutive counters")
def staged_order(rig):
    p = rig.peer(endpoint=True)
    session = p.answer(stage(rig, p, 100))
    got = [session.open(d.data) for d in p.drain(QUIET, 100)]
    equal([c for c, _ in got], list(range(100)), "counters")
    equal([inner.mark_of(m) for _, m in got], list(range(100)), "packets")


@check("P-241 of 300 staged packets the newest 128 or 129 are kept", known=True)
def staged_newest(rig):
    p = rig.peer(endpoint=True)
    got = staged_marks(p, p.answer(stage(rig, p, 300)), 128)
    ensure(got in (list(range(171, 300)), list(range(172, 300))),
           f"{len(got)} packets, {got[:1]} to {got[-1:]}")


@check("P-241 of 129 staged packets the newest 128 at least are kept")
def staged_129(rig):
    p = rig.peer(endpoint=True)
    got = staged_marks(p, p.answer(stage(rig, p, 129)), 128)
    ensure(got in (list(range(129)), list(range(1, 129))), f"{len(got)} packets from {got[:1]} on")


@check("P-241 P-481 each peer has a queue of its own")
def staged_per_peer(rig):
    a, b = rig.peer(endpoint=True), rig.peer(endpoint=True)
    for mark in range(100):
        rig.send_out(a, mark)
        rig.send_out(b, mark)
    time.sleep(0.2)
    for p in (a, b):
        equal(staged_marks(p, p.accept(), 100), list(range(100)), "packets of one peer")


@check("P-243 a keepalive without session is staged and delivered")
def staged_keepalive(rig):
    p = rig.peer(endpoint=True)
    rig.set_peer(p, "persistent_keepalive_interval=1000")
    r = p.receive_initiation()
    time.sleep(0.2)
    session = p.answer(r)
    equal(p.keepalive(session)[0], 0, "counter")
    p.silent()


@check("P-248 P-387 staged packets go with the peer")
def staged_removed(rig):
    p = rig.peer(endpoint=True)
    stage(rig, p, 3)
    rig.set_peer(p, "remove=true")
    rig.set_peer(p, *(f"allowed_ip={a}" for a in p.allowed))
    session = p.handshake()
    p.send(session.seal())
    p.silent()


# Padding

def padded_sizes(rig, mtu, sizes, v6=False):
    p = rig.peer()
    session = p.connect()
    rig.link("mtu", mtu)
    time.sleep(0.2)
    p.drain(0)
    src, dst = (INNER6, p.inner6) if v6 else (INNER4, p.inner4)
    for n in sizes:
        packet = inner.sized(src, dst, n)
        rig.inject(packet)
        _, plaintext, d = p.transport(session)
        equal(len(plaintext), min(mtu, (n + 15) // 16 * 16), f"padded length of {n} at MTU {mtu}")
        equal(plaintext, packet + bytes(len(plaintext) - n), "packet and zeros")
        equal(len(d.data), len(plaintext) + wg.TRANSPORT_MIN_LEN, "datagram")


@check("P-260 padding at MTU 1420, all sizes near multiples of 16")
def padding_1420(rig):
    padded_sizes(rig, 1420, [*range(20, 68), 127, 128, 129, *range(1390, 1421)])


@check("P-260 padding at MTU 1420, IPv6 packets")
def padding_v6(rig):
    padded_sizes(rig, 1420, [*range(40, 60), 1279, 1280, *range(1403, 1421)], v6=True)


@check("P-260 P-261 padding at MTU 68")
def padding_68(rig):
    padded_sizes(rig, 68, range(20, 69))


@check("P-260 P-261 padding at MTU 576, 1280 and 1500")
def padding_small(rig):
    for mtu in (576, 1280, 1500):
        padded_sizes(rig, mtu, [20, 100, mtu - 33, *range(mtu - 17, mtu + 1)])


@check("P-260 P-261 U-084 padding at MTU 9000, 65456 and 65475")
def padding_jumbo(rig):
    for mtu in (9000, 65456, 65475):
        padded_sizes(rig, mtu, [20, 1421, 5000, mtu - 33, *range(mtu - 17, mtu + 1)])


@check("P-261 the first packet after the MTU was raised is whole")
def mtu_raised(rig):
    p = rig.peer()
    session = p.connect()
    for mtu in (1421, 2000, 9000, 40000):
        rig.link("mtu", mtu)
        packet = inner.sized(INNER4, p.inner4, mtu)
        rig.inject(packet)
        equal(p.plaintext(session)[:mtu], packet, f"first packet at MTU {mtu}")


# Inner packets

def deliveries(rig, cases):
    """(name, plaintext, what the host gets or None) each."""
    p = rig.peer("allowed_ip=0.0.0.0/0", "allowed_ip=::/0")
    session = p.connect()
    for name, plaintext, expected in cases:
        p.send(session.seal(plaintext, pad=False))
        p.send_in(session, 999)
        got = rig.tun.recv(2)
        if expected is None:
            ensure(got is not None, f"{name}: the packet after it is missing")
            equal(inner.mark_of(got), 999, f"{name}: reached the host; mark of the next packet")
            continue
        ensure(got is not None, f"{name}: not delivered")
        equal(got.hex(), expected.hex(), name)
        equal(inner.mark_of(rig.tun.recv(2) or b""), 999, f"{name}: the next packet")
    rig.works(p, session)


A4, B4, A6, B6 = "10.99.1.2", INNER4, "fd00:99:1::2", INNER6


@check("P-262 P-263 IPv4 lengths")
def inner_v4_lengths(rig):
    p20, p60 = inner.sized(A4, B4, 20), inner.sized(A4, B4, 60)
    cases = [(f"{n} bytes", p20[:n], None) for n in (1, 4, 19)]
    cases += [("20 bytes", p20, p20), ("60 bytes", p60, p60),
              ("60 with zeros", p60 + bytes(4), p60),
              ("60 with garbage", p60 + os.urandom(900), p60),
              ("59 of 60", p60[:59], None), ("20 of 60", p60[:20], None)]
    for total in (0, 1, 19):
        cases.append((f"total length {total}", inner.ipv4(A4, B4, bytes(40), total=total), None))
    short = inner.ipv4(A4, B4, bytes(40), total=20)
    cases += [("total length 20 of 60", short, short[:20]),
              ("total length 61 of 60", inner.ipv4(A4, B4, bytes(40), total=61), None),
              ("total length 65535", inner.ipv4(A4, B4, bytes(40), total=65535), None)]
    deliveries(rig, cases)


@check("P-262 P-263 IPv6 lengths")
def inner_v6_lengths(rig):
    p40, p100 = inner.sized(A6, B6, 40), inner.sized(A6, B6, 100)
    cases = [(f"{n} bytes", p40[:n], None) for n in (1, 20, 39)]
    cases += [("40 bytes", p40, p40), ("100 bytes", p100, p100),
              ("100 with garbage", p100 + os.urandom(500), p100), ("99 of 100", p100[:99], None),
              ("payload length 0 of 60", inner.ipv6(A6, B6, bytes(60), length=0), p40),
              ("payload length 61 of 60", inner.ipv6(A6, B6, bytes(60), length=61), None)]
    deliveries(rig, cases)


@check("P-262 IPv6 payload lengths near 65535 do not wrap", known=True)
def inner_v6_wrap(rig):
    cases = []
    for length in (65495, 65496, 65500, 65535):
        for size in (0, 60):
            packet = inner.ipv6(A6, B6, bytes(size), length=length)
            cases.append((f"payload length {length} of {size}", packet, None))
        cases.append((f"39 bytes, payload length {length}", packet[:39], None))
    deliveries(rig, cases)


@check("P-262 versions other than 4 and 6")
def inner_versions(rig):
    good = inner.sized(A4, B4, 60)
    deliveries(rig, [(f"version {v}", bytes([v << 4 | 5]) + good[1:], None)
                     for v in range(16) if v not in (4, 6)])


@check("P-264 P-266 nothing else of the packet is judged or changed")
def inner_untouched(rig):
    good = inner.ipv4(A4, B4, b"x" * 33)
    cases = [("bad header checksum", good[:10] + b"\xde\xad" + good[12:], None),
             ("TTL 0", inner.ipv4(A4, B4, b"y" * 9, ttl=0), None),
             ("TTL 1", inner.ipv4(A4, B4, b"y" * 9, ttl=1), None),
             ("hop limit 0", inner.ipv6(A6, B6, b"y" * 9, ttl=0), None),
             ("first fragment", inner.ipv4(A4, B4, b"z" * 24, fragment=0x2000), None),
             ("later fragment", inner.ipv4(A4, B4, b"z" * 24, fragment=0x2003), None),
             ("DF", inner.ipv4(A4, B4, b"z" * 24, fragment=0x4000), None),
             ("DSCP", inner.ipv4(A4, B4, b"z" * 24, tos=0xB8), None),
             ("wrong UDP checksum", inner.ipv4(A4, B4, struct.pack("!HHHH", 1, 2, 8, 7),
                                               proto=inner.UDP), None),
             ("protocol 0", inner.ipv4(A4, B4, b"z" * 24, proto=0), None)]
    for words in range(1, 11):
        options = b"\1" * (4 * words)
        packet = inner.ipv4(A4, B4, b"o" * 8, options=options)
        cases.append((f"{4 * words} bytes of options", packet, None))
    no_room = bytes([0x4F]) + inner.ipv4(A4, B4, b"")[1:]
    cases.append(("header length beyond the packet", no_room, None))
    deliveries(rig, [(name, p + bytes(-len(p) % 16), p) for name, p, _ in cases])


@check("P-036 P-263 plaintexts of any length up to the largest datagram, IPv4")
def inner_sizes_v4(rig):
    sizes = [*range(21, 54), 1420, 1421, 1500, 2048, 4096, 9000, 16384, 40000, 65474, 65475]
    deliveries(rig, [(f"{n} bytes", p, p) for n in sizes for p in (inner.sized(A4, B4, n),)])


@check("P-036 the largest datagram over IPv6")
def inner_sizes_v6(rig):
    p = rig.peer(address=FAR6)
    session = p.connect()
    for n in (1421, 9000, 65495):
        packet = inner.sized(p.inner6, INNER6, n)
        p.send(session.seal(packet, pad=False))
        equal(rig.tun.recv(2), packet, f"packet of {n} bytes")
    padding = inner.sized(p.inner6, INNER6, 1000) + bytes(64495)
    p.send(session.seal(padding, pad=False), to=(HOST6, rig.port))
    equal(rig.tun.recv(2), padding[:1000], "packet with 64495 bytes behind it")


@check("P-267 packets from the TUN that are neither IPv4 nor IPv6 are dropped")
def outgoing_garbage(rig):
    p = rig.peer()
    rig.set_peer(p, "allowed_ip=0.0.0.0/0", "allowed_ip=::/0")
    session = p.connect()
    good4, good6 = inner.sized(INNER4, p.inner4, 60), inner.sized(INNER6, p.inner6, 60)
    for packet in (b"\x45", good4[:19], good6[:39], b"\x50" + good4[1:], b"\x00" * 60, b"\xff" * 60,
                   os.urandom(1) + b"\x00"):
        rig.inject(packet)
    rig.send_out(p, 3)
    equal(inner.mark_of(p.plaintext(session)), 3, "the first packet sent")


@check("P-216 P-201 keepalives are not answered, data not at once")
def no_hasty_keepalive(rig):
    p = rig.peer()
    session = p.connect()
    for _ in range(20):
        p.send(session.seal())
    p.send_in(session)
    p.silent(1)


if __name__ == "__main__":
    main()

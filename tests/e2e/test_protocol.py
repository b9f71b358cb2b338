#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The handshake as seen from outside: messages, order of checks, replay, indices, key pairs of
the handshake, macs and cookies (sections 3 to 7 of the protocol), against a peer of our own."""

import json
import os
import random
import struct
import time

from lib import wgpeer as wg
from lib import wgpeer_inner as inner
from lib.netns import ROOT
from lib.report import check as ensure
from lib.report import equal
from lib.wgpeer_check import check, main
from lib.wgpeer_rig import HOST4, QUIET


def flipped(message, at, bit=1):
    """@message with one bit changed."""
    return message[:at] + bytes([message[at] ^ bit]) + message[at + 1:]


def remac(message, receiver_public, cookie=None):
    """@message with both macs computed anew."""
    return wg.with_macs(message[:-32], receiver_public, cookie)


# The peer itself

def transcript_of(t):
    """Rebuilds every message of a transcript and compares."""
    i = t["inputs"]
    key = {k: bytes.fromhex(v) for k, v in i.items() if isinstance(v, str)}
    psk = key["preshared_key"]
    initiation = wg.Initiation(
        key["initiator_static_private"], key["responder_static_public"],
        ephemeral=key["initiator_ephemeral_private"], index=i["initiator_index"],
        stamp=key["tai64n"])
    equal(initiation.message.hex(), t["initiation"], "initiation")
    received = wg.ReceivedInitiation(key["responder_static_private"], initiation.message)
    response, theirs = received.respond(
        psk, ephemeral=key["responder_ephemeral_private"], index=i["responder_index"])
    equal(response.hex(), t["response"], "response")
    ours = initiation.consume(response, psk)
    equal(ours.send_key.hex(), t["keys"]["initiator_to_responder"], "initiator's key")
    equal(ours.receive_key.hex(), t["keys"]["responder_to_initiator"], "responder's key")
    for p in t["packets"]:
        sender, receiver = (ours, theirs) if p["from"] == "initiator" else (theirs, ours)
        message = sender.seal(bytes.fromhex(p["inner"]), counter=p["counter"])
        equal(message.hex(), p["datagram"], f"packet {p['counter']}")
        plaintext = bytes.fromhex(p["padded_plaintext"])
        equal(receiver.open(message), (p["counter"], plaintext), "opened")
    return key, initiation


def cookies_of(t, key, initiation):
    c = t["cookie"]
    cookie = wg.mac(bytes.fromhex(c["secret"]), bytes.fromhex(c["mac_input"]))
    equal(cookie.hex(), c["cookie"], "cookie")
    reply = wg.build_cookie_reply(key["responder_static_public"], initiation.index,
                                  initiation.mac1, cookie, bytes.fromhex(c["nonce"]))
    equal(reply.hex(), c["reply"], "cookie reply")
    equal(wg.open_cookie_reply(reply, key["responder_static_public"], initiation.mac1),
          (initiation.index, cookie), "opened cookie reply")
    retry = wg.Initiation(
        key["initiator_static_private"], key["responder_static_public"],
        ephemeral=bytes.fromhex(c["retry_ephemeral_private"]), index=c["retry_index"],
        stamp=bytes.fromhex(c["retry_tai64n"]), cookie=cookie)
    equal(retry.message.hex(), c["retry_initiation_with_mac2"], "retried initiation")


@check("P-074 our own peer reproduces the transcripts", rig=False)
def own_transcripts():
    with open(os.path.join(ROOT, "tests/vectors/handshake_vector.json")) as f:
        transcripts = json.load(f)["transcripts"]
    ensure(len(transcripts) == 2, "two transcripts")
    for t in transcripts:
        cookies_of(t, *transcript_of(t))


# Messages

@check("P-031 P-035 P-064 P-065 P-100 P-102 the response and the session behind it")
def response_fields(rig):
    p = rig.peer()
    initiation = p.send_initiation()
    d = p.expect(wg.RESPONSE)
    equal(d.data[:4], b"\2\0\0\0", "type and reserved bytes")
    equal(struct.unpack_from("<I", d.data, 8)[0], initiation.index, "receiver index")
    equal(d.data[60:76], wg.mac1_of(p.public, d.data), "mac1")
    equal(d.data[76:92], wg.NO_MAC, "mac2 without a cookie")
    equal(d.source[:2], (HOST4, rig.port), "source of the response")
    session = initiation.consume(d.data)
    rig.works(p, session)


@check("P-030 P-035 P-040 P-046 P-102 the initiation")
def initiation_fields(rig):
    p = rig.peer(endpoint=True)
    rig.send_out(p)
    r = p.receive_initiation()
    equal(r.message[:4], b"\1\0\0\0", "type and reserved bytes")
    equal(r.mac2, wg.NO_MAC, "mac2 without a cookie")
    seconds, nanoseconds = wg.tai64n_split(r.stamp)
    ensure(nanoseconds % 2**24 == 0 and nanoseconds < 10**9, f"nanoseconds {nanoseconds}")
    late = r.time - (seconds + nanoseconds / 1e9)
    ensure(0 <= late < 1, f"timestamp {late:.3f} s before the arrival")


@check("P-070 P-140 P-228 P-242 first messages after a session is made by the daemon")
def initiator_first_messages(rig):
    p = rig.peer(endpoint=True)
    rig.send_out(p, 5)
    session = p.accept()
    counter, plaintext, _ = p.transport(session)
    equal(counter, 0, "first counter")
    equal(inner.mark_of(plaintext), 5, "the staged packet")
    for expected in (1, 2, 3):
        rig.send_out(p, expected)
        equal(p.transport(session)[0], expected, "next counter")
    p.send_in(session, 9)
    equal(inner.mark_of(rig.delivered()), 9, "packet from the responder")


@check("P-228 P-243 without staged data the initiator sends one keepalive at once")
def initiator_keepalive(rig):
    p = rig.peer(endpoint=True)
    rig.set_peer(p, "persistent_keepalive_interval=3600")
    session = p.accept()
    equal(p.keepalive(session)[0], 0, "counter")
    p.silent()


@check("P-062 pre-shared key, the daemon as responder")
def psk_responder(rig):
    p = rig.peer(psk=os.urandom(32))
    rig.works(p, p.connect())


@check("P-062 pre-shared key, the daemon as initiator")
def psk_initiator(rig):
    p = rig.peer(psk=os.urandom(32), endpoint=True)
    rig.works(p, p.called())


@check("P-040 an all-zero pre-shared key is none")
def psk_zero(rig):
    p = rig.peer("preshared_key=" + "00" * 32)
    rig.works(p, p.connect())


@check("P-062 P-440 another pre-shared key: the response does not verify, nothing follows")
def psk_wrong(rig):
    p = rig.peer()
    rig.set_peer(p, "preshared_key=" + "11" * 32)
    initiation = p.send_initiation()
    response = p.expect(wg.RESPONSE)
    try:
        initiation.consume(response.data)
        ensure(False, "the response verified without the key")
    except wg.Refused:
        pass
    p.silent()


@check("P-034 wrong lengths are dropped without effect")
def wrong_lengths(rig):
    p = rig.peer()
    session = p.connect()
    good = p.initiation()
    for n in (147, 149, 116, 132, 92, 64, 32, 2000):
        p.send((good.message + bytes(2000))[:n])
    p.silent()
    p.send(remac(good.message + b"\0", rig.public))
    p.silent()
    p.send_initiation(good)  # its timestamp has not been used up
    good.consume(p.expect(wg.RESPONSE).data)
    for n in (16, 31):
        p.send(session.seal()[:n])
    rig.works(p, session)


@check("P-034 a reserved byte that is not zero: initiation")
def reserved_initiation(rig):
    p = rig.peer()
    for at in (1, 2, 3):
        i = p.initiation()
        p.send(remac(flipped(i.message, at, 0x80), rig.public))
        p.silent()
        p.send_initiation(i)
        i.consume(p.expect(wg.RESPONSE).data)


@check("P-034 a reserved byte that is not zero: response")
def reserved_response(rig):
    p = rig.peer(endpoint=True)
    rig.send_out(p)
    response, session = p.receive_initiation().respond()
    for at in (1, 2, 3):
        p.send(remac(flipped(response, at), rig.public))
    p.silent()
    p.send(response)
    p.transport(session)


@check("P-034 a reserved byte that is not zero: transport")
def reserved_transport(rig):
    p = rig.peer()
    session = p.connect()
    message = session.seal(p.marked(1))
    for at in (1, 2, 3):
        p.send(flipped(message, at))
    p.send(message)
    rig.delivers([1])


@check("P-034 a reserved byte that is not zero: cookie reply")
def reserved_cookie(rig):
    p = rig.peer(endpoint=True)
    rig.send_out(p)
    r = p.receive_initiation()
    reply = wg.build_cookie_reply(p.public, r.index, r.mac1, os.urandom(16))
    p.send(flipped(reply, 2))
    equal(p.receive_initiation(7).mac2, wg.NO_MAC, "mac2 after a malformed cookie reply")


# Consuming an initiation

@check("P-101 P-440 P-441 mac1 is checked first, and its failure changes nothing")
def bad_mac1(rig):
    p = rig.peer()
    i = p.initiation()
    for at in (116, 123, 131):
        p.send(flipped(i.message, at))
    p.send(wg.with_macs(i.message[:116], p.public))  # keyed with somebody else's public key
    p.silent()
    p.send_initiation(i)
    i.consume(p.expect(wg.RESPONSE).data)


@check("P-103 mac2 is not looked at when there is no load")
def any_mac2(rig):
    p = rig.peer()
    i = p.initiation()
    i.message = wg.with_mac2(i.message, os.urandom(16))
    p.send_initiation(i)
    i.consume(p.expect(wg.RESPONSE).data)


@check("P-052 P-054 P-440 bits flipped in any encrypted field, with a good mac1")
def flipped_fields(rig):
    p = rig.peer()
    i = p.initiation()
    for at in (8, 39, 40, 71, 72, 87, 88, 99, 100, 115):
        p.send(remac(flipped(i.message, at), rig.public))
    p.silent()
    p.send_initiation(i)
    i.consume(p.expect(wg.RESPONSE).data)


@check("P-050 P-440 P-480 every message type before there is a key or a peer", key=False)
def before_configuration(rig):
    p = rig.peer(configure=False)
    for public in (rig.public, p.public, wg.public_of(wg.ZERO_KEY), wg.ZERO_KEY):
        p.send(wg.Initiation(p.private, public).message)
    for n in (0, 1, 32, 64, 92, 148, 1400):
        for kind in range(6):
            p.send((struct.pack("<I", kind) + os.urandom(n))[:n])
    p.silent()
    rig.set(f"private_key={rig.private.hex()}\n")
    rig.set_peer(p, *(f"allowed_ip={a}" for a in p.allowed))
    rig.works(p, p.connect())


@check("P-053 P-440 an initiation of an unknown peer is dropped")
def unknown_peer(rig):
    p = rig.peer(configure=False)
    p.send_initiation()
    p.silent()
    rig.set_peer(p)
    p.connect()


@check("P-022 P-385 P-440 ephemeral keys of small order are refused")
def low_order_ephemeral(rig):
    p = rig.peer()
    good = p.initiation()
    for point in wg.LOW_ORDER_POINTS:
        p.send(low_order_initiation(p, point).message)
    p.silent()
    p.send_initiation(good)
    good.consume(p.expect(wg.RESPONSE).data)


def low_order_initiation(peer, point):
    """A correct initiation but for its ephemeral key: every DH with it is zero for both sides."""
    i = wg.Initiation.__new__(wg.Initiation)
    i.private, i.peer_public = peer.private, peer.rig.public
    i.index, i.static_public, i.stamp = 7, peer.public, peer.stamp()
    c = wg.kdf(1, wg.INITIAL_CHAIN, point)[0]
    h = wg.hash_(wg.hash_(wg.INITIAL_CHAIN + wg.IDENTIFIER) + i.peer_public)
    h = wg.hash_(h + point)
    c, k = wg.kdf(2, c, wg.ZERO_KEY)
    static = wg.seal(k, 0, i.static_public, h)
    c, k = wg.kdf(2, c, wg.dh(i.private, i.peer_public))
    stamp = wg.seal(k, 0, i.stamp, wg.hash_(h + static))
    body = struct.pack("<II", wg.INITIATION, i.index) + point + static + stamp
    i.message = wg.with_macs(body, i.peer_public)
    return i


@check("P-385 P-440 peers with a public key of small order are accepted and never used")
def low_order_peers(rig):
    p = rig.peer()
    for n, point in enumerate(wg.LOW_ORDER_POINTS):
        rig.set(f"public_key={point.hex()}\nallowed_ip=10.98.{n}.0/24\nendpoint={p.endpoint}\n"
                f"persistent_keepalive_interval=1\n")
        rig.inject(inner.marked("10.99.0.1", f"10.98.{n}.1", n))
        p.send(forged_static(p, point).message)
    p.silent(1.5)
    p.connect()
    equal(len(rig.get().peers), 1 + len(wg.LOW_ORDER_POINTS), "configured peers")


def forged_static(peer, point):
    """An initiation that claims a static key of small order: its ss is zero for both sides."""
    zero_dh = wg.Initiation(peer.private, peer.rig.public, static_public=point, stamp=peer.stamp())
    c = wg.kdf(1, wg.INITIAL_CHAIN, wg.public_of(zero_dh.ephemeral))[0]
    h = wg.hash_(wg.hash_(wg.INITIAL_CHAIN + wg.IDENTIFIER) + peer.rig.public)
    h = wg.hash_(h + wg.public_of(zero_dh.ephemeral))
    c, _ = wg.kdf(2, c, wg.dh(zero_dh.ephemeral, peer.rig.public))
    c, k = wg.kdf(2, c, wg.ZERO_KEY)
    stamp = wg.seal(k, 0, zero_dh.stamp, wg.hash_(h + zero_dh.message[40:88]))
    zero_dh.message = wg.with_macs(zero_dh.message[:88] + stamp, peer.rig.public)
    return zero_dh


@check("P-055 equal and older timestamps are refused")
def timestamp_replay(rig):
    p = rig.peer()
    stamps = [p.stamp() for _ in range(3)]
    first = p.send_initiation(stamp=stamps[1])
    p.expect(wg.RESPONSE)
    for bad in (first, p.initiation(stamp=stamps[1]), p.initiation(stamp=stamps[0])):
        p.send_initiation(bad)
        p.silent()
    p.handshake(stamp=stamps[2])


@check("P-055 timestamps compare as one big-endian number")
def timestamp_order(rig):
    p = rig.peer()
    now = int(time.time())
    for seconds, nanoseconds in ((now, 999_999_999), (now + 1, 0), (now + 1, 1), (now + 1, 256),
                                 (now + 256, 0), (now + 65536, 255)):
        p.handshake(stamp=wg.tai64n(seconds, nanoseconds))
    for seconds, nanoseconds in ((now + 65535, 10**9), (now + 65536, 254), (now + 511, 0)):
        p.send_initiation(stamp=wg.tai64n(seconds, nanoseconds))
        p.silent(0.2)
    p.handshake(stamp=b"\xff" * 12)
    p.send_initiation(stamp=p.stamp())
    p.silent(0.2)


@check("P-056 a second initiation within 20 ms is refused and its timestamp forgotten")
def flood_limit(rig):
    for _ in range(5):  # a scheduling hiccup of 20 ms would hide the limit
        p = rig.peer()
        first, second, third = (p.initiation() for _ in range(3))
        p.send(first.message)
        p.send(third.message)
        first.consume(p.expect(wg.RESPONSE).data)
        p.initiated = time.monotonic()
        if not p.drain(0.1):
            p.send_initiation(second)
            second.consume(p.expect(wg.RESPONSE).data)
            return
    ensure(False, "the second initiation was answered each time")


@check("P-056 P-125 initiations every 30 ms are all answered")
def no_other_limit(rig):
    p = rig.peer()
    for _ in range(30):
        p.handshake()
        time.sleep(0.005)


@check("P-058 the greatest timestamp survives interface down and up", known=True)
def timestamp_after_down(rig):
    p = rig.peer()
    used = p.initiation()
    p.send_initiation(used)
    p.expect(wg.RESPONSE)
    rig.down()
    rig.up()
    time.sleep(0.05)
    p.send_initiation(used)
    p.silent()
    rig.works(p, p.connect())


@check("P-058 the greatest timestamp survives a change of our key")
def timestamp_after_key_change(rig):
    p = rig.peer()
    stamp = p.stamp()
    p.handshake(stamp=stamp)
    rig.new_key()
    p.send_initiation(stamp=stamp)
    p.silent()
    rig.works(p, p.connect())


@check("P-058 P-387 the greatest timestamp is forgotten with the peer")
def timestamp_after_removal(rig):
    p = rig.peer()
    i = p.send_initiation()
    p.expect(wg.RESPONSE)
    rig.set_peer(p, "remove=true")
    rig.set_peer(p)
    p.send_initiation(i)
    i.consume(p.expect(wg.RESPONSE).data)


@check("P-050 P-381 P-440 without a private key nothing is answered", known=True)
def no_private_key(rig):
    p = rig.peer()
    rig.set("private_key=" + "00" * 32 + "\n")
    p.send_initiation()
    p.silent()
    nobody = wg.Initiation(p.private, wg.public_of(wg.ZERO_KEY), stamp=p.stamp())
    p.send_initiation(nobody)  # the public key that belongs to a private key of zeros
    p.silent()
    rig.set(f"private_key={rig.private.hex()}\n")
    p.connect()


# Consuming a response

def pending(rig):
    """A peer, and the daemon's initiation that waits for its response."""
    p = rig.peer(endpoint=True)
    rig.send_out(p)
    return p, p.receive_initiation()


@check("P-067 a response to an index nobody uses is dropped")
def response_wrong_index(rig):
    p, r = pending(rig)
    good, session = r.respond()
    p.send(remac(good[:8] + struct.pack("<I", r.index ^ 1) + good[12:], rig.public))
    p.silent()
    p.send(good)
    p.transport(session)


@check("P-067 P-092 a response to the index of a key pair is dropped")
def response_to_keypair(rig):
    p, r = pending(rig)
    session = p.answer(r)
    p.transport(session)
    again, other = r.respond()
    p.send(again)
    p.silent()
    rig.works(p, session)
    p.send_in(other, 3)
    equal(rig.marks(), [], "packets through a session that must not exist")


@check("P-068 responses that fail leave the initiation usable")
def response_failures(rig):
    p, r = pending(rig)
    good, session = r.respond()
    for at in (12, 43, 44, 59):  # ephemeral and tag, mac1 right
        p.send(remac(flipped(good, at), rig.public))
    p.send(flipped(good, 60))  # mac1
    p.send(r.respond(os.urandom(32))[0])  # psk
    p.silent()
    p.send(good)
    p.transport(session)


@check("P-022 P-068 a response with an ephemeral key of small order is refused", known=True)
def response_low_order(rig):
    p, r = pending(rig)
    for point in wg.LOW_ORDER_POINTS:
        h, c = wg.hash_(r.hash + point), wg.kdf(1, r.chain, point)[0]
        for _ in range(2):
            c, = wg.kdf(1, c, wg.ZERO_KEY)
        c, tau, k = wg.kdf(3, c, wg.ZERO_KEY)
        empty = wg.seal(k, 0, b"", wg.hash_(h + tau))
        body = struct.pack("<III", wg.RESPONSE, 5, r.index) + point + empty
        p.send(wg.with_macs(body, rig.public))
    p.silent()
    p.transport(p.answer(r))


@check("P-071 a second response to one initiation is dropped")
def response_twice(rig):
    p, r = pending(rig)
    first, session = r.respond()
    p.send(first)
    p.transport(session)
    p.send(first)
    second, other = r.respond()
    p.send(second)
    p.silent()
    rig.send_out(p, 4)
    equal(inner.mark_of(p.plaintext(session)), 4, "packet through the first session")
    p.send_in(other)
    equal(rig.marks(), [], "packets through the second session")


@check("P-069 P-093 only the newest initiation can be answered", waits=True)
def response_superseded(rig):
    p, old = pending(rig)
    new = p.receive_initiation(7)
    ensure(old.index != new.index, "the index is the old one")
    late, session = old.respond()
    p.send(late)
    p.silent(why="after a response to the old initiation")
    p.send_in(session)
    equal(rig.marks(), [], "packets through a session that must not exist")
    p.transport(p.answer(new))


@check("P-057 P-059 P-072 P-073 simultaneous initiations: ours is answered, theirs is void")
def simultaneous(rig):
    p, r = pending(rig)
    session = p.handshake()
    late, other = r.respond()
    p.send(late)
    p.silent(why="after the response to an initiation that was overwritten")
    p.send_in(other, 1)
    p.send_in(session, 2)
    rig.delivers([2])
    equal(inner.mark_of(p.plaintext(session)), 1, "the staged packet")


@check("P-067 P-072 a response after 4.9 s still counts", waits=True)
def response_late(rig):
    p, r = pending(rig)
    time.sleep(max(0.0, r.time + 4.9 - time.time()))
    session = p.answer(r)
    p.transport(session)
    rig.works(p, session)


@check("P-067 the response is checked with the pre-shared key of now")
def response_new_psk(rig):
    p, r = pending(rig)
    psk = os.urandom(32)
    rig.set_peer(p, f"preshared_key={psk.hex()}")
    old, _ = r.respond()
    p.send(old)
    p.silent()
    new, session = r.respond(psk)
    p.send(new)
    p.transport(session)


# Indices

@check("P-047 P-064 P-090 indices and ephemeral keys are random and never the same")
def indices_random(rig):
    p = rig.peer()
    indices, ephemerals = [], set()
    for _ in range(40):
        i = p.send_initiation()
        d = p.expect(wg.RESPONSE)
        p.initiated = time.monotonic()
        indices.append(struct.unpack_from("<I", d.data, 4)[0])
        ephemerals.add(d.data[12:44])
        i.consume(d.data)
    equal(len(set(indices)), 40, "different indices")
    equal(len(ephemerals), 40, "different ephemeral keys")
    for bit in range(32):  # 40 fair coins agree once in 2^39
        ensure(0 < sum(i >> bit & 1 for i in indices) < 40, f"bit {bit} of the index never changes")
    ensure(len({(b - a) % 2**32 for a, b in zip(indices, indices[1:])}) > 30, "indices count up")


@check("P-090 P-091 peers never share an index")
def indices_of_peers(rig):
    sessions = []
    for _ in range(20):
        p = rig.peer()
        sessions.append((p, p.connect()))
    equal(len({s.remote for _, s in sessions}), 20, "different indices")
    random.shuffle(sessions)
    for p, s in sessions:
        p.send_in(s, 1)
        equal(rig.delivered() is not None, True, "delivered")


@check("P-092 transport messages to the index of a handshake are dropped")
def transport_to_handshake(rig):
    p, r = pending(rig)
    _, session = r.respond()
    p.send(session.seal(receiver=r.index))
    p.silent()
    p.transport(p.answer(r))


@check("P-093 P-387 the index of a removed peer is dead")
def index_of_removed_peer(rig):
    p = rig.peer()
    session = p.connect()
    rig.set_peer(p, "remove=true")
    rig.set_peer(p, *(f"allowed_ip={a}" for a in p.allowed))
    p.send_in(session)
    equal(rig.marks(), [], "packets through the session of a removed peer")
    equal(rig.number(p, "rx_bytes"), 0, "rx_bytes")
    rig.works(p, p.connect())


# Cookies, the daemon as initiator

@check("P-107 P-109 P-102 the next initiation after a cookie reply carries mac2", waits=True)
def cookie_consumed(rig):
    p, r = pending(rig)
    cookie = os.urandom(16)
    before = rig.state(p)
    elsewhere = rig.udp()
    p.send(wg.build_cookie_reply(p.public, r.index, r.mac1, cookie), udp=elsewhere)
    p.silent(1, "after a cookie reply")
    equal(rig.state(p), before, "state after a cookie reply")
    n = p.receive_initiation(7)
    ensure(4.99 <= n.time - r.time <= 6, f"retransmitted after {n.time - r.time:.3f} s")
    equal(n.mac2.hex(), wg.mac2_of(cookie, n.message).hex(), "mac2")
    p.transport(p.answer(n))


@check("P-107 cookie replies that do not verify are ignored", waits=True)
def cookie_refused(rig):
    p, r = pending(rig)
    cookie, other_key = os.urandom(16), wg.public_of(wg.new_private())
    good = wg.build_cookie_reply(p.public, r.index, r.mac1, cookie)
    for bad in (wg.build_cookie_reply(p.public, r.index ^ 1, r.mac1, cookie),
                wg.build_cookie_reply(p.public, r.index, flipped(r.mac1, 0), cookie),
                wg.build_cookie_reply(other_key, r.index, r.mac1, cookie),
                flipped(good, 8), flipped(good, 32), flipped(good, 63)):
        p.send(bad)
    p.silent()
    n = p.receive_initiation(7)
    equal(n.mac2, wg.NO_MAC, "mac2 after bad cookie replies")
    p.send(good)  # its mac1 is not the last one any more
    n = p.receive_initiation(7)
    equal(n.mac2, wg.NO_MAC, "mac2 after a late cookie reply")


@check("P-107 a second cookie reply to the same mac1 is ignored", waits=True, known=True)
def cookie_twice(rig):
    p, r = pending(rig)
    first, second = os.urandom(16), os.urandom(16)
    for cookie in (first, second):
        p.send(wg.build_cookie_reply(p.public, r.index, r.mac1, cookie))
    n = p.receive_initiation(7)
    equal(n.mac2.hex(), wg.mac2_of(first, n.message).hex(), "mac2 with the first cookie")


@check("P-092 P-102 P-107 a cookie reply to our response is taken; the next response carries mac2")
def cookie_for_response(rig):
    p = rig.peer()
    i = p.send_initiation()
    d = p.expect(wg.RESPONSE)
    index, = struct.unpack_from("<I", d.data, 4)
    cookie = os.urandom(16)
    p.send(wg.build_cookie_reply(p.public, index, d.data[60:76], cookie))
    i.consume(d.data)
    p.silent()
    p.send_initiation()
    d = p.expect(wg.RESPONSE)
    equal(d.data[76:92].hex(), wg.mac2_of(cookie, d.data).hex(), "mac2 of the response")


@check("P-108 a cookie is used for 115 s", timeout=150, waits=True, long=True, known=True)
def cookie_lifetime(rig):
    p, r = pending(rig)
    cookie = os.urandom(16)
    p.send(wg.build_cookie_reply(p.public, r.index, r.mac1, cookie))
    start = r.time
    while True:
        rig.send_out(p, 2)  # traffic keeps the retries alive (P-225)
        n = p.receive_initiation(7)
        age = n.time - start
        if 114 < age < 116:
            continue
        expected = wg.mac2_of(cookie, n.message) if age < 115 else wg.NO_MAC
        equal(n.mac2.hex(), expected.hex(), f"mac2 of an initiation after {age:.1f} s")
        if age > 119.9:
            return


@check("P-110 P-101 after a change of our key mac1 is checked against the new one")
def mac1_after_key_change(rig):
    p = rig.peer()
    old = p.initiation()
    rig.new_key()
    p.send_initiation(old)
    p.silent()
    rig.works(p, p.connect())


# Silence

@check("P-440 P-441 P-480 nothing unauthenticated is answered or leaves a trace")
def silence(rig):
    p = rig.peer(endpoint=True)
    session = p.connect()
    before = rig.state(p)
    elsewhere = rig.udp()
    i = wg.Initiation(wg.new_private(), rig.public)
    used = session.seal(counter=0)
    forged = flipped(session.seal(p.marked(1), counter=5), 30)
    for data in (b"", b"\0", bytes(32), bytes(148), b"\5\0\0\0" + bytes(144),
                 b"\4\0\0\0" + bytes(28), b"\1\0\0\0" + bytes(144),
                 b"\2\0\0\0" + bytes(88), b"\3\0\0\0" + bytes(60),
                 os.urandom(1400), i.message, flipped(i.message, 130), used, forged,
                 session.seal(receiver=session.remote ^ 1, counter=9)):
        p.send(data, udp=elsewhere)
    p.silent(QUIET, udp=elsewhere)
    p.silent(0)
    equal(rig.state(p), before, "state of the peer")
    rig.works(p, session)


@check("P-443 nothing that strangers send fills the log", known=True)
def log_stays_small(rig):
    p = rig.peer()
    session = p.connect()
    before = len(rig.daemon.log())
    stranger = wg.Initiation(wg.new_private(), rig.public)
    forged = session.seal(p.marked(1))
    for n in range(500):
        for data in (b"x" * (n % 200), stranger.message, flipped(stranger.message, 120),
                     flipped(forged, 40), p.initiation(stamp=wg.tai64n(1)).message):
            p.send(data)
    for n in range(300):
        rig.inject(inner.sized("10.99.0.1", "10.222.0.1", 60))
    rig.works(p, session)
    grown = rig.daemon.log()[before:]
    ensure(grown.count("\n") < 10, f"{grown.count(chr(10))} lines, such as {grown[-200:]}")


if __name__ == "__main__":
    main()

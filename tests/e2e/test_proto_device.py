#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Configuration of live peers, interface states and statistics as seen from outside (sections 18 to
20 of the protocol)."""

import os
import threading
import time

from lib import wgpeer as wg
from lib import wgpeer_inner as inner
from lib import wgpeer_uapi as uapi
from lib.netns import wait_until
from lib.report import check as ensure
from lib.report import equal
from lib.wgpeer_check import check, main
from lib.wgpeer_rig import INNER4

# Configuration of live peers

@check("P-380 U-050 the same private key again changes nothing")
def same_key(rig):
    p = rig.peer()
    session = p.connect()
    before = rig.state(p)
    for _ in range(3):
        rig.set(f"private_key={rig.private.hex()}\n")
    equal(rig.state(p), before, "state")
    rig.works(p, session)
    unclamped = bytes([rig.private[0] | 7]) + rig.private[1:31] + bytes([rig.private[31] | 128])
    rig.set(f"private_key={unclamped.hex()}\n")
    rig.works(p, session)


@check("P-380 a new private key: nothing is sent with the old session, a handshake starts at once",
       known=True)
def new_key(rig):
    p = rig.peer()
    current = p.connect()
    rig.new_key()
    rig.send_out(p, 1)
    received = p.receive_initiation()  # though a response was sent less than 5 s ago
    ensure(rig.takes(p, current), "the old session does not receive any more")
    rig.send_out(p, 2)
    p.silent()
    session = p.answer(received)
    equal([inner.mark_of(p.plaintext(session)) for _ in range(2)], [1, 2], "staged packets")
    rig.works(p, session)


@check("P-380 a new private key: the unconfirmed session may be received, not sent with",
       known=True)
def new_key_unconfirmed(rig):
    p = rig.peer()
    current = p.connect()
    unconfirmed = p.handshake()
    rig.new_key()
    p.send_in(current, 3)
    rig.delivers([3], "packets on the old session, which may still be received")
    p.send_in(unconfirmed, 4)
    rig.delivers([4], "packets on the unconfirmed session")
    p.drain()
    rig.send_out(p, 5)
    session = p.accept()
    equal(inner.mark_of(p.plaintext(session)), 5, "staged packet")
    rig.works(p, session)


@check("P-380 a new private key voids the handshake in flight and allows another at once")
def new_key_in_flight(rig):
    p = rig.peer(endpoint=True)
    rig.send_out(p, 1)
    old = p.receive_initiation()
    rig.new_key()
    late, _ = old.respond()
    p.send(late)
    rig.send_out(p, 2)
    session = p.accept()
    equal([inner.mark_of(p.plaintext(session)) for _ in range(2)], [1, 2], "staged packets")


@check("P-380 U-027 a peer whose public key becomes our own is removed")
def new_key_of_peer(rig):
    p, q = rig.peer(), rig.peer()
    p.connect()
    rig.private, rig.public = q.private, q.public
    rig.set(f"private_key={q.private.hex()}\n")
    equal(list(rig.get().peers), [p.public.hex()], "peers")
    rig.works(p, p.connect())


@check("P-381 P-382 no key: packets wait in silence; with a key they go out", known=True)
def key_removed(rig):
    p = rig.peer(endpoint=True)
    rig.set("private_key=" + "00" * 32 + "\n")
    ensure("private_key" not in rig.get().device, "private_key is still reported")
    rig.send_out(p, 6)
    p.silent()
    rig.set(f"private_key={rig.private.hex()}\n")
    session = p.accept()
    equal(inner.mark_of(p.plaintext(session)), 6, "staged packet")


@check("P-381 P-382 peers before any key", key=False, known=True)
def peer_before_key(rig):
    p = rig.peer(endpoint=True)
    rig.set_peer(p, "persistent_keepalive_interval=1")
    rig.send_out(p, 6)
    p.silent(1.3)
    rig.set(f"private_key={rig.private.hex()}\n")
    session = p.accept()
    p.transport(session)


@check("P-384 P-390 U-027 a peer with our own public key is ignored")
def own_key_as_peer(rig):
    p = rig.peer()
    session = p.connect()
    equal(rig.transact(f"set=1\npublic_key={rig.public.hex()}\nallowed_ip=10.99.1.0/24\n"
                       f"allowed_ip=10.50.0.0/16\nendpoint=192.0.2.2:1\n\n"), "errno=0", "reply")
    equal(list(rig.get().peers), [p.public.hex()], "peers")
    rig.works(p, session)


@check("P-386 a new peer starts empty")
def new_peer(rig):
    p = rig.peer(configure=False)
    rig.set_peer(p)
    equal(rig.state(p), {
        "allowed_ip": [], "preshared_key": "00" * 32, "protocol_version": "1",
        "last_handshake_time_sec": "0", "last_handshake_time_nsec": "0", "tx_bytes": "0",
        "rx_bytes": "0", "persistent_keepalive_interval": "0"}, "state")


@check("P-388 replace_peers removes all, then adds")
def replace_peers(rig):
    p, q = rig.peer(), rig.peer()
    session = p.connect()
    rig.set("replace_peers=true\n" + uapi.section(q.public, "allowed_ip=10.99.1.0/24"))
    equal(list(rig.get().peers), [q.public.hex()], "peers")
    p.send_in(session)
    equal(rig.marks(), [], "packets of a removed peer")
    rig.set("replace_peers=true\n" + uapi.section(q.public))
    equal(rig.state(q)["allowed_ip"], [], "allowed_ip of a peer removed and added again")


@check("P-390 P-424 changes of a peer leave session, counters and timers alone")
def changes_in_place(rig):
    p, q = rig.peer(), rig.peer()
    session = p.connect()
    for n, line in enumerate(("allowed_ip=10.70.0.0/16", f"endpoint={p.endpoint}",
                              "preshared_key=" + "22" * 32, "persistent_keepalive_interval=60",
                              "persistent_keepalive_interval=0", "update_only=true",
                              "replace_allowed_ips=true\nallowed_ip=10.99.1.0/24",
                              "protocol_version=1", "preshared_key=" + "00" * 32)):
        before = rig.state(p)
        rig.set_peer(p, line)
        after = rig.state(p)
        for key in ("rx_bytes", "last_handshake_time_sec", "last_handshake_time_nsec"):
            equal(after[key], before[key], f"{key} after {line}")
        p.drain(0.02)
        rig.works(p, session, 10 * n)
    rig.set_peer(q, "remove=true")
    rig.works(p, session)


@check("P-391 a new pre-shared key counts from the next handshake on")
def psk_change(rig):
    p = rig.peer()
    session = p.connect()
    p.psk = os.urandom(32)
    rig.set_peer(p, f"preshared_key={p.psk.hex()}")
    equal(rig.state(p)["preshared_key"], p.psk.hex(), "preshared_key")
    rig.works(p, session)
    session = p.connect()
    rig.works(p, session)
    p.psk = wg.ZERO_KEY
    rig.set_peer(p, "preshared_key=" + "00" * 32)
    rig.works(p, session)
    rig.works(p, p.connect())


@check("P-394 P-245 keepalive from 0 to non-zero sends one at once, other changes none")
def keepalive_switched_on(rig):
    p = rig.peer()
    session = p.connect()
    rig.set_peer(p, "persistent_keepalive_interval=100")
    p.keepalive(session)
    for value in (100, 200, 65535):
        rig.set_peer(p, f"persistent_keepalive_interval={value}")
        p.silent(0.2)
    rig.set_peer(p, "persistent_keepalive_interval=0")
    p.silent(0.2)
    rig.set_peer(p, "persistent_keepalive_interval=1000")
    p.keepalive(session)


@check("P-395 U-044 a transaction is seen whole or not at all")
def atomic(rig):
    a, b = rig.peer(), rig.peer()
    texts = ["".join(uapi.section(p.public, f"persistent_keepalive_interval={n}",
                                  "replace_allowed_ips=true", f"allowed_ip=10.{n}.{k}.0/24")
                     for k, p in enumerate((a, b))) for n in (21, 42)]
    rig.set(texts[0])
    stop = threading.Event()

    def writer():
        n = 0
        while not stop.is_set():
            n += 1
            uapi.transact(rig.ifname, "set=1\n" + texts[n % 2] + "\n")
    thread = threading.Thread(target=writer)
    thread.start()
    try:
        for _ in range(300):
            state = rig.get()
            seen = {state.peer(p.public)["persistent_keepalive_interval"] for p in (a, b)}
            equal(len(seen), 1, f"intervals seen together: {seen}")
            n = seen.pop()
            equal([state.peer(p.public)["allowed_ip"] for p in (a, b)],
                  [[f"10.{n}.{k}.0/24"] for k in (0, 1)], "allowed_ip seen with it")
    finally:
        stop.set()
        thread.join()


# Interface states

@check("P-400 down: sessions and staged packets go, configuration and statistics stay", known=True)
def down(rig):
    p, q = rig.peer(), rig.peer(endpoint=True)
    session = p.connect()
    rig.works(p, session)
    rig.send_out(q, 9)
    q.receive_initiation()
    before = rig.get()
    rig.down()
    equal(rig.get().lines, before.lines, "get while down")
    rig.up()
    equal(rig.get().lines, before.lines, "get when up again")
    p.send_in(session)
    equal(rig.marks(), [], "packets on a session from before")
    rig.send_out(p, 5)
    new = p.accept()  # at once: P-221 does not count across it
    equal(inner.mark_of(p.plaintext(new)), 5, "the first packet")
    rig.send_out(q, 6)
    new = q.accept()
    equal(inner.mark_of(q.plaintext(new)), 6, "the first packet, not what was staged")


@check("P-400 P-072 down: a handshake in flight is void", known=True)
def down_in_flight(rig):
    p = rig.peer(endpoint=True)
    rig.send_out(p)
    received = p.receive_initiation()
    rig.down()
    rig.up()
    response, _ = received.respond()
    p.send(response)
    p.silent()


@check("P-401 P-246 up: peers with a keepalive interval get one", up=False, known=True)
def up_keepalives(rig):
    p = rig.peer("persistent_keepalive_interval=25", endpoint=True)
    q = rig.peer(endpoint=True)
    p.silent(why="before up")
    rig.up()
    p.keepalive(p.accept())
    q.silent()


@check("P-401 P-246 up again: keepalives again", known=True)
def up_again_keepalives(rig):
    p = rig.peer("persistent_keepalive_interval=25")
    p.connect()
    p.drain()
    rig.down()
    p.drain(0.05)
    rig.up()
    p.keepalive(p.accept())


@check("P-400 P-401 U-074 flapping under traffic ends well")
def flapping(rig):
    p = rig.peer(endpoint=True)
    for n in range(30):
        rig.link("down" if n % 2 == 0 else "up")
        if n % 2:
            for mark in range(3):
                try:
                    rig.send_out(p, mark)
                except OSError:
                    pass
    rig.wait_bound(rig.port)
    p.drain(0.3)
    session = p.connect()
    p.drain(0.3)  # what was staged since the last up
    rig.works(p, session)


@check("P-406 P-017 the interface: MTU 1420, no link-local address, no packets of its own",
       up=False, known=True)
def interface(rig):
    text = rig.host.out("ip", "-d", "link", "show", "dev", rig.ifname)
    ensure("mtu 1420 " in text, f"MTU: {text}")
    ensure("POINTOPOINT" in text and "NOARP" in text, f"flags: {text}")
    p = rig.peer("allowed_ip=0.0.0.0/0", "allowed_ip=::/0", endpoint=True)
    rig.up()
    p.silent(1.2, "after up with ::/0")
    text = rig.host.out("ip", "-6", "addr", "show", "dev", rig.ifname)
    ensure("inet6" not in text, f"addresses: {text}")


# Statistics

def statistics(rig, peer):
    s = rig.state(peer)
    return int(s["rx_bytes"]), int(s["tx_bytes"])


def counted(rig, peer, expected):
    ensure(wait_until(lambda: statistics(rig, peer) == expected, 1),
           f"(rx, tx) is {statistics(rig, peer)}, not {expected}")


@check("P-420 P-421 P-422 exact numbers as responder")
def statistics_responder(rig):
    p = rig.peer()
    session = p.handshake()
    counted(rig, p, (148, 92))
    p.send(session.seal())
    counted(rig, p, (180, 92))
    p.send(session.seal(inner.sized(p.inner4, INNER4, 36)))
    counted(rig, p, (260, 92))
    p.send(session.seal(inner.sized(p.inner4, INNER4, 36), pad=False))
    counted(rig, p, (328, 92))
    p.send(session.seal(inner.sized(p.inner4, INNER4, 36) + bytes(100), pad=False))
    counted(rig, p, (328 + 168, 92))
    rig.inject(inner.sized(INNER4, p.inner4, 100))
    counted(rig, p, (496, 92 + 112 + 32))
    rig.set_peer(p, "persistent_keepalive_interval=900")
    counted(rig, p, (496, 236 + 32))


@check("P-420 P-421 exact numbers as initiator")
def statistics_initiator(rig):
    p = rig.peer(endpoint=True)
    rig.inject(inner.sized(INNER4, p.inner4, 64))
    received = p.receive_initiation()
    counted(rig, p, (0, 148))
    p.transport(p.answer(received))
    counted(rig, p, (92, 148 + 96))


@check("P-420 P-441 what is refused is not counted", known=True)
def statistics_refused(rig):
    p, q = rig.peer(), rig.peer()
    session = p.handshake()
    replayed = session.seal()
    p.send(replayed)
    counted(rig, p, (180, 92))
    bad = session.seal(p.marked(1))
    p.send(replayed)
    p.send(bad[:-1] + bytes([bad[-1] ^ 1]))
    p.send(p.initiation(stamp=wg.tai64n(1)).message)
    p.send(session.seal(b"\x45" + bytes(15)))  # P-262
    p.send(session.seal(inner.sized(q.inner4, INNER4, 60)))  # P-282
    time.sleep(0.2)
    counted(rig, p, (180, 92))
    p.send(session.seal())
    counted(rig, p, (212, 92))


@check("P-421 what could not be sent is not counted")
def statistics_unsent(rig):
    p = rig.peer("endpoint=203.0.113.1:9")
    rig.send_out(p)
    time.sleep(0.3)
    equal(statistics(rig, p), (0, 0), "(rx, tx)")


@check("P-424 statistics survive new sessions; they go with the peer")
def statistics_last(rig):
    p = rig.peer()
    for n in range(1, 4):
        p.connect()
        counted(rig, p, (180 * n, 92 * n))
    rig.set_peer(p, "remove=true")
    rig.set_peer(p)
    counted(rig, p, (0, 0))


@check("P-211 P-423 a responder reports the handshake when it is confirmed, not when answered")
def handshake_time(rig):
    p = rig.peer()
    session = p.handshake()
    time.sleep(0.2)
    equal(rig.handshake_time(p), 0, "handshake time before the confirmation")
    before = time.time_ns()
    p.send_in(session)
    p.confirmed()
    ensure(before <= rig.handshake_time(p) <= time.time_ns(), "handshake time is not now")
    first = rig.handshake_time(p)
    p.handshake()
    equal(rig.handshake_time(p), first, "handshake time after an unconfirmed one")


@check("P-211 P-423 an initiator reports the handshake on the response")
def handshake_time_initiator(rig):
    p = rig.peer(endpoint=True)
    rig.send_out(p)
    received = p.receive_initiation()
    equal(rig.handshake_time(p), 0, "handshake time before the response")
    before = time.time_ns()
    p.transport(p.answer(received))
    ensure(before <= rig.handshake_time(p) <= time.time_ns(), "handshake time is not now")


@check("P-442 without traffic there is silence", waits=True)
def silence(rig):
    p = rig.peer(endpoint=True)
    q = rig.peer()
    q.connect()
    p.silent(16)
    q.silent(0)


if __name__ == "__main__":
    main()

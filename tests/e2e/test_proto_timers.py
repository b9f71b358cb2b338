#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The timers of the protocol (section 10) in real time. All checks wait at the same time; those
of more than two minutes need --long. That of giving up (P-223) waits in test_proto_load.py.

Times are the kernel's receive timestamps. Lower bounds are exact; LATE is what a busy machine may
add to an upper one."""

import time

from lib import wgpeer as wg
from lib import wgpeer_inner as inner
from lib.report import check as ensure
from lib.report import equal
from lib.wgpeer_check import check, main
from lib.wgpeer_rig import INNER4

EARLY, LATE = 0.01, 0.75
JITTER = 0.333


def after(what, seconds, low, high=None):
    """@seconds lies in low..high (by default low with its jitter)."""
    high = low + JITTER if high is None else high
    ensure(low - EARLY <= seconds <= high + LATE,
           f"{what} after {seconds:.3f} s, not {low} to {high}")


class Clock:
    """Seconds since a moment, and sleeping until one."""

    def __init__(self):
        self.start = time.time()

    def now(self):
        return time.time() - self.start

    def until(self, seconds):
        time.sleep(max(0.0, seconds - self.now()))


def quiet_until(peer, clock, seconds, why=""):
    peer.silent(max(0.0, seconds - clock.now()), why)


# Retransmission

@check("P-225 traffic keeps the retries alive", timeout=180, waits=True, long=True)
def traffic_keeps_trying(rig):
    p = rig.peer(endpoint=True)
    clock, last = Clock(), None
    while clock.now() < 130:
        rig.send_out(p)
        d = p.expect(wg.INITIATION, 7)
        if last:
            after("retransmission", d.time - last, 5.0)
        last = d.time


@check("P-200 P-215 a failed send does not stop the retransmission", waits=True)
def unsent_initiation(rig):
    p = rig.peer(endpoint=True)
    rig.host.run("ip", "link", "set", "dev", "veth0", "down")
    rig.send_out(p)
    p.silent(1)
    rig.host.run("ip", "link", "set", "dev", "veth0", "up")
    p.transport(p.accept(6))


@check("P-221 P-225 a response counts: no initiation for 5 s after it", waits=True)
def response_counts(rig):
    p = rig.peer()
    i = p.send_initiation()
    d = p.expect(wg.RESPONSE)
    i.consume(d.data)
    while (got := p.recv(0.25)) is None:
        ensure(time.time() - d.time < 7, "no initiation 7 s after a response")
        rig.send_out(p)
    equal(wg.kind_of(got.data), wg.INITIATION, "message")
    after("initiation after a response", got.time - d.time, 5.0)


@check("P-222 P-073 retransmission due while a response forbids it", waits=True)
def retransmission_forbidden(rig):
    p = rig.peer(endpoint=True)
    rig.send_out(p)
    p.receive_initiation()
    time.sleep(2)
    i = p.send_initiation()
    d = p.expect(wg.RESPONSE)
    i.consume(d.data)
    p.silent(4)  # 5.3 s after the first initiation, 4 s after the response
    while (got := p.recv(0.25)) is None:
        ensure(time.time() - d.time < 7, "no initiation 7 s after a response")
        rig.send_out(p)
    equal(wg.kind_of(got.data), wg.INITIATION, "message")
    after("initiation after a response", got.time - d.time, 5.0)


@check("P-211 P-200 a confirmed handshake of the other side ends the retransmission", waits=True)
def other_side_wins(rig):
    p = rig.peer(endpoint=True)
    rig.send_out(p, 4)
    p.receive_initiation()
    session = p.handshake()
    p.send(session.seal())
    equal(inner.mark_of(p.plaintext(session)), 4, "staged packet")
    p.silent(7)


# Keepalives

@check("P-201 P-216 P-224 one keepalive 10 s after data, then silence", waits=True)
def passive_keepalive(rig):
    p = rig.peer()
    session = p.connect()
    clock = Clock()
    p.send_in(session)
    _, d = p.keepalive(session, 12)
    after("keepalive", d.time - clock.start, 10.0, 10.0)
    p.send(session.seal())
    p.silent(12, "after the keepalive")


@check("P-201 P-224 further data within the 10 s does not postpone the keepalive", waits=True)
def keepalive_not_postponed(rig):
    p = rig.peer()
    session = p.connect()
    clock = Clock()
    for _ in range(4):
        p.send_in(session)
        time.sleep(2)
    _, d = p.keepalive(session, 5)
    after("keepalive", d.time - clock.start, 10.0, 10.0)
    more = p.drain(14)
    ensure(len(more) <= 1, f"{len(more) + 1} keepalives")


@check("P-201 P-212 data sent meanwhile replaces the keepalive", waits=True)
def keepalive_cancelled(rig):
    p = rig.peer()
    session = p.connect()
    clock = Clock()
    p.send_in(session)
    clock.until(5)
    rig.send_out(p)
    p.transport(session)
    quiet_until(p, clock, 12)
    p.send_in(session)
    _, d = p.keepalive(session, 12)
    after("keepalive after the second packet", d.time - clock.start, 22.0, 22.0)


@check("P-214 P-265 data the host never sees asks for a keepalive too", waits=True)
def keepalive_for_invalid(rig):
    p = rig.peer()
    session = p.connect()
    clock = Clock()
    p.send(session.seal(b"\0" * 16))
    _, d = p.keepalive(session, 12)
    after("keepalive", d.time - clock.start, 10.0, 10.0)


@check("P-216 keepalives are never answered", waits=True)
def keepalives_only(rig):
    p = rig.peer()
    session = p.connect()
    for _ in range(12):
        p.send(session.seal())
        p.silent(1)


@check("P-204 P-215 P-247 persistent keepalives every second, and nothing else", waits=True)
def persistent(rig):
    p = rig.peer()
    session = p.connect()
    rig.set_peer(p, "persistent_keepalive_interval=1")
    times = [p.keepalive(session, 3)[1].time for _ in range(18)]
    for a, b in zip(times, times[1:]):
        after("keepalive", b - a, 1.0, 1.0)
    rig.set_peer(p, "persistent_keepalive_interval=0")
    p.drain(0.1)
    p.silent(3, "after the interval was set to 0")


@check("P-204 P-213 P-247 packets received postpone the persistent keepalive", waits=True)
def persistent_received(rig):
    p = rig.peer()
    session = p.connect()
    rig.set_peer(p, "persistent_keepalive_interval=3")
    p.keepalive(session)
    for _ in range(4):
        p.silent(2)
        p.send(session.seal())
        last = time.time()
    _, d = p.keepalive(session, 5)
    after("keepalive", d.time - last, 3.0, 3.0)


@check("P-204 P-212 P-247 packets sent postpone the persistent keepalive", waits=True)
def persistent_sent(rig):
    p = rig.peer()
    session = p.connect()
    rig.set_peer(p, "persistent_keepalive_interval=3")
    p.keepalive(session)
    for mark in range(4):
        p.silent(2)
        rig.send_out(p, mark)
        plaintext, d = p.transport(session)[1:]
        equal(inner.mark_of(plaintext), mark, "packet")
    _, k = p.keepalive(session, 5)
    after("keepalive", k.time - d.time, 3.0, 3.0)


@check("P-245 P-204 another non-zero interval holds from the next arming on", waits=True)
def persistent_changed(rig):
    p = rig.peer()
    session = p.connect()
    rig.set_peer(p, "persistent_keepalive_interval=4")
    _, first = p.keepalive(session)
    time.sleep(0.5)
    rig.set_peer(p, "persistent_keepalive_interval=1")
    _, second = p.keepalive(session, 6)
    after("keepalive with the old interval", second.time - first.time, 4.0, 4.0)
    _, third = p.keepalive(session, 3)
    after("keepalive with the new interval", third.time - second.time, 1.0, 1.0)


@check("P-204 P-223 P-227 persistent keepalive tries again after giving up", timeout=180,
       waits=True, long=True)
def persistent_after_give_up(rig):
    p = rig.peer(endpoint=True)
    rig.set_peer(p, "persistent_keepalive_interval=20")
    last, n = p.expect(wg.INITIATION).time, 1
    while True:
        d = p.expect(wg.INITIATION, 25)
        n += 1
        if d.time - last > 10:
            break
        last = d.time
    ensure(n >= 20, f"only {n - 1} initiations before a pause")
    p.drain(0)
    after("next attempt", d.time - last, 15.0, 20.0)


# New handshake for want of an answer

@check("P-202 P-346 data without answer: a handshake 15 s after the first packet", waits=True)
def new_handshake(rig):
    rig.host.run("ip", "addr", "add", "192.0.2.11/24", "dev", "veth0")
    p = rig.peer()
    session = p.connect()
    p.send_in(session, to=("192.0.2.11", rig.port))
    ensure(rig.delivered() is not None, "a packet did not arrive")
    rig.send_out(p, 1)
    first = p.transport(session)[2]
    equal(first.source[0], "192.0.2.11", "sticky source")
    time.sleep(5)
    rig.send_out(p, 2)
    p.transport(session)
    d = p.expect(wg.INITIATION, 12)
    after("initiation", d.time - first.time, 15.0)
    equal(d.source[0], "192.0.2.1", "source of the initiation: the sticky one is cleared")
    rig.send_out(p, 3)
    equal(inner.mark_of(p.plaintext(session)), 3, "current is still used")
    again = p.receive_initiation(7)
    after("retransmission", again.time - d.time, 5.0)
    p.transport(p.answer(again))


@check("P-202 P-213 any authenticated packet calls the handshake off", waits=True)
def new_handshake_cancelled(rig):
    p = rig.peer()
    session = p.connect()
    clock = Clock()
    rig.send_out(p, 1)
    p.transport(session)
    clock.until(10)
    p.send(session.seal())
    quiet_until(p, clock, 19, "after a keepalive called it off")
    rig.send_out(p, 2)
    p.transport(session)
    quiet_until(p, clock, 32)


@check("P-215 packets that could not be sent wait for no answer", waits=True, known=True)
def unsent_data(rig):
    p = rig.peer()
    session = p.connect()
    rig.host.run("ip", "link", "set", "dev", "veth0", "down")
    rig.send_out(p)
    time.sleep(0.5)
    rig.host.run("ip", "link", "set", "dev", "veth0", "up")
    p.silent(17)
    rig.works(p, session)


# Key pairs that take time to make

def unanswered(rig, peer, session):
    """The daemon sends data with @session, hears nothing and initiates."""
    rig.send_out(peer)
    peer.transport(session)
    received = peer.receive_initiation(18)
    return peer.answer(received)


@check("P-171 P-228 as initiator with next empty: current becomes previous", waits=True)
def initiator_rotation(rig):
    p = rig.peer(endpoint=True)
    oldest = p.called()
    old = unanswered(rig, p, oldest)
    p.keepalive(old)
    ensure(rig.takes(p, oldest), "previous does not receive")
    new = unanswered(rig, p, old)
    p.keepalive(new)
    ensure(rig.takes(p, old), "previous does not receive")
    ensure(rig.refuses(p, oldest), "the pair before previous still receives")
    rig.works(p, new)


@check("P-171 as initiator with next occupied: next becomes previous, current is destroyed",
       waits=True)
def initiator_rotation_next(rig):
    p = rig.peer(endpoint=True)
    current = p.called()
    unconfirmed = p.handshake()
    new = unanswered(rig, p, current)
    p.keepalive(new)
    ensure(rig.refuses(p, current), "the old current still receives")
    ensure(rig.takes(p, unconfirmed), "what was next does not receive as previous")
    rig.works(p, new)  # and did not become current


# Ages

@check("P-220 P-006 the initiator renews a session of 120 s when it sends", timeout=200,
       waits=True, long=True)
def rekey_on_send(rig):
    p = rig.peer(endpoint=True)
    session = p.called()
    clock = Clock()
    while clock.now() < 119:
        time.sleep(7)
        if clock.now() < 119:
            rig.send_out(p)
            p.transport(session)
            p.send(session.seal())
    clock.until(120.1)
    p.silent(0)
    rig.send_out(p, 5)
    equal(inner.mark_of(p.plaintext(session)), 5, "packet on the old session")
    new = p.accept()
    p.keepalive(new)
    rig.works(p, new)


@check("P-220 a responder never renews by time", timeout=200, waits=True, long=True)
def no_rekey_as_responder(rig):
    p = rig.peer()
    session = p.connect()
    clock = Clock()
    while clock.now() < 165:
        rig.send_out(p)
        p.transport(session)
        p.send_in(session)
        p.silent(5)


@check("P-226 the initiator renews a session of 165 s when it receives, once", timeout=240,
       waits=True, long=True)
def rekey_on_receive(rig):
    p = rig.peer(endpoint=True)
    session = p.called()
    clock = Clock()
    while clock.now() < 160:
        p.send(session.seal())
        p.silent(4)
    clock.until(164)
    p.send(session.seal())
    p.silent(0.5)
    clock.until(165.1)
    p.send(session.seal())
    first = p.receive_initiation()
    p.send(session.seal())
    p.silent(1)
    second = p.receive_initiation(7)
    after("retransmission", second.time - first.time, 5.0)


@check("P-176 P-142 P-007 a session of 180 s neither sends nor receives", timeout=240, waits=True,
       long=True)
def expiry(rig):
    p = rig.peer()
    session = p.connect()
    clock = Clock()
    clock.until(178.5)
    rig.works(p, session)
    clock.until(180.2)
    p.send_in(session, 3)
    equal(rig.marks(), [], "packets received after 180 s")
    rig.send_out(p, 4)
    new = p.accept()
    equal(inner.mark_of(p.plaintext(new)), 4, "staged packet")


@check("P-211 P-420 P-424 time and counters while nothing answers", waits=True)
def counters_of_retries(rig):
    p = rig.peer(endpoint=True)
    rig.inject(inner.sized(INNER4, p.inner4, 60))
    for _ in range(3):
        p.receive_initiation(7)
    state = rig.state(p)
    equal((state["rx_bytes"], state["tx_bytes"]), ("0", str(3 * 148)), "(rx, tx)")
    equal(rig.handshake_time(p), 0, "handshake time")


if __name__ == "__main__":
    main()

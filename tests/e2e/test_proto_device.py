#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Endpoints, sockets, configuration of live peers, interface states and statistics as seen from
outside (sections 16 to 20 of the protocol)."""

import os
import socket
import sys
import threading
import time

from lib import wgpeer as wg
from lib import wgpeer_inner as inner
from lib import wgpeer_uapi as uapi
from lib.netns import ringtun_bin, wait_until
from lib.report import check as ensure
from lib.report import equal, skip
from lib.wgpeer_check import check, main
from lib.wgpeer_rig import FAR4, FAR6, HOST4, HOST6, INNER4, QUIET
from lib.wgpeer_udp import UDP_SEGMENT, Tap, Udp

OTHER4, OTHER6 = "192.0.2.11", "2001:db8::11"  # second addresses of the host
ADDRESS_IN_USE = -98


def text_of(udp):
    return f"[{udp.address}]:{udp.port}" if udp.v6 else f"{udp.address}:{udp.port}"


# Roaming

def roamed(rig, peer, session, udp):
    """`get` and the next packet agree that @peer is behind @udp."""
    ensure(wait_until(lambda: rig.state(peer).get("endpoint") == text_of(udp), 2),
           f"endpoint is {rig.state(peer).get('endpoint')}, not {text_of(udp)}")
    rig.send_out(peer)
    d = peer.expect(wg.TRANSPORT, udp=udp)
    session.open(d.data)


@check("P-340 P-342 the endpoint follows data and keepalives, also between address families")
def roaming(rig):
    p = rig.peer()
    session = p.connect()
    for n, address in enumerate((FAR4, FAR6, FAR4, FAR4, FAR6, FAR6)):
        udp = rig.udp(address)
        if n % 2:
            p.send_in(session, n, udp=udp)
        else:
            p.send(session.seal(), udp=udp)
        roamed(rig, p, session, udp)


@check("P-059 P-340 P-342 the endpoint follows an initiation, and the response goes there")
def roaming_initiation(rig):
    p = rig.peer()
    session = p.connect()
    for address in (FAR6, FAR4):
        udp = rig.udp(address)
        p.handshake(udp=udp)
        roamed(rig, p, session, udp)


@check("P-340 the endpoint follows a response")
def roaming_response(rig):
    p = rig.peer(endpoint=True)
    rig.send_out(p)
    response, session = p.receive_initiation().respond()
    udp = rig.udp(FAR6)
    p.send(response, udp=udp)
    session.open(p.expect(wg.TRANSPORT, udp=udp).data)
    roamed(rig, p, session, udp)


@check("P-341 the endpoint stays after anything replayed or unauthenticated")
def not_roaming(rig):
    p = rig.peer()
    used = p.initiation()
    session = p.connect()
    old = session.seal(p.marked(1))
    p.send(old)
    rig.delivers([1])
    elsewhere = rig.udp(FAR6)
    forged = session.seal(p.marked(2))
    p.send(old, udp=elsewhere)
    p.send(forged[:-1] + bytes([forged[-1] ^ 1]), udp=elsewhere)
    p.send(used.message, udp=elsewhere)
    p.send(session.seal(counter=wg.REJECT_AFTER_MESSAGES), udp=elsewhere)
    p.send(p.initiation().message[:147], udp=elsewhere)
    p.silent(udp=elsewhere)
    roamed(rig, p, session, p.udp)


@check("P-341 P-056 the endpoint stays after an initiation that came too soon")
def flood_does_not_roam(rig):
    elsewhere = rig.udp()
    for _ in range(5):  # a scheduling hiccup of 20 ms would hide the limit
        p = rig.peer()
        first, second = p.initiation(), p.initiation()
        p.send(first.message)
        p.send(second.message, udp=elsewhere)
        p.expect(wg.RESPONSE)
        if elsewhere.recv(QUIET) is None:
            equal(rig.state(p)["endpoint"], text_of(p.udp), "endpoint")
            return
    ensure(False, "the second initiation was answered each time")


@check("P-343 a configured endpoint replaces the learned one and causes no traffic")
def endpoint_configured(rig):
    p = rig.peer()
    session = p.connect()
    for address in (FAR4, FAR6):
        udp = rig.udp(address)
        rig.set_peer(p, f"endpoint={text_of(udp)}")
        p.silent(udp=udp)
        roamed(rig, p, session, udp)
    p.send_in(session)
    rig.delivers([1])
    roamed(rig, p, session, p.udp)


def link_local(ns):
    """(address, interface index) of veth0"""
    out = ns.out("ip", "-o", "-6", "addr", "show", "dev", "veth0", "scope", "link")
    return out.split()[3].split("/")[0], int(out.split(":")[0])


def scoped(rig):
    """A UDP socket on the far side's link-local address, and its text for the host."""
    address, index = link_local(rig.far)
    udp = rig.udp(address, scope=index)
    return udp, [f"[{address}%veth0]:{udp.port}", f"[{address}%{link_local(rig.host)[1]}]:{udp.port}"]


@check("P-344 U-042 link-local endpoints keep their scope, learned from a packet", known=True)
def link_local_learned(rig):
    p = rig.peer()
    session = p.connect()
    udp, texts = scoped(rig)
    host, _ = link_local(rig.host)
    udp.send(session.seal(), (host, rig.port, 0, link_local(rig.far)[1]))
    ensure(wait_until(lambda: rig.state(p)["endpoint"] in texts, 2),
           f"endpoint {rig.state(p)['endpoint']}, not {texts[0]}")
    rig.send_out(p)
    p.expect(wg.TRANSPORT, udp=udp)


@check("P-344 U-042 link-local endpoints keep their scope, configured by name and by index",
       known=True)
def link_local_configured(rig):
    p = rig.peer()
    session = p.connect()
    udp, texts = scoped(rig)
    for text in texts:
        rig.set_peer(p, f"endpoint={p.endpoint}")
        rig.set_peer(p, f"endpoint={text}")
        ensure(rig.state(p)["endpoint"] in texts, f"endpoint {rig.state(p)['endpoint']}")
        rig.send_out(p)
        session.open(p.expect(wg.TRANSPORT, udp=udp).data)


# Sticky source

def add_addresses(rig):
    rig.host.run("ip", "addr", "add", f"{OTHER4}/24", "dev", "veth0")
    rig.host.run("ip", "-6", "addr", "add", f"{OTHER6}/64", "dev", "veth0", "nodad",
                 "preferred_lft", "0")


def talk_to(rig, peer, session, address):
    """A packet from @peer to one address of the host, whose reception is seen."""
    peer.send_in(session, to=(address, rig.port))
    ensure(rig.delivered() is not None, "a packet did not arrive")


def stuck(rig, far=FAR4):
    """A connected peer that talked to the host's second address last."""
    p = rig.peer(address=far)
    session = p.connect()
    other = OTHER6 if p.udp.v6 else OTHER4
    talk_to(rig, p, session, other)
    equal(source_of_data(rig, p, session), other, "source of data")
    return p, session


def source_of_data(rig, peer, session):
    rig.send_out(peer)
    return peer.transport(session)[2].source[0]


@check("P-345 responses and data leave from the address that was asked", known=True)
def sticky(rig):
    add_addresses(rig)
    for far, addresses in ((FAR4, (OTHER4, HOST4)), (FAR6, (OTHER6, HOST6))):
        for address in addresses * 2:
            p = rig.peer(address=far)
            i = p.initiation()
            p.send(i.message, to=(address, rig.port))
            d = p.expect(wg.RESPONSE)
            equal(d.source[0], address, "source of the response")
            session = i.consume(d.data)
            talk_to(rig, p, session, address)
            equal(source_of_data(rig, p, session), address, "source of data")


@check("P-345 each of two peers keeps its own source")
def sticky_per_peer(rig):
    add_addresses(rig)
    pairs = []
    for address in (HOST4, OTHER4) * 3:
        p = rig.peer()
        session = p.connect()
        talk_to(rig, p, session, address)
        pairs.append((p, session, address))
    for p, session, address in pairs:
        equal(source_of_data(rig, p, session), address, "source of data")


@check("P-345 also when the datagrams came as one large segment", known=True)
def sticky_coalesced(rig):
    add_addresses(rig)
    for far, addresses in ((FAR4, (OTHER4, HOST4)), (FAR6, (OTHER6, HOST6))):
        p = rig.peer(address=far)
        session = p.connect()
        for address in addresses * 2:
            data = [session.seal(p.marked(n)) for n in range(20)]
            p.udp.socket.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(data[0]))
            p.send(b"".join(data), to=(address, rig.port))
            p.udp.socket.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
            rig.delivers(range(20))
            equal(source_of_data(rig, p, session), address, "source of data")


@check("P-346 the sticky source ends with a configured endpoint")
def sticky_endpoint(rig):
    add_addresses(rig)
    for far, address in ((FAR4, HOST4), (FAR6, HOST6)):
        p, session = stuck(rig, far)
        rig.set_peer(p, f"endpoint={p.endpoint}")
        equal(source_of_data(rig, p, session), address, "source of data")


@check("P-346 the sticky source ends with a change of the port", known=True)
def sticky_port(rig):
    add_addresses(rig)
    p, session = stuck(rig)
    rig.set("listen_port=5555\n")
    equal(source_of_data(rig, p, session), HOST4, "source of data")


@check("P-346 the sticky source ends with a change of the mark", known=True)
def sticky_fwmark(rig):
    add_addresses(rig)
    p, session = stuck(rig)
    rig.set("fwmark=7\n")
    equal(source_of_data(rig, p, session), HOST4, "source of data")


@check("P-346 P-223 the sticky source ends with a retransmission", waits=True, known=True)
def sticky_retransmission(rig):
    add_addresses(rig)
    p, _ = stuck(rig)
    expire_by_new_key(rig)
    rig.send_out(p)
    equal(p.expect(wg.INITIATION).source[0], OTHER4, "source of the first initiation")
    equal(p.expect(wg.INITIATION, 7).source[0], HOST4, "source of the retransmission")


def expire_by_new_key(rig):
    """P-380: with a new key no session may be used for sending."""
    rig.private = wg.new_private()
    rig.public = wg.public_of(rig.private)
    rig.set(f"private_key={rig.private.hex()}\n")


@check("P-347 P-348 a sticky source that left the host is given up", known=True)
def sticky_address_gone(rig):
    add_addresses(rig)
    for far, address, other in ((FAR4, HOST4, OTHER4 + "/24"), (FAR6, HOST6, OTHER6 + "/64")):
        p, session = stuck(rig, far)
        rig.host.run("ip", "addr", "del", other, "dev", "veth0")
        equal(source_of_data(rig, p, session), address, "source of data")


@check("P-347 a handshake does not fail for a sticky source that left the host", known=True)
def sticky_address_gone_handshake(rig):
    add_addresses(rig)
    for far, address, other in ((FAR4, HOST4, OTHER4 + "/24"), (FAR6, HOST6, OTHER6 + "/64")):
        p, _ = stuck(rig, far)
        rig.host.run("ip", "addr", "del", other, "dev", "veth0")
        expire_by_new_key(rig)
        rig.send_out(p)
        equal(p.expect(wg.INITIATION).source[0], address, "source of the initiation")


@check("P-348 the outgoing interface is not forced: replies follow the routes")
def interface_not_forced(rig):
    rig.lab.link(rig.host, rig.far, "veth1", "veth1", net=1)
    p = rig.peer()
    session = p.connect()
    for ns, address, via in ((rig.host, FAR4, "192.0.3.2"), (rig.far, HOST4, "192.0.3.1")):
        ns.sysctl("net.ipv4.conf.all.rp_filter", 0)
        ns.run("ip", "route", "add", f"{address}/32", "via", via, "dev", "veth1")
    tap = rig.own(Tap(rig.far, "veth1"))
    rig.send_out(p)
    session.open(p.expect(wg.TRANSPORT).data)
    packet = tap.recv(1, lambda f: f[0] >> 4 == 4 and f[9] == inner.UDP)
    ensure(packet is not None, "the packet did not take the new route")


# Sockets

@check("P-360 both families on the same port")
def both_families(rig):
    for far in (FAR4, FAR6):
        p = rig.peer(address=far)
        rig.works(p, p.connect())
    equal({family for family, _ in rig.sockets(rig.port)}, {"udp", "udp6"}, "families")


NO_IPV6 = {"families": ("udp",), "binary": sys.executable,
           "args": (os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib/wgpeer_noipv6.py"),
                    ringtun_bin(), "-f")}


@check("P-360 P-361 a host without IPv6: the port is reported and kept", **NO_IPV6, known=True)
def no_ipv6(rig):
    p = rig.peer()
    rig.works(p, p.connect())
    equal(rig.get().device["listen_port"], str(rig.port), "listen_port")
    rig.set("listen_port=0\n")
    port = rig.get().device.get("listen_port")
    ensure(port, "no listen_port reported for a random port")
    rig.port = int(port)
    rig.wait_bound(rig.port)
    rig.down()
    rig.up()
    equal(rig.get().device["listen_port"], port, "listen_port after down and up")


@check("P-360 IPv6 switched off by sysctl does no harm")
def ipv6_disabled(rig):
    rig.host.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
    rig.set("listen_port=4444\n")
    rig.port = 4444
    p = rig.peer()
    rig.works(p, p.connect())


@check("P-361 U-041 port 0 means a random one, which is reported and used")
def random_port(rig):
    seen = set()
    for _ in range(4):
        rig.set("listen_port=0\n")
        rig.port = int(rig.get().device["listen_port"])
        rig.wait_bound(rig.port)
        equal(len(rig.sockets(rig.port)), len(rig.sockets()), "sockets on the port")
        seen.add(rig.port)
        p = rig.peer(address=FAR6)
        p.connect()
    ensure(len(seen) > 1, f"the same port each time: {seen}")


@check("P-361 a random port is kept across down and up", up=False, known=True)
def random_port_kept(rig):
    rig.set("listen_port=0\n")
    rig.link("up")
    ensure(wait_until(lambda: len(rig.sockets()) >= 2, 3), "no sockets after up")
    rig.port = int(rig.get().device["listen_port"])
    rig.wait_bound(rig.port)
    for _ in range(3):
        rig.down()
        equal(rig.get().device.get("listen_port"), str(rig.port), "listen_port while down")
        rig.up()


@check("P-361 a random port that is free in one family only is not taken", up=False)
def random_port_retry(rig):
    rig.host.sysctl("net.ipv4.ip_local_port_range", "40000 40003")
    for port in (40000, 40001, 40003):
        rig.own(Udp(rig.host, "::", port))
    rig.link("up")
    for _ in range(3):
        rig.set("listen_port=1234\n")
        rig.set("listen_port=0\n")
        equal(rig.get().device["listen_port"], "40002", "listen_port")


@check("P-362 there are no sockets before the interface is up", up=False, known=True)
def no_sockets_before_up(rig):
    time.sleep(0.2)
    equal(rig.sockets(), [], "sockets")
    rig.set("listen_port=6666\n")
    equal(rig.get().device["listen_port"], "6666", "listen_port")
    equal(rig.sockets(), [], "sockets after setting a port")
    rig.port = 6666
    rig.up()
    p = rig.peer()
    p.connect()


@check("P-363 U-050 the port that is ours already is not bound again", known=True)
def same_port(rig):
    p = rig.peer()
    session = p.connect()
    before = rig.sockets(rig.port)
    for _ in range(3):
        rig.set(f"listen_port={rig.port}\n")
    equal(rig.sockets(rig.port), before, "sockets after setting the same port")
    rig.works(p, session)


@check("P-363 a busy port is refused, the old sockets keep working", known=True)
def busy_port(rig):
    p = rig.peer()
    session = p.connect()
    before = rig.sockets(rig.port)
    for address, port in (("0.0.0.0", 7001), ("127.0.0.1", 7002), ("::", 7003)):
        holder = rig.own(Udp(rig.host, address, port))
        equal(rig.transact(f"set=1\nlisten_port={holder.port}\n\n"), "errno=-98", "reply")
        equal(rig.get().device["listen_port"], str(rig.port), "listen_port")
        equal(rig.sockets(rig.port), before, "sockets")
        rig.works(p, session)


@check("P-363 a port that others share by SO_REUSEPORT is busy too")
def reuseport(rig):
    with rig.host.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("0.0.0.0", 7010))
        equal(rig.transact("set=1\nlisten_port=7010\n\n"), "errno=-98", "reply")


@check("P-363 a second daemon does not get the port of the first", known=True)
def second_daemon(rig):
    p = rig.peer()
    session = p.connect()
    other = rig.host.daemon()
    rig.host.run("ip", "link", "set", other.ifname, "up")
    time.sleep(0.2)
    equal(uapi.transact(other.ifname, f"set=1\nlisten_port={rig.port}\n\n"), "errno=-98", "reply")
    for mark in range(20):
        rig.works(p, session, 2 * mark)


@check("P-363 P-364 a changed port keeps the sessions and closes the old one")
def changed_port(rig):
    p = rig.peer()
    session = p.connect()
    old = rig.port
    for port in (2222, 3333, old):
        rig.set(f"listen_port={port}\n")
        equal(rig.get().device["listen_port"], str(port), "listen_port")
        rig.port = port
        rig.wait_bound(port)
        rig.works(p, session)
        rig.send_out(p)
        equal(p.transport(session)[2].source[1], port, "source port")
        ensure(wait_until(lambda: len(rig.sockets()) == len(rig.sockets(port)), 2),
               "old sockets are still open")


@check("P-365 fwmark marks what is sent, at once, later sockets and 0 included")
def fwmark(rig):
    add_addresses(rig)
    for family, subnet, source in (("-4", "192.0.2.0/24", OTHER4), ("-6", "2001:db8::/64", OTHER6)):
        rig.host.run("ip", family, "rule", "add", "fwmark", "0x2a", "lookup", "42")
        rig.host.run("ip", family, "route", "add", subnet, "dev", "veth0", "src", source,
                     "table", "42")
    peers = [rig.peer(address=a) for a in (FAR4, FAR6)]
    sessions = [p.connect() for p in peers]

    def sources():
        for p in peers:  # no sticky source, the mark's route decides
            rig.set_peer(p, f"endpoint={p.endpoint}")
        return [source_of_data(rig, p, s) for p, s in zip(peers, sessions)]
    equal(sources(), [HOST4, HOST6], "sources without mark")
    rig.set("fwmark=42\n")
    equal(rig.get().device["fwmark"], "42", "fwmark")
    equal(sources(), [OTHER4, OTHER6], "sources with the mark")
    rig.set("listen_port=8888\n")
    equal(sources(), [OTHER4, OTHER6], "sources from a new port")
    rig.set("fwmark=0\n")
    equal(sources(), [HOST4, HOST6], "sources after the mark was removed")


@check("P-365 fwmark set while down holds when up", up=False)
def fwmark_before_up(rig):
    rig.set("fwmark=42\n")
    rig.host.run("ip", "addr", "add", f"{OTHER4}/24", "dev", "veth0")
    rig.host.run("ip", "rule", "add", "fwmark", "42", "lookup", "42")
    rig.host.run("ip", "route", "add", "192.0.2.0/24", "dev", "veth0", "src", OTHER4, "table", "42")
    rig.up()
    p = rig.peer(endpoint=True)
    rig.send_out(p)
    equal(p.expect(wg.INITIATION).source[0], OTHER4, "source of the initiation")


@check("P-366 packets that can not be sent do not hold up others")
def send_errors(rig):
    good = rig.peer()
    session = good.connect()
    rig.host.run("ip", "route", "add", "prohibit", "198.51.100.1")
    rig.host.run("ip", "route", "add", "blackhole", "198.51.100.2")
    bad = []
    for endpoint in ("198.51.100.1:9", "198.51.100.2:9", "203.0.113.1:9", "[2001:db8:ff::1]:9",
                     "255.255.255.255:9", "192.0.2.2:0"):
        p = rig.peer()
        bad.append((p, p.connect()))
        rig.set_peer(p, f"endpoint={endpoint}")
    for start in range(0, 100, 10):
        for mark in range(start, start + 10):
            for p, _ in bad:
                rig.send_out(p, mark)
            rig.send_out(good, mark)
        for mark in range(start, start + 10):
            equal(inner.mark_of(good.plaintext(session)), mark, "packet of the good peer")
    for p, s in bad:
        p.send_in(s)
    equal(len(rig.marks(n=len(bad))), len(bad), "packets received afterwards")


@check("P-367 ICMP errors about what was sent are ignored")
def refused_ports(rig):
    p = rig.peer()
    session = p.connect()
    closed = rig.udp()
    rig.set_peer(p, f"endpoint={text_of(closed)}")
    closed.close()
    for mark in range(50):
        rig.send_out(p, mark)
        time.sleep(0.002)
    rig.works(p, session)


@check("P-368 P-402 U-073 the interface in another namespace: sockets stay, up and down are seen",
       known=True)
def moved_interface(rig):
    p = rig.peer()
    p.connect()
    inside = rig.lab.netns()
    rig.link("netns", inside.name)
    time.sleep(0.2)
    rig.up(ns=inside)
    rig.tun = rig.own(Tap(inside, rig.ifname))
    session = p.connect()
    rig.works(p, session)
    rig.link("mtu", "1301", ns=inside)  # a change of the MTU is seen there too
    time.sleep(0.2)
    rig.inject(inner.sized(INNER4, p.inner4, 1300))
    equal(len(p.plaintext(session)), 1301, "padded length at MTU 1301")
    rig.link("down", ns=inside)
    ensure(wait_until(lambda: not rig.sockets(), 3), "sockets are open while down")
    rig.up(ns=inside)
    rig.works(p, p.connect())


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
    expire_by_new_key(rig)
    rig.send_out(p, 1)
    received = p.receive_initiation()  # though a response was sent less than 5 s ago
    ensure(rig.takes(p, current), "the old session does not receive any more")
    rig.send_out(p, 2)
    p.silent()
    session = p.answer(received)
    equal([inner.mark_of(p.plaintext(session)) for _ in range(2)], [1, 2], "staged packets")
    rig.works(p, session)


@check("P-380 a new private key: the unconfirmed session may be received, not sent with", known=True)
def new_key_unconfirmed(rig):
    p = rig.peer()
    current = p.connect()
    unconfirmed = p.handshake()
    expire_by_new_key(rig)
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
    expire_by_new_key(rig)
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


@check("P-390 P-424 changes of a peer leave session, counters and timers alone", timeout=40)
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


@check("P-400 P-401 U-074 flapping under traffic ends well", timeout=60)
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


@check("P-406 P-017 the interface: MTU 1420, no link-local address, no packets of its own", up=False,
       known=True)
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


@check("P-442 without traffic there is silence", timeout=40, waits=True)
def silence(rig):
    p = rig.peer(endpoint=True)
    q = rig.peer()
    q.connect()
    p.silent(16)
    q.silent(0)


if __name__ == "__main__":
    main()

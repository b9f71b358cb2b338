#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Endpoints, roaming, source addresses and sockets as seen from outside (sections 16 and 17 of the
protocol)."""

import os
import socket
import sys
import time

from lib import wgpeer as wg
from lib import wgpeer_inner as inner
from lib import wgpeer_uapi as uapi
from lib.netns import ringtun_bin, wait_until
from lib.report import check as ensure
from lib.report import equal
from lib.wgpeer_check import check, main
from lib.wgpeer_rig import FAR4, FAR6, HOST4, HOST6, INNER4, QUIET
from lib.wgpeer_udp import UDP_SEGMENT, Tap, Udp

OTHER4, OTHER6 = "192.0.2.11", "2001:db8::11"  # second addresses of the host


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
    scopes = "veth0", link_local(rig.host)[1]
    return udp, [f"[{address}%{scope}]:{udp.port}" for scope in scopes]


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
    rig.new_key()
    rig.send_out(p)
    equal(p.expect(wg.INITIATION).source[0], OTHER4, "source of the first initiation")
    equal(p.expect(wg.INITIATION, 7).source[0], HOST4, "source of the retransmission")


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
        rig.new_key()
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


LAUNCHER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib/wgpeer_noipv6.py")
NO_IPV6 = {"families": ("udp",), "binary": sys.executable, "args": (LAUNCHER, ringtun_bin(), "-f")}


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


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""What goes where and under which outer header: allowed IPs, TOS and ECN, fragmentation, ICMP
errors for the undeliverable (sections 13 to 15 of the protocol)."""

import select
import socket
import struct
import time

from lib import wgpeer as wg
from lib import wgpeer_inner as inner
from lib.netns import wait_until
from lib.report import check as ensure
from lib.report import equal
from lib.wgpeer_check import check, main
from lib.wgpeer_rig import FAR4, FAR6, HOST4, HOST6, INNER4, INNER6, QUIET
from lib.wgpeer_udp import PATIENCE, UDP_NO_CHECK6_TX, Tap

# Cryptokey routing


class Net:
    """Connected peers of a rig, and who gets or may send what."""

    def __init__(self, rig, n):
        self.rig = rig
        self.peers = [rig.peer() for _ in range(n)]
        for p in self.peers:
            rig.set_peer(p, "replace_allowed_ips=true")
        self.sessions = [p.connect() for p in self.peers]

    def allow(self, who, *prefixes, replace=False):
        lines = ["replace_allowed_ips=true"] * replace + [f"allowed_ip={a}" for a in prefixes]
        self.rig.set_peer(self.peers[who], *lines)

    def receiver_of(self, dst, patience=PATIENCE):
        """Number of the peer that gets a packet to @dst, or None."""
        self.rig.inject(inner.sized(INNER6 if inner.is_v6(dst) else INNER4, dst, 60))
        sockets = [p.udp.socket for p in self.peers]
        ready = select.select(sockets, [], [], patience)[0]
        if not ready:
            return None
        who = sockets.index(ready[0])
        self.peers[who].plaintext(self.sessions[who])
        return who

    def may_send(self, who, src, expected=False):
        """Whether a packet from @src that peer @who sends reaches the host."""
        dst = INNER6 if inner.is_v6(src) else INNER4
        p, session = self.peers[who], self.sessions[who]
        p.send(session.seal(inner.marked(src, dst, 7)))
        return self.rig.marks(0.05 if expected else 0.2, n=expected) == [7]

    def owned_by(self, address, who):
        """@address is routed to @who, and only @who may use it."""
        equal(self.receiver_of(address), who, f"receiver of packets to {address}")
        for n in range(len(self.peers)):
            equal(self.may_send(n, address, n == who), n == who,
                  f"peer {n} may send from {address}")


@check("P-280 P-281 P-282 the longest prefix decides, both ways")
def longest_prefix(rig):
    net = Net(rig, 3)
    net.allow(0, "10.0.0.0/8", "fd00::/16")
    net.allow(1, "10.1.0.0/16", "fd00:1::/32")
    net.allow(2, "10.1.2.3/32", "fd00:1::5/128")
    for address, who in (("10.2.0.1", 0), ("10.1.0.1", 1), ("10.1.2.3", 2), ("10.1.2.2", 1),
                         ("fd00:2::1", 0), ("fd00:1::1", 1), ("fd00:1::5", 2)):
        net.owned_by(address, who)
    for address in ("11.0.0.1", "9.255.255.255", "fe00::1", "fcff::1"):
        equal(net.receiver_of(address, QUIET), None, f"receiver of packets to {address}")
        ensure(not any(net.may_send(n, address) for n in range(3)), f"{address} may be used")


@check("P-280 P-283 /0 in both families")
def default_route(rig):
    net = Net(rig, 2)
    net.allow(0, "0.0.0.0/0", "::/0")
    net.allow(1, "128.0.0.0/1", "8000::/1")
    for address, who in (("1.2.3.4", 0), ("127.9.9.9", 0), ("128.0.0.1", 1), ("223.1.1.1", 1),
                         ("1::1", 0), ("7fff::1", 0), ("8000::1", 1), ("fd00::1", 1)):
        net.owned_by(address, who)


@check("P-283 host bits are masked away")
def masked(rig):
    net = Net(rig, 2)
    net.allow(0, "10.1.2.3/8", "fd00:1:2:3::4/20")
    net.allow(1, "10.255.255.255/9", "172.31.255.255/12")
    for address, who in (("10.0.0.1", 0), ("10.128.0.1", 1), ("172.16.0.1", 1), ("fd00::9", 0)):
        net.owned_by(address, who)
    equal(rig.state(net.peers[0])["allowed_ip"], ["10.0.0.0/8", "fd00::/20"], "allowed_ip")
    equal(rig.state(net.peers[1])["allowed_ip"], ["10.128.0.0/9", "172.16.0.0/12"], "allowed_ip")


@check("P-280 every prefix length of both families")
def all_lengths(rig):
    net = Net(rig, 2)
    for n in range(1, 33):
        net.allow(n % 2, f"10.0.0.0/{n}" if n > 4 else f"0.0.0.0/{n}")
    for n in range(4, 129, 4):
        net.allow(n // 4 % 2, f"fd00::/{n}")
    base4, base6 = 0x0A000000, 0xFD << 120
    for n in range(5, 32):  # differs from the base first in bit n: matches /n, not /n+1
        address = socket.inet_ntoa(struct.pack("!I", base4 ^ 1 << (31 - n)))
        equal(net.receiver_of(address), n % 2, f"receiver of packets to {address}")
    for n in range(8, 128, 4):
        address = socket.inet_ntop(socket.AF_INET6, (base6 ^ 1 << (127 - n)).to_bytes(16, "big"))
        equal(net.receiver_of(address), n // 4 % 2, f"receiver of packets to {address}")


@check("P-283 IPv4-mapped prefixes are ordinary IPv6 ones")
def v4_mapped(rig):
    net = Net(rig, 2)
    net.allow(0, "::ffff:10.1.0.0/112")
    net.allow(1, "10.1.0.0/16")
    net.owned_by("::ffff:10.1.2.3", 0)
    net.owned_by("10.1.2.3", 1)


@check("P-392 P-390 a prefix moves to whom it is given last; sessions stay")
def moved(rig):
    net = Net(rig, 2)
    net.allow(0, "10.1.0.0/16", "10.1.1.0/24", "fd01::/64")
    net.owned_by("10.1.1.1", 0)
    net.allow(1, "10.1.1.7/24", "fd01::1/64")
    net.owned_by("10.1.1.1", 1)
    net.owned_by("10.1.2.1", 0)
    net.owned_by("fd01::9", 1)
    equal(rig.state(net.peers[0])["allowed_ip"], ["10.1.0.0/16"], "allowed_ip of the loser")


@check("P-392 replace_allowed_ips removes this peer's prefixes and no other")
def replaced(rig):
    net = Net(rig, 2)
    net.allow(0, "10.1.0.0/16", "10.2.0.0/16", "fd01::/64")
    net.allow(1, "10.1.1.0/24", "10.3.0.0/16")
    net.allow(0, "10.2.0.0/16", replace=True)
    net.owned_by("10.1.1.1", 1)
    net.owned_by("10.2.0.1", 0)
    equal(net.receiver_of("10.1.2.1", QUIET), None, "receiver of a removed prefix")
    equal(net.receiver_of("fd01::1", QUIET), None, "receiver of a removed prefix")
    ensure(not net.may_send(0, "10.1.2.1"), "a removed prefix may be used")
    net.allow(0, replace=True)
    equal(net.receiver_of("10.2.0.1", QUIET), None, "receiver of a removed prefix")


@check("P-393 U-026 allowed_ip=- removes exactly this prefix of exactly this peer", known=True)
def removed(rig):
    net = Net(rig, 2)
    net.allow(0, "10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "fd01::/64", "fd01::/65")
    net.allow(1, "10.2.0.0/16")
    net.allow(0, "-10.1.9.9/16", "-10.2.0.0/16", "-fd01::1/64", "-10.9.0.0/16", "-::/0")
    equal(rig.state(net.peers[0])["allowed_ip"], ["10.0.0.0/8", "10.1.1.0/24", "fd01::/65"], "left")
    net.owned_by("10.1.1.1", 0)
    net.owned_by("10.1.2.1", 0)  # by its /8
    net.owned_by("10.2.0.1", 1)
    equal(net.receiver_of("fd01::8000:0:0:1", QUIET), None, "receiver of a removed prefix")


@check("P-387 P-388 prefixes go with their peer; a shorter one of another then matches")
def removed_with_peer(rig):
    net = Net(rig, 2)
    net.allow(0, "10.0.0.0/8")
    net.allow(1, "10.1.0.0/16")
    equal(net.receiver_of("10.1.0.1"), 1, "receiver")
    rig.set_peer(net.peers[1], "remove=true")
    equal(net.receiver_of("10.1.0.1"), 0, "receiver after the removal")
    ensure(net.may_send(0, "10.1.0.1", True), "peer 0 may not send")
    rig.set_peer(net.peers[1])
    equal(rig.state(net.peers[1])["allowed_ip"], [], "allowed_ip of the peer added again")


@check("P-282 P-265 P-340 a refused source still moves the endpoint")
def refused_source_roams(rig):
    p = rig.peer()
    session = p.connect()
    elsewhere = rig.udp()
    p.send(session.seal(inner.marked("10.77.0.1", INNER4, 1)), udp=elsewhere)
    equal(rig.marks(), [], "delivered packets")
    rig.send_out(p)
    p.expect(wg.TRANSPORT, udp=elsewhere)


@check("P-284 multicast and broadcast destinations are looked up like any other")
def multicast(rig):
    net = Net(rig, 2)
    net.allow(0, "224.0.0.0/4", "255.255.255.255/32", "ff00::/8")
    net.allow(1, "239.1.1.1/32")
    for dst, who in (("224.1.2.3", 0), ("239.1.1.1", 1), ("255.255.255.255", 0), ("ff02::5", 0)):
        equal(net.receiver_of(dst), who, f"receiver of packets to {dst}")


# Outer header

@check("P-300 handshake messages are sent with TOS 0x88", known=True)
def handshake_tos(rig):
    for far in (FAR4, FAR6):
        p = rig.peer(address=far)
        p.send_initiation()
        equal(p.expect(wg.RESPONSE).tos, 0x88, f"TOS of the response to {far}")
        q = rig.peer(address=far, endpoint=True)
        rig.send_out(q)
        equal(q.expect(wg.INITIATION).tos, 0x88, f"TOS of the initiation to {far}")


@check("P-301 outer ECN follows the inner one, DSCP is never copied", known=True)
def ecn_out(rig):
    for far in (FAR4, FAR6):
        p = rig.peer(address=far)
        session = p.connect()
        for v6 in (False, True):
            for ecn, expected in ((0, 0), (1, 1), (2, 2), (3, 2)):
                for dscp in (0, 0xB8, 0xFC):
                    rig.send_out(p, 1, v6, tos=dscp | ecn)
                    _, plaintext, d = p.transport(session)
                    equal(d.tos, expected, f"outer TOS for inner {dscp | ecn:#x} to {far}")
                    equal(inner.tos_of(plaintext), dscp | ecn, "inner TOS")


@check("P-301 DSCP of data, ECN of packets without ECN, and keepalives are 0")
def dscp_out(rig):
    p = rig.peer()
    session = p.connect()
    rig.send_out(p, 1, tos=0xFC)
    equal(p.transport(session)[2].tos, 0, "TOS")
    rig.set_peer(p, "persistent_keepalive_interval=1")
    equal(p.keepalive(session, 3)[1].tos, 0, "TOS of a keepalive")


@check("P-301 P-303 packets of differing ECN sent in one burst keep their own", known=True)
def ecn_mixed(rig):
    p = rig.peer()
    session = p.connect()
    pattern = [0, 1, 2, 3, 3, 0, 2, 2, 1, 0] * 6
    for mark, ecn in enumerate(pattern):
        rig.send_out(p, mark, tos=ecn)
    for mark, ecn in enumerate(pattern):
        _, plaintext, d = p.transport(session)
        equal((inner.mark_of(plaintext), d.tos), (mark, (0, 1, 2, 2)[ecn]), "packet and outer ECN")


@check("P-302 inner ECN after every combination", known=True)
def ecn_in(rig):
    for far in (FAR4, FAR6):
        p = rig.peer(address=far)
        session = p.connect()
        for v6 in (False, True):
            for outer in range(4):
                for ecn in range(4):
                    one_ecn_in(rig, p, session, v6, outer, ecn)


def one_ecn_in(rig, p, session, v6, outer, ecn):
    expected = ecn
    if ecn != 0 and outer == 3:
        expected = 3
    elif outer == 1 and ecn == 2:
        expected = 1
    p.send_in(session, 1, v6=v6, tos=outer) if ecn == 0 else \
        p.send(session.seal(p.marked(1, v6, tos=0xA0 | ecn)), tos=outer)
    packet = rig.delivered()
    what = f"inner {ecn} in outer {outer}"
    ensure(packet is not None, f"{what}: not delivered")
    equal(inner.tos_of(packet) & 3, expected, f"inner ECN of {what}")
    if ecn:
        equal(inner.tos_of(packet) & 0xFC, 0xA0, f"DSCP of {what}")
    ensure(inner.header_ok(packet), f"header checksum of {what}")


@check("P-304 P-266 outer TTL is the system's, inner TTL is left alone")
def ttl(rig):
    for far in (FAR4, FAR6):
        p = rig.peer(address=far)
        session = p.connect()
        for value in (1, 7, 200):
            rig.send_out(p, 1, ttl=value)
            _, plaintext, d = p.transport(session)
            equal(d.ttl, 64, f"outer TTL to {far}")
            equal(plaintext[8], value, "inner TTL")


def outer_frames(rig, far_ip, send, n=1):
    """The IP packets from the host that @send causes, @n at least, as they pass the wire."""
    tap = Tap(rig.far, "veth0")
    try:
        source = inner.packed(HOST6 if inner.is_v6(far_ip) else HOST4)
        send()
        at = slice(8, 24) if inner.is_v6(far_ip) else slice(12, 16)
        return tap.all(QUIET, lambda f: f[at] == source and is_udp(f), n)
    finally:
        tap.close()


def is_udp(frame):
    if frame[0] >> 4 == 4:
        return frame[9] == inner.UDP
    return frame[6] == inner.UDP or frame[6] == 44 and frame[40] == inner.UDP


@check("P-305 DF is clear on every outer IPv4 packet", known=True)
def df_clear(rig):
    p = rig.peer(endpoint=True)
    frames = outer_frames(rig, FAR4, p.called)
    p2 = rig.peer()
    frames += outer_frames(rig, FAR4, p2.connect)
    ensure(len(frames) >= 3, f"{len(frames)} frames seen")
    for f in frames:
        ensure(not f[6] & 0x40, f"DF is set on a packet of {len(f)} bytes")


@check("P-305 what is larger than the path's MTU is fragmented locally")
def fragmented(rig):
    rig.link("mtu", 4000)
    for far in (FAR4, FAR6):
        p = rig.peer(address=far)
        session = p.connect()
        packet = inner.sized(INNER4, p.inner4, 4000)
        frames = outer_frames(rig, far, lambda packet=packet: rig.inject(packet), 3)
        ensure(len(frames) >= 3, f"{len(frames)} fragments to {far}")
        for f in frames:
            ensure(len(f) <= 1500, f"a packet of {len(f)} bytes")
            ensure(f[0] >> 4 == 6 or not f[6] & 0x40, "DF is set on a fragment")
        equal(p.plaintext(session), packet, "the packet put together again")


@check("P-305 an ICMP 'fragmentation needed' sets no DF and stops no packet", known=True)
def fragmentation_needed(rig):
    p = rig.peer()
    session = p.connect()
    packet = inner.sized(INNER4, p.inner4, 1400)
    rig.inject(packet)
    d = p.transport(session)[2]
    udp = struct.pack("!HHHH", rig.port, p.udp.port, 8 + len(d.data), 0) + d.data[:64]
    quoted = inner.ipv4(HOST4, FAR4, udp, proto=inner.UDP, fragment=0x4000, total=28 + len(d.data))
    with rig.far.enter():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    with raw:
        error = inner.icmp4(FAR4, HOST4, 3, 4, struct.pack("!HH", 0, 600), quoted)
        raw.sendto(error[20:], (HOST4, 0))
    time.sleep(0.1)
    frames = outer_frames(rig, FAR4, lambda: rig.inject(packet))
    ensure(not any(f[6] & 0x40 for f in frames), "DF is set")
    equal(p.plaintext(session)[:1400], packet, "the packet")


@check("P-306 UDP checksums are generated")
def udp_checksum(rig):
    for far in (FAR4, FAR6):
        p = rig.peer(address=far)
        p.connect()
        frames = outer_frames(rig, far, lambda p=p: rig.send_out(p))
        equal(len(frames), 1, "outer packets")
        at = 46 if inner.is_v6(far) else 26
        ensure(frames[0][at:at + 2] != b"\0\0", f"no UDP checksum towards {far}")


@check("P-306 IPv6 datagrams without checksum are not accepted")
def udp_zero_checksum(rig):
    p = rig.peer(address=FAR6)
    p.udp.socket.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_TX, 1)
    i = p.send_initiation()
    p.silent()
    p.udp.socket.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_TX, 0)
    p.send_initiation(i)
    p.expect(wg.RESPONSE)


# Undeliverable packets

NOWHERE4, NOWHERE6 = "10.200.0.1", "fd00:200::1"


def errors(rig, n=0, quiet=QUIET):
    """The ICMP packets that the daemon writes to the TUN, of which @n are due."""
    return rig.tun.all(quiet, lambda p: p[9] == inner.ICMP if p[0] >> 4 == 4
                       else p[6] == inner.ICMPV6, n)


def one_error(rig, packet):
    """The daemon answers @packet with one well-formed unreachable error."""
    rig.inject(packet)
    got = errors(rig, 1, 0.2)
    equal(len(got), 1, "ICMP errors")
    e, v6 = got[0], packet[0] >> 4 == 6
    src, dst = (packet[8:24], packet[24:40]) if v6 else (packet[12:16], packet[16:20])
    if v6:
        equal((e[8:24], e[24:40]), (dst, src), "source and destination of the error")
        body, quoted, limit = e[40:], e[48:], 1280
        equal(struct.unpack_from("!H", e, 4)[0], len(body), "payload length")
        to_text = socket.inet_ntop
        equal(inner.icmp6_checksum(to_text(socket.AF_INET6, dst), to_text(socket.AF_INET6, src),
                                   body), 0, "ICMPv6 checksum")
        equal(body[:2], b"\x01\x03", "type and code")
    else:
        equal((e[12:16], e[16:20]), (dst, src), "source and destination of the error")
        body, quoted, limit = e[20:], e[28:], 576
        equal(struct.unpack_from("!H", e, 2)[0], len(e), "total length")
        ensure(inner.header_ok(e), "header checksum")
        equal(inner.checksum(body), 0, "ICMP checksum")
        equal(body[:2], b"\x03\x01", "type and code")
    equal(body[4:8], bytes(4), "unused field")
    equal(quoted, packet[:limit - (48 if v6 else 28)], "quoted packet")


@check("P-320 P-321 no peer for an IPv4 destination: host unreachable", known=True)
def unreachable_v4(rig):
    for size in (20, 60, 548, 549, 1400):
        one_error(rig, inner.sized(INNER4, NOWHERE4, size))


@check("P-320 P-321 no peer for an IPv6 destination: address unreachable", known=True)
def unreachable_v6(rig):
    for size in (40, 60, 1232, 1233, 1400):
        one_error(rig, inner.sized(INNER6, NOWHERE6, size))


@check("P-320 P-324 no endpoint: unreachable at once, nothing staged, nothing counted", known=True)
def no_endpoint(rig):
    p = rig.peer()
    one_error(rig, inner.sized(INNER4, p.inner4, 60))
    one_error(rig, inner.sized(INNER6, p.inner6, 60))
    state = rig.state(p)
    equal((state["tx_bytes"], state["rx_bytes"]), ("0", "0"), "statistics")
    rig.set_peer(p, f"endpoint={p.endpoint}")
    p.silent(why="though the packet was refused")
    session = p.connect()
    rig.send_out(p, 4)
    equal(inner.mark_of(p.plaintext(session)), 4, "the first packet sent")


@check("P-320 P-281 without any peer nothing is sent")
def no_peers(rig):
    rig.inject(inner.sized(INNER4, NOWHERE4, 60))
    rig.inject(inner.sized(INNER6, NOWHERE6, 60))
    p = rig.peer()
    p.silent()
    rig.works(p, p.connect())


@check("P-321 ping reports the error, also with strict rp_filter", known=True)
def ping_reports(rig):
    rig.host.sysctl("net.ipv4.conf.all.rp_filter", 1)
    rig.host.run("ip", "addr", "add", f"{INNER4}/24", "dev", rig.ifname)
    rig.host.run("ip", "-6", "addr", "add", f"{INNER6}/64", "dev", rig.ifname, "nodad")
    rig.host.run("ip", "route", "add", "10.200.0.0/16", "dev", rig.ifname)
    rig.host.run("ip", "-6", "route", "add", "fd00:200::/32", "dev", rig.ifname)
    for address, text in ((NOWHERE4, "Destination Host Unreachable"),
                          (NOWHERE6, "Address unreachable")):
        out = rig.host.run("ping", "-n", "-c1", "-W2", address, check=False).stdout
        ensure(f"From {address} " in out and text in out, f"ping {address}: {out}")


@check("P-322 no error for an ICMP error, but for other ICMP", known=True)
def icmp_of_icmp(rig):
    quoted = inner.sized(NOWHERE4, INNER4, 40)
    for kind in (3, 4, 5, 11, 12):
        rig.inject(inner.icmp4(INNER4, NOWHERE4, kind, payload=quoted))
    for kind in (1, 2, 3, 4, 100, 127):
        rig.inject(inner.icmp6(INNER6, NOWHERE6, kind, payload=inner.sized(NOWHERE6, INNER6, 60)))
    equal(len(errors(rig)), 0, "errors for ICMP errors")
    one_error(rig, inner.icmp4(INNER4, NOWHERE4, 8, payload=b"x" * 56))
    one_error(rig, inner.icmp4(INNER4, NOWHERE4, 0, payload=b"x" * 56))
    one_error(rig, inner.icmp6(INNER6, NOWHERE6, 128, payload=b"x" * 56))


@check("P-322 no error for later fragments, but for the first", known=True)
def icmp_of_fragments(rig):
    for offset in (1, 3, 0x1FFF):
        rig.inject(inner.ipv4(INNER4, NOWHERE4, b"x" * 32, fragment=offset))
        header = struct.pack("!BBHI", inner.UDP, 0, offset << 3, 1)
        rig.inject(inner.ipv6(INNER6, NOWHERE6, header + b"x" * 32, proto=44))
    equal(len(errors(rig)), 0, "errors for later fragments")
    one_error(rig, inner.ipv4(INNER4, NOWHERE4, b"x" * 32, fragment=0x2000))
    header = struct.pack("!BBHI", inner.UDP, 0, 1, 1)
    one_error(rig, inner.ipv6(INNER6, NOWHERE6, header + b"x" * 32, proto=44))


@check("P-322 no error from or to multicast, broadcast and unspecified addresses")
def icmp_of_multicast(rig):
    for src, dst in ((INNER4, "224.0.0.5"), (INNER4, "239.255.255.250"),
                     (INNER4, "255.255.255.255"), (INNER4, "0.0.0.0"), ("0.0.0.0", NOWHERE4),
                     ("224.0.0.1", NOWHERE4), ("255.255.255.255", NOWHERE4), (INNER6, "ff02::2"),
                     (INNER6, "ff0e::1"), (INNER6, "::"), ("::", NOWHERE6), ("ff02::1", NOWHERE6)):
        rig.inject(inner.sized(src, dst, 60))
    equal(len(errors(rig)), 0, "errors")


@check("P-322 errors are limited in rate", known=True)
def icmp_rate(rig):
    start = time.monotonic()
    for _ in range(400):
        rig.inject(inner.sized(INNER4, NOWHERE4, 60))
    sent = time.monotonic() - start
    n = len(errors(rig, 1))
    ensure(1 <= n <= 60 + 100 * (sent + 0.2), f"{n} errors for 400 packets in {sent:.2f} s")

    def again():
        rig.inject(inner.sized(INNER4, NOWHERE4, 60))
        return errors(rig, 0, 0.1)
    ensure(wait_until(again, 3), "no error three seconds later")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Super-packets through the tunnel: traffic of a client that a gateway forwards into it, compared
byte for byte and checksum for checksum at the far end, with both I/O engines; and the switches of
all offloads, each shown in the status and each with its effect."""

import ctypes
import fcntl
import os
import socket
import struct

from lib import report, traffic
from lib.gateway import (CLIENT4, GSO_UDP_L4, SOL_UDP, Capture, Gateway, csum_errors, expect_tcp,
                         join, uso, value, vxlan_add)
from lib.report import case, check, equal

ENGINES = ("uring", "poll")
UDP_SEGMENT, UDP_GRO = 103, 104
SIOCETHTOOL, ETHTOOL_SSG, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO = 0x8946, 0x19, 0x1F, 0x24, 0x2C
SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = 434, 438
libc = ctypes.CDLL(None, use_errno=True)


# Contents and checksums

def forwarded(engine, far):
    def run(lab):
        g = Gateway(lab, ("--io", engine), ("--io", engine, *far))
        for _, address in g.families():
            with Capture(g.a.ns, g.a.ifname) as here, Capture(g.b.ns, g.b.ifname) as there:
                expect_tcp(g.client, g.b.ns, address, 3 << 20)
            check(any(p.is_super for p in here.of(6, True)), "no forwarded super-packet was seen")
            there.expect_checksums(6)
            equal(any(p.is_super for p in there.of(6, False)), not far, "coalesced at the far end")
        expect_tcp(g.b.ns, g.client, CLIENT4, 2 << 20)  # and what the far end sends, forwarded out
        equal(csum_errors(g.b.ns) + csum_errors(g.client), 0, "checksum errors")
    return run


def forwarded_uso(engine, far):
    def run(lab):
        g = Gateway(lab, ("--io", engine), ("--io", engine, *far))
        for source, address in g.families():
            with Capture(g.a.ns, g.a.ifname) as here, Capture(g.b.ns, g.b.ifname) as there:
                uso(g.client, g.b.ns, source, address, (1, 64, 333, 1000, 1372))
            if value(g.a, "tun_uso") == "on":
                check(any(p.gso_type == GSO_UDP_L4 for p in here.of(17, True)),
                      "no super-packet was seen")
            there.expect_checksums(17)
        uso(g.a.ns, g.b.ns, g.a.v4, g.b.v4, (1, 64, 1372))  # not forwarded
        uso(g.b.ns, g.client, g.b.v4, CLIENT4, (1, 64, 1372))
        equal(csum_errors(g.b.ns) + csum_errors(g.client), 0, "checksum errors")
    return run


SINGLE = ("--tun-tso=off", "--tun-uso=off")  # the far TUN gets whole packets, all checksums full
for _engine in ENGINES:
    for _far in ((), SINGLE):
        _how = "single packets" if _far else "coalesced"
        case(f"pitfalls 48 49 forwarded TSO traffic, checksums and contents, {_how}, {_engine}")(
            forwarded(_engine, _far))
        case(f"pitfalls 49 51 UDP_SEGMENT sends arrive intact, {_how}, {_engine}")(
            forwarded_uso(_engine, _far))


def ethtool(ns, ifname, command, on):
    setting = ctypes.create_string_buffer(struct.pack("=II", command, on))
    with ns.socket() as s:
        fcntl.ioctl(s, SIOCETHTOOL, struct.pack("16sP16x", ifname.encode(),
                                                ctypes.addressof(setting)))


def forwarded_gro(engine):
    """Super-packets that the gateway's kernel made of single ones: their first segment's payload
    stands behind the headers, and hdr_len covers it as well."""
    def run(lab):
        g = Gateway(lab, ("--io", engine), ("--io", engine, *SINGLE))
        ethtool(g.a.ns, "veth1", ETHTOOL_SGRO, 1)
        for command in (ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SSG):
            ethtool(g.client, "veth0", command, 0)
        for _, address in g.families():
            with Capture(g.a.ns, g.a.ifname) as here, Capture(g.b.ns, g.b.ifname) as there:
                expect_tcp(g.client, g.b.ns, address, 3 << 20)
            supers = [p for p in here.of(6, True) if p.is_super]
            check(any(p.hdr_len > p.l4_end for p in supers),
                  f"no hdr_len beyond the L4 header in {len(supers)} super-packets")
            there.expect_checksums(6)
    return run


for _engine in ENGINES:
    case(f"pitfall 48 forwarded super-packets whose hdr_len is not the L4 end, {_engine}")(
        forwarded_gro(_engine))


# VXLAN

def vxlan(engine):
    def run(lab):
        g = Gateway(lab, ("--io", engine), ("--io", engine))
        for checksums in (("udpcsum",), ("noudpcsum",)):
            vxlan_add(g.a, g.b, checksums)
            vxlan_add(g.b, g.a, checksums)
            check(traffic.reaches(g.a.ns, "10.88.0.2"), "no ping over VXLAN")
            expect_tcp(g.a.ns, g.b.ns, "10.88.0.2", 2 << 20)
            expect_tcp(g.b.ns, g.a.ns, "10.88.0.1", 2 << 20)
            uso(g.a.ns, g.b.ns, "10.88.0.1", "10.88.0.2", (64, 1000, 1300))
            for end in (g.a, g.b):
                equal(csum_errors(end.ns), 0, "checksum errors")
                end.ns.run("ip", "link", "del", "vx0")
    return run


# Sizes

def mss(engine):
    def run(lab):
        g = Gateway(lab, ("--io", engine), ("--io", engine))
        g.route(g.b.ns, "192.0.3.0/24", "dev", g.b.ifname, "advmss", "88")
        with Capture(g.a.ns, g.a.ifname) as here:
            expect_tcp(g.client, g.b.ns, g.b.v4, 1 << 20)
        supers = [p for p in here.of(6, True) if p.is_super]
        check(supers and all(p.gso_size <= 88 for p in supers),
              f"segments of {sorted({p.gso_size for p in supers})} bytes")
        check(max(p.n_segments for p in supers) > 128, "no super-packet beyond one burst")
        expect_tcp(g.b.ns, g.client, CLIENT4, 1 << 18)
        check(g.a.daemon.alive() and g.b.daemon.alive(), "a daemon ended")
    return run


def mtus(engine):
    def run(lab):
        g = Gateway(lab, ("--io", engine), ("--io", engine))
        for mtu in (576, 1280, 1420, 9000, 65535):
            for end in (g.a, g.b):
                end.ns.run("ip", "link", "set", end.ifname, "mtu", mtu)
                if mtu >= 1280:
                    end.ns.run("ip", "-6", "addr", "replace", f"{end.v6}/64", "dev", end.ifname,
                               "nodad")
            if mtu >= 1280:
                g.route(g.b.ns, "2001:db8:1::/64", "dev", g.b.ifname)
            for source, address in g.families(mtu):
                expect_tcp(g.client, g.b.ns, address, 1 << 20)
                uso(g.client, g.b.ns, source, address, (100, min(mtu, 9000) - 48))
            expect_tcp(g.b.ns, g.client, CLIENT4, 1 << 20)
    return run


def small_outer(engine):
    def run(lab):
        g = Gateway(lab, ("--io", engine), ("--io", engine), mtu=1420, link_mtu=1280)
        for source, address in g.families():
            expect_tcp(g.client, g.b.ns, address, 2 << 20)
            uso(g.client, g.b.ns, source, address, (64, 1372))
        expect_tcp(g.b.ns, g.client, CLIENT4, 2 << 20)
        for end in (g.a, g.b):  # EMSGSIZE of one route says nothing of others
            equal(value(end, "udp_gso"), "on", "udp_gso")
    return run


# Multicast

def multicast(engine):
    def run(lab):
        g = Gateway(lab, ("--io", engine), ("--io", engine))
        g.route(g.a.ns, "239.0.0.0/8", "dev", g.a.ifname)
        g.a.ns.run("ip", "-6", "route", "add", "multicast", "ff0e::/16", "dev", g.a.ifname,
                   "table", "local")
        for family, group in ((4, "239.1.2.3"), (6, "ff0e::1234")):
            uso(g.a.ns, g.b.ns, g.a.address(family), group, (64, 1000, 1372),
                join(family, group, g.b.ifname, g.b.ns))
    return run


for _engine in ENGINES:
    case(f"pitfall 47 VXLAN inside the tunnel, {_engine}")(vxlan(_engine))
    case(f"pitfall 50 TCP with an MSS of 88, {_engine}")(mss(_engine))
    case(f"pitfall 63 forwarded traffic at MTU 576 1280 1420 9000 65535, {_engine}")(mtus(_engine))
    case(f"pitfall 44 outer MTU of 1280 below the datagram, {_engine}")(small_outer(_engine))
    case(f"pitfall 49 multicast through the tunnel, {_engine}")(multicast(_engine))


# Extension headers

IPV6_RECVHOPLIMIT, IPV6_RECVHOPOPTS, IPV6_HOPOPTS = 51, 53, 54
IPV6_RECVDSTOPTS, IPV6_DSTOPTS, IPV6_RECVTCLASS, IPV6_TCLASS = 58, 59, 66, 67
# One option of 8 * n + 4 bytes of data that is skipped by who does not know it (RFC 4727).
PAD = {n: struct.pack("=BBBB", 0, n, 0x1E, 8 * n + 4) + bytes(8 * n + 4) for n in (0, 2, 17)}
HEADERS = ([], [(IPV6_HOPOPTS, PAD[0])], [(IPV6_DSTOPTS, PAD[2])],
           [(IPV6_HOPOPTS, PAD[17]), (IPV6_DSTOPTS, PAD[0])])


def with_headers(source, destination, from_address, to_address, size, headers, segment):
    """What the receiver sees of datagrams with these extension headers: contents and headers."""
    rx, tx = (traffic.udp_socket(ns, a) for ns, a in ((destination, to_address),
                                                      (source, from_address)))
    rx.settimeout(3)
    with rx, tx:
        for option in (IPV6_RECVHOPLIMIT, IPV6_RECVHOPOPTS, IPV6_RECVDSTOPTS, IPV6_RECVTCLASS):
            rx.setsockopt(socket.IPPROTO_IPV6, option, 1)
        control = [(socket.IPPROTO_IPV6, k, v) for k, v in headers]
        control.append((socket.IPPROTO_IPV6, IPV6_TCLASS, struct.pack("=i", 0xB8)))
        data = bytes(i * 7 % 251 for i in range(size))
        if segment:
            tx.setsockopt(SOL_UDP, UDP_SEGMENT, segment)
        tx.sendmsg([data], control, 0, (to_address, rx.getsockname()[1]))
        got = []
        while sum(len(d) for d, _ in got) < size:
            d, c, _, _ = rx.recvmsg(1 << 16, 2048)
            got.append((d, sorted((t, v) for _, t, v in c)))
    return got


def extension_headers(engine):
    def run(lab):
        g = Gateway(lab, ("--io", engine), ("--io", engine))
        for headers in HEADERS:
            for size, segment in ((1, 0), (1200, 0), (4000, 0), (9000, 1000), (999, 100)):
                plain = with_headers(g.a.ns, g.b.ns, "2001:db8::1", "2001:db8::2", size, headers,
                                     segment)
                inside = with_headers(g.a.ns, g.b.ns, g.a.v6, g.b.v6, size, headers, segment)
                equal(inside, plain, f"{size} bytes, segments of {segment}, headers {headers}")
        equal(csum_errors(g.b.ns), 0, "checksum errors")
        check(g.a.daemon.alive() and g.b.daemon.alive(), "a daemon ended")
    return run


for _engine in ENGINES:
    case(f"IPv6 extension headers arrive as over a plain veth, {_engine}")(
        extension_headers(_engine))


# Switches

def sockets_with_gro(end):
    """(sockets with UDP_GRO, UDP sockets) of a daemon; duplicates of a descriptor count once."""
    pidfd = libc.syscall(SYS_PIDFD_OPEN, end.daemon.pid, 0)
    with_gro = total = 0
    sockets = {t: n for n, t in end.daemon.fds().items() if t.startswith("socket:")}
    for n in sockets.values():
        s = socket.socket(fileno=libc.syscall(SYS_PIDFD_GETFD, pidfd, n, 0))
        with s:
            if s.type == socket.SOCK_DGRAM and s.family in (socket.AF_INET, socket.AF_INET6):
                total += 1
                with_gro += s.getsockopt(SOL_UDP, UDP_GRO)
    os.close(pidfd)
    return with_gro, total


def outer_runs(g):
    """Whether the gateway sends its datagrams in runs."""
    with Capture(g.b.ns, "veth0", link_header=14) as wire:
        expect_tcp(g.client, g.b.ns, g.b.v4, 1 << 20)
    return any(p.is_super for p in wire.of(17, False))


def inner_supers(g, protocol, send):
    with Capture(g.a.ns, g.a.ifname) as tun:
        send()
    return any(p.is_super for p in tun.of(protocol, True))


EFFECTS = {
    "tun_tso": lambda g: inner_supers(g, 6, lambda: expect_tcp(g.a.ns, g.b.ns, g.b.v4, 1 << 20)),
    "tun_uso": lambda g: inner_supers(g, 17, lambda: uso(g.a.ns, g.b.ns, g.a.v4, g.b.v4, (1000,))),
    "udp_gso": outer_runs,
    "udp_gro": lambda g: sockets_with_gro(g.a)[0] > 0,
    "multi_queue": lambda g: list(g.a.daemon.fds().values()).count("/dev/net/tun") > 1,
    # Per family two workers and two guards; only with steering a control socket of its own.
    "steering": lambda g: sockets_with_gro(g.a)[1] > 8,
}


def logged(end, key, state):
    line = next((x for x in end.daemon.log().splitlines() if "offloads:" in x), "")
    check(f" {key} {state}" in line, f"{key} {state} is not in the log: {line!r}")


def switch(key, engine):
    option = key.replace("_", "-")

    def run(lab):
        states = {}
        for setting in ("auto", "on", "off"):
            g = Gateway(lab, ("--verbose", "--threads", "2", "--io", engine,
                              f"--{option}={setting}"))
            states[setting] = value(g.a, key)
            check(states[setting] in (("off",) if setting == "off" else ("on", "refused")),
                  f"{setting} is shown as {states[setting]}")
            logged(g.a, key, "down" if key in ("udp_gro", "steering") and setting != "off"
                   else states[setting])
            if states[setting] != "refused":
                equal(EFFECTS[key](g), states[setting] == "on", f"effect of {option}={setting}")
            for other in EFFECTS:
                if other != key:
                    check(value(g.a, other) != "off", f"{option}={setting} put {other} off")
            expect_tcp(g.client, g.b.ns, g.b.v4, 1 << 19)
    return run


for _i, _key in enumerate(EFFECTS):
    case(f"pitfalls 43 45 47 --{_key.replace('_', '-')}=auto|on|off: shown and in effect")(
        switch(_key, ENGINES[_i % 2]))


if __name__ == "__main__":
    report.main()

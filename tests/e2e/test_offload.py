#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Super-packets through the tunnel: traffic of a client that a gateway forwards into it, compared
byte for byte and checksum for checksum at the far end, with both I/O engines; and the switches of
all offloads, each shown in the status and each with its effect."""

import contextlib
import ctypes
import fcntl
import json
import os
import random
import socket
import struct
import threading

from lib import netns, report, traffic
from lib.report import case, check, equal
from lib.tunnel import INNER4, INNER6, Tunnel, wg

ENGINES = ("uring", "poll")
SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
SOL_PACKET, PACKET_VNET_HDR, PACKET_OUTGOING, ETH_P_ALL = 263, 15, 4, 3
NEEDS_CSUM, GSO_UDP_L4 = 1, 5  # of struct virtio_net_hdr
CLIENT4, CLIENT6 = "192.0.3.2", "2001:db8:1::2"
SIOCETHTOOL, ETHTOOL_SSG, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO = 0x8946, 0x19, 0x1F, 0x24, 0x2C
SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = 434, 438
libc = ctypes.CDLL(None, use_errno=True)


class Packet:
    """A packet as a packet socket on a TUN sees it, with the kernel's view of its offloads."""

    def __init__(self, data, outgoing):
        self.flags, self.gso_type, self.hdr_len, self.gso_size = struct.unpack("=BBHH", data[:6])
        self.ip, self.outgoing = data[10:], outgoing
        if self.ip[0] >> 4 == 4:
            self.protocol, self.header_len = self.ip[9], 4 * (self.ip[0] & 15)
            self.addresses = self.ip[12:20]
        else:
            self.protocol, self.header_len, self.addresses = self.ip[6], 40, self.ip[8:40]

    @property
    def is_super(self):
        return self.gso_type != 0

    @property
    def n_segments(self):
        return -(-len(self.ip) // self.gso_size) if self.gso_size else 1

    @property
    def l4_end(self):
        tcp_len = 4 * (self.ip[self.header_len + 12] >> 4)
        return self.header_len + (8 if self.protocol == 17 else tcp_len)

    def is_fragment(self):
        return self.ip[0] >> 4 == 4 and struct.unpack(">H", self.ip[6:8])[0] & 0x3FFF != 0

    def error(self):
        """None if all checksums hold; those that the kernel still has to fill in are only seeds."""
        if self.ip[0] >> 4 == 4 and traffic.checksum(self.ip[:self.header_len]):
            return "IPv4 header checksum"
        if self.protocol not in (6, 17) or self.is_fragment():
            return None
        l4 = self.ip[self.header_len:]
        at = 16 if self.protocol == 6 else 6
        pseudo = self.addresses + struct.pack(">II", len(l4), self.protocol)
        (field,) = struct.unpack(">H", l4[at:at + 2])
        if self.flags & NEEDS_CSUM:
            return None if field == traffic.checksum(pseudo) ^ 0xFFFF else "checksum seed"
        if field == 0 and self.protocol == 17:
            return None
        return f"checksum of protocol {self.protocol}" if traffic.checksum(pseudo + l4) else None


class Capture:
    """What passes an interface while the block runs."""

    def __init__(self, ns, ifname, link_header=0):
        self.socket = ns.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, traffic.SO_RCVBUFFORCE, 64 << 20)
        self.socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self.socket.bind((ifname, ETH_P_ALL))
        self.socket.settimeout(0.1)
        self.link_header = link_header
        self.packets = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.receive, daemon=True)

    def receive(self):
        while True:
            try:
                data, source = self.socket.recvfrom(1 << 17)
            except TimeoutError:
                if self.stopping.is_set():
                    return
                continue
            data = data[:10] + data[10 + self.link_header:]
            if len(data) >= 30 and data[10] >> 4 in (4, 6):
                self.packets.append(Packet(data, source[2] == PACKET_OUTGOING))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stopping.set()
        self.thread.join(10)
        self.socket.close()

    def of(self, protocol, outgoing):
        return [p for p in self.packets if p.protocol == protocol and p.outgoing is outgoing]

    def expect_checksums(self, protocol):
        packets = self.of(protocol, False)
        check(packets, f"no packet of protocol {protocol} seen at the far TUN")
        errors = [p.error() for p in packets]
        check(not any(errors), f"{sum(map(bool, errors))} of {len(errors)} packets:"
              f" {next(filter(None, errors), None)}")


def status(end):
    return json.loads(end.ns.out(netns.ringtun_bin(), "--status", end.ifname, "--json"))


def value(end, key):
    return str(status(end)[key])


class Gateway(Tunnel):
    """A Tunnel whose .a forwards what .client sends to .b."""

    def __init__(self, lab, options=(), far_options=(), mtu=None, link_mtu=1500):
        super().__init__(lab, mtu=mtu, link_mtu=link_mtu, args_a=("-f", *options),
                         args_b=("-f", *far_options))
        self.client = lab.netns()
        lab.link(self.a.ns, self.client, "veth1", "veth0", net=1, mtu=9000)
        for ns in (self.a.ns, self.b.ns):
            ns.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward;"
                   "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding;"
                   "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done")
        wg("set", self.b.ifname, "peer", self.a.keys.public, "allowed-ips",
           f"{INNER4}1/32,{INNER6}1/128,192.0.3.0/24,2001:db8:1::/64")
        wg("set", self.a.ifname, "peer", self.b.keys.public, "allowed-ips",
           f"{INNER4}2/32,{INNER6}2/128,239.0.0.0/8,ff0e::/16,10.88.0.0/24")
        self.route(self.b.ns, "192.0.3.0/24", "dev", self.b.ifname)
        self.route(self.client, f"{INNER4}0/24", "via", "192.0.3.1")
        if (mtu or 1420) >= 1280:
            self.route(self.b.ns, "2001:db8:1::/64", "dev", self.b.ifname)
            self.route(self.client, f"{INNER6}/64", "via", "2001:db8:1::1")
        check(traffic.reaches(self.client, self.b.v4), "the client does not reach the far end")

    @staticmethod
    def route(ns, to, *how):
        ns.run("ip", *(("-6",) if ":" in to else ()), "route", "replace", to, *how)

    def families(self, mtu=1420):
        yield CLIENT4, self.b.v4
        if mtu >= 1280:
            yield CLIENT6, self.b.v6


def expect_tcp(source, destination, address, n_bytes):
    error = traffic.tcp_transfer(source, destination, address, n_bytes)
    check(not error, f"TCP to {address}: {error}")


def segmented(size, n):
    """@n datagrams of @size bytes, the last one shorter, numbered by their contents."""
    last = max(1, size // 2)
    data = random.Random(size * n).randbytes(size * (n - 1) + last)
    return [data[i:i + size] for i in range(0, len(data), size)]


def uso(source, destination, from_address, to_address, sizes, group=None):
    """Sends runs of datagrams, one run per call; they must arrive once, whole and in order."""
    rx = traffic.udp_socket(destination, to_address)
    tx = traffic.udp_socket(source, from_address)
    rx.settimeout(5)
    with rx, tx:
        if group:
            group(rx, tx)
        for size in sizes:
            sent = segmented(size, min(60, 60000 // size))
            tx.setsockopt(SOL_UDP, UDP_SEGMENT, size)
            tx.sendto(b"".join(sent), (to_address, rx.getsockname()[1]))
            got = []
            with contextlib.suppress(TimeoutError):
                while len(got) < len(sent):
                    got.append(rx.recv(1 << 16))
            equal(len(got), len(sent), f"datagrams of {size} bytes to {to_address}")
            check(got == sent, f"datagrams of {size} bytes to {to_address} differ")


def csum_errors(ns):
    """Segments that a kernel refused for their checksum: TCP and UDP, both families."""
    lines = ns.out("cat", "/proc/net/snmp", "/proc/net/snmp6").splitlines()
    total = sum(int(x.split()[1]) for x in lines if x.startswith("Udp6InCsumErrors"))
    for names, values in zip(lines, lines[1:]):
        if names.startswith(("Tcp:", "Udp:")) and "InCsumErrors" in names:
            total += int(values.split()[names.split().index("InCsumErrors")])
    return total


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

def vxlan_add(end, other, checksums):
    r = end.ns.run("ip", "link", "add", "vx0", "type", "vxlan", "id", 42, "local", end.v4, "remote",
                   other.v4, "dstport", 4789, "dev", end.ifname, *checksums, check=False)
    if r.returncode:
        report.skip(f"no VXLAN: {r.stderr.strip()}")
    end.ns.run("sh", "-c", f"ip addr add 10.88.0.{end.host}/24 dev vx0; ip link set vx0 up")


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

def join(family, group, ifname, ns):
    index = int(ns.out("cat", f"/sys/class/net/{ifname}/ifindex"))

    def setup(rx, tx):
        if family == 4:
            request = struct.pack("=4s4si", socket.inet_aton(group), bytes(4), index)
            rx.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
            tx.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
        else:
            request = struct.pack("=16si", socket.inet_pton(socket.AF_INET6, group), index)
            rx.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
            tx.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 8)
    return setup


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

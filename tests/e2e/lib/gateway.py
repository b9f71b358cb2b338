# SPDX-License-Identifier: MPL-2.0
"""A gateway that forwards a client's traffic into a tunnel, what is sent through it, and a look at the
packets on their way with the kernel's view of their offloads."""

import contextlib
import json
import os
import random
import socket
import struct
import threading

from . import netns, report, traffic
from .report import check, equal
from .tunnel import INNER4, INNER6, Tunnel, wg

SOL_UDP, UDP_SEGMENT = 17, 103
SOL_PACKET, PACKET_VNET_HDR, PACKET_OUTGOING, ETH_P_ALL = 263, 15, 4, 3
NEEDS_CSUM, GSO_UDP_L4 = 1, 5  # of struct virtio_net_hdr
CLIENT4, CLIENT6 = "192.0.3.2", "2001:db8:1::2"


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


def faulty_kernel(**faults):
    """The environment of a daemon whose kernel refuses offloads (faults.c)."""
    build = os.path.dirname(os.path.realpath(netns.ringtun_bin()))
    library = os.path.realpath(os.path.join(build, "../../tests/e2e/libe2e_faults.so"))
    if not os.path.exists(library):
        report.skip(f"no {library}")
    return {"LD_PRELOAD": library, **faults,
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}


def status(end):
    return json.loads(end.ns.out(netns.ringtun_bin(), "--status", end.ifname, "--json"))


def value(end, key):
    return str(status(end)[key])


class Gateway(Tunnel):
    """A Tunnel whose .a forwards what .client sends to .b."""

    def __init__(self, lab, options=(), far_options=(), mtu=None, link_mtu=1500, **kw):
        super().__init__(lab, mtu=mtu, link_mtu=link_mtu, **{
            "args_a": ("-f", *options), "args_b": ("-f", *far_options), **kw})
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


def vxlan_add(end, other, checksums):
    r = end.ns.run("ip", "link", "add", "vx0", "type", "vxlan", "id", 42, "local", end.v4, "remote",
                   other.v4, "dstport", 4789, "dev", end.ifname, *checksums, check=False)
    if r.returncode:
        report.skip(f"no VXLAN: {r.stderr.strip()}")
    end.ns.run("sh", "-c", f"ip addr add 10.88.0.{end.host}/24 dev vx0; ip link set vx0 up")


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


# One of everything

DELIVERY = ("drop_tx_send_failed", "drop_rx_tun_failed", "drop_tx_malformed", "drop_rx_bad_inner",
            "drop_rx_replay", "drop_rx_bad_tag", "drop_rx_forward_full")


def one_of_everything(g):
    """The traffic that every engine, switch and fallback must carry alike: TCP and runs of datagrams,
    forwarded and not, both families and ways, VXLAN, multicast, single packets. Nothing may be
    damaged, reordered within its flow, or dropped by a daemon."""
    for source, address in g.families():
        expect_tcp(g.client, g.b.ns, address, 1 << 20)
        uso(g.client, g.b.ns, source, address, (1, 64, 1372))
        uso(g.b.ns, g.client, address, source, (64, 1000))
    expect_tcp(g.b.ns, g.client, CLIENT4, 1 << 20)
    equal(traffic.ping(g.client, g.b.v6, count=3).received, 3, "single packets answered")
    g.route(g.a.ns, "239.0.0.0/8", "dev", g.a.ifname)
    uso(g.a.ns, g.b.ns, g.a.v4, "239.1.2.3", (64, 1372),
        join(4, "239.1.2.3", g.b.ifname, g.b.ns))
    vxlan_add(g.a, g.b, ("udpcsum",))
    vxlan_add(g.b, g.a, ("udpcsum",))
    check(traffic.reaches(g.a.ns, "10.88.0.2"), "no ping over VXLAN")
    expect_tcp(g.a.ns, g.b.ns, "10.88.0.2", 1 << 19)
    uso(g.b.ns, g.a.ns, "10.88.0.2", "10.88.0.1", (64, 1300))
    for end in (g.a, g.b):
        s = status(end)
        equal({k: s[k] for k in DELIVERY if s[k]}, {}, "drops")
    equal(sum(csum_errors(ns) for ns in (g.a.ns, g.b.ns, g.client)), 0, "checksum errors")

#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""ringtun-bench-gen by a packet socket: what comes out of an interface is what a UDP socket would have
made, and where it can not be had a UDP socket takes its place."""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import time

from lib import check, equal, expect, main, need_root, use_helpers

from ringtun_bench import generator, helpers, lab

A4, B4, A6, B6 = "192.0.2.1", "192.0.2.2", "fd00::1", "fd00::2"
TUN4, TUN6 = ("198.51.100.1", "198.51.100.2"), ("fd01::1", "fd01::2")
TUNSETIFF, TUNSETOFFLOAD, TUN_F_CSUM = 0x400454CA, 0x400454D0, 1
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 1, 0x1000, 0x4000
VNET = struct.Struct("=BBHHHH")
NEEDS_CSUM = 1
CLONE_NEWNET = 0x40000000
ETH_P_ALL, SOL_PACKET, PACKET_VNET_HDR = 3, 263, 15
N_DATAGRAMS = 8
WIRE_LEN = 32

libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def inside(ns):
    """This thread in another network namespace."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{ns.name}") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            libc.setns(home.fileno(), CLONE_NEWNET)


@contextlib.contextmanager
def pair():
    """Two namespaces joined by a veth pair."""
    need_root()
    use_helpers()
    with lab.Lab() as owner:
        a, b = owner.namespace(), owner.namespace()
        owner.link(a, b)
        for ns, address in ((a, A6), (b, B6)):
            lab.command("ip", "-n", ns.name, "addr", "add", f"{address}/64", "dev", "veth0", "nodad",
                        step="an address")
        yield a, b


def open_tun(ns, offloads):
    """A TUN with virtio headers in the namespace."""
    with inside(ns):
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
        fcntl.ioctl(fd, TUNSETOFFLOAD, offloads)
    for address in (f"{TUN4[0]}/24", f"{TUN6[0]}/64"):
        lab.command("ip", "-n", ns.name, "addr", "add", address, "dev", "tun0",
                    *(["nodad"] if ":" in address else []), step="an address")
    lab.command("ip", "-n", ns.name, "link", "set", "tun0", "up", step="a link")
    return fd


def send(ns, to, *args, status=0):
    """What the sender says; its line for humans where it fails."""
    r = subprocess.run(ns.argv(helpers.find(generator.PROGRAM), "send", "--to", to, *args),
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
                       check=False)
    equal(r.returncode, status, f"exit status ({r.stderr.strip()})")
    return json.loads(r.stdout) if status == 0 else r.stderr


def is_ours(data, link_len):
    """A UDP datagram of the generator, no error message that quotes one."""
    ip = data[VNET.size + link_len:]
    return b"RTBG" in ip and (ip[6] if ip[0] >> 4 == 6 else ip[9]) == socket.IPPROTO_UDP


def take(fd, n, link_len, until=10):
    """The next @n packets of ours with their virtio header."""
    packets, end = [], time.monotonic() + until
    while len(packets) < n:
        expect(time.monotonic() < end, f"only {len(packets)} of {n} packets")
        if not select.select([fd], [], [], 0.1)[0]:
            continue
        data = os.read(fd, 65536)
        if is_ours(data, link_len):
            packets.append(data)
    return packets


def sum16(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def dissect(packet, link_len):
    """(virtio header, headers without what differs from datagram to datagram, IPv4 id, payload), after
    the checksums were found right."""
    vnet, ip = VNET.unpack_from(packet), packet[VNET.size + link_len:]
    is_v6 = ip[0] >> 4 == 6
    head_len = 40 if is_v6 else 20
    head, udp = bytearray(ip[:head_len]), ip[head_len:]
    addresses = ip[8:40] if is_v6 else ip[12:20]
    if not is_v6:
        equal(sum16(ip[:20]), 0xFFFF, "sum of the IP header")
        equal(struct.unpack_from("!H", ip, 2)[0], len(ip), "length in the IP header")
    equal(struct.unpack_from("!H", udp, 4)[0], len(udp), "length in the UDP header")
    pseudo = addresses + struct.pack("!HH", 17, len(udp))
    if vnet[0] & NEEDS_CSUM:
        equal(struct.unpack_from("!H", udp, 6)[0], sum16(pseudo), "sum of the pseudo-header")
        equal(vnet[4:], (link_len + head_len, 6), "where the checksum belongs")
    else:
        equal(sum16(pseudo + udp), 0xFFFF, "UDP checksum")
    ident = None if is_v6 else struct.unpack_from("!H", head, 4)[0]
    if is_v6:
        head[1:4] = b"\x00\x00\x00"  # the flow label is by chance
    else:
        head[4:6] = head[10:12] = b"\0\0"
    return vnet, bytes(packet[VNET.size:VNET.size + link_len] + head), ident, udp[8 + WIRE_LEN:]


def compare(ns, to, fd, link_len, sizes):
    """Sends by both sockets and compares what arrives at @fd."""
    found = {}
    n = N_DATAGRAMS * len(sizes)
    for via in ("socket", "packet"):
        mix = ",".join(f"{s}:1" for s in sizes)
        process = ns.start(helpers.find(generator.PROGRAM), "send", "--to", to, "--via", via, "--size",
                           mix, "--rate", n, "--duration", 1, "--warm-up", 0, stdout=-1, stderr=-1)
        found[via] = [dissect(p, link_len) for p in take(fd, n, link_len)]
        said = generator.result(process, "send", 20)
        equal((said["via"], said["sent"], said["send_errors"], said["bytes"]),
              (via, n, 0, N_DATAGRAMS * sum(sizes)), "what it says")
        drain(fd)
    for by_socket, by_packet in zip(*found.values()):
        equal((by_packet[0], by_packet[1], by_packet[3]), (by_socket[0], by_socket[1], by_socket[3]),
              "virtio header, headers, payload")
    for packets in found.values():
        ids = [p[2] for p in packets]
        if ids[0] is not None:
            equal([(b - a) % 65536 for a, b in zip(ids, ids[1:])], [1] * (n - 1), "steps of the id")
    return found["packet"][0][0]


def drain(fd):
    with contextlib.suppress(BlockingIOError):
        while True:
            os.read(fd, 65536)


@check("an Ethernet interface sends the same packets as for a UDP socket, over IPv4 and IPv6")
def ethernet(_):
    with pair() as (a, b):
        with inside(b), socket.socket(socket.AF_PACKET, socket.SOCK_RAW,
                                      socket.htons(ETH_P_ALL)) as s, \
                socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as listener:
            listener.bind(("::", 5310))  # else errors come back
            s.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            s.bind(("veth0", ETH_P_ALL))
            s.setblocking(False)
            for to in (B4, B6):
                vnet = compare(a, to, s.fileno(), 14, (64, 517, 1400))
                expect(vnet[0] & NEEDS_CSUM, "the checksum was not left to the interface")


@check("a TUN gets the same packets as from a UDP socket, with and without checksum offload")
def tun(_):
    for offloads in (TUN_F_CSUM, 0):
        with pair() as (a, _b):
            fd = open_tun(a, offloads)
            try:
                for to in (TUN4[1], TUN6[1]):
                    vnet = compare(a, to, fd, 0, (64, 517, 1400))
                    equal(bool(vnet[0] & NEEDS_CSUM), bool(offloads), "checksum left to us")
            finally:
                os.close(fd)


@check("what it sends arrives at a UDP socket, all flows of it, and the sender learns that it has gone")
def arrives(_):
    with pair() as (a, b):
        for to, bind in ((B4, "0.0.0.0"), (B6, "::")):
            with generator.receiver(b, "recv", "--bind", bind, "--limit", 20, "--linger", 0.1) as r:
                begin = time.monotonic()
                said = send(a, to, "--via", "packet", "--size", "imix", "--rate", 20000, "--flows", 3,
                            "--duration", 0.5)
                expect(time.monotonic() - begin < 1.6, "it went on when the receiver had gone")
                got = generator.received_result(r)
            equal((got["received"], got["warm_up_received"], got["bytes"], got["flows"]),
                  (said["sent"], said["warm_up_sent"], said["bytes"], 3), "counts")
            equal((got["lost"], got["reordered"], got["duplicates"]), (0, 0, 0), "faults")
            equal(said["sent"] + said["skipped"], 10000, "sent, or given up on a busy machine")


@check("it asks for the address of the next station where the kernel does not know it")
def neighbour(_):
    with pair() as (a, _b):
        for to in (B4, B6):
            lab.command("ip", "-n", a.name, "neigh", "flush", "all", step="forgetting")
            said = send(a, to, "--via", "packet", "--rate", 100, "--duration", 0.1)
            equal(said["via"], "packet", "via")
        lab.command("ip", "-n", a.name, "route", "add", "203.0.113.0/24", "via", B4, step="a route")
        equal(send(a, "203.0.113.9", "--rate", 100, "--duration", 0.1)["via"], "packet", "a gateway")


@check("a full queue below is loss on the way, as with a UDP socket", timeout=90)
def full_queue(_):
    with pair() as (a, b):
        lab.command("tc", "-n", a.name, "qdisc", "add", "dev", "veth0", "root", "tbf", "rate", "2mbit",
                    "burst", "4kb", "limit", "4kb", step="a narrow link")
        for via in ("socket", "packet"):
            with generator.receiver(b, "recv", "--limit", 20, "--linger", 0.5) as r:
                said = send(a, B4, "--via", via, "--rate", 20000, "--size", 200, "--duration", 0.5,
                            "--warm-up", 0)
                got = generator.received_result(r)
            equal((said["send_errors"], said["last_error"]), (0, None), f"errors ({via})")
            equal(said["sent"] + said["skipped"], 10000, f"sent ({via})")
            expect(got["received"] < said["sent"] / 2, f"{got['received']} got through ({via})")


@check("where it can not be had, a UDP socket takes its place, or it says why not")
def fallback(_):
    with pair() as (a, _b):
        brief = ("--rate", 50, "--duration", 0.1, "--warm-up", 0)
        for to, args, why in ((A4, (), "other host"), ("127.0.0.1", (), "other host"),
                              (B4, ("--size", 1473), "MTU"), (B6, ("--size", 1453), "MTU"),
                              ("192.0.2.77", (), "next station")):
            said = send(a, to, *brief, *args)
            equal(said["via"], "socket", f"{to} {args}")
            expect(why in said["why_socket"], f"{to} {args}: {said['why_socket']}")
            said = send(a, to, *brief, *args, "--via", "packet", status=1)
            expect("packet socket" in said and why in said and said.count("\n") == 1, said)
        equal(send(a, B4, *brief, "--size", 1472)["via"], "packet", "what just fits")
        said = send(a, B4, *brief, "--segments", 4, "--size", 100)
        equal((said["via"], "UDP_SEGMENT" in said["why_socket"]), ("socket", True), "super-packets")
        said = send(a, B4, *brief, "--via", "socket")
        equal((said["via"], said["why_socket"]), ("socket", None), "as asked for")


@check("without the right to packet sockets it takes a UDP socket")
def unprivileged(_):
    with pair() as (a, _b):
        r = subprocess.run(a.argv("setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw",
                                  helpers.find(generator.PROGRAM), "send", "--to", B4, "--rate", 50,
                                  "--duration", 0.1),
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20,
                           check=False)
        equal(r.returncode, 0, r.stderr)
        said = json.loads(r.stdout)
        equal((said["via"], said["why_socket"]), ("socket", os.strerror(errno.EPERM)), "via")


main()

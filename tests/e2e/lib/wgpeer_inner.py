# SPDX-License-Identifier: MPL-2.0
"""Inner IP packets: built field by field, so that a test can also make wrong ones."""

import socket
import struct

EXPERIMENT = 253  # an IP protocol that nothing answers or coalesces (RFC 3692)
ICMP, UDP, ICMPV6 = 1, 17, 58


def checksum(data):
    """The Internet checksum."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def is_v6(address):
    return ":" in address


def packed(address):
    return socket.inet_pton(socket.AF_INET6 if is_v6(address) else socket.AF_INET, address)


def ipv4(src, dst, payload=b"", *, proto=EXPERIMENT, tos=0, ttl=64, ident=0, fragment=0,
         options=b"", total=None):
    """@fragment: flags and offset as on the wire; @total: another total length than the true."""
    ihl = 5 + len(options) // 4
    total = ihl * 4 + len(payload) if total is None else total
    head = struct.pack("!BBHHHBBH", 0x40 | ihl, tos, total & 0xFFFF, ident, fragment, ttl, proto, 0)
    head += packed(src) + packed(dst) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(src, dst, payload=b"", *, proto=EXPERIMENT, tos=0, ttl=64, length=None):
    """@length: a payload length other than the true one."""
    length = len(payload) if length is None else length
    head = struct.pack("!IHBB", 6 << 28 | tos << 20, length, proto, ttl)
    return head + packed(src) + packed(dst) + payload


def ip(src, dst, payload=b"", **kw):
    return (ipv6 if is_v6(src) else ipv4)(src, dst, payload, **kw)


def sized(src, dst, size, **kw):
    """A packet of @size bytes in all."""
    head = 40 if is_v6(src) else 20
    return ip(src, dst, bytes(i & 0xFF for i in range(size - head)), **kw)


def marked(src, dst, mark, **kw):
    """A small packet that carries the number @mark, for mark_of()."""
    return ip(src, dst, b"mark" + struct.pack("!I", mark), **kw)


def is_marked(packet):
    return b"mark" in packet


def mark_of(packet):
    at = packet.find(b"mark")
    return struct.unpack_from("!I", packet, at + 4)[0] if at >= 0 else None


def udp(src, dst, sport, dport, payload=b"", **kw):
    """A UDP packet with a valid checksum."""
    head = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0)
    pseudo = packed(src) + packed(dst) + struct.pack("!IHBB", 8 + len(payload), 0, 0, UDP)
    head = head[:6] + struct.pack("!H", checksum(pseudo + head + payload) or 0xFFFF)
    return ip(src, dst, head + payload, proto=UDP, **kw)


def icmp4(src, dst, kind, code=0, rest=bytes(4), payload=b"", **kw):
    body = struct.pack("!BBH", kind, code, 0) + rest + payload
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    return ipv4(src, dst, body, proto=ICMP, **kw)


def icmp6(src, dst, kind, code=0, rest=bytes(4), payload=b"", **kw):
    body = struct.pack("!BBH", kind, code, 0) + rest + payload
    body = body[:2] + struct.pack("!H", icmp6_checksum(src, dst, body)) + body[4:]
    return ipv6(src, dst, body, proto=ICMPV6, **kw)


def icmp6_checksum(src, dst, body):
    pseudo = packed(src) + packed(dst) + struct.pack("!IHBB", len(body), 0, 0, ICMPV6)
    return checksum(pseudo + body)


def header_ok(packet):
    """Whether the IPv4 header checksum holds; true for IPv6."""
    return packet[0] >> 4 == 6 or checksum(packet[:(packet[0] & 15) * 4]) == 0


def tos_of(packet):
    return packet[1] if packet[0] >> 4 == 4 else struct.unpack_from("!H", packet)[0] >> 4 & 0xFF

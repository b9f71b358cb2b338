# SPDX-License-Identifier: MPL-2.0
"""Raw views of a namespace: UDP sockets with every control message, and whole frames."""

import dataclasses
import errno
import select
import socket
import struct
import time

from . import wgpeer_inner as inner

SO_TIMESTAMPNS, SO_RCVBUFFORCE = 35, 33
IP_PKTINFO, IP_RECVTTL = 8, 12
UDP_NO_CHECK6_TX, UDP_SEGMENT = 101, 103
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86DD
PACKET_OUTGOING = 4
BUFFER = 8 << 20
PATIENCE = 3.0  # seconds that a busy machine may need


@dataclasses.dataclass
class Datagram:
    """A received datagram. .time is the kernel's, so that a slow test does not blur it."""
    data: bytes
    source: tuple
    to: str  # local address it was sent to
    tos: int
    ttl: int
    time: float


class Udp:
    """A UDP socket in a namespace, bound to one address and port."""

    def __init__(self, ns, address, port=0, scope=0):
        self.v6 = inner.is_v6(address)
        family = socket.AF_INET6 if self.v6 else socket.AF_INET
        s = self.socket = ns.socket(family, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        if self.v6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            for option in (socket.IPV6_RECVTCLASS, socket.IPV6_RECVPKTINFO,
                           socket.IPV6_RECVHOPLIMIT):
                s.setsockopt(socket.IPPROTO_IPV6, option, 1)
            s.bind((address, port, 0, scope))
        else:
            for option in (socket.IP_RECVTOS, IP_PKTINFO, IP_RECVTTL):
                s.setsockopt(socket.IPPROTO_IP, option, 1)
            s.bind((address, port))
        self.address, self.port = address, s.getsockname()[1]

    def close(self):
        self.socket.close()

    def send(self, data, to, tos=0):
        """Sends one datagram with an exact TOS byte or traffic class."""
        if self.v6:
            control = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, struct.pack("i", tos))
        else:
            control = (socket.IPPROTO_IP, socket.IP_TOS, struct.pack("i", tos))
        self.socket.sendmsg([data], [control], 0, to)

    def recv(self, timeout):
        """The next Datagram, or None."""
        if not select.select([self.socket], [], [], max(timeout, 0))[0]:
            return None
        try:
            data, control, _, source = self.socket.recvmsg(65536, 1024)
        except ConnectionRefusedError:  # an ICMP error, not a datagram
            return self.recv(timeout)
        d = Datagram(data, source, None, None, None, None)
        for level, kind, value in control:
            self._control(d, level, kind, value)
        return d

    @staticmethod
    def _control(d, level, kind, value):
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            sec, nsec = struct.unpack("qq", value)
            d.time = sec + nsec / 1e9
        elif (level, kind) == (socket.IPPROTO_IP, socket.IP_TOS):
            d.tos = value[0]
        elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_TCLASS):
            d.tos, = struct.unpack("i", value)
        elif (level, kind) in ((socket.IPPROTO_IP, socket.IP_TTL),
                               (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)):
            d.ttl, = struct.unpack("i", value)
        elif (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            d.to = socket.inet_ntop(socket.AF_INET, value[8:12])
        elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            d.to = socket.inet_ntop(socket.AF_INET6, value[:16])


class Tap:
    """AF_PACKET on one interface: the IP packets that come in through it, and a way to send any
    bytes out of it. On a TUN device "in" is what the daemon wrote, "out" what it reads."""

    def __init__(self, ns, ifname):
        with ns.enter():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            self.socket.bind((ifname, ETH_P_ALL))
        self.ifname = ifname

    def close(self):
        self.socket.close()

    def send(self, packet):
        self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # it was down at some time
        proto = ETH_P_IPV6 if packet[:1] and packet[0] >> 4 == 6 else ETH_P_IP
        self.socket.sendto(packet, (self.ifname, proto))

    def recv(self, timeout, match=None):
        """The next packet that @match accepts, or None."""
        end = time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            if not select.select([self.socket], [], [], max(left, 0))[0]:
                return None
            try:
                packet, source = self.socket.recvfrom(1 << 17)
            except OSError as e:
                if e.errno != errno.ENETDOWN:
                    raise
                continue
            if source[2] != PACKET_OUTGOING and (match is None or match(packet)):
                return packet

    def all(self, quiet, match=None, n=0):
        """Every packet until none came for @quiet seconds; more patience for the first @n."""
        packets = []
        while (p := self.recv(quiet if len(packets) >= n else PATIENCE, match)) is not None:
            packets.append(p)
        return packets

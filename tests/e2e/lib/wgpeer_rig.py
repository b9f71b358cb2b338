# SPDX-License-Identifier: MPL-2.0
"""What most checks need: a daemon with its TUN in one namespace (the host), our own peers in
another (the far side), a veth pair between them, and a view into the TUN.

    outer: host 192.0.2.1, 2001:db8::1     far side 192.0.2.2, 2001:db8::2
    inner: host 10.99.0.1, fd00:99::1      peer k   10.99.k.2, fd00:99:k::2 (its /24 and /64)

The inner addresses belong to no interface: the kernel neither answers nor adds packets."""

import contextlib
import time

from . import wgpeer as wg
from . import wgpeer_inner as inner
from . import wgpeer_uapi as uapi
from .netns import wait_until
from .report import Failed, check, equal
from .wgpeer_udp import PATIENCE, Tap, Udp

HOST4, HOST6 = "192.0.2.1", "2001:db8::1"
FAR4, FAR6 = "192.0.2.2", "2001:db8::2"
INNER4, INNER6 = "10.99.0.1", "fd00:99::1"
PORT = 51820
QUIET = 0.4  # seconds without a datagram that count as silence where nothing is due
FLOOD_GAP = 0.025  # P-056: initiations closer than 20 ms are refused


class Rig:
    """A configured daemon. @up: the interface is up and the UDP port bound."""

    def __init__(self, lab, *, up=True, key=True, families=("udp", "udp6"), **daemon):
        self.lab = lab
        self.families = families  # the tables of /proc/net in which its sockets are
        self.private = wg.new_private()
        self.public = wg.public_of(self.private)
        self.port = PORT
        self.peers = []
        self.may_end = False
        self.things = contextlib.ExitStack()
        self.host, self.far = lab.pair()
        self.daemon = self.host.daemon(**daemon)
        self.ifname = self.daemon.ifname
        self.set(f"private_key={self.private.hex()}\n" * key + f"listen_port={PORT}\n")
        if up:
            self.up()
        self.tun = self.own(Tap(self.host, self.ifname))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.things.close()

    def own(self, thing):
        """Closes @thing with the rig."""
        self.things.callback(thing.close)
        return thing

    # Configuration

    def transact(self, text, timeout=5):
        return uapi.transact(self.ifname, text, timeout)

    def set(self, text, timeout=5):
        """One set transaction that has to succeed."""
        equal(self.transact("set=1\n" + text + "\n", timeout), "errno=0", "set")

    def set_peer(self, peer, *lines):
        self.set(uapi.section(peer.public, *lines))

    def get(self):
        return uapi.get(self.ifname)

    def state(self, peer):
        """The `get` values of @peer."""
        return self.get().peer(peer.public)

    def state_of(self, public):
        return self.get().peer(public)

    def number(self, peer, key):
        return int(self.state(peer)[key])

    def handshake_time(self, peer):
        s = self.state(peer)
        return int(s["last_handshake_time_sec"]) * 10**9 + int(s["last_handshake_time_nsec"])

    def new_key(self):
        """Another private key: from now on no session may be used for sending (P-380)."""
        self.private = wg.new_private()
        self.public = wg.public_of(self.private)
        self.set(f"private_key={self.private.hex()}\n")

    # Interface

    def link(self, *args, ns=None):
        (ns or self.host).run("ip", "link", "set", "dev", self.ifname, *args)

    def up(self, ns=None):
        self.link("up", ns=ns)
        self.wait_bound(self.port)

    def down(self):
        self.link("down")
        check(wait_until(lambda: not self.sockets(), 2), "UDP sockets are open while down")

    def sockets(self, port=None):
        """The inodes of the UDP sockets in the daemon's namespace, those on @port or all."""
        inodes = []
        for family in ("udp", "udp6"):
            with open(f"/proc/{self.daemon.pid}/net/{family}") as f:
                rows = [line.split() for line in list(f)[1:]]
            inodes += [(family, r[9]) for r in rows if port in (None, int(r[1].split(":")[1], 16))]
        return inodes

    def bound(self, port):
        return {family for family, _ in self.sockets(port)} == set(self.families)

    def wait_bound(self, port):
        check(wait_until(lambda: self.bound(port)), f"UDP port {port} is not open")

    # Peers and packets

    def peer(self, *lines, endpoint=False, configure=True, **kw):
        """A new peer; @endpoint: the daemon is told where it is."""
        p = Peer(self, len(self.peers) + 1, **kw)
        self.peers.append(p)
        if configure:
            lines = [f"allowed_ip={a}" for a in p.allowed] + list(lines)
            if p.psk != wg.ZERO_KEY:
                lines.append(f"preshared_key={p.psk.hex()}")
            if endpoint:
                lines.append(f"endpoint={p.endpoint}")
            self.set_peer(p, *lines)
        return p

    def udp(self, address=FAR4, port=0, scope=0):
        return self.own(Udp(self.far, address, port, scope))

    def inject(self, packet):
        """Hands the daemon a packet as the host's kernel would."""
        self.tun.send(packet)

    def delivered(self, timeout=2, match=inner.is_marked):
        """The next packet the daemon wrote to the TUN, or None."""
        return self.tun.recv(timeout, match)

    def marks(self, quiet=QUIET, n=0):
        """The marks of all packets that the daemon writes to the TUN, of which @n are due."""
        return [inner.mark_of(p) for p in self.tun.all(quiet, inner.is_marked, n)]

    def delivers(self, marks, what="delivered packets", quiet=QUIET):
        """The daemon writes the packets with these @marks to the TUN and no other."""
        equal(self.marks(quiet, len(marks)), list(marks), what)

    def send_out(self, peer, mark=1, v6=False, **kw):
        """A marked packet from the host to @peer."""
        src, dst = (INNER6, peer.inner6) if v6 else (INNER4, peer.inner4)
        self.inject(inner.marked(src, dst, mark, **kw))

    def takes(self, peer, session):
        """The daemon accepts packets of @session."""
        peer.send_in(session, 60)
        return self.marks(0.05, 1) == [60]

    def refuses(self, peer, session):
        """The daemon does not accept packets of @session."""
        peer.send_in(session, 60)
        return self.marks() == []

    def works(self, peer, session, mark=77):
        """Packets flow both ways through @session."""
        peer.send_in(session, mark)
        packet = self.delivered()
        check(packet is not None, "a packet through the session did not arrive")
        equal(inner.mark_of(packet), mark, "mark of the delivered packet")
        self.send_out(peer, mark + 1)
        equal(inner.mark_of(peer.plaintext(session)), mark + 1, "mark of the packet sent")


class Peer:
    """One of our peers, with a UDP socket on the far side."""

    last_stamp = 0

    def __init__(self, rig, number, *, psk=None, address=FAR4, udp=None, private=None):
        self.rig = rig
        self.private = private or wg.new_private()
        self.public = wg.public_of(self.private)
        self.psk = psk or wg.ZERO_KEY
        self.udp = udp or rig.udp(address)
        net4, net6 = f"10.{99 + (number >> 8)}.{number & 255}", f"fd00:99:{number:x}"
        self.inner4, self.inner6 = f"{net4}.2", f"{net6}::2"
        self.allowed = [f"{net4}.0/24", f"{net6}::/64"]
        self.initiated = 0.0

    @property
    def endpoint(self):
        a, port = self.udp.address, self.udp.port
        return f"[{a}]:{port}" if self.udp.v6 else f"{a}:{port}"

    # Datagrams

    def send(self, data, *, udp=None, tos=0, to=None):
        udp = udp or self.udp
        udp.send(data, to or ((HOST6 if udp.v6 else HOST4), self.rig.port), tos)

    def recv(self, timeout=2.0):
        return self.udp.recv(timeout)

    def expect(self, kind, timeout=2.0, *, udp=None, others=False):
        """The next datagram, which must be a message of type @kind; @others: skip other ones."""
        end = time.monotonic() + timeout
        while True:
            d = (udp or self.udp).recv(end - time.monotonic())
            check(d is not None, f"no message of type {kind} within {timeout} s")
            if wg.kind_of(d.data) == kind:
                return d
            check(others, f"{describe(d)} instead of a message of type {kind}")

    def silent(self, seconds=QUIET, why="", *, udp=None):
        d = (udp or self.udp).recv(seconds)
        check(d is None, f"{describe(d)} where nothing is due {why}".rstrip())

    def drain(self, quiet=0.1, n=0):
        """Everything that arrives until it is quiet; more patience for the first @n."""
        got = []
        while (d := self.recv(quiet if len(got) >= n else PATIENCE)) is not None:
            got.append(d)
        return got

    # Handshakes

    def stamp(self):
        """A timestamp greater than any before."""
        Peer.last_stamp = max(time.time_ns(), Peer.last_stamp + 1)
        return wg.tai64n_of_ns(Peer.last_stamp)

    def initiation(self, **kw):
        kw.setdefault("stamp", self.stamp())
        return wg.Initiation(self.private, self.rig.public, **kw)

    def send_initiation(self, initiation=None, *, udp=None, **kw):
        """Sends an initiation, not sooner after the last one than the flood limit allows."""
        time.sleep(max(0.0, self.initiated + FLOOD_GAP - time.monotonic()))
        initiation = initiation or self.initiation(**kw)
        self.send(initiation.message, udp=udp)
        self.initiated = time.monotonic()
        return initiation

    def handshake(self, *, udp=None, **kw):
        """We initiate. The session is not confirmed yet."""
        initiation = self.send_initiation(udp=udp, **kw)
        response = self.expect(wg.RESPONSE, udp=udp)
        self.initiated = time.monotonic()
        return initiation.consume(response.data, self.psk)

    def connect(self, **kw):
        """We initiate and confirm."""
        before = self.rig.handshake_time(self)
        session = self.handshake(**kw)
        self.send(session.seal())
        self.confirmed(before)
        return session

    def confirmed(self, before=0):
        check(wait_until(lambda: self.rig.handshake_time(self) != before),
              "the session was not confirmed")

    def receive_initiation(self, timeout=2.0, **kw):
        """The daemon initiates: its message, verified. .time is when it arrived."""
        d = self.expect(wg.INITIATION, timeout, **kw)
        received = wg.ReceivedInitiation(self.private, d.data)
        equal(received.static.hex(), self.rig.public.hex(), "static key of the initiation")
        received.time = d.time
        return received

    def answer(self, received, **kw):
        response, session = received.respond(self.psk, **kw)
        self.send(response)
        return session

    def accept(self, timeout=2.0, **kw):
        """The daemon initiates, we answer; its first transport message is left unread."""
        return self.answer(self.receive_initiation(timeout), **kw)

    def called(self, mark=1):
        """Makes the daemon initiate by a packet with @mark, and reads that packet."""
        self.rig.send_out(self, mark)
        session = self.accept()
        equal(inner.mark_of(self.plaintext(session)), mark, "the staged packet")
        return session

    # Transport

    def transport(self, session, timeout=2.0):
        """(counter, plaintext, Datagram) of the next datagram, which must belong to @session."""
        d = self.expect(wg.TRANSPORT, timeout)
        try:
            return *session.open(d.data), d
        except wg.Refused as e:
            raise Failed(f"transport message: {e}") from None

    def plaintext(self, session, timeout=2.0):
        return self.transport(session, timeout)[1]

    def keepalive(self, session, timeout=2.0):
        counter, plaintext, d = self.transport(session, timeout)
        equal(plaintext, b"", "plaintext of a keepalive")
        return counter, d

    def marked(self, mark, v6=False, **kw):
        src, dst = (self.inner6, INNER6) if v6 else (self.inner4, INNER4)
        return inner.marked(src, dst, mark, **kw)

    def send_in(self, session, mark=1, *, counter=None, udp=None, tos=0, to=None, **kw):
        """A marked packet through the tunnel to the host."""
        self.send(session.seal(self.marked(mark, **kw), counter=counter), udp=udp, tos=tos, to=to)


def describe(d):
    if d is None:
        return "nothing"
    kind = wg.kind_of(d.data)
    return f"a datagram of {len(d.data)} bytes starting {d.data[:4].hex()} (type {kind})"

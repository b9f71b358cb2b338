# SPDX-License-Identifier: MPL-2.0
"""Traffic between namespaces that notices every lost, doubled, reordered or damaged byte."""

import contextlib
import hashlib
import os
import random
import socket
import struct
import threading
import time

RECEIVE_BUFFER = 16 << 20
SO_RCVBUFFORCE = 33
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


def family_of(address):
    return 6 if ":" in address else 4


ECHO = {4: (socket.IPPROTO_ICMP, 8, 0), 6: (socket.IPPROTO_ICMPV6, 128, 129)}


class Ping:
    """Echo requests and their replies. Not ping(8): that one gives up on the last packet after two
    round trips, which on a busy machine looks like loss."""

    def __init__(self, ns, address, size):
        self.version = family_of(address)
        protocol, self.request, self.reply = ECHO[self.version]
        self.socket = ns.socket(FAMILY[self.version], socket.SOCK_RAW, protocol)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        self.address = address
        self.ident = random.getrandbits(16)
        self.body = os.urandom(size)
        self.sent = 0
        self.replies = set()

    def send(self):
        header = struct.pack(">BBHHH", self.request, 0, 0, self.ident, self.sent)
        packet = header + self.body
        if self.version == 4:  # for IPv6 the kernel fills the checksum in
            packet = packet[:2] + struct.pack(">H", checksum(packet)) + packet[4:]
        with contextlib.suppress(OSError):  # no route: lost
            self.socket.sendto(packet, (self.address, 0))
        self.sent += 1

    def receive(self, seconds):
        """Collects replies until all are there or the time is over."""
        end = time.monotonic() + seconds
        while len(self.replies) < self.sent and (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                packet, source = self.socket.recvfrom(1 << 16)
            except OSError:
                return
            if self.version == 4:
                packet = packet[4 * (packet[0] & 15):]
            kind, _, _, ident, number = struct.unpack(">BBHHH", packet[:8])
            if (kind, ident, source[0]) == (self.reply, self.ident, self.address) and \
                    packet[8:] == self.body:
                self.replies.add(number)

    @property
    def received(self):
        return len(self.replies)

    @property
    def lost(self):
        return self.sent - self.received


def checksum(data):
    """The Internet checksum."""
    words = struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ping(ns, address, count=3, interval=0.02, size=56, wait=2):
    """Sends @count echo requests and waits for the replies, @wait seconds after the last one."""
    p = Ping(ns, address, size)
    with p.socket:
        for _ in range(count):
            start = time.monotonic()
            p.send()
            p.receive(interval)
            time.sleep(max(0, start + interval - time.monotonic()) if p.sent < count else 0)
        p.receive(wait)
    return p


def reaches(ns, address, within=5.0):
    """Whether @address answers within some seconds; a tunnel may need a handshake first."""
    end = time.monotonic() + within
    while True:
        if ping(ns, address, count=1, wait=1).received:
            return True
        if time.monotonic() > end:
            return False


def udp_socket(ns, address, port=0):
    s = ns.socket(FAMILY[family_of(address)], socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    s.bind((address, port))
    s.settimeout(0.1)
    return s


class Flow:
    """Numbered UDP datagrams from one namespace to another at a steady rate.

    Leaving the block stops it and waits for stragglers, at most @patience seconds. Then .sent,
    .lost, .reordered, .doubled and .damaged tell what happened; gap(n) is the longest time without
    an arrival."""

    def __init__(self, source, destination, from_address, to_address, rate=500, size=200,
                 patience=1.0):
        self.patience = patience
        self.rx = udp_socket(destination, to_address)
        self.tx = udp_socket(source, from_address)
        self.to = self.rx.getsockname()[:2]
        self.interval = 1 / rate
        self.body = os.urandom(max(0, size - 8))
        self.sent = self.reordered = self.doubled = self.damaged = 0
        self.arrivals = {}
        self.stopping = threading.Event()
        self.drained = threading.Event()
        self.threads = [threading.Thread(target=f, daemon=True) for f in (self.send, self.receive)]

    def send(self):
        due = time.monotonic()
        while not self.stopping.is_set():
            with contextlib.suppress(OSError):  # no route for a moment is loss, not an error
                self.tx.sendto(struct.pack(">Q", self.sent) + self.body, self.to)
            self.sent += 1
            due += self.interval
            time.sleep(max(0, due - time.monotonic()))

    def receive(self):
        newest = -1
        while not self.drained.is_set():
            try:
                data = self.rx.recv(65535)
            except TimeoutError:
                continue
            (n,) = struct.unpack(">Q", data[:8])
            self.damaged += data[8:] != self.body
            self.doubled += n in self.arrivals
            self.reordered += n < newest
            newest = max(n, newest)
            self.arrivals.setdefault(n, time.monotonic())

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.stopping.set()
        self.threads[0].join()
        end = time.monotonic() + self.patience
        while len(self.arrivals) < self.sent and time.monotonic() < end:
            time.sleep(0.02)
        self.drained.set()
        self.threads[1].join()
        self.rx.close()
        self.tx.close()

    @property
    def lost(self):
        return self.sent - len(self.arrivals)

    def gap(self):
        times = sorted(self.arrivals.values())
        return max((b - a for a, b in zip(times, times[1:])), default=0.0)

    def verdict(self):
        """None if every datagram arrived once, whole and in order, else what did not."""
        bad = {k: getattr(self, k) for k in ("lost", "reordered", "doubled", "damaged")}
        if not self.sent:
            return "nothing was sent"
        return f"{bad} of {self.sent}" if any(bad.values()) else None


def tcp_transfer(source, destination, to_address, n_bytes, timeout=20):
    """Sends pseudo-random bytes over TCP; returns an error text or None if they arrived intact."""
    family = FAMILY[family_of(to_address)]
    listener = destination.socket(family, socket.SOCK_STREAM)
    listener.bind((to_address, 0))
    listener.listen(1)
    listener.settimeout(timeout)
    block = random.Random(n_bytes).randbytes(1 << 16)
    want, got = hashlib.sha256(), hashlib.sha256()
    received = [0]

    def serve():
        with contextlib.suppress(OSError):
            conn, _ = listener.accept()
            conn.settimeout(timeout)
            with conn:
                while data := conn.recv(1 << 16):
                    got.update(data)
                    received[0] += len(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    error = None
    with source.socket(family, socket.SOCK_STREAM) as s, listener:
        s.settimeout(timeout)
        try:
            s.connect(listener.getsockname()[:2])
            for offset in range(0, n_bytes, len(block)):
                part = block[:min(len(block), n_bytes - offset)]
                s.sendall(part)
                want.update(part)
            s.shutdown(socket.SHUT_WR)
            thread.join(timeout)
        except OSError as e:
            error = f"{type(e).__name__}: {e}"
    if error or received[0] != n_bytes:
        return f"{received[0]} of {n_bytes} bytes arrived; {error}"
    return None if want.digest() == got.digest() else "contents differ"


IN_FLIGHT = 60000  # bytes; a daemon with the default socket buffer loses what is more


def windows(sizes):
    """Cuts a list of sizes into parts of at most IN_FLIGHT bytes."""
    part = []
    for n in sizes:
        if part and (sum(part) + n > IN_FLIGHT or len(part) == 16):
            yield part
            part = []
        part.append(n)
    yield part


def udp_sizes(source, destination, from_address, to_address, sizes, timeout=1.0):
    """Sends one datagram of each size and compares what arrives. Returns the sizes that did not
    arrive whole within three attempts."""
    rx, tx = udp_socket(destination, to_address), udp_socket(source, from_address)
    rx.settimeout(timeout)
    data = random.Random(1).randbytes(1 << 16)
    missing = list(sizes)
    with rx, tx:
        to = rx.getsockname()[:2]
        for _ in range(3):
            missing = [n for part in windows(missing)
                       for n in send_window(tx, rx, to, data, part)]
    return missing


def send_window(tx, rx, to, data, sizes):
    left = list(sizes)
    for n in sizes:
        with contextlib.suppress(OSError):
            tx.sendto(data[:n], to)
    while left:
        try:
            got = rx.recv(1 << 16)
        except TimeoutError:
            break
        if len(got) in left and got == data[:len(got)]:
            left.remove(len(got))
    return left

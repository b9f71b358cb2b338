#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""A bad network: a bridge of two links that loses, doubles and delays what passes it.

sch_netem does this too, but many kernels lack it. As a program it moves frames between two
interfaces of its namespace and reads lines like `loss=0.3 double=0.1 delay=5 delayed=0.2` from
stdin. Only IP packets with UDP suffer: neighbour discovery is not what is to be tested."""

import heapq
import itertools
import os
import random
import select
import socket
import sys
import time

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
VNET = 10  # struct virtio_net_hdr: checksums may still have to be filled in
ETH_P_ALL = 0x0003


class Bridge:
    """In a namespace of its own between two others; see bad_pair."""

    def __init__(self, lab, ns, process):
        self.lab, self.ns, self.process = lab, ns, process

    def set(self, **what):
        """loss, double, delayed: probabilities; delay: seconds. What is not named is 0."""
        values = {"loss": 0, "double": 0, "delayed": 0, "delay": 0, **what}
        self.process.stdin.write(" ".join(f"{k}={v}" for k, v in values.items()) + "\n")
        self.process.stdin.flush()


def bad_pair(lab):
    """As lab.pair(), with a Bridge in between: (a, b, bridge)."""
    a, middle, b = lab.netns(), lab.netns(), lab.netns()
    middle.run("sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6")
    for index, (ns, name, host) in enumerate(((a, "left", 1), (b, "right", 2))):
        # Segments are cut before they leave, so that each can get lost alone.
        ns.run("ip", "link", "add", "veth0", "index", 300 + 10 * index, "gso_max_segs", 1,
               "type", "veth", "peer", "name", name, "index", 305 + 10 * index,
               "netns", middle.name)
        middle.run("ip", "link", "set", name, "up")
        ns.run("ip", "addr", "add", f"192.0.2.{host}/24", "dev", "veth0")
        ns.run("ip", "-6", "addr", "add", f"2001:db8::{host}/64", "dev", "veth0", "nodad")
        ns.run("ip", "link", "set", "veth0", "up")
    process = middle.popen(sys.executable, os.path.realpath(__file__), "left", "right",
                           stdin=-1, stdout=-1, text=True)
    process.stdout.readline()  # it has begun
    return a, b, Bridge(lab, middle, process)


def packet_socket(name):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    s.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    s.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.bind((name, ETH_P_ALL))
    s.setblocking(False)
    return s


def is_udp(frame):
    kind = frame[VNET + 12:VNET + 14]
    return (kind == b"\x08\x00" and frame[VNET + 14 + 9] == 17) or \
        (kind == b"\x86\xdd" and frame[VNET + 14 + 6] in (17, 44))


class Mover:
    """What the program does."""

    def __init__(self, names):
        left, right = map(packet_socket, names)
        self.other = {left: right, right: left}
        self.rng = random.Random(1)
        self.set = {"loss": 0.0, "double": 0.0, "delay": 0.0, "delayed": 0.0}
        self.waiting = []
        self.order = itertools.count()
        self.line = b""

    @staticmethod
    def put(to, frame):
        try:
            to.send(frame)
        except OSError:  # the link is down, or it is too large for it
            pass

    def frame(self, source, frame):
        hit, to = self.rng.random, self.other[source]
        if not is_udp(frame):
            self.put(to, frame)
            return
        if hit() < self.set["loss"]:
            return
        for _ in range(2 if hit() < self.set["double"] else 1):
            if hit() < self.set["delayed"]:
                heapq.heappush(self.waiting, (time.monotonic() + self.set["delay"],
                                              next(self.order), to, frame))
            else:
                self.put(to, frame)

    def commands(self):
        data = os.read(0, 4096)
        if not data:
            sys.exit(0)
        *lines, self.line = (self.line + data).split(b"\n")
        for line in lines:
            self.set.update((k, float(v)) for k, v in
                            (word.split("=") for word in line.decode().split()))

    def run(self):
        sockets = [0, *self.other]
        while True:
            left = max(0, self.waiting[0][0] - time.monotonic()) if self.waiting else None
            for s in select.select(sockets, [], [], left)[0]:
                if s == 0:
                    self.commands()
                    continue
                try:
                    for _ in range(64):
                        self.frame(s, s.recv(1 << 17))
                except OSError:  # no more, or the link went down
                    pass
            while self.waiting and self.waiting[0][0] <= time.monotonic():
                _, _, to, frame = heapq.heappop(self.waiting)
                self.put(to, frame)


if __name__ == "__main__":
    mover = Mover(sys.argv[1:3])
    print("ready", flush=True)
    mover.run()

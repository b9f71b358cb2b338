#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
# Runs alone: it measures, or counts what a busy machine delays.
"""Order within a flow, whatever the number of workers: numbered datagrams of one UDP flow beside
TCP streams, whose contents are compared too (PITFALLS 54). And between flows: a lone packet does not wait
for the bulk that the daemon finds with it."""

import os
import signal
import struct
import threading
import time

from lib import report, traffic
from lib.gateway import SOL_UDP, UDP_SEGMENT, Capture
from lib.netns import wait_until
from lib.report import case, check, equal
from lib.tunnel import Tunnel

SECONDS = 1.2
BURST = 64
SIZES = (16, 200, 1372)


class Sequence:
    """One UDP flow in bursts as fast as the machine lets it, while the block runs. Loss is not
    judged here: it is the receiver's or the queue's on a busy machine."""

    def __init__(self, source, destination, from_address, to_address):
        self.rx = traffic.udp_socket(destination, to_address)
        self.tx = traffic.udp_socket(source, from_address)
        self.bodies = [os.urandom(n - 8) for n in SIZES]
        self.sent = self.received = self.reordered = self.doubled = self.damaged = 0
        self.first_bad = None
        self.stopping = threading.Event()
        self.drained = threading.Event()
        self.threads = [threading.Thread(target=f, daemon=True) for f in (self.send, self.receive)]

    def send(self):
        to = self.rx.getsockname()[:2]
        while not self.stopping.is_set():
            # Runs of one size, so that they coalesce, and changes of size between them.
            body = self.bodies[self.sent // BURST % len(SIZES)]
            for n in range(self.sent, self.sent + BURST):
                self.tx.sendto(struct.pack(">Q", n) + body, to)
            self.sent += BURST
            time.sleep(0.002)

    def receive(self):
        expected = 0
        while not self.drained.is_set():
            try:
                data = self.rx.recv(65535)
            except TimeoutError:
                continue
            (n,) = struct.unpack(">Q", data[:8])
            self.received += 1
            self.damaged += data[8:] != self.bodies[n // BURST % len(SIZES)]
            if n < expected:
                self.reordered += n < expected - 1
                self.doubled += n == expected - 1
                self.first_bad = self.first_bad or (n, expected)
            expected = max(expected, n + 1)

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.stopping.set()
        self.threads[0].join()
        time.sleep(0.3)
        self.drained.set()
        self.threads[1].join()
        self.rx.close()
        self.tx.close()

    def judge(self):
        check(self.received > 20 * BURST and self.received * 10 > self.sent,
              f"{self.received} of {self.sent} datagrams arrived")
        check(not (self.reordered or self.doubled or self.damaged),
              f"{self.reordered} reordered, {self.doubled} doubled, {self.damaged} damaged of"
              f" {self.received}; first (number, expected): {self.first_bad}")


def one_receive_cpu(ns):
    """The test kernel itself reorders on a veth when a sending thread changes its CPU between two
    packets, so one CPU receives all."""
    ns.run("sh", "-c", "for f in /sys/class/net/veth0/queues/rx-*/rps_cpus; do echo 1 >$f; done")


def order(threads, engine, udp, tcp, *options):
    def run(lab):
        args = ("-f", "--threads", str(threads), "--io", engine, *options)
        t = Tunnel(lab, args_a=args, args_b=args)
        for end in (t.a, t.b):
            one_receive_cpu(end.ns)
        check(traffic.reaches(t.a.ns, t.b.v4), "no tunnel")
        errors = []

        def stream(source, destination):
            end = time.monotonic() + SECONDS
            while time.monotonic() < end and not any(errors):
                errors.append(traffic.tcp_transfer(source.ns, destination.ns,
                                                   destination.address(tcp), 4 << 20))

        with Sequence(t.a.ns, t.b.ns, t.a.address(udp), t.b.address(udp)) as flow:
            streams = [threading.Thread(target=stream, args=pair, daemon=True)
                       for pair in ((t.a, t.b), (t.b, t.a))]
            for s in streams:
                s.start()
            for s in streams:
                s.join()
        check(errors and not any(errors), f"TCP: {next(filter(None, errors), 'nothing sent')}")
        flow.judge()
    return run


for _threads in (1, 2, 4, 8, 16):
    for _engine in ("uring", "poll"):
        _udp, _tcp = (4, 6) if (_threads in (1, 4, 16)) == (_engine == "poll") else (6, 4)
        case(f"pitfall 54 {_threads} workers, {_engine}: UDP over IPv{_udp} in order beside"
             f" TCP over IPv{_tcp}, contents whole")(order(_threads, _engine, _udp, _tcp))
for _threads, _options in ((4, "--multi-queue=off"), (2, "--steering=off")):
    case(f"pitfall 54 {_threads} workers, {_options}: UDP over IPv4 in order beside TCP over IPv6,"
         " contents whole")(order(_threads, "uring", 4, 6, _options))


N_SUPER, N_SEGMENTS, SEGMENT, LONE = 7, 43, 1372, 40
LONE_WIRE = (28 + LONE + 15) // 16 * 16 + 32 + 28  # padded, in a message, in a datagram


def stand_still(pid):
    os.kill(pid, signal.SIGSTOP)

    def states():
        for tid in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{tid}/stat") as f:
                yield f.read().rpartition(")")[2].split()[0]
    check(wait_until(lambda: set(states()) == {"T"}), "the daemon does not stop")


def leave_together(t, bulk, lone, before):
    """A daemon that stood still finds super-packets of one flow and a packet of another at once. Returns
    the sizes of the datagrams as they leave."""
    stand_still(t.a.daemon.pid)
    with Capture(t.b.ns, "veth0", link_header=14) as wire:
        try:
            for i in range(N_SUPER + 1):
                if i == before:
                    lone[1].sendto(bytes(LONE), lone[0].getsockname()[:2])
                if i < N_SUPER:
                    bulk[1].sendto(bytes([i]) * (N_SEGMENTS * SEGMENT), bulk[0].getsockname()[:2])
        finally:
            os.kill(t.a.daemon.pid, signal.SIGCONT)
        equal(len(lone[0].recv(2000)), LONE, "the lone packet's length")
        got = [bulk[0].recv(2000) for _ in range(N_SUPER * N_SEGMENTS)]
    equal(b"".join(d[:1] for d in got), b"".join(bytes([i]) * N_SEGMENTS for i in range(N_SUPER)),
          "order within the bulk flow")
    return [p.gso_size + 28 if p.is_super else len(p.ip) for p in wire.of(17, False)]


def turns(engine):
    def run(lab):
        args = ("-f", "--threads=1", "--io", engine)
        t = Tunnel(lab, args_a=args, args_b=args)
        check(traffic.reaches(t.a.ns, t.b.v4), "no tunnel")
        bulk, lone = ((traffic.udp_socket(t.b.ns, t.b.v4), traffic.udp_socket(t.a.ns, t.a.v4))
                      for _ in range(2))
        bulk[1].setsockopt(SOL_UDP, UDP_SEGMENT, SEGMENT)
        for s in (bulk[0], lone[0]):
            s.settimeout(5)
        for before in (N_SUPER, N_SUPER // 2, 0):
            sizes = leave_together(t, bulk, lone, before)
            check(LONE_WIRE in sizes, f"the lone packet left in a run of others: {sizes}")
            at = sizes.index(LONE_WIRE)
            n_bulk = sum(n > LONE_WIRE for n in sizes)
            check(n_bulk >= N_SUPER, f"bulk was not seen: {sizes}")
            if engine == "poll":  # how many the other engine reads at once is for it to find out
                equal(at, 0, f"datagrams in front of the lone packet, of {sizes}")
            else:
                check(at <= before, f"{at} datagrams in front of the lone packet: {sizes}")
    return run


for _engine in ("uring", "poll"):
    case(f"a lone packet leaves before the bulk that is read with it, {_engine}")(turns(_engine))


if __name__ == "__main__":
    report.main()

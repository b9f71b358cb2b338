# SPDX-License-Identifier: MPL-2.0
"""A flood of handshake messages with a good mac1 and nothing else right, sent by a process of its
own as fast as it can."""

import os
import random
import signal
import socket
import struct
import time

from . import wgpeer as wg
from . import wgpeer_inner as inner

VARIETY = 4000


def messages(receiver_public, n=VARIETY):
    return [wg.with_macs(struct.pack("<II", wg.INITIATION, i) + os.urandom(108), receiver_public)
            for i in range(n)]


class Flood:
    """Runs until stopped. @spoofed: each datagram comes from another address of 10.0.0.0/8."""

    def __init__(self, rig, address, spoofed=False):
        with rig.far.enter():
            if spoofed:
                self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
            else:
                v6 = inner.is_v6(address)
                self.socket = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET,
                                            socket.SOCK_DGRAM)
                self.socket.bind((address, 0))
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.target = (address.rsplit(".", 1)[0] + ".1", rig.port)
        self.list = messages(rig.public)
        if spoofed:
            self.list = [self._spoofed(m) for m in self.list]
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._run()
            finally:
                os._exit(0)
        self.socket.close()

    def _spoofed(self, message):
        source = socket.inet_ntoa(struct.pack("!I", 10 << 24 | random.getrandbits(24)))
        return inner.udp(source, self.target[0], random.randrange(1024, 65536), self.target[1],
                         message)

    def _run(self):
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(sig, signal.SIG_DFL)
        parent, send, target = os.getppid(), self.socket.sendto, self.target
        end = time.monotonic() + 60
        while time.monotonic() < end and os.getppid() == parent:
            for m in self.list:
                try:
                    send(m, target)
                except OSError:  # a full queue, or an ICMP error that answers an earlier one
                    pass

    def close(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
# Runs alone: it measures, or counts what a busy machine delays.
"""Floods against a daemon that has a session, a neighbour who wants one, and an administrator.

The flooder needs CPU of the same machine, so the session's throughput is that of a steady stream
well below what the machine can do, with the flood and without it. An initiator that got a cookie
may use it in its next attempt; ours attempts every 0.2 s instead of every 5 s."""

import base64
import concurrent.futures
import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import time

from lib import wgpeer as peer
from lib.netns import ringtun_bin, socket_path, uapi_connect, wait_until
from lib.report import case, check, main, skip
from lib.tunnel import Tunnel, wg, wg_out
from lib.wgpeer_udp import ETH_P_ALL, PACKET_OUTGOING, Udp

RATE = 100000
FLOOD_SEC = 5
STREAM_MBIT = 60
SHARE = 0.9         # of the throughput that a session must keep
CONNECT_SEC = 2
SHOW_SEC = 1
ATTEMPT_SEC = 0.2
CALM_SEC = 1
TOOL = os.path.join(os.path.dirname(ringtun_bin()), "../../tests/e2e/flood")


def pack(messages):
    return b"".join(struct.pack("=I", len(m)) + m for m in messages)


def initiations(public, n=4000):
    """A good mac1 and nothing else right."""
    return [peer.with_macs(struct.pack("<II", peer.INITIATION, i) + os.urandom(108), public)
            for i in range(n)]


class Site:
    """A tunnel whose end b is flooded from a's side, and what is checked meanwhile."""

    def __init__(self, lab):
        if not os.path.exists(TOOL):
            skip("tests/e2e/flood was not built")
        self.lab = lab
        self.tunnel = Tunnel(lab)
        self.a, self.b = self.tunnel.a, self.tunnel.b
        self.b.ns.run("ip", "route", "add", "10.0.0.0/9", "via", "192.0.2.1")
        self.public = base64.b64decode(self.b.keys.public)
        self.flood_process = None
        self.before = self.status()
        self.stream_once(1)  # the session is there

    def status(self):
        """memory_use, memory_bound and so on, as numbers."""
        with uapi_connect(self.b.ifname) as s:
            s.sendall(b"status=1\n\n")
            text = b""
            while not text.endswith(b"\n\n"):
                text += s.recv(65536)
        lines = (line.split("=", 1) for line in text.decode().split("\n") if "=" in line)
        return {k: int(v) for k, v in lines if v.isdigit()}

    # what an honest user does

    def stream_once(self, seconds):
        """Mbit/s of a paced stream through the session."""
        server = self.b.ns.popen("iperf3", "-s", "-1", "-B", self.b.v4, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        try:
            check(wait_until(lambda: ":5201" in self.b.ns.out("ss", "-ltn")), "no iperf3 server")
            out = self.a.ns.out("iperf3", "-c", self.b.v4, "-u", "-b", f"{STREAM_MBIT}M", "-l",
                                1300, "-t", seconds, "-J", timeout=seconds + 20)
        finally:
            server.kill()
            server.wait()
        end = json.loads(out)["end"]["sum"]
        return end["bits_per_second"] * (1 - end["lost_percent"] / 100) / 1e6

    def new_peer(self):
        """A neighbour with a key of its own, known to b; seconds until it is connected."""
        private = peer.new_private()
        public = peer.public_of(private)
        wg("set", self.b.ifname, "peer", base64.b64encode(public).decode(), "allowed-ips",
           "10.200.0.1/32")
        udp = Udp(self.a.ns, "192.0.2.1")
        cookie, start, sent = None, time.monotonic(), {}
        with contextlib.closing(udp):
            while time.monotonic() - start < 4 * CONNECT_SEC:
                i = peer.Initiation(private, self.public, stamp=peer.tai64n_now(), cookie=cookie)
                sent[i.index] = i
                udp.send(i.message, ("192.0.2.2", self.b.port))
                end = time.monotonic() + ATTEMPT_SEC
                while (d := udp.recv(end - time.monotonic())) is not None:
                    if peer.kind_of(d.data) == peer.RESPONSE:
                        return time.monotonic() - start, cookie is not None
                    if peer.kind_of(d.data) == peer.COOKIE_REPLY:
                        index, = struct.unpack_from("<I", d.data, 4)
                        _, cookie = peer.open_cookie_reply(d.data, self.public, sent[index].mac1)
        return None, cookie is not None

    def show(self):
        """The slowest of some `wg show`."""
        times = []
        for _ in range(5):
            start = time.monotonic()
            wg_out("show", self.b.ifname, timeout=30)
            times.append(time.monotonic() - start)
            time.sleep(0.2)
        return max(times)

    # the flood

    def start_flood(self, messages, mode="spoof", rate=RATE, seconds=FLOOD_SEC):
        path = self.lab.path("messages")
        with open(path, "wb") as f:
            f.write(pack(messages))
        with open(path, "rb") as f:
            self.flood_process = self.a.ns.popen(TOOL, "192.0.2.2", self.b.port, rate, seconds,
                                                 mode, stdin=f, stdout=subprocess.PIPE, text=True)

    def end_flood(self):
        out, _ = self.flood_process.communicate(timeout=FLOOD_SEC + 20)
        return int(out)

    def memory_within(self, rss_before):
        status = self.status()
        grown = (self.b.daemon.rss_kib() - rss_before) * 1024
        check(status["memory_use"] <= status["memory_bound"],
              f"{status['memory_use']} bytes in use, bound {status['memory_bound']}")
        check(grown <= status["memory_bound"], f"RSS grew by {grown}, bound "
              f"{status['memory_bound']}")
        return grown


def under_flood(lab, messages_of, mode="spoof", rate=RATE, wants_load=False):
    """All checks of one kind of flood; @messages_of gets the site."""
    site = Site(lab)
    calm = site.stream_once(2)
    rss = site.b.daemon.rss_kib()
    site.start_flood(messages_of(site), mode, rate)
    time.sleep(0.5)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        stream = pool.submit(site.stream_once, 3)
        show = pool.submit(site.show)
        connected, with_cookie = site.new_peer()
        kept, shown = stream.result(), show.result()
    grown = site.memory_within(rss)
    sent = site.end_flood()
    print(f"# {sent / FLOOD_SEC:.0f}/s sent; {calm:.0f} Mbit/s before, {kept:.0f} during; new peer "
          f"after {connected or -1:.2f} s{' with a cookie' * with_cookie}; wg show {shown:.2f} s; "
          f"RSS +{grown >> 10} KiB", flush=True)
    check(sent > rate * FLOOD_SEC / 4, f"the flooder managed {sent} only")
    check(kept >= SHARE * calm, f"the session kept {kept:.0f} of {calm:.0f} Mbit/s")
    check(connected is not None and connected <= CONNECT_SEC, f"a new peer after {connected} s")
    check(shown <= SHOW_SEC, f"wg show took {shown:.2f} s")
    if wants_load:
        check(with_cookie, "the flood was no load")
        time.sleep(CALM_SEC + 0.1)
        connected, with_cookie = site.new_peer()
        check(connected is not None and not with_cookie, "cookies are asked for a second later")


@case("initiations_with_mac1", timeout=60)
def _(lab):
    under_flood(lab, lambda site: initiations(site.public), wants_load=True)


@case("garbage", timeout=60)
def _(lab):
    under_flood(lab, lambda site: [os.urandom(1 + i % 1400) for i in range(4000)])


@case("empty", timeout=60)
def _(lab):
    under_flood(lab, lambda site: [b""])


@case("oversized", timeout=60)
def _(lab):
    """Each is some 40 fragments: what a CPU can send."""
    under_flood(lab, lambda site: [struct.pack("<I", 1 + i % 4) + os.urandom(60000)
                                   for i in range(16)], "plain", 300)


@case("cookie_replies", timeout=60)
def _(lab):
    under_flood(lab, lambda site: [struct.pack("<I", peer.COOKIE_REPLY) + os.urandom(60)
                                   for _ in range(4000)])


def recorded(site):
    """Data messages of the session as they passed the link, small ones."""
    with site.a.ns.enter():
        link = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    link.settimeout(0.2)
    ping = site.a.ns.popen("ping", "-q", "-i", "0.002", "-c", "300", site.b.v4,
                           stdout=subprocess.DEVNULL)
    got = []
    with link, contextlib.suppress(TimeoutError):
        while len(got) < 250:
            packet, source = link.recvfrom(65536)
            payload = packet[28:]
            if source[2] == PACKET_OUTGOING and packet[9] == 17 and payload[:4] == b"\4\0\0\0":
                got.append(payload)
    ping.wait()
    check(len(got) > 50, f"recorded {len(got)} messages")
    return got


@case("replayed_data", timeout=60)
def _(lab):
    under_flood(lab, recorded)


@case("uapi_connections", timeout=60)
def _(lab):
    """Idle ones, half requests, and as many new ones as there can be."""
    site = Site(lab)
    calm = site.stream_once(2)
    rss = site.b.daemon.rss_kib()
    code = f"""
import socket, time
end, path, kept, n = time.monotonic() + {FLOOD_SEC}, {socket_path(site.b.ifname)!r}, [], 0
while time.monotonic() < end:
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(1)
    try:
        s.connect(path)
        s.sendall(b"set=1\\npublic_key=" if n % 2 else b"get=1\\n\\n" * 20)
    except OSError:
        pass
    kept.append(s)
    n += 1
    if len(kept) > 40:
        kept.pop(0).close()
print(n)
"""
    flood = subprocess.Popen(["python3", "-c", code], stdout=subprocess.PIPE, text=True)
    lab.adopt(flood)
    time.sleep(0.5)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        stream = pool.submit(site.stream_once, 3)
        shown = site.show()
        connected, _ = site.new_peer()
        kept = stream.result()
    grown = site.memory_within(rss)
    n = int(flood.communicate(timeout=20)[0])
    print(f"# {n / FLOOD_SEC:.0f} connections/s; {calm:.0f} Mbit/s before, {kept:.0f} during; "
          f"new peer after {connected or -1:.2f} s; wg show {shown:.2f} s; RSS +{grown >> 10} KiB",
          flush=True)
    check(n > 500, f"{n} connections are no flood")
    check(kept >= SHARE * calm, f"the session kept {kept:.0f} of {calm:.0f} Mbit/s")
    check(connected is not None and connected <= CONNECT_SEC, f"a new peer after {connected} s")
    check(shown <= SHOW_SEC, f"wg show took {shown:.2f} s")


if __name__ == "__main__":
    if not shutil.which("iperf3"):
        print("skip all: no iperf3")
        raise SystemExit(77)
    main()

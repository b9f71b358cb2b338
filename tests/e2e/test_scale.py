#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
# Runs alone: it measures, or counts what a busy machine delays.
"""Thousands of peers on one device: configuration, memory, idle time, connecting, removal under
traffic. The limits are many times what a quiet machine needs; bench/scale measures exactly, and
next to others."""

import glob
import json
import os
import re
import subprocess
import time

from lib.netns import ringtun_bin, uapi_connect, wait_until
from lib.report import case, check, equal, main, skip
from lib.traffic import Flow
from lib.tunnel import Tunnel, wg_out

N = 10000
LEFT_KIB = 2048  # aimed at, of 10000 peers that are gone: their table of keys, pages in part in use


def transact(ifname, text):
    with uapi_connect(ifname, 60) as s:
        s.sendall(text.encode())
        parts = []
        while not b"".join(parts[-2:]).endswith(b"\n\n"):
            data = s.recv(1 << 20)
            check(data, "the daemon hung up")
            parts.append(data)
    reply = b"".join(parts).decode()
    check(reply.endswith("errno=0\n\n"), f"the daemon answered {reply[-40:]!r}")
    return reply


def timed(*args):
    start = time.monotonic()
    reply = transact(*args)
    return time.monotonic() - start, reply


def sections(n, ips=1):
    lines = []
    for i in range(n):
        lines.append(f"public_key={os.urandom(32).hex()}")
        lines += [f"allowed_ip=fd00::{k:x}:{i >> 16:x}:{i & 65535:x}/128" for k in range(ips)]
    return "\n".join(lines) + "\n"


def cpu(daemon):
    total = 0
    for path in glob.glob(f"/proc/{daemon.pid}/task/*/schedstat"):
        with open(path) as f:
            total += int(f.read().split()[0])
    return total / 1e9


def configured(lab):
    ns = lab.netns()
    daemon = ns.daemon()
    transact(daemon.ifname, f"set=1\nprivate_key={os.urandom(32).hex()}\n\n")
    ns.run("ip", "link", "set", daemon.ifname, "up")
    return daemon


def at_most(limit, what, measure):
    """The best of some tries: a busy machine may spoil one."""
    best = min(measure() for _ in range(3))
    check(best <= limit, f"{what}: {best:.4f}, limit {limit}")


@case("10000_peers", timeout=60)
def _(lab):
    daemon = configured(lab)
    before = daemon.rss_kib()
    text = sections(N)
    at_most(0.3, "seconds of one set", lambda: timed(
        daemon.ifname, f"set=1\nreplace_peers=true\n{text}\n")[0])
    time.sleep(0.5)
    check(daemon.rss_kib() - before <= 2 * 4 * N, "KB per idle peer, with those just replaced: "
          f"{(daemon.rss_kib() - before) / N:.1f}")
    at_most(0.05, "seconds of get", lambda: timed(daemon.ifname, "get=1\n\n")[0])
    keys = [k for k in transact(daemon.ifname, "get=1\n\n").split("\n") if k[:10] == "public_key"]
    equal(len(keys), N, "peers")
    at_most(0.001, "seconds of one change", lambda: timed(
        daemon.ifname, f"set=1\n{keys[N // 2]}\nupdate_only=true\nendpoint=192.0.2.9:1\n\n")[0])
    used = cpu(daemon)
    time.sleep(3)
    check(cpu(daemon) - used < 0.005 * 3, f"idle: {cpu(daemon) - used:.3f} s of CPU in 3 s")


@case("idle_peer_takes_4_kb")
def _(lab):
    daemon = configured(lab)
    before = daemon.rss_kib()
    transact(daemon.ifname, f"set=1\n{sections(N)}\n")
    time.sleep(0.5)
    per_peer = (daemon.rss_kib() - before) / N
    check(0.5 < per_peer <= 4, f"{per_peer:.2f} KB")


@case("65536_peers_of_10_allowed_ips", timeout=90)
def _(lab):
    daemon = configured(lab)
    transact(daemon.ifname, f"set=1\n{sections(65536, 10)}\n")
    reply = transact(daemon.ifname, "get=1\n\n")
    equal((reply.count("public_key="), reply.count("allowed_ip=")), (65536, 655360), "dump")
    dump = wg_out("show", daemon.ifname, "dump", timeout=60)
    equal(len(dump.split("\n")), 65537, "lines of wg show dump")


def connect(lab, n):
    """@n peers at once, each from an address of its own; what the crowd printed, and the daemon."""
    crowd = os.path.join(os.path.dirname(ringtun_bin()), "../../bench/crowd/ringtun-bench-crowd")
    if not os.path.exists(crowd):
        skip("bench/crowd was not built")
    t = Tunnel(lab, up=False)
    peers = subprocess.run([crowd, "config", "--peers", str(n)], stdout=subprocess.PIPE, text=True,
                           check=True).stdout
    t.b.configure(t.b.interface_section(), peers)
    t.b.up()
    t.a.ns.run("ip", "route", "add", "local", "198.18.0.0/15", "dev", "lo")
    t.b.ns.run("ip", "route", "add", "198.18.0.0/15", "via", "192.0.2.1")
    out = t.a.ns.out(crowd, "run", "--peers", n, "--gateway", "192.0.2.2:51820", "--key",
                     t.b.keys.public, "--window", 0, "--limit", 20)
    return json.loads(out.strip().split("\n")[-1]), t.b.daemon


@case("1500_peers_at_once", timeout=90)
def _(lab):
    """A machine that is busy with other things may have to ask for cookies: best of three."""
    seconds = []
    for _ in range(3):
        found, daemon = connect(lab, 1500)
        equal(found["handshakes"], 1500, "peers that connected")
        seconds.append(found["handshake_seconds"])
        steps = sum(int(line.split("=")[1]) for line in
                    transact(daemon.ifname, "status=1\n\n").split("\n") if "dh_steps=" in line)
        check(steps > 100, f"workers took {steps} steps only")
        if found["handshake_seconds"] <= 0.5:
            equal(found["cookies"], 0, "cookies for an honest storm")
            return
    check(False, f"connected after {seconds} s, limit 0.5")


@case("removal_under_traffic_leaks_nothing", timeout=60)
def _(lab):
    """And what the peers took goes back to the system, where jemalloc is the allocator."""
    t = Tunnel(lab)
    with Flow(t.a.ns, t.b.ns, t.a.v4, t.b.v4, rate=1000) as flow:
        check(wait_until(lambda: len(flow.arrivals) > 1000, 15), "no traffic")
        before, used = t.b.daemon.rss_kib(), []
        for _ in range(6):
            transact(t.b.ifname, f"set=1\n{sections(N)}\n")
            full = t.b.daemon.rss_kib()
            transact(t.b.ifname, "set=1\nreplace_peers=true\n\n")
            t.b.configure(t.b.interface_section(), t.b.peer_section(t.a))
            wait_until(lambda: t.b.daemon.rss_kib() <= before + LEFT_KIB, 3, 0.1)
            used.append(t.b.daemon.rss_kib())
        n = len(flow.arrivals)
        check(wait_until(lambda: len(flow.arrivals) > n + 100, 15), "traffic does not go on")
    print(f"# {before} KiB, {full} with {N} peers more, then {used}")
    with open(f"/proc/{t.b.daemon.pid}/maps", encoding="ascii", errors="replace") as f:
        maps = f.read()
    # A sanitizer keeps what was freed, and its notes on that; soak is about what remains.
    check(used[-1] <= used[1] + 1024 or re.search("lib[at]san", maps), f"grows: {used} KiB")
    if "jemalloc" in maps:
        check(full > before + N, f"{before} KiB, only {full} with {N} peers")
        # Against before up to 8 MB may remain, once and not per round; what holds them is not found yet.
        check(used[-1] <= full - N, f"{full} KiB with {N} peers, {used} after removal")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
# Runs alone: it measures, or counts what a busy machine delays.
"""The daemon under test (RINGTUN_BIN) against wireguard-go, against itself, and against
boringtun-cli and gotatun-cli when BORINGTUN_CLI and GOTATUN_CLI name them: handshakes in both
directions, both families outside and inside, packets of every size, roaming, key changes, MTUs."""

import contextlib
import json
import os
import shutil
import time

from lib import netns, report, traffic
from lib.report import case, check, equal
from lib.tunnel import INNER4, End, Keys, Tunnel, peers, random_key, wg

OURS = netns.ringtun_bin()
SIZES = [*range(0, 3000), *range(3000, 65507, 97), *range(65480, 65508)]


class Partner:
    """Another implementation and how to start it in the foreground."""

    def __init__(self, name, binary, args=("-f",)):
        self.name, self.binary, self.args = name, binary, args


def partners():
    """Those that are here. One line says so for each of the others."""
    rust = ("-f", "--disable-drop-privileges")
    found = [SELF]
    for name, binary, args, reason in (
            ("wireguard-go", netns.wireguard_go_bin(), ("-f",), "not installed"),
            ("boringtun", os.environ.get("BORINGTUN_CLI"), rust, "BORINGTUN_CLI is not set"),
            ("gotatun", os.environ.get("GOTATUN_CLI"), rust, "GOTATUN_CLI is not set")):
        if binary:
            found.append(Partner(name, shutil.which(binary) or binary, args))
        else:
            case(f"interop {name}")(lambda lab, why=reason: report.skip(why))
    return found


SELF = Partner("itself", OURS)
PARTNERS = partners()
KERNEL_LIKE = [p for p in PARTNERS if p.name in ("itself", "wireguard-go")]


def tunnel(lab, partner, ours_first=True, **kw):
    """A tunnel whose .a initiates: we do, or the partner does. @kw may hold extra_a for .a."""
    sides = {"binary_a": OURS, "binary_b": partner.binary, "args_b": partner.args}
    if not ours_first:
        sides = {"binary_b": OURS, "binary_a": partner.binary, "args_a": partner.args}
    return Tunnel(lab, **sides, **kw)


def expect_all_pings(ns, address, count=3, **kw):
    p = traffic.ping(ns, address, count, **kw)
    check(p.sent == count and p.received == count, f"{p.received} of {count} pings from {address}")


def expect_transfer(source, destination, address, n_bytes):
    error = traffic.tcp_transfer(source.ns, destination.ns, address, n_bytes)
    check(not error, f"TCP to {address}: {error}")


def expect_counters_agree(a, b):
    """What one side sent the other received, handshake and keepalives included."""
    def agree():
        pa, pb = a.peer(), b.peer()
        return (pa.tx, pa.rx) == (pb.rx, pb.tx)
    check(netns.wait_until(agree, 2), f"tx, rx here {a.peer().tx}, {a.peer().rx};"
          f" rx, tx there {b.peer().rx}, {b.peer().tx}")


# Every combination of partner, initiator, outer family and pre-shared key

def basic(partner, ours_first, outer, psk):
    def run(lab):
        t = tunnel(lab, partner, ours_first, outer=outer, psk=psk)
        expect_all_pings(t.a.ns, t.b.v4)  # the first one waited for the handshake: P-242
        expect_all_pings(t.b.ns, t.a.v6)
        for end in (t.a, t.b):
            check(abs(end.peer().handshake - time.time()) < 5, "no handshake time")
        if partner in KERNEL_LIKE:  # others count differently
            expect_counters_agree(t.a, t.b)
        expect_transfer(t.a, t.b, t.b.v4, 2 << 20)
        expect_transfer(t.b, t.a, t.a.v6, 2 << 20)
    return run


for _partner in PARTNERS:
    for _ours_first in (True, False) if _partner is not SELF else (True,):
        for _outer in (4, 6):
            for _psk in (False, True):
                case(f"P-040..P-074 {_partner.name},"
                     f" {'we initiate' if _ours_first else 'it initiates'},"
                     f" IPv{_outer} outside, {'with' if _psk else 'without'} psk")(
                         basic(_partner, _ours_first, _outer, _psk))


# Packet sizes

def sizes(partner, outer, inner):
    def run(lab):
        t = tunnel(lab, partner, outer=outer)
        expect_all_pings(t.a.ns, t.b.v4)
        for x, y in ((t.a, t.b), (t.b, t.a)):
            missing = traffic.udp_sizes(x.ns, y.ns, x.address(inner), y.address(inner), SIZES)
            check(not missing, f"not delivered whole: {missing[:20]} ({len(missing)} sizes)")
        for size in (0, 1, 1392, 1393, 8192, 65507):
            expect_all_pings(t.a.ns, t.b.address(inner), size=size)
    return run


for _partner in PARTNERS:
    for _outer, _inner in ((4, 4), (6, 6), (4, 6)):
        case(f"P-260 P-263 {_partner.name}, sizes 0 to 65507, IPv{_inner} in IPv{_outer}",
             timeout=60)(sizes(_partner, _outer, _inner))


# iperf3

def iperf(end_a, end_b, *options):
    """One second of iperf3; the end section of its report."""
    server = end_b.ns.popen("iperf3", "-s", "-1", "-B", end_b.v4, stdout=-3, stderr=-3)
    netns.wait_until(lambda: ":5201" in end_b.ns.out("ss", "-Hltn"), 5, 0.05)
    r = end_a.ns.run("iperf3", "-c", end_b.v4, "-t", 1, "-J", *options, check=False, timeout=20)
    server.wait(5)
    result = json.loads(r.stdout or "{}")
    check("error" not in result and r.returncode == 0, f"iperf3: {result.get('error', r.stderr)}")
    return result["end"]


def iperf_both_ways(partner):
    def run(lab):
        if not shutil.which("iperf3"):
            report.skip("iperf3 is not installed")
        t = tunnel(lab, partner)
        expect_all_pings(t.a.ns, t.b.v4)
        for options in ((), ("-R",), ("-P", "4")):
            rate = iperf(t.a, t.b, *options)["sum_received"]["bits_per_second"]
            check(rate > 20e6, f"TCP {options}: {rate / 1e6:.1f} Mbit/s")
        for options in (("-l", "1300"), ("-l", "64", "-b", "2M"), ("-R", "-l", "1300")):
            udp = iperf(t.a, t.b, "-u", "-b", "20M", *options)["sum"]
            check(udp["packets"] > 0 and udp["lost_percent"] < 2,
                  f"UDP {options}: {udp['lost_packets']} of {udp['packets']} lost")
    return run


for _partner in PARTNERS:
    case(f"iperf3 TCP and UDP both ways, {_partner.name}")(iperf_both_ways(_partner))


# Steady flow: order and loss

def steady(partner):
    # Others have the kernel's default receive buffer: some 250 datagrams while they get no CPU.
    rate = 1000 if partner is SELF else 250

    def run(lab):
        t = tunnel(lab, partner)
        expect_all_pings(t.a.ns, t.b.v4)
        with traffic.Flow(t.a.ns, t.b.ns, t.a.v4, t.b.v4, rate=rate) as there, \
                traffic.Flow(t.b.ns, t.a.ns, t.b.v6, t.a.v6, rate=rate, size=1300) as back:
            time.sleep(1)
        check(not there.verdict(), f"there: {there.verdict()}")
        check(not back.verdict(), f"back: {back.verdict()}")
    return run


for _partner in PARTNERS:
    case(f"P-147 pitfall 54 nothing lost, doubled or reordered, {_partner.name}")(steady(_partner))


# Roaming

def move_address(end, old, new, dev="veth0"):
    """Replaces an address as a DHCP client does: the new one first."""
    family = "-6" if ":" in new else "-4"
    nodad = ("nodad",) if ":" in new else ()
    prefix = 64 if ":" in new else 24
    end.ns.sysctl("net.ipv4.conf.all.promote_secondaries", 1)  # else the new one goes as well
    end.ns.run("ip", family, "addr", "add", f"{new}/{prefix}", "dev", dev, *nodad)
    end.ns.run("ip", family, "addr", "del", f"{old}/{prefix}", "dev", dev)


def expect_endpoint(end, wanted):
    check(netns.wait_until(lambda: end.peer().endpoint == wanted, 3, 0.05),
          f"endpoint {end.peer().endpoint}, expected {wanted}")


def expect_recovered(flow, max_gap):
    check(flow.gap() < max_gap, f"no packet for {flow.gap():.2f} s")
    tail = [n for n in range(flow.sent - 100, flow.sent) if n not in flow.arrivals]
    check(not tail, f"{len(tail)} of the last 100 packets lost")


def roam(partner, ours_first, outer):
    def run(lab):
        t = tunnel(lab, partner, ours_first, outer=outer)
        expect_all_pings(t.a.ns, t.b.v4)
        old, new = ("192.0.2.1", "192.0.2.77") if outer == 4 else ("2001:db8::1", "2001:db8::77")
        shown = f"[{new}]" if outer == 6 else new
        with traffic.Flow(t.a.ns, t.b.ns, t.a.v4, t.b.v4) as there, \
                traffic.Flow(t.b.ns, t.a.ns, t.b.v4, t.a.v4) as back:
            time.sleep(0.3)
            move_address(t.a, old, new)
            expect_endpoint(t.b, f"{shown}:51820")
            time.sleep(0.3)
            wg("set", t.a.ifname, "listen-port", 50123)
            expect_endpoint(t.b, f"{shown}:50123")
            time.sleep(0.5)
        for flow in (there, back):
            expect_recovered(flow, 1.0)
    return run


for _partner in KERNEL_LIKE:
    for _ours_first in (True, False) if _partner is not SELF else (True,):
        for _outer in (4, 6):
            if not _ours_first and _outer == 4:
                continue  # wireguard-go keeps sending from the address that is gone
            case(f"P-340 P-342 P-364 {_partner.name}, {'we move' if _ours_first else 'it moves'}"
                 f" to another address, then port, IPv{_outer}")(
                     roam(_partner, _ours_first, _outer))


@case("P-343 pitfall 83 endpoint of a peer set from IPv4 to IPv6 and back under traffic")
def move_family(lab):
    t = tunnel(lab, SELF)
    expect_all_pings(t.a.ns, t.b.v4)
    with traffic.Flow(t.a.ns, t.b.ns, t.a.v4, t.b.v4) as flow:
        for endpoint, seen in (("[2001:db8::2]:51820", "[2001:db8::1]:51820"),
                               ("192.0.2.2:51820", "192.0.2.1:51820")):
            time.sleep(0.3)
            wg("set", t.a.ifname, "peer", t.b.keys.public, "endpoint", endpoint)
            expect_endpoint(t.b, seen)
        time.sleep(0.4)
    check(not flow.verdict(), flow.verdict())


@case("pitfall 83 two peers of different families in alternation")
def two_families(lab):
    t = tunnel(lab, SELF)
    third = lab.netns()
    lab.link(t.a.ns, third, "veth1", "veth0", net=1)
    c = End(third, 3, OURS, ("-f",))
    c.configure(c.interface_section(), c.peer_section(t.a, endpoint="[2001:db8:1::1]:51820"))
    c.up()
    wg("set", t.a.ifname, "peer", c.keys.public, "endpoint", "[2001:db8:1::2]:51820",
       "allowed-ips", f"{c.v4}/32,{c.v6}/128")
    t.a.ns.run("ip", "addr", "add", f"{INNER4}1/24", "dev", t.a.ifname, check=False)
    for address in (t.b.v4, c.v4):
        expect_all_pings(t.a.ns, address)
    with traffic.Flow(t.a.ns, t.b.ns, t.a.v4, t.b.v4) as over4, \
            traffic.Flow(t.a.ns, c.ns, t.a.v6, c.v6) as over6:
        time.sleep(1)
    check(not over4.verdict(), f"IPv4 peer: {over4.verdict()}")
    check(not over6.verdict(), f"IPv6 peer: {over6.verdict()}")


# Sticky source

def second_address(ns, outer):
    address = "192.0.2.22" if outer == 4 else "2001:db8::22"
    ns.run("ip", "addr", "add", address + ("/24" if outer == 4 else "/64"), "dev", "veth0",
           *(("nodad",) if outer == 6 else ()))
    return address


def sticky(outer):
    def run(lab):
        t = tunnel(lab, SELF, outer=outer, up=False)
        address = second_address(t.b.ns, outer)
        shown = f"[{address}]:51820" if outer == 6 else f"{address}:51820"
        wg("set", t.a.ifname, "peer", t.b.keys.public, "endpoint", shown)
        t.b.up()
        t.a.up()
        expect_all_pings(t.a.ns, t.b.v4)
        expect_transfer(t.a, t.b, t.b.v4, 4 << 20)  # bulk: receive offload coalesces
        equal(t.a.peer().endpoint, shown, "endpoint after replies")
    return run


for _outer in (4, 6):
    case(f"P-345 pitfall 84 replies leave from the address that was asked, IPv{_outer}")(
        sticky(_outer))


def sticky_gone(outer):
    def run(lab):
        t = tunnel(lab, SELF, outer=outer, up=False)
        address = second_address(t.b.ns, outer)
        shown = f"[{address}]:51820" if outer == 6 else f"{address}:51820"
        wg("set", t.a.ifname, "peer", t.b.keys.public, "endpoint", shown)
        t.b.up()
        t.a.up()
        expect_all_pings(t.a.ns, t.b.v4)
        with traffic.Flow(t.b.ns, t.a.ns, t.b.v4, t.a.v4) as flow:
            time.sleep(0.3)
            prefix = 24 if outer == 4 else 64
            t.b.ns.run("ip", "addr", "del", f"{address}/{prefix}", "dev", "veth0")
            expect_endpoint(t.a, t.outer_endpoint(t.b).replace(":0::", "::"))
            time.sleep(0.5)
        expect_recovered(flow, 0.5)
        expect_all_pings(t.a.ns, t.b.v4)
    return run


for _outer in (4, 6):
    case(f"P-347 pitfalls 66 85 the sticky source address goes away, IPv{_outer}")(
        sticky_gone(_outer))


# Keys

def new_private_key(partner, ours_first):
    def run(lab):
        t = tunnel(lab, partner, ours_first, both_endpoints=True)
        expect_all_pings(t.a.ns, t.b.v4)
        old, t.a.keys = t.a.keys, Keys()
        with traffic.Flow(t.a.ns, t.b.ns, t.a.v4, t.b.v4) as flow:
            time.sleep(0.2)
            wg("set", t.b.ifname, "peer", old.public, "remove", "peer", t.a.keys.public,
               "allowed-ips", f"{t.a.v4}/32,{t.a.v6}/128", "endpoint", t.outer_endpoint(t.a))
            wg("set", t.a.ifname, "private-key", "/dev/stdin", stdin=t.a.keys.private)
            time.sleep(1)
        expect_recovered(flow, 1.0)
        equal(list(peers(t.b.ifname)), [t.a.keys.public], "peers")
    return run


for _partner in KERNEL_LIKE:
    for _ours_first in (True, False) if _partner is not SELF else (True,):
        case(f"P-380 pitfall 13 {_partner.name}, {'our' if _ours_first else 'its'}"
             " private key changes under traffic")(new_private_key(_partner, _ours_first))


@case("P-391 pitfall 14 a psk change keeps the session and rules the next handshake", timeout=40)
def psk_change(lab):
    t = tunnel(lab, SELF, both_endpoints=True)
    expect_all_pings(t.a.ns, t.b.v4)
    before = t.a.peer().handshake
    psk = random_key()
    with traffic.Flow(t.a.ns, t.b.ns, t.a.v4, t.b.v4) as flow:
        time.sleep(0.2)
        wg("set", t.a.ifname, "peer", t.b.keys.public, "preshared-key", "/dev/stdin", stdin=psk)
        time.sleep(0.2)
    check(not flow.verdict(), flow.verdict())
    equal(t.a.peer().handshake, before, "time of handshake")
    # Down and up ends the session. The other side has no psk yet: no handshake may succeed.
    t.a.ns.run("sh", "-c", f"ip link set {t.a.ifname} down; ip link set {t.a.ifname} up")
    equal(traffic.ping(t.a.ns, t.b.v4, count=2, wait=1).received, 0, "pings with unequal psk")
    wg("set", t.b.ifname, "peer", t.a.keys.public, "preshared-key", "/dev/stdin", stdin=psk)
    check(traffic.reaches(t.a.ns, t.b.v4, 8), "no handshake with equal psk")
    check(t.a.peer().handshake > before, "handshake time did not move")


# Keepalive

def keepalive(partner):
    def run(lab):
        t = tunnel(lab, partner, extra_a="PersistentKeepalive = 1\n")
        check(netns.wait_until(lambda: t.b.peer().rx >= 180, 3, 0.02),
              f"P-246 no handshake and keepalive on link up: rx {t.b.peer().rx}")
        start = t.b.peer().rx
        time.sleep(3.3)
        got = t.b.peer().rx - start
        check(got in (64, 96, 128), f"{got} bytes in 3.3 s, expected three keepalives of 32")
        wg("set", t.a.ifname, "peer", t.b.keys.public, "persistent-keepalive", 0)
        time.sleep(1.1)  # one may have been due at this moment
        start = t.b.peer().rx
        time.sleep(1.5)
        equal(t.b.peer().rx, start, "rx_bytes after keepalive was switched off")
    return run


for _partner in KERNEL_LIKE:
    case(f"P-204 P-246 pitfall 82 persistent keepalive, {_partner.name}")(keepalive(_partner))


@case("P-245 keepalive from 0 to non-zero connects at once")
def keepalive_set(lab):
    t = tunnel(lab, SELF)
    time.sleep(0.2)
    equal(t.b.peer().rx, 0, "P-442 rx_bytes without any cause")
    wg("set", t.a.ifname, "peer", t.b.keys.public, "persistent-keepalive", 60)
    check(netns.wait_until(lambda: t.b.peer().rx == 180, 1, 0.02), f"rx {t.b.peer().rx}")
    equal(t.b.peer().tx, 92, "P-422 tx_bytes of the responder")


# MTU

def mtu_step(t, mtu):
    for end in (t.a, t.b):
        end.ns.run("ip", "link", "set", end.ifname, "mtu", mtu)
        if mtu >= 1280:
            end.ns.run("ip", "-6", "addr", "replace", f"{end.v6}/64", "dev", end.ifname, "nodad")
    for x, y in ((t.a, t.b), (t.b, t.a)):
        wanted = [mtu - 28, mtu - 29, mtu - 60, 0]  # the longest at once: no stale MTU
        wanted += range(7, mtu - 28, mtu // 40)
        missing = traffic.udp_sizes(x.ns, y.ns, x.v4, y.v4, wanted)
        check(not missing, f"MTU {mtu}: not delivered whole: {missing}")
    if mtu >= 1280:
        expect_all_pings(t.a.ns, t.b.v6, size=mtu - 48)
    expect_transfer(t.a, t.b, t.b.v4, 1 << 20)


def mtus(partner):
    def run(lab):
        t = tunnel(lab, partner)
        expect_all_pings(t.a.ns, t.b.v4)
        for mtu in (576, 1280, 9000, 1420, 65475, 1420):
            mtu_step(t, mtu)
    return run


for _partner in KERNEL_LIKE:
    case(f"P-260 P-261 pitfall 63 MTU 576 1280 1420 9000 65475 live, {_partner.name}", timeout=60)(
        mtus(_partner))


@case("P-261 U-084 MTU 68 and 65535")
def mtu_extremes(lab):
    t = tunnel(lab, SELF)
    expect_all_pings(t.a.ns, t.b.v4)
    for mtu in (68, 65535):
        for end in (t.a, t.b):
            end.ns.run("ip", "link", "set", end.ifname, "mtu", mtu)
        for x, y in ((t.a, t.b), (t.b, t.a)):
            limit = min(mtu, 65472) - 28  # 65472: the longest that padding leaves sendable
            missing = traffic.udp_sizes(x.ns, y.ns, x.v4, y.v4, [0, 1, limit - 1, limit])
            check(not missing, f"MTU {mtu}: not delivered whole: {missing}")
    # Longer than any UDP datagram: dropped, and the next packet passes.
    with contextlib.closing(traffic.udp_socket(t.a.ns, t.a.v4)) as s:
        s.sendto(bytes(65507), (t.b.v4, 9))
    expect_all_pings(t.a.ns, t.b.v4)


@case("P-305 pitfall 44 outer link of MTU 1280 under a tunnel of 1420")
def small_outer(lab):
    t = tunnel(lab, SELF, link_mtu=1280, mtu=1420)
    expect_all_pings(t.a.ns, t.b.v4, size=1392)
    for x, y in ((t.a, t.b), (t.b, t.a)):
        missing = traffic.udp_sizes(x.ns, y.ns, x.v4, y.v4, range(1000, 1500))
        check(not missing, f"not delivered whole: {missing[:20]}")
        expect_transfer(x, y, y.v4, 4 << 20)


# Simultaneous start

@case("P-073 both sides start at the same moment: a session within 6 s", timeout=40)
def simultaneous(lab):
    for _ in range(2):
        t = tunnel(lab, SELF, both_endpoints=True)
        # Slow enough for the staging queue, and out of step, so that the second attempts differ.
        with traffic.Flow(t.a.ns, t.b.ns, t.a.v4, t.b.v4, rate=20) as there, \
                traffic.Flow(t.b.ns, t.a.ns, t.b.v4, t.a.v4, rate=17) as back:
            done = netns.wait_until(lambda f=there, g=back: f.arrivals and g.arrivals, 6)
            time.sleep(0.2)
        if done:  # else the retries collided as well, which chance allows once
            check(not there.verdict(), f"there: {there.verdict()}")
            check(not back.verdict(), f"back: {back.verdict()}")
            return
    report.check(False, "twice no session within 6 s")


if __name__ == "__main__":
    report.main()

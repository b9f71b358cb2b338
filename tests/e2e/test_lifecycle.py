#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""How the daemon under test (RINGTUN_BIN) ends, and what it does when the interface, namespaces,
ports and addresses around it change: sections 6 and 7 of the UAPI specification."""

import contextlib
import errno
import os
import re
import resource
import signal
import socket
import time

from lib import confine, netns, report, traffic
from lib.life import expect_alive, expect_clean, expect_exit, set_link
from lib.netns import has_socket, socket_answers, socket_path, uapi_connect, wait_until
from lib.report import case, check, equal
from lib.tunnel import End, Tunnel, peers, wg, wg_out


def udp_ports(ns):
    """Local ports of the UDP sockets in a namespace: {4: [...], 6: [...]}."""
    ports = {4: [], 6: []}
    for line in ns.out("ss", "-Hanu").splitlines():
        address, port = line.split()[3].rsplit(":", 1)
        ports[6 if "[" in address else 4].append(int(port))
    return ports


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


# The end

def ended_by_signal(sig, state):
    def run(lab):
        t = Tunnel(lab, up=state != "down")
        flow = contextlib.nullcontext()
        if state == "traffic":
            check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
            flow = traffic.Flow(t.a.ns, t.b.ns, t.a.v4, t.b.v4)
        with flow:
            time.sleep(0.1)
            status, seconds = t.b.daemon.stop(sig)
        equal(status, 0, "exit status")
        check(seconds < 1, f"took {seconds:.2f} s")
        expect_clean(t.b.ns, t.b.ifname)
    return run


for _sig in (signal.SIGTERM, signal.SIGINT):
    for _state in ("down", "up", "traffic"):
        case(f"U-070 {_sig.name} ends it within 1 s, interface {_state}")(
            ended_by_signal(_sig, _state))


@case("U-070 pitfall 5 SIGTERM with stalled clients")
def sigterm_with_clients(lab):
    ns = lab.netns()
    d = ns.daemon()
    with contextlib.ExitStack() as stack:
        for text in (b"", b"set=1\n", b"get=1\n", b"set=1\nprivate_key="):
            stack.enter_context(uapi_connect(d.ifname)).sendall(text)
        status, seconds = d.stop()
    equal(status, 0, "exit status")
    check(seconds < 1, f"took {seconds:.2f} s")
    expect_clean(ns, d.ifname)


@case("U-070 SIGTERM to the background process")
def sigterm_background(lab):
    ns = lab.netns()
    d = ns.background()
    equal(d.status, 0, "status of the parent")
    os.kill(d.pid, signal.SIGTERM)
    check(wait_until(lambda: not d.alive(), 1), "still running after 1 s")
    expect_clean(ns, d.ifname)


@case("U-071 pitfall 60 ip link delete ends it, socket first")
def link_delete(lab):
    for up in (False, True):
        ns = lab.netns()
        d = ns.daemon()
        if up:
            set_link(ns, d.ifname, "up")
        ns.run("ip", "link", "delete", "dev", d.ifname)
        start = time.monotonic()
        check(wait_until(lambda x=d: not has_socket(x.ifname), 1, 0.001), "socket still there")
        seconds = time.monotonic() - start
        check(seconds < 0.1, f"the socket was there for {seconds * 1000:.0f} ms")
        expect_exit(d)


@case("U-071 ip link delete under traffic")
def link_delete_traffic(lab):
    t = Tunnel(lab)
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    with traffic.Flow(t.b.ns, t.a.ns, t.b.v4, t.a.v4, rate=2000):
        time.sleep(0.2)
        t.a.ns.run("ip", "link", "delete", "dev", t.a.ifname)
        expect_exit(t.a.daemon)
    expect_clean(t.a.ns, t.a.ifname)


@case("U-072 pitfall 61 socket file deleted")
def socket_deleted(lab):
    ns = lab.netns()
    d = ns.daemon()
    lab.uapi(d.ifname, "get=1\n\n")  # an answer: the start is over
    os.unlink(socket_path(d.ifname))
    expect_exit(d)
    expect_clean(ns, d.ifname)


@case("U-072 U-005 socket file replaced: it ends and leaves the other one alone")
def socket_replaced(lab):
    ns = lab.netns()
    d = ns.daemon()
    other = f"{netns.SOCKET_DIR}/{d.ifname}.other"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(other)
        s.listen(4)
        os.rename(other, socket_path(d.ifname))
        expect_exit(d)
        check(socket_answers(d.ifname), "the other socket was deleted")
    check(not ns.has_link(d.ifname), "interface still there")


@case("U-072 other files in the directory do not matter")
def unrelated_files(lab):
    ns = lab.netns()
    d = ns.daemon()
    for name in (f"{d.ifname}x.sock", f"{d.ifname}.sock.old", f"x{d.ifname}.sock"):
        path = f"{netns.SOCKET_DIR}/{name}"
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            os.rename(path, path + ".tmp")
            os.unlink(path + ".tmp")
    expect_alive(d)


@case("U-076 SIGHUP, SIGPIPE and SIGCHLD are ignored")
def ignored_signals(lab):
    d = lab.netns().daemon()
    for sig in (signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
        d.process.send_signal(sig)
    expect_alive(d)


@case("U-078 U-066 kill -9: no interface, and the next start takes the stale socket over")
def kill_9(lab):
    ns = lab.netns()
    d = ns.daemon()
    d.stop(signal.SIGKILL)  # the kernel may take a moment to close what was in flight
    check(wait_until(lambda: not ns.has_link(d.ifname), 1), "interface still there")
    if not has_socket(d.ifname):  # any `wg show` on this machine deletes a stale one
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(socket_path(d.ifname))
    again = ns.daemon(d.ifname)
    expect_alive(again, 0)
    equal(again.stop()[0], 0, "exit status")
    expect_clean(ns, d.ifname)


# Up and down

@case("P-362 P-361 sockets exist while the interface is up, the port stays")
def sockets_follow_link(lab):
    ns = lab.netns()
    d = ns.daemon()
    wg("set", d.ifname, "private-key", "/dev/stdin", stdin=wg_out("genkey"))
    time.sleep(0.2)
    equal(udp_ports(ns), {4: [], 6: []}, "UDP sockets before the first up")
    ports = set()
    for _ in range(3):
        set_link(ns, d.ifname, "up")
        check(wait_until(lambda: udp_ports(ns)[4] and udp_ports(ns)[6], 1), "no sockets when up")
        ports.add(int(wg_out("show", d.ifname, "listen-port")))
        equal({p for family in udp_ports(ns).values() for p in family}, ports, "ports in use")
        set_link(ns, d.ifname, "down")
        check(wait_until(lambda: udp_ports(ns) == {4: [], 6: []}, 1), "sockets while down")
    wg("set", d.ifname, "listen-port", 45678)
    time.sleep(0.1)
    equal(udp_ports(ns), {4: [], 6: []}, "UDP sockets after a port change while down")
    set_link(ns, d.ifname, "up")
    check(wait_until(lambda: 45678 in udp_ports(ns)[4] and 45678 in udp_ports(ns)[6], 1),
          f"port 45678 is not bound: {udp_ports(ns)}")


@case("U-074 P-400 P-401 P-424 down and up: session gone, statistics and endpoint kept")
def down_up(lab):
    t = Tunnel(lab)
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    before = t.b.peer()
    set_link(t.b.ns, t.b.ifname, "down")
    time.sleep(0.2)
    equal(traffic.ping(t.a.ns, t.b.v4, count=1, wait=1).received, 0, "answers while down")
    kept = t.b.peer()
    for field in ("endpoint", "handshake", "rx", "tx"):
        equal(getattr(kept, field), getattr(before, field), field)
    set_link(t.b.ns, t.b.ifname, "up")
    # the old session is gone: only the side that is down has forgotten it, so it initiates
    check(traffic.reaches(t.b.ns, t.a.v4, 3), "no traffic after up")
    after = t.b.peer()
    check(after.tx >= before.tx + 148, "no new handshake")


@case("U-074 pitfall 62 two hundred times down and up under traffic; no descriptor leaks",
      timeout=60)
def flap(lab):
    t = Tunnel(lab, both_endpoints=True)
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    before = t.a.daemon.fds()
    rss = t.a.daemon.rss_kib()
    with traffic.Flow(t.a.ns, t.b.ns, t.a.v4, t.b.v4), \
            traffic.Flow(t.b.ns, t.a.ns, t.b.v4, t.a.v4):
        t.a.ns.run("sh", "-ec", f"""for i in $(seq 200); do
            ip link set {t.a.ifname} down; ip link set {t.a.ifname} up; done""")
    check(traffic.reaches(t.a.ns, t.b.v4, 8), "no traffic afterwards")
    time.sleep(0.3)
    after = t.a.daemon.fds()
    check(len(after) <= len(before) + 1,
          f"{len(before)} descriptors before, {len(after)} after: {sorted(after.values())}")
    check(t.a.daemon.rss_kib() < rss + 8192, f"RSS {rss} KiB -> {t.a.daemon.rss_kib()} KiB")


@case("no descriptor leaks over 300 connections and 50 port changes")
def leaks(lab):
    ns = lab.netns()
    d = ns.daemon()
    set_link(ns, d.ifname, "up")
    wg("set", d.ifname, "private-key", "/dev/stdin", stdin=wg_out("genkey"))
    before = d.fds()
    for i in range(300):
        uapi_connect(d.ifname).close()
        if i % 6 == 0:
            lab.uapi(d.ifname, f"set=1\nlisten_port={40000 + i}\n\n")
    time.sleep(0.3)
    after = d.fds()
    check(len(after) <= len(before), f"{len(before)} before, {len(after)} after")


@case("U-075 renamed: runs on, the socket keeps its name, up and down are followed")
def rename(lab):
    t = Tunnel(lab)
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    new = lab.ifname()
    set_link(t.a.ns, t.a.ifname, "down")
    set_link(t.a.ns, t.a.ifname, "name", new)
    expect_alive(t.a.daemon, 0.2)
    check(not has_socket(new), "the socket was renamed")
    set_link(t.a.ns, new, "mtu", 1300, "up")
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic after renaming")
    missing = traffic.udp_sizes(t.a.ns, t.b.ns, t.a.v4, t.b.v4, [1272, 1200, 0])
    check(not missing, f"not delivered: {missing}")
    t.a.ns.run("ip", "link", "delete", "dev", new)
    expect_exit(t.a.daemon)
    check(not has_socket(t.a.ifname), "socket still there")


# Other namespaces

def moved(lab):
    """A tunnel whose .a interface lives in the namespace .inside, its sockets where they were."""
    t = Tunnel(lab)
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    t.inside = lab.netns()
    set_link(t.a.ns, t.a.ifname, "netns", t.inside.name)
    t.outside, t.a.ns = t.a.ns, t.inside
    return t


@case("U-073 P-368 P-402 pitfall 64 moved to another namespace: up, mtu, down, up, delete there")
def move_netns(lab):
    t = moved(lab)
    expect_alive(t.a.daemon)
    t.a.up()
    check(traffic.reaches(t.inside, t.b.v4), "no traffic from the other namespace")
    equal(udp_ports(t.inside), {4: [], 6: []}, "UDP sockets in the other namespace")
    check(51820 in udp_ports(t.outside)[4], "no UDP socket in the namespace of the start")
    for end in (t.a, t.b):
        set_link(end.ns, end.ifname, "mtu", 4000)
    missing = traffic.udp_sizes(t.inside, t.b.ns, t.a.v4, t.b.v4, [3972, 3000, 0])
    check(not missing, f"not delivered with MTU 4000: {missing}")
    set_link(t.inside, t.a.ifname, "down")
    check(wait_until(lambda: 51820 not in udp_ports(t.outside)[4], 1), "sockets while down")
    expect_alive(t.a.daemon, 0)
    set_link(t.inside, t.a.ifname, "up")
    check(traffic.reaches(t.inside, t.b.v4), "no traffic after down and up there")
    t.inside.run("ip", "link", "delete", "dev", t.a.ifname)
    expect_exit(t.a.daemon)
    check(not has_socket(t.a.ifname), "socket still there")


@case("U-073 moved there and back")
def move_back(lab):
    t = moved(lab)
    set_link(t.inside, t.a.ifname, "netns", t.outside.name)
    t.a.ns = t.outside
    expect_alive(t.a.daemon)
    t.a.up()
    check(traffic.reaches(t.outside, t.b.v4), "no traffic")


@case("U-077 namespace of the interface deleted")
def netns_deleted(lab):
    t = moved(lab)
    netns.delete_namespace(t.inside.name)
    lab.namespaces.remove(t.inside)
    expect_exit(t.a.daemon, 3.0)  # the kernel takes a namespace apart in the background
    check(not has_socket(t.a.ifname), "socket still there")


# Ports

@case("P-363 pitfalls 18 80 busy port: errno, and the old sockets work on under traffic")
def busy_port(lab):
    t = Tunnel(lab)
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    before = t.b.peer().handshake
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        with t.b.ns.socket(family) as s:
            if family == socket.AF_INET6:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            s.bind((address, 40404))
            with traffic.Flow(t.a.ns, t.b.ns, t.a.v4, t.b.v4) as flow:
                for _ in range(3):
                    equal(lab.uapi(t.b.ifname, "set=1\nlisten_port=40404\n\n"),
                          f"errno=-{errno.EADDRINUSE}", "reply")
                    equal(lab.uapi(t.b.ifname, "set=1\nlisten_port=51820\n\n"), "errno=0", "reply")
                time.sleep(0.2)
            check(not flow.verdict(), flow.verdict())
            equal(wg_out("show", t.b.ifname, "listen-port"), "51820", "listen port")
    equal(t.b.peer().handshake, before, "time of handshake")


@case("pitfall 18 a second daemon can not share the port of the first")
def second_daemon(lab):
    t = Tunnel(lab)
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    d = t.b.ns.daemon()
    set_link(t.b.ns, d.ifname, "up")
    equal(lab.uapi(d.ifname, "set=1\nlisten_port=51820\n\n"), f"errno=-{errno.EADDRINUSE}",
          "reply")
    p = traffic.ping(t.a.ns, t.b.v4, count=20)
    equal(p.received, 20, "pings answered by the first")


@case("P-361 pitfall 20 random port that is free for IPv4 and IPv6")
def random_port(lab):
    ns = lab.netns()
    ns.sysctl("net.ipv4.ip_local_port_range", "40000 40007")
    with contextlib.ExitStack() as stack:
        for port in range(40000, 40007):
            s = stack.enter_context(ns.socket(socket.AF_INET6))
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            s.bind(("::", port))
        d = ns.daemon()
        set_link(ns, d.ifname, "up")
        check(wait_until(lambda: wg_out("show", d.ifname, "listen-port") == "40007", 2),
              f"listen port {wg_out('show', d.ifname, 'listen-port')}, only 40007 is free")


# Poor hosts

@case("P-360 pitfall 19 no IPv6 at all (EAFNOSUPPORT): traffic, port stable over down and up")
def no_ipv6(lab):
    if not confine.supported():
        report.skip("no seccomp filter for this machine")
    t = Tunnel(lab, up=False)
    t.a.daemon.stop()
    t.a.daemon = t.a.ns.daemon(t.a.ifname, preexec_fn=confine.deny(
        "socket", errno.EAFNOSUPPORT, socket.AF_INET6))
    wg("setconf", t.a.ifname, t.a.conf)
    equal(lab.uapi(t.a.ifname, "set=1\nlisten_port=0\n\n"), "errno=0", "listen_port=0")
    t.b.up()
    t.a.up()
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    port = wg_out("show", t.a.ifname, "listen-port")
    check(int(port) > 0, "no port")
    for _ in range(3):
        time.sleep(0.05)  # P-056: the peer takes no second initiation within 20 ms
        set_link(t.a.ns, t.a.ifname, "down")
        set_link(t.a.ns, t.a.ifname, "up")
        check(traffic.reaches(t.a.ns, t.b.v4), "no traffic after down and up")
        equal(wg_out("show", t.a.ifname, "listen-port"), port, "port after down and up")
    check(int(port) in udp_ports(t.a.ns)[4], "the port is not bound")
    equal(lab.uapi(t.a.ifname, "set=1\nlisten_port=40001\n\n"), "errno=0", "listen_port=40001")
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic after a port change")


@case("pitfall 19 IPv6 disabled by sysctl")
def ipv6_disabled(lab):
    t = Tunnel(lab, up=False)
    for end in (t.a, t.b):
        end.ns.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
        end.ns.run("sh", "-ec", f"ip link set {end.ifname} up;"
                   f"ip addr add {end.v4}/24 dev {end.ifname}")
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")


@case("P-340 P-360 IPv6 sockets work after IPv6 was switched on again")
def ipv6_later(lab):
    t = Tunnel(lab, up=False, outer=6)
    for end in (t.a, t.b):
        end.ns.sysctl("net.ipv6.conf.veth0.disable_ipv6", 1)
    t.b.up()
    t.a.up()
    time.sleep(0.1)
    for end in (t.a, t.b):
        end.ns.sysctl("net.ipv6.conf.veth0.disable_ipv6", 0)
        end.ns.run("ip", "addr", "replace", f"2001:db8::{end.host}/64", "dev", "veth0", "nodad")
    check(traffic.reaches(t.a.ns, t.b.v4, 8), "no traffic")


def without_io_uring(error):
    def run(lab):
        if not confine.supported():
            report.skip("no seccomp filter for this machine")
        t = Tunnel(lab, up=False)
        t.a.daemon.stop()
        t.a.daemon = t.a.ns.daemon(t.a.ifname,
                                   preexec_fn=confine.deny("io_uring_setup", error))
        wg("setconf", t.a.ifname, t.a.conf)
        t.b.up()
        t.a.up()
        check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
        problem = traffic.tcp_transfer(t.a.ns, t.b.ns, t.b.v4, 1 << 20)
        check(not problem, f"TCP: {problem}")
    return run


for _error in (errno.EPERM, errno.ENOSYS):
    case(f"pitfall 55 io_uring answers {errno.errorcode[_error]}")(without_io_uring(_error))


@case("pitfall 55 RLIMIT_MEMLOCK and RLIMIT_NOFILE as on a small host")
def small_limits(lab):
    t = Tunnel(lab, up=False)
    t.a.daemon.stop()
    t.a.daemon = t.a.ns.daemon(t.a.ifname, preexec_fn=lambda: (
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536)),
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))))
    wg("setconf", t.a.ifname, t.a.conf)
    t.b.up()
    t.a.up()
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")


# Idle

@case("pitfall 60 P-442 an idle daemon uses no CPU time and sends nothing, up or down")
def idle(lab):
    t = Tunnel(lab)
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    for state in ("up", "down"):
        set_link(t.a.ns, t.a.ifname, state)
        time.sleep(0.5)
        before, tx = cpu_ticks(t.a.daemon.pid), t.a.peer().tx
        time.sleep(1.5)
        used = cpu_ticks(t.a.daemon.pid) - before
        check(used <= 3, f"{used} ticks in 1.5 s while {state}")
        equal(t.a.peer().tx, tx, f"tx_bytes while {state} and idle")


@case("pitfall 59 twenty thousand idle peers use no CPU time", timeout=60)
def many_idle_peers(lab):
    t = Tunnel(lab)
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    for first in range(0, 20000, 5000):
        lab.uapi(t.a.ifname, "set=1\n" + "".join(
            f"public_key={n + (1 << 200):064x}\nallowed_ip=fd00:{n:x}::/32\n"
            for n in range(first, first + 5000)) + "\n", timeout=20)
    equal(len(peers(t.a.ifname)), 20001, "peers")
    time.sleep(1)
    before = cpu_ticks(t.a.daemon.pid)
    time.sleep(3)
    used = cpu_ticks(t.a.daemon.pid) - before
    check(used <= 2, f"{used} ticks of 10 ms in 3 s")  # 1 % of a core is 3


@case("P-017 P-406 a new interface: point to point, no ARP, MTU 1420, no link-local address")
def new_interface(lab):
    ns = lab.netns()
    d = ns.daemon()
    text = ns.out("ip", "link", "show", "dev", d.ifname)
    for word in ("POINTOPOINT", "NOARP", "mtu 1420"):
        check(word in text, f"{word} not in {text!r}")
    set_link(ns, d.ifname, "up")
    time.sleep(0.2)
    addresses = ns.out("ip", "-6", "addr", "show", "dev", d.ifname)
    check(not re.search(r"inet6 fe80", addresses), f"link-local address: {addresses}")


@case("U-066 the UDP sockets and the interface vanish with a crashed daemon; the peer lives on")
def crash(lab):
    t = Tunnel(lab, both_endpoints=True)
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    t.a.daemon.stop(signal.SIGKILL)
    check(wait_until(lambda: not t.a.ns.has_link(t.a.ifname), 1), "interface still there")
    t.a = replacement(t)
    check(traffic.reaches(t.a.ns, t.b.v4, 3), "no traffic with the daemon started again")


def replacement(t):
    """The same end with a new daemon in the same namespace."""
    end = End.__new__(End)
    end.__dict__.update(t.a.__dict__)
    end.daemon = t.a.ns.daemon(t.a.ifname)
    wg("setconf", end.ifname, end.conf)
    end.up()
    return end


if __name__ == "__main__":
    report.main()

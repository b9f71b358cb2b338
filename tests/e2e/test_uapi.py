#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The configuration socket: transactions, every error and its sign, the get reply, clients that
misbehave and large configurations (sections 1 to 5 of the UAPI specification)."""

import contextlib
import os
import random
import signal
import stat
import threading
import time

from lib import netns
from lib import wgpeer as wg
from lib import wgpeer_uapi as uapi
from lib.netns import wait_until
from lib.report import check as ensure
from lib.report import equal
from lib.wgpeer_check import check, main
from lib.wgpeer_rig import FAR4
from lib.wgpeer_uapi import Client, section
from lib.wgpeer_udp import Udp

EINVAL, EPROTO, EADDRINUSE = 22, 71, 98
KEY = "ab" * 32
ZERO = "00" * 32


def public(n):
    """A public key that only has to be different for each @n."""
    return bytes([9]) + n.to_bytes(4, "big") + bytes(26) + b"\x05"


def refused(rig, lines, errno):
    """A `set` with @lines fails with -@errno and changes nothing."""
    before = rig.get().lines
    equal(rig.transact(f"set=1\n{lines}\n"), f"errno=-{errno}", f"reply to {lines!r}")
    equal(rig.get().lines, before, f"get after {lines!r}")


def taken(rig, lines):
    equal(rig.transact(f"set=1\n{lines}\n"), "errno=0", f"reply to {lines!r}")


# Socket

@check("U-001 U-002 path, type and mode of the socket", up=False, known=True)
def socket_file(rig):
    st = os.lstat(f"/var/run/wireguard/{rig.ifname}.sock")
    ensure(stat.S_ISSOCK(st.st_mode), "not a socket")
    equal(stat.S_IMODE(st.st_mode), 0o600, "mode")
    equal(st.st_uid, os.geteuid(), "owner")
    equal([n for n in os.listdir("/var/run/wireguard") if rig.ifname in n], [f"{rig.ifname}.sock"],
          "files of this interface")


@check("U-003 the socket never refuses while it has its name", up=False, known=True)
def never_refuses(rig):
    for _ in range(10):
        d = rig.host.daemon(wait=False)
        while True:
            try:
                netns.uapi_connect(d.ifname).close()
                break
            except FileNotFoundError:
                ensure(d.alive(), "the daemon ended early")
        d.stop()


@check("U-006 connections without data", up=False, known=True)
def empty_connections(rig):
    for _ in range(200):
        Client(rig.ifname).close()
    for _ in range(20):
        with Client(rig.ifname) as c:
            c.end_of_input()
            ensure(c.closed(), "not closed after end of input")
    rig.get()
    ensure(len(rig.daemon.log()) < 500, "it logs connections without data")


@check("U-007 stalled clients hold up nobody", known=True)
def stalled(rig):
    p = rig.peer()
    session = p.connect()
    clients = [rig.own(Client(rig.ifname)) for _ in range(12)]
    beginnings = ("", "g", "get=1", "get=1\n", "set=1\n", "set=1\nlisten_port=",
                  "set=1\nlisten_port=7\n", f"set=1\npublic_key={KEY}\nallowed_ip=10.0.0.0/8\n")
    for n, c in enumerate(clients):
        c.send(beginnings[n % len(beginnings)])
    start = time.monotonic()
    rig.get()
    rig.set("fwmark=5\n")
    rig.set("fwmark=0\n")
    ensure(time.monotonic() - start < 1, "get and set took more than a second")
    rig.works(p, session)
    equal(rig.get().device["listen_port"], str(rig.port), "listen_port")


@check("U-007 U-070 SIGTERM ends the daemon in a second, stalled clients or not", up=False,
       known=True)
def stalled_at_the_end(rig):
    for text in ("", "get=1\n", "set=1\n", "set=1\nfwmark=7\n"):
        rig.own(Client(rig.ifname)).send(text)
    rig.may_end = True
    status, seconds = rig.daemon.stop(signal.SIGTERM)
    equal(status, 0, "exit status")
    ensure(seconds < 1, f"took {seconds:.1f} s")


def many_peers(first, n):
    return "".join(section(public(i), f"allowed_ip=10.{i >> 16}.{i >> 8 & 255}.{i & 255}/32")
                   for i in range(first, first + n))


@check("U-007 a client that does not read its replies is dropped and holds up nobody", waits=True,
       known=True)
def never_reads(rig):
    rig.set(many_peers(0, 2000))
    with Client(rig.ifname) as c:
        c.socket.setblocking(False)
        try:
            while True:
                c.socket.send(b"get=1\n\n" * 100)
                time.sleep(0.001)
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            pass
        for _ in range(15):
            start = time.monotonic()
            rig.get()
            ensure(time.monotonic() - start < 2, "get of another client took two seconds")
            time.sleep(1)
        got, c.rest = 0, b""
        c.socket.settimeout(3)
        try:
            while chunk := c.socket.recv(1 << 20):
                got += len(chunk)
                ensure(got < 64 << 20, "it still replies")
        except (ConnectionResetError, BrokenPipeError):
            pass


@check("U-008 hundreds of connections")
def hundreds(rig):
    clients = []
    for _ in range(300):
        try:
            clients.append(rig.own(Client(rig.ifname)))
        except (ConnectionError, BlockingIOError):
            break
    served = 0
    for c in clients[:64]:
        try:
            served += c.transact("set=1\n\n") == "errno=0"
        except OSError:
            pass
    ensure(served >= 48, f"{served} of the first 64 connections are served")
    for c in clients:
        c.close()

    def served_again():
        try:
            return uapi.transact(rig.ifname, "set=1\n\n") == "errno=0"
        except OSError:
            return False
    ensure(wait_until(served_again, 3), "not served after all others were closed")
    ensure(wait_until(lambda: sum("socket:" in t for t in rig.daemon.fds().values()) < 40, 3),
           "descriptors of closed connections are left")


@check("U-007 U-008 whoever only holds connections open shuts out nobody")
def held_open(rig):
    for n in range(90):  # more than are served
        c = rig.own(Client(rig.ifname))
        if n % 2:
            with contextlib.suppress(OSError):  # refused already
                c.send("set=1\nlisten_port=9\nfwm")

    def served():
        with contextlib.suppress(OSError):
            return uapi.transact(rig.ifname, "set=1\n\n") == "errno=0"
        return False
    ensure(wait_until(served, 4), "shut out")
    for _ in range(5):
        ensure(served(), "shut out again")
    ensure("listen_port=9" not in rig.get().lines, "half a transaction was carried out")


@check("U-008 64 clients at work at the same time")
def busy_clients(rig):
    problems = []

    def client(n):
        try:
            with Client(rig.ifname, 20) as c:
                for k in range(10):
                    if c.transact(f"set=1\n{section(public(n), f'allowed_ip=10.{n}.{k}.0/24')}\n",
                                  20) != "errno=0":
                        problems.append(f"client {n}: set")
                    uapi.parse(c.transact("get=1\n\n", 20))
        except Exception as e:  # pylint: disable=broad-except
            problems.append(f"client {n}: {e}")
    threads = [threading.Thread(target=client, args=(n,)) for n in range(48)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    equal(problems, [], "problems")
    state = rig.get()
    equal(len(state.peers), 48, "peers")
    ensure(all(len(p["allowed_ip"]) == 10 for p in state.peers.values()), "allowed IPs got lost")


# Transactions

@check("U-010 U-028 replies end with errno and an empty line", up=False)
def replies(rig):
    with Client(rig.ifname) as c:
        equal(c.transact("set=1\n\n"), "errno=0", "reply to an empty set")
        ensure(c.transact("get=1\n\n").endswith("\nerrno=0"), "reply to get")
        equal(c.transact("set=1\nfwmark=1\n\n"), "errno=0", "reply to a set")


@check("U-011 many transactions on one connection", up=False)
def sequence(rig):
    with Client(rig.ifname) as c:
        for n in range(1, 100):
            equal(c.transact(f"set=1\nfwmark={n}\n\n"), "errno=0", "set")
            equal(uapi.parse(c.transact("get=1\n\n")).device["fwmark"], str(n), "fwmark")


@check("U-011 pipelined transactions are answered in order", up=False, known=True)
def pipelined(rig):
    with Client(rig.ifname) as c:
        c.send("".join(f"set=1\nfwmark={n}\n\nget=1\n\nset=1\nfwmark=x\n\n" for n in range(1, 51)))
        for n in range(1, 51):
            equal(c.reply(), "errno=0", f"reply to set {n}")
            equal(uapi.parse(c.reply()).device["fwmark"], str(n), "fwmark")
            equal(c.reply(), "errno=-22", "reply to a bad set")
        c.end_of_input()
        ensure(c.closed(), "not closed after end of input")


@check("U-011 byte by byte", up=False)
def bytewise(rig):
    with Client(rig.ifname) as c:
        for b in f"set=1\n{section(public(1), 'allowed_ip=10.0.0.0/8')}\n".encode():
            c.send(bytes([b]))
            time.sleep(0.001)
        equal(c.reply(), "errno=0", "reply to set")
        for b in b"get=1\n\n":
            c.send(bytes([b]))
            time.sleep(0.001)
        equal(uapi.parse(c.reply()).peer(public(1))["allowed_ip"], ["10.0.0.0/8"], "allowed_ip")


@check("U-011 cut at every place", up=False, known=True)
def cut_anywhere(rig):
    text = f"set=1\n{section(public(1), 'endpoint=192.0.2.9:1')}\nget=1\n\n".encode()
    with Client(rig.ifname) as c:
        for at in range(1, len(text)):
            c.send(text[:at])
            time.sleep(0.001)
            c.send(text[at:])
            equal(c.reply(), "errno=0", f"reply to set cut at {at}")
            equal(uapi.parse(c.reply()).peer(public(1))["endpoint"], "192.0.2.9:1", "endpoint")


@check("U-013 unknown operations: EPROTO, then it closes", up=False, known=True)
def bad_operations(rig):
    for line in ("get=2", "set=2", "set=0", "", "get=1\r", "set=1\r", "GET=1", "get=1 ", " get=1",
                 "get", "=", "get=", "foo=1", "public_key=" + KEY, "get=01", "\0", "ge\0t=1"):
        with Client(rig.ifname) as c:
            equal(c.transact(line + "\n"), "errno=-71", f"reply to {line!r}")
            ensure(c.closed(), f"not closed after {line!r}")
    rig.get()


@check("U-014 U-018 get with further lines: EINVAL, positive", up=False, known=True)
def get_with_lines(rig):
    with Client(rig.ifname) as c:
        for lines in ("foo=bar\n", "private_key=\nx\n", "errno=0\n" * 50):
            equal(c.transact(f"get=1\n{lines}\n"), "errno=22", f"reply to get with {lines!r}")
        uapi.parse(c.transact("get=1\n\n"))


@check("U-015 P-395 end of file before the empty line: nothing applied, nothing answered", up=False,
       known=True)
def end_of_file(rig):
    before = rig.get().lines
    for text in ("set=1\nfwmark=7\n", "set=1\nfwmark=7", "set=1", "set=1\n",
                 f"set=1\nlisten_port=9\n{section(public(1), 'allowed_ip=10.0.0.0/8')}",
                 "get=1\n", "get=1"):
        with Client(rig.ifname) as c:
            c.send(text)
            c.end_of_input()
            equal(c.reply(), None, f"reply to {text!r}")
        with Client(rig.ifname) as c:
            c.send(text)
    time.sleep(0.1)
    equal(rig.get().lines, before, "get")


@check("U-016 U-017 a line of more than 4096 bytes: EPROTO, the connection lives on", up=False,
       known=True)
def long_lines(rig):
    with Client(rig.ifname) as c:
        for line in ("listen_port=" + "0" * 5000 + "7", "x" * 5000, "=" * 100_000,
                     "allowed_ip=" + "1" * 1_000_000):
            equal(c.transact(f"set=1\nfwmark=9\n{line}\nfwmark=8\n\n"), "errno=-71",
                  f"reply to a line of {len(line)} bytes")
            ensure("fwmark" not in uapi.parse(c.transact("get=1\n\n")).device, "fwmark was applied")
        equal(c.transact("set=1\nfwmark=" + "0" * 4000 + "6\n\n"), "errno=0", "line of 4008 bytes")
        equal(uapi.parse(c.transact("get=1\n\n")).device["fwmark"], "6", "fwmark")


@check("U-016 P-480 an endless line costs no memory", up=False, alone=True, known=True)
def endless_line(rig):
    before = rig.daemon.rss_kib()
    with Client(rig.ifname, 20) as c:
        c.send("set=1\n")
        try:
            for _ in range(64):
                c.send(b"x" * (1 << 20))
        except OSError:
            pass
        grown = rig.daemon.rss_kib() - before
        ensure(grown < 16 << 10, f"{grown} KiB more after a line of 64 MiB")
    rig.get()


@check("U-017 after an error it reads on to the empty line and keeps the connection", up=False,
       known=True)
def error_then_more(rig):
    with Client(rig.ifname) as c:
        for bad in ("foo=bar", "fwmark=x", "listen_port=65536"):
            lines = f"{bad}\n" + many_peers(0, 500)
            c.send("set=1\n" + lines)
            c.socket.settimeout(0.2)
            try:
                early = c.socket.recv(1)
            except TimeoutError:
                early = None
            equal(early, None, "reply before the empty line")
            equal(c.transact("\n"), "errno=-22", f"reply to {bad!r} and 1000 further lines")
        equal(c.transact("set=1\nfwmark=3\n\n"), "errno=0", "the next set")


@check("U-018 wg prints the error", known=True)
def wg_prints(rig):
    holder = rig.own(Udp(rig.host, "0.0.0.0", 7001))
    rig.get()
    r = rig.host.run("wg", "set", rig.ifname, "listen-port", holder.port, check=False)
    equal((r.returncode, r.stderr.strip()),
          (1, "Unable to modify interface: Address already in use"), "wg set with a busy port")
    r = rig.host.run("wg", "show", rig.ifname, "listen-port")
    equal(r.stdout.strip(), str(rig.port), "wg show")


@check("U-019 U-022 P-395 a malformed transaction changes nothing", up=False, known=True)
def all_or_nothing(rig):
    rig.set(section(public(1), "allowed_ip=10.1.0.0/16", "persistent_keepalive_interval=5"))
    for bad in ("foo=1", "allowed_ip=10.0.0.0/33", "preshared_key=12", "remove=false", "x"):
        refused(rig, f"private_key={KEY}\nfwmark=9\nlisten_port=4000\nreplace_peers=true\n"
                f"{section(public(2), 'allowed_ip=10.1.0.0/16')}{section(public(1), 'remove=true')}"
                f"{section(public(3), bad)}", EPROTO if bad == "x" else EINVAL)


# Values

@check("U-012 keys are case-sensitive, white space is not stripped", up=False, known=True)
def exact_text(rig):
    for line in ("Fwmark=1", "FWMARK=1", " fwmark=1", "fwmark =1", "fwmark= 1", "fwmark=1 ",
                 "fwmark=1\r", "fwmark=\t1", "fwmark==1", "fwmark=1=1", "replace_peers=True",
                 "replace_peers=true ", "replace_peers= true", "=1", "=", "fwmark=1\0"):
        refused(rig, line + "\n", EINVAL)


@check("U-020 hexadecimal keys", up=False)
def hex_keys(rig):
    taken(rig, f"private_key={'AbCd' * 16}\n{section(public(1), 'preshared_key=' + 'EF' * 32)}")
    state = rig.get()
    clamped = bytearray.fromhex("abcd" * 16)
    clamped[0] &= 248
    clamped[31] = clamped[31] & 127 | 64
    equal(state.device["private_key"], clamped.hex(), "private_key")
    equal(state.peer(public(1))["preshared_key"], "ef" * 32, "preshared_key")
    taken(rig, f"public_key={public(1).hex().upper()}\npersistent_keepalive_interval=3\n")
    equal(len(rig.get().peers), 1, "peers")
    for bad in ("", "ab", "a" * 63, "a" * 65, "a" * 66, "g" + "a" * 63, "a" * 63 + " ",
                "0x" + "a" * 62, "-" + "a" * 63, "a" * 62 + "\0\0", "a" * 128):
        refused(rig, f"private_key={bad}\n", EINVAL)
        refused(rig, f"public_key={bad}\n", EINVAL)
        refused(rig, section(public(1), f"preshared_key={bad}"), EINVAL)


NOT_DECIMAL = ("", "-1", "+1", "0x1", "1.0", " 1", "1 ", "off", "1e3", "a", "1a", "1,0", "٣")


@check("U-021 U-022 decimals", up=False, known=True)
def decimals(rig):
    for key, top in (("listen_port", 65535), ("fwmark", 4294967295)):
        for good in ("0", str(top), "00", "0007", "0" * 50 + "9"):
            taken(rig, f"{key}={good}\n")
            equal(rig.get().device.get(key, "0"), str(int(good)), f"{key}={good}")
        for bad in (*NOT_DECIMAL, str(top + 1), "18446744073709551616", "9" * 40):
            refused(rig, f"{key}={bad}\n", EINVAL)
    key = "persistent_keepalive_interval"
    for good in ("0", "65535", "007"):
        taken(rig, section(public(1), f"{key}={good}"))
        equal(rig.state_of(public(1))[key], str(int(good)), key)
    for bad in (*NOT_DECIMAL, "65536", "4294967296"):
        refused(rig, section(public(1), f"{key}={bad}"), EINVAL)


@check("U-022 keys that do not exist or stand in the wrong place", up=False, known=True)
def misplaced(rig):
    for line in ("foo=bar", "publickey=" + KEY, "public_keys=" + KEY, "listen_ports=1", "get=1",
                 "set=1", "errno=0", "tx_bytes=0", "last_handshake_time_sec=0",
                 "own_public_key=" + KEY):
        refused(rig, line + "\n", EINVAL)
        refused(rig, section(public(1), line), EINVAL)
    for line in ("preshared_key=" + KEY, "endpoint=192.0.2.1:1", "allowed_ip=10.0.0.0/8",
                 "persistent_keepalive_interval=1", "remove=true", "update_only=true",
                 "replace_allowed_ips=true"):
        refused(rig, line + "\n", EINVAL)
    for line in ("private_key=" + KEY, "listen_port=7", "fwmark=7", "replace_peers=true"):
        refused(rig, section(public(1), line), EINVAL)


@check("U-022 protocol_version is 1, before and after public_key", up=False, known=True)
def protocol_version(rig):
    taken(rig, "protocol_version=1\n")
    taken(rig, section(public(1), "protocol_version=1"))
    for bad in ("0", "2", "", "x"):
        refused(rig, f"protocol_version={bad}\n", EINVAL)
        refused(rig, section(public(1), f"protocol_version={bad}"), EINVAL)


@check("U-022 true and nothing else", up=False, known=True)
def only_true(rig):
    for value in ("false", "1", "yes", "", "TRUE", "tru", "truee"):
        refused(rig, f"replace_peers={value}\n", EINVAL)
        for key in ("remove", "update_only", "replace_allowed_ips"):
            refused(rig, section(public(1), f"{key}={value}"), EINVAL)


@check("U-022 endpoints", up=False)
def endpoints(rig):
    for text, shown in (("192.0.2.1:51820", None), ("192.0.2.1:0", None), ("0.0.0.0:65535", None),
                        ("[2001:db8::1]:51820", None), ("[::]:1", None),
                        ("[2001:DB8:0:0::0:1]:00051820", "[2001:db8::1]:51820")):
        taken(rig, section(public(1), f"endpoint={text}"))
        equal(rig.state_of(public(1))["endpoint"], shown or text, "endpoint")
    for bad in ("", "192.0.2.1", "192.0.2.1:", ":51820", "192.0.2.1:65536", "192.0.2.1:-1",
                "192.0.2.1:x", "192.0.2.256:1", "192.0.2:1", "example.com:1", "localhost:1",
                "2001:db8::1:51820", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]51820",
                "[2001:db8::1:51820", "[192.0.2.1]:1", "[2001:db8::g]:1", "[fe80::1%nosuch0]:1",
                "192.0.2.1:1 ", " 192.0.2.1:1", "192.0.2.1:1:1", "[]:1", "[2001:db8::1]:"):
        refused(rig, section(public(1), f"endpoint={bad}"), EINVAL)


@check("U-022 P-283 allowed IPs", up=False, known=True)
def allowed_ips(rig):
    for text, shown in (("10.1.2.3/8", "10.0.0.0/8"), ("0.0.0.0/0", None), ("10.1.2.3/32", None),
                        ("2001:DB8::1/32", "2001:db8::/32"), ("::/0", None), ("::1/128", None),
                        ("2001:0db8:0:0::/48", "2001:db8::/48"), ("::ffff:10.1.2.3/128", None)):
        taken(rig, section(public(1), "replace_allowed_ips=true", f"allowed_ip={text}"))
        equal(rig.state_of(public(1))["allowed_ip"], [shown or text], f"allowed_ip={text}")
    for bad in ("", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08",
                "10.0.0.0/8 ", " 10.0.0.0/8", "10.0.0/8", "10.0.0.256/8", "::/129", "::", "::/",
                "2001:db8::/032", "[::]/0", "host/8", "/8", "10.0.0.0/8/8", "10.0.0.0/255.0.0.0",
                "+10.0.0.0/8", "--10.0.0.0/8", "-", "-10.0.0.0", "10.0.0.0/8,10.1.0.0/16",
                "10.0.0.0/0x8", "fe80::1%lo/64"):
        refused(rig, section(public(1), f"allowed_ip={bad}"), EINVAL)


@check("U-023 lines without an equals sign", up=False, known=True)
def no_equals(rig):
    for line in ("fwmark", "x", " ", "\t", "fwmark 1", "\r", "\0"):
        refused(rig, line + "\n", EPROTO)
        refused(rig, section(public(1), line), EPROTO)


@check("U-025 repeated keys: the last one wins, allowed IPs accumulate", up=False)
def repeated(rig):
    taken(rig, "fwmark=1\nfwmark=2\nlisten_port=5\nlisten_port=6\n" + section(
        public(1), "endpoint=192.0.2.1:1", "endpoint=192.0.2.2:2", f"preshared_key={KEY}",
        f"preshared_key={'cd' * 32}", "persistent_keepalive_interval=1",
        "persistent_keepalive_interval=2", "allowed_ip=10.1.0.0/16", "allowed_ip=10.2.0.0/16",
        "allowed_ip=10.1.0.0/16"))
    state = rig.get()
    equal((state.device["fwmark"], state.device["listen_port"]), ("2", "6"), "fwmark, listen_port")
    peer = state.peer(public(1))
    equal([peer[k] for k in ("endpoint", "preshared_key", "persistent_keepalive_interval")],
          ["192.0.2.2:2", "cd" * 32, "2"], "values")
    equal(sorted(peer["allowed_ip"]), ["10.1.0.0/16", "10.2.0.0/16"], "allowed_ip")


@check("U-025 the same public key in several sections", up=False)
def same_key_twice(rig):
    taken(rig, section(public(1), "allowed_ip=10.1.0.0/16", "persistent_keepalive_interval=1") +
          section(public(2), "allowed_ip=10.1.0.0/16", "allowed_ip=10.2.0.0/16") +
          section(public(1), "allowed_ip=10.2.0.0/16", "persistent_keepalive_interval=7"))
    state = rig.get()
    equal(list(state.peers), [public(1).hex(), public(2).hex()], "peers")
    equal([p["allowed_ip"] for p in state.peers.values()], [["10.2.0.0/16"], ["10.1.0.0/16"]],
          "allowed_ip")
    equal(state.peer(public(1))["persistent_keepalive_interval"], "7", "interval")
    taken(rig, section(public(1), "remove=true") + section(public(1), "allowed_ip=10.9.0.0/16"))
    equal(rig.state_of(public(1))["allowed_ip"], ["10.9.0.0/16"], "allowed_ip")
    equal(rig.state_of(public(1))["persistent_keepalive_interval"], "0", "interval")
    taken(rig, section(public(1), "allowed_ip=10.8.0.0/16") + section(public(1), "remove=true"))
    ensure(public(1).hex() not in rig.get().peers, "the peer is still there")


@check("U-026 P-389 remove holds wherever it stands", up=False, known=True)
def remove_anywhere(rig):
    rig.set(section(public(1), "allowed_ip=10.1.0.0/16"))
    for lines in (("remove=true",), ("allowed_ip=10.1.0.0/16", "remove=true"),
                  ("remove=true", "allowed_ip=10.1.0.0/16"),
                  ("endpoint=192.0.2.1:1", "remove=true", f"preshared_key={KEY}")):
        taken(rig, section(public(2), *lines))
        equal(list(rig.get().peers), [public(1).hex()], "peers")
        equal(rig.state_of(public(1))["allowed_ip"], ["10.1.0.0/16"], "allowed_ip of another peer")
        rig.set(section(public(2)))
        taken(rig, section(public(2), *lines))
        equal(list(rig.get().peers), [public(1).hex()], "peers after removing one that existed")


@check("U-026 P-389 update_only holds wherever it stands", up=False, known=True)
def update_only_anywhere(rig):
    rig.set(section(public(1), "allowed_ip=10.1.0.0/16"))
    for lines in (("update_only=true", "allowed_ip=10.1.0.0/16"),
                  ("allowed_ip=10.1.0.0/16", "update_only=true"),
                  ("endpoint=192.0.2.1:1", "update_only=true", f"preshared_key={KEY}"),
                  ("update_only=true", "remove=true")):
        before = rig.get().lines
        taken(rig, section(public(2), *lines))
        equal(rig.get().lines, before, f"get after {lines}")
    taken(rig, section(public(1), "persistent_keepalive_interval=4", "update_only=true"))
    equal(rig.state_of(public(1))["persistent_keepalive_interval"], "4", "interval")


@check("U-026 replace_allowed_ips acts before all allowed IPs of its section", up=False, known=True)
def replace_anywhere(rig):
    for lines in (("replace_allowed_ips=true", "allowed_ip=10.1.0.0/16", "allowed_ip=10.2.0.0/16"),
                  ("allowed_ip=10.1.0.0/16", "replace_allowed_ips=true", "allowed_ip=10.2.0.0/16"),
                  ("allowed_ip=10.1.0.0/16", "allowed_ip=10.2.0.0/16", "replace_allowed_ips=true")):
        rig.set(section(public(1), "allowed_ip=10.9.0.0/16"))
        taken(rig, section(public(1), *lines))
        equal(rig.state_of(public(1))["allowed_ip"], ["10.1.0.0/16", "10.2.0.0/16"],
              f"after {lines}")


@check("U-026 P-388 replace_peers acts before all sections", up=False)
def replace_peers(rig):
    rig.set(section(public(1)) + section(public(2)))
    taken(rig, "replace_peers=true\n" + section(public(3)) + section(public(2), "update_only=true"))
    equal(list(rig.get().peers), [public(3).hex()], "peers")
    taken(rig, "replace_peers=true\nreplace_peers=true\n")
    equal(rig.get().peers, {}, "peers")


@check("U-026 P-393 allowed_ip=- of one set, mixed with others", up=False, known=True)
def minus(rig):
    taken(rig, section(public(1), "allowed_ip=10.1.0.0/16", "allowed_ip=10.2.0.0/16",
                       "allowed_ip=-10.1.0.0/16", "allowed_ip=-10.7.0.0/16"))
    equal(rig.state_of(public(1))["allowed_ip"], ["10.2.0.0/16"], "allowed_ip")
    taken(rig, section(public(1), "allowed_ip=-10.2.0.0/16", "allowed_ip=10.2.0.0/16"))
    equal(rig.state_of(public(1))["allowed_ip"], ["10.2.0.0/16"], "allowed_ip")


@check("U-027 P-384 a section with our own public key: ignored, but it must be well-formed")
def own_key(rig):
    own = rig.public
    taken(rig, section(own, "allowed_ip=10.0.0.0/8", "endpoint=192.0.2.1:1", "remove=true"))
    refused(rig, section(own, "allowed_ip=10.0.0.0/99"), EINVAL)
    refused(rig, section(own, "foo=1"), EINVAL)
    equal(rig.get().peers, {}, "peers")
    private = wg.new_private()  # set together with a peer that has its public key
    taken(rig, f"private_key={private.hex()}\n{section(wg.public_of(private))}{section(public(1))}")
    equal(list(rig.get().peers), [public(1).hex()], "peers")


@check("U-029 P-363 when the port is busy, key and mark are in force and peers are not", known=True)
def order_of_application(rig):
    holder = rig.own(Udp(rig.host, "0.0.0.0", 7001))
    private = wg.new_private()
    reply = rig.transact(f"set=1\nlisten_port={holder.port}\nfwmark=77\n"
                         f"private_key={private.hex()}\n{section(public(1))}\n")
    equal(reply, f"errno=-{EADDRINUSE}", "reply")
    state = rig.get()
    equal(state.device, {"private_key": private.hex(), "listen_port": str(rig.port),
                         "fwmark": "77"}, "device")
    equal(state.peers, {}, "peers")


@check("U-022 U-018 every error is negative, answered once, and the connection lives on", up=False,
       known=True)
def errors_in_a_row(rig):
    with Client(rig.ifname) as c:
        for lines, errno in (("foo=1\n", EINVAL), ("foo\n", EPROTO), ("public_key=1\n", EINVAL),
                             ("fwmark=x\n" * 1000, EINVAL), ("foo\n" * 1000, EPROTO)):
            equal(c.transact(f"set=1\n{lines}\n"), f"errno=-{errno}", f"reply to {lines!r}")
            uapi.parse(c.transact("get=1\n\n"))


# get

@check("U-040 U-041 U-042 P-383 the reply to get", up=False, key=False, known=True)
def get_reply(rig):
    equal(rig.get().lines, [f"listen_port={rig.port}"], "get with nothing but a port")
    private = os.urandom(32)
    rig.set(f"private_key={private.hex()}\nfwmark=3735928559\n" + section(
        public(2), f"preshared_key={KEY}", "endpoint=[2001:db8::2]:1", "allowed_ip=10.2.0.0/16",
        "persistent_keepalive_interval=25", "allowed_ip=fd00::/8", "allowed_ip=10.1.0.0/16") +
        section(public(1)))
    equal(sorted(rig.get().lines[:3]), sorted([f"private_key={wg.clamp(private).hex()}",
                                               f"listen_port={rig.port}", "fwmark=3735928559"]),
          "device")
    equal(rig.get().lines[3:], [
        f"public_key={public(2).hex()}", f"preshared_key={KEY}", "protocol_version=1",
        "endpoint=[2001:db8::2]:1", "last_handshake_time_sec=0", "last_handshake_time_nsec=0",
        "tx_bytes=0", "rx_bytes=0", "persistent_keepalive_interval=25", "allowed_ip=10.2.0.0/16",
        "allowed_ip=fd00::/8", "allowed_ip=10.1.0.0/16",
        f"public_key={public(1).hex()}", f"preshared_key={ZERO}", "protocol_version=1",
        "last_handshake_time_sec=0", "last_handshake_time_nsec=0", "tx_bytes=0", "rx_bytes=0",
        "persistent_keepalive_interval=0"], "peers")
    rig.set(f"private_key={ZERO}\nfwmark=0\nlisten_port={rig.port}\nreplace_peers=true\n")
    equal(rig.get().lines, [f"listen_port={rig.port}"], "get after all was removed")


@check("U-043 peers in order of creation, allowed IPs in order of insertion", up=False, known=True)
def get_order(rig):
    order = list(range(200))
    random.shuffle(order)
    rig.set("".join(section(public(n)) for n in order))
    for n in order[50:60]:
        rig.set(section(public(n), "persistent_keepalive_interval=1"))
    rig.set(section(public(order[0]), "remove=true"))
    rig.set(section(public(order[0])))
    expected = [public(n).hex() for n in order[1:] + order[:1]]
    equal(list(rig.get().peers), expected, "peers")
    prefixes = [f"10.{n}.0.0/16" for n in order] + [f"fd00:{n:x}::/32" for n in range(1, 50)]
    random.shuffle(prefixes)
    for start in range(0, len(prefixes), 40):
        rig.set(section(public(7), *(f"allowed_ip={a}" for a in prefixes[start:start + 40])))
    equal(rig.state_of(public(7))["allowed_ip"], prefixes, "allowed_ip")


@check("U-042 U-043 wg understands what a live device reports")
def wg_shows(rig):
    p = rig.peer()
    p.connect()
    q = rig.peer(f"preshared_key={KEY}", "endpoint=[2001:db8::7]:9")
    dump = rig.host.out("wg", "show", rig.ifname, "dump").splitlines()
    equal(len(dump), 3, "lines of wg show dump")
    fields = [line.split("\t") for line in dump]
    equal(fields[0][2:], [str(rig.port), "off"], "port and mark")
    equal(fields[1][2:4], [p.endpoint, ",".join(p.allowed)], "endpoint and allowed IPs")
    equal(fields[1][5:], ["180", "92", "off"], "rx, tx, keepalive")
    ensure(abs(int(fields[1][4]) - time.time()) < 5, f"latest handshake {fields[1][4]}")
    equal(fields[2][2:], ["[2001:db8::7]:9", ",".join(q.allowed), "0", "0", "0", "off"], "peer 2")


@check("U-050 U-081 wg setconf, showconf, addconf and syncconf; a session survives syncconf")
def wg_configures(rig):
    p = rig.peer()
    session = p.connect()
    text = rig.host.out("wg", "showconf", rig.ifname)
    path = rig.lab.write("conf", text)
    before = rig.get()
    rig.host.run("wg", "syncconf", rig.ifname, path)
    equal(rig.get().lines, before.lines, "get after syncconf of the same")
    rig.works(p, session)
    rig.host.run("wg", "addconf", rig.ifname, path)
    rig.works(p, session)
    rig.host.run("wg", "setconf", rig.ifname, path)
    equal(rig.host.out("wg", "showconf", rig.ifname), text, "showconf after setconf")


# Loads and garbage

@check("P-480 U-022 garbage on the socket", up=False)
def garbage(rig):
    rng = random.Random(7)
    words = (b"set=1", b"get=1", b"\n", b"\n\n", b"=", b"private_key=", b"public_key=",
             KEY.encode(), b"allowed_ip=", b"10.0.0.0/8", b"::/0", b"-", b"endpoint=", b"[::1]:1",
             b"remove=true",
             b"update_only=true", b"replace_peers=true", b"\0", b"\xff\xfe", b"fwmark=", b"9" * 30,
             b"listen_port=0", b"%s%n", b"errno=0", b"x" * 5000)
    for _ in range(400):
        text = b"".join(rng.choice(words) + rng.choice((b"", b"", b"\n"))
                        for _ in range(rng.randrange(1, 30)))
        with Client(rig.ifname) as c:
            try:
                c.send(text + b"\n\n" * rng.randrange(2))
                c.end_of_input()
                c.socket.settimeout(5)
                while c.socket.recv(65536):
                    pass
            except (BrokenPipeError, ConnectionResetError):
                pass
    rig.get()


@check("U-016 50,000 peers in one set, listed, updated and removed", timeout=120, alone=True)
def fifty_thousand(rig):
    n = 50_000
    start = time.monotonic()
    rig.set(many_peers(0, n), 60)
    took = time.monotonic() - start
    state = uapi.parse(uapi.transact(rig.ifname, "get=1\n\n", 60))
    equal(len(state.peers), n, "peers")
    equal(state.peer(public(n - 1))["allowed_ip"], [f"10.0.{n - 1 >> 8}.{n - 1 & 255}/32"],
          "allowed_ip of the last")
    ensure(took < 30, f"set took {took:.1f} s")
    rig.set(many_peers(0, n), 60)
    state = uapi.parse(uapi.transact(rig.ifname, "get=1\n\n", 60))
    equal(len(state.peers), n, "peers after a repeat")
    rig.set("replace_peers=true\n", 60)
    equal(rig.get().peers, {}, "peers")
    p = rig.peer()
    rig.works(p, p.connect())


@check("U-016 P-395 a large set stops neither traffic nor other clients", timeout=120, alone=True,
       known=True)
def large_set_beside(rig):
    p = rig.peer()
    session = p.connect()
    text = "set=1\n" + many_peers(1000, 30_000) + "\n"
    reply = []
    thread = threading.Thread(target=lambda: reply.append(uapi.transact(rig.ifname, text, 60)))
    thread.start()
    worst, mark = 0.0, 0
    while thread.is_alive():
        mark += 1
        start = time.monotonic()
        p.send_in(session, mark)
        ensure(rig.delivered(5) is not None, "a packet was lost during a large set")
        worst = max(worst, time.monotonic() - start)
    thread.join()
    equal(reply, ["errno=0"], "reply to the large set")
    ensure(worst < 0.5, f"a packet took {worst:.2f} s during a large set")


@check("U-016 65,536 peers with 10 allowed IPs each", timeout=300, long=True, alone=True)
def largest(rig):
    def sections(first, last):
        return "".join(section(public(i), *(
            f"allowed_ip=fd00:{k}:{i >> 8:x}:{i & 255:x}::/64" for k in range(10)))
            for i in range(first, last))
    rig.set(sections(0, 65536), 120)
    state = uapi.parse(uapi.transact(rig.ifname, "get=1\n\n", 120))
    equal(len(state.peers), 65536, "peers")
    equal(sum(len(p["allowed_ip"]) for p in state.peers.values()), 655360, "allowed IPs")


@check("U-007 P-395 many writers and readers, and peers that come and go")
def churn(rig):
    p = rig.peer()
    session = p.connect()
    stop, problems = threading.Event(), []

    def work(n):
        rng = random.Random(n)
        with Client(rig.ifname, 20) as c:
            while not stop.is_set():
                k = public(rng.randrange(20))
                line = rng.choice(("remove=true", "allowed_ip=10.5.0.0/16", "update_only=true",
                                   "replace_allowed_ips=true", f"endpoint={FAR4}:9"))
                for text in (f"set=1\n{section(k, line)}\n", "get=1\n\n"):
                    reply = c.transact(text, 20)
                    if not (reply or "").endswith("errno=0"):
                        problems.append(reply)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for n in range(100):
        rig.works(p, session, 2 * n)
        time.sleep(0.01)
    stop.set()
    for t in threads:
        t.join()
    equal(problems[:3], [], "replies")


if __name__ == "__main__":
    main()

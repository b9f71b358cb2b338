#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The daemon under test (RINGTUN_BIN) behind wg-quick(8) and every sub-command of wg(8)."""

import os
import re
import shutil
import subprocess
import time

from lib import netns, report, traffic
from lib.netns import socket_path, wait_until
from lib.report import case, check, equal
from lib.tunnel import Keys, Tunnel, peers, random_key, wg, wg_out
from lib.wgquick import WgQuick, available

LOOPS = 20


class Side:
    """One end of a tunnel that wg-quick makes."""

    def __init__(self, lab, ns, host, port=51820):
        self.ns, self.host, self.port = ns, host, port
        self.keys = Keys()
        self.ifname = lab.ifname()
        self.v4, self.v6 = f"10.77.0.{host}", f"fd77::{host}"
        self.quick = WgQuick(ns, netns.ringtun_bin(), lab.path(f"{self.ifname}.conf"))

    def write(self, other, interface="", allowed=None, endpoint=None, extra=""):
        allowed = allowed or f"{other.v4}/32, {other.v6}/128"
        endpoint = endpoint or f"192.0.2.{other.host}:{other.port}"
        self.ns.lab.write(f"{self.ifname}.conf", f"""[Interface]
PrivateKey = {self.keys.private}
ListenPort = {self.port}
Address = {self.v4}/24, {self.v6}/64
{interface}
[Peer]
PublicKey = {other.keys.public}
AllowedIPs = {allowed}
Endpoint = {endpoint}
{extra}""")

    def handshake(self):
        (p,) = peers(self.ifname).values()
        return p.handshake

    def showconf(self):
        """The configuration as wg(8) tells it, without its order of allowed IPs."""
        lines = wg_out("showconf", self.ifname).splitlines()
        return [", ".join(sorted(re.split(", ?", line.replace("AllowedIPs = ", "AllowedIPs = , "))))
                if line.startswith("AllowedIPs") else line for line in lines]


def sides(lab):
    if not available():
        report.skip("wg-quick is not installed")
    ns_a, ns_b = lab.pair()
    a, b = Side(lab, ns_a, 1), Side(lab, ns_b, 2)
    a.write(b)
    b.write(a)
    return a, b


def snapshot(ns):
    """What wg-quick or a daemon could leave behind in a namespace."""
    return {
        "links": re.findall(r"^\d+: ([^:@]+)", ns.out("ip", "-o", "link"), re.M),
        "rules": ns.out("ip", "-4", "rule") + ns.out("ip", "-6", "rule"),
        "routes": sorted(ns.out("ip", "route", "show", "table", "all").splitlines()),
        "nft": ns.out("nft", "list", "tables") if shutil.which("nft") else "",
        "processes": ns.pids(),
    }


def expect_nothing_left(side, before):
    check(wait_until(lambda: not side.ns.pids(), 2), f"processes left: {side.ns.pids()}")
    now = snapshot(side.ns)
    for key, value in before.items():
        equal(now[key], value, key)
    left = [n for n in os.listdir(netns.SOCKET_DIR) if side.ifname in n]
    equal(left, [], f"files in {netns.SOCKET_DIR}")


def sync_same_file(side):
    strip = side.quick.run("strip").stdout
    wg("syncconf", side.ifname, side.ns.lab.write(f"{side.ifname}.stripped", strip))


# The loop

def one_round(a, b):
    for side in (b, a):  # a's keepalive finds b listening
        side.quick.up()
    for source, to in ((a, b.v4), (a, b.v6), (b, a.v4)):
        p = traffic.ping(source.ns, to, count=2)
        equal(p.received, 2, f"pings answered by {to}")
    before = a.handshake(), b.handshake()
    conf = a.showconf(), b.showconf()
    with traffic.Flow(a.ns, b.ns, a.v4, b.v4) as there, \
            traffic.Flow(b.ns, a.ns, b.v6, a.v6) as back:
        for _ in range(3):
            sync_same_file(a)
            sync_same_file(b)
    check(not there.verdict(), f"syncconf of the same file, there: {there.verdict()}")
    check(not back.verdict(), f"syncconf of the same file, back: {back.verdict()}")
    equal((a.handshake(), b.handshake()), before, "handshake times after syncconf")
    equal((a.showconf(), b.showconf()), conf, "configuration after syncconf")
    a.quick.run("save")
    for side in (a, b):
        side.quick.down()
    return conf


@case(f"U-081 pitfall 1 up, traffic, syncconf, save, down, {LOOPS} times, nothing left",
      timeout=180)
def loop(lab):
    a, b = sides(lab)
    a.write(b, "SaveConfig = true\n", extra=f"PresharedKey = {(psk := random_key())}\n"
            "PersistentKeepalive = 25\n")
    b.write(a, extra=f"PresharedKey = {psk}\n")
    before = snapshot(a.ns), snapshot(b.ns)
    first = None
    for i in range(LOOPS):
        conf = one_round(a, b)
        first = first or conf
        equal(conf, first, f"configuration in round {i + 1}")  # a's went through its file
        expect_nothing_left(a, before[0])
        expect_nothing_left(b, before[1])


@case("U-080 wg-quick down && wg-quick up without delay, 15 times", timeout=60)
def down_and_up(lab):
    a, b = sides(lab)
    b.quick.up()
    a.quick.up()
    again = a.quick.argv('"$quick" down "$conf" && "$quick" up "$conf"')
    for _ in range(15):
        a.ns.run(*again, env=a.quick.environment(), stdin=subprocess.DEVNULL, timeout=20)
        p = traffic.ping(a.ns, b.v4, count=1)
        equal(p.received, 1, "answers")


@case("U-062 $(wg-quick up) does not hang, and prints nothing of the daemon on stdout")
def capture(lab):
    a, _ = sides(lab)
    start = time.monotonic()
    r = a.ns.run(*a.quick.argv('x=$("$quick" up "$conf") && echo "got<$x>"'),
                 env=a.quick.environment(), timeout=10)
    equal(r.stdout, "got<>\n", "captured")
    check(time.monotonic() - start < 5, "took 5 s")
    a.quick.down()


@case("U-082 SIGTERM after wg-quick down, as systemd sends it, harms nothing")
def systemd_like(lab):
    a, _ = sides(lab)
    before = snapshot(a.ns)
    for _ in range(3):
        a.quick.up()
        pids = a.ns.pids()
        a.quick.down()
        netns.end_pids(pids)
        expect_nothing_left(a, before)


@case("U-061 wg-quick fails, and leaves nothing, when the daemon can not start")
def up_fails(lab):
    a, _ = sides(lab)
    other = lab.netns().daemon(a.ifname)  # owns the socket of that name
    before = snapshot(a.ns)
    r = a.quick.up(check=False)
    check(r.returncode != 0, "wg-quick up succeeded")
    now = snapshot(a.ns)
    equal(now, before, "what is in the namespace")
    check(netns.socket_answers(other.ifname), "the owner of the socket was disturbed")


# Default route

def marked(ns, port):
    """Counts outgoing datagrams from @port that carry no mark. Returns a function that reads."""
    ns.run("nft", "add table inet count; add chain inet count out "
           "{ type filter hook postrouting priority 100; }; add rule inet count out "
           f"oifname veth0 udp sport {port} counter;"
           f"add rule inet count out oifname veth0 udp sport {port} meta mark 0 counter")

    def read():
        counters = re.findall(r"counter packets (\d+)", ns.out("nft", "list table inet count"))
        return tuple(map(int, counters))
    return read


@case("table auto: 0.0.0.0/0 and ::/0, P-365 every datagram carries the mark", timeout=60)
def default_route(lab):
    if not shutil.which("nft"):
        report.skip("nft is not installed")
    a, b = sides(lab)
    a.write(b, allowed="0.0.0.0/0, ::/0", extra="PersistentKeepalive = 1\n")
    b.ns.run("sh", "-ec", "ip addr add 203.0.113.1/32 dev lo; ip addr add fd99::1/128 dev lo")
    b.quick.up()
    before = snapshot(a.ns)
    for _ in range(2):
        a.quick.up()
        read = marked(a.ns, a.port)
        for address in ("203.0.113.1", "fd99::1"):
            check(traffic.ping(a.ns, address, count=3).received == 3, f"no answer from {address}")
        equal(wg_out("show", a.ifname, "fwmark"), "0xca6c", "fwmark")
        check(not traffic.tcp_transfer(a.ns, b.ns, b.v4, 1 << 20), "TCP failed")
        # A new handshake and a roamed port must be marked as well.
        wg("set", a.ifname, "listen-port", 0)
        wg("set", a.ifname, "listen-port", a.port)
        b.quick.down()
        b.quick.up()
        check(traffic.reaches(b.ns, a.v4), "no traffic after the other side was down")
        total, unmarked = read()
        check(total > 10, f"only {total} datagrams counted")
        equal(unmarked, 0, f"datagrams without mark of {total}")
        a.ns.run("nft", "delete table inet count")
        a.quick.down()
        expect_nothing_left(a, before)


@case("U-084 endpoint over lo: wg-quick sets MTU 65456")
def over_loopback(lab):
    if not available():
        report.skip("wg-quick is not installed")
    ns = lab.netns()
    a, b = Side(lab, ns, 1, 51821), Side(lab, ns, 2, 51822)
    for side, other in ((a, b), (b, a)):
        side.write(other, "Table = off\n", endpoint=f"127.0.0.1:{other.port}",
                   extra="PersistentKeepalive = 5\n")
        side.quick.up()
    for side in (a, b):
        equal(ns.out("cat", f"/sys/class/net/{side.ifname}/mtu").strip(), "65456", "MTU")
        check(wait_until(lambda s=side: s.handshake() > 0, 8, 0.05), "no handshake")
    for side in (a, b):
        side.quick.down()


# wg(8)

def lonely(lab):
    """A daemon without any peer that exists."""
    return lab.netns().daemon()


@case("golden: wg show all dump")
def golden_dump(lab):
    d = lonely(lab)
    ours, one, two = Keys(), Keys(), Keys()
    psk = random_key()
    wg("setconf", d.ifname, lab.write("golden", f"""[Interface]
PrivateKey = {ours.private}
ListenPort = 51833
FwMark = 0x1234
[Peer]
PublicKey = {one.public}
PresharedKey = {psk}
Endpoint = 198.51.100.7:1234
AllowedIPs = 10.1.2.3/8, 192.168.1.1/32, fd00:1:2:3::4/48
PersistentKeepalive = 25
[Peer]
PublicKey = {two.public}
Endpoint = [2001:db8::abcd:1]:65535
AllowedIPs = 0.0.0.0/0, ::/0, ::ffff:1.2.3.4/128
"""))
    expected = [
        [ours.private, ours.public, "51833", "0x1234"],
        [one.public, psk, "198.51.100.7:1234",
         "10.0.0.0/8,192.168.1.1/32,fd00:1:2::/48", "0", "0", "0", "25"],
        [two.public, "(none)", "[2001:db8::abcd:1]:65535",
         "0.0.0.0/0,::/0,::ffff:1.2.3.4/128", "0", "0", "0", "off"]]
    lines = [line.split("\t") for line in wg_out("show", "all", "dump").splitlines()]
    equal([line[1:] for line in lines if line[0] == d.ifname], expected, "dump")
    wg("set", d.ifname, "private-key", "/dev/null", "fwmark", "off")
    lines = [line.split("\t") for line in wg_out("show", "all", "dump").splitlines()]
    equal([line[1:] for line in lines if line[0] == d.ifname][0],
          ["(none)", "(none)", "51833", "off"], "dump without key and mark")


@case("every form of wg show")
def show_forms(lab):
    t = Tunnel(lab, psk=True, extra_a="PersistentKeepalive = 21\n")
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    d, key = t.a.ifname, t.b.keys.public
    p = t.a.peer()
    for what, expected in (
            ("public-key", t.a.keys.public), ("private-key", t.a.keys.private),
            ("listen-port", "51820"), ("fwmark", "off"), ("peers", key),
            ("preshared-keys", f"{key}\t{t.psk}"), ("endpoints", f"{key}\t192.0.2.2:51820"),
            ("allowed-ips", f"{key}\t{t.b.v4}/32 {t.b.v6}/128"),
            ("latest-handshakes", f"{key}\t{p.handshake}"),
            ("persistent-keepalive", f"{key}\t21")):
        equal(wg_out("show", d, what), expected, what)
    check(re.fullmatch(rf"{re.escape(key)}\t\d+\t\d+", wg_out("show", d, "transfer")), "transfer")
    check(d in wg_out("show", "interfaces").split(), "show interfaces")
    text = wg_out("show", d)
    for line in (f"interface: {d}", f"public key: {t.a.keys.public}", "private key: (hidden)",
                 "listening port: 51820", f"peer: {key}", "preshared key: (hidden)",
                 "endpoint: 192.0.2.2:51820", f"allowed ips: {t.b.v4}/32, {t.b.v6}/128",
                 "latest handshake:", "transfer:", "persistent keepalive: every 21 seconds"):
        check(line in text, f"{line!r} not in {text!r}")


@case("pitfall 11 showconf goes through setconf unchanged")
def showconf_round_trip(lab):
    d, e = lonely(lab), lonely(lab)
    text = f"[Interface]\nPrivateKey = {Keys().private}\nListenPort = 51844\nFwMark = 0x77\n"
    for i in range(20):
        text += f"[Peer]\nPublicKey = {random_key()}\nPresharedKey = {random_key()}\n"
        text += f"Endpoint = [fd00::{i + 1:x}]:{i + 1}\nPersistentKeepalive = {i + 1}\n"
        text += "AllowedIPs = " + ", ".join(f"10.{i}.{n}.0/24" for n in range(9)) + "\n"
    wg("setconf", d.ifname, lab.write("first", text))
    shown = wg_out("showconf", d.ifname)
    equal(shown.count("[Peer]"), 20, "peers")
    wg("setconf", e.ifname, lab.write("second", shown + "\n"))
    equal(wg_out("showconf", e.ifname), shown, "configuration")


@case("wg set: each argument, on, changed and off")
def set_arguments(lab):
    d = lonely(lab)
    key, psk = random_key(), random_key()

    def expect(field, value, *args, **kw):
        wg("set", d.ifname, "peer", key, *args, **kw)
        equal(getattr(peers(d.ifname)[key], field), value, " ".join(map(str, args)))
    expect("endpoint", "(none)")
    expect("endpoint", "192.0.2.9:99", "endpoint", "192.0.2.9:99")
    expect("endpoint", "[2001:db8::9]:98", "endpoint", "[2001:db8::9]:98")
    expect("psk", psk, "preshared-key", "/dev/stdin", stdin=psk)
    expect("psk", "(none)", "preshared-key", "/dev/null")
    expect("keepalive", "65535", "persistent-keepalive", "65535")
    expect("keepalive", "off", "persistent-keepalive", "off")
    expect("allowed_ips", ["10.0.0.0/8", "fd00::/8"], "allowed-ips", "10.9.9.9/8,fd00::1/8")
    expect("allowed_ips", ["10.1.0.0/16"], "allowed-ips", "10.1.0.0/16")
    expect("allowed_ips", ["(none)"], "allowed-ips", "")
    equal(peers(d.ifname)[key].endpoint, "[2001:db8::9]:98", "endpoint at the end")
    wg("set", d.ifname, "peer", key, "remove")
    equal(peers(d.ifname), {}, "peers")
    for mark, shown in (("0xffffffff", "0xffffffff"), ("51820", "0xca6c"), ("off", "off")):
        wg("set", d.ifname, "fwmark", mark)
        equal(wg_out("show", d.ifname, "fwmark"), shown, "fwmark")
    for port in (1, 65535):
        wg("set", d.ifname, "listen-port", port)
        equal(wg_out("show", d.ifname, "listen-port"), str(port), "listen-port")


@case("U-018 pitfall 7 wg prints the reason of an error")
def error_texts(lab):
    ns = lab.netns()
    d = ns.daemon()
    ns.run("ip", "link", "set", d.ifname, "up")
    with ns.socket() as s:
        s.bind(("0.0.0.0", 40123))
        r = wg("set", d.ifname, "listen-port", 40123, check=False)
    equal(r.returncode, 1, "status of wg")
    check("Address already in use" in r.stderr, f"wg printed {r.stderr!r}")
    equal(wg("show", "no-such-device", check=False).returncode, 1, "status for a missing device")
    check(netns.has_socket(d.ifname), f"{socket_path(d.ifname)} is gone")


@case("pitfall 3 peer first, key second; U-050 setconf, addconf and syncconf change what they say")
def conf_commands(lab):
    d = lonely(lab)
    ours, one, two, three = Keys().private, random_key(), random_key(), random_key()

    def conf(*sections, head=""):
        return lab.write("conf", head + "".join(
            f"[Peer]\nPublicKey = {k}\nAllowedIPs = {a}\n{x}" for k, a, x in sections))
    wg("set", d.ifname, "peer", one, "allowed-ips", "10.1.0.0/16")
    wg("set", d.ifname, "private-key", "/dev/stdin", stdin=ours)
    equal(list(peers(d.ifname)), [one], "peers before setconf")
    head = f"[Interface]\nPrivateKey = {ours}\nListenPort = 41111\n"
    wg("setconf", d.ifname, conf((two, "10.2.0.0/16", ""), head=head))
    equal(list(peers(d.ifname)), [two], "peers after setconf")
    wg("addconf", d.ifname, conf((three, "10.3.0.0/16", ""), (two, "10.4.0.0/16", "")))
    equal({k: p.allowed_ips for k, p in peers(d.ifname).items()},
          {two: ["10.4.0.0/16"], three: ["10.3.0.0/16"]}, "peers after addconf")
    equal(wg_out("show", d.ifname, "private-key"), ours, "private key after addconf")
    wg("syncconf", d.ifname, conf(
        (one, "10.1.0.0/16", "PersistentKeepalive = 9\n"), (three, "10.3.0.0/24", ""), head=head))
    equal({k: (p.allowed_ips, p.keepalive) for k, p in peers(d.ifname).items()},
          {three: (["10.3.0.0/24"], "off"), one: (["10.1.0.0/16"], "9")}, "peers after syncconf")
    wg("syncconf", d.ifname, conf(head=head))
    equal(peers(d.ifname), {}, "peers after syncconf without any")
    wg("setconf", d.ifname, lab.write("empty", "[Interface]\n"))
    equal(wg_out("show", d.ifname, "private-key"), "(none)", "private key after an empty setconf")


@case("pitfall 1 syncconf of 500 peers under traffic, three times", timeout=60)
def sync_many(lab):
    t = Tunnel(lab)
    text = open(t.a.conf).read()
    for i in range(500):
        text += f"[Peer]\nPublicKey = {random_key()}\n"
        text += f"AllowedIPs = 10.{100 + i // 250}.{i % 250}.0/24, fd99:{i:x}::/32\n"
    wg("syncconf", t.a.ifname, lab.write("many", text))
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    before = peers(t.a.ifname)
    equal(len(before), 501, "peers")
    with traffic.Flow(t.a.ns, t.b.ns, t.a.v4, t.b.v4) as there, \
            traffic.Flow(t.b.ns, t.a.ns, t.b.v4, t.a.v4) as back:
        for _ in range(3):
            wg("syncconf", t.a.ifname, lab.path("many"))
        time.sleep(0.2)
    check(not there.verdict() and not back.verdict(), f"{there.verdict()} {back.verdict()}")
    after = peers(t.a.ifname)
    equal({k: (p.handshake, p.allowed_ips) for k, p in after.items()},
          {k: (p.handshake, p.allowed_ips) for k, p in before.items()}, "peers")
    for key, peer in before.items():
        check(after[key].rx >= peer.rx and after[key].tx >= peer.tx, "a counter went back")


if __name__ == "__main__":
    report.main()

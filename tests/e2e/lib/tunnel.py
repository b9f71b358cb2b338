# SPDX-License-Identifier: MPL-2.0
"""Two daemons that are peers of each other, and what wg(8) says about them."""

import base64
import os
import subprocess

INNER4 = "10.77.0."
INNER6 = "fd77::"


def wg(*args, check=True, stdin=None, timeout=20):
    """Runs wg(8). It finds daemons by their socket, so it needs no namespace."""
    r = subprocess.run(["wg", *map(str, args)], input=stdin, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=timeout)
    if check and r.returncode != 0:
        raise RuntimeError(f"wg {' '.join(map(str, args))}: {r.returncode}: {r.stderr}")
    return r


def wg_out(*args, **kw):
    return wg(*args, **kw).stdout.rstrip("\n")


def to_hex(key):
    """The UAPI's spelling of a base64 key."""
    return base64.b64decode(key).hex()


def random_key():
    return base64.b64encode(os.urandom(32)).decode()


class Keys:
    """A Curve25519 key pair in base64."""

    def __init__(self):
        self.private = wg_out("genkey")
        self.public = wg_out("pubkey", stdin=self.private)


class Peer:
    """One peer line of `wg show IFNAME dump`."""

    def __init__(self, line):
        f = line.split("\t")
        self.public, self.psk, self.endpoint = f[0], f[1], f[2]
        self.allowed_ips = f[3].split(",")
        self.handshake, self.rx, self.tx = map(int, f[4:7])
        self.keepalive = f[7]


def peers(ifname):
    """The peers of an interface by public key."""
    return {p.public: p for p in map(Peer, wg_out("show", ifname, "dump").split("\n")[1:])}


def peer(ifname):
    """The only peer of an interface."""
    (p,) = peers(ifname).values()
    return p


class End:
    """One end of a Tunnel."""

    def __init__(self, ns, host, binary, args, env=None, **kw):
        self.ns = ns
        self.host = host
        self.keys = Keys()
        self.port = 51820
        self.v4, self.v6 = f"{INNER4}{host}", f"{INNER6}{host}"
        self.daemon = ns.daemon(binary=binary, args=args, env=env, **kw)
        self.ifname = self.daemon.ifname
        self.conf = None

    def address(self, family):
        return self.v4 if family == 4 else self.v6

    def interface_section(self):
        return f"[Interface]\nPrivateKey = {self.keys.private}\nListenPort = {self.port}\n"

    def peer_section(self, other, psk=None, endpoint=None, extra=""):
        text = f"[Peer]\nPublicKey = {other.keys.public}\n"
        text += f"AllowedIPs = {other.v4}/32, {other.v6}/128\n"
        text += f"PresharedKey = {psk}\n" if psk else ""
        text += f"Endpoint = {endpoint}\n" if endpoint else ""
        return text + extra

    def configure(self, *sections):
        self.conf = self.ns.lab.write(f"{self.ifname}.conf", "\n".join(sections))
        wg("setconf", self.ifname, self.conf)

    def up(self, mtu=None):
        # addr_gen_mode none: no router solicitation starts a handshake before a test does
        self.ns.run("sh", "-c", f"""set -e
            echo 1 >/proc/sys/net/ipv6/conf/{self.ifname}/addr_gen_mode
            ip link set {self.ifname} {f"mtu {mtu}" if mtu else ""} up
            ip addr add {self.v4}/24 dev {self.ifname}
            [ {mtu or 1420} -lt 1280 ] || ip addr add {self.v6}/64 dev {self.ifname} nodad""")

    def peer(self):
        return peer(self.ifname)


class Tunnel:
    """Two namespaces, two daemons, one tunnel. .a knows where .b is; .b learns it."""

    def __init__(self, lab, binary_a=None, binary_b=None, outer=4, psk=False, mtu=None,
                 link_mtu=1500, args_a=("-f",), args_b=("-f",), both_endpoints=False, env_a=None,
                 extra_a="", extra_b="", up=True, env_b=None, **kw):
        self.lab = lab
        ns_a, ns_b = lab.pair(mtu=link_mtu)
        self.a = End(ns_a, 1, binary_a, args_a, env_a, **kw)
        self.b = End(ns_b, 2, binary_b, args_b, env_b, **kw)
        self.psk = random_key() if psk else None
        self.outer = outer
        self.b.configure(self.b.interface_section(), self.b.peer_section(
            self.a, self.psk, self.outer_endpoint(self.a) if both_endpoints else None, extra_b))
        self.a.configure(self.a.interface_section(), self.a.peer_section(
            self.b, self.psk, self.outer_endpoint(self.b), extra_a))
        if up:
            self.b.up(mtu)
            self.a.up(mtu)

    def outer_endpoint(self, end):
        host = f"192.0.2.{end.host}" if self.outer == 4 else f"[2001:db8:0::{end.host}]"
        return f"{host}:{end.port}"

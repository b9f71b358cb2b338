# SPDX-License-Identifier: MPL-2.0
"""The networks that cases measure: two ends, a hub with two spokes, a gateway with a crowd.

Whatever the implementation, the applications see the same addresses: 10.77.0.1 on the sending and
10.77.0.2 on the receiving side.
"""

import subprocess
import time

from . import accounting
from .errors import BenchError, Skipped
from .implementations import Raw
from .lab import command

PORT = 51820
FIRST_PACKET_SEC = 10
ALIVE_SEC = 0.5  # between two looks at the daemons while a program runs
ADDRESS_A, ADDRESS_B, ADDRESS_HUB = "10.77.0.1", "10.77.0.2", "10.77.0.254"


def keypair():
    private = command("wg", "genkey", step="making keys").strip()
    public = command("wg", "pubkey", input=private, step="making keys").strip()
    return private, public


def interface_section(private):
    return f"[Interface]\nPrivateKey = {private}\nListenPort = {PORT}\n"


def peer_section(public, allowed, endpoint=None):
    text = f"[Peer]\nPublicKey = {public}\nAllowedIPs = {allowed}\n"
    return text + (f"Endpoint = {endpoint}:{PORT}\n" if endpoint else "")


class Network:
    """Two applications' namespaces @a and @b, and the ends of the implementation between them."""

    def __init__(self, lab, implementation):
        self.lab = lab
        self.implementation = implementation
        self.ends = []
        self.gateway = None  # where one end is what is measured

    def daemon_pids(self):
        ends = [self.gateway] if self.gateway else self.ends
        return [pid for end in ends for pid in end.pids]

    def meter(self):
        return accounting.Meter(self.daemon_pids())

    def check_alive(self):
        for end in self.ends:
            end.check_alive()

    def output_of(self, process, timeout, step):
        """What a program printed until its end, (stdout, stderr). BenchError after @timeout seconds,
        and at once when a daemon dies: programs can wait long for what never comes."""
        limit = time.monotonic() + timeout
        while True:
            try:
                return process.communicate(timeout=ALIVE_SEC)
            except subprocess.TimeoutExpired:
                try:
                    self.check_alive()
                    if time.monotonic() > limit:
                        raise BenchError(step, f"no end after {timeout:g} s") from None
                except BenchError:
                    process.kill()
                    raise

    def end(self, ns, private, peers, address):
        """Starts the implementation in a namespace and configures it by wg."""
        end = self.implementation.start(ns)
        self.ends.append(end)
        end.setconf(interface_section(private) + "".join(peers))
        end.up(address)
        return end

    def wait_first_packet(self, ns, address):
        """BenchError unless a ping comes back in time."""
        for _ in range(FIRST_PACKET_SEC):
            self.check_alive()
            r = subprocess.run(ns.argv("ping", "-q", "-c", "1", "-W", "1", address),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            if r.returncode == 0:
                return
        raise BenchError("waiting for the first packet",
                         f"no answer through the tunnel within {FIRST_PACKET_SEC} s"
                         + "".join(e.log_tail() for e in self.ends[:1]))


class Pair(Network):
    """a --- b. @outer are commands of tc for both ends of the link below the tunnel."""

    def __init__(self, lab, implementation, outer=()):
        super().__init__(lab, implementation)
        self.a, self.b = lab.namespace(), lab.namespace()
        lab.link(self.a, self.b)
        for ns in (self.a, self.b) if outer else ():
            try:
                command("tc", "-n", ns.name, "qdisc", "add", "dev", "veth0", "root", *outer,
                        step="shaping the link by tc")
            except BenchError as e:
                raise Skipped(f"this kernel or iproute2 has no {outer[0]}: {e.message[-120:]}") \
                    from None
        if isinstance(implementation, Raw):
            for ns, address in ((self.a, ADDRESS_A), (self.b, ADDRESS_B)):
                command("ip", "-n", ns.name, "addr", "add", f"{address}/24", "dev", "veth0",
                        step="setting addresses")
        else:
            self.configure()
        self.wait_first_packet(self.a, ADDRESS_B)

    def configure(self):
        self.keys = keypair(), keypair()
        (private_a, public_a), (private_b, public_b) = self.keys
        self.end(self.a, private_a, [peer_section(public_b, f"{ADDRESS_B}/32", "192.0.2.2")],
                 f"{ADDRESS_A}/24")
        self.end(self.b, private_b, [peer_section(public_a, f"{ADDRESS_A}/32", "192.0.2.1")],
                 f"{ADDRESS_B}/24")

    def forget_session(self):
        """Both ends lose what they know of each other but the configuration."""
        if isinstance(self.implementation, Raw):
            raise Skipped("there is no session without a tunnel")
        (_, public_a), (_, public_b) = self.keys
        a, b = self.ends
        a.set("peer", public_b, "remove")
        b.set("peer", public_a, "remove")
        b.set("peer", public_a, "allowed-ips", f"{ADDRESS_A}/32", "endpoint", f"192.0.2.1:{PORT}")
        a.set("peer", public_b, "allowed-ips", f"{ADDRESS_B}/32", "endpoint", f"192.0.2.2:{PORT}")


class Hub(Network):
    """a --- gateway --- b: what a sends to b is opened, forwarded and sealed again in the middle.
    Only the gateway's daemon is measured."""

    def __init__(self, lab, implementation):
        super().__init__(lab, implementation)
        self.a, self.hub, self.b = lab.namespace(), lab.namespace(), lab.namespace()
        lab.link(self.a, self.hub, dev="veth0")
        lab.link(self.b, self.hub, net=1, dev="veth1")
        self.hub.sysctl("net.ipv4.ip_forward", 1)
        if isinstance(implementation, Raw):
            self.route()
        else:
            self.configure()
        self.wait_first_packet(self.a, ADDRESS_B)

    def route(self):
        step = "setting routes"
        for ns, dev, mine, other, router in ((self.a, "veth0", ADDRESS_A, ADDRESS_B, "192.0.2.2"),
                                             (self.b, "veth1", ADDRESS_B, ADDRESS_A, "192.0.3.2")):
            command("ip", "-n", ns.name, "addr", "add", f"{mine}/32", "dev", dev, step=step)
            command("ip", "-n", ns.name, "route", "add", other, "via", router, "src", mine,
                    step=step)
            command("ip", "-n", self.hub.name, "route", "add", mine, "via", router[:-1] + "1",
                    step=step)

    def configure(self):
        keys = {side: keypair() for side in "ahb"}
        self.gateway = self.end(self.hub, keys["h"][0],
                                [peer_section(keys["a"][1], f"{ADDRESS_A}/32", "192.0.2.1"),
                                 peer_section(keys["b"][1], f"{ADDRESS_B}/32", "192.0.3.1")],
                                f"{ADDRESS_HUB}/24")
        for side, ns, address, endpoint in (("a", self.a, ADDRESS_A, "192.0.2.2"),
                                            ("b", self.b, ADDRESS_B, "192.0.3.2")):
            self.end(ns, keys[side][0], [peer_section(keys["h"][1], "10.77.0.0/24", endpoint)],
                     f"{address}/24")


class Gateway(Network):
    """A crowd of peers in @a, all inside of one load generator, against one daemon in @b. Each peer
    has an outer address of its own out of 198.18.0.0/15 and an inner one out of 10.128.0.0/9."""

    def __init__(self, lab, implementation, peer_sections):
        """@peer_sections is the crowd's part of the gateway's configuration: see crowd.py."""
        super().__init__(lab, implementation)
        if isinstance(implementation, Raw):
            raise Skipped("there are no peers without a tunnel")
        self.a, self.b = lab.namespace(), lab.namespace()
        lab.link(self.a, self.b)
        step = "setting routes"
        command("ip", "-n", self.a.name, "route", "add", "local", "198.18.0.0/15", "dev", "lo",
                step=step)
        command("ip", "-n", self.b.name, "route", "add", "198.18.0.0/15", "via", "192.0.2.1",
                step=step)
        private, self.public = keypair()
        self.gateway = self.end(self.b, private, [peer_sections], f"{ADDRESS_B}/24")
        command("ip", "-n", self.b.name, "route", "add", "10.128.0.0/9", "dev", self.gateway.ifname,
                step=step)

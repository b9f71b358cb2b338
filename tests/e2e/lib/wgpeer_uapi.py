# SPDX-License-Identifier: MPL-2.0
"""The configuration socket, as a client that can also misbehave, and the `get` reply as data."""

import dataclasses
import socket
import time

from . import netns
from .report import Failed, check


def connect(ifname, timeout):
    """Waits while the backlog is full, as a blocking connect would."""
    end = time.monotonic() + timeout
    while True:
        try:
            return netns.uapi_connect(ifname, timeout)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


class Client:
    """One connection."""

    def __init__(self, ifname, timeout=5):
        self.socket = connect(ifname, timeout)
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, text):
        self.socket.sendall(text if isinstance(text, bytes) else text.encode())

    def end_of_input(self):
        self.socket.shutdown(socket.SHUT_WR)

    def reply(self, timeout=5):
        """The next reply without its empty line; None when the daemon closed instead."""
        self.socket.settimeout(timeout)
        while b"\n\n" not in self.rest:
            try:
                chunk = self.socket.recv(1 << 20)
            except TimeoutError:
                raise Failed(f"no reply within {timeout} s") from None
            except (ConnectionResetError, BrokenPipeError):
                chunk = b""
            if not chunk:
                check(not self.rest, f"closed in the middle of a reply: {self.rest[:200]!r}")
                return None
            self.rest += chunk
        text, self.rest = self.rest.split(b"\n\n", 1)
        return text.decode()

    def transact(self, text, timeout=5):
        self.send(text)
        return self.reply(timeout)

    def closed(self, timeout=2):
        """Whether the daemon closes, without a further byte, within @timeout."""
        self.socket.settimeout(timeout)
        try:
            return not self.rest and self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except (ConnectionResetError, BrokenPipeError):
            return True


def transact(ifname, text, timeout=5):
    with Client(ifname, timeout) as c:
        return c.transact(text, timeout)


def section(public, *lines):
    """A peer section."""
    return "".join(f"{line}\n" for line in (f"public_key={public.hex()}", *lines))


@dataclasses.dataclass
class State:
    """A `get` reply: the device's values, and those of each peer by public key, in order."""
    device: dict
    peers: dict
    lines: list

    def peer(self, public):
        check(public.hex() in self.peers, f"peer {public.hex()[:8]} is not configured")
        return self.peers[public.hex()]


def parse(reply):
    """State of a reply; values are strings, allowed_ip a list of them."""
    check(reply is not None, "get: connection closed")
    lines = reply.split("\n")
    check(lines[-1] == "errno=0", f"get: {lines[-1]}")
    state = State({}, {}, lines[:-1])
    into = state.device
    for line in state.lines:
        key, equals, value = line.partition("=")
        check(equals, f"get: line without '=': {line!r}")
        if key == "public_key":
            into = state.peers[value] = {"allowed_ip": []}
        elif key == "allowed_ip":
            into["allowed_ip"].append(value)
        else:
            check(key not in into, f"get: {key} twice")
            into[key] = value
    return state


def get(ifname):
    return parse(transact(ifname, "get=1\n\n", 20))

# SPDX-License-Identifier: MPL-2.0
"""What can be measured: daemons given by their command line, the kernel's WireGuard, and a bare veth
pair. Each brings an interface up in a namespace; the rest of the harness does not tell them apart."""

import hashlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import time

from . import accounting
from .errors import BenchError, Skipped, UsageError
from .lab import command, socket_path, wait_until

START_SEC = 15
START_STEP = "starting the daemon"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,31}$")


class End:
    """One interface of an implementation in a namespace, and the daemon behind it."""

    def __init__(self, ns, ifname, log_path=None, process=None):
        self.ns = ns
        self.ifname = ifname
        self.log_path = log_path
        self.process = process
        self.pids = []

    def log_tail(self, size=400):
        """The last line that the daemon logged."""
        if not self.log_path:
            return ""
        with open(self.log_path, errors="replace") as f:
            lines = f.read().strip().splitlines()
        return f"; its last words: {lines[-1][-size:]}" if lines else ""

    def check_alive(self):
        """BenchError if the daemon died."""
        for pid in self.pids:
            if not accounting.is_running(pid):
                status = self.process.poll() if self.process else None
                how = f"with status {status}" if self.process and status is not None else "by itself"
                raise BenchError("daemon", f"died {how}{self.log_tail()}")

    def setconf(self, text):
        path = self.ns.lab.write(f"{self.ifname}.conf", text)
        self.ns.run("wg", "setconf", self.ifname, path, step="configuring by wg setconf")

    def set(self, *args):
        self.ns.run("wg", "set", self.ifname, *args, step="configuring by wg set")

    def up(self, address, mtu=1420):
        """As wg-quick does: address and MTU set, interface up."""
        step = "bringing the interface up"
        ip = ["ip", "-n", self.ns.name]
        command(*ip, "addr", "add", address, "dev", self.ifname, step=step)
        command(*ip, "link", "set", self.ifname, "mtu", mtu, "up", step=step)


class Implementation:
    kind = "daemon"

    def __init__(self, name):
        self.name = name

    def describe(self):
        return {"name": self.name, "kind": self.kind, "command": None, "version": None,
                "sha256": None}


class Raw(Implementation):
    """No tunnel at all: what namespaces, veth and the load generator allow."""

    kind = "raw"


class Kernel(Implementation):
    """The kernel's own WireGuard."""

    kind = "kernel"

    def start(self, ns):
        end = End(ns, ns.lab.ifname())
        try:
            command("ip", "-n", ns.name, "link", "add", end.ifname, "type", "wireguard",
                    step="making an interface of the kernel's WireGuard")
        except BenchError as e:
            raise Skipped(f"this kernel has no WireGuard: {e.message[-100:]}") from None
        return end


class Daemon(Implementation):
    def __init__(self, name, command_line):
        super().__init__(name)
        try:
            self.words = shlex.split(command_line)
        except ValueError as e:
            raise UsageError(f"--impl {name}: {e}") from None
        if not self.words:
            raise UsageError(f"--impl {name}: the command is empty")
        if not any("{if}" in w for w in self.words):
            self.words.append("{if}")

    def binary(self):
        """Path of the program itself, behind env and its variables."""
        words = list(self.words)
        if os.path.basename(words[0]) == "env":
            words = [w for w in words[1:] if "=" not in w and not w.startswith("-")]
        return shutil.which(words[0]) if words else None

    def check(self):
        if not shutil.which(self.words[0]) or not self.binary():
            raise BenchError(f"looking for {self.name}", f"no such program: {self.words[0]}")

    def describe(self):
        binary = self.binary()
        with open(binary, "rb") as f:
            digest = hashlib.sha256(f.read()).hexdigest()
        return {"name": self.name, "kind": self.kind, "command": shlex.join(self.words),
                "version": program_version(binary), "sha256": digest}

    def start(self, ns):
        """Starts it, in the fore- or background as it likes, and waits for its control socket."""
        end = End(ns, ns.lab.ifname())
        end.log_path = ns.lab.path(f"{end.ifname}.log")
        argv = [w.replace("{if}", end.ifname) for w in self.words]
        with open(end.log_path, "wb") as log:
            end.process = ns.start(*argv, stdout=log, stderr=log, env=clean_environment())
        deadline = time.monotonic() + START_SEC
        while not answers(end.ifname):
            status = end.process.poll()
            if status:
                raise BenchError(START_STEP, f"it ended with status {status}"
                                 + end.log_tail())
            if time.monotonic() > deadline:
                raise BenchError(START_STEP, f"no control socket after {START_SEC} s"
                                 + end.log_tail())
            time.sleep(0.01)
        if not wait_until(lambda: has_link(end), 2):
            raise BenchError(START_STEP, "it made no interface" + end.log_tail())
        end.pids = [p for p in ns.pids() if accounting.is_running(p)]
        return end


def has_link(end):
    return subprocess.run(["ip", "-n", end.ns.name, "link", "show", "dev", end.ifname],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


def answers(ifname):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(1)
        try:
            s.connect(socket_path(ifname))
            return True
        except OSError:
            return False


def clean_environment():
    """No variable of the caller steers one implementation and not the other; what is wanted is
    written into its command, behind env."""
    return {k: v for k, v in os.environ.items()
            if not k.startswith(("RINGTUN_", "WG_")) and k != "LOG_LEVEL"}


def program_version(binary):
    """First line of what --version prints; a file NAME.version beside it wins."""
    beside = f"{binary}.version"
    if os.path.exists(beside):
        with open(beside) as f:
            return f.read().strip()
    try:
        r = subprocess.run([binary, "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=5, check=False,
                           env=clean_environment())
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = r.stdout.strip().splitlines()
    return lines[0][:120] if r.returncode == 0 and lines else None


def parse(text):
    """NAME=COMMAND, or the name of a built-in."""
    name, has_command, command_line = text.partition("=")
    if not NAME.match(name):
        raise UsageError(f"--impl {text}: a name is letters, digits and . _ + -")
    if has_command:
        if name in ("raw", "kernel"):
            raise UsageError(f"--impl {text}: {name} is the name of a built-in")
        return Daemon(name, command_line)
    if name == "raw":
        return Raw(name)
    if name == "kernel":
        return Kernel(name)
    raise UsageError(f"--impl {text}: neither NAME=COMMAND nor a built-in (raw, kernel)")

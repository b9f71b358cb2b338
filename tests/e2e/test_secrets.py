#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Where secrets are in the memory of the daemon under test (RINGTUN_BIN): a full dump of the process
is searched for the private key, pre-shared keys, session keys, and everything that a handshake
derives on its way. What must be alive is found in secure memory only (locked, left out of core
files, empty after fork), and what was used is found nowhere. P-461, P-462, P-464, pitfall 72."""

import ctypes
import ctypes.util
import glob
import os
import re
import resource
import shutil
import signal
import subprocess
import time

from lib import report
from lib import wgpeer as wg
from lib.netns import ringtun_bin, uapi_connect
from lib.report import case, check, equal
from lib.wgpeer_rig import Rig

libc = ctypes.CDLL(None, use_errno=True)


class Region:
    def __init__(self, line, flags, data):
        self.name = line.split(maxsplit=5)[5] if len(line.split(maxsplit=5)) > 5 else "anonymous"
        self.range = line.split()[0]
        self.data = data
        self.is_secure = {"dd", "lo"} <= flags and bool({"wf", "dc"} & flags)

    def __str__(self):
        return f"{self.range} {self.name.strip()}{' secure' if self.is_secure else ''}"


def regions(pid):
    """All that the process may write to, as it is at one moment."""
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(200):
            if all(open(f"/proc/{pid}/task/{t}/stat").read().rsplit(")", 1)[1].split()[0] == "T"
                   for t in os.listdir(f"/proc/{pid}/task")):
                break
            time.sleep(0.005)
        found, line = [], None
        with open(f"/proc/{pid}/smaps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
            for row in maps:
                if "-" in row.split()[0] and ":" not in row.split()[0]:
                    line = row
                elif row.startswith("VmFlags:") and line.split()[1].startswith("rw"):
                    start, end = (int(x, 16) for x in line.split()[0].split("-"))
                    mem.seek(start)
                    try:
                        found.append(Region(line, set(row.split()[1:]), mem.read(end - start)))
                    except OSError:
                        pass  # a ring of the kernel's
        return found
    finally:
        os.kill(pid, signal.SIGCONT)


class Watch:
    """Everything that our side of the handshakes derived, by name."""

    def __init__(self):
        self.secrets = {}
        self.kdf, self.dh = wg.kdf, wg.dh

    def __enter__(self):
        def kdf(n, key, data):
            out = self.kdf(n, key, data)
            for i, secret in enumerate(out):
                self.secrets[bytes(secret)] = f"kdf output {i}"
            return out

        def dh(private, public):
            secret = self.dh(private, public)
            self.secrets[bytes(secret)] = "Diffie-Hellman result"
            return secret
        wg.kdf, wg.dh = kdf, dh
        return self

    def __exit__(self, *exc):
        wg.kdf, wg.dh = self.kdf, self.dh

    def except_for(self, *alive):
        """What must be nowhere. The first chaining key of all is public, as are those made of
        public keys alone: they do not count, but nobody keeps them either."""
        return {s: name for s, name in self.secrets.items() if s not in alive}


def spellings(secret):
    return (secret, secret.hex().encode(), secret.hex().upper().encode())


def places(memory, secret):
    return [r for r in memory for form in spellings(secret) if form in r.data]


def expect_nowhere(memory, secrets):
    for secret, name in secrets.items():
        where = places(memory, secret)
        check(not where, f"{name} is in {', '.join(map(str, where))}")


def expect_secure(memory, secrets, must_be_there=True):
    for secret, name in secrets.items():
        where = places(memory, secret)
        check(where or not must_be_there, f"{name} is nowhere: the search does not work")
        for r in where:
            check(r.is_secure, f"{name} is in {r}")


def settle(rig):
    """Lets the daemon use its stacks and buffers as it does all day."""
    rig.get()
    time.sleep(0.05)


def static_static(rig, peer):
    return wg.dh(peer.private, rig.public)


# A session

def keys_in_life(args):
    def run(lab):
        with Watch() as watch, Rig(lab, args=("-f", *args)) as rig:
            peer = rig.peer(psk=os.urandom(32), endpoint=True)
            sessions = [peer.called(), peer.connect(), peer.connect()]
            rig.works(peer, sessions[-1])
            settle(rig)
            memory = regions(rig.daemon.pid)
            last, ss = sessions[-1], static_static(rig, peer)
            alive = {rig.private: "private key", peer.psk: "pre-shared key",
                     last.send_key: "receiving key", last.receive_key: "sending key"}
            may_be = {sessions[1].send_key: "previous receiving key", ss: "static-static result",
                      sessions[1].receive_key: "previous sending key"}
            expect_secure(memory, alive)
            expect_secure(memory, may_be, must_be_there=False)
            expect_nowhere(memory, watch.except_for(*alive, *may_be))
    return run


for _args in (("--io=uring",), ("--io=poll",), ("--cpu-mask=none",)):
    case(f"a session: keys in secure memory, nothing else left over, {' '.join(_args)}")(
        keys_in_life(_args))


@case("three more sessions: the keys of the first are gone")
def rekey(lab):
    with Watch() as watch, Rig(lab) as rig:
        peer = rig.peer(psk=os.urandom(32), endpoint=True)
        sessions = [peer.connect() for _ in range(4)]
        rig.works(peer, sessions[-1])
        settle(rig)
        memory = regions(rig.daemon.pid)
        keys = [k for s in sessions[-2:] for k in (s.send_key, s.receive_key)]
        expect_nowhere(memory, watch.except_for(*keys, static_static(rig, peer)))


# Ephemeral keys

def sodium():
    name = ctypes.util.find_library("sodium")
    if not name:
        report.skip("no libsodium to multiply with")
    return ctypes.CDLL(name)


def private_of(memory, public):
    """The regions with a private key of @public, at any address, but without many zero bytes."""
    lib = sodium()
    out = ctypes.create_string_buffer(32)
    found, seen = [], set()
    for r in memory:
        for run in re.finditer(rb"(?:\0{0,2}[^\0]){22,}", r.data):
            for at in range(run.start(), run.end() - 31):
                key = r.data[at:at + 32]
                if key in seen or len(set(key)) < 22:
                    continue
                seen.add(key)
                lib.crypto_scalarmult_base(out, key)
                if out.raw == public:
                    found.append((r, key))
    return found


@case("the ephemeral key of an initiation: secure while it waits, gone after the response",
      timeout=120)
def ephemeral_initiator(lab):
    with Rig(lab) as rig:
        peer = rig.peer(endpoint=True)
        rig.send_out(peer)
        received = peer.receive_initiation()
        settle(rig)
        found = private_of(regions(rig.daemon.pid), received.ephemeral)
        check(found, "not found while it must be alive: the search does not work")
        for r, _ in found:
            check(r.is_secure, f"in {r}")
        peer.answer(received)
        check(peer.recv() is not None, "the staged packet did not come")
        settle(rig)
        expect_nowhere(regions(rig.daemon.pid), {found[0][1]: "ephemeral key"})


@case("the ephemeral key of a response is nowhere afterwards", timeout=120)
def ephemeral_responder(lab):
    with Rig(lab) as rig:
        peer = rig.peer()
        initiation = peer.send_initiation()
        response = peer.expect(wg.RESPONSE).data
        peer.send(initiation.consume(response).seal())
        settle(rig)
        found = private_of(regions(rig.daemon.pid), response[12:44])
        check(not found, f"in {', '.join(str(r) for r, _ in found)}")


@case("a handshake that stops after the initiation, and is wiped with its peer", timeout=60)
def stopped(lab):
    with Watch() as watch, Rig(lab) as rig:
        peer = rig.peer(psk=os.urandom(32), endpoint=True)
        rig.send_out(peer)
        peer.receive_initiation()
        rig.set(f"public_key={peer.public.hex()}\nremove=true\n")
        settle(rig)
        memory = regions(rig.daemon.pid)
        expect_nowhere(memory, {**watch.except_for(), peer.psk: "pre-shared key"})


# Changes

@case("another private key: the old one and its sessions are gone")
def key_change(lab):
    with Watch() as watch, Rig(lab) as rig:
        peer = rig.peer(psk=os.urandom(32), endpoint=True)
        rig.works(peer, peer.connect())
        old, ss = rig.private, static_static(rig, peer)
        rig.set("private_key=" + wg.new_private().hex() + "\n")
        settle(rig)
        memory = regions(rig.daemon.pid)
        expect_nowhere(memory, {old: "private key", ss: "static-static result"})
        rig.set("private_key=" + "00" * 32 + "\n")
        settle(rig)
        expect_nowhere(regions(rig.daemon.pid), {old: "private key"})
        equal(len(places(regions(rig.daemon.pid), peer.psk)), 1, "places of the pre-shared key")
    del watch


@case("a removed peer: its pre-shared key and its sessions are gone; so is what `get` showed")
def removal(lab):
    with Watch() as watch, Rig(lab) as rig:
        peer = rig.peer(psk=os.urandom(32), endpoint=True)
        rig.works(peer, peer.connect())
        for _ in range(3):
            rig.get()
        expect_secure(regions(rig.daemon.pid), {rig.private: "private key",
                                                peer.psk: "pre-shared key"})
        rig.set(f"public_key={peer.public.hex()}\nremove=true\n")
        settle(rig)
        memory = regions(rig.daemon.pid)
        expect_nowhere(memory, {**watch.except_for(), peer.psk: "pre-shared key"})


@case("a refused `set` and one that was cut off leave no key behind")
def refused(lab):
    with Rig(lab) as rig:
        key, psk = wg.new_private(), os.urandom(32)
        text = (f"set=1\nprivate_key={key.hex()}\npublic_key={wg.public_of(key).hex()}\n"
                f"preshared_key={psk.hex()}\nallowed_ip=nonsense\n\n")
        check(rig.transact(text) != "errno=0", "it was taken")
        with uapi_connect(rig.ifname) as s:
            s.sendall(text[:-30].encode())
            time.sleep(0.1)
        settle(rig)
        expect_nowhere(regions(rig.daemon.pid), {key: "private key", psk: "pre-shared key"})


# Text on its way

def transacting(rig, psks):
    """Peers enough that their `get` does not fit into a socket."""
    rig.set("".join(f"public_key={wg.public_of(wg.new_private()).hex()}\npreshared_key="
                    f"{psk.hex()}\n" for psk in psks))


def expect_secure_text(memory, secrets, name):
    """As it is, and as text."""
    for secret in secrets:
        where = places(memory, secret)
        check(any(secret.hex().encode() in r.data for r in where), f"{name}: no text of it is there")
        for r in where:
            check(r.is_secure, f"{name} is in {r}")


@case("a client that does not read its `get`, one that stops in a `set`: text in secure memory only",
      timeout=60)
def slow_clients(lab):
    with Rig(lab) as rig:
        psks = [os.urandom(32) for _ in range(3000)]
        transacting(rig, psks)
        key, fresh = wg.new_private(), [os.urandom(32) for _ in range(200)]
        text = f"set=1\nprivate_key={key.hex()}\n" + "".join(
            f"public_key={wg.public_of(wg.new_private()).hex()}\npreshared_key={psk.hex()}\n"
            for psk in fresh)
        with uapi_connect(rig.ifname) as reader, uapi_connect(rig.ifname) as writer:
            reader.sendall(b"get=1\n\n")
            writer.sendall(text[:-20].encode())  # the last line is not complete
            time.sleep(0.3)
            memory = regions(rig.daemon.pid)
            expect_secure_text(memory, psks[-3:], "a pre-shared key of a reply")
            expect_secure(memory, {rig.private: "private key", key: "new private key",
                                   fresh[0]: "new pre-shared key", fresh[-2]: "another one"})
            begun = fresh[-1].hex()[:40].encode()
            where = [r for r in memory if begun in r.data]
            check(where and all(r.is_secure for r in where), f"the line begun is in {where}")
        settle(rig)
        expect_nowhere(regions(rig.daemon.pid), {key: "new private key",
                                                 fresh[0]: "new pre-shared key"})


@case("little memory may be locked: everything works, one line in the log, and the status says so",
      timeout=60)
def small_limit(lab):
    if not shutil.which("setpriv"):
        report.skip("setpriv is not installed")

    def limit():
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, 1 << 20))
    with Rig(lab, binary="setpriv", preexec_fn=limit, args=(
            "--bounding-set", "-sys_resource,-ipc_lock", ringtun_bin(), "-f", "-v", "info")) as rig:
        psks = [os.urandom(32) for _ in range(3000)]
        transacting(rig, psks)
        text = rig.transact("get=1\n\n")
        check(all(psk.hex() in text for psk in psks), "keys are missing")
        check("keys_locked=false\n" in rig.transact("status=1\n\n"), "the status knows nothing")
        equal(rig.daemon.log().count("RLIMIT_MEMLOCK"), 1, "lines in the log")


# The outside

@case("no core file, and an ordinary user's debugger is refused")
def dumps(lab):
    with Rig(lab, args=("-f", "--user=nobody")) as rig:
        pid = rig.daemon.pid
        equal(os.stat(f"/proc/{pid}/mem").st_uid, 0, "owner of /proc/PID/mem: it is dumpable")
        with open(f"/proc/{pid}/limits") as f:
            limit = next(line.split()[4:6] for line in f if line.startswith("Max core file size"))
        equal(limit, ["0", "0"], "limit of core files")


@case("a core file by gdb lacks every key")
def gcore(lab):
    if not shutil.which("gcore"):
        report.skip("needs gdb")
    with Rig(lab) as rig:
        peer = rig.peer(psk=os.urandom(32), endpoint=True)
        session = peer.connect()
        rig.works(peer, session)
        settle(rig)
        subprocess.run(["gcore", "-o", lab.path("core"), str(rig.daemon.pid)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=25)
        (name,) = glob.glob(lab.path("core.*"))
        with open(name, "rb") as f:
            data = f.read()
        check(len(data) > 1 << 20, "the core file is too small to be one")
        for secret in (rig.private, peer.psk, session.send_key, session.receive_key):
            check(not any(form in data for form in spellings(secret)), "a key is in the core file")


if __name__ == "__main__":
    report.main()

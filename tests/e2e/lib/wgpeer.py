# SPDX-License-Identifier: MPL-2.0
"""A WireGuard peer of our own: the messages and keys of the protocol as plain functions on bytes.

It shares no code with the daemon under test. Nothing here is hidden or automatic: a test chooses
every field (keys, indices, counters, timestamps, macs, padding) and may choose wrong ones. There
is no I/O, no clock but TAI64N's default, and no state but a session's counter.
Numbers are those of the protocol specification."""

import functools
import hashlib
import hmac as py_hmac
import os
import struct
import time

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"  # P-001
IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"  # P-002
LABEL_MAC1 = b"mac1----"  # P-003
LABEL_COOKIE = b"cookie--"
INITIATION, RESPONSE, COOKIE_REPLY, TRANSPORT = 1, 2, 3, 4
INITIATION_LEN, RESPONSE_LEN, COOKIE_REPLY_LEN, TRANSPORT_MIN_LEN = 148, 92, 64, 32
REJECT_AFTER_MESSAGES = 2**64 - 2**13 - 1  # P-005
TAI64_BASE = 0x400000000000000A  # P-046
ZERO_KEY = bytes(32)
NO_MAC = bytes(16)
# P-022: points of small order, with which every Diffie-Hellman result is zero.
LOW_ORDER_POINTS = tuple(bytes.fromhex(p) for p in (
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"))


class Refused(Exception):
    """A message that does not verify."""


# Primitives (P-020 .. P-024)

def hash_(data):
    return hashlib.blake2s(data).digest()


def mac(key, data):
    return hashlib.blake2s(data, key=key, digest_size=16).digest()


def hmac(key, data):
    return py_hmac.new(key, data, hashlib.blake2s).digest()


def kdf(n, key, data):
    """The @n outputs of P-021, as a list."""
    t0 = hmac(key, data)
    out, last = [], b""
    for i in range(1, n + 1):
        last = hmac(t0, last + bytes([i]))
        out.append(last)
    return out


def clamp(key):
    key = bytearray(key)
    key[0] &= 248
    key[31] = (key[31] & 127) | 64
    return bytes(key)


def new_private():
    return clamp(os.urandom(32))


@functools.lru_cache(4096)
def public_of(private):
    key = X25519PrivateKey.from_private_bytes(private).public_key()
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def dh(private, public):
    """X25519. All zero for points of small order: it is the daemon that has to refuse them."""
    key = X25519PrivateKey.from_private_bytes(private)
    try:
        return key.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        return ZERO_KEY


def nonce(counter):
    return bytes(4) + struct.pack("<Q", counter)


def seal(key, counter, plaintext, ad=b""):
    return ChaCha20Poly1305(key).encrypt(nonce(counter), plaintext, ad)


def open_(key, counter, box, ad=b""):
    try:
        return ChaCha20Poly1305(key).decrypt(nonce(counter), box, ad)
    except InvalidTag:
        raise Refused("AEAD tag") from None


def rotate_left(x, n):
    return ((x << n) | (x >> (32 - n))) & 0xFFFFFFFF


def quarter_round(s, a, b, c, d):
    for x, y, z, n in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        s[x] = (s[x] + s[y]) & 0xFFFFFFFF
        s[z] = rotate_left(s[z] ^ s[x], n)


def hchacha20(key, nonce16):
    s = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce16))
    for _ in range(10):
        for column in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)):
            quarter_round(s, *column)
        for diagonal in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter_round(s, *diagonal)
    return struct.pack("<8I", *s[0:4], *s[12:16])


def xseal(key, nonce24, plaintext, ad):
    box = ChaCha20Poly1305(hchacha20(key, nonce24[:16]))
    return box.encrypt(bytes(4) + nonce24[16:], plaintext, ad)


def xopen(key, nonce24, data, ad):
    try:
        box = ChaCha20Poly1305(hchacha20(key, nonce24[:16]))
        return box.decrypt(bytes(4) + nonce24[16:], data, ad)
    except InvalidTag:
        raise Refused("XAEAD tag") from None


# Timestamps

def tai64n(seconds, nanoseconds=0):
    return struct.pack(">QI", TAI64_BASE + seconds, nanoseconds)


def tai64n_of_ns(ns):
    return tai64n(ns // 10**9, ns % 10**9)


def tai64n_now():
    return tai64n_of_ns(time.time_ns())


def tai64n_split(stamp):
    """(unix seconds, nanoseconds)"""
    seconds, nanoseconds = struct.unpack(">QI", stamp)
    return seconds - TAI64_BASE, nanoseconds


# Macs and cookies (P-100 .. P-107)

def mac1_of(receiver_public, message):
    """mac1 of a handshake @message, of which both macs are the last 32 bytes."""
    return mac(hash_(LABEL_MAC1 + receiver_public), message[:-32])


def mac2_of(cookie, message):
    return mac(cookie, message[:-16]) if cookie else NO_MAC


def with_macs(body, receiver_public, cookie=None):
    """A whole message from its @body, all of it before mac1."""
    message = body + bytes(32)
    message = body + mac1_of(receiver_public, message) + NO_MAC
    return message[:-16] + mac2_of(cookie, message)


def with_mac2(message, mac2):
    return message[:-16] + mac2


def build_cookie_reply(own_public, receiver, mac1, cookie, nonce24=None):
    nonce24 = nonce24 or os.urandom(24)
    box = xseal(hash_(LABEL_COOKIE + own_public), nonce24, cookie, mac1)
    return struct.pack("<II", COOKIE_REPLY, receiver) + nonce24 + box


def open_cookie_reply(message, peer_public, mac1):
    """(receiver index, cookie)"""
    kind, receiver = struct.unpack_from("<II", message)
    if kind != COOKIE_REPLY or len(message) != COOKIE_REPLY_LEN:
        raise Refused("not a cookie reply")
    key = hash_(LABEL_COOKIE + peer_public)
    return receiver, xopen(key, message[8:32], message[32:], mac1)


# Handshake (P-040 .. P-070)

INITIAL_CHAIN = hash_(CONSTRUCTION)


def random_index():
    return int.from_bytes(os.urandom(4), "little")


class Initiation:
    """An initiation that we send: its bytes in .message, and what its response needs."""

    def __init__(self, private, peer_public, *, ephemeral=None, index=None, stamp=None,
                 cookie=None, static_public=None):
        self.private, self.peer_public = private, peer_public
        self.ephemeral = ephemeral or new_private()
        self.index = random_index() if index is None else index
        self.stamp = stamp or tai64n_now()
        self.static_public = static_public or public_of(private)
        self.message = with_macs(self._body(), peer_public, cookie)

    def _body(self):
        ephemeral_public = public_of(self.ephemeral)
        c = INITIAL_CHAIN
        h = hash_(hash_(c + IDENTIFIER) + self.peer_public)
        h = hash_(h + ephemeral_public)
        c, = kdf(1, c, ephemeral_public)
        c, k = kdf(2, c, dh(self.ephemeral, self.peer_public))
        static = seal(k, 0, self.static_public, h)
        h = hash_(h + static)
        c, k = kdf(2, c, dh(self.private, self.peer_public))
        timestamp = seal(k, 0, self.stamp, h)
        self.hash, self.chain = hash_(h + timestamp), c
        head = struct.pack("<II", INITIATION, self.index)
        return head + ephemeral_public + static + timestamp

    @property
    def mac1(self):
        return self.message[116:132]

    def consume(self, response, psk=ZERO_KEY):
        """The session that @response makes; Refused when it does not verify."""
        if len(response) != RESPONSE_LEN or response[:4] != struct.pack("<I", RESPONSE):
            raise Refused("not a response")
        remote, receiver = struct.unpack_from("<II", response, 4)
        if receiver != self.index:
            raise Refused(f"response to index {receiver:#x}, not {self.index:#x}")
        if mac1_of(public_of(self.private), response) != response[60:76]:
            raise Refused("mac1 of the response")
        e = response[12:44]
        h, c = hash_(self.hash + e), kdf(1, self.chain, e)[0]
        c, = kdf(1, c, dh(self.ephemeral, e))
        c, = kdf(1, c, dh(self.private, e))
        c, tau, k = kdf(3, c, psk)
        open_(k, 0, response[44:60], hash_(h + tau))
        t1, t2 = kdf(2, c, b"")
        return Session(self.index, remote, t1, t2)


class ReceivedInitiation:
    """An initiation that the daemon sent to us, verified except for its cookie."""

    def __init__(self, private, message):
        if len(message) != INITIATION_LEN or message[:4] != struct.pack("<I", INITIATION):
            raise Refused("not an initiation")
        self.private, self.message = private, message
        self.index, = struct.unpack_from("<I", message, 4)
        self.ephemeral = message[8:40]
        self.mac1, self.mac2 = message[116:132], message[132:148]
        own_public = public_of(private)
        if mac1_of(own_public, message) != self.mac1:
            raise Refused("mac1 of the initiation")
        c = INITIAL_CHAIN
        h = hash_(hash_(c + IDENTIFIER) + own_public)
        h, c = hash_(h + self.ephemeral), kdf(1, c, self.ephemeral)[0]
        c, k = kdf(2, c, dh(private, self.ephemeral))
        self.static = open_(k, 0, message[40:88], h)
        h = hash_(h + message[40:88])
        c, k = kdf(2, c, dh(private, self.static))
        self.stamp = open_(k, 0, message[88:116], h)
        self.hash, self.chain = hash_(h + message[88:116]), c

    def respond(self, psk=ZERO_KEY, *, ephemeral=None, index=None, cookie=None):
        """(response, session)"""
        ephemeral = ephemeral or new_private()
        index = random_index() if index is None else index
        e = public_of(ephemeral)
        h, c = hash_(self.hash + e), kdf(1, self.chain, e)[0]
        c, = kdf(1, c, dh(ephemeral, self.ephemeral))
        c, = kdf(1, c, dh(ephemeral, self.static))
        c, tau, k = kdf(3, c, psk)
        empty = seal(k, 0, b"", hash_(h + tau))
        head = struct.pack("<III", RESPONSE, index, self.index)
        message = with_macs(head + e + empty, self.static, cookie)
        t1, t2 = kdf(2, c, b"")
        return message, Session(index, self.index, t2, t1)


class Session:
    """A key pair. .counter is the next one to send with; a test may set it to anything."""

    def __init__(self, local, remote, send_key, receive_key):
        self.local, self.remote = local, remote
        self.send_key, self.receive_key = send_key, receive_key
        self.counter = 0

    def seal(self, inner=b"", *, counter=None, pad=True, receiver=None):
        """A transport message; a @counter of the test's own leaves ours alone."""
        if counter is None:
            counter, self.counter = self.counter, self.counter + 1
        if pad:
            inner += bytes(-len(inner) % 16)
        receiver = self.remote if receiver is None else receiver
        head = struct.pack("<IIQ", TRANSPORT, receiver, counter)
        return head + seal(self.send_key, counter, inner)

    def owns(self, message):
        return (len(message) >= TRANSPORT_MIN_LEN and
                struct.unpack_from("<II", message) == (TRANSPORT, self.local))

    def open(self, message):
        """(counter, plaintext)"""
        if not self.owns(message):
            raise Refused("transport message of another session")
        counter, = struct.unpack_from("<Q", message, 8)
        return counter, open_(self.receive_key, counter, message[16:])


def kind_of(message):
    """The message type, or None for what no implementation may send (P-034, P-035)."""
    if len(message) < 4:
        return None
    kind, = struct.unpack_from("<I", message)
    exact = {INITIATION: INITIATION_LEN, RESPONSE: RESPONSE_LEN, COOKIE_REPLY: COOKIE_REPLY_LEN}
    if kind == TRANSPORT:
        return kind if len(message) >= TRANSPORT_MIN_LEN else None
    return kind if exact.get(kind) == len(message) else None

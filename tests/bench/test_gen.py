#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""ringtun-bench-gen against bench/gen/PROTOCOL.md: each role with a counterpart made here, which sees
or crafts every datagram. Needs no privileges; everything is on the loopback.

    test_gen.py PROGRAM [WORD]...    only cases whose name contains one of the words
"""

import collections
import concurrent.futures
import contextlib
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback

HEADER = struct.Struct(">4sBBHIIQQ")
Header = collections.namedtuple("Header", "magic kind zero n_flows run flow seq sent_ns")
WARM_UP, MEASURED, END = range(3)
SOL_UDP, UDP_SEGMENT = 17, 103
END_SEC = 20  # nothing here takes longer on the busiest machine

AT_ONCE = 6  # cases: nearly all of their time is waiting

CASES = []
program = None


class Skipped(Exception):
    """Can not be tested here."""


def case(function):
    CASES.append(function)
    return function


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def equal(got, expected, what):
    check(got == expected, f"{what}: {got!r}, expected {expected!r}")


# --- The other side -------------------------------------------------------------------------------

def datagram(seq, kind=MEASURED, flow=0, n_flows=1, run=7, size=64, magic=b"RTBG", sent_ns=None):
    sent_ns = time.monotonic_ns() if sent_ns is None else sent_ns
    return HEADER.pack(magic, kind, 0, n_flows, run, flow, seq, sent_ns).ljust(size, b"\0")


def udp_socket(family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
    s.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    return s


def free_port():
    with udp_socket() as s:
        return s.getsockname()[1]


def start(*args):
    return subprocess.Popen([program, *map(str, args)], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(process, status=0):
    """What a role printed, and that it kept the form of the contract."""
    try:
        out, err = process.communicate(timeout=END_SEC)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError("it does not end") from None
    equal(process.returncode, status, f"exit status ({err.strip()})")
    lines = out.splitlines()
    equal(len(lines), 1, "lines of output behind READY")
    equal(len(err.splitlines()), 1, "lines for humans")
    found = json.loads(lines[0])
    equal(found["version"], 1, "version")
    check(found["cpu_s"] >= 0, "CPU time")
    return found


@contextlib.contextmanager
def receiver(role, *args, address="127.0.0.1"):
    """A role that binds: (process, socket connected to it)."""
    port = free_port()
    process = start(role, "--bind", address, "--port", port, *args)
    try:
        equal(process.stdout.readline(), "READY\n", "first line")
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET,
                           socket.SOCK_DGRAM) as s:
            s.connect((address, port))
            yield process, s
    finally:
        process.kill()
        process.communicate()


def run_recv(datagrams, *args, end=None):
    """What recv says about @datagrams; @end are the totals by flow for the end markers."""
    with receiver("recv", "--linger", 0.1, "--limit", 1 if end is None else END_SEC, *args) \
            as (process, s):
        for d in datagrams:
            s.send(d)
        for flow, total in enumerate(end or ()):
            s.send(datagram(total, END, flow, len(end)))
        return result(process)


def run_send(*args, is_patient=False):
    """What send says, and the [(Header, length, source port)] that came, up to the first end marker
    of every flow, or all markers."""
    came = []
    is_over = False
    with udp_socket() as s:
        s.settimeout(END_SEC)
        process = start("send", "--to", "127.0.0.1", "--port", s.getsockname()[1], *args)
        while not is_over:
            data, (_, port) = s.recvfrom(65536)
            h = Header(*HEADER.unpack(data[:HEADER.size]))
            came.append((h, len(data), port))
            if is_patient and h.kind == END:
                s.settimeout(2)
                with contextlib.suppress(TimeoutError):
                    while True:
                        came.append((Header(*HEADER.unpack(s.recv(100)[:HEADER.size])), 32, port))
            is_over = h.kind == END and h.flow == h.n_flows - 1
    return result(process), came


def check_histogram(h):
    """Buckets are HdrHistogram's and agree with the figures beside them."""
    buckets = h["buckets"]
    equal(sum(n for _, n in buckets), h["count"], "counts in the buckets")
    equal(buckets, sorted(buckets), "order of buckets")
    for value, n in buckets:
        shift = max(0, value.bit_length() - 11)
        check(n > 0 and value + 1 >> shift << shift == value + 1, f"bucket {value}: {n}")
    if not h["count"]:
        equal((h["min"], h["max"], h["mean"], h["percentiles"]), (None,) * 4, "empty histogram")
        return
    check(h["min"] <= buckets[0][0] <= h["min"] * (1 + 1 / 1024) + 1, "minimum")
    check(h["max"] <= buckets[-1][0] <= h["max"] * (1 + 1 / 1024) + 1, "maximum")
    check(h["min"] <= h["mean"] <= h["max"], "mean")
    for percent, value in h["percentiles"].items():
        below = sum(n for v, n in buckets if v < value)
        upto = sum(n for v, n in buckets if v <= value)
        check(below < float(percent) / 100 * h["count"] <= upto + 1e-6, f"percentile {percent}")


# --- recv -----------------------------------------------------------------------------------------

@case
def recv_counts_loss_duplicates_and_reordering():
    """0 1 3 2 2 6 5 9 of ten: 4, 7 and 8 lost, 2 and 5 late, one 2 too many."""
    got = run_recv([datagram(i, size=100) for i in (0, 1, 3, 2, 2, 6, 5, 9)], end=[10])
    for key, value in {"received": 7, "bytes": 700, "sent": 10, "lost": 3, "loss": 0.3,
                       "duplicates": 1, "reordered": 2, "reorder_extent_max": 1, "foreign": 0,
                       "is_complete": True, "interrupted": False, "flows": 1}.items():
        equal(got[key], value, key)
    equal(got["delay_ns"]["count"], 7, "delays")
    check_histogram(got["delay_ns"])


@case
def recv_sees_what_is_lost_at_the_end():
    equal(run_recv([datagram(i) for i in range(5)], end=[8])["lost"], 3, "lost")


@case
def recv_tells_flows_apart():
    sent = [datagram(i, flow=f, n_flows=3) for i in range(4) for f in range(3)
            if (i, f) not in ((1, 1), (2, 1))]
    got = run_recv(sent, "--per-flow", end=[4, 4, 4])
    equal([(f["flow"], f["sent"], f["received"], f["lost"]) for f in got["flow"]],
          [(0, 4, 4, 0), (1, 4, 2, 2), (2, 4, 4, 0)], "flows")
    equal((got["received"], got["lost"], got["flow_loss_max"]), (10, 2, 0.5), "totals")


@case
def recv_waits_for_the_end_of_every_flow():
    begin = time.monotonic()
    got = run_recv([datagram(0, flow=0, n_flows=2), datagram(0, END, 0, 2)])
    check(time.monotonic() - begin >= 1, "it did not wait until its limit")
    equal((got["is_complete"], got["sent"]), (False, None), "completeness")


@case
def recv_without_end_marker_estimates():
    begin = time.monotonic()
    got = run_recv([datagram(i) for i in (0, 1, 5)])
    check(time.monotonic() - begin >= 1, "it did not wait until its limit")
    equal((got["sent"], got["lost"], got["loss"], got["is_complete"]), (None, 3, 0.5, False),
          "estimate")


@case
def recv_ends_when_nothing_comes_any_more():
    with receiver("recv", "--idle", 0.3) as (process, s):
        time.sleep(0.6)  # before the run: it waits
        s.send(datagram(0))
        got = result(process)
    equal((got["received"], got["is_complete"], got["interrupted"]), (1, False, False), "counts")


@case
def recv_counts_no_warm_up():
    got = run_recv([datagram(i, WARM_UP) for i in range(9)] + [datagram(0)], end=[1])
    equal((got["received"], got["warm_up_received"], got["delay_ns"]["count"]), (1, 9, 1), "counts")


@case
def recv_ignores_what_is_not_of_the_run():
    foreign = [b"", b"RTBG", datagram(0)[:31], datagram(1, magic=b"XTBG"), datagram(1, kind=3),
               datagram(1, run=8), datagram(1, flow=1), datagram(1, n_flows=0),
               datagram(1, n_flows=2), datagram(1, flow=2000, n_flows=1025),
               datagram(0)[:5] + b"\1" + datagram(0)[6:]]
    got = run_recv([datagram(0), *foreign], end=[1])
    equal((got["received"], got["foreign"], got["lost"]), (1, len(foreign), 0), "counts")


@case
def recv_window_of_sequence_numbers():
    """Numbers far apart; what is older than the window is late, and can not be told as a
    duplicate."""
    got = run_recv([datagram(i) for i in (0, 100000, 100000 - 65535, 100000 - 65535, 100000 - 65536,
                                          200000, 200000 - 65536, 100000)], end=[200001])
    equal((got["received"], got["duplicates"], got["reordered"], got["reorder_extent_max"]),
          (7, 1, 4, 100000), "counts")


@case
def recv_forgets_numbers_that_left_the_window():
    """The ring of bits is reused 65536 numbers later: nothing there may look like a duplicate."""
    seqs = [*range(0, 2000), *range(65536 - 100, 65536 + 2000)]
    got = run_recv([datagram(i) for i in seqs], end=[65536 + 2000])
    equal((got["received"], got["duplicates"], got["reordered"]), (len(seqs), 0, 0), "counts")


@case
def recv_delay_by_both_clocks():
    for clock in ("kernel", "user"):
        now = time.monotonic_ns()
        got = run_recv([datagram(i, sent_ns=now - 10**9) for i in range(20)], "--timestamps", clock,
                       end=[20])
        h = got["delay_ns"]
        equal(got["timestamps"], clock, "clock")
        check(10**9 <= h["min"] and h["percentiles"]["50"] < 2 * 10**9, f"{clock}: {h}")
        check_histogram(h)


@case
def recv_delay_never_negative():
    got = run_recv([datagram(0, sent_ns=time.monotonic_ns() + 10**9)], end=[1])
    equal(got["delay_ns"]["buckets"], [[0, 1]], "delay of a datagram from the future")


@case
def recv_splits_what_the_kernel_coalesced():
    for option in (["--gro"], []):
        with receiver("recv", "--linger", 0.1, *option) as (process, s):
            parts = [datagram(i, size=100) for i in range(30)]
            try:
                s.sendmsg([b"".join(parts), b""], [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", 100))])
                s.sendmsg([b"".join(datagram(30 + i, size=100) for i in range(2)) + datagram(32)],
                          [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", 100))])
            except OSError as e:
                raise Skipped(f"UDP_SEGMENT: {e}") from None
            s.send(datagram(33, END))
            got = result(process)
            equal((got["received"], got["bytes"], got["lost"]), (33, 3264, 0), f"with {option}")
            equal(got["gro"], bool(option), "gro")


@case
def recv_long_datagrams_and_ipv6():
    with receiver("recv", "--linger", 0.1, address="::1") as (process, s):
        for i in range(3):
            s.send(datagram(i, size=65000))
        s.send(datagram(3, END))
        equal((got := result(process))["bytes"], 195000, "bytes")
        equal(got["lost"], 0, "lost")


@case
def recv_ends_on_signals_with_what_it_has():
    for sig in (signal.SIGINT, signal.SIGTERM):
        with receiver("recv") as (process, s):
            s.send(datagram(0))
            time.sleep(0.2)
            process.send_signal(sig)
            got = result(process)
            equal((got["interrupted"], got["received"]), (True, 1), sig.name)


@case
def recv_counts_what_its_socket_lost():
    """Stopped, it can not empty a small buffer."""
    with receiver("recv", "--rcvbuf", 4096, "--linger", 0.1) as (process, s):
        s.send(datagram(0))
        time.sleep(0.1)
        process.send_signal(signal.SIGSTOP)
        for i in range(1, 200):
            s.send(datagram(i, size=1000))
        process.send_signal(signal.SIGCONT)
        time.sleep(0.2)
        s.send(datagram(200, END))
        got = result(process)
    check(got["lost"] > 100, f"only {got['lost']} lost")
    equal(got["socket_drops"], got["lost"], "socket_drops")
    check(4096 <= got["rcvbuf_bytes"] <= 16384, f"buffer of {got['rcvbuf_bytes']} bytes")


# --- send -----------------------------------------------------------------------------------------

def by_kind(came, kind):
    return [c for c in came if c[0].kind == kind]


@case
def send_keeps_its_schedule():
    got, came = run_send("--rate", 2000, "--duration", 0.5, "--warm-up", 0.1)
    measured = by_kind(came, MEASURED)
    equal(got["sent"], 1000 - got["skipped"], "datagrams of half a second")
    check(0.5 <= got["seconds"] < 0.56, f"{got['seconds']} s")
    check(abs(got["offered_pps"] - got["sent"] / got["seconds"]) < 0.1, "offered_pps")
    equal(got["warm_up_sent"], len(by_kind(came, WARM_UP)), "warm-up")
    equal([h.seq for h, _, _ in measured], list(range(got["sent"])), "sequence numbers")
    equal(len({h.run for h, _, _ in came}), 1, "runs")
    equal({(h.magic, h.zero, h.n_flows, h.flow, size) for h, size, _ in measured},
          {(b"RTBG", 0, 1, 0, 64)}, "headers")
    times = [h.sent_ns for h, _, _ in measured]
    check(min(b - a for a, b in zip(times, times[1:])) >= 250000, "faster than twice the rate")
    check(times[-1] - times[0] > 0.4e9, "all at once")


@case
def send_catches_up_slowly_and_gives_up():
    """Held up for 30 ms it makes good at no more than twice the rate; for 300 ms it does not, nor
    beyond the end."""
    for pause, is_given_up, is_at_end in ((0.03, False, False), (0.3, True, False),
                                          (1, True, True)):
        with udp_socket() as s:
            process = start("send", "--to", "127.0.0.1", "--port", s.getsockname()[1], "--rate", 1000,
                            "--duration", 0.8, "--warm-up", 0)
            times = [Header(*HEADER.unpack(s.recv(100)[:32])).sent_ns]
            process.send_signal(signal.SIGSTOP)
            time.sleep(pause)
            process.send_signal(signal.SIGCONT)
            got = result(process)
            s.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                while (h := Header(*HEADER.unpack(s.recv(100)[:32]))).kind == MEASURED:
                    times.append(h.sent_ns)
        check(got["late_max_us"] >= (pause - 0.005) * 1e6, f"late by {got['late_max_us']} us only")
        check(all(b - a >= 500000 for a, b in zip(times, times[1:])), "a burst")
        if is_given_up:
            check(got["skipped"] >= 250, f"{got['skipped']} skipped")
            check(is_at_end or times[-1] - times[0] > 0.7e9, "it gave up what was not due yet")
        equal(got["sent"] + got["skipped"], 800, "schedule")


@case
def send_rate_below_one_and_fractions():
    got, came = run_send("--rate", 2.5, "--duration", 1, "--warm-up", 0)
    equal((got["sent"], len(by_kind(came, MEASURED))), (3, 3), "0, 400 and 800 ms")


@case
def send_imix_in_even_cycles():
    got, came = run_send("--rate", 2400, "--duration", 0.1, "--warm-up", 0, "--size", "imix")
    sizes = [size for _, size, _ in by_kind(came, MEASURED)]
    check(len(sizes) >= 24, "too few")
    for at in range(0, len(sizes) - 11, 12):
        equal(sorted(sizes[at:at + 12]), [64] * 7 + [548] * 4 + [1372], f"cycle at {at}")
        equal(sizes[at:at + 12], sizes[:12], "the same cycle")
    check(not any(a == b == 548 for a, b in zip(sizes, sizes[1:])), "not interleaved")
    equal(got["bytes"], sum(sizes), "bytes")


@case
def send_flows_take_turns():
    got, came = run_send("--rate", 1000, "--duration", 0.2, "--warm-up", 0, "--flows", 4)
    measured = by_kind(came, MEASURED)
    equal({h.flow: port for h, _, port in measured}.keys(), {0, 1, 2, 3}, "flows")
    equal(len({(h.flow, port) for h, _, port in came}), 4, "pairs of flow and port")
    equal(len({port for _, _, port in came}), 4, "ports")
    totals = collections.Counter(h.flow for h, _, _ in measured)
    check(max(totals.values()) - min(totals.values()) <= 1, f"uneven: {totals}")
    for flow, total in totals.items():
        equal([h.seq for h, _, _ in measured if h.flow == flow], list(range(total)), "numbers")
        equal([h.seq for h, _, _ in by_kind(came, END) if h.flow == flow], [total], "markers")
    equal(got["flows"], 4, "flows")


@case
def send_segments_of_super_packets():
    got, came = run_send("--rate", 6400, "--duration", 0.1, "--warm-up", 0, "--segments", 32,
                         "--size", 72)
    measured = by_kind(came, MEASURED)
    if got["last_error"]:
        raise Skipped(got["last_error"])
    equal(got["sent"] + got["skipped"], 640, "datagrams")
    equal([h.seq for h, _, _ in measured], list(range(got["sent"])), "numbers")
    equal({size for _, size, _ in measured}, {72}, "sizes")
    check(got["system_calls"] <= got["sent"] / 32 + 1, f"{got['system_calls']} system calls")


@case
def send_a_last_super_packet_that_is_shorter():
    got, came = run_send("--rate", 10000, "--duration", 0.01, "--warm-up", 0, "--segments", 64)
    if not got["last_error"] and not got["skipped"]:
        equal((got["sent"], len(by_kind(came, MEASURED))), (100, 100), "64 and 36")


@case
def send_as_fast_as_possible_is_bound_by_time():
    begin = time.monotonic()
    got, _ = run_send("--duration", 0.2, "--warm-up", 0)
    check(0.2 <= got["seconds"] < 1 and time.monotonic() - begin < END_SEC, f"{got['seconds']} s")
    equal((got["asked_pps"], got["skipped"], got["batch"]), (0, 0, 64), "no schedule")
    check(got["sent"] > 1000, f"only {got['sent']}")
    check(got["system_calls"] < got["sent"] / 32, "one by one")


@case
def send_repeats_its_end_markers_until_the_receiver_has_gone():
    begin = time.monotonic()
    _, came = run_send("--rate", 100, "--duration", 0.01, "--warm-up", 0, is_patient=True)
    times = [h.sent_ns for h, _, _ in by_kind(came, END)]
    check(len(times) == 7 and times[-1] - times[0] >= 1.26e9, f"{len(times)} markers")
    check(1.26 <= time.monotonic() - begin < END_SEC, "time")
    with udp_socket() as s:
        process = start("send", "--to", "127.0.0.1", "--port", s.getsockname()[1], "--rate", 100,
                        "--duration", 0.01, "--warm-up", 0)
        while Header(*HEADER.unpack(s.recv(100)[:32])).kind != END:
            pass
    begin = time.monotonic()
    result(process)
    check(time.monotonic() - begin < 1, "it goes on though nobody listens")


@case
def send_names_errors():
    """Nobody listens: the kernel says so with the next call."""
    process = start("send", "--to", "127.0.0.1", "--port", free_port(), "--rate", 1000, "--duration",
                    0.2, "--warm-up", 0)
    got = result(process)
    check(got["send_errors"] > 10 and got["last_error"] == "ECONNREFUSED", str(got))
    equal(got["sent"] + got["send_errors"] + got["skipped"], 200, "sent and refused")


@case
def send_numbers_have_no_gap_where_datagrams_were_refused():
    port = free_port()
    process = start("send", "--to", "127.0.0.1", "--port", port, "--rate", 500, "--duration", 0.6,
                    "--warm-up", 0)
    time.sleep(0.2)  # nobody listens
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", port))
        s.settimeout(END_SEC)
        seqs = []
        while (h := Header(*HEADER.unpack(s.recv(100)[:32]))).kind == MEASURED:
            seqs.append(h.seq)
    got = result(process)
    check(got["send_errors"] > 1 and len(seqs) > 1, str(got))
    equal(seqs, list(range(seqs[0], got["sent"])), "numbers of what came")
    equal(h.seq, got["sent"], "end marker")


@case
def send_ends_on_sigint():
    with udp_socket() as s:
        process = start("send", "--to", "127.0.0.1", "--port", s.getsockname()[1], "--rate", 100,
                        "--duration", 60, "--warm-up", 0)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        got = result(process)
    check(got["interrupted"] and got["seconds"] < 10 and 1 <= got["sent"] < 1000, str(got))


@case
def send_needs_little_cpu_at_low_rates():
    got, _ = run_send("--rate", 1000, "--duration", 1, "--warm-up", 0)
    check(got["cpu_s"] < 0.4, f"{got['cpu_s']} CPU seconds for 1000 datagrams")


@case
def send_and_recv_together():
    """Also from several ports, one after another and mixed."""
    for flows in (1, 3):
        with receiver("recv", "--linger", 0.1) as (process, s):
            sent = result(start("send", "--to", "127.0.0.1", "--port", s.getpeername()[1], "--rate",
                                3000, "--duration", 0.3, "--flows", flows, "--size", "imix"))
            got = result(process)
        for key in ("sent", "bytes", "flows"):
            equal(got[key], sent[key], key)
        equal((got["received"], got["lost"], got["reordered"], got["warm_up_received"]),
              (sent["sent"], 0, 0, sent["warm_up_sent"]), "counts")
        check(0 < got["delay_ns"]["percentiles"]["50"] < 10**9, "delay")


# --- rtt and echo ---------------------------------------------------------------------------------

def echo_server(s, answer):
    """Runs answer(number, data, reply) for each measured datagram; others go back at once."""
    number = 0
    with contextlib.suppress(OSError):
        while True:
            data, peer = s.recvfrom(65536)
            header = Header(*HEADER.unpack(data[:32]))
            if header.kind == END:
                s.close()  # the prober stops as soon as it learns that
                return
            if header.kind == WARM_UP:
                s.sendto(data, peer)
                continue
            answer(number, data, lambda d, peer=peer: s.sendto(d, peer))
            number += 1


def run_rtt(answer, *args):
    with udp_socket() as s:
        s.settimeout(END_SEC)
        thread = threading.Thread(target=echo_server, args=(s, answer))
        thread.start()
        got = result(start("rtt", "--to", "127.0.0.1", "--port", s.getsockname()[1], *args))
        thread.join()
    check_histogram(got["rtt_ns"])
    equal(got["rtt_ns"]["count"], got["received"], "counts")
    equal(got["lost"], got["sent"] - got["received"], "lost")
    return got


@case
def rtt_loses_and_doubles():
    def answer(number, data, reply):
        if number % 5 == 0:
            return
        reply(data)
        if number % 7 == 0:
            reply(data)
    got = run_rtt(answer, "--rate", 200, "--duration", 0.5, "--timeout", 0.5)
    equal((got["sent"], got["lost"]), (100, 20), "of 100 every fifth lost")
    equal(got["duplicates"], sum(1 for i in range(100) if i % 5 and i % 7 == 0), "duplicates")


@case
def rtt_measures_the_delay_of_the_answer():
    def answer(_number, data, reply):
        time.sleep(0.02)
        reply(data)
    got = run_rtt(answer, "--duration", 0.3, "--warm-up", 0)
    check(got["rtt_ns"]["min"] >= 20 * 10**6, f"{got['rtt_ns']['min']} ns")
    check(got["rtt_ns"]["percentiles"]["50"] < 200 * 10**6, "much longer")
    check(2 <= got["sent"] <= 16, f"{got['sent']} one after another in 0.3 s")


@case
def rtt_does_not_wait_for_late_answers():
    """One answer comes after 100 ms; those behind it neither wait nor are left out."""
    def answer(number, data, reply):
        if number == 3:
            threading.Timer(0.1, reply, (data,)).start()
        else:
            reply(data)
    got = run_rtt(answer, "--rate", 200, "--duration", 0.4, "--warm-up", 0)
    equal((got["sent"], got["lost"]), (80, 0), "counts")
    check(got["rtt_ns"]["max"] >= 10**8, "the late one is missing")
    check(got["rtt_ns"]["percentiles"]["50"] < 10**8, "the others waited")


@case
def rtt_too_late_is_lost():
    def answer(number, data, reply):
        if number == 3:
            threading.Timer(0.3, reply, (data,)).start()
        else:
            reply(data)
    got = run_rtt(answer, "--rate", 100, "--duration", 0.6, "--warm-up", 0, "--timeout", 0.2)
    equal((got["sent"], got["lost"]), (60, 1), "counts")


@case
def rtt_alone_ends():
    got = run_rtt(lambda *_: None, "--duration", 0.3, "--warm-up", 0, "--timeout", 0.1)
    equal(got["received"], 0, "answers")
    check(2 <= got["sent"] <= 4, f"{got['sent']} tries of 0.1 s in 0.3 s")


@case
def echo_returns_ours_and_only_ours():
    with receiver("echo") as (process, s):
        s.settimeout(5)
        for i in range(10):
            s.send(b"somebody else's")
            data = datagram(i, size=40 + 100 * i)
            s.send(data)
            equal(s.recv(65536), data, "echo")
        s.send(datagram(0, END))
        got = result(process)
    equal((got["role"], got["echoed"], got["foreign"], got["interrupted"]), ("echo", 10, 10, False),
          "counts")


@case
def echo_and_rtt_together():
    with receiver("echo", address="::1") as (process, s):
        rtt = start("rtt", "--to", "::1", "--port", s.getpeername()[1], "--rate", 500, "--duration",
                    0.2, "--size", 1000)
        got = result(rtt)
        equal((got["sent"], got["received"]), (100, 100), "round trips")
        check(result(process)["echoed"] >= 100, "echoed")


@case
def receivers_end_at_their_limit():
    for role in ("recv", "echo"):
        with receiver(role, "--limit", 0.2) as (process, _):
            begin = time.monotonic()
            equal(result(process)["interrupted"], False, "interrupted")
            check(time.monotonic() - begin < 5, "too long")


# --- Command line ---------------------------------------------------------------------------------

@case
def wrong_usage():
    for line in ("", "sing", "send", "rtt", "send --to nowhere", "send --to 127.0.0.1 --rate -1",
                 "send --to 127.0.0.1 --rate x", "send --to 127.0.0.1 --rate nan",
                 "send --to 127.0.0.1 --duration 0", "send --to 127.0.0.1 --size 31",
                 "send --to 127.0.0.1 --size 65508", "send --to 127.0.0.1 --size 64:60,128:5",
                 "send --to 127.0.0.1 --size 64:", "send --to 127.0.0.1 --size 64,",
                 "send --to 127.0.0.1 --size imix --segments 2", "send --to 127.0.0.1 --flows 1025",
                 "send --to 127.0.0.1 --segments 129", "send --to 127.0.0.1 --segments 1.5",
                 "send --to 127.0.0.1 --segments 64 --size 1372", "send --to 127.0.0.1 more",
                 "send --to 127.0.0.1 --gro", "rtt --to 127.0.0.1 --size imix",
                 "recv --port 0", "recv --port 65536", "recv --timestamps hardware", "recv --limit 0",
                 "recv --to 127.0.0.1", "echo --cpu -1"):
        r = subprocess.run([program, *line.split()], stdin=subprocess.DEVNULL, timeout=END_SEC,
                           capture_output=True, text=True, check=False)
        equal((r.returncode, r.stdout), (2, ""), f"{line!r}")
        check(r.stderr, f"{line!r}: nothing on stderr")


@case
def failures_name_the_step():
    for line, step in (("recv --bind 203.0.113.1", "binding"), ("echo --bind 203.0.113.1", "binding"),
                       ("recv --cpu 1023", "CPU")):
        r = subprocess.run([program, *line.split()], stdin=subprocess.DEVNULL, timeout=END_SEC,
                           capture_output=True, text=True, check=False)
        equal((r.returncode, r.stdout), (1, ""), f"{line!r}")
        check(step in r.stderr and len(r.stderr.splitlines()) == 1, r.stderr)


@case
def help_names_every_option():
    r = subprocess.run([program, "--help"], timeout=END_SEC, capture_output=True, text=True,
                       check=True)
    for option in ("--to", "--bind", "--rate", "--segments", "--linger", "--timeout"):
        check(option in r.stdout, f"no {option}")


def verdict(function):
    """Prints the line of one case; returns whether it failed."""
    try:
        function()
    except Skipped as e:
        print(f"skip {function.__name__}: {e}", flush=True)
    except Exception as e:  # pylint: disable=broad-except
        where = traceback.extract_tb(e.__traceback__)[1].lineno
        print(f"not ok {function.__name__}: line {where}: {type(e).__name__}: {e}", flush=True)
        return True
    else:
        print(f"ok {function.__name__}", flush=True)
    return False


def main():
    global program  # pylint: disable=global-statement
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    program, words = sys.argv[1], sys.argv[2:]
    chosen = [f for f in CASES if not words or any(w in f.__name__ for w in words)]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        n_failed = sum(pool.map(verdict, chosen))
    sys.exit(1 if n_failed or not chosen else 0)


if __name__ == "__main__":
    main()

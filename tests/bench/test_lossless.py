#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
# Runs alone: it measures, or counts what a busy machine delays.
"""The lossless search against links whose rate is known: a token bucket of tc that serves a given
number of bytes per second and queues next to nothing. The search has to find it to within 2 %."""

import types

from lib import Skip, check, close, equal, main, need_root, use_helpers

from ringtun_bench import cases, lab
from ringtun_bench.errors import Skipped
from ringtun_bench.implementations import Raw
from ringtun_bench.tunnel import Pair

WITHIN = 0.02
IP_UDP_ETHERNET = 20 + 8 + 14  # what tc counts on a veth besides the payload
# The queue lets the first packets of a trial through in excess of the rate, so it must be small
# beside a trial; and a sender that was held up sends twice the rate for a while, so not too small.
TRIAL_SEC = 2
QUEUE_SEC = 0.02
OPTIONS = types.SimpleNamespace(trial_seconds=TRIAL_SEC, loss=0.001, resolution=0.01, repeats=1,
                                sender="auto")
ATTEMPTS = 2


class PunctualLab(lab.Lab):
    """Its processes run before all others: what else this machine does holds no sender up."""

    def start(self, argv, **kw):
        return super().start(["chrt", "-f", "10", *argv], **kw)


def search(size, pps):
    """(rate found, what limited it) on a link for @pps datagrams of @size."""
    rate = pps * (size + IP_UDP_ETHERNET) * 8
    queue = max(4 * size, round(rate / 8 * QUEUE_SEC))
    shape = ("tbf", "rate", f"{rate}bit", "burst", str(4 * (size + IP_UDP_ETHERNET)), "limit",
             str(queue))
    case = cases.make(f"udp-{size}")
    with lab.exclusive(print), lab.Settings(), PunctualLab() as owner:
        try:
            network = Pair(owner, Raw("raw"), shape)
        except Skipped as e:
            raise Skip(str(e)) from None
        found = case.measure(network, OPTIONS, {"start": pps * 0.7})
    return found.value * 1e3, found.detail["limited_by"]


def measure(size, pps):
    need_root()
    use_helpers()
    for left in reversed(range(ATTEMPTS)):
        found, limit = search(size, pps)
        if abs(found - pps) <= WITHIN * pps or not left:
            break
    equal(limit, "loss", "what ended the search")
    close(found, pps, WITHIN, f"{size}-byte datagrams on a link for {pps} of them per second")


@check("2000 datagrams of 512 bytes per second", timeout=500)
def slow(_):
    measure(512, 2000)


@check("8000 datagrams of 64 bytes per second", timeout=500, is_long=True)
def faster(_):
    measure(64, 8000)


main()

# SPDX-License-Identifier: MPL-2.0
"""The highest rate without loss, in the manner of RFC 2544: trials at constant rates, each of which
passes or fails, closing in on the border from both sides.

Two departures, both the same for every implementation: a share of loss up to the threshold passes
(one lost datagram in two million says more about the machine than about the tunnel), and a trial
that fails, or whose sender was held up, is repeated before it counts, since a hiccup of the machine
looks like loss.
"""

import math

FLOOR_PPS = 50
MAX_TRIALS = 40
HOPELESS = 0.2  # no hiccup loses such a share of a trial: it is not repeated
SENDER_SHORT = 0.95  # a sender that reaches less of the rate than this is the limit itself


class Point:
    """One trial at a constant rate."""

    def __init__(self, asked_pps, sent, received, seconds, extra=None):
        self.asked_pps = asked_pps
        self.sent = sent
        self.received = received
        self.seconds = seconds
        self.extra = extra or {}

    @property
    def offered_pps(self):
        return self.sent / self.seconds

    @property
    def delivered_pps(self):
        return self.received / self.seconds

    @property
    def loss(self):
        return max(0.0, 1 - self.received / self.sent) if self.sent else 1.0

    def is_sender_short(self):
        return self.offered_pps < self.asked_pps * SENDER_SHORT

    def describe(self):
        return {"asked_pps": self.asked_pps, "offered_pps": self.offered_pps,
                "delivered_pps": self.delivered_pps, "loss": self.loss, **self.extra}


class Result:
    """@best is the fastest trial that passed, None if even the slowest lost datagrams."""

    def __init__(self, best, points, limit):
        self.best = best
        self.points = points
        self.limit = limit  # "loss", "sender", "trials" or "floor"


def lossless(trial, start_pps, threshold=0.001, resolution=0.02, repeats=1, step=2.0):
    """Searches with trial(pps) -> Point, from @start_pps on, until the border is known to within
    @resolution of itself. As long as nothing is lost the rate grows by the factor @step, which
    itself grows up to 2: small where @start_pps is thought to be near."""
    points, low, high = [], None, None

    def passes(pps):
        nonlocal low
        has_passed = False
        for _ in range(1 + repeats):
            points.append(trial(pps))
            if points[-1].loss <= threshold:
                has_passed = True
                if not low or points[-1].offered_pps > low.offered_pps:
                    low = points[-1]
            if points[-1].loss > HOPELESS or (has_passed and not points[-1].is_sender_short()):
                break
        return has_passed

    pps = start_pps
    while len(points) < MAX_TRIALS:
        if passes(pps):
            if points[-1].is_sender_short():
                return Result(low, points, "sender")
        else:
            high = min(high or math.inf, pps)
        if high and low and high - rate_of(low) <= resolution * high:
            return Result(low, points, "loss")
        pps = next_rate(low, high, points[-1], step)
        step = min(2.0, step * step)
        if pps < FLOOR_PPS:
            return Result(low, points, "floor")
    return Result(low, points, "trials")


def rate_of(point):
    """The rate that a trial stands for. Not what was offered, which rounds at low rates."""
    return point.offered_pps if point.is_sender_short() else point.asked_pps


def next_rate(low, high, last, step):
    if not high:
        return rate_of(low) * step
    if not low:
        # What got through under overload is a fair guess, if it is neither too near nor too far.
        return min(max(last.delivered_pps * 0.95, high / 4), high * 0.7)
    return math.sqrt(rate_of(low) * high)

# SPDX-License-Identifier: MPL-2.0
"""Statistics of few, noisy samples: medians, quartiles, ratios with bootstrap confidence intervals,
and latency histograms. Pure functions, standard library only."""

import math
import random

CONFIDENCE = 0.95
RESAMPLES = 4000


def quantile(values, p):
    """The p-quantile by linear interpolation between order statistics (type 7 of Hyndman and Fan,
    what numpy and R do by default)."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    at = (len(ordered) - 1) * p
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def median(values):
    return quantile(values, 0.5)


def summary(values):
    """Median, quartiles, extremes, and the spread (q3 - q1) / median."""
    q1, middle, q3 = (quantile(values, p) for p in (0.25, 0.5, 0.75))
    return {"n": len(values), "median": middle, "q1": q1, "q3": q3, "min": min(values),
            "max": max(values), "spread": (q3 - q1) / middle if middle else 0.0}


def ratio(values, reference, confidence=CONFIDENCE, resamples=RESAMPLES, seed=1):
    """median(values) / median(reference), with a bootstrap interval.

    Both are dictionaries by round. Rounds that both have are resampled in pairs, so that what
    disturbed a whole round cancels out; without common rounds each side is resampled alone. The
    same input always gives the same interval. None if nothing can be said.
    """
    common = sorted(set(values) & set(reference))
    if common:
        mine, theirs = [values[r] for r in common], [reference[r] for r in common]
    else:
        mine, theirs = list(values.values()), list(reference.values())
    if not mine or not theirs or not median(theirs):
        return None
    pick = random.Random(seed)
    sampled = []
    for _ in range(resamples):
        i = pick.choices(range(len(mine)), k=len(mine))
        j = i if common else pick.choices(range(len(theirs)), k=len(theirs))
        below = median([theirs[k] for k in j])
        if below:
            sampled.append(median([mine[k] for k in i]) / below)
    if not sampled:
        return None
    tail = (1 - confidence) / 2
    return {"ratio": median(mine) / median(theirs), "low": quantile(sampled, tail),
            "high": quantile(sampled, 1 - tail), "confidence": confidence,
            "n": min(len(mine), len(theirs))}


class Histogram:
    """Counts by value, in the buckets of an HdrHistogram with three significant digits: a value is
    kept exactly below 2048, and to within 1/1024 above."""

    SUB_BUCKETS = 2048

    def __init__(self, buckets=()):
        self.counts = {}
        for value, count in buckets:
            self.record(value, count)

    @classmethod
    def bucket(cls, value):
        """The highest value of the bucket that holds @value."""
        shift = max(0, int(value).bit_length() - cls.SUB_BUCKETS.bit_length() + 1)
        return ((int(value) >> shift) + 1 << shift) - 1 if shift else int(value)

    def record(self, value, count=1):
        key = self.bucket(value)
        self.counts[key] = self.counts.get(key, 0) + count

    def merge(self, other):
        for value, count in other.counts.items():
            self.counts[value] = self.counts.get(value, 0) + count
        return self

    def total(self):
        return sum(self.counts.values())

    def percentile(self, p):
        """The smallest recorded value that at least @p percent of all values do not exceed."""
        if not self.counts:
            raise ValueError("empty histogram")
        wanted = max(1, math.ceil(self.total() * p / 100 - 1e-9))
        seen = 0
        for value in sorted(self.counts):
            seen += self.counts[value]
            if seen >= wanted:
                break
        return value

    def percentiles(self):
        return {f"p{p:g}": self.percentile(p) for p in (50, 90, 99, 99.9, 100)}

    def ccdf(self):
        """[(value, share of values above it)] for every bucket."""
        total, seen, points = self.total(), 0, []
        for value in sorted(self.counts):
            seen += self.counts[value]
            points.append((value, (total - seen) / total))
        return points

    def buckets(self):
        return [[value, self.counts[value]] for value in sorted(self.counts)]

    def encoded(self):
        """The standard compressed text form, for the tools of HdrHistogram; None without the
        Python package hdrhistogram."""
        try:
            from hdrh.histogram import HdrHistogram
        except ImportError:
            return None
        hdr = HdrHistogram(1, 3600 * 10**9, 3)
        for value, count in self.counts.items():
            hdr.record_value(max(1, value), count)
        text = hdr.encode()
        return text.decode() if isinstance(text, bytes) else text

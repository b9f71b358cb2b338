#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Statistics on data whose answers are known, and the lossless search on simulated tunnels."""

import random

from lib import check, close, equal, expect, main, raises

from ringtun_bench import search, stats


@check("quantiles interpolate between order statistics")
def quantiles(_):
    # As R's quantile(type = 7) and numpy's default give for these.
    values = [15, 20, 35, 40, 50]
    equal([stats.quantile(values, p) for p in (0, 0.25, 0.5, 0.75, 1)], [15, 20, 35, 40, 50])
    equal(stats.quantile([1, 2, 3, 4], 0.25), 1.75)
    equal(stats.quantile([4, 1, 3, 2], 0.5), 2.5)
    equal(stats.quantile([7], 0.9), 7)
    raises(ValueError, stats.quantile, [], 0.5)


@check("a summary has median, quartiles, extremes and spread")
def summaries(_):
    equal(stats.summary([1, 2, 3, 4, 5]), {"n": 5, "median": 3, "q1": 2, "q3": 4, "min": 1, "max": 5,
                                           "spread": 2 / 3})
    equal(stats.summary([0, 0])["spread"], 0.0)


@check("a ratio of constant samples has an interval of no width")
def constant_ratio(_):
    r = stats.ratio({1: 6.0, 2: 6.0, 3: 6.0}, {1: 2.0, 2: 2.0, 3: 2.0})
    equal((r["ratio"], r["low"], r["high"], r["n"]), (3.0, 3.0, 3.0, 3))


@check("rounds are taken in pairs: what slows both down changes no ratio")
def paired(_):
    pick = random.Random(5)
    mood = {r: pick.uniform(0.5, 2) for r in range(9)}
    r = stats.ratio({k: 3 * v for k, v in mood.items()}, mood)
    close(r["ratio"], 3, 1e-9)
    close(r["low"], 3, 1e-9, "low")
    close(r["high"], 3, 1e-9, "high")


@check("nineteen in twenty intervals hold the true ratio")
def coverage(_):
    pick, held, n = random.Random(3), 0, 200
    for _ in range(n):
        mine = {r: pick.gauss(200, 10) for r in range(15)}
        theirs = {r: pick.gauss(100, 5) for r in range(15)}
        r = stats.ratio(mine, theirs, resamples=400)
        held += r["low"] <= 2 <= r["high"]
    expect(0.88 * n <= held, f"only {held} of {n} intervals held the true ratio")
    expect(held <= 0.995 * n, f"{held} of {n}: intervals are too wide to mean anything")


@check("rounds that only one side has are left out; without common rounds each side stands alone")
def unpaired(_):
    r = stats.ratio({1: 2.0, 2: 2.0, 3: 100.0}, {1: 1.0, 2: 1.0})
    equal((r["ratio"], r["n"]), (2.0, 2))
    r = stats.ratio({("new", 1): 4.0, ("new", 2): 6.0}, {("old", 1): 1.0})
    equal((r["ratio"], r["low"], r["high"]), (5.0, 4.0, 6.0))


@check("no ratio to nothing and none to zero")
def no_ratio(_):
    equal(stats.ratio({}, {1: 1.0}), None)
    equal(stats.ratio({1: 1.0}, {}), None)
    equal(stats.ratio({1: 1.0}, {1: 0.0}), None)


@check("the same samples always give the same interval")
def deterministic(_):
    a, b = {1: 1.0, 2: 1.5, 3: 1.2}, {1: 2.0, 2: 2.2, 3: 1.9}
    equal(stats.ratio(a, b), stats.ratio(a, b))


@check("histogram: exact below 2048, within 1/1024 above")
def buckets(_):
    for value in (0, 1, 1000, 2047):
        equal(stats.Histogram.bucket(value), value)
    equal(stats.Histogram.bucket(2048), 2049)  # pairs from here on
    equal(stats.Histogram.bucket(4096), 4099)
    for value in (2048, 5000, 123456, 10**9, 10**12 + 7):
        top = stats.Histogram.bucket(value)
        expect(value <= top <= value * (1 + 1 / 1024), f"{value} went to {top}")
        equal(stats.Histogram.bucket(top), top, "a bucket's own highest value")


@check("histogram: percentiles of known data, merged from parts")
def percentiles(_):
    h = stats.Histogram((v, 1) for v in range(1, 501)).merge(
        stats.Histogram((v, 1) for v in range(501, 1001)))
    equal([h.percentile(p) for p in (50, 90, 99, 99.9, 100)], [500, 900, 990, 999, 1000])
    equal(stats.Histogram([[7, 3]]).percentile(99), 7)
    equal(h.total(), 1000)
    raises(ValueError, stats.Histogram().percentile, 50)


@check("histogram: the CCDF is the share above each value")
def ccdf(_):
    equal(stats.Histogram([[10, 3], [20, 1]]).ccdf(), [(10, 0.25), (20, 0.0)])


def tunnel(capacity, pick=None, sender=1e12):
    """A tunnel that drops what is above its capacity; with @pick now and then more."""
    def trial(pps):
        sent = round(min(pps, sender))
        received = min(sent, int(capacity))
        if pick and pick.random() < 0.15:
            received = int(received * 0.9)
        return search.Point(pps, sent, received, 1.0)
    return trial


@check("search: finds the capacity to within its resolution, wherever it starts")
def finds(_):
    for capacity in (500, 12345, 87654, 2e6):
        for start in (1000, 20000, 1e6):
            found = search.lossless(tunnel(capacity), start, resolution=0.01)
            close(found.best.offered_pps, capacity, 0.012, f"capacity {capacity:g} from {start:g}")
            equal(found.limit, "loss")
            expect(len(found.points) <= 32, f"{len(found.points)} trials")


@check("search: begins with small steps where the rate is nearly known, and needs fewer trials")
def near(_):
    for start in (800, 980, 1000, 1050, 9000):
        found = search.lossless(tunnel(1000), start, resolution=0.03, step=1.1)
        close(found.best.offered_pps, 1000, 0.03, f"from {start}")
    small = search.lossless(tunnel(1000), 980, resolution=0.03, step=1.1)
    large = search.lossless(tunnel(1000), 980, resolution=0.03, step=2.0)
    expect(len(small.points) < len(large.points), "small steps gained nothing")
    far = search.lossless(tunnel(1e6), 1000, resolution=0.03, step=1.1)
    close(far.best.offered_pps, 1e6, 0.03, "from far away")
    expect(len(far.points) < 30, f"{len(far.points)} trials: the steps do not grow")


@check("search: the threshold is a share of loss that passes")
def tolerates(_):
    found = search.lossless(tunnel(10000), 1000, threshold=0.2, resolution=0.01)
    close(found.best.offered_pps, 12500, 0.02)


@check("search: a repeated trial forgives a hiccup")
def hiccups(_):
    pick = random.Random(2)
    with_repeats = [search.lossless(tunnel(50000, pick), 20000, resolution=0.02, repeats=3)
                    .best.offered_pps for _ in range(20)]
    close(min(with_repeats), 50000, 0.02, "worst with repeats")
    without = [search.lossless(tunnel(50000, pick), 20000, resolution=0.02, repeats=0)
               for _ in range(20)]
    low = [f.best.offered_pps if f.best else 0 for f in without]
    expect(min(low) < 45000, "hiccups never mattered: this test shows nothing")


@check("search: says when the sender is the limit")
def sender_limit(_):
    found = search.lossless(tunnel(1e9, sender=30000), 20000)
    equal(found.limit, "sender")
    equal(found.best.offered_pps, 30000)


@check("search: ends on a link that passes nothing, and always")
def ends(_):
    found = search.lossless(tunnel(0), 20000)
    equal((found.best, found.limit), (None, "floor"))
    pick = random.Random(4)
    found = search.lossless(lambda pps: search.Point(pps, 100, pick.choice((100, 0)), 1.0), 1000,
                            resolution=1e-9)
    expect(len(found.points) <= search.MAX_TRIALS + 4, f"{len(found.points)} trials")


main()

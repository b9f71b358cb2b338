# SPDX-License-Identifier: MPL-2.0
"""A results document made up from known figures, as a run would write it."""

from ringtun_bench import cases, document, runner
from ringtun_bench.stats import Histogram

SPEED = {"ringtun": 4.0, "wireguard-go": 1.5, "gotatun": 1.2, "boringtun": 0.5, "null": 6.0, "raw": 20.0}


class FakeMeter:
    def __init__(self, is_daemon, wall=2.0):
        self.is_daemon = is_daemon
        self.wall = wall

    def cost(self, gigabytes=None, megapackets=None):
        cost = {"wall_s": self.wall, "machine_s": 2.0, "switches_machine": 4000}
        if self.is_daemon:
            cost.update(daemon_s=1.0, switches_voluntary=100, switches_involuntary=10,
                        peak_rss_bytes=8 * 2**20)
        for name, amount in (("gb", gigabytes), ("mpkt", megapackets)):
            if amount:
                for what in ("daemon", "machine"):
                    if f"{what}_s" in cost:
                        cost[f"{what}_s_per_{name}"] = cost[f"{what}_s"] / amount
        return cost

    def noise(self):
        return {"steal_share": 0.0, "foreign_share": 0.01, "mhz": 2600.0}


class FakeImplementation:
    def __init__(self, name):
        self.name = name

    def describe(self):
        is_raw = self.name == "raw"
        return {"name": self.name, "kind": "raw" if is_raw else "daemon",
                "command": None if is_raw else f"/opt/{self.name} -f {{if}}",
                "version": None if is_raw else "1.0", "sha256": None if is_raw else "00" * 32}


def value(case, name, number):
    speed = SPEED[name] * (1 + 0.01 * (number - 2))
    x = case.x if isinstance(case.x, (int, float)) else 1
    if case.group == "latency":
        return 400 / speed
    if case.group in ("lossless", "overload", "gso"):
        return 60 * speed
    return speed * (1 + 0.1 * min(x, 4))


def detail(case, name, number):
    here = value(case, name, number)
    if case.group == "latency":
        histogram = Histogram((round(here * 1e3 * (1 + i / 50) ** 2), 1) for i in range(200))
        return {"lost": 0, "histogram_ns": histogram.buckets(),
                "percentiles_us": {k: v / 1e3 for k, v in histogram.percentiles().items()}}
    if case.group == "lossless":
        rates = [here * 1e3 * f for f in (0.5, 0.9, 1.0, 1.1, 2.0)]
        return {"limited_by": "loss", "search": [
            {"asked_pps": r, "offered_pps": r, "delivered_pps": min(r, here * 1e3),
             "loss": max(0.0, 1 - here * 1e3 / r)} for r in rates]}
    return {}


def result_document(names=("ringtun", "wireguard-go", "raw"), rounds=3, scale=1.0,
                    case_names=cases.DEFAULT):
    """@scale multiplies the values of the first implementation."""
    options = {"rounds": rounds, "seconds": 2.0, "trial_seconds": 1.0, "loss": 0.001,
               "resolution": 0.02, "repeats": 1, "pause": 0.2, "quick": False}
    doc = document.begin("tunnel", ["ringtun-bench", "tunnel"], options)
    doc["implementations"] = [FakeImplementation(n).describe() for n in names]
    doc["errors"], doc["cases"] = [], []
    for case in cases.select(case_names):
        contestants = []
        for name in names:
            c = runner.Contestant(FakeImplementation(name))
            for number in range(1, rounds + 1):
                found = cases.Measurement(
                    value(case, name, number) * (scale if name == names[0] else 1),
                    FakeMeter(name != "raw"), gigabytes=0.5, megapackets=0.25,
                    detail=detail(case, name, number))
                c.trials.append(runner.trial_document(number, found))
            contestants.append(c)
        reference = contestants[0].values()
        doc["cases"].append({**case.describe(), "settings": {
            "rounds": rounds, "seconds": 2.0, "trial_seconds": 1.0},
                             "results": [c.result(reference) for c in contestants]})
    doc["noise"] = document.noise(doc["cases"])
    doc["targets"], doc["failures"] = [], []
    return document.finish(doc, 123.0)

# SPDX-License-Identifier: MPL-2.0
"""Compares a run with an older one, case by case. A verdict is only given where the confidence
interval of the change allows one; a machine that drifted is no regression."""

from . import stats
from .document import case_of, result_of
from .errors import BenchError

TOLERANCE = 0.05
BETTER, SAME, WORSE, UNCLEAR, MISSING = "better", "same", "worse", "unclear", "missing"


def verdict(change, better, tolerance):
    """What an interval of new / old means."""
    low, high = change["low"], change["high"]
    if better == "lower":
        low, high = 1 / high if high else float("inf"), 1 / low if low else float("inf")
    if low > 1 + tolerance:
        return BETTER
    if high < 1 - tolerance:
        return WORSE
    if low >= 1 - tolerance and high <= 1 + tolerance:
        return SAME
    return UNCLEAR


def samples(document, case_name, implementation, reference):
    """Values by round, divided by those of @reference in the same round if one is named."""
    case = case_of(document, case_name)
    result = result_of(case, implementation) if case else None
    if not result or not result["trials"]:
        return None
    values = {t["round"]: t["value"] for t in result["trials"]}
    if not reference:
        return values
    other = result_of(case, reference)
    below = {t["round"]: t["value"] for t in other["trials"]} if other else {}
    return {r: v / below[r] for r, v in values.items() if below.get(r)} or None


def change_of(old, new):
    """new / old: rounds of different runs have nothing in common, each side is resampled alone."""
    return stats.ratio({("new", r): v for r, v in new.items()},
                       {("old", r): v for r, v in old.items()})


def senders(document, case_name, implementation):
    """What sent the datagrams of a case; before there was a choice it was UDP sockets."""
    result = result_of(case_of(document, case_name), implementation)
    return {t["detail"].get("sent_via", "socket") for t in result["trials"]
            if "offered_pps" in t["detail"]}


def verdict_of(old, new, case, name, change, tolerance):
    if not change:
        return missing(new, case["name"], name)
    if senders(old, case["name"], name) != senders(new, case["name"], name):
        return UNCLEAR  # the one costs more of the cores that a tunnel runs on
    return verdict(change, case["better"], tolerance)


def compare_tunnel(old, new, reference, tolerance):
    rows = []
    for case in old["cases"]:
        for result in case["results"]:
            name = result["implementation"]
            if name == reference or not result["trials"]:
                continue
            before = samples(old, case["name"], name, reference)
            after = samples(new, case["name"], name, reference)
            change = change_of(before, after) if before and after else None
            rows.append({"case": case["name"], "implementation": name, "change": change,
                         "verdict": verdict_of(old, new, case, name, change, tolerance)})
    return rows


def missing(new, case_name, implementation):
    """A case that was not asked for says nothing; one that failed is worse than before."""
    case = case_of(new, case_name)
    result = result_of(case, implementation) if case else None
    return WORSE if result and result["status"] == "failed" else MISSING


def measurement_change(old, new):
    """new / old, with an interval from the quartiles where both have them."""
    change = {"ratio": new["value"] / old["value"]}
    before, after = old.get("also", {}), new.get("also", {})
    if all(x.get(q) for x in (before, after) for q in ("q1", "q3")):
        return {**change, "low": after["q1"] / before["q3"], "high": after["q3"] / before["q1"]}
    return {**change, "low": change["ratio"], "high": change["ratio"]}


def compare_measurements(old, new, tolerance):
    """What aead and micro found. One figure says little: within twice the tolerance it is the same."""
    rows = []
    newer = {m["name"]: m for m in new["measurements"]}
    for m in old["measurements"]:
        change, outcome = None, MISSING
        if m["name"] in newer and m["value"]:
            change = measurement_change(m, newer[m["name"]])
            outcome = verdict(change, m["better"], 2 * tolerance)
        rows.append({"case": m["name"], "implementation": m["group"], "change": change,
                     "verdict": outcome})
    return rows


def compare(old, new, reference=None, tolerance=TOLERANCE):
    """Rows with a verdict each. @reference: an implementation that both runs have, by which values
    are divided first, so that two machines or two moods of one machine can be compared."""
    if old["kind"] != new["kind"]:
        raise BenchError("comparing", f"the old results are of {old['kind']}, these of {new['kind']}")
    if old["kind"] != "tunnel":
        return compare_measurements(old, new, tolerance)
    for which, document in (("old", old), ("new", new)):
        names = [i["name"] for i in document["implementations"]]
        if reference and reference not in names:
            raise BenchError("comparing", f"the {which} results have no {reference}")
    return compare_tunnel(old, new, reference, tolerance)


def is_regression(rows):
    return any(r["verdict"] == WORSE for r in rows)

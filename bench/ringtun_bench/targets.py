# SPDX-License-Identifier: MPL-2.0
"""Judges a run by figures that were set beforehand, given in a JSON file: a list of

    {"title": "TCP, 1 stream", "case": "tcp-1", "figure": "value", "of": "ringtun",
     "against": ["wireguard-go", "gotatun"], "at_least": 2.5}

"figure" is "value" or a key of a trial's "cpu". With "against" the figure is a ratio to the best of
those implementations; without, it is taken as it is, times "scale". "at_least" or "at_most" is the
bound. A target is met when the median is within its bound, and clearly so when the whole confidence
interval is.
"""

import json

from . import stats
from .document import case_of, result_of
from .errors import BenchError

REQUIRED = {"title", "case", "figure", "of"}
KNOWN = REQUIRED | {"against", "at_least", "at_most", "scale"}


def load(path):
    step = f"reading {path}"
    try:
        with open(path) as f:
            targets = json.load(f)
    except OSError as e:
        raise BenchError(step, e.strerror) from None
    except ValueError as e:
        raise BenchError(step, f"not JSON: {e}") from None
    for t in targets if isinstance(targets, list) else [None]:
        if not isinstance(t, dict) or not REQUIRED <= set(t) <= KNOWN \
                or ("at_least" in t) == ("at_most" in t):
            raise BenchError(step, f"not a target: {t}")
    return targets


def figures(document, target, implementation):
    """The figure of an implementation by round."""
    case = case_of(document, target["case"])
    result = result_of(case, implementation) if case else None
    values = {}
    for t in result["trials"] if result else ():
        value = t["value"] if target["figure"] == "value" else t["cpu"].get(target["figure"])
        if value is not None:
            values[t["round"]] = value * target.get("scale", 1)
    return values


def best_rival(document, target):
    """(name, figures) of the hardest to beat among those that were measured."""
    measured = {n: figures(document, target, n) for n in target["against"]}
    measured = {n: v for n, v in measured.items() if v}
    if not measured:
        return None, {}
    pick = max if "at_least" in target else min
    return pick(measured.items(), key=lambda item: stats.median(item[1].values()))


def judge(document, target):
    mine = figures(document, target, target["of"])
    bound = target.get("at_least", target.get("at_most"))
    is_lower = "at_least" in target
    name, change = None, None
    if mine and "against" in target:
        name, theirs = best_rival(document, target)
        change = stats.ratio(mine, theirs) if theirs else None
    elif mine:
        s = stats.summary(list(mine.values()))
        change = {"ratio": s["median"], "low": s["min"], "high": s["max"]}
    wanted = f"{'>=' if is_lower else '<='} {bound:g}" + (" x" if "against" in target else "")
    return {"title": target["title"], "case": target["case"], "against": name, "wanted": wanted,
            "measured": change and change["ratio"], "low": change and change["low"],
            "high": change and change["high"], "verdict": verdict(change, bound, is_lower)}


def verdict(change, bound, is_lower):
    if not change:
        return "not measured"
    near, far = ("low", "high") if is_lower else ("high", "low")
    sign = 1 if is_lower else -1
    if sign * (change["ratio"] - bound) >= 0:
        return "met" if sign * (change[near] - bound) >= 0 else "met, narrowly"
    return "missed" if sign * (change[far] - bound) < 0 else "missed, narrowly"


def judge_all(document, targets):
    return [judge(document, t) for t in targets]

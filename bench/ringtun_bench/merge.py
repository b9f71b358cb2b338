# SPDX-License-Identifier: MPL-2.0
"""Several runs in one results document: what one had no time for, another adds. Only runs of the same
programs on the same machine go together; a case is always measured within one run."""

from .document import case_of
from .errors import BenchError

STEP = "merging results"
SAME_MACHINE = ("cpu_model", "cpus", "usable_cpus", "kernel")


def is_complete(case, settings):
    """Whether nothing is left to measure of a case in a results document."""
    return bool(case["results"]) and all(
        r["status"] == "skipped" or r["status"] == "ok" and len(r["trials"]) >= settings["rounds"]
        for r in case["results"])


def check_same(old, new):
    """BenchError unless both documents tell of the same programs on the same machine."""
    if old["kind"] != "tunnel":
        raise BenchError(STEP, f"the old results are of {old['kind']}")
    for key in SAME_MACHINE:
        if old["machine"][key] != new["machine"][key]:
            raise BenchError(STEP, f"the old results are of another machine: {key} was "
                             f"{old['machine'][key]} and is {new['machine'][key]}")
    sender = [d["options"].get("sender", "socket") for d in (old, new)]
    if sender[0] != sender[1]:
        raise BenchError(STEP, f"datagrams were sent with --sender {sender[0]} and are with {sender[1]}")
    # A program that could not be started is in neither list, or in one.
    before = {i["name"]: i for i in old["implementations"]}
    first = [d["implementations"][0]["name"] for d in (old, new) if d["implementations"]]
    if len(set(first)) > 1:
        raise BenchError(STEP, f"ratios were to {first[0]} and are to {first[1]}")
    for i in new["implementations"]:
        was = before.get(i["name"])
        if was and any(was[k] != i[k] for k in ("kind", "sha256")):
            raise BenchError(STEP, f"{i['name']} is another program than it was")


def missing(old, cases, settings_of):
    """Those of @cases that @old (None: nothing) has no complete result of."""
    return [c for c in cases if not (old and (was := case_of(old, c.name))
                                     and is_complete(was, settings_of(c.name)))]


def n_trials(case):
    return sum(len(r["trials"]) for r in case["results"])


def better_of(was, now):
    """The case in two runs: the later one, unless it was cut short."""
    return was if now is None or was is not None and n_trials(was) > n_trials(now) else now


def cases(old, new, order):
    """The cases of both: first those of @order, then others of the old document."""
    old_cases = old["cases"] if old else []
    names = list(dict.fromkeys([*order, *(c["name"] for c in old_cases)]))
    found = [better_of(case_of(old, n) if old else None, case_of(new, n)) for n in names]
    return [c for c in found if c]


def implementations(old, new):
    """Those of the new run, and others that old cases have results of."""
    mine = new["implementations"]
    names = {i["name"] for i in mine}
    return mine + [i for i in (old["implementations"] if old else ()) if i["name"] not in names]


def run_of(document):
    """What the list of runs says about one."""
    return {key: document[key] for key in ("created", "seconds", "command", "stopped")}


def into(old, new, order):
    """Makes @new, finished by document.finish(), the document of both runs."""
    new["cases"] = cases(old, new, order)
    if old:
        new["implementations"] = implementations(old, new)
        new["runs"] = [*(old.get("runs") or [run_of(old)]), run_of(new)]
        new["seconds"] += old["seconds"]
    return new

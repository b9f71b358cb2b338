# SPDX-License-Identifier: MPL-2.0
"""The results document: what --json writes, and what tables, pictures and comparisons read. Its
format is described in schema.json; a change that old readers can not bear raises VERSION."""

import datetime
import json
import os

from . import VERSION as TOOL_VERSION
from . import machine
from .errors import BenchError

FORMAT = "ringtun-bench"
VERSION = 1
KINDS = ("tunnel", "aead", "micro")

STEAL_LIMIT = 0.01      # share of the machine's time
FOREIGN_LIMIT = 0.05
SPREAD_LIMIT = 0.10     # (q3 - q1) / median
FREQUENCY_LIMIT = 0.05  # (highest - lowest) / highest


def begin(kind, argv, options):
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    return {"format": FORMAT, "version": VERSION, "kind": kind, "tool_version": TOOL_VERSION,
            "created": now.isoformat().replace("+00:00", "Z"), "command": argv, "options": options,
            "machine": machine.describe(), "complete": False, "stopped": None}


def finish(document, seconds, stopped=None):
    document["seconds"] = seconds
    document["stopped"] = stopped
    document["complete"] = stopped is None
    return document


def noise(cases):
    """What disturbed a run, in figures and in words."""
    trials = [t for c in cases for r in c["results"] for t in r["trials"]]
    found = {"steal_share": max((t["noise"]["steal_share"] for t in trials), default=0.0),
             "foreign_share": max((t["noise"]["foreign_share"] for t in trials), default=0.0),
             "spread": 0.0, "frequency_change": 0.0, "warnings": []}
    mhz = [t["noise"]["mhz"] for t in trials if t["noise"]["mhz"]]
    if mhz:
        found["frequency_change"] = (max(mhz) - min(mhz)) / max(mhz)
    wide = []
    for case in cases:
        for r in case["results"]:
            if r["summary"] and r["summary"]["n"] > 1:
                found["spread"] = max(found["spread"], r["summary"]["spread"])
                if r["summary"]["spread"] > SPREAD_LIMIT:
                    wide.append(f"{case['name']}/{r['implementation']}")
    found["warnings"] = warnings(found, cases, trials, wide)
    found["is_noisy"] = bool(found["warnings"])
    return found


def warnings(found, cases, trials, wide):
    lines = []
    for key, limit, what in (
            ("steal_share", STEAL_LIMIT, "taken away by the hypervisor (steal time)"),
            ("foreign_share", FOREIGN_LIMIT, "used by processes outside of the benchmark")):
        disturbed = sum(t["noise"][key] > limit for t in trials)
        if disturbed:
            lines.append(f"in {disturbed} of {len(trials)} trials more than {limit:.0%} of the "
                         f"machine was {what}, at worst {found[key]:.0%}")
    if wide:
        shown = ", ".join(wide[:6]) + (" and others" if len(wide) > 6 else "")
        lines.append(f"the middle half of the rounds spreads over more than {SPREAD_LIMIT:.0%} of "
                     f"the median (at worst {found['spread']:.0%}) in {len(wide)} results: {shown}")
    short = sorted({f"{c['name']}/{r['implementation']}" for c in cases for r in c["results"]
                    for t in r["trials"] if t["detail"].get("limited_by") == "sender"})
    if short:
        lines.append("the load generator reached its own limit before the first loss, the true rate is "
                     f"higher: {', '.join(short[:6])}{' and others' if len(short) > 6 else ''}")
    mixed = [c["name"] for c in cases if len(
        {t["detail"].get("sent_via", "") for r in c["results"] for t in r["trials"]}) > 1]
    if mixed:
        lines.append("some datagrams were sent by packet sockets and some by UDP sockets, which cost more, "
                     f"in the cases {', '.join(mixed)}")
    if found["frequency_change"] > FREQUENCY_LIMIT:
        lines.append(f"the CPU frequency changed by {found['frequency_change']:.0%} between trials")
    return lines


def result_of(case, implementation):
    return next((r for r in case["results"] if r["implementation"] == implementation), None)


def case_of(document, name):
    return next((c for c in document.get("cases", ()) if c["name"] == name), None)


def failures(document):
    """Lines for everything that gave no result though it should have."""
    lines, started = [], []
    for error in document.get("errors", ()):
        started.append((error["implementation"], error["step"], error["message"]))
        lines.append(f"{error['implementation']}: {error['step']}: {error['message']}")
    for case in document.get("cases", ()):
        for r in case["results"]:
            line = r["error"] and (r["implementation"], r["error"]["step"], r["error"]["message"])
            if r["status"] == "failed" and line not in started:
                lines.append(f"{r['implementation']}, {case['name']}: {r['error']['step']}: "
                             f"{r['error']['message']}")
    return lines


def write(document, path):
    """Whole or not at all: an old file is replaced in one step."""
    new = f"{path}.new{os.getpid()}"
    try:
        with open(new, "w") as f:
            json.dump(document, f, indent=1)
            f.write("\n")
        os.replace(new, path)
    except OSError as e:
        raise BenchError("writing the results", str(e)) from None


def read(path):
    """A results document; BenchError if it is none that this version understands."""
    step = f"reading {path}"
    try:
        with open(path) as f:
            document = json.load(f)
    except OSError as e:
        raise BenchError(step, e.strerror) from None
    except ValueError as e:
        raise BenchError(step, f"not JSON: {e}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BenchError(step, "not a results file of ringtun-bench")
    if document.get("version") != VERSION:
        raise BenchError(step, f"version {document.get('version')} of the format; this is a reader "
                               f"of version {VERSION}")
    problem = first_problem(document)
    if problem:
        raise BenchError(step, f"does not follow the schema: {problem}")
    return document


def schema_path():
    here = os.path.dirname(os.path.abspath(__file__))
    for path in (os.path.join(here, "schema.json"), os.path.join(here, "..", "schema.json")):
        if os.path.exists(path):
            return path
    raise BenchError("looking for schema.json", "it is not installed")


def first_problem(document):
    """The first violation of the schema in words, None if there is none. Without the Python package
    jsonschema nothing is checked."""
    try:
        import jsonschema
    except ImportError:
        return None
    with open(schema_path()) as f:
        validator = jsonschema.Draft7Validator(json.load(f))
    error = next(iter(sorted(validator.iter_errors(document), key=lambda e: list(map(str, e.path)))),
                 None)
    return f"{'/'.join(map(str, error.path)) or 'document'}: {error.message[:200]}" if error else None

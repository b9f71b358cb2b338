# SPDX-License-Identifier: MPL-2.0
"""Writes results into sections of a Markdown file. A section has a name and lies between two lines,

    <!-- ringtun-bench NAME: begin -->
    <!-- ringtun-bench NAME: end -->

and whatever is outside of it is somebody else's. A file that has no such lines yet gets them at its
end."""

import os
import re

from . import aead_md, machine, table
from .errors import BenchError, UsageError

NAME = re.compile(r"[a-z][a-z0-9-]{0,31}$")

COLUMNS = ("", "median", "quartiles", "ratio [95 %]", "daemons' CPU s/GB", "machine's CPU s/GB",
           "daemons' CPU s/Mpkt", "machine's CPU s/Mpkt", "switches/s", "peak RSS, MiB")


def begin(name):
    return f"<!-- ringtun-bench {name}: begin -->"


def end(name):
    return f"<!-- ringtun-bench {name}: end -->"


def made_on(document):
    return (f"Made on {document['created'][:10]} in {max(1, document['seconds'] / 60):.0f} minutes on "
            f"{machine.summary(document['machine'])}")


def tunnel(document):
    lines = [f"{made_on(document)}; medians of {table.rounds_text(document)} alternating rounds, ratios "
             "to the first implementation.", ""]
    if not document["complete"]:
        lines += [f"This run is incomplete: {document['stopped']}.", ""]
    lines += table.markdown([("implementation", "version")] + [
        (i["name"], i["version"] or i["kind"]) for i in document["implementations"]])
    if document.get("targets"):
        lines += ["", "### Targets", ""]
        lines += table.markdown([("target", "against", "wanted", "measured [95 %]", "verdict")] + [
            (t["title"], t["against"] or table.UNKNOWN, t["wanted"], table.target_measured(t),
             t["verdict"]) for t in document["targets"]])
    for case in document["cases"]:
        lower = ", lower is better" if case["better"] == "lower" else ""
        lines += ["", f"### {case['title']} ({case['unit']}{lower})", ""]
        lines += table.markdown([COLUMNS, *table.case_rows(case)[1:]])
        lines += ["", *(f"- {line.strip()}" for line in table.percentile_line(case))]
    return [*lines, "", "### The machine meanwhile", "", *table.noise_lines(document["noise"])]


def aead(document):
    return [f"{made_on(document)}.", "", *aead_md.lines(document)]


def micro(document):
    rows = [("operation", "", "value", "unit")]
    rows += [(m["group"], m["label"], table.number(m["value"]), m["unit"])
             for m in document["measurements"]]
    return [f"{made_on(document)}.", "", *table.markdown(rows)]


SECTIONS = {"tunnel": tunnel, "aead": aead, "micro": micro}


def update(path, document):
    """Puts a results document into the section of its kind."""
    replace(path, document["kind"], SECTIONS[document["kind"]](document))


def replace(path, name, lines):
    """Replaces what is between the two lines of section @name by @lines."""
    if not NAME.match(name):
        raise UsageError(f"section {name}: a name is small letters, digits and -")
    step = f"writing {path}"
    try:
        with open(path) as f:
            text = f.read()
    except FileNotFoundError:
        text = ""
    except OSError as e:
        raise BenchError(step, e.strerror) from None
    first, last = begin(name), end(name)
    if first not in text and last not in text:
        text = f"{text.rstrip()}\n\n{first}\n{last}\n".lstrip("\n")
    if text.count(first) != 1 or text.count(last) != 1 or text.index(first) > text.index(last):
        raise BenchError(step, f"needs the lines {first} and {last} once each, in this order")
    before, rest = text.split(first)
    put(step, path, "\n".join([f"{before}{first}", "", *lines, "", last]) + rest.split(last)[1])


def put(step, path, text):
    """Whole or not at all."""
    new = f"{path}.new{os.getpid()}"
    try:
        with open(new, "w") as f:
            f.write(text)
        os.replace(new, path)
    except OSError as e:
        raise BenchError(step, e.strerror) from None

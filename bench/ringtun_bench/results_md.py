# SPDX-License-Identifier: MPL-2.0
"""Writes a run's tables into a Markdown file, between two markers; the rest of the file is somebody
else's."""

from . import machine, table
from .errors import BenchError

BEGIN = "<!-- ringtun-bench tunnel: begin -->"
END = "<!-- ringtun-bench tunnel: end -->"

COLUMNS = ("", "median", "quartiles", "ratio [95 %]", "daemons' CPU s/GB", "machine's CPU s/GB",
           "daemons' CPU s/Mpkt", "machine's CPU s/Mpkt", "switches/s", "peak RSS, MiB")


def section(document):
    lines = [BEGIN, "", f"Made on {document['created'][:10]} in {document['seconds'] / 60:.0f} minutes "
             f"on {machine.summary(document['machine'])}; medians of {document['options']['rounds']} "
             "alternating rounds, ratios to the first implementation.", ""]
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
    lines += ["", "### The machine meanwhile", "", *table.noise_lines(document["noise"])]
    return "\n".join([*lines, "", END])


def update(path, document):
    step = f"writing {path}"
    try:
        with open(path) as f:
            text = f.read()
    except FileNotFoundError:
        text = f"{BEGIN}\n{END}\n"
    except OSError as e:
        raise BenchError(step, e.strerror) from None
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise BenchError(step, f"needs the lines {BEGIN} and {END} once each, in this order")
    before, rest = text.split(BEGIN)
    try:
        with open(path, "w") as f:
            f.write(before + section(document) + rest.split(END)[1])
    except OSError as e:
        raise BenchError(step, e.strerror) from None

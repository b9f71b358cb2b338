# SPDX-License-Identifier: MPL-2.0
"""The report as one page that needs no network: style, pictures and data are all inside."""

import json
from html import escape

from . import machine, plots, table
from .errors import BenchError

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; margin: 0 auto;
       max-width: 1080px; padding: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; } p { margin: .4rem 0; }
.scroll { overflow-x: auto; } figure { margin: 1rem 0; overflow-x: auto; }
figure svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #e3e3e3;
         white-space: nowrap; }
th:first-child, td:first-child, .words td, .words th { text-align: left; } th { background: #f5f5f5; }
.note { color: #555; font-size: 13px; } .box { border-left: 4px solid #999; background: #f6f6f6;
  padding: .5rem .9rem; margin: .8rem 0; }
.noisy { border-color: #D55E00; background: #fdf1ea; } .quiet { border-color: #009E73; }
.failed { border-color: #b00020; background: #fdecef; }
.better, .met { color: #00704a; font-weight: 600; } .worse, .missed { color: #b00020; font-weight: 600; }
code { font-size: 12px; overflow-wrap: anywhere; } a { color: #0060a0; }
summary { cursor: pointer; }
@media print { body { max-width: none; } figure, table { break-inside: avoid; } }
"""

EXPLANATION = """
<p>Implementations ran <b>in alternation</b>: every round measures each of them once before the next
round begins, so a machine that changes speed disturbs all alike. Bars and table cells are medians
over the rounds, whiskers are quartiles, dots are single rounds. A ratio is to the first
implementation; its 95&nbsp;% interval is by bootstrap over rounds taken in pairs; from fewer than five rounds no interval is that
sure, and what is given is little more than the range of the rounds.</p>
<p><b>Offered is not delivered</b>: every rate is what the receiver counted, by sequence numbers and
with a large socket buffer. The lossless rate is searched in the manner of RFC&nbsp;2544. CPU time of
the daemons is what the kernel charged to their processes; soft interrupts go to whoever was
running, so the machine's figure (all processes, the load generators too) is the complete one.</p>
<p><b>raw</b> is the bare pair of veth interfaces and <b>null</b> a tunnel that encrypts nothing: bounds,
not rivals. For small datagrams raw is none: over bare veth the kernel does the receiving end's work on
the sender's CPU, while behind a tunnel others do it.</p>
"""


def html_table(rows, classes=None):
    head, *body = rows
    cells = "".join(f"<th>{escape(c)}</th>" for c in head)
    lines = [f"<div class=scroll><table><thead><tr>{cells}</tr></thead><tbody>"]
    for row in body:
        name = (classes or {}).get(row[-1], "")
        lines.append("<tr>" + "".join(
            f"<td class='{name}'>{escape(c)}</td>" if name and i == len(row) - 1
            else f"<td>{escape(c)}</td>" for i, c in enumerate(row)) + "</tr>")
    return "\n".join(lines) + "</tbody></table></div>"


def box(kind, title, lines):
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<div class='box {kind}'><b>{escape(title)}</b>{f'<ul>{items}</ul>' if items else ''}</div>"


def figures(drawn):
    return "\n".join(f"<figure>{plots.svg(f, f'figure{i}')}</figure>"
                     for i, f in enumerate(drawn, start=1))


def head(document, title):
    when = document["created"].replace("T", " ").replace("Z", " UTC")
    lines = [f"<h1>{escape(title)}</h1>", f"<p>{escape(machine.summary(document['machine']))}</p>",
             f"<p class=note>{when}, ringtun-bench {document['tool_version']}, "
             f"{document['seconds'] / 60:.1f} minutes: <code>{escape(' '.join(document['command']))}"
             "</code></p>"]
    if not document["complete"]:
        lines.append(box("failed", f"This run is incomplete: {document['stopped']}", ()))
    return "\n".join(lines)


def implementations(document):
    rows = [["implementation", "version", "command"]]
    for i in document["implementations"]:
        rows.append([i["name"], i["version"] or table.UNKNOWN, i["command"] or f"built in: {i['kind']}"])
    return f"<div class=words>{html_table(rows)}</div>"


def targets(document):
    if not document.get("targets"):
        return ""
    rows = [["target", "against", "wanted", "measured [95 %]", "verdict"]]
    for t in document["targets"]:
        rows.append([t["title"], t["against"] or table.UNKNOWN, t["wanted"],
                     table.target_measured(t), t["verdict"]])
    classes = {"met": "met", "met, narrowly": "met", "missed": "missed", "missed, narrowly": "missed"}
    return f"<h2>Targets</h2>{html_table(rows, classes)}"


def comparison(rows):
    if not rows:
        return ""
    cells = [["case", "implementation", "new / old [95 %]", "verdict"]]
    cells += [[r["case"], r["implementation"], table.ratio_text(r["change"]), r["verdict"]]
              for r in rows]
    shown = html_table(cells, {"better": "better", "worse": "worse"})
    return f"<h2>Compared with an older run</h2>{shown}"


def case_tables(document):
    lines = ["<h2>All figures</h2>"]
    for case in document["cases"]:
        lower = ", lower is better" if case["better"] == "lower" else ""
        lines.append(f"<h3>{escape(case['title'])}</h3><p class=note>{escape(case['name'])}, "
                     f"{escape(case['unit'])}{lower}</p>{html_table(table.case_rows(case))}")
        lines += [f"<p class=note>{escape(line.strip())}</p>" for line in table.percentile_line(case)]
    lines.append(f"<p class=note>{escape(table.LEGEND)} The time is of CPUs, in seconds per gigabyte "
                 "(10<sup>9</sup> bytes) or per million packets delivered.</p>")
    return "\n".join(lines)


def flames(profiles):
    """@profiles: [(title, figure)]."""
    if not profiles:
        return ""
    parts = [f"<h3>{escape(title)}</h3><figure>{plots.svg(f, f'flame{i}')}</figure>"
             for i, (title, f) in enumerate(profiles)]
    return "<h2>Profiles</h2><p class=note>Width is the share of samples; callers are below.</p>" \
        + "\n".join(parts)


def tunnel(document, compared, profiles):
    noise = document["noise"]
    failures = document.get("failures", [])
    return "\n".join([
        head(document, "WireGuard tunnels side by side"), implementations(document),
        box("noisy", "The machine was noisy: trust ratios more than absolute figures",
            noise["warnings"]) if noise["is_noisy"] else box("quiet", "The machine was quiet", ()),
        box("failed", "Without result", failures) if failures else "",
        targets(document), comparison(compared), "<h2>Pictures</h2>", EXPLANATION,
        figures(plots.tunnel(document)), case_tables(document), flames(profiles)])


def measurements(document, compared):
    title = {"aead": "ChaCha20-Poly1305 kernels", "micro": "Single operations"}[document["kind"]]
    drawn = plots.aead_lines(document) if document["kind"] == "aead" \
        else plots.measurement_bars(document)
    rows = [["", "", "value", "unit"]]
    rows += [[m["group"], m["label"], table.number(m["value"]), m["unit"]]
             for m in document["measurements"]]
    return "\n".join([head(document, title), comparison(compared), figures(drawn),
                      "<h2>All figures</h2>", html_table(rows)])


def page(document, compared=(), profiles=()):
    body = tunnel(document, compared, profiles) if document["kind"] == "tunnel" \
        else measurements(document, compared)
    # "</" can not end the element early; JSON reads the escape as the same character.
    data = json.dumps(document).replace("</", "<\\/")
    return (f"<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
            f"<meta name=viewport content='width=device-width, initial-scale=1'>"
            f"<title>ringtun-bench {document['kind']}</title><style>{STYLE}</style></head><body>\n"
            f"{body}\n<script type='application/json' id=results>{data}</script></body></html>\n")


def write(path, text):
    try:
        with open(path, "w") as f:
            f.write(text)
    except OSError as e:
        raise BenchError(f"writing {path}", e.strerror) from None

# SPDX-License-Identifier: MPL-2.0
"""Tables for terminals and for Markdown."""

from . import machine

UNKNOWN = "-"


def number(value):
    """Three significant digits, no exponents."""
    if value is None:
        return UNKNOWN
    if abs(value) >= 100:
        return f"{value:.0f}"
    digits = 2 if abs(value) < 10 else 1
    return f"{value:.{digits}f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"


def ratio_text(ratio):
    if not ratio:
        return UNKNOWN
    return f"{number(ratio['ratio'])} [{number(ratio['low'])}, {number(ratio['high'])}]"


def layout(rows, is_left):
    """Columns padded to their widest cell."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) if left else cell.rjust(w)
                      for cell, w, left in zip(row, widths, is_left)).rstrip() for row in rows]


def cost_cells(result):
    cost = result["cost"]
    mib = cost.get("peak_rss_bytes")
    return [number(cost.get("daemon_s_per_gb")), number(cost.get("machine_s_per_gb")),
            number(cost.get("daemon_s_per_mpkt")), number(cost.get("machine_s_per_mpkt")),
            number(switches_per_second(cost)), number(mib / 2**20) if mib else UNKNOWN]


def switches_per_second(cost):
    if cost.get("switches_voluntary") is None or not cost.get("wall_s"):
        return None
    return (cost["switches_voluntary"] + cost["switches_involuntary"]) / cost["wall_s"]


HEAD = ["", "median", "quartiles", "ratio [95 %]", "d s/GB", "m s/GB", "d s/Mpkt", "m s/Mpkt",
        "switches/s", "RSS MiB"]
LEGEND = ("d = the daemons' CPU time, m = the whole machine's; switches = the daemons' context "
          "switches; ratio = to the first\nimplementation, with its 95 % confidence interval (of fewer "
          "than five rounds little more than their range).")


def case_rows(case):
    """A row per implementation, after the head."""
    rows = [HEAD]
    for r in case["results"]:
        s = r["summary"]
        if not s:
            note = r["error"]["message"] if r["error"] else "no result"
            rows.append([r["implementation"], r["status"], note[:60], *[""] * 7])
            continue
        name = r["implementation"] + ("" if r["status"] == "ok" else " *")
        rows.append([name, number(s["median"]), f"{number(s['q1'])} - {number(s['q3'])}",
                     ratio_text(r["ratio"]), *cost_cells(r)])
    return rows


def percentile_line(case):
    """Under latency cases: what a median hides."""
    lines = []
    for r in case["results"]:
        found = [t["detail"].get("percentiles_us") for t in r["trials"]]
        found = [p for p in found if p]
        if found:
            middle = {k: sorted(p[k] for p in found)[len(found) // 2] for k in found[0]}
            text = ", ".join(f"{k} {number(v)}" for k, v in middle.items())
            lines.append(f"  {r['implementation']}: {text}")
    return lines


def rounds_text(document):
    """How many rounds the cases had: "5", or "3 to 5" where not all had the same."""
    counts = {r["summary"]["n"] for c in document["cases"] for r in c["results"] if r["summary"]}
    counts = counts or {document["options"].get("rounds", 0)}
    return f"{min(counts)} to {max(counts)}" if len(counts) > 1 else f"{max(counts)}"


def tunnel(document):
    lines = [machine.summary(document["machine"]), ""]
    for case in document["cases"]:
        direction = "" if case["better"] == "higher" else ", lower is better"
        lines.append(f"{case['title']} ({case['name']}), {case['unit']}{direction}")
        lines += ["  " + line for line in layout(case_rows(case), [True] + [False] * 9)]
        lines += percentile_line(case)
        lines.append("")
    lines += [LEGEND, ""] if document["cases"] else []
    lines += target_lines(document.get("targets", ()))
    return lines + noise_lines(document["noise"])


def noise_lines(noise):
    if not noise["is_noisy"]:
        return ["The machine was quiet."]
    return ["This machine was noisy; trust ratios more than absolute figures:",
            *(f"  - {w}" for w in noise["warnings"])]


def target_lines(targets):
    if not targets:
        return []
    rows = [["Target", "against", "wanted", "measured [95 %]", ""]]
    for t in targets:
        rows.append([t["title"], t["against"] or UNKNOWN, t["wanted"], target_measured(t),
                     t["verdict"]])
    return [*layout(rows, [True, True, False, False, True]), ""]


def target_measured(t):
    if t["measured"] is None:
        return UNKNOWN
    if t["low"] is None:
        return number(t["measured"])
    return f"{number(t['measured'])} [{number(t['low'])}, {number(t['high'])}]"


def measurements(document):
    """aead and micro: a line per measurement, by groups."""
    lines, group = [machine.summary(document["machine"])], None
    for m in document["measurements"]:
        if m["group"] != group:
            group = m["group"]
            lines += ["", group]
        extra = ", ".join(f"{k} {number(v)}" for k, v in m.get("also", {}).items())
        lines.append(f"  {m['label']:<52} {number(m['value']):>10} {m['unit']}"
                     + (f"  ({extra})" if extra else ""))
    return lines


def comparison(rows):
    cells = [["case", "", "new / old [95 %]", "verdict"]]
    for r in rows:
        cells.append([r["case"], r["implementation"], ratio_text(r["change"]), r["verdict"]])
    return layout(cells, [True, True, False, True])


def markdown(rows):
    """A Markdown table of rows whose first is the head."""
    head, *body = rows
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return lines + ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in body]

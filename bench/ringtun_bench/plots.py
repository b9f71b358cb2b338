# SPDX-License-Identifier: MPL-2.0
"""The pictures of a report, drawn by matplotlib. Each function returns a figure, or None where the
run has nothing to show in it."""

import io

from . import stats
from .document import result_of
from .errors import BenchError
from .table import number, rounds_text

try:
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, NullFormatter
except ImportError:
    matplotlib = None

# Told apart by people who see colours differently (Okabe and Ito); the references are grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8B4513", "#6A3D9A")
GREYS = {"raw": "#999999", "kernel": "#555555", "null": "#BBBBBB"}
MARKERS = "osD^vP*X"
WIDE = (9, 4.2)
PAGE_INCHES = 11.2  # wider pictures are scaled down by the page, and their text with them
CROWDED = 24        # bars above which the figures on them are turned


def require():
    if matplotlib is None:
        raise BenchError("drawing plots", "needs matplotlib for this Python "
                         "(package python3-matplotlib)")


class Palette:
    """The same colour and marker for an implementation in all pictures."""

    def __init__(self, document):
        names = [i["name"] for i in document["implementations"]]
        own = [n for n in names if n not in GREYS]
        self.colours = {n: GREYS[n] if n in GREYS else COLOURS[own.index(n) % len(COLOURS)]
                        for n in names}
        self.markers = {n: MARKERS[i % len(MARKERS)] for i, n in enumerate(names)}
        self.names = names


def axes(title, x_label, y_label, size=WIDE):
    figure, ax = pyplot.subplots(figsize=size, layout="constrained")
    ax.set_title(title, loc="left", fontsize=11, fontweight="bold")
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    ax.grid(True, axis="y", color="#dddddd", linewidth=0.7)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return figure, ax


def plain_numbers(axis):
    """No exponents on a logarithmic axis."""
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def legend(ax):
    ax.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def common_legend(figure, palette):
    """One for all parts of a figure, below them."""
    found = {}
    for ax in figure.axes:
        found.update(zip(*reversed(ax.get_legend_handles_labels())))
    names = [n for n in palette.names if n in found]
    figure.legend([found[n] for n in names], names, fontsize=8, frameon=False, ncol=max(1, len(names)),
                  loc="upper center", bbox_to_anchor=(0.5, 0))


def cases_of(document, group):
    return [c for c in document["cases"] if c["group"] == group
            and any(r["summary"] for r in c["results"])]


def bars(document, palette, cases, title, y_label, label=lambda c: c["title"]):
    """Medians as bars, the quartiles as whiskers, every round as a dot."""
    if not cases:
        return None
    names = [n for n in palette.names
             if any((r := result_of(c, n)) and r["summary"] for c in cases)]
    n_bars = len(cases) * len(names)
    figure, ax = axes(title, "", y_label, (min(PAGE_INCHES, max(6, 2.6 + 0.45 * n_bars)), 4.2))
    turn = {"rotation": 90, "fontsize": 7} if n_bars > CROWDED else {"fontsize": 7}
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        is_labelled = False
        for x, case in enumerate(cases):
            r = result_of(case, name)
            if not r or not r["summary"]:
                continue
            s, at = r["summary"], x + (i - (len(names) - 1) / 2) * width
            ax.bar(at, s["median"], width * 0.92, color=palette.colours[name],
                   label=None if is_labelled else name)
            is_labelled = True
            ax.errorbar(at, s["median"], [[s["median"] - s["q1"]], [s["q3"] - s["median"]]],
                        color="#222222", capsize=3, linewidth=1)
            ax.scatter([at] * len(r["trials"]), [t["value"] for t in r["trials"]], s=6,
                       color="#222222", zorder=3, linewidths=0)
            ax.annotate(number(s["median"]), (at, max(t["value"] for t in r["trials"])),
                        xytext=(0, 4), textcoords="offset points", ha="center", **turn)
    ax.set_xticks(range(len(cases)), [wrap(label(c)) for c in cases], fontsize=8)
    ax.margins(y=0.12 if n_bars > CROWDED else 0.06)
    ax.set_ylim(bottom=0)
    legend(ax)
    return figure


def wrap(text, width=18):
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def throughput(document, palette):
    return bars(document, palette, cases_of(document, "tcp"), "TCP throughput", "Gbit/s")


def lossless(document, palette):
    cases = cases_of(document, "lossless")
    return bars(document, palette, cases, "Highest rate without loss", "thousand datagrams/s",
                lambda c: size_label(c["x"]))


def overload(document, palette):
    cases = cases_of(document, "overload") + cases_of(document, "gso")
    return bars(document, palette, cases, "Delivered when the sender does not hold back",
                "thousand datagrams/s")


def size_label(x):
    return "IMIX" if x == "imix" else f"{x} bytes"


def lines(document, palette, cases, title, x_label, y_label, figure_of, is_log_x=True):
    """A line per implementation over the cases' x, with the quartiles as whiskers."""
    cases = sorted((c for c in cases if isinstance(c["x"], (int, float))), key=lambda c: c["x"])
    if len(cases) < 2:
        return None
    figure, ax = axes(title, x_label, y_label)
    for name in palette.names:
        points = []
        for case in cases:
            values = [figure_of(t) for t in (result_of(case, name) or {"trials": []})["trials"]]
            values = [v for v in values if v is not None]
            if values:
                s = stats.summary(values)
                points.append((case["x"], s["median"], s["median"] - s["q1"],
                               s["q3"] - s["median"]))
        if points:
            x, y, below, above = zip(*points)
            ax.errorbar(x, y, (below, above), label=name, color=palette.colours[name],
                        marker=palette.markers[name], markersize=5, capsize=3, linewidth=1.5)
    if is_log_x:
        ax.set_xscale("log", base=2 if cases[-1]["x"] <= 4096 else 10)
    ax.set_xticks([c["x"] for c in cases])
    plain_numbers(ax.xaxis)
    ax.set_ylim(bottom=0)
    legend(ax)
    return figure


def cpu_per_packet(document, palette):
    return lines(document, palette, cases_of(document, "overload"),
                 "CPU time of the daemons per packet, under overload", "bytes per datagram",
                 "microseconds of CPU per datagram", lambda t: t["cpu"].get("daemon_s_per_mpkt"))


def streams(document, palette):
    cases = [c for c in cases_of(document, "tcp") if c["name"] not in ("tcp-bidir", "tcp-bbr")]
    return lines(document, palette, cases, "TCP by number of streams", "streams", "Gbit/s",
                 lambda t: t["value"])


def cores(document, palette):
    return lines(document, palette, cases_of(document, "cpus"),
                 "TCP by number of CPUs for everything", "CPUs", "Gbit/s", lambda t: t["value"],
                 is_log_x=False)


def peers(document, palette):
    return lines(document, palette, cases_of(document, "peers"), "Datagrams by number of peers",
                 "active peers", "thousand datagrams/s", lambda t: t["value"])


def loss_curve(document, palette):
    """Every trial of the searches: loss against what was offered."""
    cases = cases_of(document, "lossless")
    if not cases:
        return None
    columns = min(3, len(cases))
    rows = -(-len(cases) // columns)
    figure, grid = pyplot.subplots(rows, columns, figsize=(3.7 * columns, 3.4 * rows), squeeze=False,
                                   layout="constrained", sharey=True)
    for ax, case in zip(grid.flat, cases):
        for name in palette.names:
            r = result_of(case, name)
            points = sorted((p["offered_pps"] / 1e3, max(p["loss"] * 100, 0.001))
                            for t in (r["trials"] if r else ())
                            for p in t["detail"].get("search", ()))
            if points:
                ax.plot(*zip(*points), label=name, color=palette.colours[name], linewidth=0.8,
                        marker=palette.markers[name], markersize=4, alpha=0.8)
        ax.set_title(size_label(case["x"]), loc="left", fontsize=9, fontweight="bold")
        ax.set_xscale("log")
        ax.set_yscale("log")
        plain_numbers(ax.xaxis)
        plain_numbers(ax.yaxis)
        ax.grid(True, color="#dddddd", linewidth=0.6)
        ax.axhline(document["options"]["loss"] * 100, color="#222222", linewidth=0.8,
                   linestyle=":")
    for ax in list(grid.flat)[len(cases):]:
        ax.set_visible(False)
    figure.supxlabel("offered, thousand datagrams/s", fontsize=9)
    figure.supylabel("lost, % (0.001 = none)", fontsize=9)
    figure.suptitle("Loss against offered load", x=0.01, ha="left", fontsize=11, fontweight="bold")
    common_legend(figure, palette)
    return figure


def latency(document, palette):
    """Share of round trips that took longer, all rounds together."""
    cases = cases_of(document, "latency")
    if not cases:
        return None
    columns = min(2, len(cases))
    rows = -(-len(cases) // columns)
    figure, grid = pyplot.subplots(rows, columns, figsize=(5.4 * columns, 3.6 * rows), squeeze=False,
                                   layout="constrained")
    for ax, case in zip(grid.flat, cases):
        for name in palette.names:
            merged = stats.Histogram()
            r = result_of(case, name)
            for t in r["trials"] if r else ():
                merged.merge(stats.Histogram(t["detail"].get("histogram_ns", ())))
            if merged.counts:
                x, y = zip(*((v / 1e3, share) for v, share in merged.ccdf() if share > 0))
                ax.step(x, y, where="post", label=name, color=palette.colours[name], linewidth=1.4)
        ax.set_title(case["title"], loc="left", fontsize=10, fontweight="bold")
        ax.set_xscale("log")
        ax.set_yscale("log")
        plain_numbers(ax.xaxis)
        plain_numbers(ax.yaxis)
        ax.grid(True, color="#dddddd", linewidth=0.6)
        ax.set_xlabel("microseconds")
        ax.set_ylabel("share that took longer")
    for ax in list(grid.flat)[len(cases):]:
        ax.set_visible(False)
    figure.suptitle("Latency: the share of round trips that took longer", x=0.01, ha="left",
                    fontsize=11, fontweight="bold")
    common_legend(figure, palette)
    return figure


def others(document, palette):
    """The rest, a bar chart per unit."""
    figures = []
    for group, title in (("hub", "Through a gateway"), ("setup", "Setting connections up"),
                         ("netem", "Over an imperfect link"), ("idle", "Idle")):
        cases = cases_of(document, group)
        for unit in dict.fromkeys(c["unit"] for c in cases):
            shown = [c for c in cases if c["unit"] == unit]
            is_lower = any(c["better"] == "lower" for c in shown)
            figures.append(bars(document, palette, shown, title,
                                f"{unit}, lower is better" if is_lower else unit))
    return figures


TUNNEL_PLOTS = (throughput, streams, cores, lossless, loss_curve, overload, cpu_per_packet, latency,
                peers)


def tunnel(document):
    """All figures of a tunnel run."""
    require()
    palette = Palette(document)
    figures = [f for plot in TUNNEL_PLOTS if (f := plot(document, palette))]
    return figures + others(document, palette)


PICTURE = (("tcp-1", "TCP,\n1 stream"), ("tcp-4", "TCP,\n4 streams"),
           ("udp-64", "64-byte\ndatagrams,\nlossless"),
           ("udp-1372", "1372-byte\ndatagrams,\nlossless"),
           ("overload-64", "64-byte\ndatagrams,\nunder overload"))


def picture(document):
    """One figure for a README: the speed of each tunnel as a multiple of wireguard-go's, or of the
    last one's where that was not measured."""
    require()
    palette = Palette(document)
    names = [n for n in palette.names if n not in GREYS]
    base = "wireguard-go" if "wireguard-go" in names else names[-1] if names else None
    cases = [(c, label) for name, label in PICTURE for c in document["cases"] if c["name"] == name
             and base and (r := result_of(c, base)) and r["summary"]]
    if not cases:
        raise BenchError("drawing the picture", "no case that it shows was measured")
    figure, ax = axes(f"Speed, as a multiple of {base}", "", "", (8.5, 3.8))
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        for x, (case, _) in enumerate(cases):
            r = result_of(case, name)
            if not r or not r["summary"]:
                continue
            height = r["summary"]["median"] / result_of(case, base)["summary"]["median"]
            at = x + (i - (len(names) - 1) / 2) * width
            ax.bar(at, height, width * 0.92, color=palette.colours[name],
                   label=name if x == 0 else None)
            ax.annotate(f"{height:.2g}", (at, height), xytext=(0, 2), textcoords="offset points",
                        ha="center", fontsize=7)
    ax.axhline(1, color="#222222", linewidth=0.6)
    ax.set_xticks(range(len(cases)), [label for _, label in cases], fontsize=8)
    legend(ax)
    ax.margins(y=0.06)
    ax.set_ylim(bottom=0)
    figure.text(0.01, -0.02, caption(document, names), fontsize=7, color="#555555", va="top")
    return figure


def caption(document, names):
    """What a picture needs to stand alone: when, on what, and which versions."""
    machine = document["machine"]
    versions = ", ".join(f"{i['name']} {i['version']}" if i["name"] not in i["version"] else i["version"]
                         for i in document["implementations"] if i["name"] in names and i["version"])
    return (f"{machine['cpu_model']}, {machine['usable_cpus']} CPUs, Linux {machine['kernel']}, "
            f"{document['created'][:10]}; medians of {rounds_text(document)} alternating rounds\n"
            f"{versions}")


def measurement_bars(document):
    """aead and micro: horizontal bars, a figure per group."""
    require()
    figures = []
    groups = dict.fromkeys(m["group"] for m in document["measurements"])
    for group in groups:
        found = [m for m in document["measurements"] if m["group"] == group]
        for unit in dict.fromkeys(m["unit"] for m in found):
            shown = [m for m in found if m["unit"] == unit]
            figure, ax = axes(group, unit, "", (8, 0.9 + 0.24 * len(shown)))
            ax.grid(True, axis="x", color="#dddddd", linewidth=0.7)
            ax.barh(range(len(shown)), [m["value"] for m in shown], color=COLOURS[0])
            ax.set_yticks(range(len(shown)), [m["label"] for m in shown], fontsize=7)
            ax.invert_yaxis()
            for i, m in enumerate(shown):
                ax.annotate(f" {m['value']:.4g}", (m["value"], i), va="center", fontsize=7)
            figures.append(figure)
    return figures


def aead_lines(document):
    """Nanoseconds per byte against length at the largest burst, seal and open, warm and cold."""
    require()
    figures = []
    found = [m for m in document["measurements"] if str(m["parameters"]["length"]).isdigit()]
    for op, cache in dict.fromkeys((m["parameters"]["op"], m["parameters"]["cache"]) for m in found):
        here = [m for m in found if (m["parameters"]["op"], m["parameters"]["cache"]) == (op, cache)]
        burst = max(m["parameters"]["burst"] for m in here)
        names = list(dict.fromkeys(m["parameters"]["name"] for m in here))
        figure, ax = axes(f"{op}, caches {cache}, bursts of {burst}", "bytes per packet", "ns per byte")
        for i, name in enumerate(names):
            points = sorted((int(m["parameters"]["length"]), m["also"]["ns/byte"]) for m in here
                            if m["parameters"]["name"] == name
                            and m["parameters"]["burst"] == burst)
            ax.plot(*zip(*points), label=name, color=COLOURS[i % len(COLOURS)], linewidth=1.4,
                    marker=MARKERS[i % len(MARKERS)], markersize=4,
                    linestyle="-" if i < len(COLOURS) else "--")
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        plain_numbers(ax.xaxis)
        plain_numbers(ax.yaxis)
        legend(ax)
        figures.append(figure)
    return figures


def svg(figure, salt):
    """The figure as an <svg> element. @salt keeps the ids of several on one page apart."""
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none",
                                "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", metadata={"Date": None}, bbox_inches="tight")
    pyplot.close(figure)
    text = out.getvalue()
    return text[text.index("<svg"):]


def save(figure, path):
    try:
        with matplotlib.rc_context({"svg.hashsalt": "ringtun-bench"}):
            figure.savefig(path, dpi=140, bbox_inches="tight", metadata={"Date": None}
                           if path.endswith(".svg") else None)
    except (OSError, ValueError) as e:
        raise BenchError(f"writing {path}", str(e)) from None
    pyplot.close(figure)

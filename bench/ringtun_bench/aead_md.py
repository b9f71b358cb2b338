# SPDX-License-Identifier: MPL-2.0
"""The tables of `ringtun-bench aead` for a Markdown file: targets with verdicts, then every kernel
and library by length and burst."""

from . import table

KERNELS = ("avx512ifma", "avx512", "avx2", "neon", "ref")  # best first, as they are chosen
LIBRARIES = ("ipsec-mb", "openssl", "sodium")
BURST = 32

# (what, kernel or None for the best one, length or None for all, rivals of which the best counts, bound)
TARGETS = (
    ("64 bytes", None, "64", LIBRARIES, 0.4),
    ("256 bytes", None, "256", LIBRARIES, 0.7),
    ("1420 bytes", None, "1420", LIBRARIES, 0.75),
    ("8192 bytes", None, "8192", LIBRARIES, 1.0),
    ("1420 bytes, AVX2 only", "avx2", "1420", ("openssl",), 0.8),
    ("64 bytes, AVX2 only", "avx2", "64", ("openssl",), 0.4),
    ("portable, the worst length", "portable", None, ("sodium-portable",), 1.0),
)
OPEN_BOUND = 1.1  # an open may cost so many seals


def order(p):
    """Seal before open, warm before cold, by length, a mixture last."""
    length = int(p["length"]) if p["length"].isdigit() else 1 << 20
    return p["op"] != "seal", p["cache"] != "warm", length, p["burst"]


class Figures:
    """Nanoseconds per packet by (op, cache, length, burst, name)."""

    def __init__(self, measurements):
        self.ns, self.also, self.versions = {}, {}, {}
        for m in sorted(measurements, key=lambda m: order(m["parameters"])):
            p = m["parameters"]
            key = p["op"], p["cache"], p["length"], p["burst"], p["name"]
            self.ns[key], self.also[key] = m["value"], m["also"]
            if p.get("version"):
                self.versions[p["name"]] = p["version"]

    def column(self, i):
        return list(dict.fromkeys(key[i] for key in self.ns))

    def best_kernel(self):
        found = self.column(4)
        return next((k for k in KERNELS if k in found), None)


def verdict(ratio, bound):
    return "met" if ratio <= bound else "missed"


def target_row(figures, op, target):
    """Warm caches and full bursts; of several lengths the worst."""
    what, kernel, length, rivals, bound = target
    kernel = kernel or figures.best_kernel()
    worst = None
    for x in [length] if length else figures.column(2):
        mine = figures.ns.get((op, "warm", x, BURST, kernel))
        theirs = [(figures.ns[k], r) for r in rivals if (k := (op, "warm", x, BURST, r)) in figures.ns]
        if mine and theirs:
            ns, name = min(theirs)
            worst = max(worst or (0,), (mine / ns, mine, ns, name))
    if not worst:
        return (op, what, kernel or "", table.UNKNOWN, table.UNKNOWN, table.UNKNOWN,
                f"<= {bound:g} x", "not measured")
    ratio, mine, ns, name = worst
    return (op, what, kernel, table.number(mine), f"{name} {table.number(ns)}", f"{ratio:.2f}",
            f"<= {bound:g} x", verdict(ratio, bound))


def open_row(figures):
    """The worst open against its seal, of the best kernel in full bursts."""
    kernel, worst = figures.best_kernel(), None
    for length in figures.column(2):
        pair = [figures.ns.get((op, "warm", length, BURST, kernel)) for op in ("open", "seal")]
        if all(pair):
            worst = max(worst or (0,), (pair[0] / pair[1], *pair))
    if not worst:
        return None
    return ("open", "the worst length against its seal", kernel, table.number(worst[1]),
            f"seal {table.number(worst[2])}", f"{worst[0]:.2f}", f"<= {OPEN_BOUND:g} x",
            verdict(worst[0], OPEN_BOUND))


def targets(figures):
    rows = [("", "what", "kernel", "ns", "against, ns", "ratio", "wanted", "verdict")]
    rows += [target_row(figures, op, t) for op in figures.column(0) for t in TARGETS]
    last = open_row(figures)
    return table.markdown(rows + [last] if last else rows)


def cell(figures, key):
    if key not in figures.ns:
        return table.UNKNOWN
    per_byte = figures.also[key].get("cycles/byte")
    return table.number(figures.ns[key]) + (f" ({per_byte:.2f})" if per_byte else "")


def lines(document):
    figures = Figures(document["measurements"])
    text = ["Nanoseconds per packet, with core clock cycles per byte in brackets; medians of runs that "
            "alternate in one process."]
    if figures.versions:
        text += ["", "Libraries: " + ", ".join(f"{n} {v}" for n, v in figures.versions.items()) + "."]
    text += ["", f"### Targets (caches warm, bursts of {BURST})", "", *targets(figures)]
    for op, cache in dict.fromkeys(key[:2] for key in figures.ns):
        here = [key for key in figures.ns if key[:2] == (op, cache)]
        names = list(dict.fromkeys(key[4] for key in here))
        rows = [("length", "burst", *names)]
        for length, burst in dict.fromkeys(key[2:4] for key in here):
            rows.append((str(length), str(burst),
                         *(cell(figures, (op, cache, length, burst, n)) for n in names)))
        text += ["", f"### {op}, caches {cache}", "", *table.markdown(rows)]
    return text

# SPDX-License-Identifier: MPL-2.0
"""ringtun-bench aead and micro: single operations, measured by C programs, brought into one form."""

from . import helpers

AEAD, MICRO = "ringtun-bench-aead", "ringtun-bench-micro"
LIMIT_SEC = 1800


def aead_arguments(options):
    args = ["--json"]
    if options.quick:
        args.append("--quick")
    for name in ("length", "burst"):
        value = getattr(options, name)
        if value is not None:
            args += [f"--{name}", value]
    return args


def aead(options):
    """Measurements: nanoseconds per packet, and per byte besides."""
    found = []
    for m in helpers.run(AEAD, *aead_arguments(options), timeout=options.time_limit or LIMIT_SEC):
        length = str(m["length"])
        also = {"TSC cycles/byte": m["tsc_per_byte"]}
        if "cycles_per_byte" in m:
            also["cycles/byte"] = m["cycles_per_byte"]
        if length.isdigit():
            also["ns/byte"] = m["ns"] / int(length)
        size = f"{length} bytes" if length.isdigit() else length.upper()
        found.append({
            "name": f"{m['op']}-{m['cache']}-{length}-burst{m['burst']}-{m['name']}",
            "group": f"{m['op']}, {size}, caches {m['cache']}",
            "label": f"{m['name']}, burst of {m['burst']}", "value": m["ns"], "unit": "ns",
            "better": "lower", "also": also,
            "parameters": {k: m[k] for k in ("op", "cache", "length", "burst", "name", "version")
                           if k in m}})
    return sorted(found, key=lambda m: m["group"])


def micro(options):
    args = ["--json", *(["--quick"] if options.quick else [])]
    return [measurement(m) for m in
            helpers.run(MICRO, *args, timeout=options.time_limit or LIMIT_SEC)["measurements"]]


def measurement(m):
    """The helper's own form is nearly ours."""
    operation = m.get("parameters", {}).get("op")
    return {"name": m["name"], "group": m["group"], "label": m["label"], "value": m["value"],
            "unit": f"{m['unit']}/{operation}" if operation else m["unit"], "better": m["better"],
            "also": m["also"], "parameters": m["parameters"]}

#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
# Runs alone: it measures, or counts what a busy machine delays.
"""ringtun-bench aead and micro: the helpers' results in the form of the document, and errors of
helpers that misbehave."""

import json
import os

from lib import Skip, check, equal, expect, main, run, use_helpers

from ringtun_bench import document

AEAD = [{"op": op, "cache": cache, "length": length, "burst": burst, "name": name, "ns": ns,
         "tsc_per_byte": ns * 2.6 / 64}
        for op in ("seal", "open") for cache in ("warm", "cold") for length in ("64", "1420", "imix")
        for burst in (1, 32) for name, ns in (("ref", 300.0), ("avx2", 90.0))]
MICRO = {"measurements": [
    {"name": "allowedips/lookup/1000000", "group": "allowed-IPs lookup", "label": "1000000 prefixes",
     "value": 55.5, "unit": "ns", "better": "lower", "also": {"q1": 54.0, "q3": 57.0},
     "parameters": {"op": "lookup", "samples": 9}},
    {"name": "handshake/pair", "group": "handshake", "label": "both sides", "value": 200000.0,
     "unit": "ns", "better": "lower", "also": {}, "parameters": {}}]}


def fake(directory, name, text, status=0):
    path = os.path.join(directory, name)
    with open(path, "w") as f:
        f.write(f"#!/bin/sh\necho \"$*\" >{path}.args\ncat <<'END'\n{text}\nEND\nexit {status}\n")
    os.chmod(path, 0o755)
    return {**os.environ, "RINGTUN_BENCH_HELPERS": directory}


@check("aead: a measurement per kernel, length and burst, per packet and per byte")
def aead(directory):
    env = fake(directory, "ringtun-bench-aead", json.dumps(AEAD))
    path, page = os.path.join(directory, "r.json"), os.path.join(directory, "r.html")
    r = run("aead", "--quick", "--length", "64", "--json", path, env=env)
    expect(r.returncode == 0, r.stderr)
    with open(os.path.join(directory, "ringtun-bench-aead.args")) as f:
        equal(f.read().split(), ["--json", "--quick", "--length", "64"])
    doc = document.read(path)
    equal(len(doc["measurements"]), len(AEAD))
    equal(len({m["name"] for m in doc["measurements"]}), len(AEAD), "names")
    one = next(m for m in doc["measurements"] if m["name"] == "seal-warm-64-burst1-ref")
    equal((one["value"], one["unit"], one["better"], one["also"]["ns/byte"]),
          (300.0, "ns", "lower", 300 / 64))
    expect("avx2, burst of 32" in r.stdout, r.stdout)
    r = run("report", path, "--html", page)
    if "matplotlib" in r.stderr:
        raise Skip("needs matplotlib")
    equal(r.returncode, 0)
    with open(page) as f:
        equal(f.read().count("<svg"), 4, "pictures: seal and open, warm and cold")


@check("micro: compared with older results, a slower operation is a regression")
def micro(directory):
    env = fake(directory, "ringtun-bench-micro", json.dumps(MICRO))
    path = os.path.join(directory, "r.json")
    equal(run("micro", "--json", path, env=env).returncode, 0)
    equal(run("micro", "--compare", path, env=env).returncode, 0)
    slower = json.loads(json.dumps(MICRO))
    slow = slower["measurements"][0]
    slow["value"], slow["also"] = 83.0, {"q1": 81.0, "q3": 85.0}
    env = fake(directory, "ringtun-bench-micro", json.dumps(slower))
    r = run("micro", "--compare", path, env=env)
    equal(r.returncode, 3)
    equal([line.split()[-1] for line in r.stdout.splitlines() if line.startswith(
        ("allowedips", "handshake/"))], ["worse", "same"])


@check("helpers that are missing, fail or print nonsense are named")
def bad_helpers(directory):
    env = {**os.environ, "RINGTUN_BENCH_HELPERS": directory}
    for kind in ("aead", "micro"):
        r = run(kind, env=env)
        equal(r.returncode, 1)
        expect(f"looking for ringtun-bench-{kind}" in r.stderr, r.stderr)
    r = run("aead", env=fake(directory, "ringtun-bench-aead", "[]", status=1))
    equal(r.returncode, 1)
    r = run("micro", env=fake(directory, "ringtun-bench-micro", "oops"))
    expect(r.returncode == 1 and "no JSON" in r.stderr, r.stderr)
    r = run("tunnel", "--impl", "raw", "--case", "udp-64", "--rounds", 1, env=env)
    expect(r.returncode == 1 and "ringtun-bench-gen" in r.stderr, r.stderr)
    expect("Traceback" not in r.stderr, r.stderr)


@check("the real helper for the cipher fits", timeout=100)
def real_aead(directory):
    use_helpers()
    path = os.path.join(directory, "r.json")
    r = run("aead", "--quick", "--length", "64", "--burst", "8", "--json", path)
    if "looking for" in r.stderr:
        raise Skip("ringtun-bench-aead is not built")
    expect(r.returncode == 0, r.stderr)
    names = {m["parameters"]["name"] for m in document.read(path)["measurements"]}
    expect("ref" in names and len(names) > 1, f"kernels: {names}")


main()

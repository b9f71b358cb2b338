#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""The results document and what is made of it: schema, noise, comparison, targets, Markdown, flame
graphs. Needs no privilege and no traffic."""

import argparse
import copy
import importlib.util
import json
import os
import types

from lib import BENCH, Skip, check, close, equal, expect, main, raises, run
from lib.sample import result_document

from ringtun_bench import (cases, compare, document, merge, percase, profile, results_md, table,
                           targets)
from ringtun_bench.errors import BenchError


def need_jsonschema():
    try:
        importlib.import_module("jsonschema")
    except ImportError:
        raise Skip("needs the Python package jsonschema") from None


def write(directory, name, value):
    path = os.path.join(directory, name)
    with open(path, "w") as f:
        f.write(value if isinstance(value, str) else json.dumps(value))
    return path


@check("schema: a whole document follows it")
def follows(_):
    need_jsonschema()
    equal(document.first_problem(result_document()), None)


@check("schema: it says itself what it is")
def is_schema(_):
    need_jsonschema()
    import jsonschema
    with open(document.schema_path()) as f:
        schema = json.load(f)
    jsonschema.Draft7Validator.check_schema(schema)
    equal(schema["properties"]["version"]["const"], document.VERSION)


@check("schema: each of these mistakes is found")
def mistakes(_):
    need_jsonschema()
    good = result_document(case_names=("tcp-1", "udp-64", "ping-idle"))

    def broken(change):
        bad = copy.deepcopy(good)
        change(bad)
        return document.first_problem(bad)

    changes = {
        "no machine": lambda d: d.pop("machine"),
        "no noise": lambda d: d.pop("noise"),
        "another kind": lambda d: d.update(kind="gpu"),
        "a local time": lambda d: d.update(created="yesterday"),
        "a value in words": lambda d: d["cases"][0]["results"][0]["trials"][0].update(value="fast"),
        "a round 0": lambda d: d["cases"][0]["results"][0]["trials"][0].update(round=0),
        "loss above 1": lambda d: d["cases"][1]["results"][0]["trials"][0]["detail"]["search"][0]
        .update(loss=1.5),
        "an unknown status": lambda d: d["cases"][0]["results"][0].update(status="fine"),
        "half a bucket": lambda d: d["cases"][2]["results"][0]["trials"][0]["detail"]
        .update(histogram_ns=[[1]]),
        "cost in words": lambda d: d["cases"][0]["results"][0]["cost"].update(daemon_s="much"),
    }
    for name, change in changes.items():
        expect(broken(change), f"{name}: not found")


@check("reading: every kind of bad file has an error that names it")
def bad_files(directory):
    good = result_document(case_names=("tcp-1",))
    newer = {**good, "version": 2}
    for name, value, words in (("torn.json", "{\"format\": ", "not JSON"),
                               ("list.json", [], "not a results"),
                               ("other.json", {"format": "other"}, "not a results"),
                               ("newer.json", newer, "version 2")):
        raises(BenchError, document.read, write(directory, name, value), containing=words)
        raises(BenchError, document.read, write(directory, name, value), containing=name)
    raises(BenchError, document.read, os.path.join(directory, "none.json"), containing="No such file")
    path = os.path.join(directory, "good.json")
    document.write(good, path)
    equal(document.read(path), json.loads(json.dumps(good)))
    equal(os.listdir(directory).count("good.json"), 1)


@check("noise: each disturbance is put into words, a quiet run is called so")
def noise(_):
    doc = result_document(case_names=("tcp-1", "udp-64"))
    equal(document.noise(doc["cases"])["is_noisy"], False)

    def disturbed(change):
        cases = copy.deepcopy(doc["cases"])
        change(cases)
        found = document.noise(cases)
        equal(found["is_noisy"], True)
        return " ".join(found["warnings"])

    def trial(cases):
        return cases[0]["results"][0]["trials"][0]

    expect("steal" in disturbed(lambda c: trial(c)["noise"].update(steal_share=0.2)), "steal")
    expect("outside" in disturbed(lambda c: trial(c)["noise"].update(foreign_share=0.3)), "foreign")
    expect("frequency" in disturbed(lambda c: trial(c)["noise"].update(mhz=1300.0)), "frequency")
    expect("tcp-1/ringtun" in disturbed(lambda c: c[0]["results"][0]["summary"].update(spread=0.4)),
           "spread")
    expect("load generator" in disturbed(
        lambda c: c[1]["results"][0]["trials"][0]["detail"].update(limited_by="sender")), "sender")


@check("comparison: better, same, worse and unclear")
def verdicts(_):
    cases = ("tcp-1", "ping-idle")
    old = result_document(case_names=cases)
    for scale, tcp, ping in ((1.0, "same", "same"), (1.3, "better", "worse"), (0.7, "worse", "better")):
        rows = compare.compare(old, result_document(case_names=cases, scale=scale))
        found = {(r["case"], r["implementation"]): r["verdict"] for r in rows}
        equal(found["tcp-1", "ringtun"], tcp, f"TCP at {scale}")
        equal(found["ping-idle", "ringtun"], ping, f"ping at {scale}")
        equal(found["tcp-1", "raw"], "same", "another implementation")
        equal(compare.is_regression(rows), scale != 1.0)
    close(rows[0]["change"]["ratio"], 0.7, 1e-6)
    wide = {"low": 0.8, "high": 1.2}
    equal(compare.verdict(wide, "higher", 0.05), "unclear")
    equal(compare.verdict({"low": 1.2, "high": 1.3}, "lower", 0.05), "worse")


@check("comparison: datagrams sent by other means compare with nothing, and mixed means are named")
def other_sender(_):
    def sent(scale, *vias):
        doc = result_document(case_names=("overload-64",), names=("ringtun", "raw"), scale=scale)
        for result, via in zip(doc["cases"][0]["results"], vias):
            for t in result["trials"]:
                t["detail"].update({"offered_pps": 1.0, "sent_via": via} if via else {"offered_pps": 1.0})
        return doc
    for old, new, wanted in (("packet", "packet", "better"), ("socket", "packet", "unclear"),
                             (None, "packet", "unclear"), (None, "socket", "better")):
        rows = compare.compare(sent(1.0, old, old), sent(1.3, new, new))
        equal(rows[0]["verdict"], wanted, f"from {old} to {new}")
    for vias, is_named in ((("packet", "packet"), False), (("packet", "socket"), True)):
        lines = document.noise(sent(1.0, *vias)["cases"])["warnings"]
        equal(any("packet sockets" in line and "overload-64" in line for line in lines), is_named,
              f"{vias}: {lines}")


@check("comparison: relative to a reference, a machine that slowed down is no regression")
def relative(_):
    old = result_document(case_names=("tcp-1",))
    new = copy.deepcopy(old)
    for r in new["cases"][0]["results"]:
        for t in r["trials"]:
            t["value"] /= 2
    equal(compare.is_regression(compare.compare(old, new)), True)
    rows = compare.compare(old, new, reference="raw")
    equal([r["verdict"] for r in rows], ["same", "same"])
    raises(BenchError, compare.compare, old, new, "nobody", containing="nobody")


@check("comparison: a case that failed is worse, one that was not asked for says nothing")
def gone(_):
    old = result_document(case_names=("tcp-1", "tcp-4"))
    new = result_document(case_names=("tcp-1",))
    new["cases"][0]["results"][0].update(status="failed", trials=[])
    found = {(r["case"], r["implementation"]): r["verdict"] for r in compare.compare(old, new)}
    equal(found["tcp-1", "ringtun"], "worse")
    equal(found["tcp-4", "ringtun"], "missing")


@check("report: compares files and its exit status is the verdict")
def report(directory):
    old, new = os.path.join(directory, "old.json"), os.path.join(directory, "new.json")
    document.write(result_document(case_names=("tcp-1",)), old)
    document.write(result_document(case_names=("tcp-1",), scale=0.7), new)
    equal(run("report", old, "--compare", old).returncode, 0, "status of old against itself")
    r = run("report", new, "--compare", old)
    equal(r.returncode, 3, "status of a slower one")
    expect("worse" in r.stdout, r.stdout)
    equal(run("report", old, "--compare", new).returncode, 0, "status of a faster one")


@check("targets: met, narrowly, missed and not measured")
def judged(_):
    doc = result_document(case_names=("tcp-1", "ping-idle"))

    def judge(**target):
        return targets.judge(doc, {"title": "t", "figure": "value", "of": "ringtun", **target})

    equal(judge(case="tcp-1", against=["wireguard-go"], at_least=2)["verdict"], "met")
    equal(judge(case="tcp-1", against=["wireguard-go"], at_least=3)["verdict"], "missed")
    equal(judge(case="tcp-1", against=["wireguard-go", "raw"], at_least=0.1)["against"], "raw")
    equal(judge(case="ping-idle", against=["wireguard-go", "raw"], at_most=9)["against"], "raw")
    equal(judge(case="ping-idle", against=["wireguard-go"], at_most=0.5)["verdict"], "met")
    equal(judge(case="tcp-4", against=["raw"], at_least=1)["verdict"], "not measured")
    equal(judge(case="tcp-1", against=["nobody"], at_least=1)["verdict"], "not measured")
    rss = judge(case="tcp-1", figure="peak_rss_bytes", scale=2**-20, at_most=24)
    equal((rss["measured"], rss["verdict"]), (8.0, "met"))
    close(judge(case="tcp-1", at_least=4.4)["measured"], 4.4, 0.001)
    equal(targets.verdict({"ratio": 2.1, "low": 1.9, "high": 2.3}, 2, True), "met, narrowly")
    equal(targets.verdict({"ratio": 1.9, "low": 1.8, "high": 2.1}, 2, True), "missed, narrowly")


@check("targets: the committed file is good, a bad one is refused")
def target_files(directory):
    expect(len(targets.load(os.path.join(BENCH, "targets.json"))) >= 10, "too few targets")
    for bad in ([{"title": "x"}], {"title": "x"}, [{"title": "x", "case": "tcp-1", "figure": "value",
                                                    "of": "a", "at_least": 1, "at_most": 2}]):
        raises(BenchError, targets.load, write(directory, "bad.json", bad), containing="not a target")


@check("options by case: the last pattern that matches wins")
def by_case(_):
    parse = percase.parser(int)
    option = parse("3,udp-*=5,udp-64=7")
    equal([option.of(n) for n in ("tcp-1", "udp-256", "udp-64")], [3, 5, 7])
    equal(option.describe(), {"default": 3, "udp-*": 5, "udp-64": 7})
    equal((parse("4").of("x"), parse("4").describe()), (4, 4))
    equal(parse("a=1").or_default(2).of("b"), 2)
    for bad in ("3,4", "=3", "a=", ""):
        raises((ValueError, argparse.ArgumentTypeError), parse, bad)
    options = types.SimpleNamespace(rounds=option, seconds=parse("1"), trial_seconds=parse("2"), loss=0.1)
    equal(percase.resolved(options, "udp-64").rounds, 7)
    equal((options.rounds, percase.resolved(options, "x").loss), (option, 0.1))


@check("merging: only what is missing is measured, the longer of two results stays")
def merging(_):
    names = ("tcp-1", "tcp-4", "udp-64", "idle")
    old = result_document(case_names=names[:3], rounds=5)
    cut = old["cases"][2]["results"]
    cut[2].update(status="failed", error={"step": "stopped", "message": "time", "round": 2})
    cut[2]["trials"] = cut[2]["trials"][:1]
    old["complete"], old["stopped"] = False, "time"

    def missing(rounds):
        return [c.name for c in merge.missing(old, cases.select(names), lambda _: {"rounds": rounds})]
    equal(missing(5), ["udp-64", "idle"])
    equal(missing(6), list(names))
    equal([c.name for c in merge.missing(None, cases.select(names), lambda _: {"rounds": 1})],
          list(names))
    new = result_document(case_names=("idle", "udp-64", "tcp-4"), rounds=4, scale=2.0)
    both = merge.into(old, copy.deepcopy(new), names)
    equal([c["name"] for c in both["cases"]], list(names))
    equal([len(c["results"][0]["trials"]) for c in both["cases"]], [5, 5, 4, 4])
    longer = merge.into(old, result_document(case_names=("udp-64",), rounds=5, scale=2.0), names)
    close(longer["cases"][2]["results"][0]["summary"]["median"], 480, 0.02)
    equal((both["complete"], both["seconds"], len(both["runs"])), (True, 246.0, 2))
    equal((both["runs"][0]["stopped"], both["runs"][1]["stopped"]), ("time", None))
    equal(len(merge.into(both, result_document(case_names=()), names)["runs"]), 3)
    if importlib.util.find_spec("jsonschema"):
        equal(document.first_problem(both), None)
    equal("runs" in merge.into(None, new, names), False)


@check("merging: other programs and other machines are refused")
def strangers(_):
    old = result_document(case_names=("tcp-1",))

    def changed(change):
        new = copy.deepcopy(old)
        change(new)
        return new
    merge.check_same(old, copy.deepcopy(old))
    for change, words in (
            (lambda d: d["implementations"][0].update(sha256="11" * 32), "ringtun is another program"),
            (lambda d: d["machine"].update(kernel="1.0"), "another machine: kernel"),
            (lambda d: d["options"].update(sender="auto"), "--sender socket and are with auto"),
            (lambda d: d["implementations"].reverse(), "ratios were to ringtun")):
        raises(BenchError, merge.check_same, old, changed(change), containing=words)
    raises(BenchError, merge.check_same, changed(lambda d: d.update(kind="aead")), old,
           containing="of aead")
    # one that is new, and one that is gone
    merge.check_same(old, changed(lambda d: d["implementations"].pop()))
    merge.check_same(changed(lambda d: d["implementations"].pop()), old)
    both = merge.into(old, result_document(names=("ringtun", "raw"), case_names=("tcp-4",)), ())
    equal([i["name"] for i in both["implementations"]], ["ringtun", "raw", "wireguard-go"])


@check("Markdown: only what is between the markers changes")
def markdown(directory):
    first, last = results_md.begin("tunnel"), results_md.end("tunnel")
    path = write(directory, "R.md", f"# Mine\n\n{first}\nold\n{last}\n\n## AEAD\nhis\n")
    doc = result_document(case_names=("tcp-1",))
    for _ in range(2):
        results_md.update(path, doc)
        with open(path) as f:
            text = f.read()
        expect(text.startswith("# Mine\n") and text.endswith("\n## AEAD\nhis\n"), text)
        expect("\nold\n" not in text and "| wireguard-go | 1.65 |" in text, text)
    raises(BenchError, results_md.update, write(directory, "half.md", f"{first}\n"), doc,
           containing="once each")
    raises(BenchError, results_md.update, write(directory, "odd.md", f"{last}\n{first}\n"), doc,
           containing="in this order")
    equal([n for n in os.listdir(directory) if ".new" in n], [], "temporary files")


@check("Markdown: each kind of result and each name has a section of its own")
def sections(directory):
    path = write(directory, "R.md", "# Mine\n")
    one = {"name": "seal", "group": "g", "label": "avx2, burst of 8", "value": 90.0, "unit": "ns",
           "better": "lower", "also": {"cycles/byte": 1.4},
           "parameters": {"op": "seal", "cache": "warm", "length": "64", "burst": 8, "name": "avx2"}}
    aead = {**result_document(case_names=()), "kind": "aead", "measurements": [one]}
    for _ in range(2):
        results_md.update(path, aead)
        results_md.update(path, {**aead, "kind": "micro"})
        r = run("section", "scale", "--markdown", path, stdin=None, input="| 10000 peers | 1 |\n")
        expect(r.returncode == 0, r.stderr)
    with open(path) as f:
        text = f.read()
    expect(text.startswith("# Mine\n\n<!--"), text)
    for words in ("| 64 | 8 | 90.0 (1.40) |", "| g | avx2, burst of 8 | 90.0 | ns |", "| 10000 peers | 1 |",
                  *(results_md.begin(n) for n in ("aead", "micro", "scale"))):
        equal((words, text.count(words)), (words, 1))
    equal(run("section", "No Name", "--markdown", path, stdin=None, input="x").returncode, 2)
    equal(run("section", "scale", "--markdown", path, stdin=None, input="").returncode, 1)


@check("table: three digits, no exponents, failures in words")
def tables(_):
    equal([table.number(v) for v in (0, 1234.4, 99.94, 9.994, 0.0123, None)],
          ["0.00", "1234", "99.9", "9.99", "0.012", "-"])
    doc = result_document(case_names=("tcp-1",))
    doc["cases"][0]["results"][1].update(status="failed", trials=[], summary=None, ratio=None, cost={},
                                         error={"step": "daemon", "message": "died", "round": 2})
    text = "\n".join(table.tunnel(doc))
    expect("died" in text and "failed" in text and "The machine was quiet" in text, text)
    equal(document.failures(doc), ["wireguard-go, tcp-1: daemon: died"])


PERF_SCRIPT = """\
ringtun-w0
        ffffffff81 copy_page+0x7 ([kernel.kallsyms])
        ffffffff82 tun_get_user+0x1a3 ([kernel.kallsyms])
              4010 main loop (/usr/bin/ringtun)

ringtun-w0
        ffffffff82 tun_get_user+0x2 ([kernel.kallsyms])
              4010 main loop (/usr/bin/ringtun)

ringtun-w1
              5000 [unknown] (/usr/lib/libx.so)
"""


@check("profiles: stacks fold by frame, outermost first, and draw")
def folds(directory):
    stacks = profile.fold(PERF_SCRIPT)
    equal(stacks, {"ringtun-w0;main loop;tun_get_user;copy_page": 1,
                   "ringtun-w0;main loop;tun_get_user": 1, "ringtun-w1;[unknown]": 1})
    found = list(profile.boxes(profile.tree(stacks), 3))
    equal([(d, round(w, 3), f) for d, _, w, f in found],
          [(0, 0.667, "ringtun-w0"), (1, 0.667, "main loop"), (2, 0.667, "tun_get_user"),
           (3, 0.333, "copy_page"), (0, 0.333, "ringtun-w1"), (1, 0.333, "[unknown]")])
    path = os.path.join(directory, "sub", "a.folded")
    profile.write_folded(stacks, path)
    with open(path) as f:
        expect("ringtun-w0;main loop;tun_get_user 1\n" in f.readlines(), "not in the folded file")


main()

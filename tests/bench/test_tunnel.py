#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
# Runs alone: it measures, or counts what a busy machine delays.
"""ringtun-bench tunnel for real: short runs in namespaces, everything that can go wrong, and what is
left behind."""

import glob
import json
import os
import shutil
import signal
import subprocess
import time

from lib import PROGRAM, Skip, check, daemon, equal, expect, main, need_root, run, use_helpers

from ringtun_bench import cases, document, implementations, lab

SHORT = ("--rounds", "1", "--seconds", "1", "--trial-seconds", "0.2", "--resolution", "0.5",
         "--pause", "0", "--repeats", "0")
AUTOGROUP = lab.Settings.AUTOGROUP


def ringtun(name="ringtun"):
    return f"{name}={daemon()} -f {{if}}"


def ready():
    need_root()
    use_helpers()
    for tool in ("ip", "wg", "iperf3", "ping"):
        if not shutil.which(tool):
            raise Skip(f"needs {tool}")


def leftovers(pid):
    """Whatever carries the name of a run."""
    found = [n for n in os.listdir("/run/netns") if n.startswith(f"rtb-{pid}-")]
    found += glob.glob(f"/var/run/wireguard/rtb{pid % 10**6}x*")
    found += glob.glob(f"/tmp/ringtun-bench-{pid}-*") + glob.glob(f"/run/ringtun-bench/{pid}.json")
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as f:
                if f" rtb{pid % 10**6}x".encode() in b" " + f.read().replace(b"\0", b" "):
                    found.append(path)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def start(*args):
    return subprocess.Popen([PROGRAM, "tunnel", *map(str, args)], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process, word, timeout=40):
    """Reads stderr until a line has the word."""
    end = time.monotonic() + timeout
    for line in process.stderr:
        if word in line:
            return
        expect(time.monotonic() < end, f"never said {word}")
    expect(False, f"it ended without saying {word}: {process.stdout.read()}")


def read(path):
    with open(path) as f:
        return json.load(f)


def result(doc, case, name):
    return document.result_of(document.case_of(doc, case), name)


@check("a run of each kind of case gives figures that follow the schema", timeout=280)
def every_kind(directory):
    ready()
    path = os.path.join(directory, "r.json")
    names = ("tcp-1", "tcp-bidir", "udp-256", "overload-64", "gso-512", "rtt-idle", "ping-tcp",
             "hub-tcp-1", "hub-udp-64", "peers-20", "handshakes-20", "reconnect-20", "first-packet",
             "cpus-1", "idle")
    r = run("tunnel", "--impl", ringtun(), "--case", ",".join(names), *SHORT, "--json", path,
            timeout=270)
    expect(r.returncode == 0, f"status {r.returncode}: {r.stderr}")
    raw_path = os.path.join(directory, "raw.json")
    raw_names = ("tcp-1", "overload-64", "ping-tcp", "hub-tcp-1", "peers-20", "handshakes-20",
                 "first-packet", "idle")
    r = run("tunnel", "--impl", "raw", "--case", ",".join(raw_names), *SHORT, "--json", raw_path)
    expect(r.returncode == 0, f"status {r.returncode}: {r.stderr}")
    doc, raw = read(path), read(raw_path)
    equal(document.first_problem(doc), None)
    equal([c["name"] for c in doc["cases"]], list(names))
    for case in doc["cases"]:
        mine = result(doc, case["name"], "ringtun")
        equal((case["name"], mine["status"]), (case["name"], "ok"))
        expect(mine["summary"]["median"] > 0 or case["name"] == "idle",
               f"{case['name']} is {mine['summary']['median']}")
        expect(mine["cost"]["peak_rss_bytes"] > 10**6, f"{case['name']}: no RSS")
    for name in raw_names[:4]:
        equal(result(raw, name, "raw")["status"], "ok")
        expect("daemon_s" not in result(raw, name, "raw")["cost"], "raw has no daemon")
    for name in raw_names[4:]:
        equal(result(raw, name, "raw")["status"], "skipped")
    expect(result(doc, "overload-64", "ringtun")["cost"]["daemon_s_per_mpkt"] > 0, "no cost")
    expect(result(doc, "peers-20", "ringtun")["summary"]["median"] > 3, "most peers were not heard")
    expect(0.2 < result(doc, "tcp-1", "ringtun")["summary"]["median"] < 200, "an odd TCP figure")


@check("TCP is cubic whatever the machine's default is, but BBR in the case of that name", timeout=120)
def congestion_control(directory):
    ready()
    if "bbr" not in lab.congestion_controls():
        raise Skip("this kernel has no BBR to tell apart")
    setting = ("sysctl", "-n", "net.ipv4.tcp_congestion_control")
    raw = implementations.parse("raw")
    for name, wanted in (("tcp-1", "cubic"), ("ping-tcp", "cubic"), ("tcp-bbr", "bbr"),
                         ("ping-bbr", "bbr")):
        with lab.exclusive(print), lab.Lab() as owner:
            network = cases.make(name).network(owner, raw)
            for ns in (network.a, network.b):
                equal((name, ns.run(*setting, step="looking").strip()), (name, wanted))


@check("netem profiles run or are skipped with a reason", timeout=120)
def netem(directory):
    ready()
    path = os.path.join(directory, "r.json")
    r = run("tunnel", "--impl", "raw", "--case", "netem-*", *SHORT, "--json", path)
    expect(r.returncode == 0, r.stderr)
    for case in read(path)["cases"]:
        one = case["results"][0]
        if one["status"] == "skipped":
            expect("netem" in one["error"]["message"], one["error"])
        else:
            expect(0 < one["summary"]["median"] < 20, "a delayed link is slow")


@check("two rounds alternate, and the ratio of an implementation to itself is about one", timeout=120)
def alternates(directory):
    ready()
    path = os.path.join(directory, "r.json")
    r = run("tunnel", "--impl", ringtun(), "--impl", ringtun("again"), "--case", "tcp-1", *SHORT,
            "--rounds", 3, "--json", path)
    expect(r.returncode == 0, r.stderr)
    doc = read(path)
    equal(result(doc, "tcp-1", "ringtun")["ratio"]["ratio"], 1.0)
    again = result(doc, "tcp-1", "again")
    equal([t["round"] for t in again["trials"]], [1, 2, 3])
    expect(0.3 < again["ratio"]["ratio"] < 3, f"ratio {again['ratio']}")


@check("profiles by the real perf: stacks of both daemons, and flame graphs in the report", timeout=120)
def profiles(directory):
    ready()
    if not shutil.which("perf"):
        raise Skip("needs perf (package linux-perf)")
    trial = subprocess.run(["perf", "record", "-q", "-e", "cpu-clock", "-g", "-o",
                            os.path.join(directory, "trial.data"), "sleep", "0.1"],
                           capture_output=True, text=True, check=False, timeout=30)
    if trial.returncode != 0:
        raise Skip(f"perf may not record here: {trial.stderr.strip()[-200:]}")
    stacks_dir, page = os.path.join(directory, "stacks"), os.path.join(directory, "r.html")
    r = run("tunnel", "--impl", ringtun(), "--impl", "raw", "--case", "overload-64,tcp-1", *SHORT,
            "--profile", "--profile-dir", stacks_dir, "--html", page)
    if "matplotlib" in r.stderr:
        raise Skip(r.stderr.strip())
    expect(r.returncode == 0, f"status {r.returncode}: {r.stderr}")
    equal(sorted(os.listdir(stacks_dir)), ["overload-64-ringtun.folded", "tcp-1-ringtun.folded"])
    for name in os.listdir(stacks_dir):
        with open(os.path.join(stacks_dir, name)) as f:
            stacks = [(s.split(";"), int(n)) for s, _, n in (line.rpartition(" ") for line in f)]
        total = sum(n for _, n in stacks)
        expect(total > 30, f"{name}: only {total} samples in a second under load")
        deep = sum(n for frames, n in stacks if len(frames) > 4)
        expect(deep > total / 2, f"{name}: {deep} of {total} samples have a stack")
        frames = {f for s, _ in stacks for f in s}
        for wanted in ("chacha", "do_syscall"):
            expect(any(wanted in f for f in frames), f"{name}: no {wanted} in {sorted(frames)}")
    with open(page) as f:
        text = f.read()
    for title in ("overload-64, ringtun", "tcp-1, ringtun"):
        expect(title in text, f"no flame graph {title} in the report")
    expect("tcp-1, raw" not in text, "a flame graph of nobody")


@check("a profile that would go nowhere, and one that can not be written")
def profile_usage(directory):
    ready()
    r = run("tunnel", "--impl", "raw", "--case", "overload-64", "--profile")
    equal(r.returncode, 2)
    expect("--profile-dir" in r.stderr, r.stderr)
    if shutil.which("perf"):
        r = run("tunnel", "--impl", ringtun(), "--case", "overload-64", *SHORT, "--profile-dir",
                "/proc/nowhere")
        equal(r.returncode, 1)
        expect("writing stacks" in r.stderr, r.stderr)
        expect("overload-64" in r.stdout or "64-byte" in r.stdout, "the other results are lost")


# Bad input

@check("an unknown case, a bad number, a bad name: status 2, and nothing is started")
def usage(_):
    for args, words in ((("--impl", "raw", "--case", "tcp-0"), "from 1 to 128"),
                        (("--impl", "raw", "--case", "warp"), "no such case"),
                        (("--impl", "raw", "--case", "zzz*"), "matches no case"),
                        (("--impl", "raw", "--rounds", "many"), "not a number"),
                        (("--impl", "raw", "--loss", "7"), "at most 0.5"),
                        (("--impl", "raw", "--impl", "raw"), "given twice"),
                        (("--impl", "null"), "--build-null"),
                        (("--impl", "a b=x"), "a name is"), (("--impl", "ringtun"), "NAME=COMMAND"),
                        (("--impl", "x='"), "quotation"), (("--impl", "raw=x"), "built-in"),
                        ((), "nothing")):
        r = run("tunnel", *args)
        equal((args, r.returncode), (args, 2))
        expect(words in r.stderr, f"{args}: {r.stderr}")
        expect("Traceback" not in r.stderr, r.stderr)
    equal(run().returncode, 2)
    expect("tcp-16" in run("tunnel", "--list-cases").stdout, "the list of cases")


@check("without root it says so")
def no_root(_):
    need_root()
    r = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", PROGRAM, "tunnel", "--impl",
                        "raw"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                       check=False)
    if "can't open file" in r.stderr or "Permission denied" in r.stderr:
        raise Skip("nobody can not read this source tree")
    equal(r.returncode, 1)
    expect("needs root" in r.stderr, r.stderr)


@check("without iperf3 it says so, and runs what needs none")
def no_iperf(directory):
    ready()
    for tool in ("ip", "wg", "ping", "sysctl", "sh"):
        os.symlink(shutil.which(tool), os.path.join(directory, tool))
    env = {**os.environ, "PATH": directory}
    r = run("tunnel", "--impl", "raw", "--case", "tcp-1", env=env)
    equal(r.returncode, 1)
    expect("iperf3" in r.stderr, r.stderr)
    r = run("tunnel", "--impl", "raw", "--case", "ping-idle", *SHORT, env=env)
    equal((r.returncode, r.stderr.count("Traceback")), (0, 0))


@check("binaries that do not start cost only their own results", timeout=120)
def bad_binaries(directory):
    ready()
    path = os.path.join(directory, "r.json")
    r = run("tunnel", "--impl", "gone=/nonexistent {if}", "--impl",
            "quits=sh -c 'echo my last words; exit 3' {if}", "--impl", "raw", "--case",
            "tcp-1,ping-idle", *SHORT, "--json", path)
    equal(r.returncode, 1)
    expect("looking for gone" in r.stderr and "no such program" in r.stderr, r.stderr)
    expect("status 3" in r.stderr and "my last words" in r.stderr, r.stderr)
    doc = read(path)
    equal(document.first_problem(doc), None)
    equal(sorted(e["implementation"] for e in doc["errors"]), ["gone", "quits"])
    equal(result(doc, "tcp-1", "raw")["status"], "ok")
    equal(document.result_of(doc["cases"][1], "quits"), None)  # not tried a second time


@check("a daemon that dies in the middle is named; the others' results are kept", timeout=120)
def dies(directory):
    ready()
    path = os.path.join(directory, "r.json")
    mortal = f"sh -c '{daemon()} -f $0 & p=$!; sleep 4; kill -9 $p; wait' {{if}}"
    r = run("tunnel", "--impl", f"mortal={mortal}", "--impl", ringtun(), "--case", "tcp-1", *SHORT,
            "--rounds", 4, "--json", path)
    equal(r.returncode, 1)
    doc = read(path)
    equal(document.first_problem(doc), None)
    mortal, other = result(doc, "tcp-1", "mortal"), result(doc, "tcp-1", "ringtun")
    equal((mortal["status"], mortal["error"]["step"]), ("failed", "daemon"))
    expect("mortal" in r.stderr and "died" in r.stderr, r.stderr)
    equal((other["status"], len(other["trials"])), ("ok", 4))


@check("a tunnel that passes nothing is an error that says so", timeout=120, is_long=True)
def silent(directory):
    ready()
    path = os.path.join(directory, "r.json")
    # A socket that answers UAPI, an interface, and no tunnel behind it.
    fake = os.path.join(directory, "fake")
    with open(fake, "w") as f:
        f.write(FAKE_DAEMON)
    os.chmod(fake, 0o755)
    r = run("tunnel", "--impl", f"fake={fake} {{if}}", "--impl", "raw", "--case", "ping-idle", *SHORT,
            "--json", path)
    equal(r.returncode, 1)
    expect("waiting for the first packet" in r.stderr, r.stderr)
    equal(result(read(path), "ping-idle", "raw")["status"], "ok")


FAKE_DAEMON = """#!/usr/bin/python3
import os, socket, subprocess, sys
name = sys.argv[1]
subprocess.run(["ip", "tuntap", "add", "dev", name, "mode", "tun"], check=True)
os.makedirs("/var/run/wireguard", exist_ok=True)
s = socket.socket(socket.AF_UNIX)
s.bind(f"/var/run/wireguard/{name}.sock")
s.listen()
while True:
    c, _ = s.accept()
    text = c.recv(65536)
    c.sendall(b"errno=0\\n\\n") if text else c.close()
"""


# Ends

@check("SIGINT ends a run within seconds, keeps what there is and leaves nothing", timeout=120)
def interrupted(directory):
    ready()
    with open(AUTOGROUP) as f:
        before = f.read()
    path = os.path.join(directory, "r.json")
    process = start("--impl", ringtun(), "--impl", "raw", "--case", "ping-idle,tcp-1", *SHORT,
                    "--rounds", "2,tcp-1=9", "--json", path)
    wait_for(process, "ping-idle (us)")  # the first case is done
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    out, err = process.communicate(timeout=30)
    expect(time.monotonic() - begin < 10, "it took its time")
    equal(process.returncode, 130)
    expect("interrupted by SIGINT" in err, err)
    doc = read(path)
    equal(document.first_problem(doc), None)
    equal((doc["complete"], doc["stopped"]), (False, "interrupted by SIGINT"))
    equal(len(result(doc, "ping-idle", "raw")["trials"]), 2)
    expect("ping-idle" in out, "no table")
    equal(leftovers(process.pid), [])
    with open(AUTOGROUP) as f:
        equal(f.read(), before, "sched_autogroup_enabled")


@check("SIGKILL: its processes die with it, the next run removes the rest", timeout=120)
def killed(directory):
    ready()
    with open(AUTOGROUP) as f:
        before = f.read()
    process = start("--impl", ringtun(), "--impl", f"behind={daemon()} {{if}}", "--case", "tcp-1",
                    *SHORT, "--seconds", 20)
    expect(lab.wait_until(lambda: len([x for x in leftovers(process.pid) if "cmdline" in x]) >= 4, 20),
           "it did not start")
    process.kill()
    process.communicate()
    expect(leftovers(process.pid), "nothing was left: this test shows nothing")
    r = run("tunnel", "--impl", "raw", "--case", "ping-idle", *SHORT)
    equal(r.returncode, 0)
    equal([x for x in leftovers(process.pid) if not x.startswith(("/tmp", "/var"))], [])
    with open(AUTOGROUP) as f:
        equal(f.read(), before, "sched_autogroup_enabled")


@check("the time limit ends a run and keeps what there is; the next does the rest", timeout=120)
def time_limit(directory):
    ready()
    path = os.path.join(directory, "r.json")
    begin = time.monotonic()
    case = ("tunnel", "--impl", "raw", "--case", "ping-idle,tcp-1", "--json", path, *SHORT, "--rounds")
    r = run(*case, "2,tcp-1=9", "--time-limit", 6)
    expect(time.monotonic() - begin < 20, "the limit did not hold")
    equal(r.returncode, 1)
    doc = read(path)
    equal(doc["complete"], False)
    expect("time limit" in doc["stopped"], doc["stopped"])
    equal(len(result(doc, "ping-idle", "raw")["trials"]), 2)
    first = result(doc, "ping-idle", "raw")["trials"]
    # The next run does the rest.
    r = run(*case, 2, "--only-missing", timeout=60)
    expect("1 of 2 cases have no complete result" in r.stderr or r.returncode == 0, r.stderr)
    doc = read(path)
    equal((doc["complete"], len(doc["runs"])), (True, 2))
    equal(result(doc, "ping-idle", "raw")["trials"], first, "the first case's trials")
    expect(len(result(doc, "tcp-1", "raw")["trials"]) >= 2, "tcp-1 was not done")
    equal(document.first_problem(doc), None)


@check("others' namespaces, processes and sockets are left alone", timeout=120)
def strangers(directory):
    ready()
    name, socket_path = f"rtbx-{os.getpid()}-1", f"/var/run/wireguard/rtbx{os.getpid()}.sock"
    subprocess.run(["ip", "netns", "add", name], check=True)
    os.makedirs("/var/run/wireguard", exist_ok=True)
    with open(socket_path, "w"):
        pass
    stranger = subprocess.Popen(["ip", "netns", "exec", name, "sleep", "100"])
    try:
        equal(run("tunnel", "--impl", ringtun(), "--case", "ping-idle", *SHORT).returncode, 0)
        expect(stranger.poll() is None, "a foreign process was ended")
        expect(os.path.exists(f"/run/netns/{name}") and os.path.exists(socket_path), "removed")
    finally:
        stranger.kill()
        stranger.wait()
        os.unlink(socket_path)
        subprocess.run(["ip", "netns", "delete", name], check=False)


main()

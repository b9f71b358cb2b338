#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The command line and the environment of the daemon under test (RINGTUN_BIN): its own options
and those of the programs that it stands in for, and what it says when it can not start."""

import fcntl
import json
import os
import re
import shutil
import struct
import subprocess

from lib import netns, report, traffic
from lib.netns import has_socket, wait_until
from lib.report import case, check, equal
from lib.tunnel import Tunnel

SWITCHES = ("tun-tso", "tun-uso", "udp-gso", "udp-gro", "multi-queue", "steering")


def program(ns, *args, env=None, **kw):
    """Runs the daemon where it must end by itself."""
    return ns.run(netns.ringtun_bin(), *args, check=False, stdin=subprocess.DEVNULL, timeout=10,
                  env=ns.lab.environment(env), **kw)


def expect_refused(ns, args, env=None, name=None, says=None):
    """Status 1, the reason on stderr and nothing left."""
    what = f"{env or ''} {' '.join(map(str, args))}".strip()
    name = ns.lab.ifname() if name is None else name
    links = ns.out("ip", "-o", "link").count("\n")
    r = ns.run(netns.ringtun_bin(), *args, *((name,) if name is not False else ()), check=False,
               timeout=10, stdin=subprocess.DEVNULL, env=ns.lab.environment(env))
    equal(r.returncode, 1, f"exit status of {what!r}")
    check(r.stderr.strip(), f"nothing on stderr of {what!r}")
    equal(r.stdout, "", f"stdout of {what!r}")
    check(not says or re.search(says, r.stderr, re.I), f"{what!r} said {r.stderr!r}")
    equal(ns.out("ip", "-o", "link").count("\n"), links, f"interfaces after {what!r}")
    equal(ns.pids(), [], f"processes after {what!r}")
    check(not name or "/" in name or not has_socket(name), f"socket left by {what!r}")


def expect_starts(ns, args=("-f",), env=None):
    d = ns.daemon(args=args, env=env)
    status, _ = d.stop()
    equal(status, 0, f"exit status of {args} {env or ''}")
    return d


def n_threads(ns, **kw):
    d = ns.daemon(**kw)
    ns.lab.uapi(d.ifname, "get=1\n\n")  # an answer: the start is over
    n = len(os.listdir(f"/proc/{d.pid}/task"))
    d.stop()
    return n


# Without an interface

@case("U-060 --version and -V")
def version(lab):
    ns = lab.netns()
    for option in ("--version", "-V"):
        r = program(ns, option)
        equal((r.returncode, r.stderr), (0, ""), f"status and stderr of {option}")
        check(re.search(r"\d+\.\d+", r.stdout), f"{option} printed {r.stdout!r}")
        equal(r.stdout.count("\n"), 1, f"lines printed by {option}")


@case("U-060 --help and -h name every option")
def show_help(lab):
    ns = lab.netns()
    for option in ("--help", "-h"):
        r = program(ns, option)
        equal((r.returncode, r.stderr), (0, ""), f"status and stderr of {option}")
        for name in ("foreground", "threads", "verbosity", "verbose", "uapi-fd", "tun-fd", "log",
                     "io", *SWITCHES, "txqueuelen", "gso-max-size", "status", "json", "version", "help"):
            check(f"--{name}" in r.stdout, f"--{name} is not in the output of {option}")


@case("U-060 --help and --version do not mind the environment")
def help_with_environment(lab):
    ns = lab.netns()
    for option in ("--help", "--version"):
        r = program(ns, option, env={"WG_THREADS": "many", "WG_TUN_FD": "x"})
        equal(r.returncode, 0, option)


# Usage errors

@case("U-060 usage errors: status 1, the reason on stderr")
def usage_errors(lab):
    ns = lab.netns()
    for args, name in (((), False), (("-f",), False), (("-f", "one", "two"), False),
                       (("--no-such-option",), None), (("-Z",), None),
                       (("--thread-count=1",), None),
                       (("--threads",), False), (("--foreground=1",), None)):
        expect_refused(ns, args, name=name)


@case("unusable values of options: status 1, the reason on stderr")
def bad_values(lab):
    ns = lab.netns()
    for option, values in {
            "--threads": ("", "x", "-1", "1x", "0x1", "1000000", "99999999999999999999"),
            "--verbosity": ("", "loud", "3"), "--io": ("", "magic", "URING2"),
            "--txqueuelen": ("", "x", "-1", "99999999999999"),
            "--gso-max-size": ("", "x", "2047", "65536"),
            "--tun-fd": ("", "x", "99999999999", "3.5", "0x3"), "--uapi-fd": ("x", "-2", "1 "),
            **{f"--{s}": ("", "maybe", "1") for s in SWITCHES}}.items():
        for value in values:
            expect_refused(ns, ("-f", f"{option}={value}"))


@case("unusable values of variables: status 1, the reason on stderr")
def bad_variables(lab):
    ns = lab.netns()
    for variable, value in (
            ("WG_THREADS", "x"), ("WG_LOG_LEVEL", "loud"), ("RINGTUN_IO", "magic"),
            ("RINGTUN_TXQUEUELEN", "x"), ("WG_TUN_FD", "x"), ("WG_UAPI_FD", "x"),
            *((f"RINGTUN_{s.upper().replace('-', '_')}", "maybe") for s in SWITCHES)):
        expect_refused(ns, ("-f",), env={variable: value}, says=variable)


@case("U-060 unusable interface names, foreground and background")
def bad_names(lab):
    ns = lab.netns()
    for name in ("", "a" * 16, "a" * 300, "x/y", "/", ".", "..", "a b", "a\tb", "a:b", "%s",
                 "wg%n", "wg%d%d", "wg%", "../../tmp/x"):
        for args in (("-f", "--"), ("--",)):
            expect_refused(ns, args, name=name)


@case("names at the edge of what is allowed")
def edge_names(lab):
    ns = lab.netns()
    base = lab.ifname()
    for name in (base.ljust(15, "z"), f"{base}=+.-"[:15], f"{base}é"):
        d = ns.daemon(name, args=("-f", "--"))
        check(ns.has_link(name), f"no interface {name}")
        equal(d.stop()[0], 0, f"exit status with {name}")


# Foreground

@case("-f, --foreground and WG_PROCESS_FOREGROUND=1; anything else is background")
def foreground(lab):
    ns = lab.netns()
    for args, env in ((("-f",), {}), (("--foreground",), {}), ((), {"WG_PROCESS_FOREGROUND": 1})):
        d = ns.daemon(args=args, env=env)
        check(d.alive() and ns.pids() == [d.pid], f"{args} {env}: not one process in foreground")
        d.stop()
    for value in ("0", "", "yes"):
        d = ns.background(env={"WG_PROCESS_FOREGROUND": value})
        equal(d.status, 0, f"status with WG_PROCESS_FOREGROUND={value!r}")
        equal(len(d.pids), 1, f"daemons with WG_PROCESS_FOREGROUND={value!r}")
        netns.end_pids(d.pids)


@case("options may stand after the name, and -- ends them")
def order(lab):
    ns = lab.netns()
    for words in (("NAME", "-f"), ("-f", "--", "NAME"), ("NAME", "--threads", "1", "-f"),
                  ("-ft1", "NAME")):
        ifname = lab.ifname()
        p = ns.popen(netns.ringtun_bin(), *(ifname if w == "NAME" else w for w in words),
                     env=lab.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        check(wait_until(lambda n=ifname: netns.socket_answers(n)), f"{words}: no answer")
        check(p.poll() is None, f"{words}: not in the foreground")
        p.terminate()
        equal(p.wait(5), 0, f"exit status of {words}")


# What the programs it stands in for accept

@case("BoringTun's, GotaTun's and NepTUN's options are accepted")
def accepted_options(lab):
    ns = lab.netns()
    for args in (("--threads", "2"), ("-t", "3"), ("-t1",), ("--threads=0",),
                 *(("--verbosity", v) for v in ("error", "info", "debug", "trace", "warn")),
                 ("-v", "debug"), ("--uapi-fd", "-1"), ("--tun-fd", "-1"),
                 ("--disable-drop-privileges",), ("--disable-connected-udp",),
                 ("--disable-multi-queue",), ("--socket-buffer-size", "1000000"),
                 ("--disable-drop-privileges", "--disable-connected-udp", "--disable-multi-queue",
                  "-v", "info", "-t", "2")):
        expect_starts(ns, ("-f", *args))


@case("their variables are accepted")
def accepted_variables(lab):
    ns = lab.netns()
    for env in ({"WG_THREADS": "2"}, {"WG_TUN_NAME_FILE": "/nonexistent"}, {"WG_THREADS": ""},
                *({"WG_LOG_LEVEL": v} for v in ("error", "info", "debug", "trace", "warn", "")),
                *({"LOG_LEVEL": v} for v in ("verbose", "debug", "error", "silent", "x", "")),
                {"WG_UAPI_FD": "-1", "WG_TUN_FD": "-1"}, {"WG_UAPI_FD": "", "WG_TUN_FD": ""}):
        expect_starts(ns, env=env)


@case("pitfall 70 WG_SUDO takes 1, true, yes, on, 0, false, no, off, nothing and anything")
def wg_sudo(lab):
    ns = lab.netns()
    for value in ("1", "true", "yes", "on", "TRUE", "0", "false", "no", "off", "", "perhaps"):
        expect_starts(ns, env={"WG_SUDO": value})


# Our own

@case("our options and variables: auto and off; on works or says why not")
def switches(lab):
    ns = lab.netns()
    for switch in SWITCHES:
        variable = f"RINGTUN_{switch.upper().replace('-', '_')}"
        for value in ("auto", "off"):
            expect_starts(ns, ("-f", f"--{switch}={value}"))
            expect_starts(ns, env={variable: value})
        d = ns.daemon(args=("-f", f"--{switch}=on"), wait=False)
        wait_until(lambda x=d: not x.alive() or netns.socket_answers(x.ifname))
        if d.alive():
            equal(d.stop()[0], 0, f"exit status with --{switch}=on")
        else:
            equal(d.wait(), 1, f"exit status with --{switch}=on")
            check(d.log().strip(), f"--{switch}=on failed without a word")


@case("U-063 with everything off, and with either engine, traffic passes")
def engines(lab):
    off = tuple(f"--{s}=off" for s in SWITCHES)
    for args in (("--io=poll",), ("--io", "auto"), ("--threads=1", "--io=poll", *off)):
        t = Tunnel(lab, args_a=("-f", *args))
        check(traffic.reaches(t.a.ns, t.b.v4), f"{args}: no traffic")
        for x, y in ((t.a, t.b), (t.b, t.a)):
            error = traffic.tcp_transfer(x.ns, y.ns, y.v4, 1 << 20)
            check(not error, f"{args}: TCP: {error}")


@case("--io=uring works or says why not; RINGTUN_IO likewise")
def uring(lab):
    ns = lab.netns()
    for args, env in ((("-f", "--io=uring"), {}), (("-f",), {"RINGTUN_IO": "uring"})):
        d = ns.daemon(args=args, env=env, wait=False)
        wait_until(lambda x=d: not x.alive() or netns.socket_answers(x.ifname))
        if d.alive():
            equal(d.stop()[0], 0, "exit status")
        else:
            equal(d.wait(), 1, "exit status")
            check(re.search("uring", d.log()), f"said {d.log()!r}")


@case("--txqueuelen and RINGTUN_TXQUEUELEN")
def txqueuelen(lab):
    ns = lab.netns()
    for args, env, expected in ((("--txqueuelen", 1234), {}, "1234"),
                                ((), {"RINGTUN_TXQUEUELEN": 2345}, "2345"),
                                (("--txqueuelen=77",), {"RINGTUN_TXQUEUELEN": 2345}, "77")):
        d = ns.daemon(args=("-f", *args), env=env)
        equal(ns.out("cat", f"/sys/class/net/{d.ifname}/tx_queue_len").strip(), expected,
              f"queue length with {args} {env}")
        d.stop()


def gso_max_size(ns, ifname):
    link = json.loads(ns.out("ip", "-d", "-json", "link", "show", "dev", ifname))[0]
    return link["gso_max_size"]


@case("--gso-max-size and RINGTUN_GSO_MAX_SIZE; without them it follows the MTU")
def gso_size(lab):
    ns = lab.netns()
    for args, env, before, after in (((), {}, 61612, 62688),
                                     (("--gso-max-size", 20000), {}, 20000, 20000),
                                     (("--gso-max-size=0",), {"RINGTUN_GSO_MAX_SIZE": 9999},
                                      61612, 62688),
                                     ((), {"RINGTUN_GSO_MAX_SIZE": 9999}, 9999, 9999)):
        d = ns.daemon(args=("-f", *args), env=env)
        equal(gso_max_size(ns, d.ifname), before, f"size with {args} {env}")
        ns.run("ip", "link", "set", d.ifname, "mtu", 9000)
        check(wait_until(lambda: gso_max_size(ns, d.ifname) == after),
              f"{gso_max_size(ns, d.ifname)} at MTU 9000 with {args} {env}, not {after}")
        d.stop()


@case("a switch that is on fails where there is no such thing, and auto says why it is off")
def switch_without_ability(lab):
    ns = lab.netns()
    with ns.enter():
        fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"plain0", 0x1001))  # no vnet header
    os.set_inheritable(fd, True)
    for option in ("tun-tso", "tun-uso", "multi-queue"):
        r = program(ns, "-f", "--threads=2", f"--{option}=on", "plain0", env={"WG_TUN_FD": fd},
                    pass_fds=(fd,))
        equal(r.returncode, 1, f"status of {option}")
        check(option.replace("-", "_") in r.stdout + r.stderr, f"said {r.stdout + r.stderr!r}")
    lab.own_socket("plain0")
    d = ns.daemon("plain0", args=("-f", "--threads=2"), env={"WG_TUN_FD": fd}, pass_fds=(fd,))
    text = lab.uapi(d.ifname, "status=1\n\n")
    for line in ("tun_tso=off", "tun_tso_why=the TUN has no vnet header", "tun_uso=off",
                 "multi_queue=refused", "tun_gro=off"):
        check(f"\n{line}\n" in text, f"{line} is not in {text}")
    os.close(fd)


@case("--mtu and RINGTUN_MTU")
def mtu(lab):
    ns = lab.netns()
    for args, env, expected in ((("--mtu", 1300), {}, "1300"), ((), {"RINGTUN_MTU": 9000}, "9000")):
        d = ns.daemon(args=("-f", *args), env=env)
        equal(ns.out("cat", f"/sys/class/net/{d.ifname}/mtu").strip(), expected,
              f"MTU with {args} {env}")
        d.stop()


@case("--threads and WG_THREADS count workers, the flag beats the variable")
def threads(lab):
    ns = lab.netns()
    one = n_threads(ns, args=("-f", "--threads=1"))
    equal(n_threads(ns, args=("-f", "-t", "4")), one + 3, "threads with -t 4")
    equal(n_threads(ns, env={"WG_THREADS": 3}), one + 2, "threads with WG_THREADS=3")
    equal(n_threads(ns, args=("-f", "-t", "2"), env={"WG_THREADS": 5}), one + 1,
          "threads with -t 2 and WG_THREADS=5")
    equal(n_threads(ns), one + len(os.sched_getaffinity(0)) - 1, "threads without an option")


# Log

@case("U-063 LOG_LEVEL, WG_LOG_LEVEL, --verbosity and --verbose: how much is said")
def log_levels(lab):
    ns = lab.netns()
    said = {}
    for name, args, env in (
            ("LOG_LEVEL=verbose", (), {"LOG_LEVEL": "verbose"}),
            ("LOG_LEVEL=debug", (), {"LOG_LEVEL": "debug"}),
            ("WG_LOG_LEVEL=debug", (), {"WG_LOG_LEVEL": "debug"}),
            ("--verbosity=trace", ("--verbosity=trace",), {}), ("--verbose", ("--verbose",), {}),
            ("LOG_LEVEL=silent", (), {"LOG_LEVEL": "silent"}),
            ("-v silent beats the variable", ("-v", "silent"), {"WG_LOG_LEVEL": "debug"}),
            ("nothing", (), {})):
        d = ns.daemon(args=("-f", *args), env=env)
        ns.run("ip", "link", "set", d.ifname, "up")
        wait_until(lambda x=d: "listen_port" in lab.uapi(x.ifname, "get=1\n\n"), 1)
        d.stop()
        said[name] = d.log()
    for name, text in said.items():
        if "silent" in name or name == "nothing":
            equal(text, "", f"log with {name}")
        else:
            check(text.strip(), f"nothing was logged with {name}")


@case("U-062 U-063 background with a log level keeps stdout, without one it does not")
def background_log(lab):
    ns = lab.netns()
    for env, kept in (({"LOG_LEVEL": "verbose"}, True), ({"LOG_LEVEL": "silent"}, False),
                      ({}, False)):
        with open(lab.path("out"), "w+") as out:
            d = ns.background(env=env, stdout=out, stderr=out)
        equal(d.status, 0, "status of the parent")
        links = [os.readlink(f"/proc/{d.pid}/fd/{fd}") for fd in range(3)]
        equal(links[0], "/dev/null", "stdin")
        equal(lab.path("out") in links, kept, f"stdout kept with {env}")
        netns.end_pids(d.pids)


@case("pitfall 69 --log: relative to where it was started, appended, no link is followed")
def log_file(lab):
    ns = lab.netns()
    lab.write("kept", "before\n")
    for args, env, path in ((("--log", "relative.log", "-v", "debug"), {}, "relative.log"),
                            (("-v", "debug"), {"WG_LOG_FILE": lab.path("variable")}, "variable"),
                            (("-l", lab.path("kept"), "-v", "debug"), {}, "kept")):
        d = ns.background(args=args, env=env, cwd=lab.dir)
        equal(d.status, 0, f"status with {args} ({d.stderr.strip()})")
        netns.end_pids(d.pids)
        with open(lab.path(path)) as f:
            text = f.read()
        check(len(text) > len("before\n"), f"nothing in the log file with {args} {env}")
        equal(os.stat(lab.path(path)).st_mode & 0o022, 0, "group and other may write")
        check(path != "kept" or text.startswith("before\n"), "the file was cut")
    victim = lab.write("victim", "precious\n")
    os.symlink(victim, lab.path("link"))
    for args in (("--log", lab.path("link")), ("--log", lab.path("no/such/directory"))):
        expect_refused(ns, ("-v", "debug", *args))
        expect_refused(ns, ("-f", "-v", "debug", *args))
    with open(victim) as f:
        equal(f.read(), "precious\n", "file behind the link")


# Status

@case("--status, also as JSON, also of what does not run")
def status(lab):
    t = Tunnel(lab)
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    ns = lab.netns()
    text = program(ns, "--status", t.a.ifname)
    equal((text.returncode, text.stderr), (0, ""), "status and stderr")
    number = re.search(r"\d+\.\d+(\.\d+)?", program(ns, "--version").stdout)[0]
    check(number in text.stdout, f"version {number} is not in {text.stdout!r}")
    for args in (("--status", t.a.ifname, "--json"), ("--json", "--status", t.a.ifname)):
        r = program(ns, *args)
        equal((r.returncode, r.stderr), (0, ""), "status and stderr")
        check(number in json.dumps(json.loads(r.stdout)), f"version is not in {r.stdout!r}")
    for args in (("--status", "no-such-device"), ("--status", "no-such-device", "--json")):
        r = program(ns, *args)
        equal((r.returncode, r.stdout), (1, ""), f"status and stdout of {args}")
        check(r.stderr.strip(), "nothing on stderr")
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic after --status")


# What may be missing

@case("U-083 no /dev/net/tun: status 1, and it says so")
def no_tun(lab):
    ns = lab.netns()
    for option in ("-f", ""):
        ifname = lab.ifname()
        r = ns.run("unshare", "-m", "sh", "-c", f"mount -t tmpfs none /dev/net && "
                   f"exec {netns.ringtun_bin()} {option} {ifname}", check=False,
                   env=lab.environment(), stdin=subprocess.DEVNULL, timeout=10)
        equal(r.returncode, 1, "exit status")
        check("/dev/net/tun" in r.stderr, f"said {r.stderr!r}")
        check(not has_socket(ifname), "socket left behind")


@case("U-061 neither root nor CAP_NET_ADMIN: status 1, and it says so")
def not_root(lab):
    if not shutil.which("setpriv"):
        report.skip("setpriv is not installed")
    os.chmod(lab.dir, 0o755)
    copy = shutil.copy(netns.ringtun_bin(), lab.path("daemon"))  # where anybody can reach it
    os.chmod(copy, 0o755)
    ns = lab.netns()
    for option in ("-f", "--"):
        r = ns.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", copy, option,
                   lab.ifname(), check=False, env=lab.environment(), stdin=subprocess.DEVNULL,
                   timeout=10)
        equal(r.returncode, 1, "exit status")
        check(re.search(r"permi|CAP_NET_ADMIN|root", r.stderr), f"said {r.stderr!r}")
        equal(ns.pids(), [], "processes left")


@case("U-061 the directory of the control sockets can not be made: status 1, nothing left")
def no_socket_directory(lab):
    ns = lab.netns()
    for option in ("-f", "--"):
        ifname = lab.ifname()
        r = ns.run("unshare", "-m", "sh", "-c", "mount -t tmpfs -o ro none /run && "
                   f"exec {netns.ringtun_bin()} {option} {ifname}", check=False,
                   env=lab.environment(), stdin=subprocess.DEVNULL, timeout=10)
        equal(r.returncode, 1, "exit status")
        check("wireguard" in r.stderr, f"said {r.stderr!r}")
        check(not ns.has_link(ifname), "interface left behind")
        equal(ns.pids(), [], "processes left")


if __name__ == "__main__":
    report.main()

# SPDX-License-Identifier: MPL-2.0
"""The command line of ringtun-bench."""

import argparse
import contextlib
import os
import shutil
import signal
import sys
import time

from . import (VERSION, cases, compare, document, generator, html, implementations, lab, merge, micro,
               null_build, percase, plots, profile, results_md, table, targets)
from .errors import (EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_REGRESSION, EXIT_USAGE, BenchError,
                     Stopped, UsageError)
from .progress import Progress
from .runner import Runner

QUICK_TARGET_SEC = 110
NULL_TO_BUILD = "(built-without-cipher)"


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UsageError(f"{message}; see {self.prog} --help")


def positive(kind, most):
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"not a number: {text}") from None
        if not 0 < value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {most}")
        return value
    return parse


def add_outputs(p):
    p.add_argument("--json", metavar="FILE", help="write the results document")
    p.add_argument("--html", metavar="FILE", help="write a report that needs no network")
    p.add_argument("--markdown", metavar="FILE", help="replace the tables in the section of this file "
                   "that has the command's name")
    p.add_argument("--compare", metavar="OLD.json",
                   help="give a verdict per case against older results; exit status 3 if one is worse")
    p.add_argument("--relative-to", metavar="NAME", help="compare after dividing by this "
                   "implementation of the same run (say raw)")
    p.add_argument("--tolerance", type=positive(float, 1), default=compare.TOLERANCE, metavar="SHARE",
                   help="changes up to this are none (default %(default)s)")


def add_run_options(p):
    p.add_argument("--quick", action="store_true", help="fewer cases and shorter trials: two minutes")
    p.add_argument("--quiet", action="store_true", help="no progress line")
    p.add_argument("--time-limit", type=positive(float, 7 * 86400), metavar="SEC",
                   help="end the run after this time and keep what there is")


def add_tunnel(commands):
    p = commands.add_parser("tunnel", help="compare tunnels")
    p.add_argument("--impl", action="append", default=[], metavar="NAME=COMMAND",
                   help="a daemon, {if} in its command is the interface; or raw, kernel, null. May be "
                   "repeated; ratios are to the first")
    p.add_argument("--case", action="append", default=[], metavar="NAME[,NAME]",
                   help="cases to run, shell patterns too (default: all)")
    p.add_argument("--list-cases", action="store_true", help="print the cases and end")
    p.add_argument("--rounds", type=percase.parser(positive(int, 1000)), default=percase.PerCase(None),
                   metavar="N[,CASE=N]", help="rounds (default 5); others for some cases: 3,udp-*=7")
    p.add_argument("--seconds", type=percase.parser(positive(float, 3600)),
                   default=percase.PerCase(None), metavar="SEC[,CASE=SEC]",
                   help="length of a TCP, overload or latency trial (default 5)")
    p.add_argument("--trial-seconds", type=percase.parser(positive(float, 3600)),
                   default=percase.PerCase(None), metavar="SEC[,CASE=SEC]",
                   help="length of one trial of a lossless search (default 1)")
    p.add_argument("--loss", type=positive(float, 0.5), default=0.001, metavar="SHARE",
                   help="loss that counts as none (default %(default)s)")
    p.add_argument("--resolution", type=positive(float, 0.5), default=0.02, metavar="SHARE",
                   help="how exactly the lossless rate is searched (default %(default)s)")
    p.add_argument("--repeats", type=int, choices=range(4), default=1, metavar="N",
                   help="how often a lossy trial of a search is repeated before it counts (default 1)")
    p.add_argument("--sender", choices=generator.SENDERS, default="auto", help="what sends datagrams: "
                   "a packet socket, which costs less, or UDP sockets; auto (default): the former, where "
                   "it can be had")
    p.add_argument("--pause", type=float, default=0.2, metavar="SEC", help="rest before each trial")
    p.add_argument("--merge", action="store_true", help="keep the cases that the file of --json has "
                   "from earlier runs of the same programs, replacing those measured now")
    p.add_argument("--only-missing", action="store_true", help="as --merge, and measure only cases "
                   "without a complete result there")
    p.add_argument("--null", metavar="COMMAND", help="the daemon of --impl null")
    p.add_argument("--build-null", action="store_true", help="build the daemon of --impl null")
    p.add_argument("--profile", action="store_true", help="flame graphs by perf, in the report of --html")
    p.add_argument("--profile-dir", metavar="DIR", help="profile, and keep the folded stacks there")
    p.add_argument("--targets", metavar="FILE", help="judge the run by figures set beforehand")
    p.add_argument("--picture", metavar="FILE", help="one picture of the result (.svg or .png)")
    add_outputs(p)
    add_run_options(p)


def parser():
    p = Parser(prog="ringtun-bench", description="Compares WireGuard implementations fairly.",
               epilog="See ringtun-bench(1).")
    p.add_argument("--version", action="version", version=f"ringtun-bench {VERSION}")
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_tunnel(commands)
    for name, text in (("aead", "compare ChaCha20-Poly1305 kernels and libraries"),
                       ("micro", "measure single operations of ringtun")):
        sub = commands.add_parser(name, help=text)
        if name == "aead":
            sub.add_argument("--length", type=positive(int, 65535), help="only packets of this length")
            sub.add_argument("--burst", type=positive(int, 1024), help="only bursts of this size")
        add_outputs(sub)
        add_run_options(sub)
    sub = commands.add_parser("report", help="show or compare results that were written before")
    sub.add_argument("results", metavar="RESULTS.json")
    sub.add_argument("--targets", metavar="FILE")
    sub.add_argument("--picture", metavar="FILE")
    add_outputs(sub)
    sub = commands.add_parser("section", help="replace a section of a Markdown file by standard input")
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("--markdown", metavar="FILE", required=True)
    return p


# tunnel

def quick_defaults(options, n_implementations):
    """Short trials, and as many rounds of them as two minutes hold."""
    options.case = options.case or [",".join(cases.QUICK)]
    options.seconds = options.seconds.or_default(1.0)
    options.trial_seconds = options.trial_seconds.or_default(0.3)
    options.resolution = max(options.resolution, 0.1)
    if not options.rounds.default:
        round_seconds = n_implementations * sum(
            c.seconds(percase.resolved(options, c.name)) + options.pause for c in chosen_cases(options))
        options.rounds = options.rounds.or_default(
            min(3, max(1, round(QUICK_TARGET_SEC / round_seconds))))


def full_defaults(options):
    options.case = options.case or list(cases.DEFAULT)
    options.rounds = options.rounds.or_default(5)
    options.seconds = options.seconds.or_default(5.0)
    options.trial_seconds = options.trial_seconds.or_default(1.0)


def chosen_cases(options):
    return cases.select([n for text in options.case for n in text.split(",") if n])


def chosen_implementations(options):
    """In the order of the command line, without duplicates; null comes from its own options."""
    chosen = []
    for text in options.impl:
        if text == "null":
            if not options.null and not options.build_null:
                raise UsageError("--impl null needs --null COMMAND or --build-null")
            text = f"null={options.null or NULL_TO_BUILD}"
        chosen.append(implementations.parse(text))
    names = [i.name for i in chosen]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--impl {name} is given twice")
    if not chosen:
        raise UsageError("nothing to measure: give --impl NAME=COMMAND, for example "
                         "--impl ringtun='ringtun -f {if}' --impl raw")
    return chosen


def usable(chosen, progress):
    """Those that can be started, and an error for each that can not."""
    good, errors = [], []
    for implementation in chosen:
        try:
            if isinstance(implementation, implementations.Daemon):
                if implementation.words[0] == NULL_TO_BUILD:
                    progress.note("building ringtun without cipher")
                    implementation.words = [null_build.build(), "-f", "{if}"]
                implementation.check()
            good.append(implementation)
        except BenchError as e:
            errors.append({"implementation": implementation.name, "step": e.step,
                           "message": e.message})
            progress.note(f"{implementation.name}: {e}")
    if not good:
        raise BenchError("start", "no implementation can be measured")
    return good, errors


def check_tools(selected, options):
    lab.check_environment()
    if any(c.needs_iperf for c in selected) and not shutil.which("iperf3"):
        raise BenchError("start", "the TCP cases need iperf3 (package iperf3); choose others by --case")
    if options.profile:
        profile.check()
    if options.html or options.picture:
        plots.require()


def raise_stopped(sig, _frame):
    raise Stopped(f"interrupted by {signal.Signals(sig).name}", is_signal=True)


@contextlib.contextmanager
def stoppable():
    old = {s: signal.signal(s, raise_stopped) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for sig, handler in old.items():
            signal.signal(sig, handler)


def option_values(options):
    values = {k: getattr(options, k) for k in ("loss", "resolution", "repeats", "sender", "pause",
                                               "quick")}
    return values | {k: getattr(options, k).describe() for k in percase.OPTIONS}


def earlier_results(options):
    """The document that --merge adds to; None if there is none yet."""
    if not options.merge and not options.only_missing:
        return None
    if not options.json:
        raise UsageError("--merge and --only-missing need --json FILE")
    return document.read(options.json) if os.path.exists(options.json) else None


def print_cases():
    for case in map(cases.make, cases.DEFAULT):
        print(f"{case.name:<16} {case.title}")
    return EXIT_OK


def prepare(options):
    """What a run needs of the command line: (cases, targets, old results, implementations)."""
    selected_targets = targets.load(options.targets) if options.targets else []
    old = document.read(options.compare) if options.compare else None
    options.profile = options.profile or bool(options.profile_dir)
    if options.profile and not (options.html or options.profile_dir):
        raise UsageError("--profile needs --html FILE or --profile-dir DIR for what it finds")
    chosen = chosen_implementations(options)
    if options.quick:
        quick_defaults(options, len(chosen))
    else:
        full_defaults(options)
    selected = chosen_cases(options)
    check_tools(selected, options)
    return selected, selected_targets, old, chosen


def run_tunnel(options, argv):
    if options.list_cases:
        return print_cases()
    selected, selected_targets, old, chosen = prepare(options)
    earlier = earlier_results(options)
    progress = Progress(is_quiet=options.quiet)
    good, errors = usable(chosen, progress)
    doc = document.begin("tunnel", argv, option_values(options))
    doc["implementations"] = [i.describe() for i in good]
    doc["errors"] = errors
    if earlier:
        merge.check_same(earlier, doc)
    to_run = selected
    if options.only_missing:
        to_run = merge.missing(earlier, selected, lambda n: percase.settings(options, n))
        progress.note(f"{len(to_run)} of {len(selected)} cases have no complete result yet")
    start = time.monotonic()

    def so_far(runner, stopped, judged=()):
        """The document of what was measured until now."""
        now = {**doc, "cases": list(runner.documents), "errors": errors + runner.errors}
        document.finish(now, time.monotonic() - start, stopped)
        merge.into(earlier, now, [c.name for c in selected])
        now["noise"] = document.noise(now["cases"])
        now["failures"] = document.failures(now)
        now["targets"] = targets.judge_all(now, judged)
        return now

    def keep(runner):
        """After every case: a machine that goes down costs no more than the case at work."""
        if options.json:
            document.write(so_far(runner, "the run has not ended"), options.json)

    stopped, was_signal = None, False
    runner = Runner(list(good), options, progress, start + (options.time_limit or 7 * 86400), keep)
    try:
        with stoppable(), lab.exclusive(progress.note), lab.Settings():
            runner.run(to_run)
    except Stopped as e:
        stopped, was_signal = str(e), e.is_signal
        progress.note(f"{e}; what was measured is kept")
    progress.clear()
    status = output(so_far(runner, stopped, selected_targets), options, old, runner.profiles)
    return EXIT_INTERRUPTED if was_signal else status


# Output, common to all

def write_folded(profiles, directory):
    for case, name, stacks in profiles:
        profile.write_folded(stacks, os.path.join(directory, f"{case}-{name}.folded"))


def flames(profiles):
    return [(f"{case}, {name}", profile.flame(stacks, f"{name}, {case}"))
            for case, name, stacks in profiles]


def output(doc, options, old, profiles=()):
    """Writes what was asked for and returns the exit status. The results file comes first, and what
    fails later keeps nothing else from being written."""
    if options.json:
        document.write(doc, options.json)
    is_tunnel = doc["kind"] == "tunnel"
    print("\n".join(table.tunnel(doc) if is_tunnel else table.measurements(doc)))
    rows = []
    if old:
        rows = compare.compare(old, doc, options.relative_to, options.tolerance)
        print("\n".join(["", f"Compared with {options.compare}:", *table.comparison(rows)]))
    failures = list(doc.get("failures", ()))
    for write in writers(doc, options, rows, profiles):
        try:
            write()
        except BenchError as e:
            failures.append(str(e))
    for line in failures:
        print(f"ringtun-bench: {line}", file=sys.stderr)
    if compare.is_regression(rows):
        return EXIT_REGRESSION
    return EXIT_FAILED if failures or not doc["complete"] else EXIT_OK


def writers(doc, options, rows, profiles):
    """A function for each file that was asked for."""
    if options.markdown:
        yield lambda: results_md.update(options.markdown, doc)
    if getattr(options, "picture", None) and doc["kind"] == "tunnel":
        yield lambda: plots.save(plots.picture(doc), options.picture)
    if profiles and options.profile_dir:
        yield lambda: write_folded(profiles, options.profile_dir)
    if options.html:
        yield lambda: html.write(options.html, html.page(
            doc, rows, flames(profiles)))


def run_measurements(options, argv):
    old = document.read(options.compare) if options.compare else None
    if options.html:
        plots.require()
    doc = document.begin(options.command, argv, {"quick": options.quick})
    start = time.monotonic()
    if not options.quiet and sys.stderr.isatty():
        print(f"ringtun-bench: measuring ({options.command}), this takes a while", file=sys.stderr)
    doc["measurements"] = getattr(micro, options.command)(options)
    document.finish(doc, time.monotonic() - start)
    return output(doc, options, old)


def run_report(options):
    doc = document.read(options.results)
    old = document.read(options.compare) if options.compare else None
    if options.targets:
        if doc["kind"] != "tunnel":
            raise UsageError("--targets judges results of tunnel only")
        doc["targets"] = targets.judge_all(doc, targets.load(options.targets))
    return output(doc, options, old)


def run_section(options):
    text = sys.stdin.read().strip()
    if not text:
        raise BenchError("reading standard input", "the section would be empty")
    results_md.replace(options.markdown, options.name, text.splitlines())
    return EXIT_OK


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    try:
        options = parser().parse_args(argv)
        shown = ["ringtun-bench", *argv]
        if options.command == "tunnel":
            return run_tunnel(options, shown)
        if options.command == "report":
            return run_report(options)
        if options.command == "section":
            return run_section(options)
        return run_measurements(options, shown)
    except UsageError as e:
        print(f"ringtun-bench: {e.message}", file=sys.stderr)
        return EXIT_USAGE
    except BenchError as e:
        print(f"ringtun-bench: {e}", file=sys.stderr)
        return EXIT_FAILED
    except (KeyboardInterrupt, Stopped):
        print("ringtun-bench: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our table went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED

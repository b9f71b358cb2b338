# SPDX-License-Identifier: MPL-2.0
"""Runs cases for implementations in alternation, round by round, and keeps what was found when
something goes wrong. A failure costs one implementation one case, never the run."""

import contextlib
import os
import signal
import subprocess
import time

from . import percase, profile, stats
from .errors import BenchError, Skipped, Stopped
from .implementations import START_STEP
from .lab import Lab

SETUP_SEC = 90    # to build a network
TRIAL_SEC = 240   # beyond what a trial is expected to take


@contextlib.contextmanager
def time_limit(seconds, error):
    """Raises @error in the block when @seconds are over."""
    def expired(_sig, _frame):
        raise error
    old = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, max(0.001, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


@contextlib.contextmanager
def undisturbed():
    """No signal interrupts this block: cleaning up is not to be left half done."""
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    old = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


class Contestant:
    """One implementation in one case: its network, and what was measured so far."""

    def __init__(self, implementation):
        self.implementation = implementation
        self.name = implementation.name
        self.lab = None
        self.network = None
        self.memory = {}
        self.trials = []
        self.status = "ok"
        self.error = None

    def is_running(self):
        return self.network is not None

    def set_up(self, case, cpus):
        self.lab = Lab(cpus)
        self.lab.__enter__()
        self.network = case.network(self.lab, self.implementation)

    def tear_down(self):
        self.network = None
        if self.lab:
            lab, self.lab = self.lab, None
            with undisturbed():
                lab.__exit__(None, None, None)

    def fail(self, error, round_number):
        """Keeps earlier trials; the case goes on without us."""
        if isinstance(error, Skipped):
            self.status, message = "skipped", str(error)
            step = "skipped"
        else:
            self.status = "failed"
            step = getattr(error, "step", "internal error")
            message = getattr(error, "message", f"{type(error).__name__}: {error}")
        self.error = {"step": step, "message": message, "round": round_number}
        self.tear_down()

    def result(self, reference):
        """This contestant's part of the case in the results document."""
        values = self.values()
        return {"implementation": self.name, "status": self.status, "error": self.error,
                "trials": self.trials,
                "summary": stats.summary(list(values.values())) if values else None,
                "ratio": stats.ratio(values, reference) if values and reference else None,
                "cost": median_cost(self.trials)}

    def values(self):
        return {t["round"]: t["value"] for t in self.trials}


def median_cost(trials):
    """The median of each figure in the trials' "cpu" that has a value."""
    keys = {k for t in trials for k in t["cpu"]}
    cost = {}
    for key in sorted(keys):
        values = [t["cpu"][key] for t in trials if t["cpu"].get(key) is not None]
        if values:
            cost[key] = stats.median(values)
    return cost


class Runner:
    def __init__(self, implementations, options, progress, deadline, keep):
        self.implementations = implementations
        self.options = options
        self.progress = progress
        self.deadline = deadline  # by time.monotonic()
        self.keep = keep          # called after every case
        self.documents = []
        self.errors = []    # implementations that do not start: they are left out from then on
        self.profiles = []  # (case, implementation, folded stacks)

    def run(self, cases):
        """Fills .documents, case by case. Stopped leaves what was finished, and the case at work."""
        every = [(case, percase.resolved(self.options, case.name)) for case in cases]
        self.progress.begin(len(self.implementations) * sum(
            (case.seconds(options) + options.pause) * options.rounds for case, options in every))
        for case, options in every:
            if self.implementations:
                self.run_case(case, options)
                with undisturbed():
                    self.keep(self)

    def run_case(self, case, options):
        """@options are those for this case."""
        contestants = [Contestant(i) for i in self.implementations]
        cpus = sorted(os.sched_getaffinity(0))[:case.cpus] if case.cpus else None
        try:
            self.set_up(case, contestants, cpus)
            for number in range(1, options.rounds + 1):
                # Each round begins with another one: nobody always runs behind the same neighbour.
                first = (number - 1) % len(contestants)
                for contestant in contestants[first:] + contestants[:first]:
                    self.trial(case, options, contestant, number)
            if options.profile:
                for contestant in contestants:
                    self.profile(case, options, contestant)
        finally:
            for contestant in contestants:
                contestant.tear_down()
            reference = contestants[0].values()
            self.documents.append({**case.describe(),
                                   "settings": percase.settings(options, case.name),
                                   "results": [c.result(reference) for c in contestants]})
            self.progress.case_done(self.documents[-1])

    def set_up(self, case, contestants, cpus):
        for contestant in contestants:
            self.progress.step(case.name, contestant.name, "set-up")
            with self.guarded(contestant, 0, SETUP_SEC):
                contestant.set_up(case, cpus)
            if contestant.error and contestant.error["step"] == START_STEP:
                self.errors.append({"implementation": contestant.name, "step": START_STEP,
                                    "message": contestant.error["message"]})
                self.implementations.remove(contestant.implementation)

    def trial(self, case, options, contestant, number):
        expected = case.seconds(options) + options.pause
        if contestant.is_running():
            self.progress.step(case.name, contestant.name, f"round {number}/{options.rounds}")
            with self.guarded(contestant, number, expected * 4 + TRIAL_SEC):
                contestant.network.check_alive()
                time.sleep(options.pause)
                found = case.measure(contestant.network, options, contestant.memory)
                contestant.network.check_alive()
                contestant.trials.append(trial_document(number, found))
        self.progress.advance(expected)

    def profile(self, case, options, contestant):
        """One more trial, with perf attached, whose figures are not kept."""
        if not contestant.is_running() or not contestant.network.daemon_pids():
            return
        self.progress.step(case.name, contestant.name, "profile")
        with self.guarded(contestant, options.rounds + 1, TRIAL_SEC):
            path = contestant.lab.path("perf.data")
            perf = profile.record(contestant.network, path)
            try:
                case.measure(contestant.network, options, contestant.memory)
            finally:
                said = profile.stop(perf)
            if not os.path.exists(path):
                raise BenchError("perf", said.strip()[-300:] or "it wrote nothing")
            self.profiles.append((case.name, contestant.name, profile.folded(path)))

    @contextlib.contextmanager
    def guarded(self, contestant, number, seconds):
        """Whatever goes wrong in the block is this contestant's failure; only the end of the whole
        run goes further up."""
        left = self.deadline - time.monotonic()
        if left <= seconds:
            error, seconds = Stopped("the time limit of the run is over", is_signal=False), left
        else:
            error = BenchError("time limit", f"no result after {seconds:.0f} s")
        try:
            with time_limit(seconds, error):
                yield
        except Stopped as e:
            contestant.fail(BenchError("stopped", str(e)), number)
            raise
        except (BenchError, Skipped, OSError, ValueError, KeyError, subprocess.SubprocessError) as e:
            # A daemon that died is the cause, whatever its death made fail.
            if contestant.network and not isinstance(e, Skipped):
                try:
                    contestant.network.check_alive()
                except BenchError as death:
                    e = death
            contestant.fail(e, number)
            self.progress.failed(contestant)


def trial_document(number, found):
    return {"round": number, "value": found.value,
            "cpu": found.meter.cost(found.gigabytes, found.megapackets),
            "noise": found.meter.noise(), "detail": found.detail}

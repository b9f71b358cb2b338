# SPDX-License-Identifier: MPL-2.0
"""Errors that a user sees: each names the step that failed."""

EXIT_OK = 0
EXIT_FAILED = 1      # some implementation or case gave no result
EXIT_USAGE = 2
EXIT_REGRESSION = 3  # --compare found a case that became worse
EXIT_INTERRUPTED = 130


class BenchError(Exception):
    """What went wrong in which step."""

    def __init__(self, step, message):
        super().__init__(f"{step}: {message}")
        self.step = step
        self.message = message


class Skipped(Exception):
    """A case that this machine can not run, or that makes no sense for an implementation."""


class UsageError(BenchError):
    """The command line is wrong: nothing was started."""

    def __init__(self, message):
        super().__init__("command line", message)


class Stopped(BaseException):
    """The run ends early: a signal or the time limit. Not an Exception, so that nobody who
    handles the failure of one trial swallows it."""

    def __init__(self, reason, is_signal):
        super().__init__(reason)
        self.is_signal = is_signal

# SPDX-License-Identifier: MPL-2.0
"""The line that shows where a run is and how long it will take."""

import shutil
import sys
import time

from .table import number

BAR = 24
QUIET_SEC = 15  # between two lines where there is no terminal


def duration(seconds):
    seconds = max(0, round(seconds))
    if seconds >= 3600:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    return f"{seconds // 60}m{seconds % 60:02d}s" if seconds >= 60 else f"{seconds}s"


class Progress:
    """On a terminal one line that is written over, elsewhere a line now and then."""

    def __init__(self, stream=sys.stderr, is_quiet=False):
        self.stream = stream
        self.is_live = stream.isatty() and not is_quiet
        self.is_quiet = is_quiet
        self.expected = self.done = 0.0
        self.text = ""
        self.last_line = 0.0
        self.start = time.monotonic()

    def begin(self, expected):
        """@expected: seconds that all trials are thought to take."""
        self.expected = max(1e-9, expected)
        self.start = time.monotonic()

    def left(self):
        """Seconds: what the trials so far really took, against what they were thought to."""
        spent = time.monotonic() - self.start
        if self.done < self.expected * 0.02:
            return max(0.0, self.expected - spent)
        return spent / self.done * (self.expected - self.done)

    def step(self, *words):
        self.text = "  ".join(words)
        self.show()

    def advance(self, seconds):
        self.done = min(self.expected, self.done + seconds)

    def show(self):
        share = self.done / self.expected if self.expected else 0
        line = f"{share:4.0%}  {self.text}  {duration(self.left())} left"
        if self.is_live:
            n = round(share * BAR)
            line = f"[{'#' * n}{'-' * (BAR - n)}] {line}"
            width = shutil.get_terminal_size().columns - 1
            self.stream.write(f"\r{line[:width]}\x1b[K")
            self.stream.flush()
        elif not self.is_quiet and time.monotonic() - self.last_line > QUIET_SEC:
            self.last_line = time.monotonic()
            print(line, file=self.stream, flush=True)

    def clear(self):
        if self.is_live:
            self.stream.write("\r\x1b[K")
            self.stream.flush()

    def note(self, text):
        """A line that stays."""
        self.clear()
        print(f"ringtun-bench: {text}", file=self.stream, flush=True)

    def failed(self, contestant):
        if contestant.status == "failed":
            self.note(f"{contestant.name}: {contestant.error['step']}: "
                      f"{contestant.error['message']}")

    def case_done(self, document):
        if self.is_quiet:
            return
        parts = []
        for r in document["results"]:
            value = number(r["summary"]["median"]) if r["summary"] else r["status"]
            parts.append(f"{r['implementation']} {value}")
        self.clear()
        print(f"{document['name']} ({document['unit']}): {', '.join(parts)}", file=self.stream,
              flush=True)

# SPDX-License-Identifier: MPL-2.0
"""Options whose value may differ by case: "3", or "3,tcp-1=7,udp-*=5", where the last pattern that
matches wins."""

import argparse
import copy
import fnmatch

OPTIONS = ("rounds", "seconds", "trial_seconds")


class PerCase:
    """@default is None where only patterns were given."""

    def __init__(self, default, patterns=()):
        self.default = default
        self.patterns = tuple(patterns)

    def of(self, name):
        value = self.default
        for pattern, special in self.patterns:
            if fnmatch.fnmatchcase(name, pattern):
                value = special
        return value

    def or_default(self, value):
        return self if self.default else PerCase(value, self.patterns)

    def describe(self):
        """As it goes into the results document."""
        return {"default": self.default, **dict(self.patterns)} if self.patterns else self.default


def parser(parse_value):
    """For argparse: @parse_value is for one value."""
    def parse(text):
        default, patterns = None, []
        for part in text.split(","):
            pattern, is_special, value = part.rpartition("=")
            if is_special and not pattern:
                raise argparse.ArgumentTypeError(f"{part}: no case before the =")
            if is_special:
                patterns.append((pattern, parse_value(value)))
            elif default is None:
                default = parse_value(value)
            else:
                raise argparse.ArgumentTypeError(f"{text}: two values for all cases")
        return PerCase(default, patterns)
    return parse


def resolved(options, name):
    """A copy of @options in which the options above have their values for case @name."""
    mine = copy.copy(options)
    for key in OPTIONS:
        value = getattr(options, key)
        setattr(mine, key, value.of(name) if isinstance(value, PerCase) else value)
    return mine


def settings(options, name):
    mine = resolved(options, name)
    return {key: getattr(mine, key) for key in OPTIONS}

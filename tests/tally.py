#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Counts single checks in the output of test programs, for tests/run.

    tally.py meson BUILD/meson-logs/testlog.json    what `meson test` ran last
    tally.py output FILE STATUS NAME                one program's output and exit status

Prints "PASSED FAILED SKIPPED", then a line for each failure. Understood are Criterion's synthesis
and lines "ok NAME", "not ok NAME: reason", "skip NAME: reason"; a program with neither counts as one
check. A program that failed without saying which check counts as one failure more.
"""
import json
import re
import sys

SKIPPED_STATUS = 77
SYNTHESIS = re.compile(r'Tested: (\d+) \| Passing: (\d+) \| Failing: (\d+) \| Crashing: (\d+)')
COLOUR = re.compile(r'\x1b\[[0-9;]*m')
LINE = re.compile(r'^(ok|not ok|skip)\b[ :]')


def count(text):
    """(passed, failed, skipped) and the lines of failures as the program itself reports them."""
    passed, skipped, failures = 0, 0, []
    failed_silently = 0
    for line in COLOUR.sub('', text).splitlines():
        if match := SYNTHESIS.search(line):
            passed += int(match[2])
            failed_silently += int(match[1]) - int(match[2])
        elif line.startswith('[FAIL]'):
            failures.append(line)
        elif line.startswith('[SKIP]'):
            skipped += 1
        elif match := LINE.match(line):
            passed += match[1] == 'ok'
            skipped += match[1] == 'skip'
            if match[1] == 'not ok':
                failures.append(line)
    return passed, max(len(failures), failed_silently), skipped, failures


def judge(name, text, status, killed=''):
    """As count(), but in agreement with how the program ended."""
    passed, failed, skipped, failures = count(text)
    good = status in (0, SKIPPED_STATUS) and not killed
    if good and passed + failed + skipped == 0:
        passed, skipped = int(status == 0), int(status == SKIPPED_STATUS)
    if not good and failed == 0:
        failed = 1
        failures = [killed or f'exit status {status}'] + text.strip().splitlines()[-10:]
    return passed, failed, skipped, [f'{name}: {f}' for f in failures]


def judge_meson(path):
    """The sum over all programs of a testlog.json."""
    total, failures = [0, 0, 0], []
    with open(path) as log:
        for line in log:
            t = json.loads(line)
            text = t.get('stdout', '') + '\n' + t.get('stderr', '')
            killed = {'TIMEOUT': 'timed out', 'INTERRUPT': 'interrupted'}.get(t['result'], '')
            *counts, lines = judge(t['name'], text, t['returncode'], killed)
            total = [a + b for a, b in zip(total, counts)]
            failures += lines
    return *total, failures


def main():
    if len(sys.argv) == 3 and sys.argv[1] == 'meson':
        *counts, failures = judge_meson(sys.argv[2])
    elif len(sys.argv) == 5 and sys.argv[1] == 'output':
        with open(sys.argv[2], errors='replace') as f:
            text = f.read()
        status = int(sys.argv[3])
        *counts, failures = judge(sys.argv[4], text, status,
                                  'timed out' if status == 124 else '')
    else:
        sys.exit(__doc__)
    print(*counts)
    for failure in failures:
        print(failure)


if __name__ == '__main__':
    main()

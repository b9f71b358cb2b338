#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Checks by an allow-list what a pure module's library calls: no system call, clock, socket, thread,
allocator or formatting can come in unseen. Prints a line per violation; exit status 1 if there is
one, 2 if the check itself can not run.
"""
import argparse
import re
import subprocess
import sys

# The compiler's own calls, and functions on memory that do nothing else.
ALWAYS = re.compile(r'''
    mem(cpy|set|cmp|move)
  | __mem(cpy|set|move)_chk
  | explicit_bzero | __explicit_bzero_chk
  | __stack_chk_fail | __assert_fail
  | _GLOBAL_OFFSET_TABLE_
  | __[at]san_.* | __ubsan_.* | __sanitizer_.* | __sancov_.* | __gcov_.* | llvm_gcov_.*
''', re.VERBOSE)

SYMBOL = re.compile(r'^(?:[0-9a-fA-F]+)?\s+([A-Za-z])\s+(\S+)$')
MEMBER = re.compile(r'^(?:.*[\[/:])?([^/:\[\]]+\.o)\]?:$')


def symbols(nm, library):
    """(member, type, name) of every symbol in an archive."""
    out = subprocess.run([nm, library], capture_output=True, text=True, check=True).stdout
    member = '?'
    for line in out.splitlines():
        if match := MEMBER.match(line):
            member = match[1]
        elif match := SYMBOL.match(line):
            yield member, match[1], match[2].split('@')[0]


def defined(nm, library):
    return {name for _, kind, name in symbols(nm, library) if kind not in 'Uw'}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('library', help='the archive to check')
    parser.add_argument('--lower', action='append', default=[],
                        help='an archive whose functions it may call')
    parser.add_argument('--allow', action='append', default=[], help='regular expression of names')
    parser.add_argument('--skip', action='append', default=[], help='a member (foo.c) not to check')
    parser.add_argument('--nm', default='nm')
    args = parser.parse_args()

    known = defined(args.nm, args.library)
    if not known:
        print(f'{args.library}: nothing is defined there')
        return 2
    for library in args.lower:
        known |= defined(args.nm, library)
    allowed = [ALWAYS] + [re.compile(a) for a in args.allow]

    problems = sorted({f'{member}: calls {name}' for member, kind, name in
                       symbols(args.nm, args.library)
                       if kind in 'Uw' and name not in known
                       and member.removesuffix('.o') not in args.skip
                       and not any(a.fullmatch(name) for a in allowed)})
    for problem in problems:
        print(problem)
    print(f'{len(problems)} violations' if problems else 'ok')
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())

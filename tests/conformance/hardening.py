#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Checks that a program was hardened, by what readelf(1) says of it: as checksec does. Prints a line
per thing that is missing; exit status 1 if there is one, 2 if the check itself can not run."""
import argparse
import re
import subprocess
import sys


def readelf(program, readelf_command, *options):
    return subprocess.run([readelf_command, '-W', *options, program], check=True,
                          capture_output=True, text=True).stdout


def problems(program, command, cf_protection):
    header = readelf(program, command, '-h')
    segments = readelf(program, command, '-l')
    dynamic = readelf(program, command, '-d')
    symbols = readelf(program, command, '--dyn-syms')
    stack = re.search(r'GNU_STACK.* ([RWE ]+) 0x', segments)

    if not re.search(r'Type:\s+DYN', header) or not re.search(r'FLAGS_1.*\bPIE\b', dynamic):
        yield 'it is not position-independent'
    if 'GNU_RELRO' not in segments:
        yield 'relocations stay writable (no RELRO)'
    if not re.search(r'\((BIND_NOW|FLAGS|FLAGS_1)\).*\b(BIND_NOW|NOW)\b', dynamic):
        yield 'relocations are lazy (no BIND_NOW)'
    if not stack or 'E' in stack[1]:
        yield 'the stack is executable'
    if re.search(r'LOAD.* (RWE|WE) ', segments):
        yield 'a segment is writable and executable'
    if re.search(r'\((RPATH|RUNPATH)\)', dynamic):
        yield 'it has a RPATH'
    if re.search(r'\(TEXTREL\)', dynamic):
        yield 'it has text relocations'
    if '__stack_chk_fail' not in symbols:
        yield 'no stack protector'
    if not re.search(r'__(mem|str|v?snprintf|v?f?printf|read|recv|poll|fgets)\w*_chk', symbols):
        yield 'no fortified function (_FORTIFY_SOURCE)'
    if cf_protection:
        # The note would say it, but the linker drops it when the C library's own start-up files
        # lack it, as some distributions' do. ENDBR64 begins every function of ours.
        with open(program, 'rb') as f:
            if f.read().count(b'\xf3\x0f\x1e\xfa') < 100:
                yield 'no landing pads for indirect branches (-fcf-protection)'


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('program')
    parser.add_argument('--cf-protection', action='store_true',
                        help='x86-64: -fcf-protection was asked for')
    parser.add_argument('--readelf', default='readelf')
    args = parser.parse_args()
    try:
        found = list(problems(args.program, args.readelf, args.cf_protection))
    except (OSError, subprocess.CalledProcessError) as e:
        print(e)
        return 2
    for problem in found:
        print(f'{args.program}: {problem}')
    print(f'{len(found)} problems' if found else 'ok')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())

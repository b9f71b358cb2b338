#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Checks the architecture rules over the sources: layers, headers, sizes.

A module includes itself and modules of lower layers, with the exceptions below. Every header
compiles alone, the public ones also as C99 and C++. Prints a line per violation; exit status 1 if
there is one, 2 if the check itself can not run.
"""
import argparse
import concurrent.futures
import re
import shutil
import subprocess
import sys
from pathlib import Path

LAYER = {
    'base': 0,
    'crypto': 1, 'packet': 1,
    'noise': 2,
    'device': 3,
    'tun': 4, 'udp': 4, 'uring': 4,
    'io': 5,
    'datapath': 6,
    'control': 7,
    'lib': 8,
    'daemon': 9,
}
# What a module must not include although it lies in a lower layer.
NEVER = {
    'noise': {'packet'},
    'tun': {'crypto', 'noise'},
    'udp': {'crypto', 'noise'},
    'uring': {'crypto', 'noise', 'device'},
    'io': {'crypto', 'noise'},
    # The daemon is a user of the public interface like any other.
    'daemon': set(LAYER) - {'base', 'control', 'daemon'},
}
# Code for several instruction sets that each includes after defining vec and vec_*(): the kernels
# that use them are what shows that they compile.
TEMPLATES = {'src/crypto/aead_fe26.h', 'src/crypto/aead_mac.h'}
# The only modules that may include headers of these libraries.
LIBRARY_USERS = {
    'liburing': {'uring', 'io'},
    'sodium': {'crypto'},
    'blake2': {'crypto'},
    'urcu': {'base', 'device'},
    'ringtun': {'lib', 'daemon'},
}
# Headers of vector kernels need their instruction set: file suffix -> machine, flags.
ISA = {
    'avx2': ('x86_64', ['-mavx2', '-mbmi2']),
    'avx512': ('x86_64', ['-mavx512f', '-mavx512bw', '-mavx512vl', '-mavx512dq', '-mbmi2']),
    'avx512ifma': ('x86_64', ['-mavx512f', '-mavx512bw', '-mavx512vl', '-mavx512dq',
                              '-mavx512ifma', '-mbmi2']),
    'neon': ('aarch64', []),
}
ISA_HEADER = re.compile(r'_(' + '|'.join(ISA) + r')$')
MAX_FILE_LINES = 800
MAX_FUNCTION_LINES = 80

INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')


def may_include(module, other):
    if other == module:
        return True
    return LAYER[other] < LAYER[module] and other not in NEVER.get(module, ())


def check_include(module, quote, target, src):
    """What is wrong with this include in a file of @module, or None."""
    first = target.split('/')[0]
    if quote == '<':
        library = re.split(r'[/.-]', target)[0]
        users = LIBRARY_USERS.get(library)
        if users and module not in users:
            return f'{module} must not use {library} (only {", ".join(sorted(users))})'
        return None
    if first not in LAYER or '/' not in target:
        return None if target in ('config.h', ) else f'"{target}" is not rooted at src/'
    if not (src / target).is_file() and not target.endswith('.inc'):
        return f'"{target}" does not exist'
    if not may_include(module, first):
        return f'{module} must not include {first} ("{target}")'
    return None


def check_layers(src):
    for path in sorted(src.glob('*/*.[ch]')):
        module = path.parent.name
        if module not in LAYER:
            yield f'{path}: module {module} has no layer'
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            problem = match and check_include(module, match[1], match[2], src)
            if problem:
                yield f'{path}:{number}: {problem}'


def c_files(root):
    return sorted(p for top in ('src', 'include', 'tests', 'bench')
                  for p in (root / top).rglob('*.[ch]'))


def check_sizes(root):
    for path in c_files(root):
        lines = path.read_text().splitlines()
        if len(lines) > MAX_FILE_LINES:
            yield f'{path}: {len(lines)} lines, at most {MAX_FILE_LINES}'
        if not lines or 'SPDX-License-Identifier: MPL-2.0' not in lines[0]:
            yield f'{path}:1: the licence line is missing'


def check_functions(root):
    """Function lengths by universal-ctags, if it is installed."""
    ctags = shutil.which('ctags')
    version = ctags and subprocess.run([ctags, '--version'], capture_output=True, text=True).stdout
    if not version or 'Universal Ctags' not in version:
        print('note: no universal-ctags, function lengths are not checked')
        return
    command = [ctags, '-f', '-', '--sort=no', '--language-force=C', '--kinds-C=f', '--fields=+ne']
    names = [str(p) for p in c_files(root)]
    out = subprocess.run(command + names, capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        name, path, *rest = line.split('\t')
        fields = dict(f.split(':', 1) for f in rest if ':' in f)
        if 'end' not in fields:
            continue
        length = int(fields['end']) - int(fields['line']) + 1
        if length > MAX_FUNCTION_LINES:
            yield f'{path}:{fields["line"]}: {name}() has {length} lines, at most {MAX_FUNCTION_LINES}'


def compile_header(command, path):
    # -include instead of naming it as the source: then #pragma once is no warning
    run = subprocess.run(command + ['-fsyntax-only', '-include', str(path), '-'],
                         input='int header_stands_alone;\n', capture_output=True, text=True)
    if run.returncode:
        reason = next((l for l in run.stderr.splitlines() if 'error' in l), run.stderr.strip())
        return f'{path}: does not compile alone as {command[1].split("=")[-1]}: {reason}'
    return None


def check_headers(root, cc, cxx, cflags):
    """Each header alone, as gnu17; the public ones also as strict C99 and as C++."""
    include = ['-I', str(root / 'src'), '-I', str(root / 'include')]
    private = [cc, '-std=gnu17', '-D_GNU_SOURCE', '-Wall', '-Werror', '-x', 'c'] + include + cflags
    machine = subprocess.run([cc, '-dumpmachine'], capture_output=True, text=True).stdout
    jobs = []
    for p in sorted((root / 'src').glob('*/*.h')):
        if str(p.relative_to(root)) in TEMPLATES:
            continue
        isa = ISA_HEADER.search(p.stem)
        arch, flags = ISA[isa[1]] if isa else ('', [])
        if machine.startswith(arch):
            jobs.append((private + flags, p))
    for p in sorted((root / 'include').rglob('*.h')):
        jobs.append(([cc, '-std=c99', '-pedantic-errors', '-Wall', '-Werror', '-x', 'c'] + include, p))
        if cxx:
            jobs.append(([cxx, '-std=c++11', '-pedantic-errors', '-Wall', '-Werror', '-x', 'c++'] +
                         include, p))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield from filter(None, pool.map(lambda job: compile_header(*job), jobs))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('root', type=Path, help='the project')
    parser.add_argument('--cc', default='cc', help='C compiler for the headers')
    parser.add_argument('--cxx', default=shutil.which('c++'), help='C++ compiler, if there is one')
    parser.add_argument('--cflag', action='append', default=[], help='for private headers')
    parser.add_argument('check', nargs='*', help='layers, sizes, functions, headers; default: all')
    args = parser.parse_args()
    checks = {
        'layers': lambda: check_layers(args.root / 'src'),
        'sizes': lambda: check_sizes(args.root),
        'functions': lambda: check_functions(args.root),
        'headers': lambda: check_headers(args.root, args.cc, args.cxx, args.cflag),
    }
    if not (args.root / 'src').is_dir() or not set(args.check) <= set(checks):
        parser.error('no such project or check')
    problems = [p for name in args.check or checks for p in checks[name]()]
    for problem in problems:
        print(problem.replace(f'{args.root}/', ''))
    print(f'{len(problems)} violations' if problems else 'ok')
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())

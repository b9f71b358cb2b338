#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Static analysis, a file at a time and as many at once as there are cores: clang-tidy by the checks of
.clang-tidy, gcc -fanalyzer and cppcheck, on src/, tests/ and bench/. Prints a line per tool and file:

    ok TOOL FILE | not ok TOOL FILE: finding

The flags are those of the build directory. What is suppressed, and why, is below and beside the code
(NOLINT, cppcheck-suppress). Exit status 1 after a finding, 2 if nothing could be checked.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shlex
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

DIRECTORIES = ('src/', 'tests/', 'bench/')
CPPCHECK_OFF = ('missingInclude', 'missingIncludeSystem', 'unmatchedSuppression')

# Off for tests and benchmarks, and why.
TIDY_OFF = {
    'clang-analyzer-*': 'gcc follows the same paths, in a tenth of the time',
    'readability-function-size': 'counts what macros of assertions become',
    'cert-err34-c': 'what they read comes from the test, the kernel or /proc, and ranges are checked',
    'cert-env33-c': 'set-up of namespaces is shell commands; nobody else writes them',
    'cert-msc30-c,-cert-msc32-c,-cert-msc50-cpp,-cert-msc51-cpp': 'the same numbers in every run',
    'bugprone-suspicious-memory-comparison,-cert-exp42-c,-cert-flp37-c':
        'compared with a copy of all its bytes: nothing was touched',
    'bugprone-not-null-terminated-result': 'bytes, not strings',
    'bugprone-suspicious-missing-comma': 'texts of several lines in lists of texts',
    'cert-flp30-c': 'seconds of virtual time',
    'misc-redundant-expression': 'equal on one CPU, or by today\'s constants',
}
ANALYZER_OFF = {
    '-Wno-analyzer-possible-null-dereference': 'without memory a test fails anyway',
    '-Wno-analyzer-possible-null-argument': 'likewise',
    '-Wno-analyzer-malloc-leak': 'memory of a process that ends; LeakSanitizer looks as well',
    '-Wno-sign-compare': 'the stand-in does not convert as Criterion does',
    '-Wno-unused': 'the stand-in drops messages',
}

# What is no fault, and why: (regular expression of tool, file and finding, reason). The checks that
# suit no file of ours are switched off in .clang-tidy.
KNOWN = [(re.compile(pattern), reason) for pattern, reason in (
    (r'^fanalyzer src/control/apply\.c: .*dereference of NULL .ip.',
     'the pointer is NULL only where the count that is looped over is 0'),
    (r'^fanalyzer src/device/mailbox\.c: .*use of uninitialized value .item.',
     'an array that is written through a pointer to its first element'),
    (r'^fanalyzer src/packet/checksum\.c: .*shift-count-overflow',
     'the type is a vector of 64-bit lanes, which gcc 12 takes for one bit'),
    (r'^cppcheck src/udp/cmsg\.c: .*internalAstError',
     'cppcheck 2.10 does not parse a compound literal of a type in parentheses'),
    (r'^cppcheck .*\[uninitvar\]',
     'memcpy() through a cast and atomic loads are not seen as stores; gcc and valgrind look as well'),
    (r'^cppcheck src/control/uapi_server\.c: .*nullPointerRedundantCheck',
     'the call between the two looks sets the pointer'),
    (r'^cppcheck src/control/send\.c: .*unknownEvaluationOrder',
     'the counter stands once in the initialiser'),
    (r'^clang-tidy .*src/base/list\.h:.*(unix\.Malloc|core\.NullDereference)',
     'the analyzer does not follow a circular list through container_of()'),
    (r'^clang-tidy src/base/kernel_release\.c: .*cert-err34-c',
     'four digits at most, by the format: nothing can overflow'),
    (r'^clang-tidy src/daemon/daemonize\.c: .*cert-err34-c',
     'names in /proc/self/fd, where what is no number counts as 0, which is kept'),
    (r'^clang-tidy .*src/device/endpoint(_cell\.c|\.h):.*suspicious-memory-comparison',
     'endpoints are always built from zeroed memory'),
    (r'^clang-tidy src/(crypto/aead_burst|noise/cookie)\.c: .*readability-function-size',
     'seven parameters: inner loops that are inlined, and a message of six parts'),
    (r'^clang-tidy src/tun/link\.c: .*deadcode\.DeadStores',
     'the store takes a descriptor from its CLEANUP(), which reads it'),
    (r'^fanalyzer (bench/io_engines\.c|tests/stress/stress_device\.c|bench/micro/ring\.c): .*uninitialized',
     'written through a pointer to its first element, or by the loop\'s condition'),
    (r'^fanalyzer tests/(fuzz/fuzz_uapi|unit/control/test_uapi_parse)\.c: .*dereference of NULL',
     'the pointer is NULL only where the count that is looped over is 0'),
    (r'^fanalyzer tests/unit/udp/test_cmsg\.c: .*dereference of NULL', 'there is room for a message'),
    (r'^fanalyzer tests/unit/crypto/test_aead_poly1305\.c: .*uninitialized value .need',
     'a struct returned by value, which gcc 12 loses'),
    (r'^cppcheck tests/fuzz/main\.c: .*resourceLeak', 'CLEANUP() closes it'),
    (r'^cppcheck tests/unit/device/test_allowedips\.c: .*legacyUninitvar', 'cr_fatal() does not return'),
    (r'^cppcheck tests/unit/udp/test_udp\.c: .*legacyUninitvar', 'a buffer to receive into'),
    (r'^cppcheck tests/.*compareBoolExpressionWithInt', 'Criterion prints it as a number'),
)]


def commands(build):
    """{file: (directory, [compiler, argument...])} of our own sources."""
    with open(os.path.join(build, 'compile_commands.json')) as f:
        entries = json.load(f)
    result = {}
    for e in entries:
        path = os.path.relpath(os.path.join(e['directory'], e['file']), ROOT)
        if path.startswith(DIRECTORIES) and path.endswith('.c'):
            result.setdefault(path, (e['directory'], shlex.split(e['command'])))
    return result


def plain_arguments(words):
    """What is left of a compiler's command without its own names of files."""
    out, skip = [], False
    words = words[1:] if os.path.basename(words[0]) == 'ccache' else words
    for word in words:
        if skip:
            skip = False
        elif word in ('-o', '-MF', '-MQ', '-MT'):
            skip = True
        elif word not in ('-MD', '-c', '-Werror') and not word.startswith('-fdiagnostics'):
            out.append(word)
    return out


def is_product(path):
    return path.startswith('src/')


def stand_in(path, flag):
    """What shows the analyzers tests/static/ instead of Criterion."""
    return [flag + os.path.join(ROOT, 'tests/static')] if path.startswith('tests/') else []


def clang_tidy(path, directory, words, build):
    # gcc's options that clang does not know are no findings.
    return subprocess.run(['clang-tidy', '--quiet', '-p', build, '--extra-arg=-Wno-error',
                           *(['--checks=-' + ',-'.join(TIDY_OFF)] if not is_product(path) else []),
                           *stand_in(path, '--extra-arg-before=-I'),
                           # clang before 16 wants to be asked twice for our hardening
                           '--extra-arg=-enable-trivial-auto-var-init-zero-knowing-it-will-be-'
                           'removed-from-clang',
                           '--extra-arg=-Wno-unknown-warning-option',
                           '--extra-arg=-Wno-ignored-optimization-argument',
                           os.path.join(ROOT, path)],
                          cwd=directory, capture_output=True, text=True)


def analyzer(path, directory, words, build):
    off = [] if is_product(path) else ANALYZER_OFF
    return subprocess.run(['gcc', *stand_in(path, '-I'), *plain_arguments(words)[1:], *off,
                           '-fanalyzer', '-S', '-O1', '-o', '/dev/null'],
                          cwd=directory, capture_output=True, text=True)


def cppcheck(path, directory, words, build):
    defines = [w for w in plain_arguments(words) if w.startswith('-D')]
    includes = ['-I' + i for i in ('src', 'include', 'tests', 'tests/unit', 'bench') if
                i in ('src', 'include') or path.startswith(i)]
    return subprocess.run(['cppcheck', '--quiet', '--enable=warning,performance,portability',
                           '--inline-suppr', '--std=c11', '--platform=unix64',
                           *stand_in(path, '-I'), *includes, *defines, *(f'--suppress={s}' for s in CPPCHECK_OFF), path],
                          cwd=ROOT, capture_output=True, text=True)


TOOLS = {'clang-tidy': clang_tidy, 'fanalyzer': analyzer, 'cppcheck': cppcheck}


def findings(tool, path, result):
    """The lines that are about faults and not known to be none."""
    text = result.stdout + result.stderr
    lines = [x for x in text.splitlines() if re.search(r'(warning|error|performance|portability): ', x)]
    if not lines and result.returncode:
        lines = text.splitlines()[-3:] or [f'exit status {result.returncode}']
    lines = [re.sub(r'^.*?(src|include|tests|bench)/', r'\1/', x) for x in dict.fromkeys(lines)]
    return [x for x in lines if not any(k.search(f'{tool} {path}: {x}') for k, _ in KNOWN)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--build', required=True, help='a build directory, made by gcc')
    parser.add_argument('-k', default='', help='only files whose name contains this')
    parser.add_argument('tool', nargs='*', help=', '.join(TOOLS))
    args = parser.parse_args()
    build = os.path.realpath(args.build)
    jobs = [(tool, path, *how) for path, how in sorted(commands(build).items()) if args.k in path
            for tool in args.tool or TOOLS]
    if not jobs:
        return 2
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {pool.submit(TOOLS[tool], path, directory, words, build): (tool, path)
                   for tool, path, directory, words in jobs}
        for future in concurrent.futures.as_completed(running):
            tool, path = running[future]
            found = findings(tool, path, future.result())
            failed += bool(found)
            print(f'not ok {tool} {path}: ' + ' | '.join(found[:6]) if found else
                  f'ok {tool} {path}', flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Checks the two lists of tests, PITFALLS.md and DROPS.md: every row and every reason is there, and
each test that they name exists, in a suite that tests/run runs. Prints a line per violation; exit
status 1 if there is one."""
import re
import sys
from pathlib import Path

N_PITFALLS = 85
problems = []


def require(condition, text):
    if not condition:
        problems.append(text)


def table(path):
    """{first cell: second cell} of the lines `| first | second |`."""
    rows = {}
    for line in path.read_text(encoding='utf-8').splitlines():
        cells = re.split(r'(?<!\\)\|', line)
        if len(cells) == 4 and not re.match(r'[\s-]*$', cells[1]):
            name = cells[1].strip()
            require(name not in rows, f'{path.name}: {name} is there twice')
            rows[name] = cells[2].replace('\\|', '|')
    return rows


def drop_table(path):
    """{(reason, function): tests} of DROPS.md."""
    rows = {}
    for line in path.read_text(encoding='utf-8').splitlines():
        found = re.match(r'\| (\w+) \| `([\w/.]+: \w+)` \| (.*) \|$', line)
        if found:
            require((found[1], found[2]) not in rows, f'DROPS.md: {found[0][:60]} is there twice')
            rows[found[1], found[2]] = found[3]
    return rows


def drop_sites(src):
    """(reason, function) wherever the code names a reason."""
    for path in sorted(src.glob('*/*.c')):
        function = None
        for line in path.read_text(encoding='utf-8').splitlines():
            found = re.match(r'[A-Za-z_][^;=]*?\b(\w+)\([^;]*$', line)
            function = found[1] if found else function
            for reason in re.findall(r'\bDROP_([A-Z]\w+)\b', line):
                if reason not in ('N_REASONS', 'REASONS'):
                    yield reason, f'{path.relative_to(src)}: {function}'


def body_of(text, name):
    """The Criterion test or engine test @name in @text, or None."""
    found = re.search(r'^(?:Parameterized)?(?:Test|ENGINE_TEST)\([^)]*\b' + re.escape(name) +
                      r'\b[^)]*\)[^{;]*\{(.*?)^\}', text, re.M | re.S)
    return found and found[1]


def is_check(text, name):
    """Whether an end-to-end script has a check with @name in its name."""
    calls = re.finditer(r'\b(?:case|check)\(\s*((?:f?"[^"\n]*"\s*)+)', text)
    return any(name in re.sub(r'"\s*f?"', '', c[1]) for c in calls)


def tests_in(tests, where, cell):
    """The bodies of the tests that @cell names; those of scripts are the whole script."""
    bodies = []
    for path, _, name in re.findall(r'`([\w./]+)(: ([^`]+))?`', cell):
        file = tests / path
        if not file.is_file():
            problems.append(f'{where}: there is no {path}')
            continue
        text = file.read_text(encoding='utf-8')
        body = text
        if name and path.endswith('.c'):
            body = body_of(text, name)
        elif name and not is_check(text, name):
            body = None
        require(body is not None, f'{where}: {path} has no test {name}')
        bodies.append(body or '')
    return bodies


def suites_are_run(tests):
    run = (tests / 'run').read_text(encoding='utf-8')
    for build in sorted(tests.rglob('meson.build')):
        for suite in set(re.findall(r"suite: '(\w+)'", build.read_text(encoding='utf-8'))):
            require(re.search(fr'meson_tests .* (gcc|asan) {suite}$', run, re.M),
                    f'{build}: tests/run does not run the suite {suite}')


def main():
    root = Path(sys.argv[1])
    tests = root / 'tests'
    suites_are_run(tests)
    pitfalls = table(tests / 'PITFALLS.md')
    require(set(pitfalls) - {'row'} == {str(n) for n in range(1, N_PITFALLS + 1)},
            f'PITFALLS.md: not exactly the rows 1 to {N_PITFALLS}')
    listed = re.findall(r'^\| (\d+) \|', (root / 'src/spec/PITFALLS.md').read_text(), re.M)
    require(len(listed) == N_PITFALLS, f'src/spec/PITFALLS.md has {len(listed)} rows')
    for row, cell in pitfalls.items():
        bodies = tests_in(tests, f'PITFALLS.md, row {row}', cell)
        require(row == 'row' or bodies or re.search('Not applicable: .{20}', cell),
                f'PITFALLS.md, row {row}: neither test nor reason')
    reasons = re.findall(r'\bX\((\w+), "', (root / 'src/device/drops.h').read_text())
    drops = drop_table(tests / 'DROPS.md')
    sites = set(drop_sites(root / 'src'))
    require({r for r, _ in drops} == set(reasons), 'DROPS.md: not exactly the reasons of drops.h')
    for reason, where in sites ^ set(drops):
        problems.append(f'DROPS.md: {reason} in {where} is ' +
                        ('missing' if (reason, where) in sites else 'no place of a drop'))
    for (reason, where), cell in drops.items():
        bodies = tests_in(tests, f'DROPS.md, {reason} in {where}', cell)
        asserted = re.compile(r'cr_assert[^;]*DROP_' + reason + r'\b(?!\), 0\))', re.S)
        require(bodies and all(map(asserted.search, bodies)),
                f'DROPS.md, {reason} in {where}: no test, or one that does not assert DROP_{reason}')
    print('\n'.join(problems) or
          f'{len(pitfalls) - 1} rows, {len(reasons)} reasons at {len(sites)} places have tests')
    sys.exit(bool(problems))


if __name__ == '__main__':
    main()

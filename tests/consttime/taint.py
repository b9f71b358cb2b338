#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Shows that the AEAD kernels are constant time: follows secret bytes through every instruction.

    taint.py --objdump OBJDUMP --arch x86_64|aarch64 --target PROGRAM --library LIB.a ... -- TRACER...

TRACER runs the target (target.c) and records the integer registers before each instruction of each
burst; the disassembly says what that instruction reads and writes. From the bytes that the target
declared secret (keys, plaintext), byte by byte through registers, flags and memory, this program
computes what is derived from them and reports

  branch    a conditional or indirect jump, or a conditional compare, that depends on a secret
  address   a load or store whose address (or lane mask) depends on a secret
  time      an instruction of variable duration (division, square root) with a secret operand

Nothing is assumed about compilers or the hardware's vector registers: inline assembly is seen as
what it is, a kernel runs on the real CPU (or under qemu-user), and an instruction without a rule is
an error. What is derived from secrets is over-, never under-estimated: but for copies, bitwise
operations and x ^ x, one secret byte of any operand makes the whole result secret. The statement
is about the executed paths; as none of their branches depends on a secret, other secrets of the same
lengths take the same ones. Instructions of the library that no burst reached are counted and, with
--unreached, listed. Only the verdict on a tag is declared public.

Negative controls: kernels of leaky.c, each with a known leak, must be caught.
"""
import argparse
import bisect
import re
import subprocess
import sys

import aarch64
import x86

ISAS = {'x86_64': x86, 'aarch64': aarch64}
BEGIN, END, SECRET, PUBLIC = 1, 2, 3, 4
MIN_COVERAGE = 70  # per cent of the instructions of the functions that any kernel entered
LINE = re.compile(r'^\s*([0-9a-f]+):\s+(\S.*?)\s*$')
FUNCTION = re.compile(r'^([0-9a-f]+) <(.+)>:$')


class Machine:
    """Which bytes of registers and memory are secret: masks with a bit per byte."""

    def __init__(self, n_registers):
        self.r = [0] * n_registers
        self.memory = {}  # by address / 64: a mask of 64 bits
        self.pc = 0
        self.found = {}  # (pc, kind): times

    def reset(self):
        self.r = [0] * len(self.r)
        self.memory.clear()

    def report(self, kind):
        key = self.pc, kind
        self.found[key] = self.found.get(key, 0) + 1

    def load(self, at, size):
        line, offset = at >> 6, at & 63
        mask = self.memory.get(line, 0) >> offset
        if offset + size > 64:
            mask |= self.memory.get(line + 1, 0) << (64 - offset)
        return mask & ((1 << size) - 1)

    def store(self, at, size, mask):
        while size > 0:
            line, offset = at >> 6, at & 63
            n = min(size, 64 - offset)
            old = self.memory.get(line, 0) & ~(((1 << n) - 1) << offset)
            new = old | (mask & ((1 << n) - 1)) << offset
            if new:
                self.memory[line] = new
            elif line in self.memory:
                del self.memory[line]
            at, size, mask = at + n, size - n, mask >> n

    def declare(self, at, size, is_secret):
        self.store(at, size, (1 << size) - 1 if is_secret else 0)


class Program:
    """The disassembly: rules are made from it when an instruction is first met."""

    def __init__(self, objdump, path, isa):
        self.isa, self.rules = isa, {}
        self.text, self.starts, self.names = {}, [], []
        out = subprocess.run([objdump, '-d', '--no-show-raw-insn', *isa.OBJDUMP, path],
                             capture_output=True, text=True, check=True).stdout
        for line in out.splitlines():
            if match := FUNCTION.match(line):
                self.starts.append(int(match[1], 16))
                self.names.append(match[2])
            elif match := LINE.match(line):
                self.text[int(match[1], 16)] = match[2]
        self.order = sorted(self.text)

    def function(self, pc):
        i = bisect.bisect_right(self.starts, pc) - 1
        return self.names[i] if i >= 0 else '?'

    def address(self, name):
        return self.starts[self.names.index(name)]

    def next_pc(self, pc):
        i = bisect.bisect_right(self.order, pc)
        return self.order[i] if i < len(self.order) else pc + 4

    def rule(self, pc):
        if pc not in self.text:
            raise LookupError(f'{pc:#x} is not in the disassembly')
        try:
            rule = self.isa.compile_rule(self.text[pc], self.next_pc(pc))
        except (KeyError, ValueError, IndexError) as error:
            raise LookupError(f'no rule for {self.text[pc]!r} in {self.function(pc)}: '
                              f'{error}') from error
        self.rules[pc] = rule
        return rule


def follow(program, tracer, argv):
    """Runs a kernel of the target; returns the machine, the steps, and the addresses reached."""
    isa, mark = program.isa, program.address('ct_mark')
    machine = Machine(isa.N_REGISTERS)
    rules, reached, n_steps, active, n_bursts = program.rules, set(), 0, False, 0
    with subprocess.Popen([*tracer, *argv], stdout=subprocess.PIPE) as process:
        for pc, regs in isa.read_trace(process.stdout):
            if pc == mark:
                kind, at, size = isa.arguments(regs)
                if kind == BEGIN:
                    machine.reset()
                    active, n_bursts = True, n_bursts + 1
                elif kind == END:
                    active = False
                else:
                    machine.declare(at, size, kind == SECRET)
            if not active:
                continue
            n_steps += 1
            machine.pc = pc
            rule = rules.get(pc)
            if rule is None:
                rule = program.rule(pc)
                reached.add(pc)
            elif pc not in reached:
                reached.add(pc)
            rule(machine, regs)
    if process.returncode:
        raise RuntimeError(f'the tracer ended with {process.returncode}')
    if not n_bursts:
        raise RuntimeError('no burst was traced')
    return machine, n_steps, reached


def source_line(target, pc):
    out = subprocess.run(['addr2line', '-e', target, '-i', '-f', '-s', f'{pc:#x}'],
                         capture_output=True, text=True, check=False).stdout.splitlines()
    return ' < '.join(f'{f} {at.split(" ")[0]}' for f, at in zip(out[::2], out[1::2]))


def describe(program, target, machine):
    lines = []
    for (pc, kind), times in sorted(machine.found.items()):
        lines.append(f'    {kind}: {pc:x} {program.text[pc]}  [{source_line(target, pc)}], '
                     f'{times} times')
    return lines


def library_functions(objdump, libraries):
    """Names of the functions in the archives, by member."""
    names = set()
    for library in libraries:
        out = subprocess.run([objdump, '-t', library], capture_output=True, text=True,
                             check=True).stdout
        for line in out.splitlines():
            if match := re.match(r'^[0-9a-f]+ .{6}F \.text\S*\s+[0-9a-f]+\s+(?:\.hidden )?(\S+)$', line):
                names.add(match[1])
    return names


def coverage(program, functions, reached):
    """(reached, all, list of unreached) instructions of the functions that were entered."""
    entered = {i for i, at in enumerate(program.starts)
               if at in reached and program.names[i] in functions}
    n_reached, n_all, missed = 0, 0, []
    for pc in program.order:
        i = bisect.bisect_right(program.starts, pc) - 1
        text = program.text[pc]
        if i not in entered or re.search(r'\bnop\b|^xchg\s+ax,ax$|^\(bad\)', text):
            continue
        n_all += 1
        if pc in reached:
            n_reached += 1
        else:
            missed.append(f'    {program.names[i]} {pc:x} {text}')
    return n_reached, n_all, missed


def check_kernel(program, args, functions, name, reached_by_any):
    machine, n_steps, reached = follow(program, args.tracer, [args.target, name])
    reached_by_any |= reached
    n_reached, n_all, _ = coverage(program, functions, reached)
    percent = 100 * n_reached / max(n_all, 1)
    what = (f'{n_steps} instructions executed, {n_reached} of {n_all} ({percent:.1f} %) of the '
            'functions entered')
    if machine.found:
        print(f'not ok consttime/{name}: depends on secrets at {len(machine.found)} places')
        print('\n'.join(describe(program, args.target, machine)))
        return False
    print(f'ok consttime/{name}: {what}')
    return True


def check_coverage(program, args, functions, reached):
    n_reached, n_all, missed = coverage(program, functions, reached)
    percent = 100 * n_reached / max(n_all, 1)
    good = percent >= MIN_COVERAGE
    print(f'{"ok" if good else "not ok"} consttime/coverage: {n_reached} of {n_all} instructions '
          f'({percent:.1f} %) of the functions that any kernel entered')
    if args.unreached or not good:
        print('\n'.join(missed))
    return good


def check_control(program, args, name, expected):
    machine, n_steps, _ = follow(program, args.tracer, [args.target, name])
    kinds = {kind for _, kind in machine.found}
    if kinds == ({expected} - {'none'}):
        print(f'ok consttime/{name}: {"found" if kinds else "clean"} in {n_steps} instructions')
        return True
    print(f'not ok consttime/{name}: expected {expected}, found {", ".join(kinds) or "nothing"}')
    print('\n'.join(describe(program, args.target, machine)))
    return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--arch', choices=ISAS, required=True)
    parser.add_argument('--objdump', default='objdump')
    parser.add_argument('--target', required=True)
    parser.add_argument('--library', action='append', default=[])
    parser.add_argument('--runner', action='append', default=[], help='what runs --target --list')
    parser.add_argument('--kernel', action='append', help='only this one')
    parser.add_argument('--unreached', action='store_true')
    parser.add_argument('tracer', nargs='+')
    args = parser.parse_args()

    listing = subprocess.run([*args.runner, args.target, '--list'], capture_output=True, text=True,
                             check=True).stdout
    program = Program(args.objdump, args.target, ISAS[args.arch])
    functions = library_functions(args.objdump, args.library)
    good, reached = True, set()
    for line in listing.splitlines():
        name, what = line.split(' ', 1)
        if args.kernel and name not in args.kernel:
            continue
        try:
            if what.startswith('skip'):
                print(f'skip consttime/{name}: {what[5:]}')
            elif what == 'kernel':
                good &= check_kernel(program, args, functions, name, reached)
            else:
                good &= check_control(program, args, name, what)
        except (LookupError, RuntimeError) as error:
            print(f'not ok consttime/{name}: {error}')
            good = False
        sys.stdout.flush()
    if reached and not args.kernel:
        good &= check_coverage(program, args, functions, reached)
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())

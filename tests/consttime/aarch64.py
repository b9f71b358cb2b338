# SPDX-License-Identifier: MPL-2.0
"""What aarch64 instructions do to secrets; see taint.py. Registers are numbered: 0 - 30 integer,
31 sp, 32 zero (never secret), 33 - 64 vector, 65 the flags."""
import re

OBJDUMP = []
SP, ZERO, V0, FLAGS = 31, 32, 33, 65
N_REGISTERS = 66
FULL = [(1 << n) - 1 for n in range(65)]
ELEMENT = {'b': 1, 'h': 2, 's': 4, 'd': 8, 'q': 16}
VALUE = re.compile(rb'(PC|SP|X\d\d)=([0-9a-f]{16})')


def read_trace(stream):
    """The log of qemu -d cpu: PC, X00 - X30, SP."""
    regs, pc = [], None
    for line in stream:
        if line.startswith(b' PC='):
            regs, pc = [], int(line[4:20], 16)
        elif line.startswith(b'PSTATE') and pc is not None:
            yield pc, regs
            pc = None
            continue
        if pc is not None:
            regs += [int(value, 16) for name, value in VALUE.findall(line) if name != b'PC']


def arguments(regs):
    return regs[0], regs[1], regs[2]


class Register:
    is_memory = is_vector = False

    def __init__(self, number, size, offset=0, keeps=False):
        self.number, self.size, self.offset, self.keeps = number, size, offset, keeps

    def read(self, m, regs):
        return m.r[self.number] >> self.offset & FULL[self.size]

    def write(self, m, regs, value):
        if self.number == ZERO:
            return
        if self.keeps:
            m.r[self.number] = m.r[self.number] & ~(FULL[self.size] << self.offset) | \
                value << self.offset
        else:
            m.r[self.number] = value


class Immediate:
    number, size, is_memory, is_vector = ZERO, 0, False, False

    def __init__(self, text=''):
        self.text = text

    def read(self, m, regs):
        return 0


class Memory:
    is_memory, is_vector, size = True, False, 0

    def __init__(self, text):
        self.writes_back = text.endswith('!')
        parts = [p.strip() for p in text.rstrip('!')[1:-1].split(',')]
        self.base = register(parts[0]).number
        self.index, self.extend, self.shift, self.disp = None, 'lsl', 0, 0
        if len(parts) > 1:
            if parts[1][0] == '#':
                self.disp = int(parts[1][1:], 0)
            else:
                r = register(parts[1])
                self.index = r.number
        if len(parts) > 2:
            words = parts[2].split()
            self.extend = words[0]
            self.shift = int(words[1][1:], 0) if len(words) > 1 else 0
        if self.extend not in ('lsl', 'uxtw', 'sxtw', 'uxtx', 'sxtx'):
            raise ValueError(f'extension {self.extend}')

    def address(self, m, regs):
        at = regs[self.base] + self.disp
        if m.r[self.base]:
            m.report('address')
        if self.index is not None and self.index != ZERO:
            if m.r[self.index]:
                m.report('address')
            value = regs[self.index]
            if self.extend in ('uxtw', 'sxtw'):
                value &= 0xffffffff
                if self.extend == 'sxtw' and value >> 31:
                    value -= 1 << 32
            at += value << self.shift
        return at & (1 << 64) - 1


def register(text):
    text = text.strip()
    if text in ('xzr', 'wzr'):
        return Register(ZERO, 8 if text[0] == 'x' else 4)
    if text in ('sp', 'wsp'):
        return Register(SP, 8)
    if match := re.match(r'^([xw])(\d+)$', text):
        return Register(int(match[2]), 8 if match[1] == 'x' else 4)
    if match := re.match(r'^([bhsdq])(\d+)$', text):
        out = Register(V0 + int(match[2]), ELEMENT[match[1]])
    elif match := re.match(r'^v(\d+)\.(\d+)([bhsd])$', text):
        out = Register(V0 + int(match[1]), int(match[2]) * ELEMENT[match[3]])
    elif match := re.match(r'^v(\d+)\.(\d*)([bhsd])\[(\d+)\]$', text):
        size = ELEMENT[match[3]]
        out = Register(V0 + int(match[1]), size, size * int(match[4]), True)
    else:
        raise ValueError(f'operand {text!r}')
    out.is_vector = True
    return out


def register_list(text):
    """{v8.2d-v11.2d}, {v0.16b, v1.16b}, {v0.s}[1]"""
    lane = re.match(r'^\{(.*)\}\[(\d+)\]$', text)
    inner = (lane[1] if lane else text[1:-1]).strip()
    if '-' in inner:
        first, last = inner.split('-')
        kind = first.split('.')[1]
        a, b = (int(re.match(r'\s*v(\d+)', x)[1]) for x in (first, last))
        names = [f'v{i % 32}.{kind}' for i in range(a, (b if b >= a else b + 32) + 1)]
    else:
        names = [n.strip() for n in inner.split(',')]
    return [register(n + f'[{lane[2]}]' if lane else n) for n in names]


def split_operands(text):
    out, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in '[{') - (c in ']}')
        if c == ',' and not depth:
            out.append(text[start:i].strip())
            start = i + 1
    return out + [text[start:].strip()] if text.strip() else []


MODIFIER = re.compile(r'^(lsl|lsr|asr|ror|msl|[us]xt[bhwx])\b')
CONDITION = re.compile(r'^(eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|al|nv)$')


def parse_operand(text):
    if text[0] == '#' or re.match(r'^-?(0x)?[0-9a-f]+$', text) and not re.match(r'^[bd]\d', text):
        return Immediate(text)
    if MODIFIER.match(text) or CONDITION.match(text):
        return Immediate(text)
    if text[0] == '[':
        return Memory(text)
    return register(text)


NOTHING = {'nop', 'hint', 'bti', 'paciasp', 'autiasp', 'prfm', 'prfum', 'dmb', 'dsb', 'isb', 'yield',
           'b', 'bl', 'udf', 'brk', 'csdb'}
SET_FLAGS = {'adds', 'subs', 'ands', 'bics', 'negs', 'adcs', 'sbcs', 'ngcs'}
COMPARE = {'cmp', 'cmn', 'tst'}
SELECT = {'csel', 'csinc', 'csinv', 'csneg', 'cset', 'csetm', 'cinc', 'cinv', 'cneg'}
READ_CARRY = {'adc', 'sbc', 'ngc', 'adcs', 'sbcs', 'ngcs'}
INTEGER = {'add', 'sub', 'mul', 'madd', 'msub', 'mneg', 'umulh', 'smulh', 'umull', 'smull', 'umaddl',
           'smaddl', 'umsubl', 'smsubl', 'umnegl', 'and', 'orr', 'eor', 'bic', 'orn', 'eon', 'mvn',
           'neg', 'lsl', 'lsr', 'asr', 'ror', 'lslv', 'lsrv', 'asrv', 'rorv', 'extr', 'ubfx', 'sbfx',
           'ubfiz', 'sbfiz', 'ubfm', 'sbfm', 'uxtb', 'uxth', 'sxtb', 'sxth', 'sxtw', 'clz', 'cls',
           'rbit', 'rev', 'rev16', 'rev32', 'adr', 'adrp', 'mov', 'movz', 'movn', 'fmov', 'umov',
           'smov', 'dup', 'movi', 'mvni'} | SET_FLAGS | READ_CARRY
READS_FIRST = {'movk', 'bfi', 'bfxil', 'bfc', 'bfm', 'sri', 'sli', 'usra', 'ssra', 'ursra', 'srsra',
               'bsl', 'bit', 'bif', 'tbx', 'mla', 'mls', 'umlal', 'umlal2', 'smlal', 'smlal2',
               'umlsl', 'umlsl2', 'smlsl', 'smlsl2', 'uaba', 'saba', 'uabal', 'sabal', 'fmla',
               'fmls', 'uadalp', 'sadalp', 'xtn2', 'shrn2', 'rshrn2', 'ins'}
VECTOR = {'addv', 'addp', 'uaddlv', 'uaddl', 'uaddl2', 'uaddw', 'uaddw2', 'shl', 'ushr', 'sshr',
          'ushl', 'sshl', 'shrn', 'rshrn', 'xtn', 'uxtl', 'uxtl2', 'sxtl', 'sxtl2', 'ushll', 'ushll2',
          'sshll', 'sshll2', 'shll', 'zip1', 'zip2', 'uzp1', 'uzp2', 'trn1', 'trn2', 'ext', 'tbl',
          'rev64', 'not', 'umull2', 'smull2', 'cmeq', 'cmge', 'cmgt', 'cmhi', 'cmhs', 'cmle', 'cmlt',
          'cmtst', 'umax', 'umin', 'umaxv', 'uminv', 'umaxp', 'uminp', 'cnt', 'abs'}
BITWISE = {'and', 'orr', 'eor', 'bic', 'orn', 'bsl', 'bit', 'bif', 'mov', 'not', 'mvn', 'movk'}
TIME = {'udiv', 'sdiv', 'fdiv', 'fsqrt'}


def spread(mask, size):
    return FULL[size] if mask else 0


def compile_rule(text, next_pc):
    text = re.sub(r'\s*(//|<).*$', '', text)
    name, _, rest = text.partition('\t')
    if not rest and ' ' in name:
        name, _, rest = text.partition(' ')
    name = name.strip()
    if name in NOTHING:
        return lambda m, regs: None
    if name.startswith('b.'):
        return lambda m, regs: m.report('branch') if m.r[FLAGS] else None
    texts = split_operands(rest)
    if name in ('cbz', 'cbnz', 'tbz', 'tbnz', 'br', 'blr', 'ret'):
        number = register(texts[0]).number if texts else 30
        return lambda m, regs: m.report('branch') if m.r[number] else None
    if name == 'mrs':
        dst = register(texts[0])
        return lambda m, regs: dst.write(m, regs, 0)
    if name == 'dc' and texts[0] == 'zva':
        base = register(texts[1]).number
        return lambda m, regs: zero_line(m, regs, base)
    if name.startswith(('ld', 'st')):
        return memory_rule(name, texts)
    return compute_rule(name, texts)


def zero_line(m, regs, base):
    """qemu-user's block is 64 bytes; less would only leave secrets marked."""
    if m.r[base]:
        m.report('address')
    m.store(regs[base] & ~63, 64, 0)


ACCESS = {'ldr': 0, 'ldur': 0, 'str': 0, 'stur': 0, 'ldrb': 1, 'ldurb': 1, 'strb': 1, 'sturb': 1,
          'ldrh': 2, 'ldurh': 2, 'strh': 2, 'sturh': 2, 'ldrsb': 1, 'ldursb': 1, 'ldrsh': 2,
          'ldursh': 2, 'ldrsw': 4, 'ldursw': 4, 'ldp': 0, 'stp': 0, 'ldnp': 0, 'stnp': 0,
          'ldpsw': 4, 'ld1': 0, 'st1': 0, 'ld1r': 0, 'ldar': 0, 'stlr': 0}


def memory_rule(name, texts):
    size = ACCESS[name]
    at = next((i for i, t in enumerate(texts) if t[0] == '['), None)
    if at is None: # ldr x0, literal
        if name == 'ldr':
            dst = register(texts[0])
            return lambda m, regs: dst.write(m, regs, 0)
        raise ValueError('operands')
    memory = Memory(texts[at])
    after = texts[at + 1:]
    registers = []
    for t in texts[:at]:
        registers += register_list(t) if t[0] == '{' else [register(t)]
    if after and after[0][0] != '#': # post-index by a register
        step = register(after[0]).number
    else:
        step = None
    is_load, signed = name.startswith('ld'), 'rs' in name or name == 'ldpsw' or 'urs' in name
    element = re.search(r'\.\d*([bhsd])\}', texts[0])

    def access(m, regs):
        where = memory.address(m, regs)
        for r in registers:
            n = size or r.size
            if is_load:
                if name == 'ld1r':
                    value = spread(m.load(where, ELEMENT[element[1]]), r.size)
                else:
                    value = m.load(where, n)
                    if signed:
                        value = spread(value, r.size)
                r.write(m, regs, value)
            else:
                m.store(where, n, r.read(m, regs) & FULL[n])
            where += n
        if step is not None and m.r[step]:
            m.r[memory.base] = FULL[8]
    return access


def compute_rule(name, texts):
    lists = [t for t in texts if t[0] == '{']
    ops = [parse_operand(t) for t in texts if t[0] != '{']
    for t in lists:
        ops += register_list(t)
    if name in COMPARE:
        def compare(m, regs):
            m.r[FLAGS] = 1 if any(o.read(m, regs) for o in ops) else 0
        return compare
    if name in ('ccmp', 'ccmn'):
        def compare_if(m, regs):
            m.r[FLAGS] = 1 if m.r[FLAGS] or any(o.read(m, regs) for o in ops) else 0
        return compare_if
    if name not in INTEGER | READS_FIRST | VECTOR | SELECT | TIME:
        raise ValueError('unknown')
    dst, sources = ops[0], ops[1:]
    if name in READS_FIRST or name == 'orr' and len(ops) == 2 or name == 'bic' and \
            isinstance(ops[1], Immediate):
        sources = ops
    same = name == 'eor' and len(ops) == 3 and ops[1].number == ops[2].number and \
        ops[1].number != ZERO
    bitwise = name in BITWISE and all(o.size in (0, dst.size) for o in sources) and not \
        any(isinstance(o, Immediate) and MODIFIER.match(o.text) for o in sources)
    reads_flags = name in READ_CARRY or name in SELECT
    sets_flags = name in SET_FLAGS
    is_time = name in TIME

    def compute(m, regs):
        value = 0
        if not same:
            for o in sources:
                value |= o.read(m, regs)
        if reads_flags and m.r[FLAGS]:
            value = FULL[dst.size]
        if is_time and value:
            m.report('time')
        if not bitwise:
            value = spread(value, dst.size)
        dst.write(m, regs, value)
        if sets_flags:
            m.r[FLAGS] = 1 if value else 0
    return compute

# SPDX-License-Identifier: MPL-2.0
"""What x86-64 instructions do to secrets; see taint.py. Rules are made from objdump's Intel syntax.

A rule is a function of the machine and the registers before the instruction. Registers are numbered:
0 - 15 integer, 16 - 47 vector, 48 - 55 mask, then the flags in three groups, because dec keeps the
carry and adcx touches nothing else.
"""
import re
import struct

OBJDUMP = ['-M', 'intel']
C, Z, O = 56, 57, 58  # carry; zero, sign, parity and adjust; overflow
N_REGISTERS = 59

GPR = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rsp'] + [f'r{i}' for i in range(8, 16)]
RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP = range(8)
# A record of trace.c: the integer registers in this order, then rip and fs_base
USER = {name: i for i, name in enumerate(
    ['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rdi', 'rsi', 'rbp', 'rbx', 'rdx',
     'rax', 'rcx', 'rsp'])}
USER_OF = [USER[name] for name in GPR]
RIP, FS_BASE = 16, 17
RECORD = struct.Struct('=18Q')
M64 = (1 << 64) - 1
FULL = [(1 << n) - 1 for n in range(65)]


def registers():
    """name: (number, size, offset in bytes)"""
    names = {}
    for i, r in enumerate(GPR):
        names[r] = (i, 8, 0)
        if i < 8:
            names['e' + r[1:]] = (i, 4, 0)
            names[r[1:]] = (i, 2, 0)
        else:
            names[r + 'd'], names[r + 'w'], names[r + 'b'] = (i, 4, 0), (i, 2, 0), (i, 1, 0)
    for i, r in enumerate('abcd'):
        n = (RAX, RBX, RCX, RDX)[i]
        names[r + 'l'], names[r + 'h'] = (n, 1, 0), (n, 1, 1)
    for r in ('si', 'di', 'bp', 'sp'):
        names[r + 'l'] = (names['r' + r][0], 1, 0)
    for i in range(32):
        names[f'xmm{i}'], names[f'ymm{i}'] = (16 + i, 16, 0), (16 + i, 32, 0)
        names[f'zmm{i}'] = (16 + i, 64, 0)
    for i in range(8):
        names[f'k{i}'] = (48 + i, 8, 0)
    return names


REGISTERS = registers()
SIZES = {'BYTE': 1, 'WORD': 2, 'DWORD': 4, 'QWORD': 8, 'XMMWORD': 16, 'YMMWORD': 32,
         'ZMMWORD': 64}
MEMORY = re.compile(r'^(?:(\w+) (?:PTR|BCST) )?(?:(\w\w):)?(?:\[(.*)\]|(0x[0-9a-f]+))$')
PREFIXES = {'cs', 'ds', 'es', 'data16', 'bnd', 'notrack', 'lock', 'rex.W', 'addr32'}


def read_trace(stream):
    size = RECORD.size * 4096
    while data := stream.read(size):
        for regs in RECORD.iter_unpack(data):
            yield regs[RIP], regs


def arguments(regs):
    return regs[USER['rdi']], regs[USER['rsi']], regs[USER['rdx']]


class Register:
    is_memory = False
    mask = None  # number of the register k that selects lanes

    def __init__(self, name):
        self.name = name
        self.number, self.size, self.offset = REGISTERS[name]

    def is_vector(self):
        return 16 <= self.number < 48

    def read(self, m, regs):
        return m.r[self.number] >> self.offset & FULL[self.size]

    def write(self, m, regs, value, legacy=False):
        r, n = m.r, self.number
        if self.size >= 4 and not legacy:
            r[n] = value  # the rest becomes zero
        else:
            keep = FULL[self.size] << self.offset
            r[n] = r[n] & ~keep | value << self.offset


class Immediate:
    is_memory = False
    size, mask = 0, None

    def __init__(self, value):
        self.value = value

    def is_vector(self):
        return False

    def read(self, m, regs):
        return 0


class Memory:
    is_memory = True
    mask = None

    def __init__(self, text, next_pc):
        match = MEMORY.match(text)
        if not match:
            raise ValueError(f'operand {text!r}')
        self.size = SIZES[match[1]] if match[1] else 0
        self.segment = match[2] if match[2] == 'fs' else None
        if match[2] == 'gs':
            raise ValueError('gs segment')
        self.base = self.index = None
        self.scale, self.disp = 1, int(match[4], 16) if match[4] else 0
        for sign, term in re.findall(r'([+-]?)([^+-]+)', match[3] or ''):
            if term.startswith('0x'):
                self.disp += int(term, 16) * (-1 if sign == '-' else 1)
            elif term == 'rip':
                self.disp += next_pc
            elif '*' in term:
                name, scale = term.split('*')
                if name not in ('riz', 'eiz'):
                    self.index, self.scale = self.integer(name), int(scale)
            else:
                self.base = self.integer(term)
        self.numbers = [n for n in (self.base, self.index) if n is not None]

    @staticmethod
    def integer(name):
        number, size, _ = REGISTERS[name]
        if number >= 16 or size != 8:
            raise ValueError(f'address register {name}')
        return number

    def is_vector(self):
        return False

    def address(self, m, regs):
        at = self.disp
        for n in self.numbers:
            if m.r[n]:
                m.report('address')
        if self.base is not None:
            at += regs[USER_OF[self.base]]
        if self.index is not None:
            at += regs[USER_OF[self.index]] * self.scale
        if self.segment:
            at += regs[FS_BASE]
        return at & M64

    def read(self, m, regs):
        return m.load(self.address(m, regs), self.size)

    def write(self, m, regs, value, legacy=False):
        m.store(self.address(m, regs), self.size, value)


def parse_operand(text, next_pc):
    text = re.sub(r'\{1to\d+\}|\{sae\}|\{r[nduz]-sae\}', '', text)
    parts = re.match(r'^(.*?)((?:\{\w+\})*)$', text)
    body = parts[1].strip()
    if body in REGISTERS:
        operand = Register(body)
    elif re.match(r'^-?(0x)?[0-9a-f]+$', body):
        operand = Immediate(int(body, 16 if 'x' in body else 10))
    elif body.startswith('st'):
        raise ValueError('x87')
    else:
        operand = Memory(body, next_pc)
    operand.zeroing = '{z}' in parts[2]
    if k := re.search(r'\{k(\d)\}', parts[2]):
        operand.mask = 48 + int(k[1])
    return operand


def split_operands(text):
    out, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in '[{') - (c in ']}')
        if c == ',' and not depth:
            out.append(text[start:i])
            start = i + 1
    return out + [text[start:]] if text else []


CONDITIONS = {}
for names, flags in ((('b', 'c', 'nae', 'ae', 'nc', 'nb'), (C,)), (('be', 'na', 'a', 'nbe'), (C, Z)),
                     (('e', 'z', 'ne', 'nz', 's', 'ns', 'p', 'np', 'pe', 'po'), (Z,)),
                     (('l', 'nge', 'ge', 'nl', 'le', 'ng', 'g', 'nle'), (Z, O)),
                     (('o', 'no'), (O,))):
    for name in names:
        CONDITIONS[name] = flags


def spread(mask, size):
    return FULL[size] if mask else 0


def set_flags(m, mask):
    m.r[C] = m.r[Z] = m.r[O] = 1 if mask else 0


NOTHING = {'nop', 'nopw', 'nopl', 'endbr64', 'pause', 'lfence', 'mfence', 'sfence', 'cld', 'int3',
           'prefetcht0', 'prefetcht1', 'prefetcht2', 'prefetchnta', 'prefetchw', 'ud2', 'hlt'}
MOVES = {'mov', 'movabs', 'movzx', 'movnti', 'movq', 'movd', 'movdqa', 'movdqu', 'movaps', 'movups',
         'movapd', 'movupd', 'movntdq', 'movntps', 'lddqu', 'vmovq', 'vmovd', 'vmovdqa', 'vmovdqu',
         'vmovaps', 'vmovups', 'vmovapd', 'vmovupd', 'vmovntdq', 'vmovdqa32', 'vmovdqa64',
         'vmovdqu8', 'vmovdqu16', 'vmovdqu32', 'vmovdqu64', 'kmovb', 'kmovw', 'kmovd', 'kmovq',
         'vlddqu'}
BITWISE = {'and', 'or', 'xor'}
SHIFTS = {'shl', 'sal', 'shr', 'sar', 'shld', 'shrd'}
ROTATES = {'rol', 'ror'}
NO_FLAGS = {'mulx', 'rorx', 'sarx', 'shlx', 'shrx', 'pdep', 'pext', 'bswap', 'not', 'movbe',
            'pextrw', 'pextrb', 'pextrd', 'pextrq', 'pmovmskb', 'movmskps', 'movmskpd'}
SETS_FLAGS_3 = {'andn', 'bzhi', 'bextr'}
SETS_FLAGS_2 = {'bsf', 'bsr', 'tzcnt', 'lzcnt', 'popcnt', 'blsr', 'blsi', 'blsmsk'}
VARIABLE = re.compile(r'^(i?div|v?(div|sqrt)[ps][sd]|v?rc?p.*|v?rsqrt.*)$')
UNSUPPORTED = re.compile(r'gather|scatter|compress|expand|maskmov|^x(save|rstor|begin)|^syscall|'
                         r'^v?pcmp[ei]str|^f[a-z]|^(in|out)s?$|^loop|^(v?maskmov)')
# Vector instructions that also read their first operand.
READS_FIRST = re.compile(r'^(vfn?m(add|sub)|vpmadd52|vpternlog|vpdp|vpermt2|vpermi2|vpsh[lr]dv|'
                         r'vfmulc|vfmaddc)')
VECTOR_BITWISE = re.compile(r'^v?(pxor[dq]?|por[dq]?|pand[dq]?|pandn[dq]?|xorp[sd]|andn?p[sd]|'
                            r'orp[sd])$')
SSE_PURE = {'pshufd', 'pshuflw', 'pshufhw', 'movddup', 'movshdup', 'movsldup', 'pabsb', 'pabsw',
            'pabsd', 'cvtdq2ps', 'cvttps2dq', 'pmovzxbw', 'pmovzxwd', 'pmovzxdq'}
VECTOR_FLAGS = {'ptest', 'vptest', 'vtestps', 'kortestb', 'kortestw', 'kortestd', 'kortestq',
                'ktestb', 'ktestw', 'ktestd', 'ktestq', 'comisd', 'comiss', 'ucomisd', 'ucomiss',
                'vcomisd', 'vcomiss', 'vucomisd', 'vucomiss'}


def compile_rule(text, next_pc):
    text = re.sub(r'\s+(#|<).*$', '', text)
    words = text.split()
    repeat = False
    while words and (words[0] in PREFIXES or words[0].startswith('rep') and len(words) > 1):
        repeat |= words[0].startswith('rep') and words[1] != 'ret'
        words.pop(0)
    name, rest = words[0], ' '.join(words[1:])
    if name in NOTHING or name.startswith('nop'):
        return lambda m, regs: None
    if UNSUPPORTED.search(name):
        raise ValueError('not followed')
    if re.match(r'^(stos|movs|lods|scas|cmps)[bwdq]?$', name) and \
            ('es:[rdi]' in rest or 'ds:[rsi]' in rest):
        return string_rule(name, rest, repeat)
    if repeat and name not in ('ret', 'bsf', 'bsr'):
        raise ValueError('repeated')
    if name[0] == 'j' or name == 'call':
        return jump_rule(name, rest, next_pc)
    ops = [parse_operand(o.strip(), next_pc) for o in split_operands(rest)]
    return (stack_rule(name, ops) or move_rule(name, ops) or integer_rule(name, ops) or
            vector_rule(name, ops))


def jump_rule(name, rest, next_pc):
    target = rest.strip()
    is_direct = re.match(r'^[0-9a-f]+$', target)
    if name not in ('jmp', 'call'):
        if name in ('jrcxz', 'jecxz'):
            flags = (RCX,)
        else:
            flags = CONDITIONS[name[1:]]

        def conditional(m, regs):
            for f in flags:
                if m.r[f]:
                    m.report('branch')
                    return
        return conditional
    operand = None if is_direct else parse_operand(target, next_pc)

    def jump(m, regs):
        if operand and operand.read(m, regs):
            m.report('branch')
        if name == 'call':
            m.store(regs[USER['rsp']] - 8, 8, 0)
    return jump


def string_rule(name, rest, repeat):
    size = SIZES[rest.split(' PTR')[0].split(',')[0]] if 'PTR' in rest else None
    if not size:
        raise ValueError('string operand')

    def string(m, regs):
        r = m.r
        if repeat:
            if r[RCX]:
                m.report('branch')
            if not regs[USER['rcx']]:
                return
        if ('es:[rdi]' in rest and r[RDI]) or ('ds:[rsi]' in rest and r[RSI]):
            m.report('address')
        if name.startswith('stos'):
            m.store(regs[USER['rdi']], size, r[RAX] & FULL[size])
        elif name.startswith('movs'):
            m.store(regs[USER['rdi']], size, m.load(regs[USER['rsi']], size))
        else:
            raise LookupError(f'no rule for {name}')
    return string


def stack_rule(name, ops):
    if name == 'push':
        return lambda m, regs: m.store(regs[USER['rsp']] - 8, 8, ops[0].read(m, regs))
    if name == 'pop':
        return lambda m, regs: ops[0].write(m, regs, m.load(regs[USER['rsp']], 8))
    if name == 'ret':
        def ret(m, regs):
            if m.load(regs[USER['rsp']], 8):
                m.report('branch')
        return ret
    if name == 'leave':
        def leave(m, regs):
            m.r[RSP] = m.r[RBP]
            m.r[RBP] = m.load(regs[USER['rbp']], 8)
        return leave
    return None


def move_rule(name, ops):
    if name == 'lea':
        numbers, size = ops[1].numbers, ops[0].size

        def lea(m, regs):
            ops[0].write(m, regs, spread(any(m.r[n] for n in numbers), size))
        return lea
    if name in ('movsx', 'movsxd') and not ops[0].is_vector():
        dst, src = ops

        def extend(m, regs):
            value = src.read(m, regs)
            if value >> (src.size - 1) & 1:
                value |= FULL[dst.size] & ~FULL[src.size]
            dst.write(m, regs, value)
        return extend
    if name == 'xchg':
        def exchange(m, regs):
            a, b = ops[0].read(m, regs), ops[1].read(m, regs)
            ops[0].write(m, regs, b)
            ops[1].write(m, regs, a)
        return exchange
    if name in MOVES and len(ops) == 2:
        dst, src = ops
        if dst.mask is not None or src.mask is not None:
            return masked_move(dst, src)
        size = 8 if name in ('movq', 'vmovq') else 4 if name in ('movd', 'vmovd') else dst.size
        legacy = dst.is_vector() and name[0] != 'v' and name not in ('movq', 'movd')
        keep = FULL[min(size, dst.size)]
        return lambda m, regs: dst.write(m, regs, src.read(m, regs) & keep, legacy)
    if name in ('vextracti128', 'vextractf128', 'vextracti64x2', 'vextracti32x4', 'vextracti64x4',
                'vextracti32x8') and ops[0].mask is None:
        dst, src, lane = ops
        width = 32 if name.endswith(('64x4', '32x8')) else 16
        return lambda m, regs: dst.write(
            m, regs, src.read(m, regs) >> width * lane.value & FULL[width])
    return None


def masked_move(dst, src):
    k = dst.mask if dst.mask is not None else src.mask

    def move(m, regs):
        if m.r[k] and (dst.is_memory or src.is_memory):
            m.report('address')
        value = src.read(m, regs)
        if not dst.zeroing:
            value |= dst.read(m, regs)
        dst.write(m, regs, FULL[dst.size] if m.r[k] else value)
    return move


def same_register(a, b):
    return isinstance(a, Register) and isinstance(b, Register) and a.name == b.name


def integer_rule(name, ops):
    if ops and any(o.is_vector() for o in ops) and name not in NO_FLAGS:
        return None
    if name in ('cmp', 'test'):
        return lambda m, regs: set_flags(m, ops[0].read(m, regs) | ops[1].read(m, regs))
    if name in ('xor', 'sub') and same_register(*ops):
        def zero(m, regs):
            ops[0].write(m, regs, 0)
            set_flags(m, 0)
        return zero
    if name in BITWISE:
        def bitwise(m, regs):
            value = ops[0].read(m, regs) | ops[1].read(m, regs)
            ops[0].write(m, regs, value)
            set_flags(m, value)
        return bitwise
    if name in ('add', 'sub', 'adc', 'sbb'):
        reads_carry = name in ('adc', 'sbb')
        ignores = name == 'sbb' and same_register(*ops)

        def add(m, regs):
            value = 0 if ignores else ops[0].read(m, regs) | ops[1].read(m, regs)
            value = spread(value or (reads_carry and m.r[C]), ops[0].size)
            ops[0].write(m, regs, value)
            set_flags(m, value)
        return add
    if name in ('adcx', 'adox'):
        flag = C if name == 'adcx' else O

        def add_one_flag(m, regs):
            value = spread(ops[0].read(m, regs) | ops[1].read(m, regs) | m.r[flag], ops[0].size)
            ops[0].write(m, regs, value)
            m.r[flag] = 1 if value else 0
        return add_one_flag
    if name in ('inc', 'dec', 'neg'):
        def count(m, regs):
            value = spread(ops[0].read(m, regs), ops[0].size)
            ops[0].write(m, regs, value)
            m.r[Z] = m.r[O] = 1 if value else 0
            if name == 'neg':
                m.r[C] = 1 if value else 0
        return count
    if name in SHIFTS or name in ROTATES or name in ('rcl', 'rcr'):
        def shift(m, regs):
            value = m.r[C] if name[:2] == 'rc' else 0
            for o in ops:
                value |= o.read(m, regs)
            value = spread(value, ops[0].size)
            ops[0].write(m, regs, value)
            old = m.r[C] | m.r[Z] | m.r[O] if not isinstance(ops[-1], Immediate) else 0
            flag = 1 if value or old else 0
            m.r[C] = m.r[O] = flag
            if name in SHIFTS:
                m.r[Z] = flag
        return shift
    return integer_rule_more(name, ops)


def integer_rule_more(name, ops):
    if name == 'mulx':
        def mulx(m, regs):
            value = spread(m.r[RDX] | ops[2].read(m, regs), ops[0].size)
            ops[0].write(m, regs, value)
            ops[1].write(m, regs, value)
        return mulx
    if name in ('mul', 'imul', 'div', 'idiv') and len(ops) == 1:
        def wide(m, regs):
            value = m.r[RAX] | ops[0].read(m, regs)
            if 'div' in name:
                value |= m.r[RDX]
                if value:
                    m.report('time')
            m.r[RAX] = m.r[RDX] = spread(value, 8)
            set_flags(m, value)
        return wide
    if name == 'imul' or name in SETS_FLAGS_3 or name in SETS_FLAGS_2 or name in NO_FLAGS:
        sources = ops if len(ops) == 1 or name == 'imul' and len(ops) == 2 else ops[1:]
        if name in ('bsf', 'bsr'):
            sources = ops

        def compute(m, regs):
            value = 0
            for o in sources:
                value |= o.read(m, regs)
            value = spread(value, ops[0].size)
            ops[0].write(m, regs, value)
            if name not in NO_FLAGS:
                set_flags(m, value)
        return compute
    if name in ('bt', 'bts', 'btr', 'btc') and not ops[0].is_memory:
        def bit(m, regs):
            value = ops[0].read(m, regs) | ops[1].read(m, regs)
            m.r[C] = 1 if value else 0
            if name != 'bt':
                ops[0].write(m, regs, spread(value, ops[0].size))
        return bit
    if name in ('cdq', 'cqo'):
        def sign(m, regs):
            m.r[RDX] = spread(m.r[RAX], 8)
        return sign
    if name in ('cdqe', 'cwde'):
        def extend(m, regs):
            m.r[RAX] = spread(m.r[RAX], 8)
        return extend
    if name.startswith('set') and name[3:] in CONDITIONS:
        flags = CONDITIONS[name[3:]]
        return lambda m, regs: ops[0].write(m, regs, spread(any(m.r[f] for f in flags), 1))
    if name.startswith('cmov') and name[4:] in CONDITIONS:
        flags = CONDITIONS[name[4:]]

        def select(m, regs):
            value = ops[0].read(m, regs) | ops[1].read(m, regs)
            if any(m.r[f] for f in flags):
                value = FULL[ops[0].size]
            ops[0].write(m, regs, value)
        return select
    return None


def vector_rule(name, ops):
    if name in ('vzeroupper', 'vzeroall'):
        def clear(m, regs):
            for i in range(16, 32):
                m.r[i] = 0 if name == 'vzeroall' else m.r[i] & FULL[16]
        return clear
    is_k = ops and isinstance(ops[0], Register) and ops[0].number in range(48, 56)
    if not ops or not (is_k or any(o.is_vector() for o in ops)):
        raise ValueError('unknown')
    if not re.match(r'^(v|k|p|mov[hl]|mov[sd]|shuf|unpck|punpck|xorp|and|or|add|sub|mul|cvt|pal)',
                    name) and name not in VECTOR_FLAGS and not VARIABLE.match(name):
        raise ValueError('unknown')
    if name in VECTOR_FLAGS:
        return lambda m, regs: set_flags(m, ops[0].read(m, regs) | ops[1].read(m, regs))
    dst = ops[0]
    legacy = name[0] not in 'vk'
    sources = ops[1:] if len(ops) > 1 else ops
    if (legacy and name not in SSE_PURE and not dst.is_memory) or READS_FIRST.match(name):
        sources = ops
    k = dst.mask
    merges = k is not None and not dst.zeroing
    last = [o for o in ops if not isinstance(o, Immediate)][-2:]
    is_zero = re.match(r'^v?p(xor[dq]?|sub[bwdq]|cmpeq[bwdq])$|^v?xorp[sd]$', name) and \
        len(last) == 2 and same_register(*last) and not is_k and k is None or \
        name in ('kxorq', 'kxord', 'kxorw', 'kxorb', 'kxnorq', 'kxnord', 'kxnorw', 'kxnorb') and \
        same_register(ops[1], ops[2])
    is_ones = name.startswith('vpternlog') and ops[-1].value == 0xff and k is None
    if is_zero or is_ones:
        return lambda m, regs: dst.write(m, regs, 0, legacy)
    bitwise = VECTOR_BITWISE.match(name) or name.startswith('vpternlog')
    same_size = all(o.size in (0, dst.size) for o in sources)
    is_variable = VARIABLE.match(name)
    has_memory = any(o.is_memory for o in ops)

    def compute(m, regs):
        value = 0
        for o in sources:
            value |= o.read(m, regs)
        if is_variable and value:
            m.report('time')
        if not (bitwise and same_size):
            value = spread(value, dst.size)
        if k is not None:
            if m.r[k]:
                value = FULL[dst.size]
                if has_memory:
                    m.report('address')
            if merges and not is_k:
                value |= dst.read(m, regs)
        dst.write(m, regs, value, legacy and not dst.is_memory)
    return compute

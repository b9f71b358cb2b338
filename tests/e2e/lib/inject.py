# SPDX-License-Identifier: MPL-2.0
"""Makes one thread of a running process do a system call of our choice, by ptrace(2): what a sandbox
refuses is only seen from inside. x86-64 only."""

import contextlib
import ctypes
import os
import platform
import signal

PTRACE_SINGLESTEP, PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_DETACH = 9, 12, 13, 17
PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
WALL = 0x40000000
NUMBERS = {"openat": 257, "socket": 41, "execve": 59, "getuid": 102, "mprotect": 10, "clone": 56,
           "unlinkat": 263, "connect": 42, "mkdirat": 258, "setuid": 105, "kill": 62}
AT_FDCWD = -100

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long

REGISTERS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp"
             " ss fs_base gs_base ds es fs gs").split()


class Regs(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in REGISTERS]


class Killed(Exception):
    """The process did not survive the call; .args[0] is the signal."""


def supported():
    return platform.machine() == "x86_64"


def threads(pid):
    return sorted(map(int, os.listdir(f"/proc/{pid}/task")))


def ptrace(request, tid, data=None):
    if libc.ptrace(request, tid, None, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request}")


def syscall_instruction(pid):
    """An address in @pid with the instruction `syscall`."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
        for line in maps:
            fields = line.split()
            if fields[1].startswith("r-x") and "libc" in fields[-1]:
                start, end = (int(x, 16) for x in fields[0].split("-"))
                mem.seek(start)
                return start + mem.read(end - start).index(b"\x0f\x05")
    raise RuntimeError("no C library in the process")


def wait_stop(tid):
    _, status = os.waitpid(tid, WALL)
    if os.WIFSIGNALED(status):
        raise Killed(os.WTERMSIG(status))
    if os.WIFEXITED(status):
        raise Killed(0)
    return os.WSTOPSIG(status)


@contextlib.contextmanager
def stopped(tid):
    """The thread stands still, with its registers as they were afterwards."""
    ptrace(PTRACE_SEIZE, tid)
    ptrace(PTRACE_INTERRUPT, tid)
    wait_stop(tid)
    regs = Regs()
    ptrace(PTRACE_GETREGS, tid, ctypes.addressof(regs))
    yield Regs.from_buffer_copy(regs)
    ptrace(PTRACE_SETREGS, tid, ctypes.addressof(regs))
    ptrace(PTRACE_DETACH, tid)


def call(pid, tid, name, *args):
    """The result of the call in thread @tid, -errno for errors. bytes are put on its stack. Raises
    Killed when it was the last one."""
    address = syscall_instruction(pid)
    with stopped(tid) as regs:
        room = (regs.rsp - 16384) & ~0xfff
        values = []
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as mem:
            for arg in args:
                if isinstance(arg, bytes):
                    room -= 256
                    mem.seek(room)
                    mem.write(arg + b"\0")
                    arg = room
                values.append(arg & (2**64 - 1))
        values += [0] * (6 - len(values))
        regs.rip, regs.rax, regs.orig_rax = address, NUMBERS[name], 2**64 - 1
        regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9 = values
        ptrace(PTRACE_SETREGS, tid, ctypes.addressof(regs))
        ptrace(PTRACE_SINGLESTEP, tid)
        while wait_stop(tid) != signal.SIGTRAP:
            ptrace(PTRACE_SINGLESTEP, tid)
        ptrace(PTRACE_GETREGS, tid, ctypes.addressof(regs))
        return regs.rax - 2**64 if regs.rax >= 2**63 else regs.rax

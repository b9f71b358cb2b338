# SPDX-License-Identifier: MPL-2.0
"""Makes a system call fail for a process that is about to be started: hosts without IPv6, kernels
and containers without io_uring. Used as preexec_fn of subprocess.Popen."""

import ctypes
import os
import platform
import struct

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_ALLOW = 0x7FFF0000
LD_W_ABS, JEQ_K, RET_K = 0x20, 0x15, 0x06
OFFSET_NR, OFFSET_ARCH, OFFSET_ARG0 = 0, 4, 16

MACHINES = {  # AUDIT_ARCH_*, system call numbers
    "x86_64": (0xC000003E, {"socket": 41, "io_uring_setup": 425}),
    "aarch64": (0xC00000B7, {"socket": 198, "io_uring_setup": 425}),
}

libc = ctypes.CDLL(None, use_errno=True)


class SockFprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def supported():
    return platform.machine() in MACHINES


def program(syscall, error, arg0):
    """cBPF that answers @syscall (whose first argument is @arg0, if given) with @error."""
    arch, numbers = MACHINES[platform.machine()]
    tests = [(OFFSET_ARCH, arch), (OFFSET_NR, numbers[syscall])]
    if arg0 is not None:
        tests.append((OFFSET_ARG0, arg0))
    code = []
    for i, (offset, value) in enumerate(tests):
        to_allow = 2 * (len(tests) - 1 - i) + 1  # instructions between here and the last one
        code.append((LD_W_ABS, 0, 0, offset))
        code.append((JEQ_K, 0, to_allow, value))
    code.append((RET_K, 0, 0, SECCOMP_RET_ERRNO | error))
    code.append((RET_K, 0, 0, SECCOMP_RET_ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code), len(code)


def deny(syscall, error, arg0=None):
    """A function that denies @syscall to the calling process and its children for ever."""
    code, n = program(syscall, error, arg0)

    def install():
        prog = SockFprog(n, code)
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or \
                libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(prog), 0, 0) != 0:
            os._exit(126)
    return install

#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# qemu_trace.sh QEMU PROGRAM ARGUMENT...: the integer registers before every instruction, to stdout.
set -eu
qemu=$1
shift
exec 3>&1 >/dev/null
# A CPU without SVE: the C library would use it, and taint.py knows only what the kernels do.
exec "$qemu" -cpu cortex-a72 -singlestep -d cpu,nochain -D /dev/fd/3 "$@"

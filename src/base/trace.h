/* SPDX-License-Identifier: MPL-2.0 */
/* Static trace points (USDT) of provider "ringtun", for perf, bpftrace and systemtap: a no-op
 * instruction each until somebody attaches. Nothing at all where sys/sdt.h is missing or the meson
 * option "probes" is off. Never pass a secret. */
#pragma once

#if defined(HAVE_SDT)
#include <sys/sdt.h>
#define TRACE2(name, a, b)    DTRACE_PROBE2(ringtun, name, a, b)
#define TRACE3(name, a, b, c) DTRACE_PROBE3(ringtun, name, a, b, c)
#else
#define TRACE2(name, a, b)    ((void)(a), (void)(b))
#define TRACE3(name, a, b, c) ((void)(a), (void)(b), (void)(c))
#endif

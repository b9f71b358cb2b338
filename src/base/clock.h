/* SPDX-License-Identifier: MPL-2.0 */
/* The two clocks of the protocol. Any thread; both are served by the vDSO. */
#pragma once

#include <stdint.h>
#include <time.h>

#include "base/macro.h"

/* Never steps and goes on while the machine sleeps: a key is as old as it is (P-403). */
static inline uint64_t clock_boottime_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_BOOTTIME, &t); /* can not fail on Linux >= 2.6.39 */
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

/* The time of day, which may step: only for TAI64N stamps and for what users read. */
static inline void clock_realtime(uint64_t *ret_sec, uint32_t *ret_nsec)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	*ret_sec = (uint64_t)t.tv_sec;
	*ret_nsec = (uint32_t)t.tv_nsec;
}

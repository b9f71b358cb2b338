/* SPDX-License-Identifier: MPL-2.0 */
/* What a test and a fault layer share, in a file that both map: the test writes what shall fail, the
 * layer counts. tests/e2e/lib/faults.py knows the same layout. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { FAULT_MAX_SYSCALL = 512, FAULT_NONE = -1, FAULT_ALLOCATION = -2, FAULT_SHORT = 0 };

struct fault_plan {
	/* written by the test; what shall fail is written last */
	_Atomic int32_t what;   /* system call number, or one of the above */
	_Atomic int32_t error;  /* errno.h; FAULT_SHORT = half of what was asked for */
	_Atomic uint32_t skip;  /* calls that succeed before */
	_Atomic uint32_t times; /* calls that fail then; UINT32_MAX = all */
	/* written by the layer */
	_Atomic uint32_t n_failed;
	_Atomic uint32_t has_begun; /* main() runs: what the dynamic loader does is not counted */
	_Atomic uint32_t n_allocations, n_live;
	_Atomic uint32_t n_calls[FAULT_MAX_SYSCALL];
};

/* Takes one failure from the plan; false = the caller shall succeed. Two threads may take the same one:
 * the test counts what failed. */
static inline bool fault_plan_take(struct fault_plan *plan)
{
	uint32_t skip = atomic_load(&plan->skip), times = atomic_load(&plan->times);

	if (skip > 0) {
		atomic_store(&plan->skip, skip - 1);
		return false;
	}
	if (times == 0)
		return false;
	if (times != UINT32_MAX)
		atomic_store(&plan->times, times - 1);
	return true;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Counters of struct io_stats: one writer, so that an addition needs no locked instruction. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

static inline void io_stat_add(_Atomic uint64_t *counter, uint64_t n)
{
	/* relaxed: the readers want numbers, no order */
	uint64_t v = atomic_load_explicit(counter, memory_order_relaxed);
	atomic_store_explicit(counter, v + n, memory_order_relaxed);
}

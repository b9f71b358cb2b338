/* SPDX-License-Identifier: MPL-2.0 */
/* Diffie-Hellman steps that the control thread offers to idle workers: a bounded ring from it to
 * whoever takes next, and a stack of what is done back to it, which needs no room. A job is one step
 * of some 30 to 90 us, so a worker that looks at its packets before each job delays none by more.
 * The control thread takes jobs as well: where nobody idles it does all of them. */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/idle_set.h"
#include "base/macro.h"
#include "noise/handshake.h"

enum { DH_POOL_SLOTS = 128 }; /* a power of two; no more jobs may be under way */

/* Embedded in what the control thread knows of the handshake. Whoever took it owns it. */
struct dh_job {
	struct handshake_dh dh;
	struct dh_job *next; /* on the stack of what is done */
};

/* Zeroed memory is an empty pool. */
struct dh_pool {
	alignas(CACHELINE) struct idle_set idle;  /* workers that sleep */
	alignas(CACHELINE) _Atomic uint32_t tail; /* next slot to offer in; written by control */
	_Atomic(struct dh_job *) slot[DH_POOL_SLOTS];
	alignas(CACHELINE) _Atomic uint32_t head; /* next slot to take from; any thread */
	alignas(CACHELINE) _Atomic(struct dh_job *) done;
};

/* Control thread only; the caller wakes whom it claims from @p->idle. */
void dh_pool_offer(struct dh_pool *p, struct dh_job *job);
/* Jobs that nobody has taken yet. Exact for the control thread as long as nobody takes one. */
uint32_t dh_pool_n_waiting(const struct dh_pool *p);
/* The oldest offer, now the caller's; NULL = none. Any thread. */
struct dh_job *dh_pool_take(struct dh_pool *p);
/* Runs @job, which the caller took, and gives it back. True: nothing lay there, wake the control
 * thread. */
bool dh_pool_run(struct dh_pool *p, struct dh_job *job);
/* All that is done, oldest first, linked by next; NULL = nothing. Control thread only. */
struct dh_job *dh_pool_take_done(struct dh_pool *p);
static inline bool dh_pool_has_done(const struct dh_pool *p)
{
	return atomic_load_explicit(&p->done, memory_order_relaxed) != NULL;
}

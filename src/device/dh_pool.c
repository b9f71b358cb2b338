/* SPDX-License-Identifier: MPL-2.0 */
/* Shared Diffie-Hellman work. Positions only grow, so a taker that lost its race finds the head
 * moved and looks again. */
#include "device/dh_pool.h"

#include <assert.h>
#include <stddef.h>

void dh_pool_offer(struct dh_pool *p, struct dh_job *job)
{
	uint32_t tail = atomic_load_explicit(&p->tail, memory_order_relaxed); /* our own */

	assert(tail - atomic_load_explicit(&p->head, memory_order_relaxed) < DH_POOL_SLOTS);
	atomic_store_explicit(&p->slot[tail % DH_POOL_SLOTS], job, memory_order_relaxed);
	/* seq_cst (and release): pairs with the load in dh_pool_take(), publishes the job; and see
	 * base/idle_set.h */
	atomic_store(&p->tail, tail + 1);
}

uint32_t dh_pool_n_waiting(const struct dh_pool *p)
{
	/* head first: it never passes the tail that is read after it */
	uint32_t head = atomic_load_explicit(&p->head, memory_order_acquire);
	return atomic_load_explicit(&p->tail, memory_order_relaxed) - head;
}

struct dh_job *dh_pool_take(struct dh_pool *p)
{
	uint32_t head = atomic_load_explicit(&p->head, memory_order_acquire);

	for (;;) {
		/* pairs with the store in dh_pool_offer() */
		if (head == atomic_load(&p->tail))
			return NULL;
		/* A stale head may read a slot that was filled again: then the exchange fails. */
		struct dh_job *job =
			atomic_load_explicit(&p->slot[head % DH_POOL_SLOTS], memory_order_relaxed);
		/* acq_rel: a slot is given back to dh_pool_offer() only by who has read it */
		if (atomic_compare_exchange_weak_explicit(
			    &p->head, &head, head + 1, memory_order_acq_rel, memory_order_acquire))
			return job;
	}
}

bool dh_pool_run(struct dh_pool *p, struct dh_job *job)
{
	handshake_dh_run(&job->dh);

	struct dh_job *done = atomic_load_explicit(&p->done, memory_order_relaxed);
	do {
		job->next = done;
		/* release: pairs with acquire in dh_pool_take_done(), publishes the result */
	} while (!atomic_compare_exchange_weak_explicit(&p->done, &done, job, memory_order_release,
							memory_order_relaxed));
	return done == NULL;
}

struct dh_job *dh_pool_take_done(struct dh_pool *p)
{
	struct dh_job *oldest = NULL;

	if (!dh_pool_has_done(p))
		return NULL;
	/* pairs with release in dh_pool_run() */
	struct dh_job *newest = atomic_exchange_explicit(&p->done, NULL, memory_order_acquire);
	while (newest) {
		struct dh_job *next = newest->next;
		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	return oldest;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Lock-free hand-over of pointers from one producer thread to one consumer thread. Never blocks,
 * never allocates, never wakes anybody: who may sleep needs an eventfd besides. */
#pragma once

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/macro.h"

struct spsc_ring {
	alignas(CACHELINE) _Atomic uint32_t tail; /* written by the producer */
	uint32_t head_seen;                       /* producer's stale copy of head */
	alignas(CACHELINE) _Atomic uint32_t head; /* written by the consumer */
	uint32_t tail_seen;                       /* consumer's stale copy of tail */
	alignas(CACHELINE) uint32_t mask;         /* constant after init */
	void **slot;                              /* likewise; the caller's memory */
};

/* Makes an empty ring over @n_slots pointers of the caller, a power of two up to 2^31. They must
 * outlive the ring; there is nothing to finish. Before either thread uses it. */
static inline void spsc_ring_init(struct spsc_ring *r, void **slot, uint32_t n_slots)
{
	assert(n_slots && !(n_slots & (n_slots - 1)));

	atomic_init(&r->tail, 0);
	atomic_init(&r->head, 0);
	r->head_seen = 0;
	r->tail_seen = 0;
	r->mask = n_slots - 1;
	r->slot = slot;
}

/* Pushes up to @n items in order; returns how many fit. Producer only. */
static inline uint32_t spsc_ring_push_burst(struct spsc_ring *r, void *const *item, uint32_t n)
{
	uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed); /* our own */
	uint32_t room = r->mask + 1 - (tail - r->head_seen);

	if (room < n) { /* pairs with release in pop: slots it gave back may be overwritten */
		r->head_seen = atomic_load_explicit(&r->head, memory_order_acquire);
		room = r->mask + 1 - (tail - r->head_seen);
		n = MIN(n, room);
	}
	for (uint32_t i = 0; i < n; i++)
		r->slot[(tail + i) & r->mask] = item[i];
	/* pairs with acquire in pop: publishes the slots above, and what they point to */
	atomic_store_explicit(&r->tail, tail + n, memory_order_release);
	return n;
}

/* Takes up to @n items in order; returns how many there were. Consumer only. */
static inline uint32_t spsc_ring_pop_burst(struct spsc_ring *r, void **item, uint32_t n)
{
	uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed); /* our own */
	uint32_t n_ready = r->tail_seen - head;

	if (n_ready < n) { /* pairs with release in push: the slots are written */
		r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
		n_ready = r->tail_seen - head;
		n = MIN(n, n_ready);
	}
	for (uint32_t i = 0; i < n; i++)
		item[i] = r->slot[(head + i) & r->mask];
	/* pairs with acquire in push: we have read the slots, they may be reused */
	atomic_store_explicit(&r->head, head + n, memory_order_release);
	return n;
}

/* False when the ring is full. Producer only. */
MUST_CHECK static inline bool spsc_ring_push(struct spsc_ring *r, void *item)
{
	return spsc_ring_push_burst(r, &item, 1) == 1;
}

/* NULL when the ring is empty. Consumer only. */
static inline void *spsc_ring_pop(struct spsc_ring *r)
{
	void *item;

	return spsc_ring_pop_burst(r, &item, 1) ? item : NULL;
}

/* How many items lie in the ring: exact for a caller that is both sides, else a moment's value that
 * the other side may already have changed (in its own direction only). Any thread. */
static inline uint32_t spsc_ring_count(const struct spsc_ring *r)
{
	/* head first: the tail read after it is never behind, so the difference is never negative;
	 * from a third thread it may exceed the size by what moved in between. */
	uint32_t head = atomic_load_explicit(&r->head, memory_order_acquire);
	uint32_t n = atomic_load_explicit(&r->tail, memory_order_acquire) - head;

	return MIN(n, r->mask + 1);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Handing pointers from one thread to another, as workers do. Both spin: what is measured is the
 * ring and the two cores' caches, not the scheduler. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/spsc_ring.h"
#include "micro.h"

enum {
	N_SLOTS = 1024,
	N_ITEMS = 32768, /* of a burst */
	N_TRIPS = 256,
	MAX_TAKE = 64,
	SPINS = 1000, /* before giving the CPU away: there may be only one */
};

struct handover {
	struct spsc_ring there, back;
	void *slot[2][N_SLOTS];
	_Atomic bool is_echo; /* the other thread sends each item back */
	_Atomic bool is_over;
	_Atomic uint64_t n_taken;
	uint32_t n_at_once;
	pthread_t thread;
};

static void wait_a_little(unsigned *spins)
{
	if (++*spins % SPINS == 0)
		(void)sched_yield();
#if defined(__x86_64__)
	else
		__builtin_ia32_pause();
#endif
}

static void *consume(void *ctx)
{
	struct handover *h = ctx;
	void *item[MAX_TAKE];
	unsigned spins = 0;

	while (!atomic_load_explicit(&h->is_over, memory_order_relaxed)) {
		uint32_t n = spsc_ring_pop_burst(&h->there, item, MAX_TAKE);
		if (!n) {
			wait_a_little(&spins);
		} else if (atomic_load_explicit(&h->is_echo, memory_order_relaxed)) {
			micro_must(spsc_ring_push_burst(&h->back, item, n) == n,
				   "the ring is full");
		} else {
			/* pairs with the acquire in push_all(): the ring is empty when all are counted */
			atomic_fetch_add_explicit(&h->n_taken, n, memory_order_release);
		}
	}
	return NULL;
}

/* Pushes N_ITEMS and waits until the other side has them. */
static void push_all(void *ctx)
{
	struct handover *h = ctx;
	uint64_t end = atomic_load_explicit(&h->n_taken, memory_order_relaxed) + N_ITEMS;
	void *item[MAX_TAKE];
	unsigned spins = 0;

	for (unsigned i = 0; i < MAX_TAKE; i++)
		item[i] = h;
	for (uint32_t left = N_ITEMS; left;) {
		uint32_t n = spsc_ring_push_burst(&h->there, item, MIN(left, h->n_at_once));
		left -= n;
		if (!n)
			wait_a_little(&spins);
	}
	while (atomic_load_explicit(&h->n_taken, memory_order_acquire) != end)
		wait_a_little(&spins);
}

static void go_there_and_back(void *ctx)
{
	struct handover *h = ctx;
	unsigned spins = 0;

	for (unsigned i = 0; i < N_TRIPS; i++) {
		micro_must(spsc_ring_push(&h->there, h), "the ring is full");
		while (!spsc_ring_pop(&h->back))
			wait_a_little(&spins);
	}
}

static void run_pushes(struct micro *m, struct handover *h)
{
	static const uint32_t at_once[] = { 1, 8, 32 };

	for (unsigned i = 0; i < ARRAY_SIZE(at_once); i++) {
		char name[32], label[64];

		h->n_at_once = at_once[i];
		(void)snprintf(name, sizeof(name), "ring-push-%u", at_once[i]);
		(void)snprintf(label, sizeof(label), "from thread to thread, %u at once",
			       at_once[i]);
		micro_run(m, &(struct micro_case){ .name = name,
						   .group = "ring hand-over",
						   .label = label,
						   .op = "item",
						   .n_ops = N_ITEMS,
						   .burst = push_all,
						   .ctx = h,
						   .has_two_threads = true,
						   .parameter = "at_once",
						   .parameter_value = at_once[i] });
	}
}

void micro_ring(struct micro *m)
{
	if (!micro_is_wanted(m, "ring-"))
		return;
	struct handover *h = micro_alloc(sizeof(*h));
	spsc_ring_init(&h->there, h->slot[0], N_SLOTS);
	spsc_ring_init(&h->back, h->slot[1], N_SLOTS);
	micro_must(pthread_create(&h->thread, NULL, consume, h) == 0, "no thread");
	run_pushes(m, h);
	atomic_store(&h->is_echo, true);
	micro_run(m, &(struct micro_case){ .name = "ring-round-trip",
					   .group = "ring hand-over",
					   .label = "to another thread and back, one alone",
					   .op = "trip",
					   .n_ops = N_TRIPS,
					   .burst = go_there_and_back,
					   .ctx = h,
					   .has_two_threads = true });
	atomic_store(&h->is_over, true);
	(void)pthread_join(h->thread, NULL);
	free(h);
}

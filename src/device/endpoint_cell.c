/* SPDX-License-Identifier: MPL-2.0 */
/* Endpoint shared by sequence lock. */
#include "device/endpoint_cell.h"

#include <sched.h>

void endpoint_cell_init(struct endpoint_cell *c)
{
	atomic_init(&c->seq, 0);
	for (unsigned i = 0; i < ENDPOINT_WORDS; i++)
		atomic_init(&c->word[i], 0);
}

/* Reads the words between two equal even sequence numbers. */
void endpoint_cell_get(const struct endpoint_cell *c, struct endpoint *ret)
{
	uint64_t w[ENDPOINT_WORDS];

	for (unsigned spins = 0;; spins++) {
		/* pairs with release in unlock(): an even number shows its writer's words */
		uint32_t seq = atomic_load_explicit(&c->seq, memory_order_acquire);
		/* acquire: the words are read before the second look at seq, and whoever sees a
		 * new word sees the odd number that went before it (release in store()) */
		for (unsigned i = 0; i < ENDPOINT_WORDS; i++)
			w[i] = atomic_load_explicit(&c->word[i], memory_order_acquire);
		if (!(seq & 1) && atomic_load_explicit(&c->seq, memory_order_relaxed) == seq)
			break;
		if (spins > 100) /* the writer lost its core */
			(void)sched_yield();
	}
	memcpy(ret, w, sizeof(*ret));
}

static uint32_t lock(struct endpoint_cell *c)
{
	for (unsigned spins = 0;; spins++) {
		uint32_t seq = atomic_load_explicit(&c->seq, memory_order_relaxed);
		/* pairs with release in unlock() of the writer before */
		if (!(seq & 1) && atomic_compare_exchange_weak_explicit(&c->seq, &seq, seq + 1,
									memory_order_acquire,
									memory_order_relaxed))
			return seq;
		if (spins > 100)
			(void)sched_yield();
	}
}

static void unlock(struct endpoint_cell *c, uint32_t seq)
{
	/* pairs with acquire in endpoint_cell_get() and lock() */
	atomic_store_explicit(&c->seq, seq + 2, memory_order_release);
}

static void store(struct endpoint_cell *c, const struct endpoint *e)
{
	uint64_t w[ENDPOINT_WORDS];

	memcpy(w, e, sizeof(w));
	for (unsigned i = 0; i < ENDPOINT_WORDS; i++)
		/* pairs with the word loads of endpoint_cell_get() */
		atomic_store_explicit(&c->word[i], w[i], memory_order_release);
}

static void load_locked(const struct endpoint_cell *c, struct endpoint *ret)
{
	uint64_t w[ENDPOINT_WORDS];

	for (unsigned i = 0; i < ENDPOINT_WORDS; i++)
		w[i] = atomic_load_explicit(&c->word[i], memory_order_relaxed);
	memcpy(ret, w, sizeof(*ret));
}

void endpoint_cell_set(struct endpoint_cell *c, const struct endpoint *e)
{
	uint32_t seq = lock(c);
	store(c, e);
	unlock(c, seq);
}

bool endpoint_cell_update(struct endpoint_cell *c, const struct endpoint *e)
{
	struct endpoint now;

	endpoint_cell_get(c, &now);
	if (endpoint_equal(&now, e))
		return false;
	endpoint_cell_set(c, e);
	return true;
}

void endpoint_cell_clear_source(struct endpoint_cell *c, const struct endpoint *seen)
{
	struct endpoint now;
	uint32_t seq = lock(c);

	load_locked(c, &now);
	if (memcmp(&now.from, &seen->from, sizeof(now.from)) == 0) {
		endpoint_clear_source(&now);
		store(c, &now);
	}
	unlock(c, seq);
}

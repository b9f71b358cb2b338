/* SPDX-License-Identifier: MPL-2.0 */
/* Shared cipher work. The queue gives each slot a turn number: equal to a producer's position when
 * the slot is free for it, one more when it is filled for the consumer of that position. */
#include "datapath/crypto_pool.h"

#include <sched.h>

void crypto_pool_init(struct crypto_pool *p)
{
	idle_cores_init(&p->cores);
	p->idle = (struct idle_set){ 0 };
	atomic_init(&p->tail, 0);
	atomic_init(&p->head, 0);
	for (uint32_t i = 0; i < CRYPTO_POOL_SLOTS; i++)
		atomic_init(&p->slot[i].turn, i);
}

void crypto_pool_finish(struct crypto_pool *p)
{
	idle_cores_close(&p->cores);
}

void crypto_batch_run(struct crypto_batch *b)
{
	if (b->seal)
		b->aead->seal_burst(b->seal, b->n);
	else
		b->aead->open_burst(b->open, b->n);
	/* release: pairs with acquire in crypto_pool_wait(), the results go first */
	atomic_store_explicit(&b->is_done, true, memory_order_release);
}

bool crypto_pool_offer(struct crypto_pool *p, struct crypto_batch *b)
{
	uint32_t pos = atomic_load_explicit(&p->tail, memory_order_relaxed);

	atomic_store_explicit(&b->is_done, false, memory_order_relaxed);
	for (;;) {
		struct crypto_slot *s = &p->slot[pos % CRYPTO_POOL_SLOTS];
		/* pairs with release in crypto_pool_serve(): the slot was emptied */
		int32_t ahead =
			(int32_t)(atomic_load_explicit(&s->turn, memory_order_acquire) - pos);
		if (ahead < 0)
			return false; /* a whole round behind: full */
		if (ahead > 0) {
			pos = atomic_load_explicit(&p->tail, memory_order_relaxed);
			continue;
		}
		if (!atomic_compare_exchange_weak_explicit(
			    &p->tail, &pos, pos + 1, memory_order_relaxed, memory_order_relaxed))
			continue;
		s->batch = b;
		/* seq_cst (and release): pairs with acquire in crypto_pool_serve(); and see
		 * base/idle_set.h */
		atomic_store(&s->turn, pos + 1);
		return true;
	}
}

static struct crypto_batch *take(struct crypto_pool *p)
{
	uint32_t pos = atomic_load_explicit(&p->head, memory_order_relaxed);

	for (;;) {
		struct crypto_slot *s = &p->slot[pos % CRYPTO_POOL_SLOTS];
		/* pairs with the store of turn in crypto_pool_offer() */
		int32_t ahead = (int32_t)(atomic_load(&s->turn) - (pos + 1));
		if (ahead < 0)
			return NULL; /* not filled yet: empty */
		if (ahead > 0) {
			pos = atomic_load_explicit(&p->head, memory_order_relaxed);
			continue;
		}
		if (!atomic_compare_exchange_weak_explicit(
			    &p->head, &pos, pos + 1, memory_order_relaxed, memory_order_relaxed))
			continue;
		struct crypto_batch *b = s->batch;
		/* release: pairs with acquire in crypto_pool_offer() one round later */
		atomic_store_explicit(&s->turn, pos + CRYPTO_POOL_SLOTS, memory_order_release);
		return b;
	}
}

bool crypto_pool_serve(struct crypto_pool *p)
{
	struct crypto_batch *b = take(p);

	if (!b)
		return false;
	crypto_batch_run(b);
	return true;
}

void crypto_pool_wait(struct crypto_pool *p, struct crypto_batch *b)
{
	/* Whoever took it is running it right now: there is work to share, or a moment to wait. */
	for (unsigned spins = 0; !atomic_load_explicit(&b->is_done, memory_order_acquire);
	     spins++) {
		if (crypto_pool_serve(p))
			continue;
		if (spins > 1000) /* it lost its core */
			(void)sched_yield();
	}
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Cipher work that a worker with a backlog offers to idle ones, in whole batches: a bounded lock-free
 * queue of many producers and many consumers, and a set of who sleeps. Jobs are independent of each
 * other, so order is the owner's business: it waits for its batches before it uses the results.
 * Where nobody sleeps, or no core idles, nothing is offered, and a busy worker pays three loads per
 * batch. */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/idle_set.h"
#include "base/macro.h"
#include "crypto/aead.h"
#include "datapath/idle_cores.h"

enum {
	CRYPTO_POOL_SLOTS = 256, /* batches on offer; a power of two */
};

/* One offer; owner: who offers, until is_done. */
struct crypto_batch {
	const struct aead_impl *aead;
	const struct aead_seal_job *seal; /* one of the two */
	struct aead_open_job *open;
	uint32_t n;
	_Atomic bool is_done;
};

struct crypto_slot {
	_Atomic uint32_t turn; /* whose turn: see offer() and take() */
	struct crypto_batch *batch;
};

struct crypto_pool {
	struct idle_cores cores;                  /* whether it is worth while */
	alignas(CACHELINE) struct idle_set idle;  /* workers that sleep */
	alignas(CACHELINE) _Atomic uint32_t tail; /* next slot to offer in */
	alignas(CACHELINE) _Atomic uint32_t head; /* next slot to take from */
	alignas(CACHELINE) struct crypto_slot slot[CRYPTO_POOL_SLOTS];
};

void crypto_pool_init(struct crypto_pool *p);
void crypto_pool_finish(struct crypto_pool *p);

/* Runs the batch's jobs here and now. */
void crypto_batch_run(struct crypto_batch *b);

/* Offers @b. False: the queue is full, run it yourself. Any worker. */
MUST_CHECK bool crypto_pool_offer(struct crypto_pool *p, struct crypto_batch *b);
/* Takes one batch of anybody's and runs it; false = there was none. Any worker. */
bool crypto_pool_serve(struct crypto_pool *p);
/* Serves until @b is done, whoever runs it. Owner of @b only. */
void crypto_pool_wait(struct crypto_pool *p, struct crypto_batch *b);

/* SPDX-License-Identifier: MPL-2.0 */
/* Jobs through the ring and back over the stack. Threads against each other: tests/stress. */
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "crypto/secret.h"
#include "crypto/x25519.h"
#include "device/dh_pool.h"

static struct dh_pool pool;
static struct dh_job job[DH_POOL_SLOTS];

static void init(void)
{
	cr_assert(eq(int, crypto_init(), 0));
	for (uint32_t i = 0; i < DH_POOL_SLOTS; i++) {
		job[i].dh.step = DH_OPEN;
		memset(job[i].dh.private_key, (int)i + 1, 32);
		job[i].dh.remote_key[0][0] = 9;
	}
}

TestSuite(dh_pool, .init = init);

Test(dh_pool, first_offered_is_first_taken_however_often_it_goes_round)
{
	cr_assert(dh_pool_take(&pool) == NULL);
	for (uint32_t round = 0; round < 5; round++) {
		for (uint32_t i = 0; i < DH_POOL_SLOTS - round; i++)
			dh_pool_offer(&pool, &job[i]);
		cr_assert(eq(u32, dh_pool_n_waiting(&pool), DH_POOL_SLOTS - round));
		for (uint32_t i = 0; i < DH_POOL_SLOTS - round; i++)
			cr_assert(eq(ptr, dh_pool_take(&pool), &job[i]));
		cr_assert(dh_pool_take(&pool) == NULL);
		cr_assert(eq(u32, dh_pool_n_waiting(&pool), 0));
	}
}

Test(dh_pool, result_comes_back_in_order_and_wakes_once)
{
	for (uint32_t round = 0; round < 2; round++) {
		cr_assert(dh_pool_take_done(&pool) == NULL);
		for (uint32_t i = 0; i < 5; i++)
			cr_assert(eq(int, dh_pool_run(&pool, &job[i]), i == 0));
		struct dh_job *done = dh_pool_take_done(&pool);
		for (uint32_t i = 0; i < 5; i++, done = done->next)
			cr_assert(eq(ptr, done, &job[i]));
		cr_assert(done == NULL);
		cr_assert(not(dh_pool_has_done(&pool)));
	}
}

Test(dh_pool, steps_compute_what_they_say)
{
	uint8_t want[32];
	struct handshake_dh *dh = &job[0].dh;

	(void)dh_pool_run(&pool, &job[0]);
	cr_assert(x25519(want, dh->private_key, dh->remote_key[0]));
	cr_assert(dh->ok && memcmp(dh->shared[0], want, 32) == 0);

	dh->step = DH_RESPOND;
	memset(dh->remote_key[1], 5, 32);
	(void)dh_pool_run(&pool, &job[0]);
	cr_assert(x25519(want, dh->private_key, dh->remote_key[1]));
	cr_assert(dh->ok && memcmp(dh->shared[1], want, 32) == 0);
	x25519_public(want, dh->private_key);
	cr_assert(memcmp(dh->public_key, want, 32) == 0);

	for (unsigned i = 0; i < 2; i++) { /* either of the two may be of low order (P-022) */
		memset(dh->remote_key, 5, sizeof(dh->remote_key));
		memset(dh->remote_key[i], 0, 32);
		(void)dh_pool_run(&pool, &job[0]);
		cr_assert(not(dh->ok));
	}
	dh->step = DH_STATIC;
	memset(dh->remote_key[0], 0, 32);
	(void)dh_pool_run(&pool, &job[0]);
	cr_assert(not(dh->ok));
}

/* SPDX-License-Identifier: MPL-2.0 */
/* The worker besides tx and rx: sockets that change, jitter, the confirmation of a session, and
 * cipher work shared between workers. */
#include <string.h>

#include "base/bytes.h"
#include "datapath/crypto_pool.h"
#include "fixture.h"

static struct fixture f;

static void init(void)
{
	fixture_init(&f, 1, false);
}

static void fini(void)
{
	fixture_finish(&f);
}

TestSuite(worker, .init = init, .fini = fini);

Test(worker, nothing_to_do)
{
	cr_assert(eq(u32, worker_step(f.worker[0], NOW_NS), 0));
	cr_assert(eq(u32, f.n_control_woken, 0));
	cr_assert(eq(u32, f.io[0].n_send_calls, 0));
}

Test(worker, applies_new_sockets_once_and_says_so)
{
	cr_assert(worker_has_applied(f.worker[0]));
	worker_set_sockets(f.worker[0], 5, 6);
	cr_assert(eq(u32, f.n_worker_woken[0], 1));
	cr_assert(not(worker_has_applied(f.worker[0])));
	(void)worker_step(f.worker[0], NOW_NS);
	cr_assert(worker_has_applied(f.worker[0]));
	cr_assert(eq(u32, f.n_control_woken, 1));
	(void)worker_step(f.worker[0], NOW_NS);
	cr_assert(eq(u32, f.n_control_woken, 1));
}

Test(worker, p008_jitter_is_within_bounds_and_spread)
{
	uint64_t max = 0, min = UINT64_MAX, sum = 0;

	for (unsigned i = 0; i < 10000; i++) {
		uint64_t j = worker_jitter_ns(f.worker[0]);
		min = MIN(min, j);
		max = MAX(max, j);
		sum += j;
	}
	cr_assert(le(u64, max, 333 * NSEC_PER_MSEC));
	cr_assert(gt(u64, max, 330 * NSEC_PER_MSEC));
	cr_assert(lt(u64, min, 3 * NSEC_PER_MSEC));
	cr_assert(gt(u64, sum / 10000, 150 * NSEC_PER_MSEC));
	cr_assert(lt(u64, sum / 10000, 183 * NSEC_PER_MSEC));
}

static uint8_t datagram[64];

static void receive_keepalive(uint64_t counter)
{
	uint32_t n = fixture_seal(&f, counter, NULL, 0, datagram);
	fixture_queue_datagram(&f, 0, datagram, n, n, 0);
	(void)worker_step(f.worker[0], NOW_NS);
}

static uint32_t reasons(void)
{
	return atomic_load(&f.peer->attention.reasons);
}

Test(worker, p173_reports_the_first_message_only)
{
	atomic_store(&f.session->keypair.is_unconfirmed, true);
	receive_keepalive(1);
	cr_assert(ne(u32, reasons() & ATTENTION_CONFIRMED, 0));
	cr_assert(eq(u32, f.n_control_woken, 1));
	for (struct attention_link *l = attention_pop_all(&f.device.attention); l; l = l->next)
		(void)attention_take(l);
	receive_keepalive(2);
	cr_assert(eq(u32, reasons() & ATTENTION_CONFIRMED, 0));
}

Test(worker, p143_damaged_message_confirms_nothing)
{
	atomic_store(&f.session->keypair.is_unconfirmed, true);
	uint32_t n = fixture_seal(&f, 1, NULL, 0, datagram);
	datagram[20] ^= 1;
	fixture_queue_datagram(&f, 0, datagram, n, n, 0);
	(void)worker_step(f.worker[0], NOW_NS);
	cr_assert(eq(u32, reasons(), 0));
	cr_assert(atomic_load(&f.session->keypair.is_unconfirmed));
}

Test(worker, p226_last_minute_rekey_is_reported_once)
{
	f.session->keypair.birth_ns = NOW_NS - 165 * NSEC_PER_SEC;
	receive_keepalive(1);
	cr_assert(ne(u32, reasons() & ATTENTION_REKEY_RECEIVED, 0));
	for (struct attention_link *l = attention_pop_all(&f.device.attention); l; l = l->next)
		(void)attention_take(l);
	receive_keepalive(2);
	cr_assert(eq(u32, reasons() & ATTENTION_REKEY_RECEIVED, 0));
}

/* A second session of the peer, as a responder has it before the first message. */
static struct session *add_next(void)
{
	struct session_keys keys = { .local_index = 0x55667788, .remote_index = 5 };

	memcpy(keys.sending, f.sending_key, 32);
	memcpy(keys.receiving, f.receiving_key, 32);
	struct session *s = session_create(&f.device.session_pool, f.peer, &keys, NOW_NS);
	cr_assert(index_table_insert(&f.device.indices, &s->entry));
	atomic_store(&f.peer->promotable, s);
	return s;
}

static void receive_on(struct session *s)
{
	struct session *first = f.session;

	f.session = s;
	receive_keepalive(1);
	f.session = first;
}

Test(worker, p173_confirmed_session_is_in_force_at_once)
{
	struct session *next = add_next();

	receive_on(next);
	cr_assert(eq(ptr, rcu_peek(&f.peer->current), next));
	cr_assert(atomic_load(&f.peer->promotable) == NULL);
	cr_assert(ne(u32, reasons() & ATTENTION_CONFIRMED, 0));
	session_retire(next, &f.device.indices);
}

Test(worker, p242_without_a_usable_session_it_waits_for_the_staged_packets)
{
	struct session *next = add_next();

	rcu_publish(&f.peer->current, NULL);
	receive_on(next);
	cr_assert(rcu_peek(&f.peer->current) == NULL);
	cr_assert(eq(ptr, atomic_load(&f.peer->promotable), next));
	cr_assert(ne(u32, reasons() & ATTENTION_CONFIRMED, 0));
	session_retire(next, &f.device.indices);
}

Test(worker, p174_withdrawn_session_is_not_made_current)
{
	struct session *next = add_next();

	atomic_store(&f.peer->promotable, NULL);
	receive_on(next);
	cr_assert(eq(ptr, rcu_peek(&f.peer->current), f.session));
	session_retire(next, &f.device.indices);
}

/* --- the pool --- */

enum { N_BATCHES = CRYPTO_POOL_SLOTS + 10, N_JOBS = 4 };

static struct crypto_pool pool;
static struct crypto_batch batch[N_BATCHES];
static uint8_t out[N_BATCHES][N_JOBS][32];
static struct aead_seal_job job[N_BATCHES][N_JOBS];

static void make_batch(uint32_t b)
{
	for (uint32_t i = 0; i < N_JOBS; i++)
		job[b][i] = (struct aead_seal_job){ .key = f.sending_key,
						    .counter = b * N_JOBS + i,
						    .out = out[b][i] };
	batch[b] = (struct crypto_batch){ .aead = aead_select(0), .seal = job[b], .n = N_JOBS };
}

/* The tag of nothing, as the cipher itself makes it. */
static bool is_done(uint32_t b)
{
	for (uint32_t i = 0; i < N_JOBS; i++) {
		uint8_t tag[16];
		struct aead_seal_job j = job[b][i];
		j.out = tag;
		aead_select(0)->seal_burst(&j, 1);
		if (memcmp(tag, out[b][i], 16) != 0)
			return false;
	}
	return atomic_load(&batch[b].is_done);
}

Test(worker, pool_refuses_when_full_and_serves_in_order)
{
	crypto_pool_init(&pool);
	cr_assert(not(crypto_pool_serve(&pool)));
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t b = 0; b < N_BATCHES; b++) {
			make_batch(b);
			bool ok = crypto_pool_offer(&pool, &batch[b]);
			cr_assert(eq(int, ok, b < CRYPTO_POOL_SLOTS));
		}
		for (uint32_t b = 0; b < CRYPTO_POOL_SLOTS; b++) {
			cr_assert(not(atomic_load(&batch[b].is_done)));
			cr_assert(crypto_pool_serve(&pool));
			cr_assert(is_done(b));
		}
		cr_assert(not(crypto_pool_serve(&pool)));
		memset(out, 0, sizeof(out));
	}
}

Test(worker, pool_owner_does_the_work_itself_if_nobody_else_does)
{
	crypto_pool_init(&pool);
	for (uint32_t b = 0; b < 5; b++) {
		make_batch(b);
		cr_assert(crypto_pool_offer(&pool, &batch[b]));
	}
	crypto_pool_wait(&pool, &batch[3]);
	for (uint32_t b = 0; b <= 3; b++)
		cr_assert(is_done(b));
	crypto_pool_wait(&pool, &batch[4]);
	cr_assert(is_done(4));
}

Test(worker, pool_knows_who_is_idle)
{
	crypto_pool_init(&pool);
	cr_assert(not(idle_set_has_any(&pool.idle)));
	cr_assert(eq(int, idle_set_claim(&pool.idle), -1));
	idle_set_add(&pool.idle, 0);
	idle_set_add(&pool.idle, 63);
	idle_set_add(&pool.idle, 64);
	idle_set_add(&pool.idle, 255);
	idle_set_remove(&pool.idle, 63);
	cr_assert(idle_set_has_any(&pool.idle));
	uint32_t seen = 0;
	for (int w; (w = idle_set_claim(&pool.idle)) >= 0;)
		seen += (uint32_t)w;
	cr_assert(eq(u32, seen, 0 + 64 + 255));
	cr_assert(not(idle_set_has_any(&pool.idle)));
}

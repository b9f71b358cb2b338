/* SPDX-License-Identifier: MPL-2.0 */
/* A session's way from the pool into the table and back. */
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "device/session.h"

static struct secret_pool pool;
static struct index_table table;
static struct peer *const peer = (struct peer *)&pool; /* never followed */
static struct session_keys keys = { .local_index = 11, .remote_index = 22 };

static void init(void)
{
	rcu_thread_register();
	cr_assert(eq(int, crypto_init(), 0));
	cr_assert(eq(int, secret_pool_init(&pool, sizeof(struct session), CACHELINE, 2), 0));
	cr_assert(eq(int, index_table_init(&table), 0));
}

static void fini(void)
{
	rcu_flush();
	cr_assert(eq(sz, pool.n_in_use, 0));
	index_table_finish(&table);
	secret_pool_finish(&pool);
	rcu_thread_unregister();
}

TestSuite(session, .init = init, .fini = fini);

Test(session, is_made_but_not_entered)
{
	struct session *s = session_create(&pool, peer, &keys, 5);

	cr_assert(eq(u32, s->entry.index, 11));
	cr_assert(eq(ptr, s->entry.peer, peer));
	cr_assert(eq(ptr, s->entry.session, s));
	cr_assert(eq(u64, s->keypair.birth_ns, 5));
	cr_assert(index_table_lookup(&table, 11) == NULL);
	secret_pool_put(&pool, s);
}

Test(session, out_of_memory)
{
	struct session *a = session_create(&pool, peer, &keys, 5);
	struct session *b = session_create(&pool, peer, &keys, 5);

	cr_assert(a != NULL && b != NULL);
	cr_assert(session_create(&pool, peer, &keys, 5) == NULL);
	secret_pool_put(&pool, a);
	secret_pool_put(&pool, b);
}

Test(session, p093_p177_retired_leaves_the_table_at_once_and_is_wiped_later)
{
	static const uint8_t zero[32];

	memset(keys.receiving, 0x55, sizeof(keys.receiving));
	struct session *s = session_create(&pool, peer, &keys, 5);
	cr_assert(index_table_insert(&table, &s->entry));
	cr_assert(eq(ptr, index_table_lookup(&table, 11)->session, s));
	session_retire(s, &table);
	cr_assert(index_table_lookup(&table, 11) == NULL);
	cr_assert(not(keypair_may_send(&s->keypair, 5)));     /* who holds it starts nothing new */
	cr_assert(eq(u8, s->keypair.receiving_key[0], 0x55)); /* but may finish: we are online */
	rcu_flush();
	cr_assert(memcmp(s->keypair.receiving_key, zero, sizeof(zero)) == 0);
	session_retire(NULL, &table);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Sessions. */
#include "device/session.h"

struct session *session_create(struct secret_pool *pool, struct peer *peer,
			       const struct session_keys *keys, uint64_t now_ns)
{
	struct session *s = secret_pool_get(pool);
	if (!s)
		return NULL;
	keypair_init(&s->keypair, keys, now_ns);
	s->entry.index = keys->local_index;
	s->entry.peer = peer;
	s->entry.session = s;
	s->pool = pool;
	return s;
}

static void free_session(struct rcu_item *item)
{
	struct session *s = container_of(item, struct session, entry.rcu);
	secret_pool_put(s->pool, s); /* wipes */
}

void session_retire(struct session *s, struct index_table *table)
{
	if (!s)
		return;
	/* Workers that still hold it may finish their burst, but start nothing new on it. */
	atomic_store_explicit(&s->keypair.send_disabled, true, memory_order_relaxed);
	index_table_remove(table, &s->entry);
	rcu_defer(&s->entry.rcu, free_session);
}

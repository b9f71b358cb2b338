/* SPDX-License-Identifier: MPL-2.0 */
/* Index table. */
#include "device/index_table.h"

#include <errno.h>
#include <urcu-qsbr.h>

#include "base/tsan.h"

enum { INITIAL_BUCKETS = 256 };

int index_table_init(struct index_table *t)
{
	t->ht = cds_lfht_new_flavor(INITIAL_BUCKETS, INITIAL_BUCKETS, 0,
				    CDS_LFHT_AUTO_RESIZE | CDS_LFHT_ACCOUNTING, &urcu_qsbr_flavor,
				    NULL);
	return t->ht ? 0 : -ENOMEM;
}

void index_table_finish(struct index_table *t)
{
	TSAN_IGNORE_BEGIN(); /* the table's own thread frees what is allocated here, and below */
	if (t->ht)
		(void)cds_lfht_destroy(t->ht, NULL);
	TSAN_IGNORE_END();
	t->ht = NULL;
}

static int match(struct cds_lfht_node *node, const void *key)
{
	const struct index_entry *e = container_of(node, struct index_entry, node);
	TSAN_ACQUIRE(e); /* pairs with index_table_insert() */
	return e->index == *(const uint32_t *)key;
}

struct index_entry *index_table_lookup(const struct index_table *t, uint32_t index)
{
	struct cds_lfht_iter it;

	/* Indices are uniformly random and ours: they hash themselves. */
	cds_lfht_lookup(t->ht, index, match, &index, &it);
	struct cds_lfht_node *node = cds_lfht_iter_get_node(&it);
	return node ? container_of(node, struct index_entry, node) : NULL;
}

bool index_table_insert(struct index_table *t, struct index_entry *e)
{
	cds_lfht_node_init(&e->node);
	TSAN_RELEASE(e); /* pairs with match() */
	TSAN_IGNORE_BEGIN();
	bool ok = cds_lfht_add_unique(t->ht, e->index, match, &e->index, &e->node) == &e->node;
	TSAN_IGNORE_END();
	return ok;
}

void index_table_remove(struct index_table *t, struct index_entry *e)
{
	TSAN_IGNORE_BEGIN();
	(void)cds_lfht_del(t->ht, &e->node);
	TSAN_IGNORE_END();
}

/* SPDX-License-Identifier: MPL-2.0 */
/* The index table against an array. */
#include <stdlib.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "device/index_table.h"
#include "unit/base/random.h"

enum { N = 3000 };

static struct index_table t;

static void init(void)
{
	rcu_thread_register();
	cr_assert(eq(int, index_table_init(&t), 0));
}

static void fini(void)
{
	index_table_finish(&t);
	rcu_thread_unregister();
}

TestSuite(index_table, .init = init, .fini = fini);

static void free_entry(struct rcu_item *item)
{
	free(container_of(item, struct index_entry, rcu));
}

static struct index_entry *make(uint32_t index)
{
	struct index_entry *e = calloc(1, sizeof(*e));
	e->index = index;
	return e;
}

Test(index_table, row38_taken_index_is_refused)
{
	struct index_entry *a = make(42), *b = make(42), *c = make(43);

	cr_assert(index_table_insert(&t, a));
	cr_assert(not(index_table_insert(&t, b)));
	cr_assert(eq(ptr, index_table_lookup(&t, 42), a));
	cr_assert(index_table_insert(&t, c));
	index_table_remove(&t, a);
	cr_assert(index_table_lookup(&t, 42) == NULL); /* P-093 */
	cr_assert(index_table_insert(&t, b));
	cr_assert(eq(ptr, index_table_lookup(&t, 42), b));
	index_table_remove(&t, b);
	index_table_remove(&t, c);
	rcu_wait();
	free(a);
	free(b);
	free(c);
}

Test(index_table, extreme_indices)
{
	struct index_entry *a = make(0), *b = make(UINT32_MAX);

	cr_assert(index_table_lookup(&t, 0) == NULL);
	cr_assert(index_table_insert(&t, a));
	cr_assert(index_table_insert(&t, b));
	cr_assert(eq(ptr, index_table_lookup(&t, 0), a));
	cr_assert(eq(ptr, index_table_lookup(&t, UINT32_MAX), b));
	index_table_remove(&t, a);
	index_table_remove(&t, b);
	rcu_wait();
	free(a);
	free(b);
}

/* Indices from a small range, so that they collide often. */
Test(index_table, random_changes_against_an_array)
{
	static struct index_entry *model[N];

	for (unsigned i = 0; i < 100000; i++) {
		uint32_t x = random_below(N);
		cr_assert(eq(ptr, index_table_lookup(&t, x), model[x]));
		if (random_below(2)) {
			struct index_entry *e = make(x);
			bool ok = index_table_insert(&t, e);
			cr_assert(eq(int, ok, model[x] == NULL));
			if (ok)
				model[x] = e;
			else
				free(e);
		} else if (model[x]) {
			index_table_remove(&t, model[x]);
			rcu_defer(&model[x]->rcu, free_entry);
			model[x] = NULL;
		}
		rcu_quiescent();
	}
	for (uint32_t x = 0; x < N; x++) {
		if (!model[x])
			continue;
		index_table_remove(&t, model[x]);
		rcu_defer(&model[x]->rcu, free_entry);
	}
	rcu_flush();
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Readers and one writer that replaces and frees what they read, in both ways (wait and defer).
 * Meant for ThreadSanitizer and AddressSanitizer; without them it checks the values. */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/macro.h"
#include "base/rcu.h"

enum {
	N_READERS = 3,
	N_SLOTS = 8,
	N_SWAPS = 2000,
	N_SYNC = 8, /* every eighth time the writer waits itself */
	N_VALUES = 6,
	POISON = 0x5a5a5a5a,
};

struct object {
	uint32_t value[N_VALUES]; /* all equal while the object is alive */
	struct rcu_item rcu;
};

static RCU_PTR(struct object) slots[N_SLOTS];
static pthread_barrier_t ready; /* all readers and the writer */
static atomic_bool stop;
static _Atomic uint64_t n_reads;
static _Atomic uint32_t n_torn;
static uint32_t n_freed; /* owner: the deferred callbacks, then main after rcu_flush() */

static struct object *object_create(uint32_t value)
{
	struct object *o = malloc(sizeof(*o));
	if (!o)
		abort();
	for (int i = 0; i < N_VALUES; i++)
		o->value[i] = value;
	return o;
}

/* The poison turns a reader that is still there into a data race and, without a sanitizer, into
 * unequal values. */
static void object_destroy(struct object *o)
{
	for (int i = 0; i < N_VALUES; i++)
		o->value[i] = POISON + (uint32_t)i;
	free(o);
}

static void object_free_rcu(struct rcu_item *item)
{
	object_destroy(container_of(item, struct object, rcu));
	n_freed++;
}

static bool object_is_whole(const struct object *o)
{
	for (int i = 1; i < N_VALUES; i++)
		if (o->value[i] != o->value[0])
			return false;
	return true;
}

static void *reader_main(void *arg)
{
	uint64_t n = 0;

	rcu_thread_register();
	pthread_barrier_wait(&ready);
	do {
		for (int i = 0; i < N_SLOTS; i++)
			if (!object_is_whole(rcu_read(&slots[i])))
				atomic_fetch_add_explicit(&n_torn, 1, memory_order_relaxed);
		n++;
		rcu_quiescent();
		if (n % 64 == 0) { /* as a worker that goes to sleep */
			rcu_offline();
			rcu_online();
		}
	} while (!atomic_load_explicit(&stop, memory_order_relaxed));
	rcu_thread_unregister();
	atomic_fetch_add_explicit(&n_reads, n, memory_order_relaxed);
	return NULL;
}

static void writer_run(void)
{
	for (uint32_t i = 0; i < N_SWAPS; i++) {
		RCU_PTR(struct object) *slot = &slots[i % N_SLOTS];
		struct object *old = rcu_peek(slot);

		rcu_publish(slot, object_create(i));
		if (i % N_SYNC) {
			rcu_defer(&old->rcu, object_free_rcu);
		} else {
			rcu_wait();
			object_destroy(old);
		}
	}
}

int main(void)
{
	pthread_t readers[N_READERS];

	for (int i = 0; i < N_SLOTS; i++)
		rcu_publish(&slots[i], object_create(0));
	pthread_barrier_init(&ready, NULL, N_READERS + 1);
	for (int i = 0; i < N_READERS; i++)
		if (pthread_create(&readers[i], NULL, reader_main, NULL))
			abort();
	pthread_barrier_wait(&ready);
	writer_run();
	atomic_store(&stop, true);
	for (int i = 0; i < N_READERS; i++)
		pthread_join(readers[i], NULL);
	rcu_flush();
	for (int i = 0; i < N_SLOTS; i++)
		object_destroy(rcu_peek(&slots[i]));

	uint32_t torn = atomic_load(&n_torn);
	bool ok = torn == 0 && n_freed == N_SWAPS - N_SWAPS / N_SYNC && atomic_load(&n_reads) > 0;
	printf("%s: %u swaps, %u deferred frees, %u torn reads\n", ok ? "ok" : "not ok",
	       (unsigned)N_SWAPS, n_freed, torn);
	return ok ? 0 : 1;
}

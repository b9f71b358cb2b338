/* SPDX-License-Identifier: MPL-2.0 */
/* The one user of liburcu's QSBR functions. They are called, not inlined: the library stays a
 * library (LGPL), and a call per burst costs nothing that can be measured. */
#include "base/rcu.h"

#include <assert.h>
#include <urcu/urcu-qsbr.h>

#include "base/macro.h"
#include "base/tsan.h"

static_assert(sizeof(struct rcu_head) <= sizeof(((struct rcu_item *)0)->urcu),
	      "struct rcu_item must hold liburcu's head");
static_assert(offsetof(struct rcu_item, urcu) == 0, "deferred_run() relies on it");

#if TSAN_ENABLED
/* Only their addresses matter. Readers release @readers_done, the writer that waited for them
 * acquires it. No reader ever acquires: a broken publication is still reported. */
static char readers_done;
static char deferred_done;
#define READERS_DONE  (&readers_done)
#define DEFERRED_DONE (&deferred_done)
#else
#define READERS_DONE  NULL
#define DEFERRED_DONE NULL
#endif

void rcu_thread_register(void)
{
	urcu_qsbr_register_thread();
}

void rcu_thread_unregister(void)
{
	TSAN_RELEASE(READERS_DONE);
	urcu_qsbr_unregister_thread();
}

void rcu_quiescent(void)
{
	TSAN_RELEASE(READERS_DONE);
	urcu_qsbr_quiescent_state();
}

void rcu_offline(void)
{
	TSAN_RELEASE(READERS_DONE);
	urcu_qsbr_thread_offline();
}

void rcu_online(void)
{
	urcu_qsbr_thread_online();
}

void rcu_wait(void)
{
	TSAN_RELEASE(READERS_DONE); /* we may be a reader ourselves */
	urcu_qsbr_synchronize_rcu();
	TSAN_ACQUIRE(READERS_DONE);
}

void rcu_start(void)
{
	(void)urcu_qsbr_get_default_call_rcu_data();
}

static void deferred_run(struct rcu_head *head)
{
	struct rcu_item *item = (struct rcu_item *)(void *)head;

	TSAN_ACQUIRE(item); /* pairs with rcu_defer() */
	TSAN_ACQUIRE(READERS_DONE);
	item->fn(item);
	TSAN_RELEASE(DEFERRED_DONE);
}

void rcu_defer(struct rcu_item *item, void (*fn)(struct rcu_item *item))
{
	item->fn = fn;
	TSAN_RELEASE(item);
	urcu_qsbr_call_rcu((struct rcu_head *)(void *)item->urcu, deferred_run);
}

void rcu_flush(void)
{
	TSAN_RELEASE(READERS_DONE);
	TSAN_IGNORE_BEGIN(); /* it allocates what liburcu's thread frees */
	urcu_qsbr_barrier();
	TSAN_IGNORE_END();
	TSAN_ACQUIRE(DEFERRED_DONE);
}

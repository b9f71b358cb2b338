/* SPDX-License-Identifier: MPL-2.0 */
/* The stack of peers that need the control thread. */
#include "device/attention.h"

#include <stddef.h>

bool attention_call(struct attention *a, struct attention_link *l, uint32_t reason)
{
	/* acq_rel: pairs with attention_take(), whoever takes the reason sees what led to it, and
	 * whoever pushes again sees that the consumer is done with next */
	if (atomic_fetch_or_explicit(&l->reasons, reason, memory_order_acq_rel) != 0)
		return false; /* somebody put it there already */

	struct attention_link *head = atomic_load_explicit(&a->head, memory_order_relaxed);
	do {
		l->next = head;
		/* release: pairs with acquire in attention_pop_all(), publishes next */
	} while (!atomic_compare_exchange_weak_explicit(&a->head, &head, l, memory_order_release,
							memory_order_relaxed));
	return head == NULL;
}

struct attention_link *attention_pop_all(struct attention *a)
{
	if (!atomic_load_explicit(&a->head, memory_order_relaxed))
		return NULL;
	/* pairs with release in attention_call() */
	return atomic_exchange_explicit(&a->head, NULL, memory_order_acquire);
}

uint32_t attention_take(struct attention_link *l)
{
	/* pairs with attention_call() */
	return atomic_exchange_explicit(&l->reasons, 0, memory_order_acq_rel);
}

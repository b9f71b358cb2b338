/* SPDX-License-Identifier: MPL-2.0 */
/* Staged packets. */
#include "device/staged.h"

#include <stdbool.h>
#include <stdlib.h>

#include "noise/message.h"

static uint64_t cost(uint32_t len)
{
	return sizeof(struct staged_packet) + len;
}

struct staged_packet *staged_packet_create(struct staged_budget *b, struct peer *peer, uint32_t len)
{
	uint64_t used =
		atomic_fetch_add_explicit(&b->used, cost(len), memory_order_relaxed) + cost(len);
	/* A keepalive, at most one per peer, must not wait for other peers' packets (P-228). */
	bool fits = len == 0 || used <= STAGED_MAX_BYTES;
	struct staged_packet *p = fits ? malloc(sizeof(*p) + len) : NULL; /* no session: rare */
	if (!p) {
		atomic_fetch_sub_explicit(&b->used, cost(len), memory_order_relaxed);
		return NULL;
	}
	list_init(&p->link);
	p->peer = peer;
	p->len = len;
	return p;
}

void staged_packet_destroy(struct staged_budget *b, struct staged_packet *p)
{
	if (!p)
		return;
	atomic_fetch_sub_explicit(&b->used, cost(p->len), memory_order_relaxed);
	free(p);
}

void staged_queue_init(struct staged_queue *q)
{
	list_init(&q->packets);
	q->n = 0;
}

uint32_t staged_queue_push(struct staged_queue *q, struct staged_budget *b, struct staged_packet *p)
{
	uint32_t n_dropped = 0;

	for (; q->n >= MAX_STAGED_PACKETS; n_dropped++)
		staged_packet_destroy(b, staged_queue_pop(q));
	list_push_back(&q->packets, &p->link);
	q->n++;
	return n_dropped;
}

struct staged_packet *staged_queue_pop(struct staged_queue *q)
{
	struct list *l = list_pop_front(&q->packets);
	if (!l)
		return NULL;
	q->n--;
	return list_entry(l, struct staged_packet, link);
}

uint32_t staged_queue_clear(struct staged_queue *q, struct staged_budget *b)
{
	uint32_t n = 0;

	for (struct staged_packet *p; (p = staged_queue_pop(q)); n++)
		staged_packet_destroy(b, p);
	return n;
}

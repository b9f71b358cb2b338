/* SPDX-License-Identifier: MPL-2.0 */
/* Mailboxes. */
#include "device/mailbox.h"

#include <errno.h>
#include <stdlib.h>

/* The lowest bit of a slot tells the two kinds apart; both are malloc'ed and so aligned. */
#define FORWARDED_TAG ((uintptr_t)1)

size_t mailbox_memory(uint32_t n_producers, uint32_t n_slots)
{
	return n_producers * (sizeof(struct spsc_ring) + (size_t)n_slots * sizeof(void *));
}

int mailbox_init(struct mailbox *m, uint32_t n_producers, uint32_t n_slots)
{
	m->n_producers = n_producers;
	m->ring = aligned_alloc(CACHELINE, n_producers * sizeof(*m->ring));
	m->slots = calloc((size_t)n_producers * n_slots, sizeof(*m->slots));
	if (!m->ring || !m->slots) {
		mailbox_finish(m);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < n_producers; i++)
		spsc_ring_init(&m->ring[i], m->slots + (size_t)i * n_slots, n_slots);
	atomic_init(&m->n_pushed, 0);
	m->n_seen = 0;
	m->next_producer = 0;
	return 0;
}

void mailbox_finish(struct mailbox *m)
{
	free(TAKE_PTR(m->ring));
	free(TAKE_PTR(m->slots));
}

bool mailbox_push(struct mailbox *m, uint32_t producer, struct note note)
{
	void *slot = note.kind == NOTE_STAGED ? (void *)note.staged
					      : (void *)((uintptr_t)note.forwarded | FORWARDED_TAG);

	if (!spsc_ring_push(&m->ring[producer], slot))
		return false;
	/* release: pairs with acquire in mailbox_has_news(), the count follows the item */
	atomic_fetch_add_explicit(&m->n_pushed, 1, memory_order_release);
	return true;
}

static struct note note_of(void *slot)
{
	uintptr_t v = (uintptr_t)slot;

	if (v & FORWARDED_TAG)
		return (struct note){ .kind = NOTE_FORWARDED,
				      .forwarded = (struct forwarded *)(v & ~FORWARDED_TAG) };
	return (struct note){ .kind = NOTE_STAGED, .staged = slot };
}

bool mailbox_pop(struct mailbox *m, struct note *ret)
{
	/* read before the rings: what is pushed while we look is news again. pairs with release in
	 * mailbox_push() */
	uint32_t n_pushed = atomic_load_explicit(&m->n_pushed, memory_order_acquire);

	for (uint32_t i = 0; i < m->n_producers; i++) {
		uint32_t p = (m->next_producer + i) % m->n_producers;
		void *slot = spsc_ring_pop(&m->ring[p]);
		if (!slot)
			continue;
		m->next_producer = p + 1; /* no producer waits for another */
		*ret = note_of(slot);
		return true;
	}
	m->n_seen = n_pushed;
	return false;
}

void mailbox_drain(struct mailbox *m, void (*take)(void *ctx, struct note note), void *ctx)
{
	/* read before the rings, as in mailbox_pop(). pairs with release in mailbox_push() */
	uint32_t n_pushed = atomic_load_explicit(&m->n_pushed, memory_order_acquire);

	for (uint32_t p = 0; p < m->n_producers; p++) {
		for (uint32_t n = spsc_ring_count(&m->ring[p]); n > 0; n--) {
			void *slot = spsc_ring_pop(&m->ring[p]);
			if (!slot)
				break;
			take(ctx, note_of(slot));
		}
	}
	m->n_seen = n_pushed;
}

struct forwarded *forwarded_create(struct forwarded_budget *b, const uint8_t *data, uint32_t len,
				   const struct endpoint *from, uint8_t tos)
{
	uint64_t cost = sizeof(struct forwarded) + len;
	uint64_t used = atomic_fetch_add_explicit(&b->used, cost, memory_order_relaxed) + cost;
	struct forwarded *f = used <= FORWARDED_MAX_BYTES ? malloc(cost) : NULL;

	if (!f) {
		atomic_fetch_sub_explicit(&b->used, cost, memory_order_relaxed);
		return NULL;
	}
	f->budget = b;
	f->from = *from;
	f->tos = tos;
	f->len = len;
	memcpy(f->data, data, len);
	return f;
}

void forwarded_destroy(struct forwarded *f)
{
	if (!f)
		return;
	atomic_fetch_sub_explicit(&f->budget->used, sizeof(*f) + f->len, memory_order_relaxed);
	free(f);
}

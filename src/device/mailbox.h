/* SPDX-License-Identifier: MPL-2.0 */
/* What threads hand to each other besides attention: staged packets (worker -> control) and datagrams
 * that reached the wrong socket (any -> any). One SPSC ring per pair of threads, so every producer's
 * items stay in order; a full ring refuses. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/spsc_ring.h"
#include "device/endpoint.h"
#include "device/staged.h"

enum { FORWARDED_MAX_BYTES = 8 << 20 }; /* all mailboxes of a device together */

/* Bytes in forwarded datagrams of one device. */
struct forwarded_budget {
	_Atomic uint64_t used;
};

/* A datagram copied for the thread that it belongs to. */
struct forwarded {
	struct forwarded_budget *budget;
	struct endpoint from;
	uint8_t tos;
	uint32_t len; /* bytes */
	uint8_t data[];
};

enum note_kind { NOTE_STAGED, NOTE_FORWARDED };

struct note {
	enum note_kind kind;
	union {
		struct staged_packet *staged;
		struct forwarded *forwarded;
	};
};

struct mailbox {
	/* constant after init */
	uint32_t n_producers;
	struct spsc_ring *ring; /* one per producer; slots are tagged pointers */
	void **slots;

	alignas(CACHELINE) _Atomic uint32_t n_pushed; /* any producer; the consumer's cheap look */
	alignas(CACHELINE) uint32_t n_seen;           /* owner: consumer */
	uint32_t next_producer;                       /* owner: consumer */
};

/* Bytes of such a mailbox, without what lies in it. */
size_t mailbox_memory(uint32_t n_producers, uint32_t n_slots);

/* 0 or -ENOMEM. @n_slots per producer, a power of two. */
int mailbox_init(struct mailbox *m, uint32_t n_producers, uint32_t n_slots);
/* Frees the rings; the consumer has emptied them. */
void mailbox_finish(struct mailbox *m);

/* False: the ring is full and the item still the caller's. Only thread number @producer. The caller
 * wakes the consumer. */
MUST_CHECK bool mailbox_push(struct mailbox *m, uint32_t producer, struct note note);
/* The next item, now the caller's; false = nothing. Consumer only. */
MUST_CHECK bool mailbox_pop(struct mailbox *m, struct note *ret);
/* Calls @take for everything that lay in the mailbox when this began, and so ends in bounded time.
 * Consumer only. */
void mailbox_drain(struct mailbox *m, void (*take)(void *ctx, struct note note), void *ctx);
/* Whether something was pushed since the last drain, or pop that found nothing. Consumer only. */
static inline bool mailbox_has_news(const struct mailbox *m)
{
	return atomic_load_explicit(&m->n_pushed, memory_order_acquire) != m->n_seen;
}

/* A copy of a datagram, or NULL: the budget or the memory is used up. Any thread. */
struct forwarded *forwarded_create(struct forwarded_budget *b, const uint8_t *data, uint32_t len,
				   const struct endpoint *from, uint8_t tos);
/* Any thread; NULL is fine. */
void forwarded_destroy(struct forwarded *f);

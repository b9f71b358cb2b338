/* SPDX-License-Identifier: MPL-2.0 */
/* Plaintext packets that wait for a session (P-240..P-248): made by the worker that read them, handed
 * to the control thread, kept there in the peer's queue. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "base/list.h"

struct peer;

enum { STAGED_MAX_BYTES = 32 << 20 }; /* all peers of a device together (P-481) */

/* Bytes in staged packets of one device. */
struct staged_budget {
	_Atomic uint64_t used;
};

struct staged_packet {
	struct list link; /* owner: whoever holds the packet */
	struct peer *peer;
	uint32_t len;   /* bytes; 0 = a keepalive (P-243) */
	uint8_t data[]; /* the inner packet, not padded */
};

/* Room for @len bytes, or NULL when the budget (but for keepalives) or the memory is used up. Any
 * thread. */
struct staged_packet *staged_packet_create(struct staged_budget *b, struct peer *peer,
					   uint32_t len);
/* Any thread; NULL is fine. */
void staged_packet_destroy(struct staged_budget *b, struct staged_packet *p);

/* One peer's queue; owner: control. */
struct staged_queue {
	struct list packets; /* oldest first */
	uint32_t n;
};

void staged_queue_init(struct staged_queue *q);
/* Appends; the queue keeps the newest packets (P-241). Returns how many old ones were dropped. */
uint32_t staged_queue_push(struct staged_queue *q, struct staged_budget *b,
			   struct staged_packet *p);
/* The oldest, now the caller's; NULL = empty. */
struct staged_packet *staged_queue_pop(struct staged_queue *q);
/* Drops all; returns how many. */
uint32_t staged_queue_clear(struct staged_queue *q, struct staged_budget *b);

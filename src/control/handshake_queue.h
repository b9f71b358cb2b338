/* SPDX-License-Identifier: MPL-2.0 */
/* Initiations and responses with a valid mac1 that wait for the expensive part: a bounded FIFO
 * (P-126). Control thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "device/endpoint.h"
#include "noise/message.h"

enum { HANDSHAKE_QUEUE_LEN = 4096 };

struct queued_handshake {
	struct endpoint from;
	uint32_t len; /* bytes: 148 or 92 */
	uint8_t data[sizeof(struct message_initiation)];
};

struct handshake_queue {
	struct queued_handshake *slot; /* HANDSHAKE_QUEUE_LEN */
	uint32_t head, n;
};

/* 0 or -ENOMEM. Touches no page of the slots. */
int handshake_queue_init(struct handshake_queue *q);
void handshake_queue_finish(struct handshake_queue *q);
/* False: full. */
bool handshake_queue_push(struct handshake_queue *q, struct bytes datagram,
			  const struct endpoint *from);
/* The oldest, valid until the next push; NULL = empty. */
const struct queued_handshake *handshake_queue_pop(struct handshake_queue *q);

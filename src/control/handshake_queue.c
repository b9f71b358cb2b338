/* SPDX-License-Identifier: MPL-2.0 */
/* The handshake backlog. */
#include "control/handshake_queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int handshake_queue_init(struct handshake_queue *q)
{
	q->head = 0;
	q->n = 0;
	q->slot = calloc(HANDSHAKE_QUEUE_LEN, sizeof(*q->slot));
	return q->slot ? 0 : -ENOMEM;
}

void handshake_queue_finish(struct handshake_queue *q)
{
	free(q->slot);
	q->slot = NULL;
}

bool handshake_queue_push(struct handshake_queue *q, struct bytes datagram,
			  const struct endpoint *from)
{
	if (q->n == HANDSHAKE_QUEUE_LEN)
		return false;
	struct queued_handshake *s = &q->slot[(q->head + q->n++) % HANDSHAKE_QUEUE_LEN];
	assert(datagram.len <= sizeof(s->data));
	s->from = *from;
	s->len = (uint32_t)datagram.len;
	memcpy(s->data, datagram.data, datagram.len);
	return true;
}

const struct queued_handshake *handshake_queue_pop(struct handshake_queue *q)
{
	if (q->n == 0)
		return NULL;
	const struct queued_handshake *s = &q->slot[q->head];
	q->head = (q->head + 1) % HANDSHAKE_QUEUE_LEN;
	q->n--;
	return s;
}

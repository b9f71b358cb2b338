/* SPDX-License-Identifier: MPL-2.0 */
/* Handshake messages from the network. Nothing here answers, or changes anything, before the message
 * has proven what it must (P-440, P-441). */
#include "control/receive.h"

#include <stdlib.h>

#include "base/entropy.h"
#include "control/answer.h"
#include "control/peer_events.h"
#include "control/send.h"
#include "control/sessions.h"
#include "udp/udp.h"

enum {
	/* Load is the time that the backlog will take: a gateway's restart, with a message from each
	 * of its peers, is none (P-121). */
	LOAD_BACKLOG_MS = 300,
	RATELIMIT_ENTRIES = 65536, /* P-124 */
};

static void drop(struct control *c, enum drop_reason why)
{
	drop_count(c->drops, why, 1);
}

bool receive_is_under_load(struct control *c, uint64_t now_ns)
{
	if (control_backlog(c) * c->handshake_cost_ns >= LOAD_BACKLOG_MS * NSEC_PER_MSEC ||
	    c->queue.n == HANDSHAKE_QUEUE_LEN)
		c->under_load_until_ns = now_ns + NSEC_PER_SEC;
	return now_ns < c->under_load_until_ns;
}

/* P-123. Without memory for the table nobody is refused. */
static bool source_may_proceed(struct control *c, const struct endpoint *from, uint64_t now_ns)
{
	if (!c->ratelimit_entries) {
		uint8_t key[SIPHASH_KEY_LEN];
		c->ratelimit_entries = calloc(RATELIMIT_ENTRIES, sizeof(*c->ratelimit_entries));
		if (!c->ratelimit_entries || entropy_fill(key, sizeof(key)) < 0)
			return true;
		ratelimit_init(&c->ratelimit, c->ratelimit_entries, RATELIMIT_ENTRIES, key);
	}
	struct bytes source = { (const uint8_t *)&from->to.in6.sin6_addr, 16 };
	if (from->to.sa.sa_family == AF_INET)
		source = (struct bytes){ (const uint8_t *)&from->to.in4.sin_addr, 4 };
	return ratelimit_allow(&c->ratelimit, source, now_ns);
}

/* Under load: whether the message may be queued; otherwise it was answered or dropped (P-122). */
static bool admit_under_load(struct control *c, struct bytes msg, const struct endpoint *from,
			     uint64_t now_ns)
{
	uint8_t source[COOKIE_SOURCE_MAX_LEN], fresh[COOKIE_SECRET_LEN];
	size_t n = endpoint_source_bytes(source, from);

	if (cookie_checker_is_stale(&c->cookies, now_ns)) { /* P-105 */
		if (entropy_fill(fresh, sizeof(fresh)) < 0)
			return false;
		cookie_checker_renew(&c->cookies, fresh, now_ns);
	}
	if (!cookie_check_mac2(&c->cookies, msg.data, msg.len, (struct bytes){ source, n })) {
		send_cookie_reply(c, msg, from, now_ns);
		drop(c, DROP_HS_COOKIE_SENT);
		return false;
	}
	if (!source_may_proceed(c, from, now_ns)) {
		drop(c, DROP_HS_RATE_LIMITED);
		return false;
	}
	return true;
}

void receive_note_accepted(struct peer *p, const struct endpoint *from, uint64_t len,
			   uint64_t now_ns)
{
	(void)endpoint_cell_update(&p->endpoint, from);
	(void)timers_authenticated_received(&p->timers, now_ns);
	atomic_fetch_add_explicit(&p->rx_bytes, len, memory_order_relaxed);
}

void receive_response(struct control *c, const struct message_response *msg,
		      const struct handshake_dh *dh, const struct endpoint *from, uint64_t now_ns)
{
	struct device *d = c->device;
	struct index_entry *e = index_table_lookup(&d->indices, le32_get(msg->receiver_index));

	if (!e || e->session ||
	    !handshake_consume_response_with(&e->peer->handshake, d->identity, dh,
					     msg)) { /* P-067 */
		drop(c, DROP_HS_INVALID);
		return;
	}
	struct peer *p = e->peer;
	receive_note_accepted(p, from, sizeof(*msg), now_ns);
	if (!sessions_begin(c, p, now_ns))
		c->ops->debug(c->ops_ctx, "out of memory for a session");
	peer_plan(c, p);
}

static void receive_cookie_reply(struct control *c, struct bytes datagram, uint64_t now_ns)
{
	const struct message_cookie_reply *msg = (const struct message_cookie_reply *)datagram.data;
	struct index_entry *e =
		index_table_lookup(&c->device->indices, le32_get(msg->receiver_index));

	if (!e || !cookie_jar_consume_reply(&e->peer->cookie_jar, &e->peer->handshake, msg, now_ns))
		drop(c, DROP_HS_INVALID);
}

/* A transport message at the control socket: the kernel's GRO or a missing steering brought it. */
static void pass_on(struct control *c, struct bytes datagram, const struct endpoint *from,
		    uint8_t tos)
{
	struct device *d = c->device;
	uint32_t to = udp_steer(datagram.data + offsetof(struct message_transport, receiver_index),
				d->n_workers);
	struct forwarded *f =
		forwarded_create(&d->forwarded, datagram.data, (uint32_t)datagram.len, from, tos);
	struct note note = { .kind = NOTE_FORWARDED, .forwarded = f };

	if (f && mailbox_push(&d->mailbox[to], d->n_workers, note)) {
		d->wake_worker(d->wake_ctx, to);
		return;
	}
	forwarded_destroy(f);
	drop(c, DROP_RX_FORWARD_FULL);
}

void control_receive(struct control *c, struct bytes datagram, const struct endpoint *from,
		     uint8_t tos, uint64_t now_ns)
{
	switch (message_classify(datagram.data, datagram.len)) {
	case MESSAGE_INVALID:
		drop(c, DROP_RX_MALFORMED);
		return;
	case MESSAGE_TRANSPORT:
		pass_on(c, datagram, from, tos);
		return;
	case MESSAGE_COOKIE_REPLY:
		receive_cookie_reply(c, datagram, now_ns);
		return;
	case MESSAGE_INITIATION:
	case MESSAGE_RESPONSE:
		break;
	}
	if (!c->has_sockets ||
	    !macs_check_mac1(c->device->identity, datagram.data, datagram.len)) { /* P-101 */
		drop(c, DROP_HS_BAD_MAC1);
		return;
	}
	if (receive_is_under_load(c, now_ns) && !admit_under_load(c, datagram, from, now_ns))
		return;
	if (!handshake_queue_push(&c->queue, datagram, from))
		drop(c, DROP_HS_QUEUE_FULL);
}

size_t control_memory(void)
{
	return CONTROL_OUT_LEN + HANDSHAKE_QUEUE_LEN * sizeof(struct queued_handshake) +
	       RATELIMIT_ENTRIES * sizeof(struct ratelimit_entry) + answers_memory();
}

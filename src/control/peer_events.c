/* SPDX-License-Identifier: MPL-2.0 */
/* Timers and reports of peers. */
#include "control/peer_events.h"

#include <stdlib.h>

#include "control/send.h"
#include "control/sessions.h"

void peer_plan(struct control *c, struct peer *p)
{
	uint64_t next = p->is_dead ? TIMER_NEVER : timers_plan(&p->timers);

	if (next == TIMER_NEVER)
		timer_wheel_cancel(&c->wheel, &p->timer);
	else
		timer_wheel_arm(&c->wheel, &p->timer, next);
}

static void clear_staged(struct control *c, struct peer *p)
{
	uint32_t n = staged_queue_clear(&p->staged, &c->device->staged);

	if (n == 0)
		return;
	drop_count(c->drops, DROP_TX_GAVE_UP, n);
	drop_count(&p->drops, DROP_TX_GAVE_UP, n);
}

static void clear_source(struct peer *p)
{
	struct endpoint e;

	endpoint_cell_get(&p->endpoint, &e);
	endpoint_cell_clear_source(&p->endpoint, &e); /* P-346 */
}

/* P-223, P-222. */
static void retransmit_due(struct control *c, struct peer *p, uint64_t now_ns)
{
	if (!timers_may_initiate(&p->timers, now_ns)) { /* a response went out meanwhile */
		timers_retransmit_later(&p->timers);
		return;
	}
	if (timers_retransmit_expired(&p->timers, now_ns)) {
		clear_staged(c, p);
		return;
	}
	clear_source(p);
	send_initiation(c, p, now_ns);
}

void peer_timers_due(struct control *c, struct peer *p, uint64_t now_ns)
{
	if (!c->has_sockets) { /* armed by a worker while the interface went down (P-400) */
		timers_stop(&p->timers);
		peer_plan(c, p);
		return;
	}
	unsigned due = timers_expire(&p->timers, now_ns);

	if (due & BIT(TIMER_RETRANSMIT_HANDSHAKE))
		retransmit_due(c, p, now_ns);
	if (due & BIT(TIMER_SEND_KEEPALIVE)) { /* P-201, P-224 */
		timers_keepalive_expired(&p->timers, now_ns);
		send_keepalive(c, p, now_ns);
	}
	if (due & BIT(TIMER_NEW_HANDSHAKE)) { /* P-202 */
		clear_source(p);
		send_first_initiation(c, p, now_ns);
	}
	if (due & BIT(TIMER_ZERO_KEY_MATERIAL)) /* P-203 */
		sessions_clear(c, p);
	if ((due & BIT(TIMER_PERSISTENT_KEEPALIVE)) && p->keepalive_sec) /* P-204 */
		send_keepalive(c, p, now_ns);
	peer_plan(c, p);
}

/* One peer that a worker called attention to. */
static void attend(struct control *c, struct peer *p, uint64_t now_ns)
{
	uint32_t why = attention_take(&p->attention);

	if (why == 0)
		return;
	if (p->is_dead) {
		if (why & ATTENTION_FREE)
			device_free_peer(c->device, p);
		return;
	}
	if (why & ATTENTION_CONFIRMED)
		sessions_confirm(c, p, now_ns);
	if (why & ATTENTION_REKEY_SENT)
		send_first_initiation(c, p, now_ns);
	if (why & ATTENTION_REKEY_RECEIVED)
		send_initiation(c, p, now_ns);
	peer_plan(c, p);
}

/* A packet for which a worker found no usable session. */
static void take_staged(struct control *c, struct staged_packet *sp, uint64_t now_ns)
{
	struct peer *p = sp->peer;
	struct session *s = rcu_peek(&p->current);

	/* Without sockets it waits: a packet shows that the interface is up, we just have not heard. */
	if (p->is_dead) {
		staged_packet_destroy(&c->device->staged, sp);
		drop_count(c->drops, DROP_TX_GAVE_UP, 1);
	} else {
		/* The answer to the first packet of a new session may come before its report. */
		if (p->next && !(s && keypair_may_send(&s->keypair, now_ns)))
			sessions_confirm(c, p, now_ns);
		uint32_t n = staged_queue_push(&p->staged, &c->device->staged, sp);
		if (n > 0) {
			drop_count(c->drops, DROP_TX_STAGED_FULL, n);
			drop_count(&p->drops, DROP_TX_STAGED_FULL, n);
		}
		send_staged(c, p, now_ns); /* or P-240, P-225 */
		peer_plan(c, p);
	}
	atomic_fetch_sub_explicit(&p->n_handed_over, 1, memory_order_relaxed);
}

struct attending {
	struct control *c;
	uint64_t now_ns;
};

static void take_note(void *ctx, struct note note)
{
	struct attending *a = ctx;

	if (note.kind == NOTE_STAGED) {
		take_staged(a->c, note.staged, a->now_ns);
		return;
	}
	struct forwarded *f = note.forwarded;
	control_receive(a->c, (struct bytes){ f->data, f->len }, &f->from, f->tos, a->now_ns);
	forwarded_destroy(f);
}

void peers_attend(struct control *c, uint64_t now_ns)
{
	/* The stack is taken before the mailbox is emptied: a peer that is to be freed was called
	 * after its last packet was pushed, so the mailbox holds none of it when we get to it. */
	struct attention_link *l = attention_pop_all(&c->device->attention);
	struct mailbox *m = device_control_mailbox(c->device);

	if (l || mailbox_has_news(m))
		mailbox_drain(m, take_note, &(struct attending){ c, now_ns });
	while (l) {
		struct attention_link *next = l->next; /* attend() may free the peer */
		attend(c, peer_of_attention(l), now_ns);
		l = next;
	}
}

void peer_stop(struct control *c, struct peer *p)
{
	clear_staged(c, p);
	timers_stop(&p->timers);
	list_remove(&p->to_initiate);
	sessions_clear(c, p);
	peer_plan(c, p);
}

void peer_remove(struct control *c, struct peer *p)
{
	peer_stop(c, p);
	device_remove_peer(c->device, p);
	/* A worker may have armed a deadline after the stop: no node may be left in the wheel. */
	timer_wheel_cancel(&c->wheel, &p->timer);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Key slots. */
#include "control/sessions.h"

#include <sched.h>

#include "control/send.h"
#include "crypto/secret.h"

/* How long workers queue behind packets that the control thread still has in hand: longer than it
 * needs for them, short enough that it never becomes the data path. */
#define FLUSH_NS (50 * NSEC_PER_MSEC)

static void retire(struct control *c, struct session *s)
{
	session_retire(s, &c->device->indices);
}

/* Makes @s the session that workers send with, after what waits for it. */
static void make_current(struct control *c, struct peer *p, struct session *s, uint64_t now_ns)
{
	send_staged_with(c, p, s, now_ns);
	atomic_store_explicit(&p->flush_until_ns, now_ns + FLUSH_NS, memory_order_relaxed);
	rcu_publish(&p->current, s);
}

/* P-211. */
static void handshake_complete(struct control *c, struct peer *p)
{
	timers_handshake_complete(&p->timers);
	p->n_crossed = 0;
	c->ops->realtime(c->ops_ctx, &p->handshake_sec, &p->handshake_nsec);
}

/* From now on no worker makes the next session current. True: one already has, or is just about to. */
static bool withdraw_next(struct peer *p)
{
	/* acq_rel: pairs with the exchange in datapath/rx.c, where a worker claims it */
	if (atomic_exchange(&p->promotable, NULL) == p->next)
		return false;
	while (rcu_peek(&p->current) != p->next)
		(void)sched_yield(); /* two instructions of a worker that lost its core */
	return true;
}

static bool is_unconfirmed(const struct session *s)
{
	return atomic_load_explicit(&s->keypair.is_unconfirmed, memory_order_relaxed);
}

/* P-173, as far as no worker did it. Afterwards next is empty, or nothing came on it and it is the
 * caller's to replace. */
static void settle_next(struct control *c, struct peer *p, uint64_t now_ns)
{
	struct session *next = p->next;

	if (!next)
		return;
	bool is_promoted = withdraw_next(p);
	if (!is_promoted && is_unconfirmed(next))
		return;
	retire(c, p->previous);
	p->previous = p->current_slot;
	p->current_slot = next;
	p->next = NULL;
	handshake_complete(c, p);
	if (!is_promoted && keypair_may_send(&next->keypair, now_ns)) {
		make_current(c, p, next, now_ns);
	} else {
		rcu_publish(&p->current, next);
		send_staged(c, p, now_ns);
	}
}

/* P-171; then P-228: the peer needs a packet to know that the session is confirmed. */
static void begin_as_initiator(struct control *c, struct peer *p, struct session *s,
			       uint64_t now_ns)
{
	if (p->next) {
		rcu_publish(&p->current, NULL); /* before its grace period begins */
		retire(c, p->current_slot);
		retire(c, p->previous);
		p->previous = TAKE_PTR(p->next);
	} else {
		retire(c, p->previous);
		p->previous = p->current_slot;
	}
	p->current_slot = s;
	handshake_complete(c, p);
	stage_keepalive(c, p);
	make_current(c, p, s, now_ns);
}

/* P-172. */
static void begin_as_responder(struct control *c, struct peer *p, struct session *s)
{
	retire(c, TAKE_PTR(p->previous));
	retire(c, p->next);
	p->next = s;
	atomic_store(&p->promotable, s); /* release: whoever claims it sees all of it */
}

bool sessions_begin(struct control *c, struct peer *p, uint64_t now_ns)
{
	struct session_keys keys;

	if (!handshake_begin_session(&p->handshake, &keys))
		return false;
	struct session *s = session_create(&c->device->session_pool, p, &keys, now_ns);
	bool is_initiator = keys.is_initiator;
	secret_wipe(&keys, sizeof(keys));
	forget_handshake_index(c, p); /* P-091: it is the session's now */
	if (!s)
		return false;
	if (!index_table_insert(&c->device->indices, &s->entry)) {
		secret_pool_put(&c->device->session_pool, s);
		return false;
	}
	timers_session_derived(&p->timers, now_ns);
	settle_next(c, p, now_ns);
	if (is_initiator)
		begin_as_initiator(c, p, s, now_ns);
	else
		begin_as_responder(c, p, s);
	return true;
}

void sessions_confirm(struct control *c, struct peer *p, uint64_t now_ns)
{
	/* Otherwise the message was for a session that is no longer next (P-174). */
	if (p->next && !is_unconfirmed(p->next))
		settle_next(c, p, now_ns);
}

void sessions_clear(struct control *c, struct peer *p)
{
	if (p->next)
		(void)withdraw_next(p);
	rcu_publish(&p->current, NULL); /* before the grace periods begin */
	retire(c, TAKE_PTR(p->current_slot));
	retire(c, TAKE_PTR(p->previous));
	retire(c, TAKE_PTR(p->next));
	forget_handshake_index(c, p);
	handshake_clear(&p->handshake);
}

void sessions_disable_sending(struct peer *p)
{
	if (p->current_slot)
		atomic_store_explicit(&p->current_slot->keypair.send_disabled, true,
				      memory_order_relaxed);
	if (p->next)
		atomic_store_explicit(&p->next->keypair.send_disabled, true, memory_order_relaxed);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Key slots. */
#include "control/sessions.h"

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
	c->ops->realtime(c->ops_ctx, &p->handshake_sec, &p->handshake_nsec);
}

/* P-171; then P-228: the peer needs a packet to know that the session is confirmed. */
static void begin_as_initiator(struct control *c, struct peer *p, struct session *s,
			       uint64_t now_ns)
{
	struct session *current = rcu_peek(&p->current);

	if (p->next) {
		rcu_publish(&p->current, NULL); /* before its grace period begins */
		retire(c, current);
		retire(c, p->previous);
		p->previous = TAKE_PTR(p->next);
	} else {
		retire(c, p->previous);
		p->previous = current;
	}
	handshake_complete(c, p);
	if (p->staged.n == 0) {
		struct staged_packet *empty = staged_packet_create(&c->device->staged, p, 0);
		if (empty)
			(void)staged_queue_push(&p->staged, &c->device->staged, empty);
	}
	make_current(c, p, s, now_ns);
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
	if (is_initiator) {
		begin_as_initiator(c, p, s, now_ns);
	} else { /* P-172 */
		retire(c, TAKE_PTR(p->previous));
		retire(c, p->next);
		p->next = s;
	}
	return true;
}

void sessions_confirm(struct control *c, struct peer *p, uint64_t now_ns)
{
	if (!p->next ||
	    atomic_load_explicit(&p->next->keypair.is_unconfirmed, memory_order_relaxed))
		return; /* the message was for a session that is no longer next (P-174) */
	retire(c, p->previous);
	p->previous = rcu_peek(&p->current);
	handshake_complete(c, p);
	struct session *s = TAKE_PTR(p->next);
	if (keypair_may_send(&s->keypair, now_ns)) {
		make_current(c, p, s, now_ns);
	} else {
		rcu_publish(&p->current, s);
		send_staged(c, p, now_ns);
	}
}

void sessions_clear(struct control *c, struct peer *p)
{
	struct session *current = rcu_peek(&p->current);

	rcu_publish(&p->current, NULL);
	retire(c, current);
	retire(c, TAKE_PTR(p->previous));
	retire(c, TAKE_PTR(p->next));
	forget_handshake_index(c, p);
	handshake_clear(&p->handshake);
}

void sessions_disable_sending(struct peer *p)
{
	struct session *current = rcu_peek(&p->current);

	if (current)
		atomic_store_explicit(&current->keypair.send_disabled, true, memory_order_relaxed);
	if (p->next)
		atomic_store_explicit(&p->next->keypair.send_disabled, true, memory_order_relaxed);
}

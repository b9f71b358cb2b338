/* SPDX-License-Identifier: MPL-2.0 */
/* Sending from the control thread. */
#include "control/send.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/entropy.h"
#include "control/sessions.h"
#include "crypto/secret.h"
#include "noise/tai64n.h"
#include "packet/ip.h"

enum {
	SEAL_BURST = 32,
	/* Made by ourselves without a detour; some 0.1 ms each. When thousands of peers want one in the
	 * same moment, as after a restart with persistent keepalives, jobs are better. */
	INITIATIONS_AT_ONCE = 2,
};

/* How much longer the next initiation waits after one crossed with the peer's. */
#define HOLD_BACK_NS (2 * NSEC_PER_SEC)

static uint64_t random_ns(struct control *c, uint64_t max_ns)
{
	/* xorshift64: spreads retries, hides nothing */
	c->jitter_state ^= c->jitter_state << 13;
	c->jitter_state ^= c->jitter_state >> 7;
	c->jitter_state ^= c->jitter_state << 17;
	return c->jitter_state % (max_ns + 1);
}

static uint64_t jitter_ns(struct control *c)
{
	return random_ns(c, REKEY_TIMEOUT_JITTER_MAX_NS);
}

/* One datagram to the peer's endpoint, once more without the sticky source where that is what the
 * kernel does not like (P-347). 0 or -errno. */
static int send_to_peer(struct control *c, struct peer *p, uint8_t tos, struct bytes datagram)
{
	struct endpoint to;

	endpoint_cell_get(&p->endpoint, &to);
	if (!endpoint_is_set(&to))
		return -EDESTADDRREQ;
	int r = c->ops->send(c->ops_ctx, &to, tos, datagram);
	if ((r == -EINVAL || r == -EADDRNOTAVAIL || r == -ENODEV || r == -ENETUNREACH ||
	     r == -EHOSTUNREACH) &&
	    endpoint_has_source(&to)) {
		endpoint_cell_clear_source(&p->endpoint, &to);
		endpoint_clear_source(&to);
		r = c->ops->send(c->ops_ctx, &to, tos, datagram);
	}
	return r;
}

static void count_sent(struct peer *p, uint64_t len)
{
	atomic_fetch_add_explicit(&p->tx_bytes, len, memory_order_relaxed); /* P-421 */
}

static void free_index_entry(struct rcu_item *item)
{
	free(container_of(item, struct index_entry, rcu));
}

void forget_handshake_index(struct control *c, struct peer *p)
{
	if (!p->handshake_entry)
		return;
	index_table_remove(&c->device->indices, p->handshake_entry);
	rcu_defer(&p->handshake_entry->rcu, free_index_entry);
	p->handshake_entry = NULL;
}

/* A fresh random index for the peer's handshake (P-090); NULL = out of memory or entropy. The old one
 * stays in force until the caller replaces it. */
static struct index_entry *new_handshake_index(struct control *c, struct peer *p)
{
	struct index_entry *e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->peer = p;
	do {
		if (entropy_fill(&e->index, sizeof(e->index)) < 0) {
			free(e);
			return NULL;
		}
	} while (!index_table_insert(&c->device->indices, e));
	return e;
}

static void drop_new_index(struct control *c, struct index_entry *e)
{
	index_table_remove(&c->device->indices, e);
	rcu_defer(&e->rcu, free_index_entry);
}

/* macs, P-212, P-221, statistics: what initiation and response have in common. */
static void send_handshake_message(struct control *c, struct peer *p, uint8_t *msg, size_t len,
				   uint64_t now_ns)
{
	cookie_jar_add_macs(&p->cookie_jar, &p->handshake, msg, len, now_ns);
	timers_authenticated_sent(&p->timers, now_ns);
	timers_handshake_message_sent(&p->timers, now_ns);
	int r = send_to_peer(c, p, HANDSHAKE_TOS, (struct bytes){ msg, len });
	if (r == 0)
		count_sent(p, len);
	else
		drop_count(c->drops, DROP_TX_SEND_FAILED, 1);
}

bool may_send_initiation(const struct control *c, struct peer *p, uint64_t now_ns)
{
	struct endpoint to;

	endpoint_cell_get(&p->endpoint, &to);
	return c->has_sockets && c->device->identity->has_private_key && endpoint_is_set(&to) &&
	       timers_may_initiate(&p->timers, now_ns);
}

void send_initiation_with(struct control *c, struct peer *p, const struct handshake_dh *dh,
			  uint64_t now_ns)
{
	struct message_initiation msg;
	uint8_t timestamp[TAI64N_LEN];
	uint64_t sec;
	uint32_t nsec;

	if (!may_send_initiation(c, p, now_ns))
		return;
	struct index_entry *entry = new_handshake_index(c, p);
	if (!entry)
		return;
	c->ops->realtime(c->ops_ctx, &sec, &nsec);
	tai64n_now(timestamp, sec, nsec);
	if (!handshake_create_initiation_with(&p->handshake, c->device->identity, dh, entry->index,
					      timestamp, &msg)) {
		drop_new_index(c, entry);
		return;
	}
	forget_handshake_index(c, p);
	p->handshake_entry = entry;
	send_handshake_message(c, p, (uint8_t *)&msg, sizeof(msg), now_ns);
	timers_initiation_sent(&p->timers, now_ns, jitter_ns(c)); /* P-200, also if it failed */
}

void send_initiation(struct control *c, struct peer *p, uint64_t now_ns)
{
	struct handshake_dh dh;
	uint8_t ephemeral[NOISE_KEY_LEN];

	if (p->initiation_under_way || !may_send_initiation(c, p, now_ns))
		return;
	if (c->n_initiated == INITIATIONS_AT_ONCE) {
		if (list_is_empty(&p->to_initiate))
			list_push_back(&c->to_initiate, &p->to_initiate);
		return;
	}
	c->n_initiated++;
	list_remove(&p->to_initiate);
	if (!handshake_precompute(&p->handshake, c->device->identity) ||
	    entropy_fill(ephemeral, sizeof(ephemeral)) < 0)
		return;
	handshake_initiation_dh(&dh, &p->handshake, ephemeral);
	handshake_dh_run(&dh);
	send_initiation_with(c, p, &dh, now_ns);
	handshake_dh_wipe(&dh);
	secret_wipe(ephemeral, sizeof(ephemeral));
}

void send_first_initiation(struct control *c, struct peer *p, uint64_t now_ns)
{
	p->timers.n_attempts = 0;
	send_initiation(c, p, now_ns);
}

/* Both ends answer, both answers are void, and while both have packets to send both are due again
 * after the same 5 s: with a long way between them they would cross for ever. One of two ends
 * that know this waits. With another end, or after losses, chance decides, more widely each time. */
static uint64_t hold_back_ns(struct control *c, struct peer *p)
{
	uint64_t max_ns = HOLD_BACK_NS << MIN(p->n_crossed, 3);

	if (p->n_crossed < UINT8_MAX)
		p->n_crossed++;
	if (p->n_crossed > 1)
		return random_ns(c, max_ns);
	return memcmp(c->device->identity->public_key, p->handshake.remote_static, NOISE_KEY_LEN) <
			       0
		       ? max_ns
		       : 0;
}

void send_response(struct control *c, struct peer *p, const struct handshake_dh *dh,
		   uint64_t now_ns)
{
	struct message_response msg;
	struct index_entry *entry = new_handshake_index(c, p);

	if (!entry)
		return;
	if (!handshake_create_response_with(&p->handshake, c->device->identity, dh, entry->index,
					    &msg)) {
		drop_new_index(c, entry);
		return;
	}
	forget_handshake_index(c, p);
	p->handshake_entry = entry;
	/* P-065: the session exists before the peer can know of it. */
	if (!sessions_begin(c, p, now_ns))
		return;
	send_handshake_message(c, p, (uint8_t *)&msg, sizeof(msg), now_ns);
	if (p->is_crossed)
		timers_hold_back(&p->timers, hold_back_ns(c, p));
}

size_t endpoint_source_bytes(uint8_t out[COOKIE_SOURCE_MAX_LEN], const struct endpoint *e)
{
	if (e->to.sa.sa_family == AF_INET) {
		memcpy(out, &e->to.in4.sin_addr, 4);
		memcpy(out + 4, &e->to.in4.sin_port, 2);
		return 6;
	}
	memcpy(out, &e->to.in6.sin6_addr, 16);
	memcpy(out + 16, &e->to.in6.sin6_port, 2);
	return 18;
}

void send_cookie_reply(struct control *c, struct bytes msg, const struct endpoint *to,
		       uint64_t now_ns)
{
	struct message_cookie_reply reply;
	uint8_t source[COOKIE_SOURCE_MAX_LEN], nonce[COOKIE_NONCE_LEN];

	if (entropy_fill(nonce, sizeof(nonce)) < 0)
		return;
	size_t n = endpoint_source_bytes(source, to);
	cookie_create_reply(&reply, &c->cookies, c->device->identity, msg.data, msg.len,
			    (struct bytes){ source, n }, nonce);
	(void)c->ops->send(c->ops_ctx, to, 0,
			   (struct bytes){ (const uint8_t *)&reply, sizeof(reply) });
}

/* Up to SEAL_BURST packets with consecutive counters, sealed side by side. */
struct sealed_burst {
	struct staged_packet *packet[SEAL_BURST];
	struct aead_seal_job job[SEAL_BURST];
	uint8_t tos[SEAL_BURST];
	uint32_t n;
};

static uint32_t datagram_len(const struct aead_seal_job *j)
{
	return j->in_len[0] + j->pad_len + TRANSPORT_OVERHEAD;
}

/* Fills @b from the queue, as far as the out buffer goes. */
static void seal_staged(struct control *c, struct peer *p, struct session *s, uint64_t counter,
			struct sealed_burst *b)
{
	uint32_t mtu = atomic_load_explicit(&c->device->mtu, memory_order_relaxed);
	uint32_t used = 0;

	for (b->n = 0; b->n < SEAL_BURST && CONTROL_OUT_LEN - used > 65536 + 64; b->n++) {
		struct staged_packet *sp = staged_queue_pop(&p->staged);
		struct ip_view ip;
		if (!sp)
			break;
		struct message_transport *m = (struct message_transport *)(c->out + used);
		m->type = le32(MESSAGE_TRANSPORT);
		m->receiver_index = le32(s->keypair.remote_index);
		m->counter = le64(counter);
		b->packet[b->n] = sp;
		b->tos[b->n] = ip_view(&ip, sp->data, sp->len) ? ip_ecn_encap(ip.ds_field) : 0;
		b->job[b->n] = (struct aead_seal_job){
			.key = s->keypair.sending_key,
			.counter = counter++,
			.in = { sp->data, NULL },
			.in_len = { sp->len, 0 },
			.pad_len = sp->len ? padding_len(sp->len, mtu) : 0,
			.out = (uint8_t *)(m + 1),
		};
		used += datagram_len(&b->job[b->n]);
	}
	c->aead->seal_burst(b->job, b->n);
}

static void send_sealed(struct control *c, struct peer *p, struct sealed_burst *b, uint64_t now_ns)
{
	for (uint32_t i = 0; i < b->n; i++) {
		struct bytes datagram = { b->job[i].out - sizeof(struct message_transport),
					  datagram_len(&b->job[i]) };
		timers_authenticated_sent(&p->timers, now_ns);
		int r = send_to_peer(c, p, b->tos[i], datagram);
		if (r == 0) {
			count_sent(p, datagram.len);
			if (b->packet[i]->len) /* P-215 */
				(void)timers_data_sent(&p->timers, now_ns, jitter_ns(c));
		} else {
			drop_count(&p->drops, DROP_TX_SEND_FAILED, 1);
			drop_count(c->drops, DROP_TX_SEND_FAILED, 1);
		}
		staged_packet_destroy(&c->device->staged, b->packet[i]);
	}
}

void send_staged_with(struct control *c, struct peer *p, struct session *s, uint64_t now_ns)
{
	struct sealed_burst b;
	uint64_t counter;

	if (p->staged.n == 0)
		return;
	/* P-244: all or none */
	if (!keypair_take_counters(&s->keypair, p->staged.n, &counter)) {
		send_first_initiation(c, p, now_ns);
		return;
	}
	while (p->staged.n > 0) {
		seal_staged(c, p, s, counter, &b);
		counter += b.n;
		send_sealed(c, p, &b, now_ns);
	}
	if (keypair_wants_rekey_after_send(&s->keypair, now_ns)) /* P-220 */
		send_first_initiation(c, p, now_ns);
}

void send_staged(struct control *c, struct peer *p, uint64_t now_ns)
{
	struct session *s = rcu_peek(&p->current);

	if (p->staged.n == 0 || !c->has_sockets)
		return;
	if (s && keypair_may_send(&s->keypair, now_ns))
		send_staged_with(c, p, s, now_ns);
	else
		send_first_initiation(c, p, now_ns);
}

void stage_keepalive(struct control *c, struct peer *p)
{
	struct staged_packet *sp = p->staged.n == 0 ? staged_packet_create(&c->device->staged, p, 0)
						    : NULL;

	if (sp)
		(void)staged_queue_push(&p->staged, &c->device->staged, sp);
}

void send_keepalive(struct control *c, struct peer *p, uint64_t now_ns)
{
	stage_keepalive(c, p);
	send_staged(c, p, now_ns);
}

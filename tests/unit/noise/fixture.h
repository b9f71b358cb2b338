/* SPDX-License-Identifier: MPL-2.0 */
/* Two ends of a tunnel for the tests of noise/: random keys, and each step of a handshake as one
 * call. Time starts late enough that nothing is near zero by accident. */
#pragma once

#include <string.h>

#include <criterion/criterion.h>

#include "base/macro.h"
#include "crypto/secret.h"
#include "noise/cookie.h"
#include "noise/handshake.h"
#include "noise/identity.h"
#include "noise/tai64n.h"
#include "unit/base/random.h"

#define T0_NS (1000 * NSEC_PER_SEC)

/* One end: who it is, and what it knows of the other. */
struct end {
	struct identity id;
	struct handshake hs;
	struct cookie_jar jar;
};

static inline void random_bytes(uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(random_u64() >> 56);
}

static inline struct handshake_entropy random_entropy(void)
{
	struct handshake_entropy e = { .index = (uint32_t)random_u64() };
	random_bytes(e.ephemeral_private, sizeof(e.ephemeral_private));
	return e;
}

static inline void random_identity(struct identity *id)
{
	uint8_t key[NOISE_KEY_LEN];
	random_bytes(key, sizeof(key));
	identity_set(id, key);
}

static inline void ends_init(struct end *a, struct end *b)
{
	cr_assert(crypto_init() == 0);
	*a = (struct end){ 0 };
	*b = (struct end){ 0 };
	random_identity(&a->id);
	random_identity(&b->id);
	handshake_init(&a->hs, b->id.public_key);
	handshake_init(&b->hs, a->id.public_key);
}

/* Each call is later than the one before, by more than the rounding. */
static inline void next_timestamp(uint8_t out[TAI64N_LEN])
{
	static uint64_t sec = 1700000000;
	tai64n_now(out, sec++, 0);
}

static inline struct message_initiation initiate_at(struct end *from,
						    const uint8_t timestamp[TAI64N_LEN])
{
	struct message_initiation msg;
	struct handshake_entropy e = random_entropy();
	cr_assert(handshake_create_initiation(&from->hs, &from->id, &e, timestamp, &msg));
	return msg;
}

static inline struct message_initiation initiate(struct end *from)
{
	uint8_t timestamp[TAI64N_LEN];
	next_timestamp(timestamp);
	return initiate_at(from, timestamp);
}

static inline enum handshake_verdict
consume_initiation(struct end *to, const struct message_initiation *msg, uint64_t now_ns)
{
	struct initiation_opened o;
	if (!initiation_open(&o, &to->id, msg))
		return HANDSHAKE_BAD;
	enum handshake_verdict v = handshake_consume_initiation(&to->hs, &to->id, &o, msg, now_ns);
	initiation_opened_wipe(&o);
	return v;
}

static inline struct message_response respond(struct end *from)
{
	struct message_response msg;
	struct handshake_entropy e = random_entropy();
	cr_assert(handshake_create_response(&from->hs, &from->id, &e, &msg));
	return msg;
}

/* Both ends derived the same session. */
static inline void check_session(struct end *initiator, struct end *responder)
{
	struct session_keys i, r;
	cr_assert(handshake_begin_session(&initiator->hs, &i));
	cr_assert(handshake_begin_session(&responder->hs, &r));
	cr_assert(i.is_initiator && !r.is_initiator);
	cr_assert(memcmp(i.sending, r.receiving, NOISE_KEY_LEN) == 0);
	cr_assert(memcmp(i.receiving, r.sending, NOISE_KEY_LEN) == 0);
	cr_assert(memcmp(i.sending, i.receiving, NOISE_KEY_LEN) != 0);
	cr_assert(i.local_index == r.remote_index && i.remote_index == r.local_index);
}

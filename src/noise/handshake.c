/* SPDX-License-Identifier: MPL-2.0 */
/* Noise_IKpsk2. Every message is built or consumed on a local transcript, which is committed to the
 * handshake as the last step: a failure leaves nothing behind. Names as in the specification: C is
 * the chaining key, H the hash. */
#include "noise/handshake.h"

#include <assert.h>
#include <string.h>

#include "base/trace.h"
#include "crypto/blake2s.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "crypto/x25519.h"
#include "crypto/xaead.h"

#define RESTART (BIT(HS_ZEROED) | BIT(HS_CREATED_INITIATION) | BIT(HS_CONSUMED_INITIATION))

/* clang-format off */
static const struct {
	const char *name;
	uint32_t may_become;
} states[HS_N_STATES] = {
	[HS_ZEROED]              = { "zeroed",              RESTART },
	[HS_CREATED_INITIATION]  = { "created-initiation",  RESTART | BIT(HS_CONSUMED_RESPONSE) },
	[HS_CONSUMED_INITIATION] = { "consumed-initiation", RESTART | BIT(HS_CREATED_RESPONSE) },
	[HS_CREATED_RESPONSE]    = { "created-response",    RESTART },
	[HS_CONSUMED_RESPONSE]   = { "consumed-response",   RESTART },
};
/* clang-format on */

/* All that is secret while one message is worked on; wiped when it leaves its scope. */
struct transcript {
	uint8_t hash[NOISE_HASH_LEN];
	uint8_t chaining_key[NOISE_HASH_LEN];
	uint8_t key[NOISE_KEY_LEN]; /* of the next AEAD */
};

static void transcript_wipe(struct transcript *t)
{
	secret_wipe(t, sizeof(*t));
}

/* H = HASH(H || data) */
static void mix_hash(struct transcript *t, const uint8_t *data, size_t len)
{
	blake2s_hash(t->hash, (struct bytes[]){ { t->hash, sizeof(t->hash) }, { data, len } }, 2);
}

/* P-040. The first two hashes are of constants; next to a DH they cost nothing. */
static void transcript_start(struct transcript *t, const uint8_t responder_static[NOISE_KEY_LEN])
{
	static const char construction[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"; /* P-001 */
	static const char identifier[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";      /* P-002 */
	struct bytes name = { (const uint8_t *)construction, sizeof(construction) - 1 };
	blake2s_hash(t->chaining_key, &name, 1);
	memcpy(t->hash, t->chaining_key, sizeof(t->hash));
	mix_hash(t, (const uint8_t *)identifier, sizeof(identifier) - 1);
	mix_hash(t, responder_static, NOISE_KEY_LEN);
}

/* e: psk mode mixes the ephemeral key into C too (P-041, P-060). */
static void mix_ephemeral(struct transcript *t, const uint8_t ephemeral[NOISE_KEY_LEN])
{
	mix_hash(t, ephemeral, NOISE_KEY_LEN);
	kdf1(t->chaining_key, t->chaining_key, (struct bytes){ ephemeral, NOISE_KEY_LEN });
}

/* (C, key) = KDF2(C, shared). In the response nobody uses the key: there C = KDF1(C, shared), which
 * is the same C (P-021). */
static void mix_shared(struct transcript *t, const uint8_t shared[NOISE_KEY_LEN])
{
	kdf2(t->chaining_key, t->key, t->chaining_key, (struct bytes){ shared, NOISE_KEY_LEN });
}

/* P-062 */
static void mix_psk(struct transcript *t, const uint8_t psk[NOISE_KEY_LEN])
{
	uint8_t tau[NOISE_HASH_LEN];
	kdf3(t->chaining_key, tau, t->key, t->chaining_key, (struct bytes){ psk, NOISE_KEY_LEN });
	mix_hash(t, tau, sizeof(tau));
	secret_wipe(tau, sizeof(tau));
}

/* box = AEAD(key, 0, plaintext, H); H = HASH(H || box) */
static void seal_and_hash(struct transcript *t, uint8_t *box, struct bytes plaintext)
{
	chacha20poly1305_seal(box, t->key, 0, plaintext,
			      (struct bytes){ t->hash, sizeof(t->hash) });
	mix_hash(t, box, plaintext.len + NOISE_TAG_LEN);
}

MUST_CHECK static bool open_and_hash(struct transcript *t, uint8_t *plaintext, struct bytes box)
{
	if (!chacha20poly1305_open(plaintext, t->key, 0, box,
				   (struct bytes){ t->hash, sizeof(t->hash) }))
		return false;
	mix_hash(t, box.data, box.len);
	return true;
}

/* A secret is held exactly as long as a later message needs it. */
static bool handshake_invariant(const struct handshake *hs)
{
	bool has_transcript = !secret_is_zero(hs->chaining_key, sizeof(hs->chaining_key));
	bool has_ephemeral = !secret_is_zero(hs->ephemeral_private, sizeof(hs->ephemeral_private));
	bool has_remote = !secret_is_zero(hs->remote_ephemeral, sizeof(hs->remote_ephemeral));
	return has_transcript == (hs->state != HS_ZEROED) &&
	       has_ephemeral == (hs->state == HS_CREATED_INITIATION) &&
	       has_remote == (hs->state == HS_CONSUMED_INITIATION);
}

/* Makes @t the state of the handshake. The ephemeral keys are the caller's to set before. */
static void handshake_move(struct handshake *hs, enum handshake_state next,
			   const struct transcript *t)
{
	assert(states[hs->state].may_become & BIT(next));
	memcpy(hs->hash, t->hash, sizeof(hs->hash));
	memcpy(hs->chaining_key, t->chaining_key, sizeof(hs->chaining_key));
	TRACE3(handshake_move, hs, states[hs->state].name, states[next].name);
	hs->state = next;
	assert(handshake_invariant(hs));
}

const char *handshake_state_name(enum handshake_state state)
{
	return states[state].name;
}

void handshake_init(struct handshake *hs, const uint8_t remote_static[NOISE_KEY_LEN])
{
	memset(hs, 0, sizeof(*hs));
	memcpy(hs->remote_static, remote_static, NOISE_KEY_LEN);
	macs_derive_keys(hs->mac1_key, hs->cookie_key, remote_static);
}

void handshake_finish(struct handshake *hs)
{
	secret_wipe(hs, sizeof(*hs));
}

void handshake_set_psk(struct handshake *hs, const uint8_t psk[NOISE_KEY_LEN])
{
	memcpy(hs->preshared_key, psk, NOISE_KEY_LEN);
}

void handshake_identity_changed(struct handshake *hs)
{
	hs->has_static_static = false;
	hs->static_static_is_zero = false;
	secret_wipe(hs->static_static, sizeof(hs->static_static));
	handshake_clear(hs);
}

void handshake_clear(struct handshake *hs)
{
	hs->state = HS_ZEROED;
	hs->local_index = 0;
	hs->remote_index = 0;
	secret_wipe(hs->hash, sizeof(hs->hash));
	secret_wipe(hs->chaining_key, sizeof(hs->chaining_key));
	secret_wipe(hs->ephemeral_private, sizeof(hs->ephemeral_private));
	secret_wipe(hs->remote_ephemeral, sizeof(hs->remote_ephemeral));
	assert(handshake_invariant(hs));
}

/* The second shared key of a step that has two. */
static void run_second(struct handshake_dh *dh)
{
	if (dh->step == DH_RESPOND)
		dh->ok = x25519(dh->shared[1], dh->private_key, dh->remote_key[1]);
	else if (dh->step == DH_FINISH)
		dh->ok = x25519(dh->shared[1], dh->own_static, dh->remote_key[0]);
}

void handshake_dh_run(struct handshake_dh *dh)
{
	dh->ok = x25519(dh->shared[0], dh->private_key, dh->remote_key[0]);
	if (dh->ok)
		run_second(dh);
	if (dh->ok && (dh->step == DH_RESPOND || dh->step == DH_INITIATE))
		x25519_public(dh->public_key, dh->private_key);
}

void handshake_dh_wipe(struct handshake_dh *dh)
{
	secret_wipe(dh, sizeof(*dh));
}

void handshake_static_dh(struct handshake_dh *ret, const struct handshake *hs,
			 const struct identity *id)
{
	assert(id->has_private_key);
	ret->step = DH_STATIC;
	memcpy(ret->private_key, id->private_key, NOISE_KEY_LEN);
	memcpy(ret->remote_key[0], hs->remote_static, NOISE_KEY_LEN);
}

void handshake_set_static_static(struct handshake *hs, const struct handshake_dh *dh)
{
	assert(dh->step == DH_STATIC &&
	       memcmp(dh->remote_key[0], hs->remote_static, NOISE_KEY_LEN) == 0);
	memcpy(hs->static_static, dh->shared[0], NOISE_KEY_LEN); /* zero if it is not ok */
	hs->static_static_is_zero = !dh->ok;
	hs->has_static_static = true;
}

bool handshake_precompute(struct handshake *hs, const struct identity *id)
{
	if (!id->has_private_key)
		return false;
	if (!hs->has_static_static) {
		struct handshake_dh dh CLEANUP(handshake_dh_wipe);
		handshake_static_dh(&dh, hs, id);
		handshake_dh_run(&dh);
		handshake_set_static_static(hs, &dh);
	}
	return !hs->static_static_is_zero;
}

void handshake_initiation_dh(struct handshake_dh *ret, const struct handshake *hs,
			     const uint8_t ephemeral_private[NOISE_KEY_LEN])
{
	ret->step = DH_INITIATE;
	memcpy(ret->private_key, ephemeral_private, NOISE_KEY_LEN);
	x25519_clamp(ret->private_key);
	memcpy(ret->remote_key[0], hs->remote_static, NOISE_KEY_LEN);
}

bool handshake_create_initiation_with(struct handshake *hs, const struct identity *id,
				      const struct handshake_dh *dh, uint32_t index,
				      const uint8_t timestamp[TAI64N_LEN],
				      struct message_initiation *ret_msg)
{
	assert(dh->step == DH_INITIATE && hs->has_static_static &&
	       memcmp(dh->remote_key[0], hs->remote_static, NOISE_KEY_LEN) == 0);
	if (!id->has_private_key || hs->static_static_is_zero || !dh->ok)
		return false;

	struct transcript t CLEANUP(transcript_wipe);
	struct message_initiation msg = { .type = le32(MESSAGE_INITIATION),
					  .sender_index = le32(index) };
	transcript_start(&t, hs->remote_static);
	memcpy(msg.ephemeral, dh->public_key, NOISE_KEY_LEN);
	mix_ephemeral(&t, msg.ephemeral);
	mix_shared(&t, dh->shared[0]); /* es */
	seal_and_hash(&t, msg.encrypted_static, (struct bytes){ id->public_key, NOISE_KEY_LEN });
	mix_shared(&t, hs->static_static); /* ss */
	seal_and_hash(&t, msg.encrypted_timestamp, (struct bytes){ timestamp, TAI64N_LEN });

	memcpy(hs->ephemeral_private, dh->private_key, NOISE_KEY_LEN);
	secret_wipe(hs->remote_ephemeral, sizeof(hs->remote_ephemeral));
	hs->local_index = index;
	hs->remote_index = 0;
	handshake_move(hs, HS_CREATED_INITIATION, &t);
	*ret_msg = msg;
	return true;
}

bool handshake_create_initiation(struct handshake *hs, const struct identity *id,
				 const struct handshake_entropy *e,
				 const uint8_t timestamp[TAI64N_LEN],
				 struct message_initiation *ret_msg)
{
	if (!handshake_precompute(hs, id))
		return false;

	struct handshake_dh dh CLEANUP(handshake_dh_wipe);
	handshake_initiation_dh(&dh, hs, e->ephemeral_private);
	handshake_dh_run(&dh);
	return handshake_create_initiation_with(hs, id, &dh, e->index, timestamp, ret_msg);
}

void initiation_dh(struct handshake_dh *ret, const struct identity *id,
		   const struct message_initiation *msg)
{
	assert(id->has_private_key);
	ret->step = DH_OPEN;
	memcpy(ret->private_key, id->private_key, NOISE_KEY_LEN);
	memcpy(ret->remote_key[0], msg->ephemeral, NOISE_KEY_LEN);
}

bool initiation_open_with(struct initiation_opened *ret, const struct identity *id,
			  const struct message_initiation *msg, const struct handshake_dh *dh)
{
	assert(dh->step == DH_OPEN &&
	       memcmp(dh->remote_key[0], msg->ephemeral, NOISE_KEY_LEN) == 0);
	if (!dh->ok)
		return false;

	struct transcript t CLEANUP(transcript_wipe);
	uint8_t remote_static[NOISE_KEY_LEN];
	transcript_start(&t, id->public_key);
	mix_ephemeral(&t, msg->ephemeral);
	mix_shared(&t, dh->shared[0]); /* es */
	if (!open_and_hash(&t, remote_static,
			   (struct bytes){ msg->encrypted_static, sizeof(msg->encrypted_static) }))
		return false;

	memcpy(ret->remote_static, remote_static, NOISE_KEY_LEN);
	memcpy(ret->hash, t.hash, sizeof(ret->hash));
	memcpy(ret->chaining_key, t.chaining_key, sizeof(ret->chaining_key));
	return true;
}

bool initiation_open(struct initiation_opened *ret, const struct identity *id,
		     const struct message_initiation *msg)
{
	if (!id->has_private_key)
		return false;

	struct handshake_dh dh CLEANUP(handshake_dh_wipe);
	initiation_dh(&dh, id, msg);
	handshake_dh_run(&dh);
	return initiation_open_with(ret, id, msg, &dh);
}

void initiation_opened_wipe(struct initiation_opened *o)
{
	secret_wipe(o, sizeof(*o));
}

enum handshake_verdict handshake_consume_initiation(struct handshake *hs, const struct identity *id,
						    const struct initiation_opened *o,
						    const struct message_initiation *msg,
						    uint64_t now_ns)
{
	assert(memcmp(hs->remote_static, o->remote_static, NOISE_KEY_LEN) == 0);
	if (!handshake_precompute(hs, id))
		return HANDSHAKE_BAD;

	struct transcript t CLEANUP(transcript_wipe);
	uint8_t timestamp[TAI64N_LEN];
	memcpy(t.hash, o->hash, sizeof(t.hash));
	memcpy(t.chaining_key, o->chaining_key, sizeof(t.chaining_key));
	mix_shared(&t, hs->static_static); /* ss */
	if (!open_and_hash(
		    &t, timestamp,
		    (struct bytes){ msg->encrypted_timestamp, sizeof(msg->encrypted_timestamp) }))
		return HANDSHAKE_BAD;
	if (memcmp(timestamp, hs->latest_timestamp, TAI64N_LEN) <= 0)
		return HANDSHAKE_REPLAY;
	/* Written so that a clock read on another thread, slightly earlier, is a flood too. */
	if (hs->has_consumed && now_ns < hs->last_consumed_ns + INITIATION_MIN_INTERVAL_NS)
		return HANDSHAKE_FLOOD;

	memcpy(hs->latest_timestamp, timestamp, TAI64N_LEN);
	hs->has_consumed = true;
	hs->last_consumed_ns = now_ns;
	memcpy(hs->remote_ephemeral, msg->ephemeral, NOISE_KEY_LEN);
	secret_wipe(hs->ephemeral_private, sizeof(hs->ephemeral_private));
	hs->remote_index = le32_get(msg->sender_index);
	handshake_move(hs, HS_CONSUMED_INITIATION, &t);
	return HANDSHAKE_OK;
}

void handshake_response_dh(struct handshake_dh *ret, const struct handshake *hs,
			   const uint8_t ephemeral_private[NOISE_KEY_LEN])
{
	assert(hs->state == HS_CONSUMED_INITIATION);
	ret->step = DH_RESPOND;
	memcpy(ret->private_key, ephemeral_private, NOISE_KEY_LEN);
	x25519_clamp(ret->private_key);
	memcpy(ret->remote_key[0], hs->remote_ephemeral, NOISE_KEY_LEN);
	memcpy(ret->remote_key[1], hs->remote_static, NOISE_KEY_LEN);
}

bool handshake_create_response_with(struct handshake *hs, const struct identity *id,
				    const struct handshake_dh *dh, uint32_t index,
				    struct message_response *ret_msg)
{
	assert(dh->step == DH_RESPOND);
	if (hs->state != HS_CONSUMED_INITIATION || !id->has_private_key || !dh->ok ||
	    memcmp(dh->remote_key[0], hs->remote_ephemeral, NOISE_KEY_LEN) != 0 ||
	    memcmp(dh->remote_key[1], hs->remote_static, NOISE_KEY_LEN) != 0)
		return false;

	struct transcript t CLEANUP(transcript_wipe);
	struct message_response msg = { .type = le32(MESSAGE_RESPONSE),
					.sender_index = le32(index),
					.receiver_index = le32(hs->remote_index) };
	memcpy(t.hash, hs->hash, sizeof(t.hash));
	memcpy(t.chaining_key, hs->chaining_key, sizeof(t.chaining_key));
	memcpy(msg.ephemeral, dh->public_key, NOISE_KEY_LEN);
	mix_ephemeral(&t, msg.ephemeral);
	mix_shared(&t, dh->shared[0]); /* ee */
	mix_shared(&t, dh->shared[1]); /* se */
	mix_psk(&t, hs->preshared_key);
	seal_and_hash(&t, msg.encrypted_nothing, (struct bytes){ NULL, 0 });

	secret_wipe(hs->remote_ephemeral, sizeof(hs->remote_ephemeral));
	hs->local_index = index;
	handshake_move(hs, HS_CREATED_RESPONSE, &t);
	*ret_msg = msg;
	return true;
}

bool handshake_create_response(struct handshake *hs, const struct identity *id,
			       const struct handshake_entropy *e, struct message_response *ret_msg)
{
	if (hs->state != HS_CONSUMED_INITIATION)
		return false;

	struct handshake_dh dh CLEANUP(handshake_dh_wipe);
	handshake_response_dh(&dh, hs, e->ephemeral_private);
	handshake_dh_run(&dh);
	return handshake_create_response_with(hs, id, &dh, e->index, ret_msg);
}

bool handshake_finish_dh(struct handshake_dh *ret, const struct handshake *hs,
			 const struct identity *id, const struct message_response *msg)
{
	if (hs->state != HS_CREATED_INITIATION || !id->has_private_key ||
	    le32_get(msg->receiver_index) != hs->local_index)
		return false;
	ret->step = DH_FINISH;
	memcpy(ret->private_key, hs->ephemeral_private, NOISE_KEY_LEN);
	memcpy(ret->own_static, id->private_key, NOISE_KEY_LEN);
	memcpy(ret->remote_key[0], msg->ephemeral, NOISE_KEY_LEN);
	return true;
}

bool handshake_consume_response_with(struct handshake *hs, const struct identity *id,
				     const struct handshake_dh *dh,
				     const struct message_response *msg)
{
	assert(dh->step == DH_FINISH);
	if (hs->state != HS_CREATED_INITIATION || !id->has_private_key || !dh->ok ||
	    le32_get(msg->receiver_index) != hs->local_index ||
	    !secret_equal(dh->private_key, hs->ephemeral_private, NOISE_KEY_LEN) ||
	    !secret_equal(dh->own_static, id->private_key, NOISE_KEY_LEN) ||
	    memcmp(dh->remote_key[0], msg->ephemeral, NOISE_KEY_LEN) != 0)
		return false;

	struct transcript t CLEANUP(transcript_wipe);
	memcpy(t.hash, hs->hash, sizeof(t.hash));
	memcpy(t.chaining_key, hs->chaining_key, sizeof(t.chaining_key));
	mix_ephemeral(&t, msg->ephemeral);
	mix_shared(&t, dh->shared[0]); /* ee */
	mix_shared(&t, dh->shared[1]); /* se */
	mix_psk(&t, hs->preshared_key);
	if (!open_and_hash(
		    &t, NULL,
		    (struct bytes){ msg->encrypted_nothing, sizeof(msg->encrypted_nothing) }))
		return false;

	secret_wipe(hs->ephemeral_private, sizeof(hs->ephemeral_private));
	hs->remote_index = le32_get(msg->sender_index);
	handshake_move(hs, HS_CONSUMED_RESPONSE, &t);
	return true;
}

bool handshake_consume_response(struct handshake *hs, const struct identity *id,
				const struct message_response *msg)
{
	struct handshake_dh dh CLEANUP(handshake_dh_wipe) = { 0 };

	if (!handshake_finish_dh(&dh, hs, id, msg))
		return false;
	handshake_dh_run(&dh);
	return handshake_consume_response_with(hs, id, &dh, msg);
}

bool handshake_begin_session(struct handshake *hs, struct session_keys *ret)
{
	if (hs->state != HS_CREATED_RESPONSE && hs->state != HS_CONSUMED_RESPONSE)
		return false;

	ret->is_initiator = hs->state == HS_CONSUMED_RESPONSE;
	ret->local_index = hs->local_index;
	ret->remote_index = hs->remote_index;
	uint8_t *t1 = ret->is_initiator ? ret->sending : ret->receiving;
	uint8_t *t2 = ret->is_initiator ? ret->receiving : ret->sending;
	kdf2(t1, t2, hs->chaining_key, (struct bytes){ NULL, 0 });
	handshake_clear(hs);
	return true;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* The transcripts of handshake_vector.json, bit for bit, in both roles: every step value, both
 * messages with their macs, session keys, the cookie exchange, and transport packets. */
#include <stdio.h>

#include "crypto/blake2s.h"
#include "crypto/kdf.h"
#include "crypto/x25519.h"
#include "crypto/xaead.h"
#include "fixture.h"
#include "handshake_vectors.h"

#define ASSERT_BYTES(got, want, ...) \
	cr_assert(memcmp((got), (want).data, (want).len) == 0, __VA_ARGS__)

static struct end initiator;
static struct end responder;

static void init(void)
{
	cr_assert(crypto_init() == 0);
}

TestSuite(handshake_vectors, .init = init);

static void ends_from(const struct vector_transcripts *v)
{
	initiator = (struct end){ 0 };
	responder = (struct end){ 0 };
	identity_set(&initiator.id, v->inputs.initiator_static_private.data);
	identity_set(&responder.id, v->inputs.responder_static_private.data);
	handshake_init(&initiator.hs, v->inputs.responder_static_public.data);
	handshake_init(&responder.hs, v->inputs.initiator_static_public.data);
	handshake_set_psk(&initiator.hs, v->inputs.preshared_key.data);
	handshake_set_psk(&responder.hs, v->inputs.preshared_key.data);
}

static struct handshake_entropy entropy(struct bytes ephemeral, uint64_t index)
{
	struct handshake_entropy e = { .index = (uint32_t)index };
	memcpy(e.ephemeral_private, ephemeral.data, NOISE_KEY_LEN);
	return e;
}

static struct bytes step(const struct vector_transcripts *v, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(v->steps); i++)
		if (strcmp(v->steps[i].name, name) == 0)
			return v->steps[i].value;
	cr_assert_fail("no step %s", name);
	return (struct bytes){ NULL, 0 };
}

static void check_step(const struct vector_transcripts *v, const char *name, const uint8_t *got)
{
	ASSERT_BYTES(got, step(v, name), "%s: %s", v->name, name);
}

static struct message_initiation make_initiation(const struct vector_transcripts *v)
{
	struct message_initiation msg;
	uint8_t timestamp[TAI64N_LEN];
	struct handshake_entropy e =
		entropy(v->inputs.initiator_ephemeral_private, v->inputs.initiator_index);
	tai64n_now(timestamp, v->inputs.unix_time.sec, (uint32_t)v->inputs.unix_time.nsec);
	ASSERT_BYTES(timestamp, v->inputs.tai64n, "%s", v->name);
	cr_assert(handshake_create_initiation(&initiator.hs, &initiator.id, &e, timestamp, &msg));
	cookie_jar_add_macs(&initiator.jar, &initiator.hs, (uint8_t *)&msg, sizeof(msg), T0_NS);
	return msg;
}

static struct message_response make_response(const struct vector_transcripts *v)
{
	struct message_response msg;
	struct handshake_entropy e =
		entropy(v->inputs.responder_ephemeral_private, v->inputs.responder_index);
	cr_assert(handshake_create_response(&responder.hs, &responder.id, &e, &msg));
	cookie_jar_add_macs(&responder.jar, &responder.hs, (uint8_t *)&msg, sizeof(msg), T0_NS);
	return msg;
}

static void load_initiation(struct message_initiation *ret, const struct vector_transcripts *v)
{
	cr_assert(message_classify(v->initiation.data, v->initiation.len) == MESSAGE_INITIATION);
	memcpy(ret, v->initiation.data, sizeof(*ret));
}

static void check_keys(const struct vector_transcripts *v, const struct session_keys *k)
{
	struct bytes i = v->keys.initiator_to_responder;
	struct bytes r = v->keys.responder_to_initiator;
	ASSERT_BYTES(k->sending, k->is_initiator ? i : r, "%s", v->name);
	ASSERT_BYTES(k->receiving, k->is_initiator ? r : i, "%s", v->name);
	cr_assert(k->local_index ==
		  (k->is_initiator ? v->inputs.initiator_index : v->inputs.responder_index));
	cr_assert(k->remote_index ==
		  (k->is_initiator ? v->inputs.responder_index : v->inputs.initiator_index));
}

Test(handshake_vectors, as_initiator)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors_transcripts); i++) {
		const struct vector_transcripts *v = &vectors_transcripts[i];
		ends_from(v);
		struct message_initiation msg = make_initiation(v);
		ASSERT_BYTES(&msg, v->initiation, "%s", v->name);
		check_step(v, "dh_ss", initiator.hs.static_static);
		check_step(v, "hash_after_encrypted_timestamp", initiator.hs.hash);
		check_step(v, "chaining_key_after_ss", initiator.hs.chaining_key);

		cr_assert(macs_check_mac1(&initiator.id, v->response.data, v->response.len));
		cr_assert(handshake_consume_response(&initiator.hs, &initiator.id,
						     (const void *)v->response.data));
		check_step(v, "hash_after_encrypted_empty", initiator.hs.hash);
		check_step(v, "chaining_key_after_psk", initiator.hs.chaining_key);

		struct session_keys k;
		cr_assert(handshake_begin_session(&initiator.hs, &k));
		cr_assert(k.is_initiator);
		check_keys(v, &k);
	}
}

Test(handshake_vectors, as_responder)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors_transcripts); i++) {
		const struct vector_transcripts *v = &vectors_transcripts[i];
		struct message_initiation msg;
		struct initiation_opened o;
		ends_from(v);
		load_initiation(&msg, v);
		cr_assert(macs_check_mac1(&responder.id, v->initiation.data, v->initiation.len));
		cr_assert(initiation_open(&o, &responder.id, &msg));
		ASSERT_BYTES(o.remote_static, v->inputs.initiator_static_public, "%s", v->name);
		check_step(v, "hash_after_encrypted_static", o.hash);
		check_step(v, "chaining_key_after_es", o.chaining_key);

		cr_assert(handshake_consume_initiation(&responder.hs, &responder.id, &o, &msg,
						       T0_NS) == HANDSHAKE_OK);
		check_step(v, "hash_after_encrypted_timestamp", responder.hs.hash);
		check_step(v, "chaining_key_after_ss", responder.hs.chaining_key);
		ASSERT_BYTES(responder.hs.latest_timestamp, v->inputs.tai64n, "%s", v->name);

		struct message_response response = make_response(v);
		ASSERT_BYTES(&response, v->response, "%s", v->name);
		check_step(v, "hash_after_encrypted_empty", responder.hs.hash);
		check_step(v, "chaining_key_after_psk", responder.hs.chaining_key);

		struct session_keys k;
		cr_assert(handshake_begin_session(&responder.hs, &k));
		cr_assert(!k.is_initiator);
		check_keys(v, &k);
	}
}

/* The transcript spelled out with the primitives alone: pinpoints the first wrong step, and shows
 * that the names above are what the specification calls them. */
struct walk {
	const struct vector_transcripts *v;
	uint8_t h[32], c[32], k[32], dh[32];
};

static void walk_hash(struct walk *w, struct bytes in, const char *name)
{
	blake2s_hash(w->h, (struct bytes[]){ { w->h, sizeof(w->h) }, in }, 2);
	check_step(w->v, name, w->h);
}

static void walk_ephemeral(struct walk *w, struct bytes pub, const char *h_name, const char *c_name)
{
	walk_hash(w, pub, h_name);
	kdf1(w->c, w->c, pub);
	check_step(w->v, c_name, w->c);
}

/* C = KDF1(C, dh), or with the AEAD key as KDF2's second half. Either role gives the same DH. */
static void walk_dh(struct walk *w, struct bytes priv, struct bytes pub, const char *name)
{
	char step_name[64];
	struct bytes dh = { w->dh, sizeof(w->dh) };
	bool is_initiation = strcmp(name, "es") == 0 || strcmp(name, "ss") == 0;
	cr_assert(x25519(w->dh, priv.data, pub.data));
	snprintf(step_name, sizeof(step_name), "dh_%s", name);
	check_step(w->v, step_name, w->dh);

	if (is_initiation) {
		kdf2(w->c, w->k, w->c, dh);
		snprintf(step_name, sizeof(step_name), "key_after_%s", name);
		check_step(w->v, step_name, w->k);
	} else {
		kdf1(w->c, w->c, dh);
	}
	snprintf(step_name, sizeof(step_name), "chaining_key_after_%s", name);
	check_step(w->v, step_name, w->c);
}

static void walk_start(struct walk *w)
{
	static const char construction[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
	static const char identifier[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";
	cr_assert(sizeof(construction) - 1 == 37 && sizeof(identifier) - 1 == 34);
	blake2s_hash(w->c, &(struct bytes){ (const uint8_t *)construction, 37 }, 1);
	check_step(w->v, "initial_chaining_key", w->c);
	memcpy(w->h, w->c, sizeof(w->h));
	walk_hash(w, (struct bytes){ (const uint8_t *)identifier, 34 }, "initial_hash");
	walk_hash(w, w->v->inputs.responder_static_public, "hash_after_responder_static");
}

static void walk_initiation(struct walk *w)
{
	const struct vector_transcripts *v = w->v;
	const struct message_initiation *msg = (const void *)v->initiation.data;
	walk_ephemeral(w, v->inputs.initiator_ephemeral_public, "hash_after_initiator_ephemeral",
		       "chaining_key_after_initiator_ephemeral");
	walk_dh(w, v->inputs.initiator_ephemeral_private, v->inputs.responder_static_public, "es");
	walk_hash(w, (struct bytes){ msg->encrypted_static, sizeof(msg->encrypted_static) },
		  "hash_after_encrypted_static");
	walk_dh(w, v->inputs.responder_static_private, v->inputs.initiator_static_public, "ss");
	walk_hash(w, (struct bytes){ msg->encrypted_timestamp, sizeof(msg->encrypted_timestamp) },
		  "hash_after_encrypted_timestamp");
}

static void walk_response(struct walk *w)
{
	const struct vector_transcripts *v = w->v;
	const struct message_response *msg = (const void *)v->response.data;
	uint8_t tau[32];
	uint8_t t2[32];
	walk_ephemeral(w, v->inputs.responder_ephemeral_public, "hash_after_responder_ephemeral",
		       "chaining_key_after_responder_ephemeral");
	walk_dh(w, v->inputs.responder_ephemeral_private, v->inputs.initiator_ephemeral_public,
		"ee");
	walk_dh(w, v->inputs.responder_ephemeral_private, v->inputs.initiator_static_public, "se");
	kdf3(w->c, tau, w->k, w->c, v->inputs.preshared_key);
	check_step(v, "chaining_key_after_psk", w->c);
	check_step(v, "tau", tau);
	check_step(v, "key_after_psk", w->k);
	walk_hash(w, (struct bytes){ tau, sizeof(tau) }, "hash_after_tau");
	check_step(v, "encrypted_empty", msg->encrypted_nothing);
	walk_hash(w, (struct bytes){ msg->encrypted_nothing, NOISE_TAG_LEN },
		  "hash_after_encrypted_empty");
	kdf2(w->c, t2, w->c, (struct bytes){ NULL, 0 });
	check_step(v, "initiator_sending_key", w->c);
	check_step(v, "responder_sending_key", t2);
}

Test(handshake_vectors, every_step)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors_transcripts); i++) {
		struct walk w = { .v = &vectors_transcripts[i] };
		walk_start(&w);
		walk_initiation(&w);
		walk_response(&w);
	}
}

Test(handshake_vectors, precomputed_keys)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors_transcripts); i++) {
		const struct vector_transcripts *v = &vectors_transcripts[i];
		ends_from(v);
		ASSERT_BYTES(initiator.hs.mac1_key, v->precomputed.initiator_mac1_key_for_responder,
			     "%s", v->name);
		ASSERT_BYTES(responder.hs.mac1_key, v->precomputed.responder_mac1_key_for_initiator,
			     "%s", v->name);
		ASSERT_BYTES(initiator.hs.cookie_key, v->precomputed.responder_cookie_key, "%s",
			     v->name);
		ASSERT_BYTES(responder.hs.cookie_key, v->precomputed.initiator_cookie_key, "%s",
			     v->name);
	}
}

Test(handshake_vectors, cookie)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors_transcripts); i++) {
		const struct vector_transcripts *v = &vectors_transcripts[i];
		struct cookie_checker checker = { 0 };
		struct message_cookie_reply reply;
		ends_from(v);
		struct message_initiation msg = make_initiation(v);

		/* as the refusing side */
		cookie_checker_renew(&checker, v->cookie.secret.data, T0_NS);
		cr_assert(!cookie_check_mac2(&checker, (uint8_t *)&msg, sizeof(msg),
					     v->cookie.mac_input));
		cookie_create_reply(&reply, &checker, &responder.id, (uint8_t *)&msg, sizeof(msg),
				    v->cookie.mac_input, v->cookie.nonce.data);
		cr_assert(v->cookie.reply.len == sizeof(reply));
		ASSERT_BYTES(&reply, v->cookie.reply, "%s", v->name);

		/* as the refused side */
		ASSERT_BYTES(initiator.jar.last_mac1, v->cookie.associated_data_mac1, "%s",
			     v->name);
		cr_assert(cookie_jar_consume_reply(&initiator.jar, &initiator.hs, &reply, T0_NS));
		ASSERT_BYTES(initiator.jar.cookie, v->cookie.cookie, "%s", v->name);

		struct handshake_entropy e =
			entropy(v->cookie.retry_ephemeral_private, v->cookie.retry_index);
		cr_assert(handshake_create_initiation(&initiator.hs, &initiator.id, &e,
						      v->cookie.retry_tai64n.data, &msg));
		cookie_jar_add_macs(&initiator.jar, &initiator.hs, (uint8_t *)&msg, sizeof(msg),
				    T0_NS + 5 * NSEC_PER_SEC);
		ASSERT_BYTES(msg.macs.mac2, v->cookie.retry_mac2, "%s", v->name);
		ASSERT_BYTES(&msg, v->cookie.retry_initiation_with_mac2, "%s", v->name);
		cr_assert(cookie_check_mac2(&checker, (uint8_t *)&msg, sizeof(msg),
					    v->cookie.mac_input));
	}
}

/* Frame and keys; the AEAD kernels of transport have tests of their own. */
Test(handshake_vectors, packets)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors_transcripts); i++) {
		const struct vector_transcripts *v = &vectors_transcripts[i];
		for (size_t j = 0; j < ARRAY_SIZE(v->packets); j++) {
			bool from_initiator = strcmp(v->packets[j].from, "initiator") == 0;
			struct bytes key = from_initiator ? v->keys.initiator_to_responder
							  : v->keys.responder_to_initiator;
			uint64_t index = from_initiator ? v->inputs.responder_index
							: v->inputs.initiator_index;
			struct bytes d = v->packets[j].datagram;
			struct bytes text = v->packets[j].padded_plaintext;
			const struct message_transport *msg = (const void *)d.data;
			uint8_t out[256];

			cr_assert(message_classify(d.data, d.len) == MESSAGE_TRANSPORT);
			cr_assert(le32_get(msg->receiver_index) == index);
			cr_assert(le64_get(msg->counter) == v->packets[j].counter);
			cr_assert(d.len == sizeof(*msg) + text.len + NOISE_TAG_LEN);
			chacha20poly1305_seal(out, key.data, v->packets[j].counter, text,
					      (struct bytes){ NULL, 0 });
			cr_assert(memcmp(out, msg + 1, text.len + NOISE_TAG_LEN) == 0);
			cr_assert(chacha20poly1305_open(
				out, key.data, v->packets[j].counter,
				(struct bytes){ (const uint8_t *)(msg + 1), d.len - sizeof(*msg) },
				(struct bytes){ NULL, 0 }));
			cr_assert(memcmp(out, text.data, text.len) == 0);
		}
	}
}

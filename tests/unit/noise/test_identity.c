/* SPDX-License-Identifier: MPL-2.0 */
/* The device's own key: clamping, "none", and what follows from it. */
#include "fixture.h"
#include "handshake_vectors.h"

static struct identity id;

static void init(void)
{
	cr_assert(crypto_init() == 0);
}

TestSuite(identity, .init = init);

Test(identity, derives_everything_at_once)
{
	const struct vector_transcripts *v = &vectors_transcripts[0];
	identity_set(&id, v->inputs.responder_static_private.data);
	cr_assert(id.has_private_key);
	cr_assert(memcmp(id.public_key, v->inputs.responder_static_public.data, 32) == 0);
	cr_assert(memcmp(id.mac1_key, v->precomputed.initiator_mac1_key_for_responder.data, 32) ==
		  0);
	cr_assert(memcmp(id.cookie_key, v->precomputed.responder_cookie_key.data, 32) == 0);

	/* P-110: all of it again with the next key */
	identity_set(&id, v->inputs.initiator_static_private.data);
	cr_assert(memcmp(id.public_key, v->inputs.initiator_static_public.data, 32) == 0);
	cr_assert(memcmp(id.mac1_key, v->precomputed.responder_mac1_key_for_initiator.data, 32) ==
		  0);
	cr_assert(memcmp(id.cookie_key, v->precomputed.initiator_cookie_key.data, 32) == 0);
}

Test(identity, clamps)
{
	struct identity other;
	uint8_t key[NOISE_KEY_LEN];
	random_bytes(key, sizeof(key));
	key[0] |= 7;
	key[31] |= 0x80;
	identity_set(&id, key);
	cr_assert((id.private_key[0] & 7) == 0 && (id.private_key[31] & 0xc0) == 0x40);
	cr_assert(memcmp(id.private_key + 1, key + 1, 30) == 0);

	identity_set(&other, id.private_key);
	cr_assert(memcmp(&other, &id, sizeof(id)) == 0);
	identity_set(&id, id.private_key); /* its own key */
	cr_assert(memcmp(&other, &id, sizeof(id)) == 0);
}

Test(identity, zero_means_none)
{
	static const uint8_t zero[NOISE_KEY_LEN];
	static const struct identity none;
	random_identity(&id);
	cr_assert(id.has_private_key);
	identity_set(&id, zero);
	cr_assert(memcmp(&id, &none, sizeof(id)) == 0);
}

Test(identity, one_bit_is_a_key)
{
	uint8_t key[NOISE_KEY_LEN] = { [0] = 1 }; /* clamping takes it away again */
	identity_set(&id, key);
	cr_assert(id.has_private_key);
}

Test(identity, finish_wipes)
{
	static const struct identity none;
	random_identity(&id);
	identity_finish(&id);
	cr_assert(memcmp(&id, &none, sizeof(id)) == 0);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* BLAKE2s and HMAC against RFC 7693, its self test and derived values. */
#include <string.h>

#include <criterion/criterion.h>

#include "base/macro.h"
#include "crypto/blake2s.h"
#include "crypto_vectors.h"

Test(blake2s, vectors)
{
	size_t n_macs = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vectors_blake2s); i++) {
		const struct vector_blake2s *v = &vectors_blake2s[i];
		uint8_t out[BLAKE2S_HASH_LEN];
		cr_assert(v->digest_size == v->out.len);
		blake2s_digest((struct mut_bytes){ out, v->out.len }, v->key, &v->in, 1);
		cr_assert(memcmp(out, v->out.data, v->out.len) == 0, "entry %zu, %s", i, v->source);

		if (v->digest_size == BLAKE2S_MAC_LEN && v->key.len) {
			blake2s_mac(out, v->key, v->in);
			n_macs++;
		} else if (!v->key.len) {
			blake2s_hash(out, &v->in, 1);
		}
		cr_assert(memcmp(out, v->out.data, v->out.len) == 0, "entry %zu, %s", i, v->source);
	}
	cr_assert(n_macs > 10);
}

/* RFC 7693, appendix E: how the self test makes its input. */
static void selftest_fill(uint8_t *out, size_t len, uint32_t seed)
{
	uint32_t a = 0xdead4bad * seed;
	uint32_t b = 1;
	for (size_t i = 0; i < len; i++) {
		uint32_t t = a + b;
		a = b;
		b = t;
		out[i] = (uint8_t)(t >> 24);
	}
}

Test(blake2s, grand_selftest)
{
	static const uint8_t out_len[] = { 16, 20, 28, 32 };
	static const uint16_t in_len[] = { 0, 3, 64, 65, 255, 1024 };
	uint8_t digests[ARRAY_SIZE(out_len) * ARRAY_SIZE(in_len) * 2 * 32];
	struct bytes all = { digests, 0 };
	uint8_t in[1024];
	uint8_t key[32];
	uint8_t out[BLAKE2S_HASH_LEN];

	for (size_t i = 0; i < ARRAY_SIZE(out_len); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(in_len); j++) {
			struct bytes text = { in, in_len[j] };
			selftest_fill(in, in_len[j], in_len[j]);
			blake2s_digest((struct mut_bytes){ digests + all.len, out_len[i] },
				       (struct bytes){ NULL, 0 }, &text, 1);
			all.len += out_len[i];
			selftest_fill(key, out_len[i], out_len[i]);
			blake2s_digest((struct mut_bytes){ digests + all.len, out_len[i] },
				       (struct bytes){ key, out_len[i] }, &text, 1);
			all.len += out_len[i];
		}
	}
	blake2s_hash(out, &all, 1);
	cr_assert(memcmp(out, vectors_blake2s_grand_selftest[0].out.data, sizeof(out)) == 0);
}

Test(blake2s, parts_are_one_message)
{
	uint8_t text[200];
	uint8_t whole[BLAKE2S_HASH_LEN];
	uint8_t split[BLAKE2S_HASH_LEN];
	selftest_fill(text, sizeof(text), 7);
	blake2s_hash(whole, &(struct bytes){ text, sizeof(text) }, 1);

	for (size_t i = 0; i <= sizeof(text); i++) {
		struct bytes parts[] = { { text, i / 2 },
					 { text + i / 2, i - i / 2 },
					 { NULL, 0 },
					 { text + i, sizeof(text) - i } };
		blake2s_hash(split, parts, ARRAY_SIZE(parts));
		cr_assert(memcmp(split, whole, sizeof(whole)) == 0, "split at %zu", i);
	}
}

Test(blake2s, output_may_be_an_input)
{
	uint8_t h[BLAKE2S_HASH_LEN] = { 1, 2, 3 };
	uint8_t want[BLAKE2S_HASH_LEN];
	struct bytes part = { h, sizeof(h) };

	blake2s_hash(want, &part, 1);
	blake2s_hash(h, &part, 1);
	cr_assert(memcmp(h, want, sizeof(h)) == 0);

	blake2s_hmac(want, part, part);
	blake2s_hmac(h, part, part);
	cr_assert(memcmp(h, want, sizeof(h)) == 0);
}

Test(blake2s, hmac_vectors)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors_hmac_blake2s); i++) {
		const struct vector_hmac_blake2s *v = &vectors_hmac_blake2s[i];
		uint8_t out[BLAKE2S_HASH_LEN];
		blake2s_hmac(out, v->key, v->in);
		cr_assert(memcmp(out, v->out.data, sizeof(out)) == 0, "key of %zu", v->key.len);
	}
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Every AEAD kernel against published vectors, and the contract of aead.h: padding, slices,
 * verdicts per job, wiping of what failed. */
#include <criterion/criterion.h>

#include "aead_fixture.h"
#include "aead_vectors.h"
#include "crypto/aead.h"
#include "crypto/aead_poly1305.h"

Test(aead, vectors_seal)
{
	uint8_t out[TEXT_MAX];

	for_each_kernel(k)
	{
		for (size_t i = 0; i < ARRAY_SIZE(vectors_chacha20poly1305); i++) {
			const struct vector_chacha20poly1305 *v = &vectors_chacha20poly1305[i];
			struct aead_seal_job job = {
				.key = v->key.data,
				.counter = load_le64(v->nonce.data + 4),
				.nonce_prefix = load_le32(v->nonce.data),
				.ad = v->ad.data,
				.ad_len = (uint32_t)v->ad.len,
				.in = { v->pt.data },
				.in_len = { (uint32_t)v->pt.len },
				.out = out,
			};
			k->seal_burst(&job, 1);
			cr_assert(v->box.len == v->pt.len + AEAD_TAG_LEN);
			cr_assert(memcmp(out, v->box.data, v->box.len) == 0, "%s: %s", k->name,
				  v->source);
		}
	}
}

Test(aead, vectors_open)
{
	uint8_t out[TEXT_MAX];

	for_each_kernel(k)
	{
		for (size_t i = 0; i < ARRAY_SIZE(vectors_chacha20poly1305); i++) {
			const struct vector_chacha20poly1305 *v = &vectors_chacha20poly1305[i];
			struct aead_open_job job = {
				.key = v->key.data,
				.counter = load_le64(v->nonce.data + 4),
				.nonce_prefix = load_le32(v->nonce.data),
				.ad = v->ad.data,
				.ad_len = (uint32_t)v->ad.len,
				.in = v->box.data,
				.in_len = (uint32_t)v->box.len,
				.out = out,
			};
			k->open_burst(&job, 1);
			cr_assert(job.ok, "%s: %s", k->name, v->source);
			cr_assert(memcmp(out, v->pt.data, v->pt.len) == 0, "%s: %s", k->name,
				  v->source);
		}
	}
}

/* Block 0 shows in the tag of nothing, the others in the ciphertext of zeros. */
Test(aead, vectors_chacha20_block)
{
	static const uint8_t zeros[TEXT_MAX];
	uint8_t out[TEXT_MAX], tag[AEAD_TAG_LEN];

	for_each_kernel(k)
	{
		for (size_t i = 0; i < ARRAY_SIZE(vectors_chacha20_block); i++) {
			const struct vector_chacha20_block *v = &vectors_chacha20_block[i];
			const uint32_t len = (uint32_t)v->counter * 64;
			struct aead_seal_job job = {
				.key = v->key.data,
				.counter = load_le64(v->nonce.data + 4),
				.nonce_prefix = load_le32(v->nonce.data),
				.in = { zeros },
				.in_len = { len },
				.out = out,
			};
			k->seal_burst(&job, 1);
			if (len) {
				cr_assert(memcmp(out + len - 64, v->out.data, 64) == 0, "%s: %s",
					  k->name, v->source);
				continue;
			}
			struct poly1305 p;
			poly1305_init(&p, v->out.data);
			poly1305_blocks(&p, zeros, 1);
			poly1305_finish(p.h, v->out.data, tag);
			cr_assert(memcmp(out, tag, sizeof(tag)) == 0, "%s: %s", k->name, v->source);
		}
	}
}

Test(aead, vectors_poly1305)
{
	uint8_t tag[AEAD_TAG_LEN];

	for (size_t i = 0; i < ARRAY_SIZE(vectors_poly1305); i++) {
		const struct vector_poly1305 *v = &vectors_poly1305[i];
		const size_t n_blocks = v->msg.len / 16, rest = v->msg.len % 16;
		struct poly1305 p;
		poly1305_init(&p, v->key.data);
		poly1305_blocks(&p, v->msg.data, n_blocks);
		if (rest) { /* RFC 8439 2.5: the 1 goes behind the last byte, not to 2^128 */
			uint8_t last[16] = { 0 };
			memcpy(last, v->msg.data + 16 * n_blocks, rest);
			last[rest] = 1;
			poly1305_block(&p, load_le64(last), load_le64(last + 8), 0);
		}
		poly1305_finish(p.h, v->key.data, tag);
		cr_assert(memcmp(tag, v->tag.data, sizeof(tag)) == 0, "%s", v->source);
	}
}

Test(aead, select_takes_the_best_that_is_allowed)
{
	cr_assert(aead_select(0) != NULL);
	cr_assert_str_eq(aead_select(0)->name, "ref");
	cr_assert(aead_select(~0U) == aead_impls[0]);
	for (size_t i = 0; aead_impls[i]; i++) {
		const struct aead_impl *k = aead_select(aead_impls[i]->cpu);
		cr_assert_str_eq(k->name, aead_impls[i]->name);
		cr_assert(aead_select(cpu_features())->cpu ==
			  (aead_select(cpu_features())->cpu & cpu_features()));
	}
}

/* REJECT_AFTER_MESSAGES keeps WireGuard below 2^64 - 2^13; the kernels take every counter. */
Test(aead, counters_carry_into_every_nonce_byte)
{
	static const uint64_t centre[] = { 0, UINT64_C(1) << 31, UINT64_C(1) << 32,
					   UINT64_C(1) << 63, UINT64_MAX };
	enum { N = 16, LEN = 1420 };
	static const uint32_t lens[] = { 0, 100, LEN };
	static uint8_t key[32], text[LEN], copy[LEN], out[N][LEN + 16], expected[LEN + 16];
	struct aead_seal_job job[N];

	test_random_bytes(key, sizeof(key));
	test_random_bytes(text, sizeof(text));
	for_each_kernel(k)
	{
		for (size_t c = 0; c < ARRAY_SIZE(centre) * ARRAY_SIZE(lens); c++) {
			const uint32_t len = lens[c % ARRAY_SIZE(lens)];
			for (size_t i = 0; i < N; i++)
				job[i] = (struct aead_seal_job){
					.key = key,
					.counter = centre[c / ARRAY_SIZE(lens)] + i - N / 2,
					.nonce_prefix = (uint32_t)test_random(),
					.in = { text },
					.in_len = { len },
					.out = out[i],
				};
			k->seal_burst(job, N);
			for (size_t i = 0; i < N; i++) {
				sodium_seal(&job[i], copy, expected);
				cr_assert(memcmp(out[i], expected, len + AEAD_TAG_LEN) == 0,
					  "%s: counter %#llx", k->name,
					  (unsigned long long)job[i].counter);
			}
		}
	}
}

/* A sealed packet of @len bytes with 20 bytes of AD, and the job that opens it. */
struct sealed {
	uint8_t key[32], ad[20], text[TEXT_MAX], box[TEXT_MAX], out[TEXT_MAX];
	struct aead_open_job job;
};

static void sealed_init(struct sealed *s, const struct aead_impl *k, uint32_t len)
{
	test_random_bytes(s->key, sizeof(s->key));
	test_random_bytes(s->ad, sizeof(s->ad));
	test_random_bytes(s->text, len);
	struct aead_seal_job job = {
		.key = s->key,
		.counter = test_random(),
		.ad = s->ad,
		.ad_len = sizeof(s->ad),
		.in = { s->text },
		.in_len = { len },
		.out = s->box,
	};
	k->seal_burst(&job, 1);
	s->job = (struct aead_open_job){
		.key = s->key,
		.counter = job.counter,
		.ad = s->ad,
		.ad_len = sizeof(s->ad),
		.in = s->box,
		.in_len = len + AEAD_TAG_LEN,
		.out = s->out,
	};
}

static bool is_filled_with(const uint8_t *p, size_t len, uint8_t value)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != value)
			return false;
	return true;
}

static bool opens(const struct aead_impl *k, struct sealed *s)
{
	memset(s->out, 0xa5, sizeof(s->out));
	k->open_burst(&s->job, 1);
	return s->job.ok;
}

/* Flips each bit in turn: refused, all of the output zeroed and not one byte more. */
static void refuses_each_bit(const struct aead_impl *k, struct sealed *s, uint8_t *bytes,
			     size_t len)
{
	const size_t text_len = s->job.in_len - AEAD_TAG_LEN;

	for (size_t bit = 0; bit < 8 * len; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
		cr_assert(opens(k, s) == false, "%s: bit %zu of %zu bytes", k->name, bit, len);
		cr_assert(is_filled_with(s->out, text_len, 0));
		cr_assert(is_filled_with(s->out + text_len, 64, 0xa5));
		bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	cr_assert(opens(k, s));
	cr_assert(memcmp(s->out, s->text, text_len) == 0);
}

Test(aead, every_forged_bit_is_refused)
{
	static const uint32_t lens[] = { 0, 1, 16, 32, 63, 64, 65, 130, 320, 1420 };
	static struct sealed s;

	for_each_kernel(k)
	{
		for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
			sealed_init(&s, k, lens[i]);
			refuses_each_bit(k, &s, s.box, lens[i] + AEAD_TAG_LEN);
			refuses_each_bit(k, &s, s.ad, sizeof(s.ad));
		}
	}
}

/* In place, in bursts that fill lanes: a bit of its own in each job, until every bit had its turn. */
static void refuses_bits_in_a_burst(const struct aead_impl *k, struct sealed *s, uint32_t len)
{
	enum { N = 9 };
	const uint32_t n_bits = 8 * (len + AEAD_TAG_LEN);
	struct aead_open_job job[N];

	for (uint32_t bit = 0; bit < n_bits; bit += N) {
		for (uint32_t i = 0; i < N; i++) {
			const uint32_t b = (bit + i) % n_bits;
			memcpy(s[i].out, s[i].box, len + AEAD_TAG_LEN);
			s[i].out[b / 8] ^= (uint8_t)(1U << b % 8);
			job[i] = s[i].job;
			job[i].in = s[i].out;
		}
		k->open_burst(job, N);
		for (uint32_t i = 0; i < N; i++)
			cr_assert(!job[i].ok && is_filled_with(s[i].out, len, 0),
				  "%s: bit %u of %u bytes", k->name, bit + i, len);
	}
}

Test(aead, every_forged_bit_is_refused_in_bursts)
{
	static const uint32_t lens[] = { 0, 1, 16, 48, 64, 65, 250, 400, 1420 };
	static struct sealed s[9];

	for_each_kernel(k)
	{
		for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
			for (size_t j = 0; j < ARRAY_SIZE(s); j++) {
				sealed_init(&s[j], k, lens[i]);
				if (i % 2) { /* without, packets go to the lanes */
					struct aead_seal_job job = { .key = s[j].key,
								     .counter = j,
								     .in = { s[j].text },
								     .in_len = { lens[i] },
								     .out = s[j].box };
					k->seal_burst(&job, 1);
					s[j].job.ad_len = 0;
					s[j].job.counter = j;
				}
			}
			refuses_bits_in_a_burst(k, s, lens[i]);
		}
	}
}

Test(aead, less_than_a_tag_is_refused)
{
	static struct sealed s;

	for_each_kernel(k)
	{
		for (uint32_t len = 0; len < AEAD_TAG_LEN; len++) {
			sealed_init(&s, k, 0);
			s.job.in_len = len;
			cr_assert(opens(k, &s) == false);
			cr_assert(is_filled_with(s.out, sizeof(s.out), 0xa5));
		}
	}
}

Test(aead, a_forgery_disturbs_no_other_job)
{
	static struct sealed s[BURST_MAX];
	struct aead_open_job job[BURST_MAX];

	for_each_kernel(k)
	{
		for (size_t round = 0; round < 20; round++) {
			const uint64_t forged = round ? test_random() & test_random()
						      : ~UINT64_C(0);
			const size_t n = round ? 1 + test_random_below(BURST_MAX) : BURST_MAX;
			const uint32_t equal = test_random_below(1500);
			for (size_t i = 0; i < n; i++) {
				sealed_init(&s[i], k, round % 2 ? equal : test_random_below(1500));
				if (forged >> i & 1)
					s[i].box[test_random_below(s[i].job.in_len)] ^= 0x10;
				memcpy(s[i].out, s[i].box, s[i].job.in_len);
				s[i].job.in = s[i].out; /* in place */
				job[i] = s[i].job;
			}
			k->open_burst(job, n);
			for (size_t i = 0; i < n; i++) {
				const size_t len = job[i].in_len - AEAD_TAG_LEN;
				cr_assert(job[i].ok == !(forged >> i & 1), "%s: job %zu", k->name,
					  i);
				cr_assert(job[i].ok ? !memcmp(s[i].out, s[i].text, len)
						    : is_filled_with(s[i].out, len, 0),
					  "%s: job %zu", k->name, i);
			}
		}
	}
}

Test(aead, empty_bursts_do_nothing)
{
	for_each_kernel(k)
	{
		k->seal_burst(NULL, 0);
		k->open_burst(NULL, 0);
	}
}

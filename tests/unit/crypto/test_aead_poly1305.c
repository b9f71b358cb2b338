/* SPDX-License-Identifier: MPL-2.0 */
/* Poly1305 of every AEAD kernel at its edges. No ChaCha20 key is known that gives r or s of our
 * choice, so this program links kernels built with AEAD_TEST_ONE_TIME_KEY, which take it from here;
 * ciphertext is ours to choose when opening. libsodium's Poly1305 says what is right. */
#include <criterion/criterion.h>

#include "aead_fixture.h"
#include "aead_vectors.h"
#include "crypto/aead_impl.h"

static uint8_t one_time_key[32];

void aead_test_one_time_key(const uint8_t key[32])
{
	memcpy((uint8_t *)(uintptr_t)key, one_time_key, sizeof(one_time_key));
}

static const uint64_t r_values[][2] = {
	{ UINT64_C(0x0ffffffc0fffffff), UINT64_C(0x0ffffffc0ffffffc) }, /* all ones, clamped */
	{ UINT64_MAX, UINT64_MAX }, /* all ones: clamps itself */
	{ 0, 0 },
	{ 1, 0 },
	{ 2, 0 },
	{ 5, 0 },
	{ 0, 4 },
	{ 0x0fffffff, 0 },
	{ UINT64_C(0x0ffffffc00000000), UINT64_C(0x0ffffffc0ffffffc) },
	{ UINT64_C(0x0000000400000003), UINT64_C(0x0000000400000004) },
};

static const uint64_t s_values[][2] = {
	{ 0, 0 },
	{ UINT64_MAX, UINT64_MAX },
	{ UINT64_MAX, 0 },
	{ 1, UINT64_MAX },
};

static void set_key(const uint64_t r[2], const uint64_t s[2])
{
	store_le64(one_time_key, r[0]);
	store_le64(one_time_key + 8, r[1]);
	store_le64(one_time_key + 16, s[0]);
	store_le64(one_time_key + 24, s[1]);
}

/* Appends the tag of @len bytes at @box. */
static void add_tag(uint8_t *box, size_t len)
{
	static uint8_t message[TEXT_MAX + 32];
	const size_t padded = (len + 15) / 16 * 16;
	memcpy(message, box, len);
	memset(message + len, 0, padded - len);
	store_le64(message + padded, 0);
	store_le64(message + padded + 8, len);
	crypto_onetimeauth_poly1305(box + len, message, padded + 16, one_time_key);
}

/* Opens @n copies of one box, each of its own length: from @len on, descending by @step. */
static void check_boxes(const uint8_t *text, size_t len, size_t n, size_t step)
{
	static const uint8_t key[AEAD_KEY_LEN];
	static uint8_t box[BURST_MAX][TEXT_MAX], out[BURST_MAX][TEXT_MAX];
	struct aead_open_job job[BURST_MAX];

	for_each_kernel(k)
	{
		for (size_t i = 0; i < n; i++) {
			const size_t l = len - MIN(len, i * step);
			memcpy(box[i], text, l);
			add_tag(box[i], l);
			job[i] = (struct aead_open_job){ .key = key,
							 .counter = i,
							 .in = box[i],
							 .in_len = (uint32_t)l + AEAD_TAG_LEN,
							 .out = out[i] };
		}
		k->open_burst(job, n);
		for (size_t i = 0; i < n; i++)
			cr_assert(job[i].ok, "%s: %zu bytes, job %zu of %zu", k->name, len, i, n);
	}
}

static void check_text(const uint8_t *text, size_t len)
{
	check_boxes(text, len, 1, 0);
	check_boxes(text, len, 8, 0);
	check_boxes(text, len, 9, 16);
}

Test(aead_poly1305, extreme_keys_and_texts)
{
	static const uint8_t fill[] = { 0x00, 0xff, 0xfe, 0xfb, 0x80, 0x01 };
	static const size_t lens[] = { 0, 15, 16, 48, 64, 100, 320, 336, 1420, 4096 };
	static uint8_t text[TEXT_MAX];

	for (size_t r = 0; r < ARRAY_SIZE(r_values); r++) {
		for (size_t s = 0; s < ARRAY_SIZE(s_values); s++) {
			set_key(r_values[r], s_values[s]);
			for (size_t l = 0; l < ARRAY_SIZE(lens); l++) {
				memset(text, fill[(r + s + l) % ARRAY_SIZE(fill)], sizeof(text));
				check_text(text, lens[l]);
			}
		}
	}
}

/* RFC 8439 A.3: its keys and messages, as a text of every kernel. */
Test(aead_poly1305, keys_and_messages_of_the_rfc)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors_poly1305); i++) {
		const struct vector_poly1305 *v = &vectors_poly1305[i];
		memcpy(one_time_key, v->key.data, sizeof(one_time_key));
		check_text(v->msg.data, v->msg.len);
	}
}

/* 130-bit numbers modulo p = 2^130 - 5, the slow and obvious way. */
struct number {
	uint64_t w[3];
};

static struct number add(struct number a, struct number b)
{
	static const uint64_t p[3] = { UINT64_C(0xfffffffffffffffb), UINT64_MAX, 3 };
	struct number sum;
	unsigned carry = 0;
	for (int i = 0; i < 3; i++) {
		unsigned __int128 t = (unsigned __int128)a.w[i] + b.w[i] + carry;
		sum.w[i] = (uint64_t)t;
		carry = (unsigned)(t >> 64);
	}
	for (;;) {
		struct number less;
		unsigned borrow = 0;
		for (int i = 0; i < 3; i++) {
			unsigned __int128 t = (unsigned __int128)sum.w[i] - p[i] - borrow;
			less.w[i] = (uint64_t)t;
			borrow = t >> 64 ? 1 : 0;
		}
		if (borrow)
			return sum;
		sum = less;
	}
}

static struct number negate(struct number a)
{
	static const uint64_t p[3] = { UINT64_C(0xfffffffffffffffb), UINT64_MAX, 3 };
	struct number diff;
	unsigned borrow = 0;
	for (int i = 0; i < 3; i++) {
		unsigned __int128 t = (unsigned __int128)p[i] - a.w[i] - borrow;
		diff.w[i] = (uint64_t)t;
		borrow = t >> 64 ? 1 : 0;
	}
	return diff;
}

/* With r = 1 the accumulator is the sum of all blocks. Makes a text of @n_blocks whose sum with the
 * length block is @target: a block of its own choice, others of ones. False if that needs another
 * number of blocks. */
static bool make_text(uint8_t *text, size_t n_blocks, size_t chosen, struct number target)
{
	const struct number top = { { 0, 0, 1 } };
	const struct number ones = { { UINT64_MAX, UINT64_MAX, 1 } };
	struct number sum = add(top, (struct number){ { 0, 16 * n_blocks, 0 } });
	/* the length block is ad_len = 0, text_len: its upper word */
	for (size_t i = 0; i < n_blocks; i++) {
		memset(text + 16 * i, 0xff, 16);
		sum = add(sum, i == chosen ? top : ones);
	}
	const struct number need = add(target, negate(sum));
	if (need.w[2])
		return false;
	store_le64(text + 16 * chosen, need.w[0]);
	store_le64(text + 16 * chosen + 8, need.w[1]);
	return true;
}

/* Sums that end just below, at and above p, 2^130 and 2^128, reached at every position. */
Test(aead_poly1305, accumulator_near_the_modulus)
{
	static const struct number targets[] = {
		{ { 0, 0, 0 } },
		{ { 1, 0, 0 } },
		{ { 4, 0, 0 } },
		{ { 5, 0, 0 } },
		{ { UINT64_C(0xfffffffffffffffa), UINT64_MAX, 3 } }, /* p - 1 */
		{ { UINT64_C(0xfffffffffffffff6), UINT64_MAX, 3 } }, /* p - 5 */
		{ { UINT64_MAX, UINT64_MAX, 0 } },                   /* 2^128 - 1 */
		{ { 0, 0, 1 } },
		{ { UINT64_MAX, UINT64_MAX, 2 } },
		{ { 0, 0, 3 } },
	};
	static uint8_t text[TEXT_MAX];
	size_t n_texts = 0;

	for (size_t s = 0; s < ARRAY_SIZE(s_values); s++) {
		set_key(r_values[3], s_values[s]);
		for (size_t t = 0; t < ARRAY_SIZE(targets); t++) {
			for (size_t n = 1; n <= 90; n += n < 24 ? 1 : 13) {
				const size_t chosen = test_random_below((uint32_t)n);
				if (!make_text(text, n, chosen, targets[t]))
					continue;
				check_text(text, 16 * n);
				n_texts++;
			}
		}
	}
	cr_assert(n_texts > 200, "%zu", n_texts);
}

Test(aead_poly1305, random_keys_and_sparse_texts)
{
	static uint8_t text[TEXT_MAX];
	for (size_t i = 0; i < 3000; i++) {
		const size_t len = test_random_below(i % 10 ? 700 : 4096);
		test_random_bytes(one_time_key, sizeof(one_time_key));
		memset(text, i % 2 ? 0xff : 0, len);
		for (size_t k = 0; len && k < 4; k++)
			text[test_random_below((uint32_t)len)] = (uint8_t)test_random();
		check_boxes(text, len, 1 + test_random_below(10), test_random_below(40));
	}
}

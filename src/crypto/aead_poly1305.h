/* SPDX-License-Identifier: MPL-2.0 */
/* Scalar Poly1305 (RFC 8439 section 2.5) in two 64-bit limbs and a small third one. The vector
 * kernels share its ends: clamping, associated data, and the final reduction. Constant time.
 * All messages of the AEAD construction are padded to whole blocks, so there are only those. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"

enum {
	POLY1305_BLOCK_LEN = 16,
	POLY1305_KEY_LEN = 32,
};

struct poly1305 {
	uint64_t r[2];
	uint64_t h[3]; /* h[2] stays below 8 between blocks */
};

static inline void poly1305_init(struct poly1305 *p, const uint8_t key[POLY1305_KEY_LEN])
{
	p->r[0] = load_le64(key) & UINT64_C(0x0ffffffc0fffffff);
	p->r[1] = load_le64(key + 8) & UINT64_C(0x0ffffffc0ffffffc);
	p->h[0] = p->h[1] = p->h[2] = 0;
}

/* h = (h + block + 2^128 * hibit) * r mod 2^130 - 5, not fully reduced. Carries are comparisons:
 * gcc keeps the upper halves of 128-bit sums in memory. */
static inline void poly1305_block(struct poly1305 *p, uint64_t lo, uint64_t hi, uint64_t hibit)
{
	typedef unsigned __int128 u128;
	const uint64_t r0 = p->r[0], r1 = p->r[1];
	/* r1 is a multiple of 4, so h1 * r1 * 2^128 = h1 * (r1 / 4) * 2^130 = h1 * r1 * 5 / 4 */
	const uint64_t s1 = r1 + (r1 >> 2);

	uint64_t h0 = p->h[0] + lo;
	uint64_t c = h0 < lo;
	uint64_t h1 = p->h[1] + hi;
	uint64_t h2 = p->h[2] + hibit + (h1 < hi);
	h1 += c;
	h2 += h1 < c;

	/* r0, r1 < 2^60, s1 < 2^61, h2 < 16: no sum below reaches 2^127 */
	const u128 d0 = (u128)h0 * r0 + (u128)h1 * s1;
	const u128 d1 = (u128)h0 * r1 + (u128)h1 * r0 + (uint64_t)(d0 >> 64);
	const uint64_t d1_lo = (uint64_t)d1 + h2 * s1;
	const uint64_t d2 = (uint64_t)(d1 >> 64) + h2 * r0 + (d1_lo < (uint64_t)d1);

	/* what is above 2^130 comes back times 5: 4 * (d2 / 4) + d2 / 4 */
	const uint64_t back = (d2 & ~UINT64_C(3)) + (d2 >> 2);
	p->h[0] = (uint64_t)d0 + back;
	c = p->h[0] < back;
	p->h[1] = d1_lo + c;
	p->h[2] = (d2 & 3) + (p->h[1] < c);
}

static inline void poly1305_blocks(struct poly1305 *p, const uint8_t *m, size_t n_blocks)
{
	struct poly1305 local = *p; /* in registers for the whole loop */
	for (; n_blocks; n_blocks--, m += POLY1305_BLOCK_LEN)
		poly1305_block(&local, load_le64(m), load_le64(m + 8), 1);
	*p = local;
}

/* Absorbs @len bytes and zeros up to the next whole block. */
static inline void poly1305_padded(struct poly1305 *p, const uint8_t *m, size_t len)
{
	const size_t n_blocks = len / POLY1305_BLOCK_LEN, rest = len % POLY1305_BLOCK_LEN;
	uint8_t last[POLY1305_BLOCK_LEN] = { 0 };

	poly1305_blocks(p, m, n_blocks);
	if (!rest)
		return;
	memcpy(last, m + n_blocks * POLY1305_BLOCK_LEN, rest);
	poly1305_blocks(p, last, 1);
}

/* The same for a message whose beginning was absorbed: at least a block lies before @m. */
static inline void poly1305_padded_tail(struct poly1305 *p, const uint8_t *m, size_t len)
{
	typedef unsigned __int128 u128;
	const size_t rest = len % POLY1305_BLOCK_LEN;

	poly1305_blocks(p, m, len / POLY1305_BLOCK_LEN);
	if (!rest)
		return;
	/* no detour through memory: the last whole 16 bytes, without those absorbed */
	const uint8_t *end = m + len;
	u128 v = load_le64(end - 16) | (u128)load_le64(end - 8) << 64;
	v >>= 8 * (POLY1305_BLOCK_LEN - rest);
	poly1305_block(p, (uint64_t)v, (uint64_t)(v >> 64), 1);
}

/* h = h * x mod 2^130 - 5, not fully reduced; h[2] and x[2] below 8, before and after. */
static inline void poly1305_mul(uint64_t h[3], const uint64_t x[3])
{
	typedef unsigned __int128 u128;
	uint64_t w[6] = { 0 };
	for (int i = 0; i < 3; i++) {
		u128 t = 0;
		for (int k = 0; k < 3; k++) {
			t = (u128)h[i] * x[k] + w[i + k] + (uint64_t)(t >> 64);
			w[i + k] = (uint64_t)t;
		}
		w[i + 3] = (uint64_t)(t >> 64);
	}
	/* w = low + 2^130 * high, and 5 * high = 4 * high + high; high is below 2^136 */
	u128 t = (u128)w[0] + (w[2] & ~UINT64_C(3)) + (w[2] >> 2 | w[3] << 62);
	h[0] = (uint64_t)t;
	t = (u128)w[1] + w[3] + (w[3] >> 2 | w[4] << 62) + (uint64_t)(t >> 64);
	h[1] = (uint64_t)t;
	const uint64_t top = (w[2] & 3) + w[4] + (w[4] >> 2) + (uint64_t)(t >> 64);
	t = (u128)h[0] + (top & ~UINT64_C(3)) + (top >> 2);
	h[0] = (uint64_t)t;
	t = (u128)h[1] + (uint64_t)(t >> 64);
	h[1] = (uint64_t)t;
	h[2] = (top & 3) + (uint64_t)(t >> 64);
}

/* power = r^n, n > 0 */
static inline void poly1305_power(uint64_t power[3], const struct poly1305 *p, unsigned n)
{
	const uint64_t r[3] = { p->r[0], p->r[1], 0 };
	memcpy(power, r, sizeof(r));
	for (unsigned bit = 31 - (unsigned)__builtin_clz(n); bit-- > 0;) {
		const uint64_t x[3] = { power[0], power[1], power[2] };
		poly1305_mul(power, x);
		if (n >> bit & 1)
			poly1305_mul(power, r);
	}
}

/* h += x; both stay below 8 in the top word if they were well below. */
static inline void poly1305_add(uint64_t h[3], const uint64_t x[3])
{
	typedef unsigned __int128 u128;
	u128 t = (u128)h[0] + x[0];
	h[0] = (uint64_t)t;
	t = (u128)h[1] + x[1] + (uint64_t)(t >> 64);
	h[1] = (uint64_t)t;
	h[2] += x[2] + (uint64_t)(t >> 64);
}

/* tag = (h mod 2^130 - 5) + s mod 2^128. @h may exceed 2^130 by a few bits. */
static inline void poly1305_finish(const uint64_t h[3], const uint8_t key[POLY1305_KEY_LEN],
				   uint8_t tag[POLY1305_BLOCK_LEN])
{
	const uint64_t back = (h[2] & ~UINT64_C(3)) + (h[2] >> 2);
	uint64_t h0 = h[0] + back;
	uint64_t c = h0 < back;
	uint64_t h1 = h[1] + c;
	const uint64_t h2 = (h[2] & 3) + (h1 < c);

	/* h + 5 >= 2^130 exactly when h >= p: then h - p = h + 5 mod 2^130 is the value to take */
	const uint64_t g0 = h0 + 5;
	c = g0 < 5;
	const uint64_t g1 = h1 + c;
	const uint64_t take = 0 - ((h2 + (g1 < c)) >> 2);
	h0 ^= (h0 ^ g0) & take;
	h1 ^= (h1 ^ g1) & take;

	const uint64_t s0 = load_le64(key + 16);
	h0 += s0;
	store_le64(tag, h0);
	store_le64(tag + 8, h1 + load_le64(key + 24) + (h0 < s0));
}

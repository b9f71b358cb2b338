/* SPDX-License-Identifier: MPL-2.0 */
/* ChaCha20 of 32 blocks at once, in all 32 registers, for when no chain of Poly1305 runs along.
 * Sixteen blocks have four quarter rounds that are independent, of three instructions each in a row
 * that depend on each other: where these take two cycles each and four can start per cycle (Zen 5),
 * half of the time is waiting. Thirty-two blocks fill it. A CPU that starts two per cycle (Intel)
 * or cuts them in halves (Zen 4) is busy with sixteen already, and gains and loses nothing.
 *
 * And what the AVX-512 kernels offer to the scheduler, as they choose between both. */
#pragma once

#include "crypto/aead_avx512.h"

/* clang-format off */
#define FOUR(a, b, d, e, f, h, i, j, l, m, n, p, bits)                                             \
	QUARTER(a, b, d, bits) QUARTER(e, f, h, bits) QUARTER(i, j, l, bits) QUARTER(m, n, p, bits)

#define WIDE_DOUBLE_ROUND                                                                          \
	FOUR(0, 4, 12, 1, 5, 13, 2, 6, 14, 3, 7, 15, 16)                                           \
	FOUR(16, 20, 28, 17, 21, 29, 18, 22, 30, 19, 23, 31, 16)                                   \
	FOUR(8, 12, 4, 9, 13, 5, 10, 14, 6, 11, 15, 7, 12)                                         \
	FOUR(24, 28, 20, 25, 29, 21, 26, 30, 22, 27, 31, 23, 12)                                   \
	FOUR(0, 4, 12, 1, 5, 13, 2, 6, 14, 3, 7, 15, 8)                                            \
	FOUR(16, 20, 28, 17, 21, 29, 18, 22, 30, 19, 23, 31, 8)                                    \
	FOUR(8, 12, 4, 9, 13, 5, 10, 14, 6, 11, 15, 7, 7)                                          \
	FOUR(24, 28, 20, 25, 29, 21, 26, 30, 22, 27, 31, 23, 7)                                    \
	FOUR(0, 5, 15, 1, 6, 12, 2, 7, 13, 3, 4, 14, 16)                                           \
	FOUR(16, 21, 31, 17, 22, 28, 18, 23, 29, 19, 20, 30, 16)                                   \
	FOUR(10, 15, 5, 11, 12, 6, 8, 13, 7, 9, 14, 4, 12)                                         \
	FOUR(26, 31, 21, 27, 28, 22, 24, 29, 23, 25, 30, 20, 12)                                   \
	FOUR(0, 5, 15, 1, 6, 12, 2, 7, 13, 3, 4, 14, 8)                                            \
	FOUR(16, 21, 31, 17, 22, 28, 18, 23, 29, 19, 20, 30, 8)                                    \
	FOUR(10, 15, 5, 11, 12, 6, 8, 13, 7, 9, 14, 4, 7)                                          \
	FOUR(26, 31, 21, 27, 28, 22, 24, 29, 23, 25, 30, 20, 7)
/* clang-format on */

#define WIDE_LOAD(n, row, from) "vmovdqa64 64*" #row "(%[" #from "]), %%zmm" #n "\n\t"
#define WIDE_ADD(n, row, from)  "vpaddd 64*" #row "(%[" #from "]), %%zmm" #n ", %%zmm" #n "\n\t"
#define WIDE_STORE(n, row)      "vmovdqa64 %%zmm" #n ", 64*" #row "(%[out])\n\t"

/* clang-format off */
#define WIDE_LOW(DO)                                                                               \
	DO(0, 0, low) DO(1, 1, low) DO(2, 2, low) DO(3, 3, low) DO(4, 4, low) DO(5, 5, low)        \
	DO(6, 6, low) DO(7, 7, low) DO(8, 8, low) DO(9, 9, low) DO(10, 10, low) DO(11, 11, low)    \
	DO(12, 12, low) DO(13, 13, low) DO(14, 14, low) DO(15, 15, low)
#define WIDE_HIGH(DO)                                                                              \
	DO(16, 0, key) DO(17, 1, key) DO(18, 2, key) DO(19, 3, key) DO(20, 4, key) DO(21, 5, key)  \
	DO(22, 6, key) DO(23, 7, key) DO(24, 8, key) DO(25, 9, key) DO(26, 10, key)                \
	DO(27, 11, key) DO(28, 12, high) DO(29, 13, high) DO(30, 14, high) DO(31, 15, high)
#define WIDE_OUT                                                                                   \
	WIDE_STORE(16, 0) WIDE_STORE(17, 1) WIDE_STORE(18, 2) WIDE_STORE(19, 3) WIDE_STORE(20, 4)  \
	WIDE_STORE(21, 5) WIDE_STORE(22, 6) WIDE_STORE(23, 7) WIDE_STORE(24, 8) WIDE_STORE(25, 9)  \
	WIDE_STORE(26, 10) WIDE_STORE(27, 11) WIDE_STORE(28, 12) WIDE_STORE(29, 13)                \
	WIDE_STORE(30, 14) WIDE_STORE(31, 15)
/* clang-format on */

/* v = the output of the lower lanes; that of the upper ones goes to high_out. @key: the rows of the
 * upper lanes' keys. */
ALWAYS_INLINE void chacha_32(__m512i v[16], struct aead_context *x,
			     const uint32_t (*key)[CHACHA_ROW_LANES])
{
	ZMM_0_TO_15;
	unsigned count = CHACHA_DOUBLE_ROUNDS;

	x->has_used_high = true;
	__asm__ volatile(
		WIDE_LOW(WIDE_LOAD)
			WIDE_HIGH(WIDE_LOAD) "1:\n\t" WIDE_DOUBLE_ROUND
					     "dec %[count]\n\tjnz 1b\n\t" WIDE_LOW(WIDE_ADD)
						     WIDE_HIGH(WIDE_ADD) WIDE_OUT
		: "=v"(z0), "=v"(z1), "=v"(z2), "=v"(z3), "=v"(z4), "=v"(z5), "=v"(z6), "=v"(z7),
		  "=v"(z8), "=v"(z9), "=v"(z10), "=v"(z11), "=v"(z12), "=v"(z13), "=v"(z14),
		  "=v"(z15), [count] "+r"(count)
		: [low] "r"(x->state), [key] "r"(key), [high] "r"(x->high), [out] "r"(x->high_out)
		: "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24",
		  "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "cc", "memory");
	STORE_ZMM_0_TO_15(v);
}

ALWAYS_INLINE void wide_load_high(__m512i v[16], const struct aead_context *x)
{
	for (int i = 0; i < 16; i++)
		v[i] = _mm512_load_si512(x->high_out[i]);
}

static inline void chacha_lanes_32(const struct chacha_lanes *l, struct aead_context *x)
{
	__m512i v[16];

	state_set_lanes(x, l, 0);
	if (!l->has_one_key) {
		for (int i = 0; i < 4; i++)
			_mm512_store_si512(x->high[i], _mm512_load_si512(x->state[i]));
		rows_set_keys(x->high, l->key + 16);
	}
	rows_set_nonces(x->high, l->nonce + 16);
	chacha_32(v, x, l->has_one_key ? x->state : x->high);
	chacha_transpose(v);
	for (int i = 0; i < 16; i++)
		xor_store(l->dst[i], l->src[i], v[i]);
	wide_load_high(v, x);
	chacha_transpose(v);
	for (int i = 0; i < 16; i++)
		xor_store(l->dst[16 + i], l->src[16 + i], v[i]);
}

static inline void chacha_run_32(const struct chacha_run *run, struct aead_context *x)
{
	__m512i v[16];

	state_set_key(x, run->key);
	rows_set_run(x->state, run, 0);
	rows_set_run(x->high, run, 16);
	chacha_32(v, x, x->state);
	chacha_transpose(v);
	xor_store(run->dst, run->first, v[0]);
	for (int i = 1; i < 16; i++)
		xor_store(run->dst + 64 * i, run->src + 64 * i, v[i]);
	wide_load_high(v, x);
	chacha_transpose(v);
	for (int i = 0; i < 16; i++)
		xor_store(run->dst + 64 * (16 + i), run->src + 64 * (16 + i), v[i]);
}

/* Chains of Poly1305 fill the time of two halves, lanes fill none: then all at once. */
static inline void avx512_chacha_run(const struct chacha_run *run, struct aead_context *x)
{
	if (!mac_has_steps(&x->cursor)) {
		chacha_run_32(run, x);
		return;
	}
	for (int from = 0; from < 32; from += 16)
		chacha_run_16(run, from, x);
}

static inline void avx512_chacha(const struct chacha_lanes *lanes, unsigned n,
				 struct aead_context *x)
{
	switch (n) {
	case 32:
		if (!mac_has_steps(&x->cursor)) {
			chacha_lanes_32(lanes, x);
			break;
		}
		chacha_lanes_16(lanes, 0, x);
		chacha_lanes_16(lanes, 16, x);
		break;
	case 20:
		chacha_lanes_16(lanes, 0, x);
		chacha_rows(lanes, 16, x, 1);
		break;
	case 16:
		chacha_lanes_16(lanes, 0, x);
		break;
	case 12:
		chacha_rows(lanes, 0, x, 3);
		break;
	case 8:
		chacha_rows(lanes, 0, x, 2);
		break;
	default:
		chacha_rows(lanes, 0, x, 1);
	}
}

/* SPDX-License-Identifier: MPL-2.0 */
/* ChaCha20 and message loading for both AVX-512 kernels, which differ in the Poly1305 of their
 * lanes only. Included by files that are compiled for F, BW, VL, DQ and BMI2. */
#pragma once

#include <immintrin.h>

#include "base/macro.h"
#include "crypto/aead_burst.h"
#include "crypto/aead_x86_mac.h"

/* Transposes 4 x 4 words inside each 128-bit quarter. */
ALWAYS_INLINE void transpose_words(__m512i v[4])
{
	__m512i t0 = _mm512_unpacklo_epi32(v[0], v[1]), t1 = _mm512_unpacklo_epi32(v[2], v[3]);
	__m512i t2 = _mm512_unpackhi_epi32(v[0], v[1]), t3 = _mm512_unpackhi_epi32(v[2], v[3]);
	v[0] = _mm512_unpacklo_epi64(t0, t1);
	v[1] = _mm512_unpackhi_epi64(t0, t1);
	v[2] = _mm512_unpacklo_epi64(t2, t3);
	v[3] = _mm512_unpackhi_epi64(t2, t3);
}

/* Transposes 4 x 4 quarters: v[i] quarter j becomes v[j] quarter i. */
ALWAYS_INLINE void transpose_quarters(__m512i v[4])
{
	__m512i t0 = _mm512_shuffle_i64x2(v[0], v[1], 0x44);
	__m512i t1 = _mm512_shuffle_i64x2(v[2], v[3], 0x44);
	__m512i t2 = _mm512_shuffle_i64x2(v[0], v[1], 0xee);
	__m512i t3 = _mm512_shuffle_i64x2(v[2], v[3], 0xee);
	v[0] = _mm512_shuffle_i64x2(t0, t1, 0x88);
	v[1] = _mm512_shuffle_i64x2(t0, t1, 0xdd);
	v[2] = _mm512_shuffle_i64x2(t2, t3, 0x88);
	v[3] = _mm512_shuffle_i64x2(t2, t3, 0xdd);
}

ALWAYS_INLINE __m512i load_quarters(const void *a, const void *b, const void *c, const void *d)
{
	__m512i v = _mm512_castsi128_si512(_mm_loadu_si128(a));
	v = _mm512_inserti64x2(v, _mm_loadu_si128(b), 1);
	v = _mm512_inserti64x2(v, _mm_loadu_si128(c), 2);
	return _mm512_inserti64x2(v, _mm_loadu_si128(d), 3);
}

/* The twelve rows of the state that blocks with the same key share. */
ALWAYS_INLINE void state_set_key(struct aead_context *x, const uint8_t *key)
{
	static const uint32_t constants[4] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };
	if (x->key == key)
		return;
	for (int i = 0; i < 4; i++)
		_mm512_store_si512(x->state[i], _mm512_set1_epi32((int)constants[i]));
	for (int i = 0; i < 8; i++)
		_mm512_store_si512(x->state[4 + i], _mm512_set1_epi32((int)load_le32(key + 4 * i)));
	x->key = key;
}

/* Every lane has a key of its own. */
ALWAYS_INLINE void rows_set_keys(uint32_t (*rows)[CHACHA_ROW_LANES], const uint8_t *const k[16])
{
	__m512i v[8];
	for (int i = 0; i < 4; i++, k += 4) {
		v[i] = load_quarters(k[0], k[1], k[2], k[3]);
		v[4 + i] = load_quarters(k[0] + 16, k[1] + 16, k[2] + 16, k[3] + 16);
	}
	transpose_words(v);
	transpose_words(v + 4);
	for (int i = 0; i < 8; i++)
		_mm512_store_si512(rows[4 + i], v[i]);
}

/* Lane 4 * k + c sits in element 4 * c + k of each row: chacha_transpose() undoes it. */
ALWAYS_INLINE void rows_set_nonces(uint32_t (*rows)[CHACHA_ROW_LANES], const uint32_t (*nonce)[4])
{
	__m512i v[4];
	for (int i = 0; i < 4; i++)
		v[i] = _mm512_load_si512(nonce[4 * i]);
	transpose_words(v);
	for (int i = 0; i < 4; i++)
		_mm512_store_si512(rows[12 + i], v[i]);
}

/* From lane @from on. */
ALWAYS_INLINE void state_set_lanes(struct aead_context *x, const struct chacha_lanes *l,
				   unsigned from)
{
	state_set_key(x, l->key[from]);
	if (!l->has_one_key) {
		rows_set_keys(x->state, l->key + from);
		x->key = NULL;
	}
	rows_set_nonces(x->state, l->nonce + from);
}

/* Nonces of consecutive blocks, from block @first of the run on. */
ALWAYS_INLINE void rows_set_run(uint32_t (*rows)[CHACHA_ROW_LANES], const struct chacha_run *run,
				int first)
{
	const __m512i lane =
		_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
	const __m512i base = _mm512_set1_epi32((int)run->nonce[0] + first);
	_mm512_store_si512(rows[12], _mm512_add_epi32(base, lane));
	for (int i = 1; i < 4; i++)
		_mm512_store_si512(rows[12 + i], _mm512_set1_epi32((int)run->nonce[i]));
}

/* The ten double rounds over zmm0 - zmm15 with the steps of Poly1305 woven in, as text because
 * compilers add a move per register and iteration, and do not interleave. QUARTER() is a quarter of
 * a quarter round; four of them are independent, so that latency is covered. */
#define QUARTER(a, b, d, n)                                \
	"vpaddd %%zmm" #b ", %%zmm" #a ", %%zmm" #a "\n\t" \
	"vpxord %%zmm" #a ", %%zmm" #d ", %%zmm" #d "\n\t" \
	"vprold $" #n ", %%zmm" #d ", %%zmm" #d "\n\t"

/* clang-format off */
#define DOUBLE_ROUND(PART)                                                                         \
	QUARTER(0, 4, 12, 16) PART(A1) QUARTER(1, 5, 13, 16) PART(A2)                              \
	QUARTER(2, 6, 14, 16) PART(A3) QUARTER(3, 7, 15, 16) PART(A4)                              \
	QUARTER(8, 12, 4, 12) PART(A5) QUARTER(9, 13, 5, 12) PART(B1)                              \
	QUARTER(10, 14, 6, 12) PART(B2) QUARTER(11, 15, 7, 12) PART(B3)                            \
	QUARTER(0, 4, 12, 8) PART(B4) QUARTER(1, 5, 13, 8) PART(B5)                                \
	QUARTER(2, 6, 14, 8) PART(A1) QUARTER(3, 7, 15, 8) PART(A2)                                \
	QUARTER(8, 12, 4, 7) PART(A3) QUARTER(9, 13, 5, 7) PART(A4)                                \
	QUARTER(10, 14, 6, 7) PART(A5) QUARTER(11, 15, 7, 7) PART(B1)                              \
	QUARTER(0, 5, 15, 16) PART(B2) QUARTER(1, 6, 12, 16) PART(B3)                              \
	QUARTER(2, 7, 13, 16) PART(B4) QUARTER(3, 4, 14, 16) PART(B5)                              \
	QUARTER(10, 15, 5, 12) PART(A1) QUARTER(11, 12, 6, 12) PART(A2)                            \
	QUARTER(8, 13, 7, 12) PART(A3) QUARTER(9, 14, 4, 12) PART(A4)                              \
	QUARTER(0, 5, 15, 8) PART(A5) QUARTER(1, 6, 12, 8) PART(B1)                                \
	QUARTER(2, 7, 13, 8) PART(B2) QUARTER(3, 4, 14, 8) PART(B3)                                \
	QUARTER(10, 15, 5, 7) PART(B4) QUARTER(11, 12, 6, 7) PART(B5)                              \
	QUARTER(8, 13, 7, 7) QUARTER(9, 14, 4, 7)
/* clang-format on */

#define LOAD_4(a, b, c, d, at)                                                                  \
	"vmovdqa64 " #at "(%%rax), %%zmm" #a "\n\tvmovdqa64 64+" #at "(%%rax), %%zmm" #b "\n\t" \
	"vmovdqa64 128+" #at "(%%rax), %%zmm" #c "\n\tvmovdqa64 192+" #at "(%%rax), %%zmm" #d   \
	"\n\t"

#define CHACHA_16_TEXT              \
	LOAD_4(0, 1, 2, 3, 0)       \
	LOAD_4(4, 5, 6, 7, 256)     \
	LOAD_4(8, 9, 10, 11, 512)   \
	LOAD_4(12, 13, 14, 15, 768) \
	"mov $10, %%r15d\n\t" ROUNDS_WITH_MAC(DOUBLE_ROUND, "dec %%r15d\n\t")

#define ZMM(n) register __m512i z##n __asm__("zmm" #n)
#define ZMM_0_TO_15 \
	ZMM(0);     \
	ZMM(1);     \
	ZMM(2);     \
	ZMM(3);     \
	ZMM(4);     \
	ZMM(5);     \
	ZMM(6);     \
	ZMM(7);     \
	ZMM(8);     \
	ZMM(9);     \
	ZMM(10);    \
	ZMM(11);    \
	ZMM(12);    \
	ZMM(13);    \
	ZMM(14);    \
	ZMM(15)
/* After what leaves its result there, at once: a register variable does not outlast a call, and a
 * sanitizer puts one wherever the life of an array begins. */
#define STORE_ZMM_0_TO_15(v)                                                               \
	((v)[0] = z0, (v)[1] = z1, (v)[2] = z2, (v)[3] = z3, (v)[4] = z4, (v)[5] = z5,     \
	 (v)[6] = z6, (v)[7] = z7, (v)[8] = z8, (v)[9] = z9, (v)[10] = z10, (v)[11] = z11, \
	 (v)[12] = z12, (v)[13] = z13, (v)[14] = z14, (v)[15] = z15)

/* v = the state after ten double rounds + the state, while spans are absorbed. */
ALWAYS_INLINE void chacha_16(__m512i v[16], struct aead_context *x)
{
	ZMM_0_TO_15;
	const void *from = x->state;
	struct mac_span *span = x->cursor.span;
	uint64_t at = x->cursor.at;

	__asm__ volatile(CHACHA_16_TEXT
			 : "=v"(z0), "=v"(z1), "=v"(z2), "=v"(z3), "=v"(z4), "=v"(z5), "=v"(z6),
			   "=v"(z7), "=v"(z8), "=v"(z9), "=v"(z10), "=v"(z11), "=v"(z12), "=v"(z13),
			   "=v"(z14), "=v"(z15), "+a"(from), "+S"(span), "+D"(at)
			 :
			 : "r15", MAC_CLOBBERS);
	STORE_ZMM_0_TO_15(v);
	x->cursor.span = span;
	x->cursor.at = at;
	for (int i = 0; i < 16; i++)
		v[i] = _mm512_add_epi32(v[i], _mm512_load_si512(x->state[i]));
}

ALWAYS_INLINE void xor_store(uint8_t *dst, const uint8_t *src, __m512i stream)
{
	_mm512_storeu_si512(dst, _mm512_xor_si512(_mm512_loadu_si512(src), stream));
}

/* From a word of all blocks per vector to a block per vector, in the order of lanes. */
ALWAYS_INLINE void chacha_transpose(__m512i v[16])
{
	__m512i w[16];
	for (int g = 0; g < 4; g++)
		transpose_words(v + 4 * g);
	for (int k = 0; k < 4; k++) {
		for (int g = 0; g < 4; g++)
			w[4 * k + g] = v[4 * g + k];
		transpose_quarters(w + 4 * k);
	}
	for (int i = 0; i < 16; i++)
		v[i] = w[i];
}

/* Sixteen lanes from @from on, or sixteen blocks of a run; spans are absorbed meanwhile. */
ALWAYS_INLINE void chacha_lanes_16(const struct chacha_lanes *l, unsigned from,
				   struct aead_context *x)
{
	__m512i v[16];
	state_set_lanes(x, l, from);
	chacha_16(v, x);
	chacha_transpose(v);
	for (unsigned i = 0; i < 16; i++)
		xor_store(l->dst[from + i], l->src[from + i], v[i]);
}

ALWAYS_INLINE void chacha_run_16(const struct chacha_run *run, int from, struct aead_context *x)
{
	__m512i v[16];
	state_set_key(x, run->key);
	rows_set_run(x->state, run, from);
	chacha_16(v, x);
	chacha_transpose(v);
	for (int i = 0; i < 16; i++)
		xor_store(run->dst + 64 * (from + i),
			  from + i ? run->src + 64 * (from + i) : run->first, v[i]);
}

ALWAYS_INLINE void row_round(__m512i v[4])
{
	v[0] = _mm512_add_epi32(v[0], v[1]);
	v[3] = _mm512_rol_epi32(_mm512_xor_si512(v[3], v[0]), 16);
	v[2] = _mm512_add_epi32(v[2], v[3]);
	v[1] = _mm512_rol_epi32(_mm512_xor_si512(v[1], v[2]), 12);
	v[0] = _mm512_add_epi32(v[0], v[1]);
	v[3] = _mm512_rol_epi32(_mm512_xor_si512(v[3], v[0]), 8);
	v[2] = _mm512_add_epi32(v[2], v[3]);
	v[1] = _mm512_rol_epi32(_mm512_xor_si512(v[1], v[2]), 7);
}

/* Rotates the rows, so that diagonals become columns (@back: columns diagonals again). */
ALWAYS_INLINE void row_shift(__m512i v[4], const bool back)
{
	v[1] = back ? _mm512_shuffle_epi32(v[1], 0x93) : _mm512_shuffle_epi32(v[1], 0x39);
	v[2] = _mm512_shuffle_epi32(v[2], 0x4e);
	v[3] = back ? _mm512_shuffle_epi32(v[3], 0x39) : _mm512_shuffle_epi32(v[3], 0x93);
}

/* Up to twelve blocks, a row of four blocks per vector: more instructions per block than
 * chacha_16(), but far less time for a few. */
ALWAYS_INLINE void chacha_rows(const struct chacha_lanes *l, const int from, struct aead_context *x,
			       const int n_vectors)
{
	__m512i v[3][4], in[3][4];

	for (int i = 0; i < n_vectors; i++) {
		const uint8_t *const *k = &l->key[from + 4 * i];
		in[i][0] = _mm512_broadcast_i32x4(
			_mm_setr_epi32(0x61707865, 0x3320646e, 0x79622d32, 0x6b206574));
		in[i][1] = load_quarters(k[0], k[1], k[2], k[3]);
		in[i][2] = load_quarters(k[0] + 16, k[1] + 16, k[2] + 16, k[3] + 16);
		in[i][3] = _mm512_load_si512(&l->nonce[from + 4 * i]);
		for (int j = 0; j < 4; j++)
			v[i][j] = in[i][j];
	}
	for (int r = 0; r < CHACHA_DOUBLE_ROUNDS; r++) {
		for (int i = 0; i < n_vectors; i++)
			row_round(v[i]);
		for (int i = 0; i < n_vectors; i++)
			row_shift(v[i], false);
		mac_step(&x->cursor);
		for (int i = 0; i < n_vectors; i++)
			row_round(v[i]);
		for (int i = 0; i < n_vectors; i++)
			row_shift(v[i], true);
	}
	for (int i = 0; i < n_vectors; i++) {
		for (int j = 0; j < 4; j++)
			v[i][j] = _mm512_add_epi32(v[i][j], in[i][j]);
		transpose_quarters(v[i]);
		for (int j = 0; j < 4; j++)
			xor_store(l->dst[from + 4 * i + j], l->src[from + 4 * i + j], v[i][j]);
	}
}

/* Poly1305. */
#define LANES 8
typedef __m512i vec;
typedef __m512i row_t;

/* The order of messages in vectors: what makes mac_transpose() cheap. */
static const uint8_t mac_order[LANES] = { 0, 4, 1, 5, 2, 6, 3, 7 };

/* Turns 64 bytes of each message into four steps: the low and high words of a block of each. */
ALWAYS_INLINE void mac_transpose(row_t row[LANES], vec lo[4], vec hi[4])
{
	transpose_quarters(row);
	transpose_quarters(row + 4);
	for (int s = 0; s < 4; s++) {
		lo[s] = _mm512_unpacklo_epi64(row[s], row[4 + s]);
		hi[s] = _mm512_unpackhi_epi64(row[s], row[4 + s]);
	}
}

ALWAYS_INLINE row_t row_load(const void *p)
{
	return _mm512_loadu_si512(p);
}

/* 64 bytes of which the first @n_before are not there yet and only the first @n_left are text; the
 * others count as zeros. */
struct row_edge {
	uint64_t mask;
};

ALWAYS_INLINE void row_edge_init(struct row_edge *e, int64_t n_before, int64_t n_left)
{
	e->mask = ~UINT64_C(0);
	if (n_before > 0)
		e->mask = n_before < 64 ? e->mask << n_before : 0;
	if (n_left < 64)
		e->mask &= n_left > 0 ? ~UINT64_C(0) >> (64 - n_left) : 0;
}

ALWAYS_INLINE row_t row_load_edge(uintptr_t at, const struct row_edge *e)
{
	return _mm512_maskz_loadu_epi8(e->mask, (const void *)at);
}

/* Two words of the one-time key of each message, from byte @at on: r or s. */
ALWAYS_INLINE void mac_load_key(struct mac_lane *const *m, int at, vec *lo, vec *hi)
{
	__m512i a = load_quarters(m[0]->one_time_key + at, m[1]->one_time_key + at,
				  m[2]->one_time_key + at, m[3]->one_time_key + at);
	__m512i b = load_quarters(m[4]->one_time_key + at, m[5]->one_time_key + at,
				  m[6]->one_time_key + at, m[7]->one_time_key + at);
	*lo = _mm512_unpacklo_epi64(a, b);
	*hi = _mm512_unpackhi_epi64(a, b);
}

ALWAYS_INLINE void mac_load_r(struct mac_lane *const *m, vec *lo, vec *hi)
{
	mac_load_key(m, 0, lo, hi);
}

#define vec_set1(x)     _mm512_set1_epi64(x)
#define vec_load(p)     _mm512_load_si512(p)
#define vec_store(p, a) _mm512_store_si512(p, a)
#define vec_add(a, b)   _mm512_add_epi64(a, b)
#define vec_and(a, b)   _mm512_and_si512(a, b)
#define vec_or(a, b)    _mm512_or_si512(a, b)
#define vec_shl(a, n)   _mm512_slli_epi64(a, n)
#define vec_shr(a, n)   _mm512_srli_epi64(a, n)
/* @value in the lanes in which @a <= @bound, 0 in the others. */
#define vec_if_le(a, bound, value)                                                              \
	_mm512_maskz_mov_epi64(_mm512_cmple_epi64_mask(a, _mm512_set1_epi64((int64_t)(bound))), \
			       value)

/* Clears what no function call clears: aead_wipe_below() does the lower sixteen. */
static inline void avx512_wipe_registers(void)
{
	_mm256_zeroall();
	__asm__ volatile("vpxorq %%zmm16, %%zmm16, %%zmm16; vpxorq %%zmm17, %%zmm17, %%zmm17;"
			 "vpxorq %%zmm18, %%zmm18, %%zmm18; vpxorq %%zmm19, %%zmm19, %%zmm19;"
			 "vpxorq %%zmm20, %%zmm20, %%zmm20; vpxorq %%zmm21, %%zmm21, %%zmm21;"
			 "vpxorq %%zmm22, %%zmm22, %%zmm22; vpxorq %%zmm23, %%zmm23, %%zmm23;"
			 "vpxorq %%zmm24, %%zmm24, %%zmm24; vpxorq %%zmm25, %%zmm25, %%zmm25;"
			 "vpxorq %%zmm26, %%zmm26, %%zmm26; vpxorq %%zmm27, %%zmm27, %%zmm27;"
			 "vpxorq %%zmm28, %%zmm28, %%zmm28; vpxorq %%zmm29, %%zmm29, %%zmm29;"
			 "vpxorq %%zmm30, %%zmm30, %%zmm30; vpxorq %%zmm31, %%zmm31, %%zmm31" ::
				 : "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",
				   "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29",
				   "xmm30", "xmm31");
}

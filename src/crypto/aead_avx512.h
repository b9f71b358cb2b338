/* SPDX-License-Identifier: MPL-2.0 */
/* ChaCha20 and message loading for both AVX-512 kernels, which differ in their Poly1305 only.
 * Included by files that are compiled for F, BW, VL and DQ. */
#pragma once

#include <immintrin.h>

#include "base/macro.h"
#include "crypto/aead_burst.h"

ALWAYS_INLINE void quarter_add_xor_rot(__m512i *a, const __m512i *b, __m512i *d, int n)
{
	*a = _mm512_add_epi32(*a, *b);
	*d = _mm512_xor_si512(*d, *a);
	switch (n) { /* an immediate */
	case 16:
		*d = _mm512_rol_epi32(*d, 16);
		break;
	case 12:
		*d = _mm512_rol_epi32(*d, 12);
		break;
	case 8:
		*d = _mm512_rol_epi32(*d, 8);
		break;
	default:
		*d = _mm512_rol_epi32(*d, 7);
	}
}

/* Four quarter rounds side by side: on words i, 4 + (i + j) % 4, ... for j = 0 (columns) and
 * j = 1 (diagonals). */
ALWAYS_INLINE void chacha_round(__m512i v[16], const int j)
{
	for (int i = 0; i < 4; i++)
		quarter_add_xor_rot(&v[i], &v[4 + (i + j) % 4], &v[12 + (i + 3 * j) % 4], 16);
	for (int i = 0; i < 4; i++)
		quarter_add_xor_rot(&v[8 + (i + 2 * j) % 4], &v[12 + (i + 3 * j) % 4],
				    &v[4 + (i + j) % 4], 12);
	for (int i = 0; i < 4; i++)
		quarter_add_xor_rot(&v[i], &v[4 + (i + j) % 4], &v[12 + (i + 3 * j) % 4], 8);
	for (int i = 0; i < 4; i++)
		quarter_add_xor_rot(&v[8 + (i + 2 * j) % 4], &v[12 + (i + 3 * j) % 4],
				    &v[4 + (i + j) % 4], 7);
}

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

/* Four words of each lane's key, in vectors by word. */
ALWAYS_INLINE void load_key_words(__m512i v[4], const struct chacha_lanes *l, const int offset)
{
	if (l->has_one_key) {
		for (int i = 0; i < 4; i++)
			v[i] = _mm512_set1_epi32((int)load_le32(l->key[0] + offset + 4 * i));
		return;
	}
	for (int i = 0; i < 4; i++)
		v[i] = load_quarters(l->key[4 * i] + offset, l->key[4 * i + 1] + offset,
				     l->key[4 * i + 2] + offset, l->key[4 * i + 3] + offset);
	transpose_words(v);
}

ALWAYS_INLINE void constants_load(__m512i v[4])
{
	v[0] = _mm512_set1_epi32(0x61707865);
	v[1] = _mm512_set1_epi32(0x3320646e);
	v[2] = _mm512_set1_epi32(0x79622d32);
	v[3] = _mm512_set1_epi32(0x6b206574);
}

ALWAYS_INLINE void chacha_load(__m512i v[16], const struct chacha_lanes *l)
{
	constants_load(v);
	load_key_words(v + 4, l, 0);
	load_key_words(v + 8, l, 16);
	/* element 4 * c + k belongs to lane 4 * k + c: chacha_transpose() undoes it */
	for (int i = 0; i < 4; i++)
		v[12 + i] = _mm512_load_si512(&l->nonce[4 * i]);
	transpose_words(v + 12);
}

ALWAYS_INLINE void chacha_rounds(__m512i v[16])
{
	for (int i = 0; i < 10; i++) {
		chacha_round(v, 0);
		chacha_round(v, 1);
	}
}

/* From a word of all blocks per vector to a block per vector. */
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

ALWAYS_INLINE void xor_store(uint8_t *dst, const uint8_t *src, __m512i stream)
{
	_mm512_storeu_si512(dst, _mm512_xor_si512(_mm512_loadu_si512(src), stream));
}

/* While the rounds compute, nothing else uses the load and store units. */
ALWAYS_INLINE void prefetch(const uint8_t *dst, const uint8_t *src)
{
	__builtin_prefetch(src, 0);
	__builtin_prefetch(dst, 1);
}

/* Sixteen blocks of any packets. */
ALWAYS_INLINE void chacha_16(const struct chacha_lanes *l)
{
	__m512i v[16], in[16];
	chacha_load(in, l);
	for (int i = 0; i < 16; i++)
		prefetch(l->dst[i], l->src[i]);
	for (int i = 0; i < 16; i++)
		v[i] = in[i];
	chacha_rounds(v);
	for (int i = 0; i < 16; i++)
		v[i] = _mm512_add_epi32(v[i], in[i]);
	chacha_transpose(v);
	for (int i = 0; i < 16; i++)
		xor_store(l->dst[i], l->src[i], v[i]);
}

/* Sixteen consecutive blocks of one packet at a time. */
ALWAYS_INLINE void chacha_run_16(const struct chacha_run *run, size_t n)
{
	const __m512i iota =
		_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
	const uint8_t *src = run->src;
	uint8_t *dst = run->dst;
	__m512i v[16], in[16];

	constants_load(in);
	for (int i = 0; i < 8; i++)
		in[4 + i] = _mm512_set1_epi32((int)load_le32(run->key + 4 * i));
	for (int i = 0; i < 4; i++)
		in[12 + i] = _mm512_set1_epi32((int)run->nonce[i]);
	in[12] = _mm512_add_epi32(in[12], iota);
	for (; n; n -= 16) {
		for (int i = 0; i < 16; i++)
			prefetch(dst + 64 * i, src + 64 * i);
		for (int i = 0; i < 16; i++)
			v[i] = in[i];
		chacha_rounds(v);
		for (int i = 0; i < 16; i++)
			v[i] = _mm512_add_epi32(v[i], in[i]);
		in[12] = _mm512_add_epi32(in[12], _mm512_set1_epi32(16));
		chacha_transpose(v);
		for (int i = 0; i < 16; i++)
			xor_store(dst + 64 * i, src + 64 * i, v[i]);
		src += 16 * 64;
		dst += 16 * 64;
	}
}

ALWAYS_INLINE void row_round(__m512i v[4])
{
	quarter_add_xor_rot(&v[0], &v[1], &v[3], 16);
	quarter_add_xor_rot(&v[2], &v[3], &v[1], 12);
	quarter_add_xor_rot(&v[0], &v[1], &v[3], 8);
	quarter_add_xor_rot(&v[2], &v[3], &v[1], 7);
}

/* Up to twelve blocks of any packets, a row of four blocks per vector: more instructions per block than
 * chacha_16(), but far less time for a few. */
ALWAYS_INLINE void chacha_rows(const struct chacha_lanes *l, const int n_vectors)
{
	__m512i v[3][4], in[3][4];
	for (int i = 0; i < n_vectors; i++) {
		const uint8_t *const *k = &l->key[4 * i];
		in[i][0] = _mm512_broadcast_i32x4(
			_mm_setr_epi32(0x61707865, 0x3320646e, 0x79622d32, 0x6b206574));
		in[i][1] = load_quarters(k[0], k[1], k[2], k[3]);
		in[i][2] = load_quarters(k[0] + 16, k[1] + 16, k[2] + 16, k[3] + 16);
		in[i][3] = _mm512_load_si512(&l->nonce[4 * i]);
		for (int j = 0; j < 4; j++)
			v[i][j] = in[i][j];
	}
	for (int r = 0; r < 10; r++) {
		for (int i = 0; i < n_vectors; i++)
			row_round(v[i]);
		for (int i = 0; i < n_vectors; i++) {
			v[i][1] = _mm512_shuffle_epi32(v[i][1], 0x39);
			v[i][2] = _mm512_shuffle_epi32(v[i][2], 0x4e);
			v[i][3] = _mm512_shuffle_epi32(v[i][3], 0x93);
		}
		for (int i = 0; i < n_vectors; i++)
			row_round(v[i]);
		for (int i = 0; i < n_vectors; i++) {
			v[i][1] = _mm512_shuffle_epi32(v[i][1], 0x93);
			v[i][2] = _mm512_shuffle_epi32(v[i][2], 0x4e);
			v[i][3] = _mm512_shuffle_epi32(v[i][3], 0x39);
		}
	}
	for (int i = 0; i < n_vectors; i++) {
		for (int j = 0; j < 4; j++)
			v[i][j] = _mm512_add_epi32(v[i][j], in[i][j]);
		transpose_quarters(v[i]);
		for (int j = 0; j < 4; j++)
			xor_store(l->dst[4 * i + j], l->src[4 * i + j], v[i][j]);
	}
}

ALWAYS_INLINE void chacha_any(const struct chacha_lanes *l, unsigned n)
{
	switch (n) {
	case 16:
		chacha_16(l);
		break;
	case 12:
		chacha_rows(l, 3);
		break;
	case 8:
		chacha_rows(l, 2);
		break;
	default:
		chacha_rows(l, 1);
	}
}

#define LANES 8 /* of Poly1305; for the preprocessor */
enum {
	N_LANES = LANES,
};

typedef __m512i vec;
typedef __m512i row_t;

/* The order of lanes inside a vector is whatever makes mac_transpose() cheap; this table says which
 * it is, by log2 of the lanes per packet. */
static const struct mac_layout {
	uint8_t packet[8], block[8]; /* of each lane; block = j */
} mac_layouts[4] = {
	{ { 0, 4, 1, 5, 2, 6, 3, 7 }, { 0, 0, 0, 0, 0, 0, 0, 0 } },
	{ { 0, 2, 0, 2, 1, 3, 1, 3 }, { 0, 0, 1, 1, 0, 0, 1, 1 } },
	{ { 0, 1, 0, 1, 0, 1, 0, 1 }, { 0, 0, 1, 1, 2, 2, 3, 3 } },
	{ { 0, 0, 0, 0, 0, 0, 0, 0 }, { 0, 4, 1, 5, 2, 6, 3, 7 } },
};

/* Turns the eight rows of a batch into four steps: the low and high words of one block per lane. */
ALWAYS_INLINE void mac_transpose(__m512i row[8], __m512i lo[4], __m512i hi[4], const int log2_l)
{
	__m512i a[4], b[4];
	if (log2_l == 0) {
		transpose_quarters(row);
		transpose_quarters(row + 4);
	}
	for (int s = 0; s < 4; s++) {
		if (log2_l == 0 || log2_l == 2) {
			a[s] = row[s];
			b[s] = row[4 + s];
		} else if (log2_l == 1) {
			a[s] = s % 2 ? _mm512_shuffle_i64x2(row[s / 2], row[2 + s / 2], 0xee)
				     : _mm512_shuffle_i64x2(row[s / 2], row[2 + s / 2], 0x44);
			b[s] = s % 2 ? _mm512_shuffle_i64x2(row[4 + s / 2], row[6 + s / 2], 0xee)
				     : _mm512_shuffle_i64x2(row[4 + s / 2], row[6 + s / 2], 0x44);
		} else {
			a[s] = row[2 * s];
			b[s] = row[2 * s + 1];
		}
	}
	for (int s = 0; s < 4; s++) {
		lo[s] = _mm512_unpacklo_epi64(a[s], b[s]);
		hi[s] = _mm512_unpackhi_epi64(a[s], b[s]);
	}
}

ALWAYS_INLINE row_t row_load(const void *p)
{
	return _mm512_loadu_si512(p);
}

/* 64 bytes at @at of which the first @n_before are not there yet and only the first @n_left are
 * text; the others count as zeros. @len >= 0: the row that ends with the length block. */
ALWAYS_INLINE row_t row_load_edge(uintptr_t at, int64_t n_before, int64_t n_left, int64_t len)
{
	uint64_t mask = ~UINT64_C(0);
	if (n_before > 0)
		mask = n_before < 64 ? mask << n_before : 0;
	if (n_left < 64)
		mask &= n_left > 0 ? ~UINT64_C(0) >> (64 - n_left) : 0;
	__m512i v = _mm512_maskz_loadu_epi8(mask, (const void *)at);
	return len >= 0 ? _mm512_mask_set1_epi64(v, 0x80, len) : v;
}

/* The two words of r of each lane's packet. */
ALWAYS_INLINE void mac_load_r(struct mac *const *m, vec *lo, vec *hi, const int log2_l)
{
	const uint8_t *p = mac_layouts[log2_l].packet;
	__m512i a = load_quarters(m[p[0]]->one_time_key, m[p[2]]->one_time_key,
				  m[p[4]]->one_time_key, m[p[6]]->one_time_key);
	__m512i b = load_quarters(m[p[1]]->one_time_key, m[p[3]]->one_time_key,
				  m[p[5]]->one_time_key, m[p[7]]->one_time_key);
	*lo = _mm512_unpacklo_epi64(a, b);
	*hi = _mm512_unpackhi_epi64(a, b);
}

#define vec_set1(x)            _mm512_set1_epi64(x)
#define vec_load(p)            _mm512_load_si512(p)
#define vec_store(p, a)        _mm512_store_si512(p, a)
#define vec_add(a, b)          _mm512_add_epi64(a, b)
#define vec_and(a, b)          _mm512_and_si512(a, b)
#define vec_or(a, b)           _mm512_or_si512(a, b)
#define vec_shl(a, n)          _mm512_slli_epi64(a, n)
#define vec_shr(a, n)          _mm512_srli_epi64(a, n)
#define vec_select(mask, a, b) _mm512_ternarylogic_epi64(mask, a, b, 0xca)
/* @value in the lanes in which @a <= @bound, 0 in the others. */
#define vec_if_le(a, bound, value)                                                              \
	_mm512_maskz_mov_epi64(_mm512_cmple_epi64_mask(a, _mm512_set1_epi64((int64_t)(bound))), \
			       value)

/* Clears what no function call clears: aead_wipe_below() does the lower sixteen. */
static inline void wipe_high_registers(void)
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

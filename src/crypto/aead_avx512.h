/* SPDX-License-Identifier: MPL-2.0 */
/* ChaCha20 and message loading for both AVX-512 kernels, which differ in their Poly1305 only.
 * Included by files that are compiled for F, BW, VL and DQ. */
#pragma once

#include <immintrin.h>

#include "base/macro.h"
#include "crypto/aead_burst.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

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

ALWAYS_INLINE void chacha_load(__m512i v[16], const struct chacha_lanes *l)
{
	v[0] = _mm512_set1_epi32(0x61707865);
	v[1] = _mm512_set1_epi32(0x3320646e);
	v[2] = _mm512_set1_epi32(0x79622d32);
	v[3] = _mm512_set1_epi32(0x6b206574);
	load_key_words(v + 4, l, 0);
	load_key_words(v + 8, l, 16);
	/* element 4 * c + k of the result belongs to lane 4 * k + c: chacha_store() undoes it */
	for (int i = 0; i < 4; i++)
		v[12 + i] = _mm512_load_si512(&l->nonce[4 * i]);
	transpose_words(v + 12);
}

ALWAYS_INLINE void xor_store(const struct chacha_lanes *l, int lane, __m512i stream)
{
	__m512i text = _mm512_loadu_si512(l->src[lane]);
	_mm512_storeu_si512(l->dst[lane], _mm512_xor_si512(text, stream));
}

ALWAYS_INLINE void chacha_store(__m512i v[16], const struct chacha_lanes *l)
{
	for (int g = 0; g < 4; g++)
		transpose_words(v + 4 * g);
	for (int k = 0; k < 4; k++) {
		__m512i row[4] = { v[k], v[4 + k], v[8 + k], v[12 + k] };
		transpose_quarters(row);
		for (int c = 0; c < 4; c++)
			xor_store(l, 4 * k + c, row[c]);
	}
}

/* Sixteen blocks, a word per vector. */
ALWAYS_INLINE void chacha_16(const struct chacha_lanes *l)
{
	__m512i v[16], in[16];
	chacha_load(in, l);
	for (int i = 0; i < 16; i++)
		v[i] = in[i];
	for (int i = 0; i < 10; i++) {
		chacha_round(v, 0);
		chacha_round(v, 1);
	}
	for (int i = 0; i < 16; i++)
		v[i] = _mm512_add_epi32(v[i], in[i]);
	chacha_store(v, l);
}

ALWAYS_INLINE void row_round(__m512i v[4])
{
	quarter_add_xor_rot(&v[0], &v[1], &v[3], 16);
	quarter_add_xor_rot(&v[2], &v[3], &v[1], 12);
	quarter_add_xor_rot(&v[0], &v[1], &v[3], 8);
	quarter_add_xor_rot(&v[2], &v[3], &v[1], 7);
}

/* Up to twelve blocks, a row of four blocks per vector: more instructions per block than
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
			xor_store(l, 4 * i + j, v[i][j]);
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

/* How the 64-byte rows of a batch become MAC lanes. With L lanes per packet there are 8 / L packets
 * of L rows each per batch, and lane j of a packet takes its blocks j, L + j, 2 L + j, ... The order
 * of lanes inside a vector is whatever makes mac_transpose() cheap; this table says which it is,
 * by log2 of L. */
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

/* A packet inside the frame of its group: all end together, shorter ones begin later. */
struct mac_frame {
	uintptr_t text; /* address of the byte at offset 0 */
	int64_t len;    /* bytes */
	int64_t front;  /* bytes of the frame before offset 0, whole blocks */
};

struct mac_group {
	struct mac_frame frame[8];
	__m512i first_step; /* by lane: the first step that has a block for it */
	int64_t n_batches;
	int64_t first_full; /* the first batch in which every lane has all its blocks */
	int64_t n_skip;     /* steps of batch 0 in which no lane has a block */
};

ALWAYS_INLINE void mac_group_init(struct mac_group *g, struct mac *const *m, const int log2_l)
{
	const unsigned n_lanes_each = 1U << log2_l, width = 8U >> log2_l;
	const unsigned per_batch = MAC_ROW_BLOCKS * n_lanes_each; /* blocks */
	const struct mac_layout *layout = &mac_layouts[log2_l];
	_Alignas(64) uint64_t first_step[8];
	uint64_t front[8], most = 0, front_max = 0;

	for (unsigned i = 0; i < width; i++) {
		front[i] = mac_blocks(m[i]->text_len);
		most = MAX(most, front[i]);
	}
	const uint64_t n_batches = (most + per_batch - 1) / per_batch;
	const uint64_t n_blocks = n_batches * per_batch;
	for (unsigned i = 0; i < width; i++) {
		front[i] = n_blocks - front[i];
		front_max = MAX(front_max, front[i]);
		g->frame[i] = (struct mac_frame){ (uintptr_t)m[i]->text, (int64_t)m[i]->text_len,
						  16 * (int64_t)front[i] };
	}
	for (unsigned i = 0; i < 8; i++)
		first_step[i] = (front[layout->packet[i]] + n_lanes_each - 1 - layout->block[i]) >>
				log2_l;
	g->first_step = _mm512_load_si512(first_step);
	g->n_batches = (int64_t)n_batches;
	g->first_full = (int64_t)((front_max + per_batch - 1) / per_batch);
	g->n_skip = (int64_t)((n_blocks - most) >> log2_l);
}

/* A row that is not wholly text: zeros before and behind it, in the very last block the lengths. */
ALWAYS_INLINE __m512i mac_edge_row(const struct mac_frame *f, int64_t at, bool is_last)
{
	const int64_t offset = at - f->front, rest = f->len - offset;
	uint64_t mask = ~UINT64_C(0);
	if (offset < 0)
		mask = offset > -64 ? mask << -offset : 0;
	if (rest < 64)
		mask &= rest > 0 ? ~UINT64_C(0) >> (64 - rest) : 0;
	__m512i v = _mm512_maskz_loadu_epi8(mask, (const void *)(f->text + (uintptr_t)offset));
	if (is_last) /* no associated data: the low word is 0 */
		v = _mm512_mask_set1_epi64(v, 0x80, f->len);
	return v;
}

ALWAYS_INLINE void mac_edge_rows(__m512i row[8], const struct mac_group *g, int64_t batch,
				 const int log2_l)
{
	const int n_rows = 1 << log2_l;
	for (int i = 0; i < 8; i++) {
		const int64_t r = batch * n_rows + i % n_rows;
		row[i] = mac_edge_row(&g->frame[i >> log2_l], 64 * r,
				      r == g->n_batches * n_rows - 1);
	}
}

ALWAYS_INLINE void mac_full_rows(__m512i row[8], const struct mac_group *g, int64_t batch,
				 const int log2_l)
{
	const int n_rows = 1 << log2_l;
	for (int i = 0; i < 8; i++) {
		const struct mac_frame *f = &g->frame[i >> log2_l];
		const int64_t offset = 64 * (batch * n_rows + i % n_rows) - f->front;
		row[i] = _mm512_loadu_si512((const void *)(f->text + (uintptr_t)offset));
	}
}

/* The two words of r of each lane's packet, clamped. */
ALWAYS_INLINE void mac_load_r(struct mac *const *m, __m512i *lo, __m512i *hi, const int log2_l)
{
	const uint8_t *p = mac_layouts[log2_l].packet;
	__m512i a = load_quarters(m[p[0]]->one_time_key, m[p[2]]->one_time_key,
				  m[p[4]]->one_time_key, m[p[6]]->one_time_key);
	__m512i b = load_quarters(m[p[1]]->one_time_key, m[p[3]]->one_time_key,
				  m[p[5]]->one_time_key, m[p[7]]->one_time_key);
	*lo = _mm512_and_si512(_mm512_unpacklo_epi64(a, b), _mm512_set1_epi64(0x0ffffffc0fffffff));
	*hi = _mm512_and_si512(_mm512_unpackhi_epi64(a, b), _mm512_set1_epi64(0x0ffffffc0ffffffc));
}

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

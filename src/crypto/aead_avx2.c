/* SPDX-License-Identifier: MPL-2.0 */
/* AEAD kernel for AVX2: ChaCha20 eight blocks at a time, Poly1305 in four lanes of 26-bit limbs. */
#include <immintrin.h>

#include "base/cpu.h"
#include "crypto/aead_burst.h"
#include "crypto/aead_impl.h"

#define LANES 4 /* of Poly1305; for the preprocessor */
enum {
	N_LANES = LANES,
};

#define ROT16                                                                                    \
	_mm256_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6, 7, \
			 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)
#define ROT8                                                                                     \
	_mm256_setr_epi8(3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14, 3, 0, 1, 2, 7, 4, \
			 5, 6, 11, 8, 9, 10, 15, 12, 13, 14)

/* d = (d ^ (a += b)) <<< n, @n being an immediate. */
ALWAYS_INLINE void add_xor_rot(__m256i *a, const __m256i *b, __m256i *d, const int n)
{
	*a = _mm256_add_epi32(*a, *b);
	*d = _mm256_xor_si256(*d, *a);
	if (n == 16)
		*d = _mm256_shuffle_epi8(*d, ROT16);
	else if (n == 8)
		*d = _mm256_shuffle_epi8(*d, ROT8);
	else
		*d = _mm256_or_si256(_mm256_slli_epi32(*d, n), _mm256_srli_epi32(*d, 32 - n));
}

/* Two quarter rounds side by side: as much as sixteen registers bear. @j as in chacha_round(). */
ALWAYS_INLINE void two_quarter_rounds(__m256i v[16], const int from, const int j)
{
	for (int i = from; i < from + 2; i++)
		add_xor_rot(&v[i], &v[4 + (i + j) % 4], &v[12 + (i + 3 * j) % 4], 16);
	for (int i = from; i < from + 2; i++)
		add_xor_rot(&v[8 + (i + 2 * j) % 4], &v[12 + (i + 3 * j) % 4], &v[4 + (i + j) % 4],
			    12);
	for (int i = from; i < from + 2; i++)
		add_xor_rot(&v[i], &v[4 + (i + j) % 4], &v[12 + (i + 3 * j) % 4], 8);
	for (int i = from; i < from + 2; i++)
		add_xor_rot(&v[8 + (i + 2 * j) % 4], &v[12 + (i + 3 * j) % 4], &v[4 + (i + j) % 4],
			    7);
}

/* Four quarter rounds: columns for @j = 0, diagonals for @j = 1. */
ALWAYS_INLINE void chacha_round(__m256i v[16], const int j)
{
	two_quarter_rounds(v, 0, j);
	two_quarter_rounds(v, 2, j);
}

/* Transposes 4 x 4 words inside each half. */
ALWAYS_INLINE void transpose_words(__m256i v[4])
{
	__m256i t0 = _mm256_unpacklo_epi32(v[0], v[1]), t1 = _mm256_unpacklo_epi32(v[2], v[3]);
	__m256i t2 = _mm256_unpackhi_epi32(v[0], v[1]), t3 = _mm256_unpackhi_epi32(v[2], v[3]);
	v[0] = _mm256_unpacklo_epi64(t0, t1);
	v[1] = _mm256_unpackhi_epi64(t0, t1);
	v[2] = _mm256_unpacklo_epi64(t2, t3);
	v[3] = _mm256_unpackhi_epi64(t2, t3);
}

ALWAYS_INLINE __m256i load_halves(const void *lo, const void *hi)
{
	return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(lo)),
				       _mm_loadu_si128(hi), 1);
}

/* Four words of each lane's key, in vectors by word. Lane 2 * k + c sits in element 4 * c + k. */
ALWAYS_INLINE void load_key_words(__m256i v[4], const struct chacha_lanes *l, const int offset)
{
	if (l->has_one_key) {
		for (int i = 0; i < 4; i++)
			v[i] = _mm256_set1_epi32((int)load_le32(l->key[0] + offset + 4 * i));
		return;
	}
	for (int i = 0; i < 4; i++)
		v[i] = load_halves(l->key[2 * i] + offset, l->key[2 * i + 1] + offset);
	transpose_words(v);
}

ALWAYS_INLINE void constants_load(__m256i v[4])
{
	v[0] = _mm256_set1_epi32(0x61707865);
	v[1] = _mm256_set1_epi32(0x3320646e);
	v[2] = _mm256_set1_epi32(0x79622d32);
	v[3] = _mm256_set1_epi32(0x6b206574);
}

ALWAYS_INLINE void chacha_load(__m256i v[16], const struct chacha_lanes *l)
{
	constants_load(v);
	load_key_words(v + 4, l, 0);
	load_key_words(v + 8, l, 16);
	for (int i = 0; i < 4; i++)
		v[12 + i] = _mm256_load_si256((const __m256i *)l->nonce[2 * i]);
	transpose_words(v + 12);
}

ALWAYS_INLINE void chacha_rounds(__m256i v[16])
{
	for (int i = 0; i < 10; i++) {
		chacha_round(v, 0);
		chacha_round(v, 1);
	}
}

ALWAYS_INLINE void xor_store(uint8_t *dst, const uint8_t *src, __m256i stream)
{
	const __m256i text = _mm256_loadu_si256((const __m256i *)src);
	_mm256_storeu_si256((__m256i *)dst, _mm256_xor_si256(text, stream));
}

/* A block from the lower halves of four rows, another one from the upper halves. */
ALWAYS_INLINE void xor_two(uint8_t *const dst[2], const uint8_t *const src[2], const __m256i row[4])
{
	xor_store(dst[0], src[0], _mm256_permute2x128_si256(row[0], row[1], 0x20));
	xor_store(dst[0] + 32, src[0] + 32, _mm256_permute2x128_si256(row[2], row[3], 0x20));
	xor_store(dst[1], src[1], _mm256_permute2x128_si256(row[0], row[1], 0x31));
	xor_store(dst[1] + 32, src[1] + 32, _mm256_permute2x128_si256(row[2], row[3], 0x31));
}

/* Eight blocks of any packets. */
ALWAYS_INLINE void chacha_8(const struct chacha_lanes *l)
{
	__m256i v[16], in[16];
	chacha_load(in, l);
	for (int i = 0; i < 16; i++)
		v[i] = in[i];
	chacha_rounds(v);
	for (int i = 0; i < 16; i++)
		v[i] = _mm256_add_epi32(v[i], in[i]);
	for (int g = 0; g < 4; g++)
		transpose_words(v + 4 * g);
	for (int k = 0; k < 4; k++) {
		const __m256i row[4] = { v[k], v[4 + k], v[8 + k], v[12 + k] };
		xor_two(l->dst + 2 * k, l->src + 2 * k, row);
	}
}

/* Eight consecutive blocks of one packet at a time. */
ALWAYS_INLINE void chacha_run_8(const struct chacha_run *run, size_t n)
{
	const uint8_t *src = run->src;
	uint8_t *dst = run->dst;
	__m256i v[16], in[16];

	constants_load(in);
	for (int i = 0; i < 8; i++)
		in[4 + i] = _mm256_set1_epi32((int)load_le32(run->key + 4 * i));
	for (int i = 0; i < 4; i++)
		in[12 + i] = _mm256_set1_epi32((int)run->nonce[i]);
	in[12] = _mm256_add_epi32(in[12], _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7));
	for (; n; n -= 8) {
		for (int i = 0; i < 16; i++)
			v[i] = in[i];
		chacha_rounds(v);
		for (int i = 0; i < 16; i++)
			v[i] = _mm256_add_epi32(v[i], in[i]);
		in[12] = _mm256_add_epi32(in[12], _mm256_set1_epi32(8));
		for (int g = 0; g < 4; g++)
			transpose_words(v + 4 * g);
		for (int k = 0; k < 4; k++) {
			const __m256i row[4] = { v[k], v[4 + k], v[8 + k], v[12 + k] };
			const uint8_t *const from[2] = { src + 128 * k, src + 128 * k + 64 };
			uint8_t *const to[2] = { dst + 128 * k, dst + 128 * k + 64 };
			xor_two(to, from, row);
		}
		src += 8 * 64;
		dst += 8 * 64;
	}
}

ALWAYS_INLINE void row_round(__m256i v[4])
{
	add_xor_rot(&v[0], &v[1], &v[3], 16);
	add_xor_rot(&v[2], &v[3], &v[1], 12);
	add_xor_rot(&v[0], &v[1], &v[3], 8);
	add_xor_rot(&v[2], &v[3], &v[1], 7);
}

/* Rotates the rows, so that diagonals become columns (@back: columns diagonals again). */
ALWAYS_INLINE void row_shift(__m256i v[4], const bool back)
{
	v[1] = back ? _mm256_shuffle_epi32(v[1], 0x93) : _mm256_shuffle_epi32(v[1], 0x39);
	v[2] = _mm256_shuffle_epi32(v[2], 0x4e);
	v[3] = back ? _mm256_shuffle_epi32(v[3], 0x39) : _mm256_shuffle_epi32(v[3], 0x93);
}

/* Up to six blocks of any packets, a row of two blocks per vector. */
ALWAYS_INLINE void chacha_rows(const struct chacha_lanes *l, const int n_vectors)
{
	__m256i v[3][4], in[3][4];
	for (int i = 0; i < n_vectors; i++) {
		const uint8_t *const *k = &l->key[2 * i];
		in[i][0] = _mm256_setr_epi32(0x61707865, 0x3320646e, 0x79622d32, 0x6b206574,
					     0x61707865, 0x3320646e, 0x79622d32, 0x6b206574);
		in[i][1] = load_halves(k[0], k[1]);
		in[i][2] = load_halves(k[0] + 16, k[1] + 16);
		in[i][3] = _mm256_load_si256((const __m256i *)l->nonce[2 * i]);
		for (int j = 0; j < 4; j++)
			v[i][j] = in[i][j];
	}
	for (int r = 0; r < 20; r++) {
		for (int i = 0; i < n_vectors; i++)
			row_round(v[i]);
		for (int i = 0; i < n_vectors; i++)
			row_shift(v[i], r & 1);
	}
	for (int i = 0; i < n_vectors; i++) {
		for (int j = 0; j < 4; j++)
			v[i][j] = _mm256_add_epi32(v[i][j], in[i][j]);
		xor_two(l->dst + 2 * i, l->src + 2 * i, v[i]);
	}
}

/* Poly1305. The layouts are what makes mac_transpose() cheap, by log2 of the lanes per packet. */
static const struct mac_layout {
	uint8_t packet[N_LANES], block[N_LANES];
} mac_layouts[3] = {
	{ { 0, 2, 1, 3 }, { 0, 0, 0, 0 } },
	{ { 0, 1, 0, 1 }, { 0, 0, 1, 1 } },
	{ { 0, 0, 0, 0 }, { 0, 2, 1, 3 } },
};

typedef __m256i vec;
typedef vec half;

typedef struct {
	__m256i h[2]; /* two blocks each */
} row_t;

#define vec_set1(x)            _mm256_set1_epi64x(x)
#define vec_load(p)            _mm256_load_si256((const __m256i *)(p))
#define vec_store(p, a)        _mm256_store_si256((__m256i *)(p), a)
#define vec_add(a, b)          _mm256_add_epi64(a, b)
#define vec_and(a, b)          _mm256_and_si256(a, b)
#define vec_or(a, b)           _mm256_or_si256(a, b)
#define vec_shl(a, n)          _mm256_slli_epi64(a, n)
#define vec_shr(a, n)          _mm256_srli_epi64(a, n)
#define vec_select(mask, a, b) _mm256_blendv_epi8(b, a, mask)
/* @value in the lanes in which @a <= @bound, 0 in the others. */
#define vec_if_le(a, bound, value) \
	_mm256_andnot_si256(_mm256_cmpgt_epi64(a, _mm256_set1_epi64x((int64_t)(bound))), value)
#define half_set(a)         (a)
#define half_mla(acc, a, b) _mm256_add_epi64(acc, _mm256_mul_epu32(a, b))

/* Turns the four rows of a batch into four steps: the words of one block per lane. */
ALWAYS_INLINE void mac_transpose(row_t row[N_LANES], vec lo[4], vec hi[4], const int log2_l)
{
	for (int s = 0; s < 4; s++) {
		__m256i a, b;
		if (log2_l == 0 && s % 2 == 0) {
			a = _mm256_permute2x128_si256(row[0].h[s / 2], row[1].h[s / 2], 0x20);
			b = _mm256_permute2x128_si256(row[2].h[s / 2], row[3].h[s / 2], 0x20);
		} else if (log2_l == 0) {
			a = _mm256_permute2x128_si256(row[0].h[s / 2], row[1].h[s / 2], 0x31);
			b = _mm256_permute2x128_si256(row[2].h[s / 2], row[3].h[s / 2], 0x31);
		} else if (log2_l == 1) {
			a = row[s / 2].h[s % 2];
			b = row[2 + s / 2].h[s % 2];
		} else {
			a = row[s].h[0];
			b = row[s].h[1];
		}
		lo[s] = _mm256_unpacklo_epi64(a, b);
		hi[s] = _mm256_unpackhi_epi64(a, b);
	}
}

ALWAYS_INLINE row_t row_load(const void *p)
{
	const __m256i *h = p;
	return (row_t){ { _mm256_loadu_si256(h), _mm256_loadu_si256(h + 1) } };
}

/* 64 bytes at @at of which the first @n_before are not there yet and only the first @n_left are
 * text; the others count as zeros. @len >= 0: the row that ends with the length block. */
ALWAYS_INLINE row_t row_load_edge(uintptr_t at, int64_t n_before, int64_t n_left, int64_t len)
{
	_Alignas(32) uint8_t bytes[64] = { 0 };
	const int64_t from = MAX(n_before, 0), to = MIN(n_left, 64);
	if (from < to)
		memcpy(bytes + from, (const void *)(at + (uintptr_t)from), (size_t)(to - from));
	if (len >= 0)
		store_le64(bytes + 56, (uint64_t)len);
	return row_load(bytes);
}

/* The two words of r of each lane's packet. */
ALWAYS_INLINE void mac_load_r(struct mac *const *m, vec *lo, vec *hi, const int log2_l)
{
	const uint8_t *p = mac_layouts[log2_l].packet;
	__m256i a = load_halves(m[p[0]]->one_time_key, m[p[2]]->one_time_key);
	__m256i b = load_halves(m[p[1]]->one_time_key, m[p[3]]->one_time_key);
	*lo = _mm256_unpacklo_epi64(a, b);
	*hi = _mm256_unpackhi_epi64(a, b);
}

#include "crypto/aead_fe26.h"
#include "crypto/aead_mac.h"

static void avx2_mac(struct mac *const *m, unsigned width)
{
	mac_run(m, width);
}

static void avx2_chacha(const struct chacha_lanes *lanes, unsigned n)
{
	switch (n) {
	case 8:
		chacha_8(lanes);
		break;
	case 6:
		chacha_rows(lanes, 3);
		break;
	case 4:
		chacha_rows(lanes, 2);
		break;
	default:
		chacha_rows(lanes, 1);
	}
}

static void avx2_chacha_run(const struct chacha_run *run, size_t n)
{
	chacha_run_8(run, n);
}

static void avx2_wipe_registers(void)
{
	_mm256_zeroall();
}

const struct aead_kernel aead_avx2_kernel = {
	.n_lanes = 8,
	.lanes_granule = 2,
	.n_mac_lanes = N_LANES,
	.mac_setup_cost = { 450, 500, 430 },
	.mac_batch_cost = 110,
	.chacha = avx2_chacha,
	.chacha_run = avx2_chacha_run,
	.mac = avx2_mac,
	.wipe_registers = avx2_wipe_registers,
};

static void avx2_seal_burst(const struct aead_seal_job *job, size_t n)
{
	aead_burst_seal(&aead_avx2_kernel, job, n);
}

static void avx2_open_burst(struct aead_open_job *job, size_t n)
{
	aead_burst_open(&aead_avx2_kernel, job, n);
}

const struct aead_impl aead_avx2 = {
	.name = "avx2",
	.cpu = CPU_AVX2,
	.seal_burst = avx2_seal_burst,
	.open_burst = avx2_open_burst,
};

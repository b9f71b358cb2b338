/* SPDX-License-Identifier: MPL-2.0 */
/* AEAD kernel for AVX2: ChaCha20 eight blocks at a time, Poly1305 in four lanes of 26-bit limbs. */
#include <immintrin.h>

#include "base/cpu.h"
#include "crypto/aead_burst.h"
#include "crypto/aead_impl.h"
#include "crypto/aead_x86_mac.h"

/* The order of bytes that rotates words by 16 or 8 bits to the left. */
ALWAYS_INLINE __m256i rot16_order(void)
{
	return _mm256_broadcastsi128_si256(
		_mm_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
}

ALWAYS_INLINE __m256i rot8_order(void)
{
	return _mm256_broadcastsi128_si256(
		_mm_setr_epi8(3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14));
}

/* The double rounds over ymm0 - ymm15 with the steps of Poly1305 woven in, as text because gcc
 * spills much more than there is to spill, and no compiler interleaves. Two of the four words c are
 * in ymm8 and ymm9 at a time, the others in memory; ymm10 and ymm11 are scratch. r15 points to a
 * struct aead_context, of which this is used: */
enum {
	AT_STATE = 0,    /* 64 bytes per row, of which 32 count */
	AT_C01 = 1024,   /* in scratch: c[0] and c[1] while they are not in registers */
	AT_C23 = 1088,   /* c[2] and c[3] */
	AT_ROT16 = 1152, /* orders of bytes */
	AT_ROT8 = 1184,
	AT_COUNT = 1216, /* iterations left */
};

_Static_assert(offsetof(struct aead_context, state) == AT_STATE, "");
_Static_assert(offsetof(struct aead_context, scratch) == AT_C01, "");

#define ADD_XOR(a, b, d)                                   \
	"vpaddd %%ymm" #b ", %%ymm" #a ", %%ymm" #a "\n\t" \
	"vpxor %%ymm" #a ", %%ymm" #d ", %%ymm" #d "\n\t"
#define ROT_BYTES(d, mask) "vpshufb " #mask "(%%r15), %%ymm" #d ", %%ymm" #d "\n\t"
#define ROT_BITS(b, t, left, right)                        \
	"vpslld $" #left ", %%ymm" #b ", %%ymm" #t "\n\t"  \
	"vpsrld $" #right ", %%ymm" #b ", %%ymm" #b "\n\t" \
	"vpor %%ymm" #t ", %%ymm" #b ", %%ymm" #b "\n\t"

/* Two quarter rounds side by side, with room for four parts of Poly1305. */
#define TWO(a, b, c, d, e, f, g, h, P, Q, R, S)                                               \
	ADD_XOR(a, b, d)                                                                      \
	ADD_XOR(e, f, h)                                                                      \
	ROT_BYTES(d, 1152)                                                                    \
	ROT_BYTES(h, 1152)                                                                    \
	P ADD_XOR(c, d, b) ADD_XOR(g, h, f) ROT_BITS(b, 10, 12, 20) ROT_BITS(f, 11, 12, 20) Q \
	ADD_XOR(a, b, d) ADD_XOR(e, f, h) ROT_BYTES(d, 1184) ROT_BYTES(h, 1184) R             \
	ADD_XOR(c, d, b) ADD_XOR(g, h, f) ROT_BITS(b, 10, 7, 25) ROT_BITS(f, 11, 7, 25) S

#define SWAP(to, from)                                                            \
	"vmovdqa %%ymm8, " #to "(%%r15)\n\tvmovdqa %%ymm9, 32+" #to "(%%r15)\n\t" \
	"vmovdqa " #from "(%%r15), %%ymm8\n\tvmovdqa 32+" #from "(%%r15), %%ymm9\n\t"

/* clang-format off */
#define TWO_DOUBLE_ROUNDS(PART)                                                                    \
	TWO(0, 4, 8, 12, 1, 5, 9, 13, PART(A1), PART(A2), PART(A3), PART(A4))                      \
	SWAP(1024, 1088)                                                                             \
	TWO(2, 6, 8, 14, 3, 7, 9, 15, PART(A5), PART(B1), PART(B2), PART(B3))                      \
	TWO(0, 5, 8, 15, 1, 6, 9, 12, PART(B4), PART(B5), PART(A1), PART(A2))                      \
	SWAP(1088, 1024)                                                                             \
	TWO(2, 7, 8, 13, 3, 4, 9, 14, PART(A3), PART(A4), PART(A5), PART(B1))                      \
	TWO(0, 4, 8, 12, 1, 5, 9, 13, PART(B2), PART(B3), PART(B4), PART(B5))                      \
	SWAP(1024, 1088)                                                                             \
	TWO(2, 6, 8, 14, 3, 7, 9, 15, PART(A1), PART(A2), PART(A3), PART(A4))                      \
	TWO(0, 5, 8, 15, 1, 6, 9, 12, PART(A5), PART(B1), PART(B2), PART(B3))                      \
	SWAP(1088, 1024)                                                                             \
	TWO(2, 7, 8, 13, 3, 4, 9, 14, PART(B4), PART(B5), "", "")
/* clang-format on */

#define LOAD_2(a, b, at) \
	"vmovdqa " #at "(%%r15), %%ymm" #a "\n\tvmovdqa 64+" #at "(%%r15), %%ymm" #b "\n\t"

#define CHACHA_8_TEXT                                              \
	LOAD_2(0, 1, 0)                                            \
	LOAD_2(2, 3, 128)                                          \
	LOAD_2(4, 5, 256)                                          \
	LOAD_2(6, 7, 384)                                          \
	LOAD_2(8, 9, 512)                                          \
	LOAD_2(12, 13, 768)                                        \
	LOAD_2(14, 15, 896)                                        \
	ROUNDS_WITH_MAC(TWO_DOUBLE_ROUNDS, "decq 1216(%%r15)\n\t") \
	"vmovdqa 1088(%%r15), %%ymm10\n\tvmovdqa 1120(%%r15), %%ymm11"

#define YMM(n) register __m256i y##n __asm__("ymm" #n)

ALWAYS_INLINE __m256i *context_at(struct aead_context *x, int at)
{
	return (__m256i *)((uint8_t *)x + at);
}

/* v = the state after ten double rounds + the state, while spans are absorbed. */
ALWAYS_INLINE void chacha_8(__m256i v[16], struct aead_context *x)
{
	YMM(0), y1 __asm__("ymm1"), y2 __asm__("ymm2"), y3 __asm__("ymm3");
	YMM(4), y5 __asm__("ymm5"), y6 __asm__("ymm6"), y7 __asm__("ymm7");
	YMM(8), y9 __asm__("ymm9"), y10 __asm__("ymm10"), y11 __asm__("ymm11");
	YMM(12), y13 __asm__("ymm13"), y14 __asm__("ymm14"), y15 __asm__("ymm15");
	struct mac_span *span = x->cursor.span;
	uint64_t at = x->cursor.at, count = CHACHA_DOUBLE_ROUNDS / 2;

	for (int i = 0; i < 2; i++)
		*context_at(x, AT_C23 + 32 * i) = *context_at(x, AT_STATE + 64 * (10 + i));
	*context_at(x, AT_ROT16) = rot16_order();
	*context_at(x, AT_ROT8) = rot8_order();
	memcpy(context_at(x, AT_COUNT), &count, sizeof(count));
	register struct aead_context *context __asm__("r15") = x;
	__asm__ volatile(CHACHA_8_TEXT
			 : "=x"(y0), "=x"(y1), "=x"(y2), "=x"(y3), "=x"(y4), "=x"(y5), "=x"(y6),
			   "=x"(y7), "=x"(y8), "=x"(y9), "=x"(y10), "=x"(y11), "=x"(y12), "=x"(y13),
			   "=x"(y14), "=x"(y15), "+S"(span), "+D"(at)
			 : "r"(context)
			 : "rax", MAC_CLOBBERS);
	/* At once: a register variable does not outlast a call, and a sanitizer puts one wherever the
	 * life of an array begins. */
	v[0] = y0;
	v[1] = y1;
	v[2] = y2;
	v[3] = y3;
	v[4] = y4;
	v[5] = y5;
	v[6] = y6;
	v[7] = y7;
	v[8] = y8;
	v[9] = y9;
	v[10] = y10;
	v[11] = y11;
	v[12] = y12;
	v[13] = y13;
	v[14] = y14;
	v[15] = y15;
	x->cursor.span = span;
	x->cursor.at = at;
	for (int i = 0; i < 16; i++)
		v[i] = _mm256_add_epi32(v[i], *context_at(x, AT_STATE + 64 * i));
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

static const uint32_t constants[4] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };

/* The twelve rows of the state that blocks with the same key share. */
ALWAYS_INLINE void state_set_key(struct aead_context *x, const uint8_t *key)
{
	if (x->key == key)
		return;
	for (int i = 0; i < 4; i++)
		*context_at(x, 64 * i) = _mm256_set1_epi32((int)constants[i]);
	for (int i = 0; i < 8; i++)
		*context_at(x, 64 * (4 + i)) = _mm256_set1_epi32((int)load_le32(key + 4 * i));
	x->key = key;
}

/* Every lane has a key of its own. */
ALWAYS_INLINE void state_set_keys(struct aead_context *x, const uint8_t *const k[8])
{
	__m256i v[8];
	state_set_key(x, k[0]); /* for the constants */
	for (int i = 0; i < 4; i++, k += 2) {
		v[i] = load_halves(k[0], k[1]);
		v[4 + i] = load_halves(k[0] + 16, k[1] + 16);
	}
	transpose_words(v);
	transpose_words(v + 4);
	for (int i = 0; i < 8; i++)
		*context_at(x, 64 * (4 + i)) = v[i];
	x->key = NULL;
}

/* Lane 2 * k + c sits in element 4 * c + k of each row: xor_blocks() undoes it. */
ALWAYS_INLINE void state_set_lanes(struct aead_context *x, const struct chacha_lanes *l)
{
	__m256i v[4];
	if (l->has_one_key)
		state_set_key(x, l->key[0]);
	else
		state_set_keys(x, l->key);
	for (int i = 0; i < 4; i++)
		v[i] = _mm256_load_si256((const __m256i *)l->nonce[2 * i]);
	transpose_words(v);
	for (int i = 0; i < 4; i++)
		*context_at(x, 64 * (12 + i)) = v[i];
}

ALWAYS_INLINE void state_set_run(struct aead_context *x, const struct chacha_run *run)
{
	const __m256i lane = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
	state_set_key(x, run->key);
	for (int i = 0; i < 4; i++)
		*context_at(x, 64 * (12 + i)) = _mm256_set1_epi32((int)run->nonce[i]);
	*context_at(x, 64 * 12) = _mm256_add_epi32(*context_at(x, 64 * 12), lane);
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

ALWAYS_INLINE void xor_blocks(uint8_t *const dst[8], const uint8_t *const src[8], __m256i v[16])
{
	for (int g = 0; g < 4; g++)
		transpose_words(v + 4 * g);
	for (int k = 0; k < 4; k++) {
		const __m256i row[4] = { v[k], v[4 + k], v[8 + k], v[12 + k] };
		xor_two(dst + 2 * k, src + 2 * k, row);
	}
}

/* Eight blocks of any packets. */
static void chacha_lanes_8(const struct chacha_lanes *l, struct aead_context *x)
{
	__m256i v[16];
	state_set_lanes(x, l);
	chacha_8(v, x);
	xor_blocks(l->dst, l->src, v);
}

static void avx2_chacha_run(const struct chacha_run *run, struct aead_context *x)
{
	const uint8_t *src[8];
	uint8_t *dst[8];
	__m256i v[16];

	for (int i = 0; i < 8; i++) {
		src[i] = run->src + 64 * i;
		dst[i] = run->dst + 64 * i;
	}
	src[0] = run->first;
	state_set_run(x, run);
	chacha_8(v, x);
	xor_blocks(dst, src, v);
}

/* d = (d ^ (a += b)) <<< n, @n being an immediate. */
ALWAYS_INLINE void add_xor_rot(__m256i *a, const __m256i *b, __m256i *d, const int n)
{
	*a = _mm256_add_epi32(*a, *b);
	const __m256i x = _mm256_xor_si256(*d, *a);
	if (n == 16)
		*d = _mm256_shuffle_epi8(x, rot16_order());
	else if (n == 8)
		*d = _mm256_shuffle_epi8(x, rot8_order());
	else
		*d = _mm256_or_si256(_mm256_slli_epi32(x, n), _mm256_srli_epi32(x, 32 - n));
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
ALWAYS_INLINE void chacha_rows(const struct chacha_lanes *l, struct aead_context *x,
			       const int n_vectors)
{
	__m256i v[3][4], in[3][4];
	for (int i = 0; i < n_vectors; i++) {
		const uint8_t *const *k = &l->key[2 * i];
		in[i][0] = load_halves(constants, constants);
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
		if (r % 4 == 3)
			mac_step(&x->cursor);
	}
	for (int i = 0; i < n_vectors; i++) {
		for (int j = 0; j < 4; j++)
			v[i][j] = _mm256_add_epi32(v[i][j], in[i][j]);
		xor_two(l->dst + 2 * i, l->src + 2 * i, v[i]);
	}
}

/* Poly1305. */
#define LANES 4

/* The order of messages in vectors: what makes mac_transpose() cheap. */
static const uint8_t mac_order[LANES] = { 0, 2, 1, 3 };

typedef __m256i vec;
typedef vec half;

typedef struct {
	__m256i h[2]; /* two blocks each */
} row_t;

#define vec_set1(x)     _mm256_set1_epi64x(x)
#define vec_load(p)     _mm256_load_si256((const __m256i *)(p))
#define vec_store(p, a) _mm256_store_si256((__m256i *)(p), a)
#define vec_add(a, b)   _mm256_add_epi64(a, b)
#define vec_and(a, b)   _mm256_and_si256(a, b)
#define vec_or(a, b)    _mm256_or_si256(a, b)
#define vec_shl(a, n)   _mm256_slli_epi64(a, n)
#define vec_shr(a, n)   _mm256_srli_epi64(a, n)
/* @value in the lanes in which @a <= @bound, 0 in the others. */
#define vec_if_le(a, bound, value) \
	_mm256_andnot_si256(_mm256_cmpgt_epi64(a, _mm256_set1_epi64x((int64_t)(bound))), value)
#define half_set(a)         (a)
#define half_mla(acc, a, b) _mm256_add_epi64(acc, _mm256_mul_epu32(a, b))

/* Turns 64 bytes of each message into four steps: the words of a block of each. */
ALWAYS_INLINE void mac_transpose(row_t row[LANES], vec lo[4], vec hi[4])
{
	for (int s = 0; s < 4; s++) {
		__m256i a, b;
		if (s % 2 == 0) {
			a = _mm256_permute2x128_si256(row[0].h[s / 2], row[1].h[s / 2], 0x20);
			b = _mm256_permute2x128_si256(row[2].h[s / 2], row[3].h[s / 2], 0x20);
		} else {
			a = _mm256_permute2x128_si256(row[0].h[s / 2], row[1].h[s / 2], 0x31);
			b = _mm256_permute2x128_si256(row[2].h[s / 2], row[3].h[s / 2], 0x31);
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

/* 64 bytes of which the first @n_before are not there yet and only the first @n_left are text; the
 * others count as zeros. */
struct row_edge {
	int64_t from, to;
};

ALWAYS_INLINE void row_edge_init(struct row_edge *e, int64_t n_before, int64_t n_left)
{
	e->from = MAX(n_before, 0);
	e->to = MIN(n_left, 64);
}

ALWAYS_INLINE row_t row_load_edge(uintptr_t at, const struct row_edge *e)
{
	_Alignas(32) uint8_t bytes[64] = { 0 };
	if (e->from < e->to)
		memcpy(bytes + e->from, (const void *)(at + (uintptr_t)e->from),
		       (size_t)(e->to - e->from));
	return row_load(bytes);
}

/* The two words of r of each message. */
ALWAYS_INLINE void mac_load_r(struct mac_lane *const *m, vec *lo, vec *hi)
{
	__m256i a = load_halves(m[0]->one_time_key, m[1]->one_time_key);
	__m256i b = load_halves(m[2]->one_time_key, m[3]->one_time_key);
	*lo = _mm256_unpacklo_epi64(a, b);
	*hi = _mm256_unpackhi_epi64(a, b);
}

#include "crypto/aead_fe26.h"
#include "crypto/aead_mac.h"

static void avx2_mac_lanes(struct mac_lane *const *m)
{
	mac_run(m);
}

static void avx2_mac_spans(struct mac_cursor *cursor, const struct mac_span *last)
{
	mac_steps(cursor, last);
}

static void avx2_chacha(const struct chacha_lanes *lanes, unsigned n, struct aead_context *x)
{
	switch (n) {
	case 8:
		chacha_lanes_8(lanes, x);
		break;
	case 6:
		chacha_rows(lanes, x, 3);
		break;
	case 4:
		chacha_rows(lanes, x, 2);
		break;
	default:
		chacha_rows(lanes, x, 1);
	}
}

static void avx2_wipe_registers(void)
{
	_mm256_zeroall();
}

const struct aead_kernel aead_avx2_kernel = {
	.n_lanes = 8,
	.lanes_granule = 2,
	.n_lanes_part = 8,
	.n_mac_lanes = LANES,
	.mac_lane_max_len = 320,
	.mac_lane_max_len_burst = 320,
	.mac_lanes_worth = LANES,
	.mac_room = CHACHA_DOUBLE_ROUNDS / 2 * MAC_STEP_LEN,
	.mac_setup_cost = 450,
	.mac_row_cost = 110,
	.chacha = avx2_chacha,
	.chacha_run = avx2_chacha_run,
	.mac_spans = avx2_mac_spans,
	.mac_lanes = avx2_mac_lanes,
	.wipe_registers = avx2_wipe_registers,
};

AEAD_BURST_IMPL(avx2, CPU_AVX2);

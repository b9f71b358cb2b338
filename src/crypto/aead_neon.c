/* SPDX-License-Identifier: MPL-2.0 */
/* AEAD kernel for aarch64 with Advanced SIMD: ChaCha20 four blocks at a time, Poly1305 in two
 * lanes of 26-bit limbs. */
#include <arm_neon.h>

#include "base/cpu.h"
#include "crypto/aead_burst.h"
#include "crypto/aead_impl.h"

/* d = (d ^ (a += b)) <<< n, @n being an immediate. */
ALWAYS_INLINE void add_xor_rot(uint32x4_t *a, const uint32x4_t *b, uint32x4_t *d, const int n)
{
	static const uint8_t rot8[16] = { 3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14 };
	*a = vaddq_u32(*a, *b);
	const uint32x4_t x = veorq_u32(*d, *a);
	switch (n) {
	case 16:
		*d = vreinterpretq_u32_u16(vrev32q_u16(vreinterpretq_u16_u32(x)));
		break;
	case 12:
		*d = vsriq_n_u32(vshlq_n_u32(x, 12), x, 20);
		break;
	case 8:
		*d = vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_u32(x), vld1q_u8(rot8)));
		break;
	default:
		*d = vsriq_n_u32(vshlq_n_u32(x, 7), x, 25);
	}
}

/* Four quarter rounds: columns for @j = 0, diagonals for @j = 1. */
ALWAYS_INLINE void chacha_round(uint32x4_t v[16], const int j)
{
	for (int i = 0; i < 4; i++)
		add_xor_rot(&v[i], &v[4 + (i + j) % 4], &v[12 + (i + 3 * j) % 4], 16);
	for (int i = 0; i < 4; i++)
		add_xor_rot(&v[8 + (i + 2 * j) % 4], &v[12 + (i + 3 * j) % 4], &v[4 + (i + j) % 4],
			    12);
	for (int i = 0; i < 4; i++)
		add_xor_rot(&v[i], &v[4 + (i + j) % 4], &v[12 + (i + 3 * j) % 4], 8);
	for (int i = 0; i < 4; i++)
		add_xor_rot(&v[8 + (i + 2 * j) % 4], &v[12 + (i + 3 * j) % 4], &v[4 + (i + j) % 4],
			    7);
}

ALWAYS_INLINE uint32x4_t load_words(const void *p)
{
	return vreinterpretq_u32_u8(vld1q_u8(p));
}

ALWAYS_INLINE void xor_store(uint8_t *dst, const uint8_t *src, uint32x4_t stream)
{
	vst1q_u8(dst, veorq_u8(vld1q_u8(src), vreinterpretq_u8_u32(stream)));
}

/* Transposes 4 x 4 words. */
ALWAYS_INLINE void transpose_words(uint32x4_t v[4])
{
	const uint64x2_t t0 = vreinterpretq_u64_u32(vzip1q_u32(v[0], v[1]));
	const uint64x2_t t1 = vreinterpretq_u64_u32(vzip1q_u32(v[2], v[3]));
	const uint64x2_t t2 = vreinterpretq_u64_u32(vzip2q_u32(v[0], v[1]));
	const uint64x2_t t3 = vreinterpretq_u64_u32(vzip2q_u32(v[2], v[3]));
	v[0] = vreinterpretq_u32_u64(vzip1q_u64(t0, t1));
	v[1] = vreinterpretq_u32_u64(vzip2q_u64(t0, t1));
	v[2] = vreinterpretq_u32_u64(vzip1q_u64(t2, t3));
	v[3] = vreinterpretq_u32_u64(vzip2q_u64(t2, t3));
}

ALWAYS_INLINE void load_key_words(uint32x4_t v[4], const struct chacha_lanes *l, const int offset)
{
	if (l->has_one_key) {
		for (int i = 0; i < 4; i++)
			v[i] = vdupq_n_u32(load_le32(l->key[0] + offset + 4 * i));
		return;
	}
	for (int i = 0; i < 4; i++)
		v[i] = load_words(l->key[i] + offset);
	transpose_words(v);
}

static const uint32_t constants[4] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };

/* Key stream of four blocks, a word per vector; then 16 bytes per vector, lane @i's row @g in
 * v[4 * g + i]. */
ALWAYS_INLINE void chacha_stream(uint32x4_t v[16], const uint32x4_t in[16])
{
	for (int i = 0; i < 16; i++)
		v[i] = in[i];
	for (int i = 0; i < 10; i++) {
		chacha_round(v, 0);
		chacha_round(v, 1);
	}
	for (int i = 0; i < 16; i++)
		v[i] = vaddq_u32(v[i], in[i]);
	for (int g = 0; g < 4; g++)
		transpose_words(v + 4 * g);
}

/* Four blocks of any packets. */
ALWAYS_INLINE void chacha_4(const struct chacha_lanes *l)
{
	uint32x4_t v[16], in[16];
	for (int i = 0; i < 4; i++) {
		in[i] = vdupq_n_u32(constants[i]);
		in[12 + i] = vld1q_u32(l->nonce[i]);
	}
	load_key_words(in + 4, l, 0);
	load_key_words(in + 8, l, 16);
	transpose_words(in + 12);
	chacha_stream(v, in);
	for (int i = 0; i < 16; i++)
		xor_store(l->dst[i / 4] + 16 * (i % 4), l->src[i / 4] + 16 * (i % 4),
			  v[4 * (i % 4) + i / 4]);
}

/* Four consecutive blocks of one packet. */
static void neon_chacha_run(const struct chacha_run *run, struct aead_context *x)
{
	static const uint32_t lane[4] = { 0, 1, 2, 3 };
	uint32x4_t v[16], in[16];

	for (int i = 0; i < 4; i++) {
		in[i] = vdupq_n_u32(constants[i]);
		in[4 + i] = vdupq_n_u32(load_le32(run->key + 4 * i));
		in[8 + i] = vdupq_n_u32(load_le32(run->key + 16 + 4 * i));
		in[12 + i] = vdupq_n_u32(run->nonce[i]);
	}
	in[12] = vaddq_u32(in[12], vld1q_u32(lane));
	chacha_stream(v, in);
	for (int i = 0; i < 16; i++)
		xor_store(run->dst + 16 * i, (i < 4 ? run->first : run->src) + 16 * i,
			  v[4 * (i % 4) + i / 4]);
}

ALWAYS_INLINE void row_round(uint32x4_t v[4])
{
	add_xor_rot(&v[0], &v[1], &v[3], 16);
	add_xor_rot(&v[2], &v[3], &v[1], 12);
	add_xor_rot(&v[0], &v[1], &v[3], 8);
	add_xor_rot(&v[2], &v[3], &v[1], 7);
}

/* Rotates the rows, so that diagonals become columns (@back: columns diagonals again). */
ALWAYS_INLINE void row_shift(uint32x4_t v[4], const bool back)
{
	const uint32x4_t b = v[1], d = v[3];
	v[1] = back ? vextq_u32(b, b, 3) : vextq_u32(b, b, 1);
	v[2] = vextq_u32(v[2], v[2], 2);
	v[3] = back ? vextq_u32(d, d, 1) : vextq_u32(d, d, 3);
}

/* Up to three blocks of any packets, a row per vector. */
ALWAYS_INLINE void chacha_rows(const struct chacha_lanes *l, const int n_blocks)
{
	uint32x4_t v[3][4], in[3][4];
	for (int i = 0; i < n_blocks; i++) {
		in[i][0] = vld1q_u32(constants);
		in[i][1] = load_words(l->key[i]);
		in[i][2] = load_words(l->key[i] + 16);
		in[i][3] = vld1q_u32(l->nonce[i]);
		for (int j = 0; j < 4; j++)
			v[i][j] = in[i][j];
	}
	for (int r = 0; r < 20; r++) {
		for (int i = 0; i < n_blocks; i++)
			row_round(v[i]);
		for (int i = 0; i < n_blocks; i++)
			row_shift(v[i], r & 1);
	}
	for (int i = 0; i < n_blocks; i++)
		for (int j = 0; j < 4; j++)
			xor_store(l->dst[i] + 16 * j, l->src[i] + 16 * j,
				  vaddq_u32(v[i][j], in[i][j]));
}

/* Poly1305. */
#define LANES 2
static const uint8_t mac_order[LANES] = { 0, 1 };

typedef uint64x2_t vec;
typedef uint32x2_t half;

typedef struct {
	uint64x2_t q[4]; /* a block each */
} row_t;

#define vec_set1(x)     vdupq_n_u64(x)
#define vec_load(p)     vld1q_u64(p)
#define vec_store(p, a) vst1q_u64(p, a)
#define vec_add(a, b)   vaddq_u64(a, b)
#define vec_and(a, b)   vandq_u64(a, b)
#define vec_or(a, b)    vorrq_u64(a, b)
#define vec_shl(a, n)   vshlq_n_u64(a, n)
#define vec_shr(a, n)   vshrq_n_u64(a, n)
/* @value in the lanes in which @a <= @bound, 0 in the others. */
#define vec_if_le(a, bound, value) vandq_u64(vcleq_u64(a, vdupq_n_u64(bound)), value)
#define half_set(a)                vmovn_u64(a)
#define half_mla(acc, a, b)        vmlal_u32(acc, a, b)

/* Turns 64 bytes of each message into four steps: the words of a block of each. */
ALWAYS_INLINE void mac_transpose(row_t row[LANES], vec lo[4], vec hi[4])
{
	for (int s = 0; s < 4; s++) {
		lo[s] = vzip1q_u64(row[0].q[s], row[1].q[s]);
		hi[s] = vzip2q_u64(row[0].q[s], row[1].q[s]);
	}
}

ALWAYS_INLINE row_t row_load(const void *p)
{
	row_t r;
	for (int i = 0; i < 4; i++)
		r.q[i] = vreinterpretq_u64_u8(vld1q_u8((const uint8_t *)p + 16 * i));
	return r;
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
	uint8_t bytes[64] = { 0 };
	if (e->from < e->to)
		memcpy(bytes + e->from, (const void *)(at + (uintptr_t)e->from),
		       (size_t)(e->to - e->from));
	return row_load(bytes);
}

/* The two words of r of each message. */
ALWAYS_INLINE void mac_load_r(struct mac_lane *const *m, vec *lo, vec *hi)
{
	const vec a = vreinterpretq_u64_u8(vld1q_u8(m[0]->one_time_key));
	const vec b = vreinterpretq_u64_u8(vld1q_u8(m[1]->one_time_key));
	*lo = vzip1q_u64(a, b);
	*hi = vzip2q_u64(a, b);
}

#include "crypto/aead_fe26.h"
#include "crypto/aead_mac.h"

static void neon_mac_lanes(struct mac_lane *const *m)
{
	mac_run(m);
}

static void neon_chacha(const struct chacha_lanes *lanes, unsigned n, struct aead_context *x)
{
	switch (n) {
	case 4:
		chacha_4(lanes);
		break;
	case 3:
		chacha_rows(lanes, 3);
		break;
	case 2:
		chacha_rows(lanes, 2);
		break;
	default:
		chacha_rows(lanes, 1);
	}
}

/* aead_wipe_below() clears all the registers there are. */
static void neon_wipe_registers(void)
{
}

const struct aead_kernel aead_neon_kernel = {
	.n_lanes = 4,
	.lanes_granule = 1,
	.n_lanes_part = 4,
	.n_mac_lanes = LANES,
	.mac_lane_max_len = SIZE_MAX,
	.mac_lane_max_len_burst = SIZE_MAX,
	.mac_lanes_worth = LANES,
	.mac_setup_cost = 400,
	.mac_row_cost = 70,
	.chacha = neon_chacha,
	.chacha_run = neon_chacha_run,
	.mac_lanes = neon_mac_lanes,
	.wipe_registers = neon_wipe_registers,
};

AEAD_BURST_IMPL(neon, CPU_NEON);

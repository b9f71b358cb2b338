/* SPDX-License-Identifier: MPL-2.0 */
/* AEAD kernel for AVX-512 with IFMA: Poly1305 in limbs of 44, 44 and 42 bits, multiplied by
 * vpmadd52. A lane's limb products are 52 bits low and 52 bits high; high halves weigh 2^52 =
 * 2^8 * 2^44 of the limb they came from, hence the shift by 8 (10 for the top limb) in carry(). */
#include "base/cpu.h"
#include "crypto/aead_impl.h"
#include "crypto/aead_wide_avx512.h"

struct fe {
	__m512i l[3];
};

/* A power of r, and its upper limbs times 20: 2^132 = 4 * 2^130 = 4 * 5 mod 2^130 - 5. */
struct power {
	__m512i r[3], s[3]; /* s[0] is unused */
};

struct acc {
	__m512i lo[3], hi[3];
};

#define MASK44 _mm512_set1_epi64((1LL << 44) - 1)
#define MASK42 _mm512_set1_epi64((1LL << 42) - 1)

ALWAYS_INLINE void acc_zero(struct acc *a)
{
	for (int i = 0; i < 3; i++)
		a->lo[i] = a->hi[i] = _mm512_setzero_si512();
}

/* acc += x * p; limbs of x below 2^46, of p below 2^45. */
ALWAYS_INLINE void acc_mul(struct acc *a, const struct fe *x, const struct power *p)
{
	for (int j = 0; j < 3; j++) {
		for (int i = 0; i < 3; i++) {
			const __m512i y = i + j < 3 ? p->r[i] : p->s[i];
			const int k = (i + j) % 3;
			a->lo[k] = _mm512_madd52lo_epu64(a->lo[k], x->l[j], y);
			a->hi[k] = _mm512_madd52hi_epu64(a->hi[k], x->l[j], y);
		}
	}
}

/* Four products per limb: lo < 12 * 2^52, hi < 12 * 2^(46 + 50 - 52); so the value carried out of
 * the top is below 2^53 and l[1] ends below 2^44 + 2^12. */
ALWAYS_INLINE void acc_carry(const struct acc *a, struct fe *h)
{
	__m512i c =
		_mm512_add_epi64(_mm512_srli_epi64(a->lo[0], 44), _mm512_slli_epi64(a->hi[0], 8));
	__m512i d1 = _mm512_add_epi64(a->lo[1], c);
	c = _mm512_add_epi64(_mm512_srli_epi64(d1, 44), _mm512_slli_epi64(a->hi[1], 8));
	__m512i d2 = _mm512_add_epi64(a->lo[2], c);
	c = _mm512_add_epi64(_mm512_srli_epi64(d2, 42), _mm512_slli_epi64(a->hi[2], 10));
	__m512i d0 = _mm512_add_epi64(_mm512_and_si512(a->lo[0], MASK44), c);
	d0 = _mm512_add_epi64(d0, _mm512_slli_epi64(c, 2));
	h->l[0] = _mm512_and_si512(d0, MASK44);
	h->l[1] = _mm512_add_epi64(_mm512_and_si512(d1, MASK44), _mm512_srli_epi64(d0, 44));
	h->l[2] = _mm512_and_si512(d2, MASK42);
}

ALWAYS_INLINE void power_set(struct power *p, const struct fe *x)
{
	for (int i = 0; i < 3; i++) {
		p->r[i] = x->l[i];
		__m512i x4 = _mm512_slli_epi64(x->l[i], 2);
		p->s[i] = _mm512_add_epi64(x4, _mm512_slli_epi64(x4, 2));
	}
}

/* A block as limbs; @hibit is 2^128 in the top limb, or 0 where there is no block. */
ALWAYS_INLINE void fe_set_block(struct fe *x, __m512i lo, __m512i hi, __m512i hibit)
{
	x->l[0] = _mm512_and_si512(lo, MASK44);
	/* 0xa8: (a | b) & c */
	x->l[1] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(lo, 44), _mm512_slli_epi64(hi, 20),
					    MASK44, 0xa8);
	x->l[2] = _mm512_or_si512(_mm512_srli_epi64(hi, 24), hibit);
}

ALWAYS_INLINE void fe_add(struct fe *x, const struct fe *y)
{
	for (int i = 0; i < 3; i++)
		x->l[i] = _mm512_add_epi64(x->l[i], y->l[i]);
}

#define HIBIT _mm512_set1_epi64(1LL << 40)

/* a + 1 in the lanes of @k; adds to @k the lanes in which that wrapped. */
ALWAYS_INLINE __m512i add_carry(__m512i a, __mmask8 *k)
{
	const __m512i sum = _mm512_mask_add_epi64(a, *k, a, _mm512_set1_epi64(1));
	*k = _mm512_mask_cmpeq_epi64_mask(*k, sum, _mm512_setzero_si512());
	return sum;
}

/* poly1305_finish() in all lanes. */
ALWAYS_INLINE void mac_store_tags(struct mac_lane *const *m, const struct fe *h)
{
	const __m512i one = _mm512_set1_epi64(1), three = _mm512_set1_epi64(3);
	const __m512i l1 = _mm512_and_si512(h->l[1], MASK44);
	const __m512i l2 = _mm512_add_epi64(h->l[2], _mm512_srli_epi64(h->l[1], 44));
	__m512i h0 = _mm512_or_si512(h->l[0], _mm512_slli_epi64(l1, 44));
	__m512i h1 = _mm512_or_si512(_mm512_srli_epi64(l1, 20), _mm512_slli_epi64(l2, 24));
	__m512i h2 = _mm512_srli_epi64(l2, 40), s0, s1;

	/* what is above 2^130 comes back times 5 */
	const __m512i back =
		_mm512_add_epi64(_mm512_andnot_si512(three, h2), _mm512_srli_epi64(h2, 2));
	h0 = _mm512_add_epi64(h0, back);
	__mmask8 k = _mm512_cmplt_epu64_mask(h0, back);
	h1 = add_carry(h1, &k);
	h2 = _mm512_and_si512(h2, three);
	h2 = _mm512_mask_add_epi64(h2, k, h2, one);

	/* h + 5 >= 2^130 exactly when h >= p: then h - p = h + 5 mod 2^130 is the value to take */
	const __m512i g0 = _mm512_add_epi64(h0, _mm512_set1_epi64(5));
	k = _mm512_cmplt_epu64_mask(g0, h0);
	const __m512i g1 = add_carry(h1, &k);
	const __mmask8 take = _mm512_cmpgt_epu64_mask(_mm512_mask_add_epi64(h2, k, h2, one), three);
	h0 = _mm512_mask_mov_epi64(h0, take, g0);
	h1 = _mm512_mask_mov_epi64(h1, take, g1);

	mac_load_key(m, 16, &s0, &s1);
	h0 = _mm512_add_epi64(h0, s0);
	h1 = _mm512_add_epi64(h1, s1);
	h1 = _mm512_mask_add_epi64(h1, _mm512_cmplt_epu64_mask(h0, s0), h1, one);

	const __m512i a = _mm512_unpacklo_epi64(h0, h1), b = _mm512_unpackhi_epi64(h0, h1);
	_mm_storeu_si128((__m128i *)m[0]->tag, _mm512_castsi512_si128(a));
	_mm_storeu_si128((__m128i *)m[1]->tag, _mm512_extracti64x2_epi64(a, 1));
	_mm_storeu_si128((__m128i *)m[2]->tag, _mm512_extracti64x2_epi64(a, 2));
	_mm_storeu_si128((__m128i *)m[3]->tag, _mm512_extracti64x2_epi64(a, 3));
	_mm_storeu_si128((__m128i *)m[4]->tag, _mm512_castsi512_si128(b));
	_mm_storeu_si128((__m128i *)m[5]->tag, _mm512_extracti64x2_epi64(b, 1));
	_mm_storeu_si128((__m128i *)m[6]->tag, _mm512_extracti64x2_epi64(b, 2));
	_mm_storeu_si128((__m128i *)m[7]->tag, _mm512_extracti64x2_epi64(b, 3));
}

#include "crypto/aead_mac.h"

static void ifma_mac_lanes(struct mac_lane *const *m)
{
	mac_run(m);
}

static void ifma_mac_spans(struct mac_cursor *cursor, const struct mac_span *last)
{
	mac_steps(cursor, last);
}

static void ifma_chacha(const struct chacha_lanes *lanes, unsigned n, struct aead_context *x)
{
	avx512_chacha(lanes, n, x);
}

static void ifma_chacha_run(const struct chacha_run *run, struct aead_context *x)
{
	avx512_chacha_run(run, x);
}

static void ifma_wipe_registers(void)
{
	avx512_wipe_registers();
}

const struct aead_kernel aead_avx512ifma_kernel = {
	.n_lanes = 32,
	.lanes_granule = 4,
	.n_lanes_part = 20,
	.n_mac_lanes = LANES,
	.mac_lane_max_len = 320,
	.mac_lane_max_len_burst = 2048,
	.mac_lanes_worth = LANES / 2,
	.mac_room = 2 * CHACHA_DOUBLE_ROUNDS * MAC_STEP_LEN,
	.mac_setup_cost = 270,
	.mac_row_cost = 100,
	.chacha = ifma_chacha,
	.chacha_run = ifma_chacha_run,
	.mac_spans = ifma_mac_spans,
	.mac_lanes = ifma_mac_lanes,
	.wipe_registers = ifma_wipe_registers,
};

AEAD_BURST_IMPL(avx512ifma, CPU_AVX512 | CPU_AVX512_IFMA);

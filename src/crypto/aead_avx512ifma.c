/* SPDX-License-Identifier: MPL-2.0 */
/* AEAD kernel for AVX-512 with IFMA: Poly1305 in limbs of 44, 44 and 42 bits, multiplied by
 * vpmadd52. A lane's limb products are 52 bits low and 52 bits high; high halves weigh 2^52 =
 * 2^8 * 2^44 of the limb they came from, hence the shift by 8 (10 for the top limb) in carry(). */
#include "base/cpu.h"
#include "crypto/aead_avx512.h"
#include "crypto/aead_impl.h"

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

ALWAYS_INLINE void fe_mul(struct fe *out, const struct fe *x, const struct power *p)
{
	struct acc a;
	acc_zero(&a);
	acc_mul(&a, x, p);
	acc_carry(&a, out);
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

/* Powers of r as the lanes of a layout need them. */
struct powers {
	struct power r[5]; /* r[i] = r^(L i) in every lane */
	struct fe last;    /* r^(L - j): what lane j multiplies with at the end */
};

ALWAYS_INLINE void powers_init(struct powers *pw, struct mac *const *m, const int log2_l,
			       int n_powers)
{
	__m512i lo, hi;
	struct fe x;
	mac_load_r(m, &lo, &hi, log2_l);
	fe_set_block(&x, lo, hi, _mm512_setzero_si512());
	power_set(&pw->r[1], &x);
	pw->last = x;
	for (int i = 0; i < log2_l; i++) {
		struct fe square, more;
		fe_mul(&square, &x, &pw->r[1]);
		fe_mul(&more, &pw->last, &pw->r[1]);
		__mmask8 k = 0; /* lanes whose j has bit i clear take the factor r^(2^i) */
		for (int lane = 0; lane < 8; lane++)
			if (!(mac_layouts[log2_l].block[lane] >> i & 1))
				k |= (__mmask8)(1U << lane);
		for (int n = 0; n < 3; n++)
			pw->last.l[n] = _mm512_mask_mov_epi64(pw->last.l[n], k, more.l[n]);
		x = square;
		power_set(&pw->r[1], &x);
	}
	for (int i = 2; i <= n_powers; i++) {
		fe_mul(&x, &x, &pw->r[1]);
		power_set(&pw->r[i], &x);
	}
	if (log2_l > 0) {
		const struct fe one = { { _mm512_set1_epi64(1) } };
		power_set(&pw->r[0], &one);
	}
}

/* h = ((((h + m0) * R + m1) * R + m2) * R + m3) * R by one carry, R^(i + 1) being @r[i] (or
 * one factor less). The first @skip steps are empty. */
ALWAYS_INLINE void absorb(struct fe *h, __m512i row[8], const struct power *r,
			  const __m512i hibit[4], int skip, const int log2_l)
{
	__m512i lo[4], hi[4];
	struct acc a;
	struct fe x;

	mac_transpose(row, lo, hi, log2_l);
	acc_zero(&a);
	/* what depends on the batch before comes last, so that batches overlap */
	for (int s = 3; s >= 0; s--) {
		if (s < skip)
			break;
		fe_set_block(&x, lo[s], hi[s], hibit[s]);
		if (s == skip)
			fe_add(&x, h);
		acc_mul(&a, &x, &r[3 - s]);
	}
	acc_carry(&a, h);
}

/* Adds up the lanes of each packet and leaves 130 bits in 64-bit words. */
ALWAYS_INLINE void store_h(struct mac *const *m, const struct fe *h, const int log2_l)
{
	typedef unsigned __int128 u128;
	const struct mac_layout *layout = &mac_layouts[log2_l];
	_Alignas(64) uint64_t limb[3][8];
	uint64_t sum[8][3] = { 0 };

	for (int i = 0; i < 3; i++)
		_mm512_store_si512(limb[i], h->l[i]);
	for (int lane = 0; lane < 8; lane++)
		for (int i = 0; i < 3; i++)
			sum[layout->packet[lane]][i] += limb[i][lane];
	for (int p = 0; p < 8 >> log2_l; p++) {
		u128 t = sum[p][0] + ((u128)sum[p][1] << 44);
		u128 u = t + ((u128)sum[p][2] << 88);
		m[p]->h[0] = (uint64_t)u;
		m[p]->h[1] = (uint64_t)(u >> 64);
		m[p]->h[2] = (sum[p][2] >> 40) + (u < t);
	}
}

/* A batch at an end of the frame: blocks may be missing. */
ALWAYS_INLINE void absorb_edge(struct fe *h, const struct mac_group *g, const struct powers *pw,
			       int64_t batch, const int log2_l)
{
	const bool is_last = batch == g->n_batches - 1;
	__m512i row[8], hibit[4];

	mac_edge_rows(row, g, batch, log2_l);
	for (int s = 0; s < 4; s++)
		hibit[s] = _mm512_maskz_mov_epi64(
			_mm512_cmple_epi64_mask(g->first_step, _mm512_set1_epi64(4 * batch + s)),
			HIBIT);
	/* several lanes per packet: the very last factor differs between them */
	absorb(h, row, is_last && log2_l > 0 ? &pw->r[0] : &pw->r[1], hibit,
	       batch ? 0 : (int)g->n_skip, log2_l);
}

ALWAYS_INLINE void mac_group_run(struct mac *const *m, const int log2_l)
{
	const __m512i hibit[4] = { HIBIT, HIBIT, HIBIT, HIBIT };
	struct mac_group g;
	struct powers pw;
	struct fe h = { { _mm512_setzero_si512(), _mm512_setzero_si512(),
			  _mm512_setzero_si512() } };

	mac_group_init(&g, m, log2_l);
	powers_init(&pw, m, log2_l, g.n_batches > 1 ? 4 : 4 - (int)g.n_skip);
	for (int64_t b = 0; b < g.n_batches;) {
		absorb_edge(&h, &g, &pw, b++, log2_l);
		for (; b >= g.first_full && b < g.n_batches - 1; b++) {
			__m512i row[8];
			mac_full_rows(row, &g, b, log2_l);
			absorb(&h, row, &pw.r[1], hibit, 0, log2_l);
		}
	}
	if (log2_l > 0) {
		power_set(&pw.r[0], &pw.last);
		fe_mul(&h, &h, &pw.r[0]);
	}
	store_h(m, &h, log2_l);
}

static void ifma_mac(struct mac *const *m, unsigned width)
{
	switch (width) {
	case 8:
		mac_group_run(m, 0);
		break;
	case 4:
		mac_group_run(m, 1);
		break;
	case 2:
		mac_group_run(m, 2);
		break;
	default:
		mac_group_run(m, 3);
	}
}

static void ifma_chacha(const struct chacha_lanes *lanes, unsigned n)
{
	chacha_any(lanes, n);
}

const struct aead_kernel aead_avx512ifma_kernel = {
	.n_lanes = 16,
	.lanes_granule = 4,
	.n_mac_lanes = 8,
	.mac_setup_cost = { 150, 200, 250, 300 },
	.mac_batch_cost = 80,
	.chacha = ifma_chacha,
	.mac = ifma_mac,
	.wipe_registers = wipe_high_registers,
};

static void ifma_seal_burst(const struct aead_seal_job *job, size_t n)
{
	aead_burst_seal(&aead_avx512ifma_kernel, job, n);
}

static void ifma_open_burst(struct aead_open_job *job, size_t n)
{
	aead_burst_open(&aead_avx512ifma_kernel, job, n);
}

const struct aead_impl aead_avx512ifma = {
	.name = "avx512ifma",
	.cpu = CPU_AVX512 | CPU_AVX512_IFMA,
	.seal_burst = ifma_seal_burst,
	.open_burst = ifma_open_burst,
};

/* SPDX-License-Identifier: MPL-2.0 */
/* Arithmetic modulo 2^130 - 5 in five limbs of 26 bits, each in a 64-bit lane, for ISAs that
 * multiply 32 x 32 bits. The ISA supplies vec and vec_*(), and for factors: half (a lane's low 32
 * bits), half_set() and half_mla(). */
#pragma once

#include <stdint.h>

#include "crypto/aead_burst.h"

enum {
	N_LIMBS = 5,
};

struct fe {
	vec l[5];
};

/* A power of r, and its upper limbs times 5: 2^130 = 5 mod 2^130 - 5. */
struct power {
	half r[5], s[5]; /* s[0] is unused */
};

struct acc {
	vec d[5];
};

#define MASK26 vec_set1((1 << 26) - 1)
#define HIBIT  vec_set1(1 << 24) /* 2^128 in the top limb */

ALWAYS_INLINE void acc_zero(struct acc *a)
{
	for (int i = 0; i < 5; i++)
		a->d[i] = vec_set1(0);
}

/* acc += x * p. Limbs of x are below 2^28, of p->s below 2^29: 20 products stay below 2^62. */
ALWAYS_INLINE void acc_mul(struct acc *a, const struct fe *x, const struct power *p)
{
	for (int j = 0; j < 5; j++) {
		const half f = half_set(x->l[j]);
		for (int i = 0; i < 5; i++)
			a->d[(i + j) % 5] =
				half_mla(a->d[(i + j) % 5], f, i + j < 5 ? p->r[i] : p->s[i]);
	}
}

/* Two chains side by side: 0 -> 1 -> 2 -> 3 and 3 -> 4 -> 0 -> 1. What leaves a limb the first time
 * is below 2^37, so limbs end below 2^26 + 2^14. */
ALWAYS_INLINE void acc_carry(const struct acc *a, struct fe *h)
{
	const vec mask = MASK26;
	vec d1 = vec_add(a->d[1], vec_shr(a->d[0], 26));
	vec d4 = vec_add(a->d[4], vec_shr(a->d[3], 26));
	vec d2 = vec_add(a->d[2], vec_shr(d1, 26));
	vec c4 = vec_shr(d4, 26);
	vec d0 = vec_add(vec_and(a->d[0], mask), vec_add(c4, vec_shl(c4, 2)));
	vec d3 = vec_add(vec_and(a->d[3], mask), vec_shr(d2, 26));
	h->l[0] = vec_and(d0, mask);
	h->l[1] = vec_add(vec_and(d1, mask), vec_shr(d0, 26));
	h->l[2] = vec_and(d2, mask);
	h->l[3] = vec_and(d3, mask);
	h->l[4] = vec_add(vec_and(d4, mask), vec_shr(d3, 26));
}

ALWAYS_INLINE void power_set(struct power *p, const struct fe *x)
{
	for (int i = 0; i < 5; i++) {
		p->r[i] = half_set(x->l[i]);
		p->s[i] = half_set(vec_add(x->l[i], vec_shl(x->l[i], 2)));
	}
}

/* A block as limbs; @hibit is 2^128 in the top limb, or 0 where there is no block. */
ALWAYS_INLINE void fe_set_block(struct fe *x, vec lo, vec hi, vec hibit)
{
	const vec mask = MASK26;
	x->l[0] = vec_and(lo, mask);
	x->l[1] = vec_and(vec_shr(lo, 26), mask);
	x->l[2] = vec_and(vec_or(vec_shr(lo, 52), vec_shl(hi, 12)), mask);
	x->l[3] = vec_and(vec_shr(hi, 14), mask);
	x->l[4] = vec_or(vec_shr(hi, 40), hibit);
}

ALWAYS_INLINE void fe_add(struct fe *x, const struct fe *y)
{
	for (int i = 0; i < 5; i++)
		x->l[i] = vec_add(x->l[i], y->l[i]);
}

/* 130 bits and a few in 64-bit words, from limbs below 2^32. */
static inline void limbs_to_words(uint64_t h[3], const uint64_t limb[N_LIMBS])
{
	typedef unsigned __int128 u128;
	u128 t = limb[0] + ((u128)limb[1] << 26) + ((u128)limb[2] << 52) + ((u128)limb[3] << 78);
	u128 u = t + ((u128)limb[4] << 104);
	h[0] = (uint64_t)u;
	h[1] = (uint64_t)(u >> 64);
	h[2] = (limb[4] >> 24) + (u < t);
}

ALWAYS_INLINE void mac_store_tags(struct mac_lane *const *m, const struct fe *h)
{
	_Alignas(64) uint64_t limb[N_LIMBS][LANES];
	for (int i = 0; i < N_LIMBS; i++)
		vec_store(limb[i], h->l[i]);
	for (int i = 0; i < LANES; i++) {
		const struct mac_lane *lane = m[mac_order[i]];
		uint64_t one[N_LIMBS], words[3];
		for (int k = 0; k < N_LIMBS; k++)
			one[k] = limb[k][i];
		limbs_to_words(words, one);
		poly1305_finish(words, lane->one_time_key, lane->tag);
	}
}

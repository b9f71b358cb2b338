/* SPDX-License-Identifier: MPL-2.0 */
/* Poly1305 of LANES messages side by side: the part that is the same for every vector width and
 * limb size. Included once by each kernel, after these:
 *
 * from the ISA:   LANES; vec (LANES 64-bit lanes), vec_*(); row_t (64 bytes of a message),
 *                 row_load(), struct row_edge, row_edge_init(),
 *                 row_load_edge(); mac_order, mac_transpose(), mac_load_r()
 * from the field: struct fe, power and acc, fe_*(), power_set(), acc_*(), HIBIT, mac_store_tags()
 *
 * A batch is one row per message, absorbed in four steps of one block per lane. All messages end
 * with the last batch; shorter ones begin later. */
#pragma once

#include "base/macro.h"
#include "crypto/aead_burst.h"

struct mac_group {
	uintptr_t text[LANES]; /* address of what would be the first byte of batch 0 */
	int64_t front[LANES];  /* bytes from there to the text, whole blocks */
	int64_t len[LANES];    /* bytes of text */
	_Alignas(64) uint64_t first_step[LANES]; /* by lane: the first that has a block */
	_Alignas(64) uint64_t lane_len[LANES];
	int64_t n_batches;
	int64_t first_full; /* the first batch in which every lane has all its blocks */
	int n_skip;         /* steps of batch 0 in which no lane has a block */
	bool is_even;       /* all texts have the same length */
};

ALWAYS_INLINE void mac_group_init(struct mac_group *g, struct mac_lane *const *m)
{
	uint64_t most = 0, least = UINT64_MAX;

	for (int i = 0; i < LANES; i++) {
		g->len[i] = (int64_t)m[i]->text_len;
		most = MAX(most, m[i]->text_len);
		least = MIN(least, m[i]->text_len);
	}
	g->is_even = least == most;
	most = mac_blocks(most);
	const uint64_t n_batches = (most + 3) / 4;
	for (int i = 0; i < LANES; i++) {
		g->front[i] = 16 * (int64_t)(4 * n_batches - mac_blocks((size_t)g->len[i]));
		g->text[i] = (uintptr_t)m[i]->text - (uintptr_t)g->front[i];
	}
	for (int i = 0; i < LANES; i++) {
		g->first_step[i] = (uint64_t)g->front[mac_order[i]] / 16;
		g->lane_len[i] = (uint64_t)g->len[mac_order[i]];
	}
	g->n_batches = (int64_t)n_batches;
	g->first_full = (int64_t)((4 * n_batches - mac_blocks(least) + 3) / 4);
	g->n_skip = (int)(4 * n_batches - most);
}

ALWAYS_INLINE void fe_mul(struct fe *out, const struct fe *x, const struct power *p)
{
	struct acc a;
	acc_zero(&a);
	acc_mul(&a, x, p);
	acc_carry(&a, out);
}

/* r[i] = r^(i + 1), as many as will be needed. */
ALWAYS_INLINE void powers_init(struct power r[4], struct mac_lane *const *m, int n_powers)
{
	vec lo, hi;
	struct fe x, x2;
	mac_load_r(m, &lo, &hi);
	lo = vec_and(lo, vec_set1(0x0ffffffc0fffffff));
	hi = vec_and(hi, vec_set1(0x0ffffffc0ffffffc));
	fe_set_block(&x, lo, hi, vec_set1(0));
	power_set(&r[0], &x);
	if (n_powers == 1)
		return;
	fe_mul(&x2, &x, &r[0]);
	power_set(&r[1], &x2);
	if (n_powers == 2)
		return;
	fe_mul(&x, &x, &r[1]);
	power_set(&r[2], &x);
	fe_mul(&x2, &x2, &r[1]);
	power_set(&r[3], &x2);
}

/* h = ((((h + m0) r + m1) r + m2) r + m3) r by one carry. The first @skip steps are empty; @len is
 * what the last block has in its upper word. */
ALWAYS_INLINE void absorb(struct fe *h, row_t row[LANES], const struct power r[4],
			  const vec hibit[4], int skip, vec len)
{
	vec lo[4], hi[4];
	struct acc a;
	struct fe x;

	mac_transpose(row, lo, hi);
	hi[3] = vec_or(hi[3], len);
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

/* A batch at an end: blocks may be missing, the last one has the lengths. */
ALWAYS_INLINE void absorb_edge(struct fe *h, const struct mac_group *g, const struct power r[4],
			       int64_t batch)
{
	vec hibit[4] = { HIBIT, HIBIT, HIBIT, HIBIT };
	vec len = vec_set1(0);
	row_t row[LANES];
	struct row_edge edge;
	const uintptr_t at = 64 * (uintptr_t)batch;

	row_edge_init(&edge, g->front[0] - 64 * batch, g->front[0] + g->len[0] - 64 * batch);
	if (g->is_even) {
		for (int i = 0; i < LANES; i++)
			row[i] = row_load_edge(g->text[i] + at, &edge);
	} else {
		for (int i = 0; i < LANES; i++) {
			row_edge_init(&edge, g->front[i] - 64 * batch,
				      g->front[i] + g->len[i] - 64 * batch);
			row[i] = row_load_edge(g->text[i] + at, &edge);
		}
		const vec first_step = vec_load(g->first_step);
		for (int s = 0; s < 4; s++)
			hibit[s] = vec_if_le(first_step, (uint64_t)(4 * batch + s), HIBIT);
	}
	if (batch == g->n_batches - 1)
		len = vec_load(g->lane_len);
	absorb(h, row, r, hibit, batch ? 0 : g->n_skip, len);
}

static inline void mac_run(struct mac_lane *const *m)
{
	const vec hibit[4] = { HIBIT, HIBIT, HIBIT, HIBIT };
	struct mac_group g;
	struct power r[4];
	struct fe h;

	mac_group_init(&g, m);
	powers_init(r, m, g.n_batches > 1 ? 4 : 4 - g.n_skip);
	fe_set_block(&h, vec_set1(0), vec_set1(0), vec_set1(0));
	for (int64_t b = 0; b < g.n_batches;) {
		absorb_edge(&h, &g, r, b++);
		for (; b >= g.first_full && b < g.n_batches - 1; b++) {
			row_t row[LANES];
			for (int i = 0; i < LANES; i++)
				row[i] = row_load((const void *)(g.text[i] + 64 * (uintptr_t)b));
			absorb(&h, row, r, hibit, 0, vec_set1(0));
		}
	}
	mac_store_tags(m, &h);
}

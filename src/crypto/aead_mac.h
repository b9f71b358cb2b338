/* SPDX-License-Identifier: MPL-2.0 */
/* Poly1305 of a group of packets in N_LANES lanes: the part that is the same for every vector
 * width and limb size. Included once by each kernel, after these:
 *
 * from the ISA:   LANES = N_LANES; vec (N_LANES 64-bit lanes), vec_*(); row_t (64 bytes of a packet), row_load(),
 *                 row_load_edge(); mac_layouts, mac_transpose(), mac_load_r()
 * from the field: struct fe, power and acc, fe_*(), power_set(), acc_*(), HIBIT
 *
 * A batch is N_LANES rows of 64 bytes, absorbed in four steps of one block per lane. With L lanes
 * per packet a group has N_LANES / L packets with L rows each per batch, and lane j of a packet
 * takes its blocks j, L + j, 2 L + j, ... The batches of a group form a frame at whose end all
 * packets end together; packets that do not fill it begin later. */
#pragma once

#include "base/macro.h"
#include "crypto/aead_burst.h"

/* A packet inside the frame. */
struct mac_frame {
	uintptr_t text; /* address of the byte at offset 0 */
	int64_t len;    /* bytes */
	int64_t front;  /* bytes of the frame before offset 0, whole blocks */
};

struct mac_group {
	struct mac_frame frame[N_LANES];
	_Alignas(64) uint64_t first_step[N_LANES]; /* by lane: the first that has a block */
	int64_t n_batches;
	int64_t first_full; /* the first batch in which every lane has all its blocks */
	int64_t n_skip;     /* steps of batch 0 in which no lane has a block */
};

/* Powers of r as the lanes of a layout need them. */
struct powers {
	struct power r[5]; /* r[i] = r^(L i) in every lane */
	struct fe last;    /* r^(L - j): what lane j multiplies with at the end */
};

ALWAYS_INLINE void mac_group_init(struct mac_group *g, struct mac *const *m, const int log2_l)
{
	const unsigned n_lanes_each = 1U << log2_l, width = N_LANES >> log2_l;
	const unsigned per_batch = MAC_ROW_BLOCKS * n_lanes_each; /* blocks */
	const struct mac_layout *layout = &mac_layouts[log2_l];
	uint64_t front[N_LANES], most = 0, front_max = 0;

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
	for (unsigned i = 0; i < N_LANES; i++)
		g->first_step[i] =
			(front[layout->packet[i]] + n_lanes_each - 1 - layout->block[i]) >> log2_l;
	g->n_batches = (int64_t)n_batches;
	g->first_full = (int64_t)((front_max + per_batch - 1) / per_batch);
	g->n_skip = (int64_t)((n_blocks - most) >> log2_l);
}

ALWAYS_INLINE void mac_full_rows(row_t row[N_LANES], const struct mac_group *g, int64_t batch,
				 const int log2_l)
{
	const int n_rows = 1 << log2_l;
	for (int i = 0; i < N_LANES; i++) {
		const struct mac_frame *f = &g->frame[i >> log2_l];
		const int64_t offset = 64 * (batch * n_rows + i % n_rows) - f->front;
		row[i] = row_load((const void *)(f->text + (uintptr_t)offset));
	}
}

/* Rows that are not wholly text have zeros before and behind it, and in the very last block the
 * lengths: none of associated data, @len of text. */
ALWAYS_INLINE void mac_edge_rows(row_t row[N_LANES], const struct mac_group *g, int64_t batch,
				 const int log2_l)
{
	const int n_rows = 1 << log2_l;
	for (int i = 0; i < N_LANES; i++) {
		const struct mac_frame *f = &g->frame[i >> log2_l];
		const int64_t r = batch * n_rows + i % n_rows;
		const int64_t offset = 64 * r - f->front;
		row[i] = row_load_edge(f->text + (uintptr_t)offset, -offset, f->len - offset,
				       r == g->n_batches * n_rows - 1 ? f->len : -1);
	}
}

ALWAYS_INLINE void fe_mul(struct fe *out, const struct fe *x, const struct power *p)
{
	struct acc a;
	acc_zero(&a);
	acc_mul(&a, x, p);
	acc_carry(&a, out);
}

/* last[lane] *= r^(2^bit) where bit @bit of j is clear: in the end r^(1 + L - 1 - j). */
ALWAYS_INLINE void last_mul(struct fe *last, const struct power *p, const int log2_l, int bit)
{
	struct fe more;
	fe_mul(&more, last, p);
	_Alignas(64) uint64_t take[N_LANES];
	for (int i = 0; i < N_LANES; i++)
		take[i] = mac_layouts[log2_l].block[i] >> bit & 1 ? 0 : ~UINT64_C(0);
	fe_select(last, vec_load(take), &more);
}

ALWAYS_INLINE void powers_init(struct powers *pw, struct mac *const *m, const int log2_l,
			       int n_powers)
{
	vec lo, hi;
	struct fe x;
	mac_load_r(m, &lo, &hi, log2_l);
	lo = vec_and(lo, vec_set1(0x0ffffffc0fffffff));
	hi = vec_and(hi, vec_set1(0x0ffffffc0ffffffc));
	fe_set_block(&x, lo, hi, vec_set1(0));
	power_set(&pw->r[1], &x);
	pw->last = x;
	for (int i = 0; i < log2_l; i++) {
		last_mul(&pw->last, &pw->r[1], log2_l, i);
		fe_mul(&x, &x, &pw->r[1]);
		power_set(&pw->r[1], &x);
	}
	for (int i = 2; i <= n_powers; i++) {
		fe_mul(&x, &x, &pw->r[1]);
		power_set(&pw->r[i], &x);
	}
	if (log2_l > 0) {
		fe_set_block(&x, vec_set1(1), vec_set1(0), vec_set1(0));
		power_set(&pw->r[0], &x);
	}
}

/* h = ((((h + m0) * R + m1) * R + m2) * R + m3) * R by one carry, R^(i + 1) being @r[i] (or one
 * factor less). The first @skip steps are empty. */
ALWAYS_INLINE void absorb(struct fe *h, row_t row[N_LANES], const struct power *r,
			  const vec hibit[4], int skip, const int log2_l)
{
	vec lo[4], hi[4];
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

/* A batch at an end of the frame: blocks may be missing. */
ALWAYS_INLINE void absorb_edge(struct fe *h, const struct mac_group *g, const struct powers *pw,
			       int64_t batch, const int log2_l)
{
	const bool is_last = batch == g->n_batches - 1;
	const vec first_step = vec_load(g->first_step);
	row_t row[N_LANES];
	vec hibit[4];

	mac_edge_rows(row, g, batch, log2_l);
	for (int s = 0; s < 4; s++)
		hibit[s] = vec_if_le(first_step, (uint64_t)(4 * batch + s), HIBIT);
	/* several lanes per packet: the very last factor differs between them */
	absorb(h, row, is_last && log2_l > 0 ? &pw->r[0] : &pw->r[1], hibit,
	       batch ? 0 : (int)g->n_skip, log2_l);
}

/* Adds up the lanes of each packet. */
ALWAYS_INLINE void store_h(struct mac *const *m, const struct fe *h, const int log2_l)
{
	const struct mac_layout *layout = &mac_layouts[log2_l];
	_Alignas(64) uint64_t limb[N_LIMBS][N_LANES];
	uint64_t sum[N_LANES][N_LIMBS] = { 0 };

	for (int i = 0; i < N_LIMBS; i++)
		vec_store(limb[i], h->l[i]);
	for (int lane = 0; lane < N_LANES; lane++)
		for (int i = 0; i < N_LIMBS; i++)
			sum[layout->packet[lane]][i] += limb[i][lane];
	for (int p = 0; p < N_LANES >> log2_l; p++)
		limbs_to_words(m[p]->h, sum[p]);
}

ALWAYS_INLINE void mac_group_run(struct mac *const *m, const int log2_l)
{
	const vec hibit[4] = { HIBIT, HIBIT, HIBIT, HIBIT };
	struct mac_group g;
	struct powers pw;
	struct fe h;

	mac_group_init(&g, m, log2_l);
	powers_init(&pw, m, log2_l, g.n_batches > 1 ? 4 : 4 - (int)g.n_skip);
	fe_set_block(&h, vec_set1(0), vec_set1(0), vec_set1(0));
	for (int64_t b = 0; b < g.n_batches;) {
		absorb_edge(&h, &g, &pw, b++, log2_l);
		for (; b >= g.first_full && b < g.n_batches - 1; b++) {
			row_t row[N_LANES];
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

/* @width packets, each with N_LANES / @width lanes. */
static inline void mac_run(struct mac *const *m, unsigned width)
{
	switch (N_LANES / width) {
	case 1:
		mac_group_run(m, 0);
		break;
	case 2:
		mac_group_run(m, 1);
		break;
#if LANES >= 4
	case 4:
		mac_group_run(m, 2);
		break;
#endif
#if LANES >= 8
	default:
		mac_group_run(m, 3);
#endif
	}
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Scheduling of Poly1305; see aead_feed.h. */
#include "crypto/aead_feed.h"

#include "base/macro.h"
#include "crypto/aead_impl.h"

enum {
	SCALAR_BLOCK_COST = 12, /* cycles of poly1305_block() on most CPUs */
};

void feed_init(struct feed *f, const struct aead_kernel *kernel, struct mac_cursor *cursor)
{
	f->kernel = kernel;
	f->cursor = cursor;
	f->n = f->limit = f->next = 0;
	f->live = f->single = f->power_of = NULL;
	f->n_lane = f->n_spans = f->n_done = 0;
	memset(&f->nobody, 0, sizeof(f->nobody));
	/* the cursor always has a span to stand on */
	f->span[FEED_SPANS - 1].len = 0;
	f->span[FEED_SPANS - 1].next = NULL;
	f->span[FEED_SPANS - 1].state[0] = f->span[FEED_SPANS - 1].state[1] = &f->nobody;
	*cursor = (struct mac_cursor){ &f->span[FEED_SPANS - 1], 0 };
}

void feed_wipe(struct feed *f)
{
	const unsigned n = MIN(f->n_spans, (unsigned)FEED_SPANS);
	aead_wipe(f->span, n * sizeof(f->span[0]));
	aead_wipe(f->side, n * sizeof(f->side[0]));
	aead_wipe(&f->nobody, sizeof(f->nobody));
	aead_wipe(f->info, n * sizeof(f->info[0]));
	aead_wipe(f->power, sizeof(f->power));
}

static inline bool mac_is_short(const struct feed *f, const struct mac *m)
{
	return m->lane.text_len <= f->kernel->mac_lane_max_len && m->ad_len == 0;
}

static inline void mac_begin(struct mac *m)
{
	aead_test_one_time_key(m->lane.one_time_key);
	poly1305_init(&m->p, m->lane.one_time_key);
	m->n_planned = 0;
	if (m->ad_len)
		poly1305_padded(&m->p, m->ad, m->ad_len);
}

/* All that was not in spans, and the lengths. */
static void mac_finish(struct mac *m)
{
	const size_t len = m->lane.text_len;
	if (m->n_planned)
		poly1305_padded_tail(&m->p, m->lane.text + m->n_planned, len - m->n_planned);
	else
		poly1305_padded(&m->p, m->lane.text, len);
	poly1305_block(&m->p, m->ad_len, len, 1);
	poly1305_finish(m->p.h, m->lane.one_time_key, m->tag);
	m->is_done = true;
}

/* The waiting short messages; by lanes if that is expected to be faster. */
static void feed_run_lanes(struct feed *f)
{
	static const uint8_t zeros[POLY1305_KEY_LEN];
	const struct aead_kernel *k = f->kernel;
	size_t n_blocks = 0, longest = 0;

	for (unsigned i = 0; i < f->n_lane; i++) {
		n_blocks += mac_blocks(f->lane[i]->lane.text_len) + 2; /* begin and finish */
		longest = MAX(longest, f->lane[i]->lane.text_len);
	}
	const size_t lane_cost = k->mac_setup_cost + (longest / 64 + 1) * k->mac_row_cost;
	if (n_blocks * SCALAR_BLOCK_COST <= lane_cost) {
		for (unsigned i = 0; i < f->n_lane; i++) {
			mac_begin(f->lane[i]);
			mac_finish(f->lane[i]);
		}
	} else {
		struct mac_lane nobody = { .text = zeros, .one_time_key = zeros };
		struct mac_lane *lane[MAC_LANES_MAX];
		for (unsigned i = 0; i < k->n_mac_lanes; i++)
			lane[i] = i < f->n_lane ? &f->lane[i]->lane : &nobody;
		for (unsigned i = 0; i < f->n_lane; i++)
			aead_test_one_time_key(f->lane[i]->lane.one_time_key);
		k->mac_lanes(lane);
		for (unsigned i = 0; i < f->n_lane; i++) {
			struct mac *m = f->lane[i];
			poly1305_finish(m->lane.h, m->lane.one_time_key, m->tag);
			m->is_done = true;
		}
	}
	f->n_lane = 0;
}

static void feed_add_lane(struct feed *f, struct mac *m)
{
	f->lane[f->n_lane++] = m;
	if (f->n_lane == f->kernel->n_mac_lanes)
		feed_run_lanes(f);
}

static inline void span_set_chain(struct mac_span *s, int chain, struct poly1305 *p,
				  const uint8_t *text)
{
	s->r[chain][0] = p->r[0];
	s->r[chain][1] = p->r[1];
	s->r[chain][2] = p->r[1] + (p->r[1] >> 2);
	s->state[chain] = p;
	s->text[chain] = text;
}

/* The last of the spans in which @m is; NULL if it is in none. */
static const struct mac_span *feed_find(const struct feed *f, const struct mac *m)
{
	for (unsigned i = f->n_spans; i-- != f->n_done;) {
		const struct span_info *info = &f->info[i % FEED_SPANS];
		if (info->message[0] == m || info->message[1] == m)
			return &f->span[i % FEED_SPANS];
	}
	return NULL;
}

static void span_collect(struct feed *f, unsigned at)
{
	const struct span_info *info = &f->info[at];
	struct mac *const *m = info->message;
	if (m[0] == m[1]) {
		poly1305_mul(m[0]->p.h, info->power);
		poly1305_add(m[0]->p.h, f->side[at].h);
	}
	for (int k = 0; k < 2; k++)
		if (info->is_last[k])
			mac_finish(m[k]);
}

void feed_collect(struct feed *f)
{
	/* the span before n_done is where the cursor stood when there was nothing to do */
	const unsigned stands_on = (unsigned)(f->cursor->span - f->span);
	unsigned n = (stands_on - (f->n_done - 1)) % FEED_SPANS;

	if (n && f->cursor->at < f->cursor->span->len)
		n--;
	for (; n; n--)
		span_collect(f, f->n_done++ % FEED_SPANS);
}

/* Appends a span of @len bytes of @a and of @b, which is NULL, or @a again for a split. */
static void feed_add_span(struct feed *f, struct mac *a, struct mac *b, size_t len)
{
	if (f->n_spans - f->n_done == FEED_SPANS - 1) { /* one stays for the cursor to stand on */
		f->kernel->mac_spans(f->cursor, &f->span[(f->n_spans - 1) % FEED_SPANS]);
		feed_collect(f);
	}
	const unsigned at = f->n_spans++ % FEED_SPANS;
	struct mac_span *s = &f->span[at];
	struct span_info *info = &f->info[at];

	span_set_chain(s, 0, &a->p, a->lane.text + a->n_planned);
	a->n_planned += len;
	if (a == b) {
		memcpy(info->power, f->power, sizeof(f->power));
		f->side[at] = (struct poly1305){ .r = { a->p.r[0], a->p.r[1] } };
		span_set_chain(s, 1, &f->side[at], a->lane.text + a->n_planned);
		a->n_planned += len;
	} else if (b) {
		span_set_chain(s, 1, &b->p, b->lane.text + b->n_planned);
		b->n_planned += len;
	} else {
		span_set_chain(s, 1, &f->nobody, s->text[0]);
	}
	s->len = len;
	s->next = NULL;
	info->message[0] = a;
	info->message[1] = b;
	info->is_last[0] = info->is_last[1] = false;
	f->span[(at - 1) % FEED_SPANS].next = s;
}

/* Nothing more of @m will be in spans: it is finished after the last one, or now. */
static void feed_retire(struct feed *f, struct mac *m)
{
	for (unsigned i = f->n_spans; i-- != f->n_done;) {
		struct span_info *info = &f->info[i % FEED_SPANS];
		for (int k = 0; k < 2; k++) {
			if (info->message[k] == m) {
				info->is_last[k] = true;
				return;
			}
		}
	}
	mac_finish(m);
}

/* Bytes in whole steps of the first @len bytes of @m that are not planned yet. */
static inline size_t mac_steps_len(const struct mac *m, size_t len)
{
	return (len - m->n_planned) / MAC_STEP_LEN * MAC_STEP_LEN;
}

/* Without a partner: both chains for the first @len bytes of @m, if they are enough. What comes
 * after a split has to wait until its halves were put together. */
static void feed_add_alone(struct feed *f, struct mac *m, size_t len)
{
	const struct mac_span *before = feed_find(f, m);
	if (before && f->power_of == m) {
		f->kernel->mac_spans(f->cursor, before);
		feed_collect(f);
	}

	const size_t half = mac_steps_len(m, len) / 2 / MAC_STEP_LEN * MAC_STEP_LEN;
	const unsigned n_blocks = (unsigned)(half / POLY1305_BLOCK_LEN);

	if (half < FEED_SPLIT_MIN * MAC_STEP_LEN / 2) {
		const size_t all = mac_steps_len(m, len);
		if (all)
			feed_add_span(f, m, NULL, all);
		return;
	}
	if (f->power_of != m || f->power_blocks != n_blocks) {
		poly1305_power(f->power, &m->p, n_blocks);
		f->power_of = m;
		f->power_blocks = n_blocks;
	}
	feed_add_span(f, m, m, half);
}

/* A long message whose text is all there joins the one that waits, or waits. */
static void feed_pair(struct feed *f, struct mac *m)
{
	struct mac *other = f->single;
	if (!other) {
		f->single = m;
		return;
	}
	const size_t len_m = mac_steps_len(m, m->lane.text_len);
	const size_t len_other = mac_steps_len(other, other->lane.text_len);
	const size_t len = MIN(len_m, len_other);
	if (len)
		feed_add_span(f, other, m, len);
	f->single = len_m > len ? m : len_other > len ? other : NULL;
	if (f->single != m)
		feed_retire(f, m);
	if (f->single != other)
		feed_retire(f, other);
}

static void feed_end_single(struct feed *f)
{
	struct mac *m = f->single;
	feed_add_alone(f, m, m->lane.text_len);
	feed_retire(f, m);
	f->single = NULL;
}

/* Begins the next message. */
static void feed_begin(struct feed *f)
{
	struct mac *m = f->message[f->next++];
	if (m == f->live) { /* the rest of it */
		f->live = NULL;
		feed_add_alone(f, m, m->lane.text_len);
		feed_retire(f, m);
		return;
	}
	if (mac_is_short(f, m)) {
		feed_add_lane(f, m);
		return;
	}
	mac_begin(m);
	if (f->kernel->mac_spans)
		feed_pair(f, m);
	else
		mac_finish(m);
}

void feed_set_live(struct feed *f, struct mac *m, size_t len)
{
	mac_begin(m);
	f->live = m;
	f->live_len = len;
}

void feed_pump(struct feed *f)
{
	if (!f->kernel->mac_spans && f->live)
		return;
	while (f->n_spans - f->n_done < FEED_AHEAD) {
		if (f->next < f->limit)
			feed_begin(f);
		else if (f->single && (f->next == f->n || f->live))
			feed_end_single(f);
		else if (f->live && !feed_find(f, f->live) &&
			 mac_steps_len(f->live, f->live_len) >= 2 * f->kernel->mac_room)
			feed_add_alone(f, f->live, f->live->n_planned + 2 * f->kernel->mac_room);
		else
			break;
	}
}

void feed_complete(struct feed *f, struct mac *m)
{
	if (mac_is_short(f, m)) {
		/* it is the next one, or it waits for lanes: together with its like, then */
		while (!m->is_done && f->next < f->limit && mac_is_short(f, f->message[f->next]))
			feed_add_lane(f, f->message[f->next++]);
		if (!m->is_done)
			feed_run_lanes(f);
		return;
	}
	while (!m->is_done) {
		feed_pump(f);
		const struct mac_span *last = feed_find(f, m);
		if (!last)
			continue; /* pump() has begun it, it is done or in a span next time */
		f->kernel->mac_spans(f->cursor, last);
		feed_collect(f);
	}
}

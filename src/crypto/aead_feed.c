/* SPDX-License-Identifier: MPL-2.0 */
/* Scheduling of Poly1305; see aead_feed.h. */
#include "crypto/aead_feed.h"

#include "base/macro.h"
#include "crypto/aead_impl.h"

enum {
	SCALAR_BLOCK_COST = 12, /* cycles of poly1305_block() on most CPUs */
};

static inline void feed_lanes_empty(struct feed_lanes *l)
{
	l->n = 0;
	l->n_blocks = l->longest = 0;
}

void feed_init(struct feed *f, const struct aead_kernel *kernel, struct mac_cursor *cursor,
	       size_t n, size_t n_long)
{
	f->kernel = kernel;
	f->cursor = cursor;
	f->short_max_len = n_long < kernel->mac_lanes_worth ? kernel->mac_lane_max_len
							    : kernel->mac_lane_max_len_burst;
	f->n_incomplete = (unsigned)n;
	f->limit = f->next = 0;
	f->single = f->power_of = NULL;
	f->n_spans = f->n_done = 0;
	for (int i = 0; i < 2; i++)
		feed_lanes_empty(&f->lanes[i]);
	f->has_run_lanes = false;
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

static inline void mac_begin(struct mac *m)
{
	aead_test_one_time_key(m->lane.one_time_key);
	poly1305_init(m->p, m->lane.one_time_key);
	m->is_begun = true;
	if (m->ad_len)
		poly1305_padded(m->p, m->ad, m->ad_len);
}

/* All that was not in spans, and the lengths. */
static void mac_finish(struct mac *m)
{
	const size_t len = m->lane.text_len;
	if (m->n_planned)
		poly1305_padded_tail(m->p, m->lane.text + m->n_planned, len - m->n_planned);
	else
		poly1305_padded(m->p, m->lane.text, len);
	poly1305_block(m->p, m->ad_len, len, 1);
	poly1305_finish(m->p->h, m->lane.one_time_key, m->lane.tag);
	m->is_done = true;
}

/* The short messages that wait; by lanes if that is expected to be faster. */
static void feed_run_lanes(struct feed *f, struct feed_lanes *l)
{
	static const uint8_t zeros[POLY1305_KEY_LEN];
	const struct aead_kernel *k = f->kernel;
	const size_t lane_cost = k->mac_setup_cost + (l->longest / 64 + 1) * k->mac_row_cost;
	const size_t scalar_cost = SCALAR_BLOCK_COST * (l->n_blocks + 2 * l->n);
	struct mac_lane *lane[MAC_LANES_MAX];
	uint8_t unused[AEAD_TAG_LEN];
	struct mac_lane nobody = { .text = zeros, .one_time_key = zeros, .tag = unused };

	if (scalar_cost <= lane_cost) {
		for (unsigned i = 0; i < l->n; i++) {
			mac_begin(l->message[i]);
			mac_finish(l->message[i]);
		}
	} else {
		for (unsigned i = 0; i < l->n; i++) {
			aead_test_one_time_key(l->message[i]->lane.one_time_key);
			lane[i] = &l->message[i]->lane;
		}
		for (unsigned i = l->n; i < k->n_mac_lanes; i++)
			lane[i] = &nobody;
		k->mac_lanes(lane);
		f->has_run_lanes = true;
		for (unsigned i = 0; i < l->n; i++)
			l->message[i]->is_done = true;
	}
	feed_lanes_empty(l);
}

static inline struct feed_lanes *feed_lanes_of(struct feed *f, const struct mac *m)
{
	return &f->lanes[m->lane.text_len > f->kernel->mac_lane_max_len];
}

static inline void feed_add_lane(struct feed *f, struct mac *m)
{
	struct feed_lanes *l = feed_lanes_of(f, m);
	l->message[l->n++] = m;
	l->n_blocks += mac_blocks(m->lane.text_len);
	l->longest = MAX(l->longest, m->lane.text_len);
	if (l->n == f->kernel->n_mac_lanes)
		feed_run_lanes(f, l);
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
		poly1305_mul(m[0]->p->h, info->power);
		poly1305_add(m[0]->p->h, f->side[at].h);
	}
	for (int k = 0; k < 2; k++)
		if (info->is_last[k])
			mac_finish(m[k]);
}

void feed_collect_slow(struct feed *f)
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

	span_set_chain(s, 0, a->p, a->lane.text + a->n_planned);
	a->n_planned += len;
	if (a == b) {
		memcpy(info->power, f->power, sizeof(f->power));
		f->side[at] = (struct poly1305){ .r = { a->p->r[0], a->p->r[1] } };
		span_set_chain(s, 1, &f->side[at], a->lane.text + a->n_planned);
		a->n_planned += len;
	} else if (b) {
		span_set_chain(s, 1, b->p, b->lane.text + b->n_planned);
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

/* Bytes in whole steps that are there and not planned yet. */
static inline size_t mac_steps_len(const struct mac *m)
{
	return (m->n_ready - m->n_planned) / MAC_STEP_LEN * MAC_STEP_LEN;
}

/* If no more of @m will be in spans, it is finished after the last one, or now. */
static void feed_retire(struct feed *f, struct mac *m)
{
	if (m->n_ready < m->lane.text_len || mac_steps_len(m))
		return;
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

/* The message that waits gets a partner; if one of them has more, it waits on. */
static void feed_pair(struct feed *f, struct mac *m)
{
	struct mac *other = f->single;
	const size_t len = MIN(mac_steps_len(m), mac_steps_len(other));

	if (len)
		feed_add_span(f, other, m, len);
	f->single = mac_steps_len(other) ? other : mac_steps_len(m) ? m : NULL;
	if (f->single != other)
		feed_retire(f, other);
}

void feed_offer(struct feed *f, struct mac *m, size_t len)
{
	if (len == m->lane.text_len)
		f->n_incomplete--;
	if (mac_is_short(f, m)) {
		feed_add_lane(f, m);
		return;
	}
	if (!m->is_begun)
		mac_begin(m);
	m->n_ready = len;
	if (!f->kernel->mac_spans) {
		if (len == m->lane.text_len)
			mac_finish(m);
		return;
	}
	if (!f->single)
		f->single = mac_steps_len(m) ? m : NULL;
	else if (f->single != m)
		feed_pair(f, m);
	if (f->single != m)
		feed_retire(f, m);
}

/* For want of a partner: both chains if there is enough and no partner will come, or one. What
 * comes after a split has to wait until its halves were put together. */
static void feed_add_alone(struct feed *f)
{
	struct mac *m = f->single;
	const size_t room = f->kernel->mac_room;
	const bool is_complete = m->n_ready == m->lane.text_len;
	const bool is_lonely = f->n_incomplete == !is_complete && f->next == f->limit;
	const size_t len = mac_steps_len(m);
	size_t half = MIN(len / 2 / MAC_STEP_LEN * MAC_STEP_LEN, room);

	if (is_lonely && is_complete && len < 3 * room)
		half = len / 2 / MAC_STEP_LEN * MAC_STEP_LEN;
	if (is_lonely && (half == room || is_complete) &&
	    half >= FEED_SPLIT_MIN * MAC_STEP_LEN / 2) {
		const unsigned n_blocks = (unsigned)(half / POLY1305_BLOCK_LEN);
		if (f->power_of != m || f->power_blocks != n_blocks) {
			poly1305_power(f->power, m->p, n_blocks);
			f->power_of = m;
			f->power_blocks = n_blocks;
		}
		feed_add_span(f, m, m, half);
	} else {
		feed_add_span(f, m, NULL, MIN(len, room));
	}
	if (!mac_steps_len(m)) {
		f->single = NULL;
		feed_retire(f, m);
	}
}

void feed_pump_slow(struct feed *f)
{
	while (f->next < f->limit && f->n_spans - f->n_done < FEED_AHEAD) {
		struct mac *m = f->message[f->next++];
		feed_offer(f, m, m->lane.text_len);
	}
	if (f->single && f->n_spans == f->n_done)
		feed_add_alone(f);
}

void feed_complete(struct feed *f, struct mac *m)
{
	if (mac_is_short(f, m)) {
		/* it is the next one, or it waits for lanes: together with its like, then */
		while (!m->is_done && f->next < f->limit && mac_is_short(f, f->message[f->next]))
			feed_add_lane(f, f->message[f->next++]);
		if (!m->is_done)
			feed_run_lanes(f, feed_lanes_of(f, m));
		return;
	}
	while (!m->is_done) {
		feed_pump(f);
		if (f->n_spans == f->n_done)
			continue;
		const struct mac_span *last = feed_find(f, m);
		if (!last) /* it waits behind others */
			last = &f->span[(f->n_spans - 1) % FEED_SPANS];
		f->kernel->mac_spans(f->cursor, last);
		feed_collect(f);
	}
}

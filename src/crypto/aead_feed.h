/* SPDX-License-Identifier: MPL-2.0 */
/* Poly1305 of the packets of a burst: which message is absorbed when, and how. Short messages
 * gather until the lanes are full. Long ones are paired for the two chains, which advance while
 * ChaCha20 computes; a long message without a partner is split between both chains. All decisions
 * depend on lengths only. */
#pragma once

#include "crypto/aead_burst.h"

enum {
	FEED_MAX = 64,      /* messages */
	FEED_SPANS = 16,    /* a ring, power of two */
	FEED_AHEAD = 3,     /* spans to have in store for the next call */
	FEED_SPLIT_MIN = 8, /* steps: splitting a shorter message is not worth the power of r */
};

struct mac {
	struct poly1305 *p; /* r, and h so far */
	struct mac_lane lane;
	const uint8_t *ad;
	size_t ad_len;
	size_t n_ready;   /* bytes of the text that are there */
	size_t n_planned; /* bytes that are absorbed or in spans */
	uint8_t *tag;     /* out */
	bool is_begun, is_done;
};

/* Who is in a span, and what to do after it. */
struct span_info {
	struct mac *message[2]; /* NULL, or the same twice: a split */
	bool is_last[2];        /* nothing of the message comes after this span */
	uint64_t power[3];      /* split: r^(blocks of the later half) */
};

/* Short messages that wait for a full set of lanes. */
struct feed_lanes {
	struct mac *message[MAC_LANES_MAX];
	unsigned n;
	size_t n_blocks, longest; /* of them: blocks to absorb, bytes of the longest */
};

struct feed {
	const struct aead_kernel *kernel;
	struct mac_cursor *cursor;     /* of the kernel's context */
	struct mac *message[FEED_MAX]; /* in the order in which they are wanted */
	unsigned n;                    /* of them */
	size_t short_max_len;          /* of a message for the lanes */
	unsigned n_incomplete;         /* of which not all was offered */
	unsigned limit, next; /* messages from next to limit - 1 are there, offer them as needed */
	struct mac *single;   /* a long message that has no partner */
	bool has_run_lanes;
	struct feed_lanes lanes[2]; /* up to mac_lane_max_len bytes, and longer: a long message
	                             * would make lanes of short ones wait */
	unsigned n_spans, n_done;   /* since the beginning */
	struct mac_span span[FEED_SPANS];
	struct span_info info[FEED_SPANS];
	struct poly1305 side[FEED_SPANS]; /* h of the later half of a split */
	struct poly1305 nobody;           /* the other chain of a message that is alone */
	struct mac *power_of;             /* the message of the last split, its r^power_blocks */
	unsigned power_blocks;
	uint64_t power[3];
};

/* For @n messages, of which @n_long are longer than the kernel's mac_lane_max_len. */
void feed_init(struct feed *f, const struct aead_kernel *kernel, struct mac_cursor *cursor,
	       size_t n, size_t n_long);
void feed_wipe(struct feed *f);

/* The first @len bytes of @m and its one-time key are there. Short messages: all of them. */
void feed_offer(struct feed *f, struct mac *m, size_t len);

void feed_pump_slow(struct feed *f);
void feed_collect_slow(struct feed *f);

/* Provides spans for the next call of the kernel. */
static inline void feed_pump(struct feed *f)
{
	if (f->next < f->limit || (f->single && f->n_spans == f->n_done))
		feed_pump_slow(f);
}

/* Draws the conclusions from what the kernel absorbed. */
static inline void feed_collect(struct feed *f)
{
	const struct mac_span *first = &f->span[f->n_done % FEED_SPANS];
	const struct mac_span *before = &f->span[(f->n_done - 1) % FEED_SPANS];
	/* still in the first one of the spans that were not done, or where it stood before */
	if (f->cursor->span == first ? f->cursor->at == first->len : f->cursor->span != before)
		feed_collect_slow(f);
}

/* Computes until the tag of @m is known; messages have to be completed in order. */
void feed_complete(struct feed *f, struct mac *m);

static inline bool mac_is_short(const struct feed *f, const struct mac *m)
{
	return m->lane.text_len <= f->short_max_len && m->ad_len == 0;
}

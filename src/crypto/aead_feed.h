/* SPDX-License-Identifier: MPL-2.0 */
/* Poly1305 of the packets of a burst: which message is absorbed when, and how. Short messages
 * gather until the lanes are full. Long ones are paired for the two chains, which advance while
 * ChaCha20 computes; a long message without a partner is split between both chains. All decisions
 * depend on lengths only. */
#pragma once

#include "crypto/aead_burst.h"

enum {
	FEED_MAX = 64,      /* messages */
	FEED_SPANS = 8,     /* a ring, power of two */
	FEED_AHEAD = 3,     /* spans to have in store for the next call */
	FEED_SPLIT_MIN = 8, /* steps: splitting a shorter message is not worth the power of r */
};

struct mac {
	struct poly1305 p; /* r, and h so far */
	struct mac_lane lane;
	const uint8_t *ad;
	size_t ad_len;
	size_t n_planned; /* bytes of the text that are absorbed or in spans */
	uint8_t tag[AEAD_TAG_LEN];
	bool is_done;
};

/* Who is in a span, and what to do after it. */
struct span_info {
	struct mac *message[2]; /* NULL, or the same twice: a split */
	bool is_last[2];        /* nothing of the message comes after this span */
	uint64_t power[3];      /* split: r^(blocks of the later half) */
};

struct feed {
	const struct aead_kernel *kernel;
	struct mac_cursor *cursor;     /* of the kernel's context */
	struct mac *message[FEED_MAX]; /* in the order in which they are wanted */
	unsigned n;                    /* of them */
	unsigned limit;                /* whose text and one-time key are there */
	unsigned next;                 /* to be begun */
	struct mac *live;   /* the message after those, whose text comes piece by piece, or NULL */
	size_t live_len;    /* bytes of it that are there */
	struct mac *single; /* a long message that was begun and has no partner */
	struct mac *lane[MAC_LANES_MAX]; /* waiting for a full set of lanes */
	unsigned n_lane;
	unsigned n_spans, n_done; /* since the beginning */
	struct mac_span span[FEED_SPANS];
	struct span_info info[FEED_SPANS];
	struct poly1305 side[FEED_SPANS]; /* h of the later half of a split */
	struct poly1305 nobody;           /* the other chain of a message that is alone */
	struct mac *power_of;             /* the message of the last split, its r^power_blocks */
	unsigned power_blocks;
	uint64_t power[3];
};

void feed_init(struct feed *f, const struct aead_kernel *kernel, struct mac_cursor *cursor);
void feed_wipe(struct feed *f);

/* The first @len bytes of @m, the message behind the limit, are there already; more will follow in
 * f->live_len. Its one-time key is there, too. */
void feed_set_live(struct feed *f, struct mac *m, size_t len);

/* Provides spans for the next call of the kernel. */
void feed_pump(struct feed *f);

/* Draws the conclusions from what the kernel absorbed. */
void feed_collect(struct feed *f);

/* Computes until the tag of @m is known; messages have to be completed in order. */
void feed_complete(struct feed *f, struct mac *m);

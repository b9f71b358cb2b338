/* SPDX-License-Identifier: MPL-2.0 */
/* Scheduling of bursts onto vector kernels; see aead_burst.h. Works on at most FEED_MAX packets at
 * a time, so that all state is on the stack.
 *
 * Sealing: the blocks of all packets go through the lanes of ChaCha20 in order; Poly1305 follows as
 * soon as ciphertext is there, while it is in the cache and mostly in the shadow of later packets.
 * Opening: Poly1305 goes ahead of ChaCha20, in the shadow of earlier packets. A packet is decrypted
 * only after its tag was found right, so a forgery never becomes plaintext anywhere. */
#include "crypto/aead_burst.h"

#include <string.h>

#include "base/macro.h"
#include "crypto/aead_feed.h"
#include "crypto/aead_impl.h"

enum {
	KEYS_AHEAD = 2, /* seal: packets whose one-time keys are computed before their turn */
	/* seal: packets with so many blocks meet Poly1305 before the last of them is encrypted */
	EARLY_BLOCKS = 48,
};

typedef uint32_t words_t __attribute__((vector_size(16)));

struct packet {
	struct mac mac;
	words_t nonce; /* state words 12 - 15 of block 0 */
	const uint8_t *key;
	const uint8_t *stash; /* open: key stream of the first blocks */
	size_t n_stashed;     /* such blocks */
	size_t key_end;       /* position in the queue behind the lane of the one-time key */
	size_t n_encrypted;   /* seal: bytes from the beginning that are ciphertext for sure */
	size_t end;           /* seal: position in the queue behind its last lane */
};

/* A lane that does not write to its packet directly: the last, partial block. */
struct fixup {
	uint8_t *dst;
	uint8_t lane, len;
};

/* Blocks waiting for a full vector. */
struct queue {
	struct chacha_lanes lanes;
	uint8_t bounce[CHACHA_LANES_MAX][CHACHA_BLOCK_LEN];
	struct fixup fixup[CHACHA_LANES_MAX];
	const struct aead_kernel *kernel;
	struct aead_context *context;
	struct feed *feed;
	struct packet *packet; /* seal: of the chunk; open: NULL */
	unsigned n_packets;    /* seal: of which all blocks were queued */
	unsigned n_ready;      /* seal: of which all blocks were encrypted */
	unsigned n, n_fixups;
	unsigned n_bounced;         /* highest lane that ever used its bounce buffer, plus 1 */
	size_t n_queued, n_flushed; /* lanes since the beginning */
};

struct chunk {
	struct aead_context context;
	struct queue queue;
	struct feed feed;
	uint8_t one_time_key[FEED_MAX][CHACHA_BLOCK_LEN];
	uint8_t stash[CHACHA_LANES_MAX][CHACHA_BLOCK_LEN];
	uint8_t tag[FEED_MAX][AEAD_TAG_LEN]; /* open: as they should be */
	struct poly1305 poly1305[FEED_MAX];
	struct packet packet[FEED_MAX];
	unsigned n; /* packets; open: without those that are too short */
	unsigned n_stashed;
	uint8_t job[FEED_MAX]; /* open: index of the packet's job */
};

static const uint8_t zeros[CHACHA_BLOCK_LEN];

/* memcpy() for less than a block, or one. */
static inline void copy_small(uint8_t *dst, const uint8_t *src, size_t len)
{
	words_t a, b, c, d;
	if (len >= 32) {
		memcpy(&a, src, 16);
		memcpy(&b, src + 16, 16);
		memcpy(&c, src + len - 32, 16);
		memcpy(&d, src + len - 16, 16);
		memcpy(dst, &a, 16);
		memcpy(dst + 16, &b, 16);
		memcpy(dst + len - 32, &c, 16);
		memcpy(dst + len - 16, &d, 16);
	} else if (len >= 16) {
		memcpy(&a, src, 16);
		memcpy(&b, src + len - 16, 16);
		memcpy(dst, &a, 16);
		memcpy(dst + len - 16, &b, 16);
	} else if (len >= 8) {
		const uint64_t head = load_le64(src), tail = load_le64(src + len - 8);
		store_le64(dst, head);
		store_le64(dst + len - 8, tail);
	} else {
		for (size_t i = 0; i < len; i++)
			dst[i] = src[i];
	}
}

static void queue_init(struct queue *q, const struct aead_kernel *kernel, struct chunk *c)
{
	q->kernel = kernel;
	q->context = &c->context;
	q->feed = &c->feed;
	q->packet = NULL;
	q->n = q->n_fixups = q->n_bounced = 0;
	q->n_packets = q->n_ready = 0;
	q->n_queued = q->n_flushed = 0;
}

/* Unused lanes up to the next size the kernel takes compute something and throw it away. */
static void queue_pad(struct queue *q)
{
	const struct aead_kernel *k = q->kernel;
	for (; q->n % k->lanes_granule || (q->n > k->n_lanes_part && q->n < k->n_lanes); q->n++) {
		q->lanes.key[q->n] = q->lanes.key[0];
		q->lanes.src[q->n] = zeros;
		q->lanes.dst[q->n] = q->bounce[q->n];
		memset(q->lanes.nonce[q->n], 0, sizeof(q->lanes.nonce[q->n]));
		q->n_bounced = MAX(q->n_bounced, q->n + 1);
	}
}

/* Sealing: all of a packet is ciphertext once its last lane was flushed. */
static void queue_offer(struct queue *q)
{
	for (; q->n_ready < q->n_packets; q->n_ready++) {
		struct packet *p = &q->packet[q->n_ready];
		if (p->end > q->n_flushed)
			break;
		feed_offer(q->feed, &p->mac, p->mac.lane.text_len);
	}
}

static void queue_flush(struct queue *q)
{
	if (!q->n)
		return;
	queue_pad(q);
	feed_pump(q->feed);
	q->kernel->chacha(&q->lanes, q->n, q->context);
	for (unsigned i = 0; i < q->n_fixups; i++) {
		const struct fixup *f = &q->fixup[i];
		copy_small(f->dst, q->bounce[f->lane], f->len);
	}
	feed_collect(q->feed);
	q->n = q->n_fixups = 0;
	q->n_flushed = q->n_queued;

	queue_offer(q);
}

/* @n blocks from block @index on, each a lane; no more than there is room for. */
static inline void queue_fill(struct queue *q, const struct packet *p, uint32_t index, size_t n,
			      const uint8_t *src, size_t src_step, uint8_t *dst)
{
	struct chacha_lanes *const l = &q->lanes;
	const unsigned from = q->n, to = from + (unsigned)n;
	const uint8_t *const key = p->key;
	words_t nonce = p->nonce + (words_t){ index };

	l->has_one_key = from == 0 || (l->has_one_key && key == l->key[0]);
	for (unsigned lane = from; lane < to; lane++) {
		memcpy(l->nonce[lane], &nonce, sizeof(nonce));
		l->key[lane] = key;
		l->src[lane] = src;
		l->dst[lane] = dst;
		nonce += (words_t){ 1 };
		src += src_step;
		dst += CHACHA_BLOCK_LEN;
	}
	q->n = to;
	q->n_queued += n;
}

/* Claims the next lane, for block @index (0 = the one-time key) of @p. */
static inline unsigned queue_lane(struct queue *q, const struct packet *p, uint32_t index,
				  const uint8_t *src, uint8_t *dst)
{
	if (q->n == q->kernel->n_lanes)
		queue_flush(q);
	queue_fill(q, p, index, 1, src, 0, dst);
	return q->n - 1;
}

/* @n consecutive blocks, each a lane. */
static inline void queue_blocks(struct queue *q, const struct packet *p, uint32_t index, size_t n,
				const uint8_t *src, uint8_t *dst)
{
	while (n) {
		if (q->n == q->kernel->n_lanes)
			queue_flush(q);
		const size_t now = MIN(n, (size_t)(q->kernel->n_lanes - q->n));
		queue_fill(q, p, index, now, src, CHACHA_BLOCK_LEN, dst);
		index += (uint32_t)now;
		n -= now;
		src += now * CHACHA_BLOCK_LEN;
		dst += now * CHACHA_BLOCK_LEN;
	}
}

/* Full vectors of one packet need not queue. Encrypts as many of the @n blocks from offset @at on
 * as are whole vectors, the first one from @first, and returns how many that were. */
static size_t queue_runs(struct queue *q, struct packet *p, size_t at, size_t n,
			 const uint8_t *first, const uint8_t *src, uint8_t *dst)
{
	const unsigned n_lanes = q->kernel->n_lanes;
	uint32_t index = 1 + (uint32_t)(at / CHACHA_BLOCK_LEN);
	struct chacha_run run = { .key = p->key, .first = first, .src = src, .dst = dst };
	size_t done = 0;

	for (; n - done >= n_lanes; done += n_lanes, index += n_lanes) {
		const words_t nonce = p->nonce + (words_t){ index };
		memcpy(run.nonce, &nonce, sizeof(nonce));
		feed_pump(q->feed);
		q->kernel->chacha_run(&run, q->context);
		feed_collect(q->feed);
		run.src += n_lanes * CHACHA_BLOCK_LEN;
		run.dst += n_lanes * CHACHA_BLOCK_LEN;
		run.first = run.src;
		at += n_lanes * CHACHA_BLOCK_LEN;
		/* Sealing, and all before it is ciphertext, too: Poly1305 may follow at once. */
		if (q->packet && p->n_encrypted + n_lanes * CHACHA_BLOCK_LEN == at) {
			p->n_encrypted = at;
			if (at < p->mac.lane.text_len && n >= EARLY_BLOCKS &&
			    p->key_end <= q->n_flushed && !mac_is_short(q->feed, &p->mac))
				feed_offer(q->feed, &p->mac, at);
		}
	}
	return done;
}

/* Whole blocks of text from offset @at on. */
static inline void queue_text(struct queue *q, struct packet *p, size_t at, size_t n,
			      const uint8_t *src, uint8_t *dst)
{
	size_t done = 0;
	if (n < q->kernel->n_lanes) {
		queue_blocks(q, p, 1 + (uint32_t)(at / CHACHA_BLOCK_LEN), n, src, dst);
		return;
	}
	if (q->n_flushed < p->key_end) { /* Poly1305 can not begin without it */
		done = MIN(n, (size_t)(q->kernel->n_lanes - q->n));
		queue_blocks(q, p, 1 + (uint32_t)(at / CHACHA_BLOCK_LEN), done, src, dst);
		if (q->n == q->kernel->n_lanes)
			queue_flush(q);
		if (q->packet && p->n_encrypted == at && q->n == 0)
			p->n_encrypted += done * CHACHA_BLOCK_LEN;
		at += done * CHACHA_BLOCK_LEN;
	}
	const uint8_t *from = src + done * CHACHA_BLOCK_LEN;
	const size_t n_run =
		queue_runs(q, p, at, n - done, from, from, dst + done * CHACHA_BLOCK_LEN);
	done += n_run;
	at += n_run * CHACHA_BLOCK_LEN;
	queue_blocks(q, p, 1 + (uint32_t)(at / CHACHA_BLOCK_LEN), n - done,
		     src + done * CHACHA_BLOCK_LEN, dst + done * CHACHA_BLOCK_LEN);
}

/* The bounce buffer of the lane that is claimed next, zeroed. */
static inline uint8_t *queue_bounce(struct queue *q)
{
	if (q->n == q->kernel->n_lanes)
		queue_flush(q);
	q->n_bounced = MAX(q->n_bounced, q->n + 1);
	memset(q->bounce[q->n], 0, CHACHA_BLOCK_LEN);
	return q->bounce[q->n];
}

/* The block at offset @at, whose @len bytes of input were gathered in @bounce. */
static inline void queue_bounced(struct queue *q, const struct packet *p, size_t at,
				 uint8_t *bounce, uint8_t *dst, size_t len)
{
	const uint32_t index = 1 + (uint32_t)(at / CHACHA_BLOCK_LEN);
	if (len == CHACHA_BLOCK_LEN) {
		queue_lane(q, p, index, bounce, dst);
		return;
	}
	const unsigned lane = queue_lane(q, p, index, bounce, bounce);
	q->fixup[q->n_fixups++] = (struct fixup){ dst, (uint8_t)lane, (uint8_t)len };
}

/* For @n packets, @n_long of them with more text than mac_lane_max_len. */
static void chunk_init(struct chunk *c, const struct aead_kernel *kernel, size_t n, size_t n_long)
{
	feed_init(&c->feed, kernel, &c->context.cursor, n, n_long);
	queue_init(&c->queue, kernel, c);
	c->context.key = NULL;
	c->context.has_used_high = false;
	c->n = c->n_stashed = 0;
}

/* Adds a packet; its text is what Poly1305 will see. */
static struct packet *chunk_add(struct chunk *c, const uint8_t *key, uint32_t nonce_prefix,
				uint64_t counter, const uint8_t *text, size_t text_len)
{
	struct packet *p = &c->packet[c->n];
	p->nonce = (words_t){ 0, nonce_prefix, (uint32_t)counter, (uint32_t)(counter >> 32) };
	p->key = key;
	p->n_stashed = p->n_encrypted = 0;
	p->mac.lane.text = text;
	p->mac.lane.text_len = text_len;
	p->mac.lane.one_time_key = c->one_time_key[c->n];
	p->mac.p = &c->poly1305[c->n];
	p->mac.n_ready = p->mac.n_planned = 0;
	p->mac.is_begun = p->mac.is_done = false;
	c->feed.message[c->n++] = &p->mac;
	return p;
}

/* Block 0 of packet @i, which makes its one-time key. */
static inline void chunk_queue_key(struct chunk *c, size_t i)
{
	queue_lane(&c->queue, &c->packet[i], 0, zeros, c->one_time_key[i]);
	c->packet[i].key_end = c->queue.n_queued;
}

/* Everything secret of a chunk, what lies below it on the stack, and registers. */
static void chunk_wipe(struct chunk *c)
{
	aead_wipe(c->context.state, sizeof(c->context.state));
	aead_wipe(c->context.scratch, sizeof(c->context.scratch));
	if (c->context.has_used_high) {
		aead_wipe(c->context.high, sizeof(c->context.high));
		aead_wipe(c->context.high_out, sizeof(c->context.high_out));
	}
	aead_wipe(c->queue.bounce, c->queue.n_bounced * sizeof(c->queue.bounce[0]));
	aead_wipe(c->one_time_key, c->n * sizeof(c->one_time_key[0]));
	aead_wipe(c->stash, c->n_stashed * sizeof(c->stash[0]));
	aead_wipe(c->poly1305, c->n * sizeof(c->poly1305[0]));
	if (!c->queue.packet)
		aead_wipe(c->tag, c->n * sizeof(c->tag[0]));
	feed_wipe(&c->feed);
	if (c->feed.has_run_lanes)
		aead_wipe_far_below();
	else
		aead_wipe_below();
	c->queue.kernel->wipe_registers();
}

/* A block that is not 64 bytes of one slice: gathers it, and zeros where the padding is. */
static void seal_queue_odd_block(struct queue *q, const struct packet *p,
				 const struct aead_seal_job *job, size_t at)
{
	const size_t len = MIN(p->mac.lane.text_len - at, (size_t)CHACHA_BLOCK_LEN);
	const size_t begin[2] = { 0, job->in_len[0] };
	uint8_t *bounce = queue_bounce(q);

	for (int i = 0; i < 2; i++) {
		const size_t from = MAX(at, begin[i]);
		const size_t to = MIN(at + len, begin[i] + job->in_len[i]);
		if (from < to)
			copy_small(bounce + (from - at), job->in[i] + (from - begin[i]), to - from);
	}
	queue_bounced(q, p, at, bounce, job->out + at, len);
}

/* Headers of less than a block in front of a payload, as a tunnel has them: the block they share
 * begins a run. Returns the bytes that were encrypted. */
static size_t seal_headers(struct queue *q, struct packet *p, const struct aead_seal_job *job)
{
	const size_t len0 = job->in_len[0];
	const size_t n = (len0 + job->in_len[1]) / CHACHA_BLOCK_LEN;
	uint8_t first[CHACHA_BLOCK_LEN];

	if (len0 == 0 || len0 >= CHACHA_BLOCK_LEN || n < q->kernel->n_lanes ||
	    q->n_flushed < p->key_end)
		return 0;
	copy_small(first, job->in[0], len0);
	copy_small(first + len0, job->in[1], CHACHA_BLOCK_LEN - len0);
	const size_t done = queue_runs(q, p, 0, n, first,
				       (const uint8_t *)((uintptr_t)job->in[1] - len0), job->out);
	aead_wipe(first, sizeof(first));
	return done * CHACHA_BLOCK_LEN;
}

static void seal_queue_text(struct queue *q, struct packet *p, const struct aead_seal_job *job)
{
	const size_t len0 = job->in_len[0], len01 = len0 + job->in_len[1];
	size_t at = seal_headers(q, p, job);

	if (!at) {
		at = len0 / CHACHA_BLOCK_LEN * CHACHA_BLOCK_LEN;
		if (at)
			queue_text(q, p, 0, at / CHACHA_BLOCK_LEN, job->in[0], job->out);
	}
	while (at < p->mac.lane.text_len) {
		if (at < len0 || at + CHACHA_BLOCK_LEN > len01) {
			seal_queue_odd_block(q, p, job, at);
			at += CHACHA_BLOCK_LEN;
			continue;
		}
		const size_t n = (len01 - at) / CHACHA_BLOCK_LEN;
		queue_text(q, p, at, n, job->in[1] + (at - len0), job->out + at);
		at += n * CHACHA_BLOCK_LEN;
	}
}

/* Makes a packet of the next job and queues its one-time key. */
static void seal_prepare(struct chunk *c, const struct aead_seal_job *job)
{
	const size_t len = (size_t)job->in_len[0] + job->in_len[1] + job->pad_len;
	struct packet *p = chunk_add(c, job->key, job->nonce_prefix, job->counter, job->out, len);
	p->mac.ad = job->ad;
	p->mac.ad_len = job->ad_len;
	p->mac.lane.tag = job->out + len;
	chunk_queue_key(c, c->n - 1);
}

static __attribute__((noinline)) void seal_chunk(struct chunk *c, const struct aead_seal_job *job,
						 size_t n)
{
	struct queue *q = &c->queue;

	q->packet = c->packet;
	for (size_t i = 0; i < MIN(n, (size_t)KEYS_AHEAD); i++)
		seal_prepare(c, &job[i]);
	for (size_t i = 0; i < n; i++) {
		if (i + KEYS_AHEAD < n)
			seal_prepare(c, &job[i + KEYS_AHEAD]);
		seal_queue_text(q, &c->packet[i], &job[i]);
		c->packet[i].end = q->n_queued;
		q->n_packets++;
		queue_offer(q);
	}
	queue_flush(q);
	for (size_t i = 0; i < n; i++)
		if (!c->packet[i].mac.is_done)
			feed_complete(&c->feed, &c->packet[i].mac);
}

/* Key stream of the first blocks goes along with the one-time keys where lanes are left over;
 * the text may not be touched before its tag was checked. */
static void open_queue_stash(struct chunk *c)
{
	struct queue *q = &c->queue;
	for (unsigned i = 0; i < c->n && q->n && q->n < q->kernel->n_lanes; i++) {
		struct packet *p = &c->packet[i];
		const size_t n_blocks =
			(p->mac.lane.text_len + CHACHA_BLOCK_LEN - 1) / CHACHA_BLOCK_LEN;
		p->n_stashed = MIN(n_blocks, (size_t)(q->kernel->n_lanes - q->n));
		p->stash = c->stash[c->n_stashed];
		queue_fill(q, p, 1, p->n_stashed, zeros, 0, c->stash[c->n_stashed]);
		c->n_stashed += (unsigned)p->n_stashed;
	}
}

static void xor_stash(uint8_t *dst, const uint8_t *src, const uint8_t *stash, size_t len)
{
	size_t i = 0;
	for (; i + sizeof(words_t) <= len; i += sizeof(words_t)) {
		words_t a, b;
		memcpy(&a, src + i, sizeof(a));
		memcpy(&b, stash + i, sizeof(b));
		a ^= b;
		memcpy(dst + i, &a, sizeof(a));
	}
	for (; i < len; i++)
		dst[i] = src[i] ^ stash[i];
}

static void open_queue_text(struct queue *q, struct packet *p, const struct aead_open_job *job)
{
	const size_t len = p->mac.lane.text_len;
	size_t at = MIN(p->n_stashed * CHACHA_BLOCK_LEN, len);
	if (at)
		xor_stash(job->out, job->in, p->stash, at);

	const size_t n = (len - at) / CHACHA_BLOCK_LEN;
	if (n)
		queue_text(q, p, at, n, job->in + at, job->out + at);
	at += n * CHACHA_BLOCK_LEN;
	if (at < len) {
		uint8_t *bounce = queue_bounce(q);
		copy_small(bounce, job->in + at, len - at);
		queue_bounced(q, p, at, bounce, job->out + at, len - at);
	}
}

static void open_prepare(struct chunk *c, struct aead_open_job *job, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		job[i].ok = false;
		if (job[i].in_len < AEAD_TAG_LEN) {
			c->feed.n_incomplete--;
			continue;
		}
		c->job[c->n] = (uint8_t)i;
		struct packet *p = chunk_add(c, job[i].key, job[i].nonce_prefix, job[i].counter,
					     job[i].in, job[i].in_len - AEAD_TAG_LEN);
		p->mac.ad = job[i].ad;
		p->mac.ad_len = job[i].ad_len;
		p->mac.lane.tag = c->tag[c->n - 1];
	}
}

static __attribute__((noinline)) void open_chunk(struct chunk *c, struct aead_open_job *job,
						 size_t n)
{
	open_prepare(c, job, n);
	for (unsigned i = 0; i < c->n; i++)
		chunk_queue_key(c, i);
	open_queue_stash(c);
	queue_flush(&c->queue);
	c->feed.limit = c->n;
	for (unsigned i = 0; i < c->n; i++) {
		struct packet *p = &c->packet[i];
		struct aead_open_job *j = &job[c->job[i]];
		const size_t text_len = p->mac.lane.text_len;
		if (!p->mac.is_done)
			feed_complete(&c->feed, &p->mac);
		j->ok = aead_tag_is_equal(c->tag[i], j->in + text_len);
		if (j->ok)
			open_queue_text(&c->queue, p, j);
		else if (text_len)
			memset(j->out, 0, text_len);
	}
	queue_flush(&c->queue);
}

static inline size_t seal_text_len(const struct aead_seal_job *job)
{
	return (size_t)job->in_len[0] + job->in_len[1] + job->pad_len;
}

static size_t seal_count_long(const struct aead_kernel *kernel, const struct aead_seal_job *job,
			      size_t n)
{
	size_t n_long = 0;
	for (size_t i = 0; i < n; i++)
		n_long += seal_text_len(&job[i]) > kernel->mac_lane_max_len;
	return n_long;
}

static size_t open_count_long(const struct aead_kernel *kernel, const struct aead_open_job *job,
			      size_t n)
{
	size_t n_long = 0;
	for (size_t i = 0; i < n; i++)
		n_long += job[i].in_len > kernel->mac_lane_max_len + AEAD_TAG_LEN;
	return n_long;
}

void aead_burst_seal(const struct aead_kernel *kernel, const struct aead_seal_job *job, size_t n)
{
	struct chunk c; /* here, so that all below it is short enough to be wiped */
	for (size_t done = 0; done < n; done += FEED_MAX) {
		const size_t now = MIN(n - done, (size_t)FEED_MAX);
		chunk_init(&c, kernel, now, seal_count_long(kernel, job + done, now));
		seal_chunk(&c, job + done, now);
		chunk_wipe(&c);
	}
}

void aead_burst_open(const struct aead_kernel *kernel, struct aead_open_job *job, size_t n)
{
	struct chunk c;
	for (size_t done = 0; done < n; done += FEED_MAX) {
		const size_t now = MIN(n - done, (size_t)FEED_MAX);
		chunk_init(&c, kernel, now, open_count_long(kernel, job + done, now));
		open_chunk(&c, job + done, now);
		chunk_wipe(&c);
	}
}

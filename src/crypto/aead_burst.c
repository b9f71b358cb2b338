/* SPDX-License-Identifier: MPL-2.0 */
/* Scheduling of bursts onto vector kernels; see aead_burst.h. Works on at most CHUNK_MAX packets
 * at a time, so that all state is on the stack and the text of a group is still in the cache when
 * Poly1305 follows ChaCha20 (seal) or the other way round (open). */
#include "crypto/aead_burst.h"

#include <string.h>

#include "base/macro.h"
#include "crypto/aead_impl.h"
#include "crypto/aead_poly1305.h"

enum {
	CHUNK_MAX = 64,
	N_BUCKETS = 64, /* classes of length for sorting */
	AD_BUCKET = N_BUCKETS - 1,
	SCALAR_BLOCK_COST = 12, /* cycles of poly1305_block() on most CPUs */
};

typedef uint32_t words_t __attribute__((vector_size(16)));

struct packet {
	struct mac mac;
	words_t nonce; /* state words 12 - 15 of block 0 */
	const uint8_t *key;
	const uint8_t *ad;
	size_t ad_len;
	size_t n_stashed; /* open: leading blocks whose key stream is in the stash */
	const uint8_t *stash;
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
	unsigned n, n_fixups;
	unsigned n_bounced;         /* highest lane that ever used its bounce buffer, plus 1 */
	size_t n_queued, n_flushed; /* lanes since the beginning */
};

struct group {
	uint8_t first, n; /* of the order */
	uint8_t width;    /* packets that the kernel takes; 0 = scalar, a single packet */
	size_t end;       /* seal: queue position at which all its blocks are queued */
};

struct chunk {
	struct queue queue;
	uint8_t one_time_key[CHUNK_MAX][CHACHA_BLOCK_LEN];
	uint8_t stash[CHACHA_LANES_MAX][CHACHA_BLOCK_LEN];
	struct packet packet[CHUNK_MAX];
	struct mac nobody; /* fills incomplete groups */
	struct group group[CHUNK_MAX];
	uint8_t order[CHUNK_MAX]; /* of packets: longest first, equal ones as they came */
	unsigned n;               /* entries of order */
	unsigned n_jobs, n_stashed;
};

static const uint8_t zeros[CHACHA_BLOCK_LEN];

/* memcpy() for up to CHACHA_BLOCK_LEN bytes that overlap in no case. */
static inline void copy_small(uint8_t *dst, const uint8_t *src, size_t len)
{
	if (len >= 32) {
		typedef uint32_t half_t __attribute__((vector_size(32)));
		half_t a, b;
		memcpy(&a, src, 32);
		memcpy(&b, src + len - 32, 32);
		memcpy(dst, &a, 32);
		memcpy(dst + len - 32, &b, 32);
	} else if (len >= 16) {
		words_t a, b;
		memcpy(&a, src, 16);
		memcpy(&b, src + len - 16, 16);
		memcpy(dst, &a, 16);
		memcpy(dst + len - 16, &b, 16);
	} else if (len >= 8) {
		uint64_t a, b;
		memcpy(&a, src, 8);
		memcpy(&b, src + len - 8, 8);
		memcpy(dst, &a, 8);
		memcpy(dst + len - 8, &b, 8);
	} else {
		for (size_t i = 0; i < len; i++)
			dst[i] = src[i];
	}
}

static inline void queue_init(struct queue *q, const struct aead_kernel *kernel)
{
	q->kernel = kernel;
	q->n = q->n_fixups = q->n_bounced = 0;
	q->n_queued = q->n_flushed = 0;
}

/* Unused lanes up to the next size the kernel takes compute something and throw it away. */
static void queue_pad(struct queue *q)
{
	for (; q->n % q->kernel->lanes_granule; q->n++) {
		q->lanes.key[q->n] = q->lanes.key[0];
		q->lanes.src[q->n] = zeros;
		q->lanes.dst[q->n] = q->bounce[q->n];
		memset(q->lanes.nonce[q->n], 0, sizeof(q->lanes.nonce[q->n]));
		q->n_bounced = MAX(q->n_bounced, q->n + 1);
	}
}

static void queue_flush(struct queue *q)
{
	if (!q->n)
		return;
	queue_pad(q);
	q->kernel->chacha(&q->lanes, q->n);
	for (unsigned i = 0; i < q->n_fixups; i++) {
		const struct fixup *f = &q->fixup[i];
		copy_small(f->dst, q->bounce[f->lane], f->len);
	}
	q->n = q->n_fixups = 0;
	q->n_flushed = q->n_queued;
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

/* @n whole blocks of text from block @index on. */
static inline void queue_text(struct queue *q, const struct packet *p, uint32_t index, size_t n,
			      const uint8_t *src, uint8_t *dst)
{
	const unsigned n_lanes = q->kernel->n_lanes;
	if (n >= n_lanes) { /* full vectors of one packet need not queue */
		const size_t n_run = n / n_lanes * n_lanes;
		struct chacha_run run = { .key = p->key, .src = src, .dst = dst };
		const words_t nonce = p->nonce + (words_t){ index };
		memcpy(run.nonce, &nonce, sizeof(nonce));
		q->kernel->chacha_run(&run, n_run);
		index += (uint32_t)n_run;
		n -= n_run;
		src += n_run * CHACHA_BLOCK_LEN;
		dst += n_run * CHACHA_BLOCK_LEN;
	}
	while (n) {
		if (q->n == n_lanes)
			queue_flush(q);
		const size_t now = MIN(n, (size_t)(n_lanes - q->n));
		queue_fill(q, p, index, now, src, CHACHA_BLOCK_LEN, dst);
		index += (uint32_t)now;
		n -= now;
		src += now * CHACHA_BLOCK_LEN;
		dst += now * CHACHA_BLOCK_LEN;
	}
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

/* A lane whose input was gathered in @bounce. */
static inline void queue_bounced(struct queue *q, const struct packet *p, uint32_t index,
				 uint8_t *bounce, uint8_t *dst, size_t len)
{
	if (len == CHACHA_BLOCK_LEN) {
		queue_lane(q, p, index, bounce, dst);
		return;
	}
	const unsigned lane = queue_lane(q, p, index, bounce, bounce);
	q->fixup[q->n_fixups++] = (struct fixup){ dst, (uint8_t)lane, (uint8_t)len };
}

static unsigned length_bucket(size_t n_blocks)
{
	if (n_blocks < 32)
		return (unsigned)n_blocks / 2;
	const unsigned log2 = 63 - (unsigned)__builtin_clzl(n_blocks); /* 5 or more */
	const unsigned bucket = 16 + 4 * (log2 - 5) + (n_blocks >> (log2 - 2) & 3);
	return MIN(bucket, AD_BUCKET - 1);
}

static unsigned packet_bucket(const struct packet *p)
{
	return p->ad_len ? AD_BUCKET : length_bucket(mac_blocks(p->mac.text_len));
}

/* Sorts c->order by descending length class, stable; mostly there is nothing to do. */
static void order_sort(struct chunk *c)
{
	uint8_t bucket[CHUNK_MAX], sorted[CHUNK_MAX], start[N_BUCKETS] = { 0 };
	bool is_sorted = true;

	for (unsigned i = 0; i < c->n; i++) {
		bucket[i] = (uint8_t)packet_bucket(&c->packet[c->order[i]]);
		is_sorted &= i == 0 || bucket[i] <= bucket[i - 1];
	}
	if (is_sorted)
		return;
	for (unsigned i = 0; i < c->n; i++)
		start[bucket[i]]++;
	for (unsigned b = N_BUCKETS, at = 0; b-- > 0;) {
		const unsigned count = start[b];
		start[b] = (uint8_t)at;
		at += count;
	}
	for (unsigned i = 0; i < c->n; i++)
		sorted[start[bucket[i]]++] = c->order[i];
	memcpy(c->order, sorted, c->n);
}

/* The next group begins at order[@first]: the width whose cost per block that it absorbs is least. */
static struct group group_plan(const struct chunk *c, unsigned first)
{
	const struct aead_kernel *k = c->queue.kernel;
	const struct packet *p = &c->packet[c->order[first]];
	struct group best = { .first = (uint8_t)first, .n = 1 };
	uint64_t best_blocks = mac_blocks(p->mac.text_len), best_cost = 0, n_blocks = 0, most = 0;

	best_cost = SCALAR_BLOCK_COST * (best_blocks + 2);
	if (p->ad_len)
		return best; /* handshake messages: one at a time, 32 bytes of data each */
	unsigned n = 0, log2_l = 0;
	while (k->n_mac_lanes >> (log2_l + 1))
		log2_l++;
	for (unsigned width = 1; width <= k->n_mac_lanes; width *= 2, log2_l--) {
		for (; n < width && first + n < c->n; n++) {
			p = &c->packet[c->order[first + n]];
			const uint64_t blocks = mac_blocks(p->mac.text_len);
			n_blocks += blocks;
			most = MAX(most, blocks);
		}
		const uint64_t per_batch = (uint64_t)MAC_ROW_BLOCKS << log2_l;
		const uint64_t n_batches = (most + per_batch - 1) / per_batch;
		const uint64_t cost = k->mac_setup_cost[log2_l] + n_batches * k->mac_batch_cost;
		if (cost * best_blocks >= best_cost * n_blocks)
			continue;
		best.n = (uint8_t)n;
		best.width = (uint8_t)width;
		best_cost = cost;
		best_blocks = n_blocks;
	}
	return best;
}

static void packet_init(struct packet *p, const uint8_t *key, uint32_t nonce_prefix,
			uint64_t counter)
{
	p->nonce = (words_t){ 0, nonce_prefix, (uint32_t)counter, (uint32_t)(counter >> 32) };
	p->key = key;
	p->n_stashed = 0;
}

static void chunk_init(struct chunk *c, const struct aead_kernel *kernel)
{
	queue_init(&c->queue, kernel);
	c->nobody = (struct mac){ .text = zeros, .text_len = 0, .one_time_key = zeros };
	c->n = c->n_stashed = 0;
}

static void chunk_wipe(struct chunk *c)
{
	aead_wipe(c->queue.bounce, c->queue.n_bounced * sizeof(c->queue.bounce[0]));
	aead_wipe(c->one_time_key, c->n_jobs * sizeof(c->one_time_key[0]));
	aead_wipe(c->stash, c->n_stashed * sizeof(c->stash[0]));
	aead_wipe(c->packet, c->n_jobs * sizeof(c->packet[0]));
}

/* Block 0 of every packet. */
static void chunk_queue_one_time_keys(struct chunk *c)
{
	for (unsigned i = 0; i < c->n; i++) {
		struct packet *p = &c->packet[c->order[i]];
		uint8_t *key = c->one_time_key[c->order[i]];
		queue_lane(&c->queue, p, 0, zeros, key);
		p->mac.one_time_key = key;
	}
}

static void packet_mac_scalar(struct packet *p)
{
	struct poly1305 m;
	poly1305_init(&m, p->mac.one_time_key);
	poly1305_padded(&m, p->ad, p->ad_len);
	poly1305_padded(&m, p->mac.text, p->mac.text_len);
	poly1305_block(&m, p->ad_len, p->mac.text_len, 1);
	memcpy(p->mac.h, m.h, sizeof(m.h));
	aead_wipe(&m, sizeof(m));
}

/* Fills in mac.h of the group's packets. */
static void group_mac(struct chunk *c, const struct group *g)
{
	struct mac *m[MAC_LANES_MAX];

#ifdef AEAD_TEST_ONE_TIME_KEY
	for (unsigned i = 0; i < g->n; i++) {
		const struct packet *p = &c->packet[c->order[g->first + i]];
		aead_test_one_time_key(p->key, c->one_time_key[c->order[g->first + i]]);
	}
#endif
	if (!g->width) {
		packet_mac_scalar(&c->packet[c->order[g->first]]);
		return;
	}
	for (unsigned i = 0; i < g->width; i++)
		m[i] = i < g->n ? &c->packet[c->order[g->first + i]].mac : &c->nobody;
	c->queue.kernel->mac(m, g->width);
}

/* A block that is not 64 bytes of one slice: gathers it, and zeros where the padding is. */
static void seal_queue_odd_block(struct queue *q, const struct packet *p,
				 const struct aead_seal_job *job, size_t at)
{
	const size_t len = MIN(p->mac.text_len - at, (size_t)CHACHA_BLOCK_LEN);
	const size_t begin[2] = { 0, job->in_len[0] };
	uint8_t *bounce = queue_bounce(q);

	for (int i = 0; i < 2; i++) {
		const size_t from = MAX(at, begin[i]);
		const size_t to = MIN(at + len, begin[i] + job->in_len[i]);
		if (from < to)
			copy_small(bounce + (from - at), job->in[i] + (from - begin[i]), to - from);
	}
	queue_bounced(q, p, 1 + (uint32_t)(at / CHACHA_BLOCK_LEN), bounce, job->out + at, len);
}

static void seal_queue_text(struct queue *q, const struct packet *p,
			    const struct aead_seal_job *job)
{
	const size_t len0 = job->in_len[0], len01 = len0 + job->in_len[1];
	const size_t n0 = len0 / CHACHA_BLOCK_LEN;
	size_t at = n0 * CHACHA_BLOCK_LEN;

	if (n0)
		queue_text(q, p, 1, n0, job->in[0], job->out);
	while (at < p->mac.text_len) {
		if (at < len0 || at + CHACHA_BLOCK_LEN > len01) {
			seal_queue_odd_block(q, p, job, at);
			at += CHACHA_BLOCK_LEN;
			continue;
		}
		const size_t n = (len01 - at) / CHACHA_BLOCK_LEN;
		queue_text(q, p, 1 + (uint32_t)(at / CHACHA_BLOCK_LEN), n, job->in[1] + (at - len0),
			   job->out + at);
		at += n * CHACHA_BLOCK_LEN;
	}
}

static void seal_group_finish(struct chunk *c, const struct group *g,
			      const struct aead_seal_job *job)
{
	group_mac(c, g);
	for (unsigned i = 0; i < g->n; i++) {
		const unsigned at = c->order[g->first + i];
		const struct mac *m = &c->packet[at].mac;
		poly1305_finish(m->h, m->one_time_key, job[at].out + m->text_len);
	}
}

static __attribute__((noinline)) void seal_chunk(const struct aead_kernel *kernel,
						 const struct aead_seal_job *job, size_t n)
{
	struct chunk c;
	struct queue *q = &c.queue;

	chunk_init(&c, kernel);
	for (size_t i = 0; i < n; i++) {
		struct packet *p = &c.packet[i];
		packet_init(p, job[i].key, job[i].nonce_prefix, job[i].counter);
		p->mac.text = job[i].out;
		p->mac.text_len = (size_t)job[i].in_len[0] + job[i].in_len[1] + job[i].pad_len;
		p->ad = job[i].ad;
		p->ad_len = job[i].ad_len;
		c.order[c.n++] = (uint8_t)i;
	}
	c.n_jobs = (unsigned)n;
	order_sort(&c);
	chunk_queue_one_time_keys(&c);

	unsigned n_groups = 0, n_finished = 0;
	for (unsigned first = 0; first < c.n;) {
		struct group *g = &c.group[n_groups++];
		*g = group_plan(&c, first);
		for (unsigned i = 0; i < g->n; i++) {
			const unsigned at = c.order[first + i];
			seal_queue_text(q, &c.packet[at], &job[at]);
		}
		g->end = q->n_queued;
		first += g->n;
		while (n_finished < n_groups && c.group[n_finished].end <= q->n_flushed)
			seal_group_finish(&c, &c.group[n_finished++], job);
	}
	queue_flush(q);
	while (n_finished < n_groups)
		seal_group_finish(&c, &c.group[n_finished++], job);
	chunk_wipe(&c);
}

/* Key stream of the first blocks goes along with the one-time keys where lanes are left over;
 * the text may not be touched before its tag was checked. */
static void open_queue_stash(struct chunk *c)
{
	struct queue *q = &c->queue;
	for (unsigned i = 0; i < c->n && q->n && q->n < q->kernel->n_lanes; i++) {
		struct packet *p = &c->packet[c->order[i]];
		const size_t n_blocks = (p->mac.text_len + CHACHA_BLOCK_LEN - 1) / CHACHA_BLOCK_LEN;
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

static void open_queue_text(struct queue *q, const struct packet *p,
			    const struct aead_open_job *job)
{
	const size_t len = p->mac.text_len;
	size_t at = MIN(p->n_stashed * CHACHA_BLOCK_LEN, len);
	if (at)
		xor_stash(job->out, job->in, p->stash, at);

	const size_t n = (len - at) / CHACHA_BLOCK_LEN;
	if (n)
		queue_text(q, p, 1 + (uint32_t)(at / CHACHA_BLOCK_LEN), n, job->in + at,
			   job->out + at);
	at += n * CHACHA_BLOCK_LEN;
	if (at < len) {
		uint8_t *bounce = queue_bounce(q);
		copy_small(bounce, job->in + at, len - at);
		queue_bounced(q, p, 1 + (uint32_t)(at / CHACHA_BLOCK_LEN), bounce, job->out + at,
			      len - at);
	}
}

/* Checks the tag; then either decrypts, or wipes without ever having decrypted. */
static void open_finish(struct chunk *c, unsigned at, struct aead_open_job *job)
{
	const struct packet *p = &c->packet[at];
	uint8_t tag[AEAD_TAG_LEN];
	poly1305_finish(p->mac.h, p->mac.one_time_key, tag);
	job->ok = aead_tag_is_equal(tag, job->in + p->mac.text_len);
	if (job->ok)
		open_queue_text(&c->queue, p, job);
	else if (p->mac.text_len)
		memset(job->out, 0, p->mac.text_len);
}

static __attribute__((noinline)) void open_chunk(const struct aead_kernel *kernel,
						 struct aead_open_job *job, size_t n)
{
	struct chunk c;

	chunk_init(&c, kernel);
	for (size_t i = 0; i < n; i++) {
		struct packet *p = &c.packet[i];
		job[i].ok = false;
		if (job[i].in_len < AEAD_TAG_LEN)
			continue;
		packet_init(p, job[i].key, job[i].nonce_prefix, job[i].counter);
		p->mac.text = job[i].in;
		p->mac.text_len = job[i].in_len - AEAD_TAG_LEN;
		p->ad = job[i].ad;
		p->ad_len = job[i].ad_len;
		c.order[c.n++] = (uint8_t)i;
	}
	c.n_jobs = (unsigned)n;
	order_sort(&c);
	chunk_queue_one_time_keys(&c);
	open_queue_stash(&c);
	queue_flush(&c.queue);

	for (unsigned first = 0; first < c.n;) {
		struct group g = group_plan(&c, first);
		group_mac(&c, &g);
		for (unsigned i = 0; i < g.n; i++) {
			const unsigned at = c.order[first + i];
			open_finish(&c, at, &job[at]);
		}
		first += g.n;
	}
	queue_flush(&c.queue);
	chunk_wipe(&c);
}

void aead_burst_seal(const struct aead_kernel *kernel, const struct aead_seal_job *job, size_t n)
{
	for (size_t done = 0; done < n; done += CHUNK_MAX)
		seal_chunk(kernel, job + done, MIN(n - done, (size_t)CHUNK_MAX));
	aead_wipe_below();
	kernel->wipe_registers();
}

void aead_burst_open(const struct aead_kernel *kernel, struct aead_open_job *job, size_t n)
{
	for (size_t done = 0; done < n; done += CHUNK_MAX)
		open_chunk(kernel, job + done, MIN(n - done, (size_t)CHUNK_MAX));
	aead_wipe_below();
	kernel->wipe_registers();
}

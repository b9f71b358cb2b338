/* SPDX-License-Identifier: MPL-2.0 */
/* ChaCha20-Poly1305 in portable C, packet by packet: what runs where no vector kernel does, and
 * what the vector kernels are compared with. ChaCha20 keeps a block as four rows of four words
 * (the compiler lowers the vector type to whatever the target has) and computes three blocks at
 * a time, which is what hides latency without spilling sixteen vector registers. */
#include "crypto/aead_impl.h"
#include "crypto/aead_poly1305.h"

enum {
	BLOCK_LEN = 64,
	N_BLOCKS = 3, /* per call of keystream() */
	STREAM_LEN = N_BLOCKS * BLOCK_LEN,
};

typedef uint32_t row_t __attribute__((vector_size(16)));

struct block {
	row_t a, b, c, d;
};

struct cipher {
	struct block state;
	struct poly1305 mac;
	uint8_t one_time_key[BLOCK_LEN]; /* block 0: r and s, the second half is unused */
	uint8_t stream[STREAM_LEN];
};

static inline row_t row_load(const uint8_t *p)
{
	return (row_t){ load_le32(p), load_le32(p + 4), load_le32(p + 8), load_le32(p + 12) };
}

static inline void row_store(uint8_t *p, row_t r)
{
	for (size_t i = 0; i < 4; i++)
		store_le32(p + 4 * i, r[i]);
}

static inline row_t rotl(row_t x, int n)
{
	return x << n | x >> (32 - n);
}

static inline void quarter_rounds(struct block *x)
{
	x->a += x->b;
	x->d = rotl(x->d ^ x->a, 16);
	x->c += x->d;
	x->b = rotl(x->b ^ x->c, 12);
	x->a += x->b;
	x->d = rotl(x->d ^ x->a, 8);
	x->c += x->d;
	x->b = rotl(x->b ^ x->c, 7);
}

/* Columns, then diagonals: rotating the rows turns one into the other. */
static inline void double_round(struct block *x)
{
	quarter_rounds(x);
	x->b = __builtin_shufflevector(x->b, x->b, 1, 2, 3, 0);
	x->c = __builtin_shufflevector(x->c, x->c, 2, 3, 0, 1);
	x->d = __builtin_shufflevector(x->d, x->d, 3, 0, 1, 2);
	quarter_rounds(x);
	x->b = __builtin_shufflevector(x->b, x->b, 3, 0, 1, 2);
	x->c = __builtin_shufflevector(x->c, x->c, 2, 3, 0, 1);
	x->d = __builtin_shufflevector(x->d, x->d, 1, 2, 3, 0);
}

static inline void block_store(uint8_t *out, const struct block *x, const struct block *in)
{
	row_store(out, x->a + in->a);
	row_store(out + 16, x->b + in->b);
	row_store(out + 32, x->c + in->c);
	row_store(out + 48, x->d + in->d);
}

/* Writes the next N_BLOCKS blocks of key stream and advances the block counter. */
static void keystream(struct block *state, uint8_t out[STREAM_LEN])
{
	struct block in0 = *state, in1 = in0, in2 = in0;
	in1.d[0] += 1;
	in2.d[0] += 2;
	state->d[0] += N_BLOCKS;

	struct block x0 = in0, x1 = in1, x2 = in2;
	for (int i = 0; i < 10; i++) {
		double_round(&x0);
		double_round(&x1);
		double_round(&x2);
	}
	block_store(out, &x0, &in0);
	block_store(out + BLOCK_LEN, &x1, &in1);
	block_store(out + 2 * BLOCK_LEN, &x2, &in2);
}

/* Leaves the key stream of blocks 1 and 2 in the last two thirds of c->stream. */
static void cipher_init(struct cipher *c, const uint8_t *key, uint32_t prefix, uint64_t counter)
{
	c->state.a = (row_t){ 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };
	c->state.b = row_load(key);
	c->state.c = row_load(key + 16);
	c->state.d = (row_t){ 0, prefix, (uint32_t)counter, (uint32_t)(counter >> 32) };
	keystream(&c->state, c->stream);
	memcpy(c->one_time_key, c->stream, BLOCK_LEN);
	aead_test_one_time_key(c->one_time_key);
	poly1305_init(&c->mac, c->one_time_key);
}

static void xor_bytes(uint8_t *dst, const uint8_t *src, const uint8_t *stream, size_t len)
{
	while (len >= 16) {
		uint64_t a = load_le64(src) ^ load_le64(stream);
		uint64_t b = load_le64(src + 8) ^ load_le64(stream + 8);
		store_le64(dst, a);
		store_le64(dst + 8, b);
		dst += 16;
		src += 16;
		stream += 16;
		len -= 16;
	}
	for (size_t i = 0; i < len; i++)
		dst[i] = src[i] ^ stream[i];
}

static void cipher_finish(struct cipher *c, uint64_t ad_len, uint64_t text_len, uint8_t *tag)
{
	poly1305_block(&c->mac, ad_len, text_len, 1);
	poly1305_finish(c->mac.h, c->one_time_key, tag);
}

/* The plaintext of a job as one sequence: what is left of slice, next slice, padding. */
struct source {
	const uint8_t *slice[2];
	size_t len[2];
};

static void source_xor(struct source *s, uint8_t *dst, const uint8_t *stream, size_t len)
{
	for (size_t i = 0; i < 2; i++) {
		size_t n = MIN(len, s->len[i]);
		if (!n)
			continue; /* an absent slice may be NULL */
		xor_bytes(dst, s->slice[i], stream, n);
		s->slice[i] += n;
		s->len[i] -= n;
		dst += n;
		stream += n;
		len -= n;
	}
	if (len)
		memcpy(dst, stream, len); /* padding: zeros */
}

static void seal(struct cipher *c, const struct aead_seal_job *job)
{
	struct source src = {
		.slice = { job->in[0], job->in[1] },
		.len = { job->in_len[0], job->in_len[1] },
	};
	const size_t text_len = (size_t)job->in_len[0] + job->in_len[1] + job->pad_len;
	size_t used = BLOCK_LEN; /* of c->stream; always whole Poly1305 blocks before the end */

	cipher_init(c, job->key, job->nonce_prefix, job->counter);
	poly1305_padded(&c->mac, job->ad, job->ad_len);
	for (size_t done = 0; done < text_len;) {
		if (used == STREAM_LEN) {
			keystream(&c->state, c->stream);
			used = 0;
		}
		size_t n = MIN(text_len - done, STREAM_LEN - used);
		source_xor(&src, job->out + done, c->stream + used, n);
		poly1305_padded(&c->mac, job->out + done, n);
		used += n;
		done += n;
	}
	cipher_finish(c, job->ad_len, text_len, job->out + text_len);
}

/* Decrypts only after the tag was found right, so a forgery never becomes plaintext anywhere. */
static bool open(struct cipher *c, const struct aead_open_job *job)
{
	if (job->in_len < AEAD_TAG_LEN)
		return false;

	const size_t text_len = job->in_len - AEAD_TAG_LEN;
	uint8_t tag[AEAD_TAG_LEN];

	cipher_init(c, job->key, job->nonce_prefix, job->counter);
	poly1305_padded(&c->mac, job->ad, job->ad_len);
	poly1305_padded(&c->mac, job->in, text_len);
	cipher_finish(c, job->ad_len, text_len, tag);
	if (!aead_tag_is_equal(tag, job->in + text_len)) {
		if (text_len)
			memset(job->out, 0, text_len);
		return false;
	}

	size_t used = BLOCK_LEN;
	for (size_t done = 0; done < text_len;) {
		if (used == STREAM_LEN) {
			keystream(&c->state, c->stream);
			used = 0;
		}
		size_t n = MIN(text_len - done, STREAM_LEN - used);
		xor_bytes(job->out + done, job->in + done, c->stream + used, n);
		used += n;
		done += n;
	}
	return true;
}

static __attribute__((noinline)) void seal_all(const struct aead_seal_job *job, size_t n)
{
	struct cipher c;
	for (size_t i = 0; i < n; i++)
		seal(&c, &job[i]);
	aead_wipe(&c, sizeof(c));
}

static __attribute__((noinline)) void open_all(struct aead_open_job *job, size_t n)
{
	struct cipher c;
	for (size_t i = 0; i < n; i++)
		job[i].ok = open(&c, &job[i]);
	aead_wipe(&c, sizeof(c));
}

static void ref_seal_burst(const struct aead_seal_job *job, size_t n)
{
	seal_all(job, n);
	aead_wipe_below();
}

static void ref_open_burst(struct aead_open_job *job, size_t n)
{
	open_all(job, n);
	aead_wipe_below();
}

const struct aead_impl aead_ref = {
	.name = "ref",
	.cpu = 0,
	.seal_burst = ref_seal_burst,
	.open_burst = ref_open_burst,
};

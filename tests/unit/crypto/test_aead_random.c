/* SPDX-License-Identifier: MPL-2.0 */
/* Every AEAD kernel against libsodium on random input: lengths, alignments, slices, padding, and
 * bursts of every size. TEST_FULL=1 in the environment sweeps instead of sampling (minutes). */
#include <criterion/criterion.h>

#include "aead_fixture.h"

enum {
	LEN_MAX = 4096,
	ROOM = LEN_MAX + 64 + 64 + AEAD_TAG_LEN, /* text, alignment, canary, tag */
	CANARY = 0xc7,
};

/* What one packet is made of; everything else follows from it. */
struct shape {
	uint32_t len;   /* of the plaintext, padding included */
	uint32_t split; /* in_len[0]; in_len[1] is the rest without padding */
	uint32_t pad_len, ad_len;
	uint8_t src_align, dst_align, key;
};

struct packet {
	struct shape shape;
	uint8_t src[2][ROOM], dst[ROOM], expected[ROOM], text[ROOM], ad[64];
};

/* Under a sanitizer or an emulator every length is too much. */
#if defined(__SANITIZE_ADDRESS__) || defined(CRITERION_STAND_IN)
#define IS_SLOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SLOW 1
#endif
#endif
#ifndef IS_SLOW
#define IS_SLOW 0
#endif

static struct packet packets[BURST_MAX];
static struct aead_seal_job seal_jobs[BURST_MAX];
static struct aead_open_job open_jobs[BURST_MAX];
static uint8_t keys[8][AEAD_KEY_LEN];

static bool is_full(void)
{
	return getenv("TEST_FULL") != NULL;
}

static struct shape random_shape(uint32_t len)
{
	const uint32_t pad_len = test_random_below(4) ? 0 : test_random_below(80);
	struct shape s = { .len = len,
			   .pad_len = MIN(len, pad_len),
			   .ad_len = test_random_below(8) ? 0 : test_random_below(64),
			   .src_align = (uint8_t)test_random_below(64),
			   .dst_align = (uint8_t)test_random_below(64),
			   .key = test_random_below(2) ? 0 : (uint8_t)test_random_below(8) };
	const uint32_t text_len = len - s.pad_len;
	switch (test_random_below(3)) {
	case 0:
		s.split = text_len;
		break;
	case 1:
		s.split = MIN(text_len, 40U); /* headers in front of a payload */
		break;
	default:
		s.split = test_random_below(text_len + 1);
	}
	return s;
}

static void packet_prepare(size_t i, struct shape s)
{
	struct packet *p = &packets[i];
	p->shape = s;
	uint8_t *in[2] = { p->src[0] + s.src_align, p->src[1] + (s.dst_align * 7U) % 64 };
	const uint32_t in_len[2] = { s.split, s.len - s.pad_len - s.split };
	for (size_t k = 0; k < 2; k++)
		for (size_t b = 0; b < in_len[k]; b += 8) /* a multiple of 8: faster, and in ROOM */
			store_le64(in[k] + b, test_random());
	test_random_bytes(p->ad, s.ad_len);
	seal_jobs[i] = (struct aead_seal_job){
		.key = keys[s.key],
		.counter = test_random(),
		.nonce_prefix = test_random_below(2) ? 0 : (uint32_t)test_random(),
		.ad_len = s.ad_len,
		.ad = s.ad_len ? p->ad : NULL,
		.in = { in[0], in_len[1] ? in[1] : NULL },
		.in_len = { in_len[0], in_len[1] },
		.pad_len = s.pad_len,
		.out = p->dst + s.dst_align,
	};
	sodium_seal(&seal_jobs[i], p->text, p->expected);
}

static bool has_canaries(const struct packet *p, size_t used)
{
	for (size_t i = 0; i < sizeof(p->dst); i++) {
		const bool is_inside = i >= p->shape.dst_align && i < p->shape.dst_align + used;
		if (!is_inside && p->dst[i] != CANARY)
			return false;
	}
	return true;
}

static void check_seal(const struct aead_impl *k, size_t n)
{
	for (size_t i = 0; i < n; i++)
		memset(packets[i].dst, CANARY, sizeof(packets[i].dst));
	k->seal_burst(seal_jobs, n);
	for (size_t i = 0; i < n; i++) {
		const struct packet *p = &packets[i];
		const size_t box_len = p->shape.len + AEAD_TAG_LEN;
		cr_assert(memcmp(seal_jobs[i].out, p->expected, box_len) == 0,
			  "%s: seal, packet %zu of %zu, %u bytes, split %u, pad %u", k->name, i, n,
			  p->shape.len, p->shape.split, p->shape.pad_len);
		cr_assert(has_canaries(p, box_len), "%s: %u bytes", k->name, p->shape.len);
	}
}

/* Opens what check_seal() left: half of the packets in place, the others into src[0]. */
static void check_open(const struct aead_impl *k, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct packet *p = &packets[i];
		open_jobs[i] = (struct aead_open_job){
			.key = seal_jobs[i].key,
			.counter = seal_jobs[i].counter,
			.nonce_prefix = seal_jobs[i].nonce_prefix,
			.ad_len = p->shape.ad_len,
			.ad = p->ad,
			.in = seal_jobs[i].out,
			.out = (i ^ n) & 1 ? seal_jobs[i].out : p->src[0] + p->shape.src_align,
			.in_len = p->shape.len + AEAD_TAG_LEN,
		};
	}
	k->open_burst(open_jobs, n);
	for (size_t i = 0; i < n; i++) {
		const struct packet *p = &packets[i];
		cr_assert(open_jobs[i].ok, "%s: open, packet %zu of %zu, %u bytes", k->name, i, n,
			  p->shape.len);
		cr_assert(memcmp(open_jobs[i].out, p->text, p->shape.len) == 0,
			  "%s: open, packet %zu of %zu, %u bytes", k->name, i, n, p->shape.len);
		cr_assert(has_canaries(p, p->shape.len + AEAD_TAG_LEN));
	}
}

/* src[0] is overwritten by check_open(), so each kernel gets its input afresh. */
static void check_burst(size_t n, const struct shape *shape)
{
	for_each_kernel(k)
	{
		for (size_t i = 0; i < n; i++)
			packet_prepare(i, shape[i]);
		check_seal(k, n);
		check_open(k, n);
	}
}

TestSuite(aead_random, .timeout = 3600);

Test(aead_random, every_length)
{
	test_random_bytes(keys[0], sizeof(keys));
	for (uint32_t len = 0; len <= LEN_MAX; len++) {
		struct shape s = random_shape(len);
		check_burst(1, &s);
	}
}

Test(aead_random, every_alignment)
{
	static const uint32_t lens[] = { 1, 48, 64, 129, 700, 1420 };
	test_random_bytes(keys[0], sizeof(keys));
	for (size_t l = 0; l < ARRAY_SIZE(lens); l++) {
		for (uint32_t a = 0; a < 64 * 64;
		     a += is_full() ? 1 : 1 + test_random_below(IS_SLOW ? 16 : 2)) {
			struct shape s = random_shape(lens[l]);
			s.src_align = a / 64;
			s.dst_align = a % 64;
			check_burst(1, &s);
		}
	}
}

/* All of them, with one answer of libsodium's per length. Sources walk through all 64 alignments, and
 * with them destinations, in another order; every second packet is sealed in place first. */
static void check_alignments(const struct aead_impl *k, uint32_t len, const uint8_t *text,
			     const uint8_t *expected)
{
	enum { EDGE = 32 };
	static _Alignas(64) uint8_t src[ROOM + 2 * EDGE], dst[ROOM + 2 * EDGE];
	static const uint8_t canary[EDGE] = { 0x5a, 0xc3, 0x99 };
	const uint32_t box_len = len + AEAD_TAG_LEN;

	for (uint32_t a = 0; a < 64; a++) {
		uint8_t *const in = src + EDGE + a, *const out = dst + EDGE + (a * 5 + len) % 64;
		uint8_t *const sealed = (a ^ len) & 1 ? in : out;
		memcpy(in, text, len);
		memcpy(sealed - EDGE, canary, EDGE);
		memcpy(sealed + box_len, canary, EDGE);
		k->seal_burst(&(struct aead_seal_job){ .key = keys[0],
						       .counter = len,
						       .in = { in },
						       .in_len = { len },
						       .out = sealed },
			      1);
		cr_assert(memcmp(sealed, expected, box_len) == 0, "%s: %u bytes at %u", k->name,
			  len, a);
		uint8_t *const opened = sealed == in ? out : a & 2 ? out : in;
		struct aead_open_job job = { .key = keys[0],
					     .counter = len,
					     .in = sealed,
					     .out = opened,
					     .in_len = box_len };
		k->open_burst(&job, 1);
		cr_assert(job.ok && memcmp(opened, text, len) == 0, "%s: open, %u bytes at %u",
			  k->name, len, a);
		cr_assert(memcmp(sealed - EDGE, canary, EDGE) == 0 &&
				  memcmp(sealed + box_len, canary, EDGE) == 0,
			  "%s: %u bytes at %u: written outside", k->name, len, a);
	}
}

Test(aead_random, every_length_and_alignment)
{
	static uint8_t text[LEN_MAX + 8], copy[LEN_MAX + 8], expected[LEN_MAX + AEAD_TAG_LEN];
	test_random_bytes(keys[0], sizeof(keys));
	test_random_bytes(text, sizeof(text));
	for (uint32_t len = 0; len <= LEN_MAX; len += IS_SLOW ? 13 : 1) {
		const struct aead_seal_job job = {
			.key = keys[0], .counter = len, .in = { text }, .in_len = { len }
		};
		sodium_seal(&job, copy, expected);
		for_each_kernel(k) check_alignments(k, len, text, expected);
	}
}

/* out == in[0] with in[1] directly behind it, as aead.h allows. */
Test(aead_random, two_slices_sealed_in_place)
{
	static uint8_t text[LEN_MAX], copy[ROOM], buffer[ROOM], expected[ROOM];
	test_random_bytes(keys[0], sizeof(keys));
	for (uint32_t i = 0; i < (IS_SLOW ? 300 : 3000); i++) {
		const uint32_t len = test_random_below(i % 8 ? 400 : LEN_MAX);
		const uint32_t split = test_random_below(len + 1), pad = test_random_below(40);
		test_random_bytes(text, len);
		struct aead_seal_job job = {
			.key = keys[i % 8],
			.counter = i,
			.in = { text, text + split },
			.in_len = { split, len - split },
			.pad_len = MIN(pad, LEN_MAX - len),
		};
		const size_t box_len = seal_text_len(&job) + AEAD_TAG_LEN;
		sodium_seal(&job, copy, expected);
		for_each_kernel(k)
		{
			uint8_t *const at = buffer + i % 64;
			memcpy(at, text, len);
			job.in[0] = job.out = at;
			job.in[1] = at + split;
			k->seal_burst(&job, 1);
			cr_assert(memcmp(at, expected, box_len) == 0, "%s: %u + %u + %u", k->name,
				  split, len - split, job.pad_len);
		}
	}
}

Test(aead_random, equal_bursts)
{
	static const uint32_t lens[] = { 0, 16, 52, 64, 256, 576, 1420, 4096 };
	struct shape s[BURST_MAX];
	test_random_bytes(keys[0], sizeof(keys));
	for (size_t n = 1; n <= BURST_MAX; n++) {
		for (size_t l = 0; l < ARRAY_SIZE(lens); l++) {
			if (!is_full() && lens[l] > 600 && (n + l) % 4)
				continue;
			for (size_t i = 0; i < n; i++) {
				s[i] = random_shape(lens[l]);
				s[i].ad_len = n % 2 ? 0 : s[i].ad_len;
				s[i].key = n % 3 ? 0 : s[i].key;
			}
			check_burst(n, s);
		}
	}
}

Test(aead_random, mixed_bursts)
{
	static const uint32_t bounds[] = { 64, 300, 1500, LEN_MAX + 1 };
	struct shape s[BURST_MAX];
	test_random_bytes(keys[0], sizeof(keys));
	for (size_t n = 1; n <= BURST_MAX; n++) {
		for (size_t b = 0; b < (is_full() ? 64 * ARRAY_SIZE(bounds) : 3); b++) {
			const uint32_t bound = bounds[(b + n) % ARRAY_SIZE(bounds)];
			for (size_t i = 0; i < n; i++)
				s[i] = random_shape(test_random_below(bound));
			check_burst(n, s);
		}
	}
}

/* A split super-packet: equal segments, the last one shorter. */
Test(aead_random, super_packets)
{
	struct shape s[BURST_MAX];
	test_random_bytes(keys[0], sizeof(keys));
	for (size_t n = 2; n <= BURST_MAX; n += is_full() ? 1 : 5) {
		for (size_t i = 0; i < n; i++) {
			s[i] = random_shape(i + 1 < n ? 1420 : test_random_below(1420));
			s[i].ad_len = s[i].key = 0;
		}
		check_burst(n, s);
	}
}

/* More jobs than a kernel works on at a time. */
Test(aead_random, long_job_lists)
{
	enum { N = 200 };
	static uint8_t text[N][100], out[N][100 + AEAD_TAG_LEN], expected[100 + AEAD_TAG_LEN];
	static struct aead_seal_job job[N];
	test_random_bytes(keys[0], sizeof(keys));
	for_each_kernel(k)
	{
		for (size_t i = 0; i < N; i++) {
			test_random_bytes(text[i], sizeof(text[i]));
			job[i] = (struct aead_seal_job){ .key = keys[i % 3],
							 .counter = i,
							 .in = { text[i] },
							 .in_len = { 100 },
							 .out = out[i] };
		}
		k->seal_burst(job, N);
		for (size_t i = 0; i < N; i++) {
			sodium_seal(&job[i], packets[0].text, expected);
			cr_assert(memcmp(out[i], expected, sizeof(expected)) == 0, "%s: job %zu",
				  k->name, i);
		}
	}
}

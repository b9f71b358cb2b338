/* SPDX-License-Identifier: MPL-2.0 */
/* Bursts of the AEAD kernels with keys and plaintext declared secret, for checks of constant time.
 *
 *     target --list          kernels, with the reason why one can not run here, and negative controls
 *     target NAME            all bursts with that one: under taint.py's tracers
 *     target                 under valgrind (built with WITH_VALGRIND): all that run there
 *
 * Public are lengths, addresses, counters, associated data, ciphertext, and whether a tag was right. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef WITH_VALGRIND
#include <valgrind/memcheck.h>
#endif

#include "base/bytes.h"
#include "base/cpu.h"
#include "base/macro.h"
#include "crypto/aead.h"
#include "crypto/aead_impl.h"
#include "leaky.h"
#include "trace.h"

enum {
	N_MAX = 40,
	LEN_MAX = 4096,
	KEYS = 3,
	N_RANDOM = 24,
};

void aead_test_declassify(void *p, size_t len)
{
	ct_mark(MARK_PUBLIC, p, len);
}

/* A burst: packets of @len bytes, of which @step less from each to the next if it is mixed. */
struct shape {
	uint32_t n, len, header, pad, ad, step, keys;
};

/* What tunnels do; N_RANDOM others reach the rest of the code: each way of filling lanes, of making
 * blocks, and of absorbing text. */
static const struct shape shapes[] = {
	{ .n = 1, .len = 0 },
	{ .n = 1, .len = 1, .ad = 5 },
	{ .n = 1, .len = 1420, .header = 40, .pad = 4 },
	{ .n = 1, .len = 640, .ad = 33 },
	{ .n = 2, .len = 333, .header = 70, .pad = 3, .keys = 2 },
	{ .n = 2, .len = 1100, .header = 40, .pad = 10, .keys = 2 },
	{ .n = 8, .len = 64 },
	{ .n = 6, .len = 1420, .header = 40 },
	{ .n = 5, .len = 1300, .step = 230, .keys = 2 },
	{ .n = 12, .len = 500, .header = 40 },
	{ .n = 33, .len = 0 },
	{ .n = 36, .len = 30, .keys = 3 },
	{ .n = 1, .len = 4096 },
	{ .n = 4, .len = 2300, .header = 40, .keys = 2 },
};

static uint8_t keys[KEYS][AEAD_KEY_LEN], text[LEN_MAX], ad[64];
static uint8_t box[N_MAX][LEN_MAX + 128], out[N_MAX][LEN_MAX + 128];
static struct aead_seal_job seal_jobs[N_MAX];
static struct aead_open_job open_jobs[N_MAX];

static uint32_t burst_init(const struct shape *s)
{
	for (uint32_t i = 0; i < s->n; i++) {
		const uint32_t less = MIN(s->len, i * s->step), len = s->len - less;
		const uint32_t pad = MIN(len, s->pad), header = MIN(len - pad, s->header);
		struct aead_seal_job *job = &seal_jobs[i];
		*job = (struct aead_seal_job){
			.key = keys[s->keys ? i % s->keys : 0],
			.counter = i,
			.ad = ad,
			.ad_len = s->ad,
			.in = { text, text + header },
			.in_len = { header, len - pad - header },
			.pad_len = pad,
			.out = box[i],
		};
		if (!header) {
			job->in_len[0] = job->in_len[1];
			job->in_len[1] = 0;
		}
		open_jobs[i] = (struct aead_open_job){
			.key = job->key,
			.counter = i,
			.ad = ad,
			.ad_len = s->ad,
			.in = box[i],
			.in_len = len + AEAD_TAG_LEN,
			.out = i % 2 ? box[i] : out[i],
		};
	}
	return s->n;
}

static void secrets(enum mark mark)
{
	ct_mark(mark, keys, sizeof(keys));
	ct_mark(mark, text, sizeof(text));
}

static void run_seal(const struct aead_impl *k, const struct shape *s)
{
	const uint32_t n = burst_init(s);
	trace_set(true);
	ct_mark(MARK_BEGIN, NULL, 0);
	secrets(MARK_SECRET);
	k->seal_burst(seal_jobs, n);
	ct_mark(MARK_END, NULL, 0);
	trace_set(false);
	secrets(MARK_PUBLIC);
	ct_mark(MARK_PUBLIC, box, sizeof(box));
}

static void run_open(const struct aead_impl *k, const struct shape *s, bool is_forged)
{
	const uint32_t n = burst_init(s);
	for (uint32_t i = 0; is_forged && i < n; i += 1 + i % 3)
		box[i][open_jobs[i].in_len - 1] ^= 1;
	trace_set(true);
	ct_mark(MARK_BEGIN, NULL, 0);
	ct_mark(MARK_SECRET, keys, sizeof(keys));
	k->open_burst(open_jobs, n);
	ct_mark(MARK_END, NULL, 0);
	trace_set(false);
	secrets(MARK_PUBLIC);
	ct_mark(MARK_PUBLIC, box, sizeof(box));
	ct_mark(MARK_PUBLIC, out, sizeof(out));
}

/* The portable kernel knows no bursts. */
static bool is_for(const struct aead_impl *k, const struct shape *s)
{
	return k->cpu || s->n <= 2;
}

static uint32_t random_below(uint32_t n)
{
	static uint64_t state = 1;
	state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)((state >> 32) * n >> 32);
}

/* About @total bytes. */
static struct shape random_shape(uint32_t total)
{
	struct shape s = { .n = 1 + random_below(random_below(4) ? 10 : N_MAX) };
	s.len = random_below(MIN(2 * total / s.n, (uint32_t)LEN_MAX));
	s.header = random_below(2) ? 0 : random_below(random_below(2) ? 64 : s.len + 1);
	s.pad = random_below(3) ? 0 : random_below(70);
	s.ad = random_below(4) ? 0 : random_below(sizeof(ad));
	s.step = random_below(2) ? 0 : random_below(s.len / s.n + 1);
	s.keys = random_below(KEYS + 1);
	return s;
}

static void run_shape(const struct aead_impl *k, const struct shape *s, bool is_forged)
{
	if (!is_for(k, s))
		return;
	run_seal(k, s);
	run_open(k, s, is_forged);
}

static void run(const struct aead_impl *k)
{
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
		run_shape(k, &shapes[i], false);
	for (uint32_t i = 0; i < N_RANDOM; i++) {
		const struct shape s = random_shape(i % 8 ? 360 : 1600);
		run_shape(k, &s, i % 4 == 3);
	}
}

static void init(void)
{
	for (size_t i = 0; i < sizeof(keys); i++)
		keys[i / AEAD_KEY_LEN][i % AEAD_KEY_LEN] = (uint8_t)(i * 151 + 17);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * i * 13 + i);
}

static void list(void)
{
	for (size_t i = 0; aead_impls[i]; i++) {
		const bool runs = !(aead_impls[i]->cpu & ~cpu_features());
		(void)printf("%s %s\n", aead_impls[i]->name,
			     runs ? "kernel" : "skip this CPU has not the instructions it needs");
	}
	for (size_t i = 0; leaky[i].name; i++)
		(void)printf("%s %s\n", leaky[i].name, leaky[i].finds);
}

static const struct aead_impl *find(const char *name)
{
	for (size_t i = 0; aead_impls[i]; i++)
		if (strcmp(aead_impls[i]->name, name) == 0)
			return aead_impls[i];
	for (size_t i = 0; leaky[i].name; i++)
		if (strcmp(leaky[i].name, name) == 0)
			return &leaky[i].impl;
	return NULL;
}

#ifdef WITH_VALGRIND
static int check(const char *name, const struct aead_impl *k, bool may_find)
{
	const unsigned long before = VALGRIND_COUNT_ERRORS;
	run(k);
	const bool found = VALGRIND_COUNT_ERRORS != before;
	if (found == may_find)
		(void)printf("ok memcheck/%s\n", name);
	else
		(void)printf("not ok memcheck/%s: %s\n", name,
			     found ? "depends on secrets, see valgrind's report" : "not found");
	(void)fflush(stdout);
	return found != may_find;
}

static int check_all(void)
{
	int failures = 0;
	if (!RUNNING_ON_VALGRIND) {
		(void)puts("not ok memcheck: not under valgrind");
		return 1;
	}
	for (size_t i = 0; aead_impls[i]; i++) {
		const struct aead_impl *k = aead_impls[i];
		if (k->cpu & ~cpu_features())
			(void)printf("skip memcheck/%s: valgrind has not the instructions\n",
				     k->name);
		else
			failures += check(k->name, k, false);
	}
	for (size_t i = 0; leaky[i].name; i++) /* memcheck does not mind divisions */
		if (strcmp(leaky[i].finds, "time") != 0)
			failures += check(leaky[i].name, &leaky[i].impl,
					  strcmp(leaky[i].finds, "none") != 0);
	return failures ? 1 : 0;
}
#endif

int main(int argc, char **argv)
{
	init();
#ifdef WITH_VALGRIND
	if (argc == 1)
		return check_all();
#endif
	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		list();
		return 0;
	}
	const struct aead_impl *k = argc == 2 ? find(argv[1]) : NULL;
	if (!k || trace_init() < 0)
		return 2;
	run(k);
	return trace_finish() < 0 ? 1 : 0;
}

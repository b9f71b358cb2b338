/* SPDX-License-Identifier: MPL-2.0 */
/* Statistics on the time of the AEAD kernels, after the idea of dudect: two classes of secrets in random
 * order, and Welch's t-test on the means, of all measurements and of those below each of several
 * percentiles (interrupts only add time). |t| grows with the number of measurements if the means
 * differ at all; above T_LEAK they do.
 *
 *     seal, open   one fixed key and text against random ones
 *     forged       a tag that is wrong in its first byte against one that is in its last
 *
 * The control compares tags byte by byte and has to be found. A timing test can fail by bad luck: this
 * one is not part of the ordinary tests; tests/run --long has it, results are in tests/RESULTS.md. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "base/cpu.h"
#include "base/macro.h"
#include "crypto/aead.h"
#include "leaky.h"

enum {
	N = 4,     /* packets per burst */
	LEN = 400, /* bytes of each */
	N_MEASUREMENTS = 120000,
	N_WARM_UP = 2000,
	N_CROPS = 20,
	T_LEAK = 10, /* the threshold of dudect; by chance one of 10^20 runs exceeds it */
};

enum what { SEAL, OPEN, FORGED, N_WHAT };

static const char *const what_names[N_WHAT] = { "seal", "open", "forged" };

struct moments {
	double n, mean, m2;
};

struct measurement {
	double time;
	int class;
};

static uint8_t keys[2][N][AEAD_KEY_LEN], texts[2][N][LEN], boxes[2][N][LEN + AEAD_TAG_LEN];
/* What is measured always lies here, so that only contents differ. */
static uint8_t key[N][AEAD_KEY_LEN], text[N][LEN], box[N][LEN + AEAD_TAG_LEN], out[N][LEN + 16];
static struct measurement measured[N_MEASUREMENTS];

static uint64_t random_next(void)
{
	static uint64_t state = 7;
	uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static void random_fill(void *p, size_t len)
{
	for (size_t i = 0; i + 8 <= len; i += 8) {
		const uint64_t x = random_next();
		memcpy((uint8_t *)p + i, &x, 8);
	}
}

static uint64_t now(void)
{
#if defined(__x86_64__)
	unsigned aux;
	_mm_lfence();
	const uint64_t t = __rdtscp(&aux);
	_mm_lfence();
	return t;
#else
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
#endif
}

static void seal(const struct aead_impl *k, uint8_t (*keys_at)[AEAD_KEY_LEN],
		 uint8_t (*texts_at)[LEN], uint8_t (*boxes_at)[LEN + AEAD_TAG_LEN])
{
	struct aead_seal_job job[N];
	for (size_t i = 0; i < N; i++)
		job[i] = (struct aead_seal_job){ .key = keys_at[i],
						 .counter = i,
						 .in = { texts_at[i] },
						 .in_len = { LEN },
						 .out = boxes_at[i] };
	k->seal_burst(job, N);
}

static void open(const struct aead_impl *k)
{
	struct aead_open_job job[N];
	for (size_t i = 0; i < N; i++)
		job[i] = (struct aead_open_job){ .key = key[i],
						 .counter = i,
						 .in = box[i],
						 .in_len = LEN + AEAD_TAG_LEN,
						 .out = out[i] };
	k->open_burst(job, N);
}

/* Puts the inputs of @class in place. The work is the same for both. */
static void prepare(const struct aead_impl *k, enum what what, int class)
{
	random_fill(keys[1], sizeof(keys[1]));
	random_fill(texts[1], sizeof(texts[1]));
	if (what == FORGED) /* the secrets are the same, the wrong byte differs */
		class += 2;
	const int from = class == 1;
	seal(k, keys[1], texts[1], boxes[1]);
	memcpy(key, keys[from], sizeof(key));
	memcpy(text, texts[from], sizeof(text));
	memcpy(box, boxes[from], sizeof(box));
	for (size_t i = 0; i < N; i++)
		box[i][class == 2 ? LEN : LEN + AEAD_TAG_LEN - 1] ^= class >= 2;
}

/* A tag is what the control compares with the first bytes of the key. */
static void prepare_control(int class)
{
	for (size_t i = 0; i < N; i++) {
		memcpy(key[i], keys[0][i], AEAD_KEY_LEN);
		memcpy(box[i], key[i], AEAD_TAG_LEN);
		box[i][class ? 0 : AEAD_TAG_LEN - 1] ^= 1;
	}
}

static void measure(const struct aead_impl *k, enum what what, bool is_control)
{
	random_fill(keys[0], sizeof(keys[0]));
	random_fill(texts[0], sizeof(texts[0]));
	seal(k, keys[0], texts[0], boxes[0]);
	for (int i = -N_WARM_UP; i < N_MEASUREMENTS; i++) {
		const int class = (int)(random_next() >> 63);
		if (is_control)
			prepare_control(class);
		else
			prepare(k, what, class);
		const uint64_t begin = now();
		if (what == SEAL)
			seal(k, key, text, box);
		else
			open(k);
		const uint64_t took = now() - begin;
		if (i >= 0)
			measured[i] = (struct measurement){ (double)took, class };
	}
}

static void add(struct moments *m, double x)
{
	const double delta = x - m->mean;
	m->n++;
	m->mean += delta / m->n;
	m->m2 += delta * (x - m->mean);
}

static double welch(double limit)
{
	struct moments m[2] = { 0 };
	for (size_t i = 0; i < N_MEASUREMENTS; i++)
		if (measured[i].time <= limit)
			add(&m[measured[i].class], measured[i].time);
	const double variance = m[0].m2 / (m[0].n - 1) / m[0].n + m[1].m2 / (m[1].n - 1) / m[1].n;
	return variance > 0 ? fabs(m[0].mean - m[1].mean) / sqrt(variance) : 0;
}

static int compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* The largest |t| over all crops, and the median time. */
static double judge(double *ret_median)
{
	static double sorted[N_MEASUREMENTS];
	for (size_t i = 0; i < N_MEASUREMENTS; i++)
		sorted[i] = measured[i].time;
	qsort(sorted, N_MEASUREMENTS, sizeof(sorted[0]), compare);
	*ret_median = sorted[N_MEASUREMENTS / 2];
	double worst = welch(INFINITY);
	for (int i = 1; i <= N_CROPS; i++) {
		const double part = 1 - pow(0.5, 10.0 * i / N_CROPS);
		const double t = welch(sorted[(size_t)(part * (N_MEASUREMENTS - 1))]);
		worst = t > worst ? t : worst;
	}
	return worst;
}

static bool report(const char *name, const char *what, bool may_leak)
{
	double median;
	const double t = judge(&median);
	const bool leaks = t > T_LEAK;
	(void)printf("%s dudect/%s-%s: largest |t| %.1f of %d, median %.0f ticks\n",
		     leaks == may_leak ? "ok" : "not ok", name, what, t, T_LEAK, median);
	(void)fflush(stdout);
	return leaks == may_leak;
}

int main(void)
{
	bool good = true;
	for (size_t i = 0; aead_impls[i]; i++) {
		const struct aead_impl *k = aead_impls[i];
		if (k->cpu & ~cpu_features()) {
			(void)printf("skip dudect/%s: this CPU has not the instructions it needs\n",
				     k->name);
			continue;
		}
		for (enum what what = 0; what < N_WHAT; what++) {
			measure(k, what, false);
			good &= report(k->name, what_names[what], false);
		}
	}
	for (size_t i = 0; leaky[i].name; i++)
		if (strcmp(leaky[i].name, "leaky-compare") == 0) {
			measure(&leaky[i].impl, FORGED, true);
			good &= report(leaky[i].name, "is-found", true);
		}
	return good ? 0 : 1;
}

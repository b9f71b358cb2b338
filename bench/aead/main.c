/* SPDX-License-Identifier: MPL-2.0 */
/* ringtun-bench-aead: nanoseconds per packet of every AEAD kernel and of the libraries, in one
 * process. Each figure is the median of many short runs in which all contenders alternate, so that
 * a noisy machine disturbs all alike; quote ratios, not nanoseconds. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/cpu.h"
#include "base/macro.h"
#include "bench_aead.h"

enum {
	CONTENDERS_MAX = 12,
	ROUNDS_MAX = 101,
	IMIX = 0,                  /* as a length: 7 x 64, 4 x 576, 1 x 1420 */
	COLD_BYTES = 96 * 1000000, /* twice the largest last-level cache slice we met */
	SLOT_SLACK = 64,           /* tag, and packets that start off cache lines */
	SAMPLE_NS = 60000,         /* long enough for the clock, short enough to dodge preemption */
};

struct options {
	bool json, quick;
	long only_len; /* -1 = all */
	long only_burst;
};

static const uint32_t lengths[] = { 64, 256, 576, 1420, 8192, IMIX };
static const uint32_t bursts[] = { 1, 2, 4, 8, 32 };

/* The packets of one cell of the table: one burst over and over (warm), or as many as the caches
 * do not hold (cold). */
struct packets {
	uint8_t *in, *box, *out;
	struct aead_seal_job *seal;
	struct aead_open_job *open;
	size_t n;
};

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

/* Ticks of the time-stamp counter per nanosecond; 0 where there is none. */
static double tsc_per_ns(void)
{
#ifdef __x86_64__
	uint64_t t0 = now_ns(), c0 = __builtin_ia32_rdtsc();
	while (now_ns() - t0 < 20 * NSEC_PER_MSEC)
		;
	return (double)(__builtin_ia32_rdtsc() - c0) / (double)(now_ns() - t0);
#else
	return 0;
#endif
}

/* Clock cycles per nanosecond now: an addition that waits for the one before takes a cycle. */
static double core_per_ns(void)
{
	enum { N = 100000 };
	double best = 0;
	for (int i = 0; i < 50; i++) {
		uint64_t t0 = now_ns(), x = 0;
		for (int k = 0; k < N; k++) {
			x++;
			__asm__ volatile("" : "+r"(x));
		}
		double per_ns = N / (double)(now_ns() - t0);
		best = per_ns > best ? per_ns : best;
	}
	return best;
}

static uint32_t packet_len(uint32_t length, size_t i)
{
	static const uint16_t imix[12] = { 64, 576, 64, 64, 576, 64, 1420, 64, 576, 64, 64, 576 };
	return length == IMIX ? imix[i % ARRAY_SIZE(imix)] : length;
}

static void packets_free(struct packets *p)
{
	free(p->in);
	free(p->box);
	free(p->out);
	free(p->seal);
	free(p->open);
}

static int packets_init(struct packets *p, uint32_t length, size_t n)
{
	static const uint8_t key[AEAD_KEY_LEN] = { 1, 2, 3 };
	const size_t slot = (length == IMIX ? 1420 : length) + SLOT_SLACK;

	*p = (struct packets){
		.in = calloc(n, slot),
		.box = calloc(n, slot),
		.out = calloc(n, slot),
		.seal = calloc(n, sizeof(*p->seal)),
		.open = calloc(n, sizeof(*p->open)),
		.n = n,
	};
	if (!p->in || !p->box || !p->out || !p->seal || !p->open)
		return -ENOMEM;
	memset(p->in, 0x5a, n * slot); /* touched: not the kernel's one page of zeros */
	memset(p->out, 0, n * slot);
	for (size_t i = 0; i < n; i++) {
		uint32_t len = packet_len(length, i);
		p->seal[i] = (struct aead_seal_job){
			.key = key,
			.counter = i,
			.in = { p->in + i * slot },
			.in_len = { len },
			.out = p->box + i * slot + 16, /* behind a transport header */
		};
		p->open[i] = (struct aead_open_job){
			.key = key,
			.counter = i,
			.in = p->seal[i].out,
			.in_len = len + AEAD_TAG_LEN,
			.out = p->out + i * slot,
		};
	}
	aead_select(cpu_features())->seal_burst(p->seal, n);
	return 0;
}

/* Runs bursts of @burst for about @budget_ns; returns ns per packet. @at walks through the packets. */
static double run(const struct contender *c, const struct packets *p, size_t burst, bool is_open,
		  size_t n_bursts, size_t *at)
{
	uint64_t t0 = now_ns();
	for (size_t i = 0; i < n_bursts; i++) {
		if (*at + burst > p->n)
			*at = 0;
		if (is_open)
			c->open(p->open + *at, burst);
		else
			c->seal(p->seal + *at, burst);
		*at += burst;
	}
	return (double)(now_ns() - t0) / (double)(n_bursts * burst);
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* ret_ns[i] = median ns per packet of contender i. */
static void measure(const struct contender *c, size_t n_c, const struct packets *p, size_t burst,
		    bool is_open, size_t rounds, double *ret_ns)
{
	static double sample[CONTENDERS_MAX][ROUNDS_MAX];
	size_t n_bursts[CONTENDERS_MAX], at = 0;

	for (size_t i = 0; i < n_c; i++) { /* warm up, and find how many bursts fill a sample */
		run(&c[i], p, burst, is_open, 4, &at);
		double ns = run(&c[i], p, burst, is_open, 4, &at) * (double)burst;
		n_bursts[i] = 1 + (size_t)(SAMPLE_NS / ns);
	}
	for (size_t r = 0; r < rounds; r++)
		for (size_t i = 0; i < n_c; i++)
			sample[i][r] = run(&c[i], p, burst, is_open, n_bursts[i], &at);
	for (size_t i = 0; i < n_c; i++) {
		qsort(sample[i], rounds, sizeof(double), compare_doubles);
		ret_ns[i] = sample[i][rounds / 2];
	}
}

struct cell {
	uint32_t length, burst;
	bool is_open, is_cold;
};

static double mean_len(uint32_t length)
{
	double sum = 0;
	for (size_t i = 0; i < 12; i++)
		sum += packet_len(length, i);
	return sum / 12;
}

struct clocks {
	double tsc, core; /* per nanosecond */
};

static void print_json(const struct cell *cell, const struct contender *c, double ns,
		       const struct clocks *clocks, bool is_first)
{
	const double len = mean_len(cell->length);
	printf("%s{\"op\":\"%s\",\"cache\":\"%s\",\"length\":\"%s%.0u\",\"burst\":%u,"
	       "\"name\":\"%s\",\"ns\":%.1f,\"tsc_per_byte\":%.3f,\"cycles_per_byte\":%.3f",
	       is_first ? "[\n" : ",\n", cell->is_open ? "open" : "seal",
	       cell->is_cold ? "cold" : "warm", cell->length ? "" : "imix", cell->length,
	       cell->burst, c->name, ns, ns * clocks->tsc / len, ns * clocks->core / len);
	if (c->version)
		printf(",\"version\":\"%s\"", c->version());
	putchar('}');
}

static void print_cell(const struct options *o, const struct cell *cell, const struct contender *c,
		       size_t n_c, const double *ns, const struct clocks *clocks)
{
	static bool has_printed;
	for (size_t i = 0; i < n_c; i++) {
		if (o->json)
			print_json(cell, &c[i], ns[i], clocks, !has_printed);
		else
			printf("%s%8.1f (%5.2f)", i ? " " : "", ns[i],
			       ns[i] * clocks->tsc / mean_len(cell->length));
		has_printed = true;
	}
	if (!o->json)
		putchar('\n');
}

static void print_title(const struct options *o, bool is_open, bool is_cold,
			const struct contender *c, size_t n_c)
{
	if (o->json)
		return;
	printf("\n%s, %s cache, ns per packet (TSC cycles per byte)\n%6s %5s",
	       is_open ? "open" : "seal", is_cold ? "cold" : "warm", "length", "burst");
	for (size_t i = 0; i < n_c; i++)
		printf(" %16s", c[i].name);
	putchar('\n');
}

static int bench_cell(const struct options *o, const struct cell *cell, const struct contender *c,
		      size_t n_c, const struct clocks *clocks)
{
	double ns[CONTENDERS_MAX];
	struct packets p CLEANUP(packets_free) = { 0 };
	size_t n = cell->burst;
	if (cell->is_cold)
		n = COLD_BYTES / (2 * ((size_t)mean_len(cell->length) + SLOT_SLACK));
	int r = packets_init(&p, cell->length, n);
	if (r < 0)
		return r;

	measure(c, n_c, &p, cell->burst, cell->is_open, o->quick ? 15 : 61, ns);
	if (!o->json) {
		if (cell->length == IMIX)
			printf("%6s %5u ", "imix", cell->burst);
		else
			printf("%6u %5u ", cell->length, cell->burst);
	}
	print_cell(o, cell, c, n_c, ns, clocks);
	fflush(stdout);
	return 0;
}

static int bench_table(const struct options *o, bool is_open, bool is_cold,
		       const struct contender *c, size_t n_c)
{
	const struct clocks clocks = { tsc_per_ns(), core_per_ns() };
	print_title(o, is_open, is_cold, c, n_c);
	for (size_t l = 0; l < ARRAY_SIZE(lengths); l++) {
		for (size_t b = 0; b < ARRAY_SIZE(bursts); b++) {
			struct cell cell = { lengths[l], bursts[b], is_open, is_cold };
			if (o->only_len >= 0 && o->only_len != (long)cell.length)
				continue;
			if (o->only_burst >= 0 && o->only_burst != (long)cell.burst)
				continue;
			if (cell.length == IMIX && cell.burst < 4)
				continue; /* too few to be a mixture */
			int r = bench_cell(o, &cell, c, n_c, &clocks);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int bench_all(const struct options *o)
{
	const struct contender portable[] = {
		{ "portable", aead_select(0)->seal_burst, aead_select(0)->open_burst, NULL },
		rival_sodium_portable,
	};
	for (int op = 0; op < 2; op++) {
		int r = bench_table(o, op, false, portable, ARRAY_SIZE(portable));
		if (r < 0)
			return r;
	}

	struct contender c[CONTENDERS_MAX];
	const struct contender *rival[RIVALS_MAX];
	size_t n_c = 0;
	for (size_t i = 0; aead_impls[i]; i++) {
		const struct aead_impl *k = aead_impls[i];
		if (!(k->cpu & ~cpu_features()))
			c[n_c++] =
				(struct contender){ k->name, k->seal_burst, k->open_burst, NULL };
	}
	size_t n_rivals = rivals_start(rival);
	for (size_t i = 0; i < n_rivals; i++)
		c[n_c++] = *rival[i];
	for (int i = 0; i < 4; i++) {
		int r = bench_table(o, i & 1, i & 2, c, n_c);
		if (r < 0)
			return r;
	}
	rivals_stop();
	return 0;
}

static int usage(FILE *f, int status)
{
	fputs("usage: ringtun-bench-aead [--json] [--quick] [--length N] [--burst N]\n"
	      "Compares the AEAD kernels with each other and with the libraries built in.\n"
	      "--length 0 is IMIX (7 x 64, 4 x 576, 1 x 1420 bytes).\n",
	      f);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "quick", no_argument, NULL, 'q' },
		{ "length", required_argument, NULL, 'l' },
		{ "burst", required_argument, NULL, 'b' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct options o = { .only_len = -1, .only_burst = -1 };
	int opt;
	while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (opt == 'j')
			o.json = true;
		else if (opt == 'q')
			o.quick = true;
		else if (opt == 'l')
			o.only_len = strtol(optarg, NULL, 10);
		else if (opt == 'b')
			o.only_burst = strtol(optarg, NULL, 10);
		else
			return opt == 'h' ? usage(stdout, 0) : usage(stderr, 2);
	}
	int r = bench_all(&o);
	if (r < 0) {
		fprintf(stderr, "ringtun-bench-aead: %s\n", strerror(-r));
		return 1;
	}
	if (o.json)
		puts("\n]");
	return 0;
}

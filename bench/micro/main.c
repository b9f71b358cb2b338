/* SPDX-License-Identifier: MPL-2.0 */
/* Options, sampling and output of ringtun-bench-micro. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "micro.h"

enum {
	N_SAMPLES = 51,
	N_SAMPLES_QUICK = 11,
	N_SAMPLES_LONG = 7,
	N_SAMPLES_LONG_QUICK = 3,
	MAX_WORDS = 16,
};
#define SAMPLE_NS       (2 * NSEC_PER_MSEC)
#define SAMPLE_NS_QUICK (NSEC_PER_MSEC / 2)

struct micro {
	bool json, quick, list;
	const char *word[MAX_WORDS]; /* parts of names; none = all */
	unsigned n_words;
	unsigned n_done;
};

bool micro_is_quick(const struct micro *m)
{
	return m->quick;
}

void micro_die(const char *what)
{
	(void)fprintf(stderr, "ringtun-bench-micro: %s\n", what);
	exit(EXIT_FAILURE);
}

void *micro_alloc(size_t size)
{
	void *p = aligned_alloc(CACHELINE, ROUND_UP(size, CACHELINE));

	micro_must(p != NULL, "no memory");
	memset(p, 0, size);
	return p;
}

bool micro_is_wanted(const struct micro *m, const char *prefix)
{
	for (unsigned i = 0; i < m->n_words; i++)
		if (strstr(prefix, m->word[i]) || strncmp(m->word[i], prefix, strlen(prefix)) == 0)
			return true;
	return m->n_words == 0;
}

static bool is_chosen(const struct micro *m, const char *name)
{
	for (unsigned i = 0; i < m->n_words; i++)
		if (strstr(name, m->word[i]))
			return true;
	return m->n_words == 0;
}

/* --- Sampling --------------------------------------------------------------------------------- */

static uint64_t wall_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static uint64_t run_bursts(const struct micro_case *c, uint64_t n)
{
	uint64_t sum = 0;

	if (c->timed_burst) {
		for (uint64_t i = 0; i < n; i++)
			sum += c->timed_burst(c->ctx);
		return sum;
	}
	uint64_t start = c->has_two_threads ? wall_ns() : micro_cpu_ns();
	for (uint64_t i = 0; i < n; i++)
		c->burst(c->ctx);
	return (c->has_two_threads ? wall_ns() : micro_cpu_ns()) - start;
}

/* How many bursts make a sample. They warm the caches besides. */
static uint64_t calibrate(const struct micro *m, const struct micro_case *c)
{
	uint64_t wanted = m->quick ? SAMPLE_NS_QUICK : SAMPLE_NS;
	uint64_t n = 1, took;

	while ((took = run_bursts(c, n)) < wanted / 4)
		n *= 2;
	return MAX(1, n * wanted / MAX(took, 1));
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct figure {
	double median, q1, q3, min;
	unsigned n_samples;
};

static struct figure measure(const struct micro *m, const struct micro_case *c)
{
	double sample[N_SAMPLES];
	unsigned n = m->quick ? N_SAMPLES_QUICK : N_SAMPLES;
	uint64_t n_bursts = 1;

	if (c->is_long)
		n = m->quick ? N_SAMPLES_LONG_QUICK : N_SAMPLES_LONG;
	else
		n_bursts = calibrate(m, c);
	for (unsigned i = 0; i < n; i++)
		sample[i] = (double)run_bursts(c, n_bursts) / (double)(n_bursts * c->n_ops);
	qsort(sample, n, sizeof(sample[0]), compare);
	return (struct figure){ .median = sample[n / 2],
				.q1 = sample[n / 4],
				.q3 = sample[n - 1 - n / 4],
				.min = sample[0],
				.n_samples = n };
}

/* --- Output ----------------------------------------------------------------------------------- */

static void print_json(struct micro *m, const struct micro_case *c, const struct figure *f)
{
	(void)printf(
		"%s\n {\"name\": \"%s\", \"group\": \"%s\", \"label\": \"%s\", \"value\": %.6g, "
		"\"unit\": \"ns\", \"better\": \"lower\", \"also\": {\"q1\": %.6g, \"q3\": %.6g, "
		"\"min\": %.6g}, \"parameters\": {\"op\": \"%s\", \"samples\": %u",
		m->n_done ? "," : "", c->name, c->group, c->label, f->median, f->q1, f->q3, f->min,
		c->op, f->n_samples);
	if (c->parameter)
		(void)printf(", \"%s\": %.10g", c->parameter, c->parameter_value);
	(void)printf("}}");
}

static void print_line(const struct micro_case *c, const struct figure *f)
{
	(void)printf("%-28s %-46s %12.1f ns per %-10s %+6.1f %% %+6.1f %%\n", c->name, c->label,
		     f->median, c->op, (f->q1 / f->median - 1) * 100,
		     (f->q3 / f->median - 1) * 100);
	(void)fflush(stdout);
}

void micro_run(struct micro *m, const struct micro_case *c)
{
	if (!is_chosen(m, c->name))
		return;
	if (m->list) {
		(void)printf("%-28s %s\n", c->name, c->label);
	} else {
		struct figure f = measure(m, c);
		if (m->json)
			print_json(m, c, &f);
		else
			print_line(c, &f);
	}
	m->n_done++;
}

static void print_help(void)
{
	(void)printf("Usage: ringtun-bench-micro [--json] [--quick] [--list] [WORD...]\n"
		     "Measures single operations; with words only those whose name contains one.\n"
		     "Each line: median, and how far the quartiles are from it.\n");
}

/* Returns whether to go on; the exit status otherwise is in @ret_status. */
static bool parse(struct micro *m, int *ret_status, int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { "quick", no_argument, NULL, 'q' },
						 { "list", no_argument, NULL, 'l' },
						 { "help", no_argument, NULL, 'h' },
						 { 0 } };
	int c;

	*ret_status = EXIT_SUCCESS;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		m->json |= c == 'j';
		m->quick |= c == 'q';
		m->list |= c == 'l';
		if (c == 'h') {
			print_help();
			return false;
		}
		if (c == '?') {
			*ret_status = 2;
			return false;
		}
	}
	for (; optind < argc && m->n_words < MAX_WORDS; optind++)
		m->word[m->n_words++] = argv[optind];
	m->json &= !m->list;
	return true;
}

int main(int argc, char **argv)
{
	static void (*const groups[])(struct micro *) = { micro_noise,  micro_allowedips,
							  micro_packet, micro_ring,
							  micro_uapi,   micro_wheel };
	struct micro m = { 0 };
	int status;

	if (!parse(&m, &status, argc, argv))
		return status;
	if (m.json)
		(void)printf("{\"version\": 1, \"quick\": %s, \"measurements\": [",
			     m.quick ? "true" : "false");
	for (unsigned i = 0; i < ARRAY_SIZE(groups); i++)
		groups[i](&m);
	if (m.json)
		(void)printf("\n]}\n");
	micro_must(m.n_done > 0, "nothing has such a name: --list shows all");
	micro_must(fflush(stdout) == 0, "stdout does not take the result");
	return EXIT_SUCCESS;
}

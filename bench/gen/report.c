/* SPDX-License-Identifier: MPL-2.0 */
/* No string here needs escaping: they are names of roles and errors. */
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "gen.h"

static double seconds_of(const struct timeval *t)
{
	return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

void report_begin(const char *role)
{
	struct rusage u;

	(void)getrusage(RUSAGE_SELF, &u);
	(void)printf("{\"role\": \"%s\", \"version\": 1", role);
	report_bool("interrupted", gen_is_stopped());
	report_double("cpu_s", seconds_of(&u.ru_utime) + seconds_of(&u.ru_stime));
	report_double("user_s", seconds_of(&u.ru_utime));
}

void report_u64(const char *name, uint64_t value)
{
	(void)printf(", \"%s\": %llu", name, (unsigned long long)value);
}

void report_double(const char *name, double value)
{
	(void)printf(", \"%s\": %.12g", name, value);
}

void report_bool(const char *name, bool value)
{
	(void)printf(", \"%s\": %s", name, value ? "true" : "false");
}

void report_null(const char *name)
{
	(void)printf(", \"%s\": null", name);
}

void report_string(const char *name, const char *value)
{
	if (value)
		(void)printf(", \"%s\": \"%s\"", name, value);
	else
		report_null(name);
}

static void report_percentiles(const struct histogram *h)
{
	static const double percents[] = { 50, 90, 99, 99.9, 99.99 };

	(void)printf(", \"percentiles\": {");
	for (unsigned i = 0; i < ARRAY_SIZE(percents); i++)
		(void)printf("%s\"%g\": %llu", i ? ", " : "", percents[i],
			     (unsigned long long)histogram_percentile(h, percents[i]));
	(void)printf("}");
}

void report_histogram(const char *name, const struct histogram *h)
{
	const char *comma = "";

	(void)printf(", \"%s\": {\"count\": %llu", name, (unsigned long long)h->count);
	if (h->count) {
		report_u64("min", h->min);
		report_u64("max", h->max);
		report_double("mean", h->sum / (double)h->count);
		report_percentiles(h);
	} else {
		report_null("min");
		report_null("max");
		report_null("mean");
		report_null("percentiles");
	}
	(void)printf(", \"buckets\": [");
	for (uint32_t i = 0; i < HISTOGRAM_N_BUCKETS; i++) {
		if (!h->bucket[i])
			continue;
		(void)printf("%s[%llu, %u]", comma, (unsigned long long)histogram_bucket_max(i),
			     h->bucket[i]);
		comma = ", ";
	}
	(void)printf("]}");
}

int report_end(void)
{
	(void)printf("}\n");
	return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_SUCCESS : EXIT_FAILURE;
}

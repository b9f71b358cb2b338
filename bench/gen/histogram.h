/* SPDX-License-Identifier: MPL-2.0 */
/* Counts of nanoseconds in the buckets that HdrHistogram makes for three significant digits: exact
 * below 2048, within 1/1024 above. Recording is a shift and an increment. Single-threaded. */
#pragma once

#include <stdint.h>

enum {
	HISTOGRAM_SUB_BITS = 10, /* buckets per power of two, as a power of two */
	HISTOGRAM_MAX_BITS = 40, /* values up to 2^40 ns = 18 minutes; larger ones are clamped */
	HISTOGRAM_N_BUCKETS = (HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS,
};

struct histogram {
	uint64_t count;
	uint64_t min, max; /* exact; meaningless while count is 0 */
	double sum;
	uint32_t bucket[HISTOGRAM_N_BUCKETS];
};

void histogram_init(struct histogram *h);

void histogram_record(struct histogram *h, uint64_t value);

/* The highest value that falls into bucket @i. */
uint64_t histogram_bucket_max(uint32_t i);

/* The highest value of the bucket in which the smallest value lies that at least @percent of all
 * values do not exceed. @h is not empty. */
uint64_t histogram_percentile(const struct histogram *h, double percent);

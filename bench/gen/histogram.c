/* SPDX-License-Identifier: MPL-2.0 */
/* Log-linear buckets: index = (power of two) * 1024 + the ten bits below the leading one. */
#include "histogram.h"

#include <math.h>
#include <string.h>

#include "base/macro.h"

void histogram_init(struct histogram *h)
{
	memset(h, 0, sizeof(*h));
	h->min = UINT64_MAX;
}

static uint32_t bucket_of(uint64_t value)
{
	/* Below 2^11 the shift is 0 and the index is the value itself. */
	unsigned bits = value ? 64 - (unsigned)__builtin_clzll(value) : 0;
	unsigned shift = bits > HISTOGRAM_SUB_BITS + 1 ? bits - HISTOGRAM_SUB_BITS - 1 : 0;

	return (uint32_t)((shift << HISTOGRAM_SUB_BITS) + (value >> shift));
}

void histogram_record(struct histogram *h, uint64_t value)
{
	h->count++;
	h->sum += (double)value;
	h->min = MIN(h->min, value);
	h->max = MAX(h->max, value);
	h->bucket[bucket_of(MIN(value, (UINT64_C(1) << HISTOGRAM_MAX_BITS) - 1))]++;
}

uint64_t histogram_bucket_max(uint32_t i)
{
	unsigned shift = i >> HISTOGRAM_SUB_BITS ? (i >> HISTOGRAM_SUB_BITS) - 1 : 0;
	uint64_t first = i - ((uint64_t)shift << HISTOGRAM_SUB_BITS);

	return ((first + 1) << shift) - 1;
}

uint64_t histogram_percentile(const struct histogram *h, double percent)
{
	double wanted = MAX(1.0, ceil((double)h->count * percent / 100 - 1e-9));
	uint64_t seen = 0;

	for (uint32_t i = 0; i < HISTOGRAM_N_BUCKETS; i++) {
		seen += h->bucket[i];
		if (h->bucket[i] && (double)seen >= wanted)
			return histogram_bucket_max(i);
	}
	return h->max;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Token buckets per source: the exact sequence of P-123, the bound of P-124, and random traffic
 * against a model without a table. */
#include <criterion/criterion.h>

#include "base/macro.h"
#include "noise/ratelimit.h"
#include "unit/base/random.h"

enum { N_ENTRIES = 64 };

static struct ratelimit_entry entries[N_ENTRIES];
static struct ratelimit limit; /* fresh in every test: each is its own process */
static uint64_t now_ns = 5 * NSEC_PER_SEC;

static const uint8_t key[SIPHASH_KEY_LEN] = { 1, 2, 3 };

static void init(void)
{
	memset(entries, 0xee, sizeof(entries));
	ratelimit_init(&limit, entries, N_ENTRIES, key);
}

TestSuite(ratelimit, .init = init);

static bool allow_v4(uint32_t addr)
{
	uint8_t source[4];
	store_be32(source, addr);
	return ratelimit_allow(&limit, (struct bytes){ source, sizeof(source) }, now_ns);
}

static bool allow_v6(uint64_t upper, uint64_t lower)
{
	uint8_t source[16];
	store_be64(source, upper);
	store_be64(source + 8, lower);
	return ratelimit_allow(&limit, (struct bytes){ source, sizeof(source) }, now_ns);
}

/* How many of @n messages at once pass. */
static int burst_v4(uint32_t addr, int n)
{
	int passed = 0;
	while (n-- > 0)
		passed += allow_v4(addr);
	return passed;
}

Test(ratelimit, required_sequence)
{
	for (int i = 0; i < 5; i++)
		cr_assert(allow_v4(1), "message %d", i + 1);
	cr_assert(!allow_v4(1));
	now_ns += 50 * NSEC_PER_MSEC;
	cr_assert(allow_v4(1));
	cr_assert(!allow_v4(1));
	now_ns += 100 * NSEC_PER_MSEC;
	cr_assert(allow_v4(1));
	cr_assert(allow_v4(1));
	cr_assert(!allow_v4(1));
}

Test(ratelimit, not_a_nanosecond_early)
{
	cr_assert(burst_v4(1, 6) == 5);
	now_ns += 50 * NSEC_PER_MSEC - 1;
	cr_assert(!allow_v4(1));
	now_ns += 1;
	cr_assert(allow_v4(1)); /* a refusal cost nothing */
	cr_assert(!allow_v4(1));
}

Test(ratelimit, twenty_per_second_in_the_long_run)
{
	int passed = 0;
	for (int ms = 0; ms < 10000; ms++, now_ns += NSEC_PER_MSEC)
		passed += allow_v4(1);
	cr_assert(passed == 5 + 199); /* the burst, then one each 50 ms before the end */
}

Test(ratelimit, fills_up_to_the_burst_only)
{
	cr_assert(burst_v4(1, 10) == 5);
	now_ns += 900 * NSEC_PER_MSEC;
	cr_assert(burst_v4(1, 10) == 5);
	now_ns += 3600 * NSEC_PER_SEC;
	cr_assert(burst_v4(1, 10) == 5);
}

Test(ratelimit, sources_do_not_share)
{
	cr_assert(burst_v4(1, 6) == 5);
	cr_assert(burst_v4(2, 6) == 5);
	cr_assert(!allow_v4(1));
}

Test(ratelimit, ipv6_counts_by_its_upper_half)
{
	int passed = 0;
	for (uint64_t i = 0; i < 20; i++)
		passed += allow_v6(UINT64_C(0x20010db800000001), random_u64());
	cr_assert(passed == 5);
	cr_assert(allow_v6(UINT64_C(0x20010db800000002), 1));
}

Test(ratelimit, families_do_not_share)
{
	cr_assert(burst_v4(7, 6) == 5);
	cr_assert(allow_v6(7, 0));
}

Test(ratelimit, a_full_table_refuses_new_sources)
{
	for (uint32_t i = 0; i < N_ENTRIES; i++)
		cr_assert(allow_v4(i));
	cr_assert(limit.n_in_use == N_ENTRIES);
	cr_assert(!allow_v4(1000));
	cr_assert(!allow_v6(1000, 0));
	cr_assert(allow_v4(5)); /* known ones go on */

	now_ns += NSEC_PER_SEC; /* not idle for more than a second */
	cr_assert(allow_v4(0)); /* used again: must outlive the others */
	cr_assert(!allow_v4(1000));
	now_ns += 1;
	cr_assert(allow_v4(1000));
	cr_assert(burst_v4(0, 10) == 4);
}

Test(ratelimit, idle_entries_go_a_few_at_a_time)
{
	for (uint32_t i = 0; i < N_ENTRIES; i++)
		cr_assert(allow_v4(i));
	now_ns += 2 * NSEC_PER_SEC;
	uint32_t before = limit.n_in_use;
	for (int i = 0; i < 100; i++) {
		cr_assert(allow_v4(1000) || i >= 5);
		cr_assert(before - limit.n_in_use <= 8, "bounded work per call");
		before = limit.n_in_use;
	}
	cr_assert(limit.n_in_use == 1);
}

Test(ratelimit, a_step_back_in_time_gives_nothing)
{
	cr_assert(burst_v4(1, 6) == 5);
	now_ns -= NSEC_PER_SEC;
	cr_assert(!allow_v4(1));
	now_ns += NSEC_PER_SEC;
	cr_assert(!allow_v4(1));
}

/* A spoofed flood: all sources differ. The table stays within its bound and recovers. */
Test(ratelimit, flood_from_random_sources)
{
	int passed = 0;
	for (int i = 0; i < 200000; i++, now_ns += 20 * NSEC_PER_USEC)
		passed += allow_v4((uint32_t)random_u64());
	cr_assert(limit.n_in_use <= N_ENTRIES);
	cr_assert(passed >= N_ENTRIES && passed <= 5 * N_ENTRIES); /* in 4 s */
	now_ns += 2 * NSEC_PER_SEC;
	cr_assert(burst_v4(1, 10) == 5);
}

/* Every bucket counted on its own, without table, chains or expiry. */
struct model {
	uint64_t last_ns;
	uint64_t tokens_ns;
};

static bool model_allow(struct model *m)
{
	m->tokens_ns = MIN(m->tokens_ns + (now_ns - m->last_ns), 250 * NSEC_PER_MSEC);
	m->last_ns = now_ns;
	if (m->tokens_ns < 50 * NSEC_PER_MSEC)
		return false;
	m->tokens_ns -= 50 * NSEC_PER_MSEC;
	return true;
}

Test(ratelimit, random_traffic_against_a_model)
{
	static struct model model[2][N_ENTRIES / 2]; /* [is_ipv6]: never more than fit */
	for (size_t i = 0; i < ARRAY_SIZE(model[0]); i++)
		model[0][i].tokens_ns = model[1][i].tokens_ns = 250 * NSEC_PER_MSEC;
	for (int i = 0; i < 200000; i++) {
		uint32_t n = random_below(N_ENTRIES / 2);
		n = random_below(n + 1); /* some often, some seldom */
		bool is_ipv6 = random_below(2);
		now_ns += random_below(4) ? random_below(3 * NSEC_PER_MSEC) : 0;
		if (random_below(5000) == 0)
			now_ns += random_below(2 * NSEC_PER_SEC);
		bool allowed = is_ipv6 ? allow_v6(n, random_u64()) : allow_v4(n);
		cr_assert(allowed == model_allow(&model[is_ipv6][n]), "step %d", i);
	}
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Whether cores idle, by /proc/stat. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/clock.h"
#include "datapath/idle_cores.h"

static const char stat[] = "cpu  35 38 64 762835 702 0 105 29 0 0\n"
			   "cpu0 17 18 32 1000 10 0 55 10 0 0\n"
			   "cpu1 18 20 31 500 3 0 50 18 0 0\n"
			   "cpu2 18 20 31 70 7 0 50 18 0 0\n"
			   "intr 10132443 0 0\n"
			   "ctxt 21552343\n";

static cpu_set_t cpus(unsigned mask)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	for (int i = 0; i < 8; i++)
		if (mask & 1U << i)
			CPU_SET(i, &set);
	return set;
}

Test(idle_cores, adds_idle_and_iowait_of_the_cpus_we_may_use)
{
	cpu_set_t all = cpus(0xff), second = cpus(2), none = cpus(0x80);
	cr_assert(eq(u64, idle_cores_parse(stat, &all), 1590));
	cr_assert(eq(u64, idle_cores_parse(stat, &second), 503));
	cr_assert(eq(u64, idle_cores_parse(stat, &none), 0));
}

Test(idle_cores, takes_whole_lines_only)
{
	cpu_set_t all = cpus(0xff);
	cr_assert(eq(u64,
		     idle_cores_parse("cpu  1 2 3 4 5\ncpu0 1 2 3 10 1 0\ncpu1 1 2 3 99", &all),
		     11));
	cr_assert(eq(u64, idle_cores_parse("cpu0 1 2", &all), 0));
	cr_assert(eq(u64, idle_cores_parse("cpu0\n", &all), 0));
	cr_assert(eq(u64, idle_cores_parse("cpu\n\n", &all), 0));
	cr_assert(eq(u64, idle_cores_parse("", &all), 0));
}

Test(idle_cores, needs_most_of_a_core_to_begin_and_less_to_go_on)
{
	cr_assert(not(idle_cores_judge(false, 69, 100)));
	cr_assert(idle_cores_judge(false, 70, 100));
	cr_assert(idle_cores_judge(true, 30, 100));
	cr_assert(not(idle_cores_judge(true, 29, 100)));
	cr_assert(idle_cores_judge(false, 700, 100)); /* seven cores of many */
}

Test(idle_cores, without_a_source_cores_are_taken_for_idle)
{
	struct idle_cores c;
	idle_cores_init(&c);
	cr_assert(idle_cores_any(&c, 5 * NSEC_PER_SEC));
	idle_cores_close(&c);
}

Test(idle_cores, looks_at_the_real_system_and_judges_by_what_changed)
{
	struct idle_cores c;
	idle_cores_init(&c);
	cr_assert(idle_cores_open(&c));

	/* The first look has nothing to compare with. */
	cr_assert(not(idle_cores_any(&c, 1000 * NSEC_PER_SEC)));
	/* Nothing passes between two looks: not a tick was idle in what is said to be half a second. */
	uint64_t idle_ns = c.last_idle_ns;
	cr_assert(not(idle_cores_any(&c, 1000 * NSEC_PER_SEC + 500 * NSEC_PER_MSEC)));
	cr_assert(gt(u64, idle_ns, 0));
	/* As if all of a core had been idle since. */
	c.last_idle_ns -= MIN(c.last_idle_ns, 250 * NSEC_PER_MSEC);
	cr_assert(idle_cores_any(&c, 1000 * NSEC_PER_SEC + 750 * NSEC_PER_MSEC));
	/* Between two looks the verdict stands. */
	c.last_idle_ns = UINT64_MAX;
	cr_assert(idle_cores_any(&c, 1000 * NSEC_PER_SEC + 760 * NSEC_PER_MSEC));
	/* After a pause it has to be earned again. */
	cr_assert(not(idle_cores_any(&c, 1010 * NSEC_PER_SEC)));
	idle_cores_close(&c);
}

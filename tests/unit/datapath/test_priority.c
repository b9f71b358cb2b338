/* SPDX-License-Identifier: MPL-2.0 */
/* When a worker hurries, and when it steps back. */
#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/clock.h"
#include "datapath/priority.h"

static struct priority at(int raised, int now)
{
	struct priority p = { .raised = raised };
	atomic_init(&p.now, now);
	return p;
}

static int thread_nice(void)
{
	errno = 0;
	return getpriority(PRIO_PROCESS, 0);
}

Test(priority, steps_back_under_many_packets_that_come_one_by_one)
{
	struct priority p = at(-10, -10);
	const uint64_t ns = 10 * NSEC_PER_MSEC;

	cr_assert(eq(int, priority_judge(&p, 401, 401 * 100, ns), 0));
	cr_assert(eq(int, priority_judge(&p, 400, 400 * 100, ns), -10)); /* not many */
	cr_assert(eq(int, priority_judge(&p, 401, 401 * 1400, ns),
		     0)); /* large, but no super-packets */
	cr_assert(eq(int, priority_judge(&p, 401, 401 * 3000, ns),
		     -10)); /* super-packets among them */
	cr_assert(eq(int, priority_judge(&p, 0, 0, ns), -10));
}

Test(priority, hurries_again_only_when_there_are_far_fewer)
{
	struct priority p = at(-10, 0);
	const uint64_t ns = 10 * NSEC_PER_MSEC;

	cr_assert(eq(int, priority_judge(&p, 300, 300 * 100, ns), 0));
	cr_assert(eq(int, priority_judge(&p, 200, 200 * 100, ns), -10));
	cr_assert(eq(int, priority_judge(&p, 300, 300 * 60000, ns), -10));
}

Test(priority, moves_the_real_thread)
{
	struct priority p;

	if (setpriority(PRIO_PROCESS, 0, -1) < 0)
		cr_skip_test("needs the right to raise priorities");
	priority_begin(&p, -7, NSEC_PER_SEC);
	cr_assert(eq(int, thread_nice(), -7));

	priority_count(&p, 5000, 5000 * 64);
	priority_update(&p, NSEC_PER_SEC + NSEC_PER_MSEC); /* too early to tell */
	cr_assert(eq(int, thread_nice(), -7));
	priority_update(&p, NSEC_PER_SEC + 10 * NSEC_PER_MSEC);
	cr_assert(eq(int, thread_nice(), 0));

	priority_count(&p, 10, 10 * 1400);
	priority_update(&p, NSEC_PER_SEC + 20 * NSEC_PER_MSEC);
	cr_assert(eq(int, thread_nice(), -7));
}

Test(priority, leaves_the_thread_alone_without_the_wish_or_the_right)
{
	struct priority p;
	int before = thread_nice();

	priority_begin(&p, 0, 0);
	priority_count(&p, 5000, 5000 * 64);
	priority_update(&p, 10 * NSEC_PER_MSEC);
	cr_assert(eq(int, thread_nice(), before));

	cr_assert(eq(int, setrlimit(RLIMIT_NICE, &(struct rlimit){ 0, 0 }), 0));
	if (geteuid() == 0)
		cr_assert(eq(int, seteuid(65534), 0));
	priority_begin(&p, -20, 0);
	cr_assert(eq(int, p.raised, 0));
	cr_assert(eq(int, thread_nice(), before));
}

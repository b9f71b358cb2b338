/* SPDX-License-Identifier: MPL-2.0 */
/* Waiting: long gaps by sleeping, short ones by spinning. */
#include "pacer.h"

#include <time.h>

#include "gen.h"

void pacer_init(struct pacer *p, uint64_t start_ns, uint64_t duration_ns)
{
	p->start_ns = start_ns;
	p->end_ns = start_ns + duration_ns;
	p->n_given = 0;
	p->not_before_ns = 0;
	p->late_max_ns = 0;
	p->skipped = 0;
}

static uint64_t due_ns(const struct pacer *p)
{
	return p->start_ns + (uint64_t)((double)p->n_given / p->rate * 1e9);
}

/* Returns the time, which is before @until_ns only if a signal came. */
static uint64_t wait_until(const struct pacer *p, uint64_t until_ns)
{
	uint64_t now;

	while ((now = gen_now_ns()) < until_ns && !gen_is_stopped()) {
		if (until_ns - now > p->spin_ns)
			gen_sleep_until(until_ns);
		else
			gen_spin();
	}
	return now;
}

/* Datagrams of the schedule that are neither sent nor given up. */
static uint64_t remaining(const struct pacer *p)
{
	double n = (double)(p->end_ns - p->start_ns) / 1e9 * p->rate - (double)p->n_given;

	/* One that is due exactly at the end is not sent; rounding shall not make it one. */
	return n < 1e-6 ? 0 : (uint64_t)(n + 1 - 1e-6);
}

static void give_up(struct pacer *p, uint64_t now)
{
	uint64_t n = (uint64_t)((double)(now - due_ns(p)) / 1e9 * p->rate);

	n = MIN(n, remaining(p));
	p->n_given += n;
	p->skipped += n;
}

uint32_t pacer_wait(struct pacer *p, uint64_t *ret_now_ns)
{
	if (p->rate <= 0) {
		*ret_now_ns = gen_now_ns();
		return *ret_now_ns < p->end_ns && !gen_is_stopped() ? p->batch : 0;
	}

	uint64_t now = wait_until(p, MAX(due_ns(p), p->not_before_ns));
	if (gen_is_stopped())
		return 0;
	uint64_t late = now - due_ns(p);
	p->late_max_ns = MAX(p->late_max_ns, late);
	if (late > PACER_BEHIND_MAX_NS)
		give_up(p, now);

	uint32_t n = (uint32_t)MIN(remaining(p), p->batch);
	p->n_given += n;
	p->not_before_ns = now + (uint64_t)(n / p->rate * 1e9 / 2);
	*ret_now_ns = now;
	return n;
}

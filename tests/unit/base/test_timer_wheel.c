/* SPDX-License-Identifier: MPL-2.0 */
/* The wheel against a table of deadlines that is searched from end to end. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/timer_wheel.h"
#include "unit/base/random.h"

#define SEC  NSEC_PER_SEC
#define HOUR (3600 * SEC)

static struct timer_wheel wheel;

static void setup(void)
{
	timer_wheel_init(&wheel, 0);
}

TestSuite(timer_wheel, .init = setup);

static void arm_new(struct timer_node *t, uint64_t deadline_ns)
{
	timer_node_init(t);
	timer_wheel_arm(&wheel, t, deadline_ns);
}

Test(timer_wheel, is_empty_after_init)
{
	cr_assert(eq(u64, timer_wheel_next(&wheel), UINT64_MAX));
	cr_assert(eq(ptr, timer_wheel_pop(&wheel, 0), NULL));
	cr_assert(eq(ptr, timer_wheel_pop(&wheel, UINT64_MAX), NULL));
}

static uint64_t distances[] = {
	1,          1000000,    SEC / 250,          5 * SEC,     10 * SEC,        25 * SEC,
	120 * SEC,  180 * SEC,  540 * SEC,          65535 * SEC, 2 * 65535 * SEC, 1000 * HOUR,
	1ULL << 60, 1ULL << 63, UINT64_MAX / 4 * 3,
};

/* One timer at any distance from any place of the hand: one wake-up, not early, not late. */
Test(timer_wheel, wakes_once_per_lone_timer)
{
	static const uint64_t starts[] = {
		0, 1, SEC, (1ULL << 40) - 1, (1ULL << 52) - 1, 1ULL << 60
	};
	struct timer_node t;

	for (size_t s = 0; s < ARRAY_SIZE(starts); s++)
		for (size_t d = 0; d < ARRAY_SIZE(distances); d++) {
			uint64_t deadline = starts[s] + distances[d];

			timer_wheel_init(&wheel, starts[s]);
			arm_new(&t, deadline);
			uint64_t wake = timer_wheel_next(&wheel);
			cr_assert(ge(u64, wake, deadline));
			cr_assert(lt(u64, wake - deadline, TIMER_WHEEL_TICK_NS));
			cr_assert(eq(ptr, timer_wheel_pop(&wheel, wake - 1), NULL));
			cr_assert(eq(u64, timer_wheel_next(&wheel), wake));
			cr_assert(eq(ptr, timer_wheel_pop(&wheel, wake), &t));
			cr_assert(not(timer_node_is_armed(&t)));
			cr_assert(eq(u64, timer_wheel_next(&wheel), UINT64_MAX));
		}
}

Test(timer_wheel, past_deadline_is_due_at_once)
{
	struct timer_node t;

	cr_assert(eq(ptr, timer_wheel_pop(&wheel, HOUR), NULL));
	arm_new(&t, SEC);
	cr_assert(le(u64, timer_wheel_next(&wheel), HOUR));
	cr_assert(eq(ptr, timer_wheel_pop(&wheel, HOUR), &t));
}

Test(timer_wheel, never_means_not_armed)
{
	struct timer_node t;

	arm_new(&t, SEC);
	timer_wheel_arm(&wheel, &t, UINT64_MAX);
	cr_assert(not(timer_node_is_armed(&t)));
	cr_assert(eq(u64, timer_wheel_next(&wheel), UINT64_MAX));
}

Test(timer_wheel, cancel_is_idempotent_and_empties_the_slot)
{
	struct timer_node a, b;

	arm_new(&a, HOUR);
	arm_new(&b, HOUR);
	timer_wheel_cancel(&wheel, &a);
	timer_wheel_cancel(&wheel, &a);
	cr_assert(lt(u64, timer_wheel_next(&wheel), UINT64_MAX));
	timer_wheel_cancel(&wheel, &b);
	cr_assert(eq(u64, timer_wheel_next(&wheel), UINT64_MAX));
}

Test(timer_wheel, handler_may_rearm_and_cancel_others)
{
	struct timer_node a, b, c;

	arm_new(&a, SEC);
	arm_new(&b, SEC);
	arm_new(&c, SEC);
	cr_assert(eq(ptr, timer_wheel_pop(&wheel, 2 * SEC), &a));
	timer_wheel_cancel(&wheel, &b);
	timer_wheel_arm(&wheel, &a, 3 * SEC);
	cr_assert(eq(ptr, timer_wheel_pop(&wheel, 2 * SEC), &c));
	cr_assert(eq(ptr, timer_wheel_pop(&wheel, 2 * SEC), NULL));
	cr_assert(eq(ptr, timer_wheel_pop(&wheel, 4 * SEC), &a));
}

Test(timer_wheel, clock_stepping_back_is_harmless)
{
	struct timer_node t;

	cr_assert(eq(ptr, timer_wheel_pop(&wheel, HOUR), NULL));
	cr_assert(eq(ptr, timer_wheel_pop(&wheel, SEC), NULL));
	arm_new(&t, HOUR + SEC);
	cr_assert(eq(ptr, timer_wheel_pop(&wheel, SEC), NULL));
	cr_assert(eq(ptr, timer_wheel_pop(&wheel, HOUR + 2 * SEC), &t));
}

/* As data does with the keepalive timers of busy peers: postponed again and again, never due. A
 * stale slot wakes the caller at most once, and the smallest slot with a stale limit is 64 ticks. */
Test(timer_wheel, postponed_timers_cause_few_wakeups)
{
	static struct timer_node node[200];
	const uint64_t n_sec = 100;
	unsigned n_wakes = 0;

	for (size_t i = 0; i < ARRAY_SIZE(node); i++)
		arm_new(&node[i], 10 * SEC);
	for (uint64_t now = 0; now < n_sec * SEC; now += NSEC_PER_MSEC) {
		if (timer_wheel_next(&wheel) <= now) {
			n_wakes++;
			cr_assert(eq(ptr, timer_wheel_pop(&wheel, now), NULL));
		}
		timer_wheel_arm(&wheel, &node[random_below(ARRAY_SIZE(node))], now + 10 * SEC);
	}
	cr_assert(le(u32, n_wakes, n_sec * 4));
}

/* --- the model --- */

enum {
	N_TIMERS = 300,
	N_OPS = 1000000,
};

static struct timer_node timers[N_TIMERS];
static uint64_t model[N_TIMERS]; /* deadline; UINT64_MAX = not armed */

static uint64_t model_first(void)
{
	uint64_t first = UINT64_MAX;

	for (size_t i = 0; i < N_TIMERS; i++)
		first = MIN(first, model[i]);
	return first;
}

static uint64_t random_distance(void)
{
	unsigned bits = random_below(52); /* all scales, up to 52 days */

	return random_u64() >> (63 - bits);
}

/* Pops everything due at @now; each must be due, none may be missing, the order is by tick. */
static void check_advance(uint64_t now)
{
	uint64_t last_tick = 0;
	struct timer_node *t;

	while ((t = timer_wheel_pop(&wheel, now)) != NULL) {
		size_t i = (size_t)(t - timers);
		uint64_t tick = (model[i] + TIMER_WHEEL_TICK_NS - 1) / TIMER_WHEEL_TICK_NS;

		if (model[i] > now)
			cr_fatal("timer %zu popped %ju ns early", i, (uintmax_t)(model[i] - now));
		if (tick < last_tick)
			cr_fatal("timer %zu out of order", i);
		last_tick = tick;
		model[i] = UINT64_MAX;
		if (random_below(4) == 0) {
			model[i] = now + 1 + random_distance();
			timer_wheel_arm(&wheel, t, model[i]);
		}
	}

	uint64_t first = model_first();
	uint64_t next = timer_wheel_next(&wheel);
	if (first != UINT64_MAX && first + TIMER_WHEEL_TICK_NS <= now)
		cr_fatal("a timer is %ju ns late", (uintmax_t)(now - first));
	if (first == UINT64_MAX ? next != UINT64_MAX : next >= first + TIMER_WHEEL_TICK_NS)
		cr_fatal("next would be too late: %ju, not %ju", (uintmax_t)next, (uintmax_t)first);
	if (next <= now)
		cr_fatal("would have to be called again at once");
}

Test(timer_wheel, agrees_with_a_table_over_random_operations, .timeout = 60)
{
	uint64_t now = 0;

	for (size_t i = 0; i < N_TIMERS; i++) {
		timer_node_init(&timers[i]);
		model[i] = UINT64_MAX;
	}
	for (uint32_t op = 0; op < N_OPS; op++) {
		size_t i = random_below(N_TIMERS);

		switch (random_below(16)) {
		case 0: /* to the exact moment */
			now = MAX(now, MIN(timer_wheel_next(&wheel), now + 100 * HOUR));
			check_advance(now);
			break;
		case 1: /* a little, or a suspend of hours */
			now += random_distance();
			check_advance(now);
			break;
		case 2:
		case 3:
		case 4:
		case 5:
			timer_wheel_cancel(&wheel, &timers[i]);
			model[i] = UINT64_MAX;
			break;
		default:
			model[i] = now + 1 + random_distance();
			timer_wheel_arm(&wheel, &timers[i], model[i]);
		}
		if (timer_node_is_armed(&timers[i]) != (model[i] != UINT64_MAX))
			cr_fatal("timer %zu: armed state wrong after operation %u", i, op);
	}
}

/* Without cancels the wake-up time is exact, whatever lies in the wheel. */
Test(timer_wheel, next_is_exact_without_cancels)
{
	for (size_t i = 0; i < N_TIMERS; i++) {
		model[i] = 1 + random_distance();
		arm_new(&timers[i], model[i]);
	}
	for (size_t left = N_TIMERS; left; left--) {
		uint64_t first = model_first();
		uint64_t next = timer_wheel_next(&wheel);

		cr_assert(ge(u64, next, first));
		cr_assert(lt(u64, next - first, TIMER_WHEEL_TICK_NS));
		struct timer_node *t = timer_wheel_pop(&wheel, next);
		cr_assert(ne(ptr, t, NULL));
		model[t - timers] = UINT64_MAX;
	}
	cr_assert(eq(u64, timer_wheel_next(&wheel), UINT64_MAX));
}

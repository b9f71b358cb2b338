/* SPDX-License-Identifier: MPL-2.0 */
/* The timer wheel with as many timers as a large gateway has: arming, postponing, expiring. */
#include <stdio.h>
#include <stdlib.h>

#include "base/timer_wheel.h"
#include "micro.h"

enum { N_STEPS = 1024 };
#define HORIZON_NS (180 * NSEC_PER_SEC) /* of a session */

struct timers {
	struct timer_wheel wheel;
	struct timer_node *node;
	uint32_t n;
	uint64_t random, now_ns;
};

static uint64_t some_deadline(struct timers *t)
{
	return t->now_ns + 1 + micro_random(&t->random) % HORIZON_NS;
}

static void timers_init(struct timers *t, uint32_t n)
{
	*t = (struct timers){ .n = n, .random = n, .now_ns = NSEC_PER_SEC };
	t->node = micro_alloc(n * sizeof(*t->node));
	timer_wheel_init(&t->wheel, t->now_ns);
	for (uint32_t i = 0; i < n; i++) {
		timer_node_init(&t->node[i]);
		timer_wheel_arm(&t->wheel, &t->node[i], some_deadline(t));
	}
}

/* Timers in use are moved again and again and rarely expire. */
static void postpone(void *ctx)
{
	struct timers *t = ctx;

	for (unsigned i = 0; i < N_STEPS; i++)
		timer_wheel_arm(&t->wheel, &t->node[micro_random(&t->random) % t->n],
				some_deadline(t));
}

static void cancel_and_arm(void *ctx)
{
	struct timers *t = ctx;

	for (unsigned i = 0; i < N_STEPS; i++) {
		struct timer_node *n = &t->node[micro_random(&t->random) % t->n];
		timer_wheel_cancel(&t->wheel, n);
		timer_wheel_arm(&t->wheel, n, some_deadline(t));
	}
}

/* The clock goes on to the next deadlines; each timer that expires is armed anew. */
static void expire(void *ctx)
{
	struct timers *t = ctx;
	unsigned n = 0;

	while (n < N_STEPS) {
		struct timer_node *due = timer_wheel_pop(&t->wheel, t->now_ns);
		if (due) {
			micro_must(due->deadline_ns <= t->now_ns, "a timer was early");
			timer_wheel_arm(&t->wheel, due, some_deadline(t));
			n++;
		} else {
			t->now_ns = timer_wheel_next(&t->wheel);
			micro_must(t->now_ns != UINT64_MAX, "timers are missing");
		}
	}
}

static void run_size(struct micro *m, uint32_t n)
{
	static const struct {
		const char *name, *label;
		void (*burst)(void *);
	} cases[] = { { "wheel-postpone", "postponing one of %u timers", postpone },
		      { "wheel-cancel", "cancelling and arming one of %u timers", cancel_and_arm },
		      { "wheel-expire", "expiring and arming one of %u timers", expire } };
	struct timers t;

	timers_init(&t, n);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		char name[32], label[64];

		(void)snprintf(name, sizeof(name), "%s-%u", cases[i].name, n);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		(void)snprintf(label, sizeof(label), cases[i].label, n);
#pragma GCC diagnostic pop
		micro_run(m, &(struct micro_case){ .name = name,
						   .group = "timer wheel",
						   .label = label,
						   .op = "timer",
						   .n_ops = N_STEPS,
						   .burst = cases[i].burst,
						   .ctx = &t,
						   .parameter = "timers",
						   .parameter_value = n });
	}
	free(t.node);
}

void micro_wheel(struct micro *m)
{
	if (!micro_is_wanted(m, "wheel-"))
		return;
	run_size(m, 100);
	run_size(m, 10000);
	if (!micro_is_quick(m))
		run_size(m, 1000000);
}

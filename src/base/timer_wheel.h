/* SPDX-License-Identifier: MPL-2.0 */
/* Timers in a hierarchical wheel: O(1) to arm and to cancel, no work for timers that rest. Never
 * reads a clock: the caller passes nanoseconds of one monotonic clock. Never early; at most
 * TIMER_WHEEL_TICK_NS late if the caller pops when timer_wheel_next() says. Any deadline that a
 * uint64_t holds is within the horizon. Single-threaded. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

enum {
	TIMER_WHEEL_TICK_SHIFT = 22, /* 2^22 ns = 4.19 ms */
	TIMER_WHEEL_LEVEL_BITS = 6,
	TIMER_WHEEL_N_SLOTS = 1 << TIMER_WHEEL_LEVEL_BITS,
	TIMER_WHEEL_N_LEVELS = 7, /* 7 * 6 + 22 = 64 bits of nanoseconds */
};
#define TIMER_WHEEL_TICK_NS (UINT64_C(1) << TIMER_WHEEL_TICK_SHIFT)

/* Embedded in what the timer is about; find it with container_of(). */
struct timer_node {
	struct list link;     /* linked to itself = not armed */
	uint64_t deadline_ns; /* as armed */
};

struct timer_slot {
	struct list nodes;
	uint64_t first_tick; /* no node here is due before; meaningless while the slot is empty */
};

struct timer_wheel {
	uint64_t now_tick; /* where the hand stands; no armed node is due before */
	uint64_t occupied[TIMER_WHEEL_N_LEVELS]; /* a bit per slot that has nodes */
	struct timer_slot slot[TIMER_WHEEL_N_LEVELS * TIMER_WHEEL_N_SLOTS];
};

void timer_wheel_init(struct timer_wheel *w, uint64_t now_ns);

static inline void timer_node_init(struct timer_node *t)
{
	list_init(&t->link);
	t->deadline_ns = UINT64_MAX;
}

static inline bool timer_node_is_armed(const struct timer_node *t)
{
	return !list_is_empty(&t->link);
}

/* Arms @t, or moves it if it is armed already. A deadline in the past is due at the next pop;
 * UINT64_MAX (and the 2^22 values before it) is never, the same as cancelling. */
void timer_wheel_arm(struct timer_wheel *w, struct timer_node *t, uint64_t deadline_ns);

/* Nothing happens if @t is not armed. Necessary before the memory of an armed node goes away. */
void timer_wheel_cancel(struct timer_wheel *w, struct timer_node *t);

/* When timer_wheel_pop() must be called again; UINT64_MAX if nothing is armed. Never too late; exact
 * unless the first of several neighbours was cancelled, and then too early once: at most four
 * needless wake-ups a second, however many timers are postponed. */
uint64_t timer_wheel_next(const struct timer_wheel *w);

/* Takes the next node that is due at @now_ns out of the wheel, earliest first; NULL when there is
 * none left. The caller may arm and cancel anything between calls, but a handler that re-arms
 * itself into the past each time gets its node back each time. A clock that jumps forward costs no
 * more than the timers that it makes due; one that steps back is ignored. */
struct timer_node *timer_wheel_pop(struct timer_wheel *w, uint64_t now_ns);

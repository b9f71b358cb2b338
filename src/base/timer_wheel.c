/* SPDX-License-Identifier: MPL-2.0 */
/* A tick number is read as seven digits of six bits. A node lives on the level of the highest digit
 * in which its tick differs from the hand's, in the slot that this digit names. As the hand never
 * passes an armed node, the higher digits stay equal as long as the node stays, so slots never wrap
 * and the first occupied slot of a level is its earliest.
 *
 * A slot of a higher level is not spread over the lower ones when the hand reaches it, but when the
 * first node in it is due (first_tick): so nobody has to be woken just to tidy up. */
#include "base/timer_wheel.h"

#include <assert.h>

static_assert(TIMER_WHEEL_N_LEVELS * TIMER_WHEEL_LEVEL_BITS + TIMER_WHEEL_TICK_SHIFT == 64,
	      "the levels span every uint64_t");
static_assert(TIMER_WHEEL_N_SLOTS == 64, "one bit per slot in a uint64_t");

#define TICK_NEVER UINT64_MAX

/* Rounds up: a node may be late, never early. */
static uint64_t tick_of_deadline(uint64_t deadline_ns)
{
	if (deadline_ns > UINT64_MAX - TIMER_WHEEL_TICK_NS)
		return TICK_NEVER;
	return (deadline_ns + TIMER_WHEEL_TICK_NS - 1) >> TIMER_WHEEL_TICK_SHIFT;
}

static void slot_mark_empty(struct timer_wheel *w, const struct timer_slot *s)
{
	size_t i = (size_t)(s - w->slot);

	w->occupied[i / TIMER_WHEEL_N_SLOTS] &= ~(UINT64_C(1) << i % TIMER_WHEEL_N_SLOTS);
}

static void wheel_insert(struct timer_wheel *w, struct timer_node *t, uint64_t tick)
{
	uint64_t differs = tick ^ w->now_tick;
	unsigned level = 0;

	if (differs)
		level = (63 - (unsigned)__builtin_clzll(differs)) / TIMER_WHEEL_LEVEL_BITS;

	unsigned digit = (unsigned)(tick >> (level * TIMER_WHEEL_LEVEL_BITS)) % TIMER_WHEEL_N_SLOTS;
	struct timer_slot *s = &w->slot[level * TIMER_WHEEL_N_SLOTS + digit];

	if (list_is_empty(&s->nodes) || tick < s->first_tick)
		s->first_tick = tick;
	w->occupied[level] |= UINT64_C(1) << digit;
	list_push_back(&s->nodes, &t->link);
}

/* The slot whose first node is due first, lower levels first; NULL when the wheel is empty. */
static struct timer_slot *first_slot(const struct timer_wheel *w)
{
	const struct timer_slot *first = NULL;

	for (size_t level = 0; level < TIMER_WHEEL_N_LEVELS; level++) {
		if (!w->occupied[level])
			continue;

		size_t digit = (size_t)__builtin_ctzll(w->occupied[level]);
		const struct timer_slot *s = &w->slot[level * TIMER_WHEEL_N_SLOTS + digit];

		if (!first || s->first_tick < first->first_tick)
			first = s;
	}
	return (struct timer_slot *)first;
}

/* Spreads the nodes of @s over lower levels. The hand must have reached the slot. */
static void cascade(struct timer_wheel *w, struct timer_slot *s)
{
	struct list *link;

	slot_mark_empty(w, s);
	while ((link = list_pop_front(&s->nodes)) != NULL) {
		struct timer_node *t = list_entry(link, struct timer_node, link);

		wheel_insert(w, t, tick_of_deadline(t->deadline_ns));
	}
}

void timer_wheel_init(struct timer_wheel *w, uint64_t now_ns)
{
	w->now_tick = now_ns >> TIMER_WHEEL_TICK_SHIFT;
	for (size_t i = 0; i < TIMER_WHEEL_N_LEVELS; i++)
		w->occupied[i] = 0;
	for (size_t i = 0; i < ARRAY_SIZE(w->slot); i++)
		list_init(&w->slot[i].nodes);
}

void timer_wheel_cancel(struct timer_wheel *w, struct timer_node *t)
{
	if (!timer_node_is_armed(t))
		return;

	struct list *next = t->link.next;

	list_remove(&t->link);
	if (list_is_empty(next)) /* then it is the slot's head: we were alone */
		slot_mark_empty(w, list_entry(next, struct timer_slot, nodes));
}

void timer_wheel_arm(struct timer_wheel *w, struct timer_node *t, uint64_t deadline_ns)
{
	uint64_t tick = tick_of_deadline(deadline_ns);

	timer_wheel_cancel(w, t);
	t->deadline_ns = deadline_ns;
	if (tick != TICK_NEVER)
		wheel_insert(w, t, MAX(tick, w->now_tick));
}

uint64_t timer_wheel_next(const struct timer_wheel *w)
{
	const struct timer_slot *s = first_slot(w);

	return s ? s->first_tick << TIMER_WHEEL_TICK_SHIFT : UINT64_MAX;
}

struct timer_node *timer_wheel_pop(struct timer_wheel *w, uint64_t now_ns)
{
	uint64_t now_tick = now_ns >> TIMER_WHEEL_TICK_SHIFT;
	struct timer_slot *s;

	/* Each round either yields a node or brings at least one node down a level. */
	while ((s = first_slot(w)) != NULL && s->first_tick <= now_tick) {
		w->now_tick = MAX(w->now_tick, s->first_tick);
		if (s < &w->slot[TIMER_WHEEL_N_SLOTS]) {
			struct list *link = s->nodes.next;
			struct timer_node *t = list_entry(link, struct timer_node, link);

			timer_wheel_cancel(w, t);
			return t;
		}
		cascade(w, s);
	}
	w->now_tick = MAX(w->now_tick, now_tick);
	return NULL;
}

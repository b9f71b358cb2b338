/* SPDX-License-Identifier: MPL-2.0 */
/* The replay window: the sequences that the specification demands, and random ones against a model
 * that remembers every counter. */
#include <criterion/criterion.h>

#include "base/macro.h"
#include "noise/replay.h"
#include "unit/base/random.h"

enum { L = REPLAY_WINDOW + 1 }; /* 8129 */

static struct replay window; /* fresh in every test: each is its own process */

/* Accepts or not, and the pre-check says the same without a change. */
static bool feed(uint64_t counter)
{
	struct replay before = window;
	bool may = replay_may_accept(&window, counter);
	cr_assert(memcmp(&before, &window, sizeof(window)) == 0);
	bool accepted = replay_accept(&window, counter);
	cr_assert(may == accepted, "counter %llu", (unsigned long long)counter);
	if (!accepted)
		cr_assert(memcmp(&before, &window, sizeof(window)) == 0);
	return accepted;
}

static void init(void)
{
	memset(&window, 0xff, sizeof(window));
	replay_init(&window);
}

TestSuite(replay, .init = init);

Test(replay, required_sequence)
{
	static const uint64_t ram = REJECT_AFTER_MESSAGES;
	static const struct {
		uint64_t counter;
		bool accepted;
	} steps[] = { /* P-145 */
		      { 0, true },       { 1, true },          { 1, false },
		      { 9, true },       { 8, true },          { 7, true },
		      { 7, false },      { L, true },          { L - 1, true },
		      { L - 1, false },  { L - 2, true },      { 2, true },
		      { 2, false },      { L + 16, true },     { 3, false },
		      { L + 16, false }, { 4 * L, true },      { 4 * L - 8128, true },
		      { 10, false },     { 4 * L - L, false }, { 4 * L - 8127, true },
		      { 0, false },      { ram, false },       { ram - 1, true },
		      { ram, false },    { ram - 1, false }
	};
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		cr_assert(feed(steps[i].counter) == steps[i].accepted, "step %zu", i);
}

Test(replay, oldest_of_a_full_window)
{
	for (uint64_t c = 1; c <= 8128; c++)
		cr_assert(feed(c));
	cr_assert(feed(0));
	cr_assert(!feed(0));
}

Test(replay, one_past_a_full_window)
{
	for (uint64_t c = 2; c <= 8129; c++)
		cr_assert(feed(c));
	cr_assert(feed(1));
	cr_assert(!feed(0));
}

Test(replay, backwards_through_a_whole_window)
{
	for (uint64_t c = 8128 + 1000; c >= 1000; c--)
		cr_assert(feed(c));
	for (uint64_t c = 1000; c <= 8128 + 1000; c++)
		cr_assert(!feed(c));
	cr_assert(!feed(999));
}

/* Whatever the distance, a jump forgets exactly what fell out (P-146). */
Test(replay, jumps_of_every_length)
{
	for (uint64_t jump = 1; jump < 2 * REPLAY_BITMAP_BITS + 130; jump++) {
		replay_init(&window);
		for (uint64_t c = 5000; c < 5070; c++)
			cr_assert(replay_accept(&window, c));
		uint64_t top = 5069 + jump;
		cr_assert(replay_accept(&window, top));
		for (uint64_t c = 4998; c < 5070; c++) {
			bool fresh = c < 5000 || (jump > 1 && c > 5069);
			cr_assert(replay_may_accept(&window, c) ==
					  (fresh && c + REPLAY_WINDOW >= top),
				  "jump %llu, counter %llu", (unsigned long long)jump,
				  (unsigned long long)c);
		}
		cr_assert(!replay_may_accept(&window, top));
		if (jump > 1)
			cr_assert(replay_may_accept(&window, top - 1));
		if (jump > REPLAY_BITMAP_BITS) /* bits of the last round are gone */
			for (uint64_t c = top - REPLAY_WINDOW; c < top; c++)
				cr_assert(replay_may_accept(&window, c));
	}
}

Test(replay, reaches_the_last_counter_and_no_further)
{
	cr_assert(feed(REJECT_AFTER_MESSAGES - 2));
	cr_assert(feed(REJECT_AFTER_MESSAGES - 1));
	cr_assert(!feed(REJECT_AFTER_MESSAGES));
	cr_assert(!feed(UINT64_MAX));
	cr_assert(!feed(UINT64_MAX - 8128)); /* where a sum could wrap */
	cr_assert(feed(REJECT_AFTER_MESSAGES - 1 - 8128));
	cr_assert(!feed(REJECT_AFTER_MESSAGES - 1 - 8129));
}

enum { MODEL_STEPS = 1500 };

/* Remembers all that it accepted; knows no bitmap. */
struct model {
	uint64_t accepted[MODEL_STEPS];
	size_t n;
	uint64_t highest;
};

static bool model_accept(struct model *m, uint64_t c)
{
	if (c >= REJECT_AFTER_MESSAGES)
		return false;
	if (m->n && c < m->highest && m->highest - c > 8128)
		return false;
	for (size_t i = 0; i < m->n; i++)
		if (m->accepted[i] == c)
			return false;
	m->accepted[m->n++] = c;
	if (m->n == 1 || c > m->highest)
		m->highest = c;
	return true;
}

static uint64_t random_counter(uint64_t highest)
{
	switch (random_below(8)) {
	case 0: /* just behind, often a duplicate */
		return highest - MIN(highest, random_below(70));
	case 1: /* anywhere in the window, and a little older */
		return highest - MIN(highest, random_below(8300));
	case 2: /* at the edge */
		return highest - MIN(highest, 8128 - 3 + random_below(6));
	case 3: /* over a few words */
		return highest + random_below(300);
	case 4: /* to a word boundary */
		return (highest + 64 * random_below(140)) | 63;
	case 5: /* sometimes over all of it */
		return highest + (random_below(10) ? 2 : random_below(20000));
	default:
		return highest + 1;
	}
}

Test(replay, random_sequences_against_a_model)
{
	static const uint64_t start[] = {
		0, 1, 8000, UINT64_C(1) << 32, UINT64_C(1) << 63, REJECT_AFTER_MESSAGES - 100000
	};
	static struct model model;
	for (size_t round = 0; round < 10 * ARRAY_SIZE(start); round++) {
		replay_init(&window);
		model = (struct model){ .highest = start[round % ARRAY_SIZE(start)] };
		for (int i = 0; i < MODEL_STEPS; i++) {
			uint64_t c = random_counter(model.highest);
			bool want = model_accept(&model, c);
			cr_assert(replay_may_accept(&window, c) == want, "%llu",
				  (unsigned long long)c);
			cr_assert(replay_accept(&window, c) == want, "%llu", (unsigned long long)c);
		}
	}
}

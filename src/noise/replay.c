/* SPDX-License-Identifier: MPL-2.0 */
/* Replay window. The bitmap is a ring of 128 words indexed by the counter itself. The highest
 * counter M lies in one word, M - 8128 in a word exactly 127 before it or less, so no two counters
 * of the window share a bit; advancing by a word clears only that word. */
#include "noise/replay.h"

#include <string.h>

enum { N_WORDS = REPLAY_BITMAP_BITS / 64 };

static_assert((N_WORDS & (N_WORDS - 1)) == 0, "the index is a mask");
static_assert(REPLAY_WINDOW + 64 == REPLAY_BITMAP_BITS, "one word of slack");

void replay_init(struct replay *r)
{
	memset(r, 0, sizeof(*r));
}

/* P-144. No sum overflows: counters stay below 2^64 - 8193. */
static bool is_in_range(const struct replay *r, uint64_t counter)
{
	return counter < REJECT_AFTER_MESSAGES && counter + 1 + REPLAY_WINDOW >= r->next;
}

/* Makes @counter, which is not below r->next, the highest. */
static void advance(struct replay *r, uint64_t counter)
{
	uint64_t word = r->next ? (r->next - 1) / 64 : 0;
	uint64_t n_fresh = counter / 64 - word;
	if (n_fresh > N_WORDS)
		n_fresh = N_WORDS;
	for (uint64_t i = 1; i <= n_fresh; i++)
		r->bitmap[(word + i) % N_WORDS] = 0;
	r->next = counter + 1;
}

bool replay_accept(struct replay *r, uint64_t counter)
{
	if (UNLIKELY(!is_in_range(r, counter)))
		return false;
	if (LIKELY(counter >= r->next))
		advance(r, counter);

	uint64_t *word = &r->bitmap[counter / 64 % N_WORDS];
	uint64_t bit = UINT64_C(1) << counter % 64;
	if (*word & bit)
		return false;
	*word |= bit;
	return true;
}

bool replay_may_accept(const struct replay *r, uint64_t counter)
{
	if (!is_in_range(r, counter))
		return false;
	return counter >= r->next || !(r->bitmap[counter / 64 % N_WORDS] >> counter % 64 & 1);
}

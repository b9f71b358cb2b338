/* SPDX-License-Identifier: MPL-2.0 */
/* A ring of bits, one per sequence number. */
#include "sequence.h"

#include <string.h>

#include "base/macro.h"

static uint64_t *word_of(struct sequence *s, uint64_t seq)
{
	return &s->seen[seq % SEQUENCE_WINDOW / 64];
}

static uint64_t bit_of(uint64_t seq)
{
	return UINT64_C(1) << seq % 64;
}

/* Moves the window on so that it ends behind @seq. */
static void advance(struct sequence *s, uint64_t seq)
{
	if (seq - s->next >= SEQUENCE_WINDOW) {
		memset(s->seen, 0, sizeof(s->seen));
		s->next = seq;
	}
	for (; s->next <= seq; s->next++)
		*word_of(s, s->next) &= ~bit_of(s->next);
}

bool sequence_add(struct sequence *s, uint64_t seq)
{
	bool is_late = seq < s->next;

	if (!is_late)
		advance(s, seq);
	if (s->next - seq <= SEQUENCE_WINDOW) {
		if (*word_of(s, seq) & bit_of(seq)) {
			s->duplicates++;
			return false;
		}
		*word_of(s, seq) |= bit_of(seq);
	}
	if (is_late) {
		s->reordered++;
		s->extent_max = MAX(s->extent_max, s->next - 1 - seq);
	}
	s->received++;
	return true;
}

uint64_t sequence_lost(const struct sequence *s)
{
	uint64_t sent = s->has_end ? s->sent : s->next;

	return sent > s->received ? sent - s->received : 0;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Which threads sleep and may be woken for somebody's work. Whoever offers work does so with a
 * sequentially consistent store first and then claims a sleeper; a sleeper enters the set first and
 * then looks for work once more. So one of the two sees the other. Any thread. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { IDLE_SET_MAX = 256, IDLE_SET_WORDS = IDLE_SET_MAX / 64 };

/* Zeroed memory is the empty set. */
struct idle_set {
	_Atomic uint64_t word[IDLE_SET_WORDS];
};

static inline void idle_set_add(struct idle_set *s, uint32_t thread)
{
	atomic_fetch_or(&s->word[thread / 64], UINT64_C(1) << (thread % 64));
}

static inline void idle_set_remove(struct idle_set *s, uint32_t thread)
{
	uint64_t bit = UINT64_C(1) << (thread % 64);

	if (atomic_load_explicit(&s->word[thread / 64], memory_order_relaxed) & bit)
		atomic_fetch_and(&s->word[thread / 64], ~bit);
}

/* A cheap look: might somebody be in it? */
static inline bool idle_set_has_any(const struct idle_set *s)
{
	uint64_t any = 0;

	for (uint32_t i = 0; i < IDLE_SET_WORDS; i++)
		any |= atomic_load_explicit(&s->word[i], memory_order_relaxed);
	return any != 0;
}

/* Takes one out; returns its number, or -1: the set is empty. */
static inline int idle_set_claim(struct idle_set *s)
{
	for (uint32_t i = 0; i < IDLE_SET_WORDS; i++) {
		uint64_t set = atomic_load(&s->word[i]);
		while (set) {
			unsigned bit = (unsigned)__builtin_ctzll(set);
			if (atomic_compare_exchange_weak(&s->word[i], &set,
							 set & ~(UINT64_C(1) << bit)))
				return (int)(i * 64 + bit);
		}
	}
	return -1;
}

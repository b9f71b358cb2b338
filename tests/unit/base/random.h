/* SPDX-License-Identifier: MPL-2.0 */
/* Reproducible numbers for tests: the same in every run unless TEST_SEED says otherwise. */
#pragma once

#include <stdint.h>
#include <stdlib.h>

/* splitmix64: every state is good, so any seed will do. */
static inline uint64_t random_u64(void)
{
	static uint64_t state;
	static int seeded;

	if (!seeded) {
		const char *seed = getenv("TEST_SEED");
		state = seed ? strtoull(seed, NULL, 0) : 1;
		seeded = 1;
	}

	uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* 0 to @n - 1; @n is not 0. */
static inline uint32_t random_below(uint32_t n)
{
	return (uint32_t)((random_u64() >> 32) * n >> 32);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* ringtun-bench-micro: what single operations cost, without network and without privileges. A
 * figure is the median of many samples, each long enough for the clock and short enough to be
 * spared by the scheduler most of the time; the quartiles beside it tell how much it was not. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/macro.h"

struct micro; /* one run of the program */

struct micro_case {
	const char *name;  /* unique */
	const char *group; /* cases of one are shown together */
	const char *label; /* what is measured, for humans */
	const char *op;    /* what the nanoseconds are for */
	uint64_t n_ops;    /* in one burst */

	/* One of them. The first is timed by the caller; the second returns the nanoseconds that it
	 * found worth counting. */
	void (*burst)(void *ctx);
	uint64_t (*timed_burst)(void *ctx);
	void *ctx;
	bool is_long;         /* a burst takes long: one is a sample, and few samples must do */
	bool has_two_threads; /* wall-clock time counts, not our CPU time */

	const char *parameter; /* NULL, or what distinguishes the case within its group */
	double parameter_value;
};

/* Measures @c, or nothing if it was not asked for. */
void micro_run(struct micro *m, const struct micro_case *c);

/* Whether any case whose name begins with @prefix was asked for: worth setting it up. */
bool micro_is_wanted(const struct micro *m, const char *prefix);

/* Less of everything. */
bool micro_is_quick(const struct micro *m);

/* Says what is wrong and ends the program. */
_Noreturn void micro_die(const char *what);

/* What is measured does what it should, or we end. */
static inline void micro_must(bool ok, const char *what)
{
	if (UNLIKELY(!ok))
		micro_die(what);
}

/* Memory that is zeroed; ends the program if there is none. */
void *micro_alloc(size_t size);

/* The groups, each in a file of its own. */
void micro_noise(struct micro *m);
void micro_allowedips(struct micro *m);
void micro_packet(struct micro *m);
void micro_ring(struct micro *m);
void micro_uapi(struct micro *m);
void micro_wheel(struct micro *m);

/* CPU time of this thread: others that want the CPU do not count. A system call. */
static inline uint64_t micro_cpu_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

/* The same sequence in every run. */
static inline uint64_t micro_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

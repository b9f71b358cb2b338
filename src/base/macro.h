/* SPDX-License-Identifier: MPL-2.0 */
/* Small language helpers that every layer uses. No types, no state. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define MUST_CHECK             __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define LIKELY(x)              __builtin_expect(!!(x), 1)
#define UNLIKELY(x)            __builtin_expect(!!(x), 0)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n)        (1U << (n))
#define CACHELINE     64

#define MIN(a, b)      ((a) < (b) ? (a) : (b))
#define MAX(a, b)      ((a) > (b) ? (a) : (b))
#define ROUND_UP(x, m) (((x) + ((m)-1)) / (m) * (m))

/* By way of void *, so that -Wcast-align knows that we know. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* CLEANUP(fn): fn gets a pointer to the variable when it leaves its scope. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))
/* TAKE(x, empty): yields x and stores @empty in it, so that a hand-over is visible. */
#define TAKE(x, empty)                   \
	({                               \
		__auto_type take_ = (x); \
		(x) = (empty);           \
		take_;                   \
	})
#define TAKE_FD(fd) TAKE(fd, -1)
#define TAKE_PTR(p) TAKE(p, NULL)

#define NSEC_PER_SEC  UINT64_C(1000000000)
#define NSEC_PER_MSEC UINT64_C(1000000)
#define NSEC_PER_USEC UINT64_C(1000)

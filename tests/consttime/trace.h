/* SPDX-License-Identifier: MPL-2.0 */
/* Writes the integer registers before each instruction to standard output, for taint.py. Elsewhere
 * than on x86-64 the emulator does that. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum mark {
	MARK_BEGIN = 1,
	MARK_END,
	MARK_SECRET,
	MARK_PUBLIC,
};

/* What taint.py looks at the arguments of, and what memcheck is told. */
void ct_mark(uint64_t mark, const void *p, uint64_t len);

#if defined(__x86_64__) && !defined(WITH_VALGRIND)
int trace_init(void);
int trace_finish(void); /* 0, or -1 if something could not be written */

/* The trap flag: a trap after each instruction from here on, or no longer. */
static inline __attribute__((always_inline)) void trace_set(bool on)
{
	if (on)
		__asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "cc", "memory");
	else
		__asm__ volatile("pushfq; andq $-0x101, (%%rsp); popfq" ::: "cc", "memory");
}
#else
static inline int trace_init(void)
{
	return 0;
}
static inline int trace_finish(void)
{
	return 0;
}
static inline void trace_set(bool on)
{
}
#endif

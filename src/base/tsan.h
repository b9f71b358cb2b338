/* SPDX-License-Identifier: MPL-2.0 */
/* Happens-before edges that ThreadSanitizer can not see by itself, because the synchronising code
 * lives in a library that is not instrumented (src/adr/0001-rcu-and-tsan.md). Nothing at all in any
 * other build: these are never a substitute for a barrier. */
#pragma once

#if defined(__SANITIZE_THREAD__)
#define TSAN_ENABLED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TSAN_ENABLED 1
#endif
#endif
#ifndef TSAN_ENABLED
#define TSAN_ENABLED 0
#endif

#if TSAN_ENABLED
#include <sanitizer/tsan_interface.h>
/* In the runtime of gcc and clang, but in no header of theirs. */
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
/* What this thread did so far happens before whatever follows a TSAN_ACQUIRE of the same address. */
#define TSAN_RELEASE(addr) __tsan_release((void *)(addr))
#define TSAN_ACQUIRE(addr) __tsan_acquire((void *)(addr))
/* Around one call of such a library: its own malloc and free are not looked at. */
#define TSAN_IGNORE_BEGIN() AnnotateIgnoreWritesBegin(__FILE__, __LINE__)
#define TSAN_IGNORE_END()   AnnotateIgnoreWritesEnd(__FILE__, __LINE__)
#else
#define TSAN_RELEASE(addr)  ((void)(addr))
#define TSAN_ACQUIRE(addr)  ((void)(addr))
#define TSAN_IGNORE_BEGIN() ((void)0)
#define TSAN_IGNORE_END()   ((void)0)
#endif

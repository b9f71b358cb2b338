/* SPDX-License-Identifier: MPL-2.0 */
/* To be preloaded: allocations fail as the plan in $FAULT_PLAN says (fault_plan.h), whatever allocator the
 * program brings along. Counts what is allocated and what is alive, so that a test sees leaks, too. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fault_plan.h"

void *__libc_malloc(size_t len);
void *__libc_calloc(size_t n, size_t len);
void *__libc_realloc(void *p, size_t len);
void *__libc_memalign(size_t align, size_t len);
void __libc_free(void *p);

static struct fault_plan *plan;

/* After the libraries' own constructors, before main(). */
__attribute__((constructor)) static void open_plan(void)
{
	bool is_wanted = strcmp(program_invocation_short_name, "ringtun") ==
			 0; /* not its starters */
	const char *path = is_wanted ? getenv("FAULT_PLAN") : NULL;
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p = fd < 0 ? MAP_FAILED
			 : mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		(void)close(fd);
	if (p != MAP_FAILED)
		plan = p;
}

static bool shall_fail(void)
{
	if (!plan)
		return false;
	atomic_fetch_add(&plan->n_allocations, 1);
	if (atomic_load(&plan->what) != FAULT_ALLOCATION || !fault_plan_take(plan))
		return false;
	atomic_fetch_add(&plan->n_failed, 1);
	errno = ENOMEM;
	return true;
}

static void *count(void *p)
{
	if (p && plan)
		atomic_fetch_add(&plan->n_live, 1);
	return p;
}

void *malloc(size_t len)
{
	return shall_fail() ? NULL : count(__libc_malloc(len));
}

void *calloc(size_t n, size_t len)
{
	return shall_fail() ? NULL : count(__libc_calloc(n, len));
}

void *realloc(void *p, size_t len)
{
	if (shall_fail())
		return NULL;
	void *q = __libc_realloc(p, len);
	return p ? q : count(q);
}

void *aligned_alloc(size_t align, size_t len)
{
	return shall_fail() ? NULL : count(__libc_memalign(align, len));
}

void *memalign(size_t align, size_t len);
void *memalign(size_t align, size_t len)
{
	return aligned_alloc(align, len);
}

int posix_memalign(void **ret, size_t align, size_t len)
{
	void *p = aligned_alloc(align, len);
	if (p)
		*ret = p;
	return p ? 0 : ENOMEM;
}

void free(void *p)
{
	if (p && plan)
		atomic_fetch_sub(&plan->n_live, 1);
	__libc_free(p);
}

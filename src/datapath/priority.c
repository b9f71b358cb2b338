/* SPDX-License-Identifier: MPL-2.0 */
/* Priority by what comes in. Figures in src/adr/0007-priority.md. */
#include "datapath/priority.h"

#include <stdbool.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/macro.h"

enum {
	WINDOW_NS = 5 * NSEC_PER_MSEC,
	SMALL_LEN = 3000, /* mean bytes: nothing that the kernel or the sender put together */
	MANY_PER_MS = 40, /* of them: from so many on we step back, */
	FEW_PER_MS = 20,  /* and from so few on no more */
};

/* Of the calling thread: on Linux a nice value belongs to a thread. */
static bool set_nice(int value)
{
	return setpriority(PRIO_PROCESS, 0, value) == 0;
}

void priority_begin(struct priority *p, int raised, uint64_t now_ns)
{
	*p = (struct priority){ .raised = raised, .since_ns = now_ns };
	if (raised && !set_nice(raised))
		p->raised = 0;
	atomic_store_explicit(&p->now, p->raised, memory_order_relaxed);
}

int priority_judge(const struct priority *p, uint64_t n, uint64_t len, uint64_t ns)
{
	bool is_raised = atomic_load_explicit(&p->now, memory_order_relaxed) != 0;
	uint64_t limit = ns / NSEC_PER_MSEC * (is_raised ? MANY_PER_MS : FEW_PER_MS);

	return n > limit && len < n * SMALL_LEN ? 0 : p->raised;
}

void priority_update(struct priority *p, uint64_t now_ns)
{
	uint64_t ns = now_ns - p->since_ns;

	if (LIKELY(ns < WINDOW_NS))
		return;
	int want = priority_judge(p, p->n, p->len, ns);
	if (want != atomic_load_explicit(&p->now, memory_order_relaxed) && set_nice(want))
		atomic_store_explicit(&p->now, want, memory_order_relaxed);
	p->n = p->len = 0;
	p->since_ns = now_ns;
}

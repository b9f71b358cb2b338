/* SPDX-License-Identifier: MPL-2.0 */
/* Idle time by /proc/stat, in ticks of 10 ms: fine enough over a quarter of a second. */
#include "datapath/idle_cores.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/macro.h"

enum {
	LOOK_NS = 250 * NSEC_PER_MSEC,
	TEXT_LEN = 32768, /* the CPUs come first; some 400 of them */
	BEGIN_PERCENT = 70,
	END_PERCENT = 30,
};

void idle_cores_init(struct idle_cores *c)
{
	*c = (struct idle_cores){ .fd = -1 };
	atomic_init(&c->any, true);
	atomic_init(&c->next_look_ns, UINT64_MAX);
}

bool idle_cores_open(struct idle_cores *c)
{
	long ticks = sysconf(_SC_CLK_TCK);
	int fd = open("/proc/stat", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || ticks <= 0) {
		close_fdp(&fd);
		return false;
	}
	c->fd = fd;
	c->tick_ns = NSEC_PER_SEC / (uint64_t)ticks;
	atomic_store_explicit(&c->any, false, memory_order_relaxed);
	/* pairs with the exchange in idle_cores_any() */
	atomic_store_explicit(&c->next_look_ns, 0, memory_order_release);
	return true;
}

void idle_cores_close(struct idle_cores *c)
{
	close_fdp(&c->fd);
	c->fd = -1;
}

uint64_t idle_cores_parse(const char *text, const cpu_set_t *allowed)
{
	uint64_t sum = 0;

	/* cpuN user nice system idle iowait ...; the first line, without a number, is the total */
	for (const char *line = text; strncmp(line, "cpu", 3) == 0;) {
		char *at;
		const char *end = strchr(line, '\n');
		if (!end)
			break; /* cut off */
		unsigned long cpu = strtoul(line + 3, &at, 10);
		if (line[3] != ' ' && cpu < CPU_SETSIZE && CPU_ISSET(cpu, allowed)) {
			for (int i = 0; i < 3; i++)
				(void)strtoull(at, &at, 10);
			sum += strtoull(at, &at, 10);
			sum += strtoull(at, &at, 10);
		}
		line = end + 1;
	}
	return sum;
}

bool idle_cores_judge(bool before, uint64_t idle_ns, uint64_t ns)
{
	return idle_ns * 100 >= ns * (before ? END_PERCENT : BEGIN_PERCENT);
}

/* All idle time of our CPUs since the system began; 0 = not to be had. */
static uint64_t read_idle_ns(const struct idle_cores *c)
{
	char text[TEXT_LEN];
	cpu_set_t allowed;
	ssize_t n = pread(c->fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
		memset(&allowed, 0xff, sizeof(allowed)); /* more CPUs than a set has room for */
	return idle_cores_parse(text, &allowed) * c->tick_ns;
}

static void look(struct idle_cores *c, uint64_t now_ns)
{
	uint64_t idle_ns = read_idle_ns(c);
	uint64_t ns = now_ns - c->last_ns;
	bool any = false;

	/* after a pause there is nothing to compare with: what was then says little about now */
	if (ns < 4 * (uint64_t)LOOK_NS && idle_ns >= c->last_idle_ns)
		any = idle_cores_judge(atomic_load_explicit(&c->any, memory_order_relaxed),
				       idle_ns - c->last_idle_ns, ns);
	atomic_store_explicit(&c->any, any, memory_order_relaxed);
	c->last_ns = now_ns;
	c->last_idle_ns = idle_ns;
}

bool idle_cores_any(struct idle_cores *c, uint64_t now_ns)
{
	uint64_t next = atomic_load_explicit(&c->next_look_ns, memory_order_relaxed);

	/* acquire: pairs with the release of who looked before */
	if (UNLIKELY(now_ns >= next) &&
	    atomic_compare_exchange_strong_explicit(&c->next_look_ns, &next, UINT64_MAX,
						    memory_order_acquire, memory_order_relaxed)) {
		look(c, now_ns);
		/* pairs with the exchange above */
		atomic_store_explicit(&c->next_look_ns, now_ns + LOOK_NS, memory_order_release);
	}
	return atomic_load_explicit(&c->any, memory_order_relaxed);
}

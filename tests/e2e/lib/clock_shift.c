/* SPDX-License-Identifier: MPL-2.0 */
/* Preloaded into a daemon: its clocks jump when a test writes two numbers of nanoseconds into the
 * file CLOCK_SHIFT, the first for CLOCK_REALTIME, the second for CLOCK_BOOTTIME. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const _Atomic int64_t none[2];
static const _Atomic int64_t *shift = none;

__attribute__((constructor)) static void map_shift(void)
{
	const char *path = getenv("CLOCK_SHIFT");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	void *at = mmap(NULL, sizeof(none), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (at != MAP_FAILED)
		shift = at;
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
	long error = syscall(SYS_clock_gettime, clock, t);
	if (error || (clock != CLOCK_REALTIME && clock != CLOCK_BOOTTIME))
		return (int)error;
	int64_t ns = t->tv_nsec + shift[clock == CLOCK_BOOTTIME] % 1000000000;
	t->tv_sec += shift[clock == CLOCK_BOOTTIME] / 1000000000;
	if (ns < 0)
		t->tv_sec--, ns += 1000000000;
	t->tv_sec += ns / 1000000000;
	t->tv_nsec = ns % 1000000000;
	return 0;
}

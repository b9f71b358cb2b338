/* SPDX-License-Identifier: MPL-2.0 */
/* What a burst of reads costs by the ring and by system calls. Which is less differs between CPUs (by what
 * an entry into the kernel costs), so each worker measures it once: some 100 us. An eventfd stands for the
 * TUN: its reads do next to nothing, so what is measured is the way to them and back. */
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/macro.h"
#include "io/io_uring.h"

enum {
	PROBE_READS = 32,
	PROBE_ROUNDS = 7, /* the fastest counts */
};

/* A semaphore with something for each read. */
static bool refill(int fd)
{
	uint64_t n = PROBE_READS;
	return write(fd, &n, sizeof(n)) == sizeof(n);
}

static uint64_t by_system_calls(int fd)
{
	uint64_t value, begin = clock_boottime_ns();
	for (int i = 0; i < PROBE_READS; i++)
		if (read(fd, &value, sizeof(value)) != sizeof(value))
			return 0;
	return clock_boottime_ns() - begin;
}

static uint64_t by_ring(struct io_uring_engine *e)
{
	static _Thread_local uint64_t value[PROBE_READS]; /* nobody looks */
	struct io_uring_cqe *cqe;
	unsigned head, n = 0, n_read = 0;
	uint64_t begin = clock_boottime_ns();

	for (int i = 0; i < PROBE_READS; i++) {
		struct io_uring_sqe *sqe = uring_sqe(&e->uring, FILE_TUN);
		if (!sqe)
			return 0;
		sqe->opcode = IORING_OP_READ;
		sqe->addr = (uint64_t)(uintptr_t)&value[i];
		sqe->len = sizeof(value[i]);
		sqe->user_data = tagged_id(TAG_OTHER, 0);
	}
	if (uring_enter(&e->uring) < 0)
		return 0;
	io_uring_for_each_cqe(&e->uring.ring, head, cqe)
	{
		n++;
		n_read += cqe->res == sizeof(value[0]);
	}
	io_uring_cq_advance(&e->uring.ring, n);
	return n_read == PROBE_READS ? clock_boottime_ns() - begin : 0;
}

bool uring_measure_pays(struct io_uring_engine *e)
{
	uint64_t best_calls = UINT64_MAX, best_ring = UINT64_MAX;
	int fd CLEANUP(close_fdp) = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0 || uring_set_file(&e->uring, FILE_TUN, fd) < 0)
		return true;
	for (int i = 0; i < PROBE_ROUNDS; i++) {
		uint64_t calls = refill(fd) ? by_system_calls(fd) : 0;
		uint64_t ring = refill(fd) ? by_ring(e) : 0;
		if (calls == 0 || ring == 0)
			break; /* not measured: what is there decides, or the ring */
		best_calls = MIN(best_calls, calls);
		best_ring = MIN(best_ring, ring);
	}
	if (uring_set_file(&e->uring, FILE_TUN, e->fds.tun) < 0)
		e->tun_gone = true;
	return best_ring <= best_calls;
}

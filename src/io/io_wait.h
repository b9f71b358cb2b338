/* SPDX-License-Identifier: MPL-2.0 */
/* Sleeping until one of an engine's descriptors is ready: an epoll instance over all of them. Both
 * engines sleep here. */
#pragma once

#include <stdint.h>

#include "base/macro.h"
#include "io/io.h"

/* What is ready. */
enum io_source {
	IO_TUN = 1U << 0,
	IO_UDP4 = 1U << 1,
	IO_UDP6 = 1U << 2,
	IO_WAKE = 1U << 3,     /* the eventfd rang; it has been emptied */
	IO_TUN_GONE = 1U << 4, /* besides IO_TUN */
};

struct io_waiter {
	int epoll_fd; /* -1: not open */
	int wake_fd;
};

/* Opens it, or replaces the descriptors. 0 or -errno, and then nothing has changed. */
MUST_CHECK int io_waiter_set(struct io_waiter *w, const struct io_fds *fds);

/* Sleeps for @timeout_ns at most (0: just looks; UINT64_MAX: no limit). Returns bits of enum
 * io_source, 0 on time-out or a signal, or -errno. */
int io_waiter_wait(struct io_waiter *w, uint64_t timeout_ns);

void io_waiter_close(struct io_waiter *w);

/* SPDX-License-Identifier: MPL-2.0 */
/* How much memory a device may take, and takes. */
#pragma once

#include <stdint.h>

#include "control/loop.h"

/* In bytes. What the library allocates; the kernel's socket buffers and the code are not in it. */
struct memory_use {
	uint64_t buffers; /* of workers, engines, mailboxes, control thread: made at start */
	uint64_t waiting; /* packets and datagrams on their way between threads, */
	uint64_t max_waiting;
	uint64_t peers;    /* now, their sessions included, */
	uint64_t per_peer; /* and at most each, without its allowed IPs */
};

/* The loop's thread, or before that runs. */
void memory_measure(const struct loop *l, struct memory_use *ret);

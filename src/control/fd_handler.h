/* SPDX-License-Identifier: MPL-2.0 */
/* What an epoll event of the control thread points to: epoll_event.data.ptr is a struct fd_handler,
 * the first member of whoever owns the descriptor. Control thread only. */
#pragma once

#include <stdint.h>

struct fd_handler {
	/* The descriptor is ready for @events (EPOLLIN, ...). It handles a bounded slice and returns;
	 * level-triggered epoll brings the rest. A handler may still be called once in the round of
	 * events in which its descriptor was closed: its memory outlives that round. */
	void (*ready)(struct fd_handler *handler, uint32_t events, uint64_t now_ns);
};

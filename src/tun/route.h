/* SPDX-License-Identifier: MPL-2.0 */
/* Addresses and routes of the network namespace that the UDP sockets live in: tells when sticky
 * sources have to be checked again, and checks one (P-348). Control thread only; never blocks. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macro.h"
#include "device/endpoint.h"

struct route_monitor {
	int fd;       /* readable when something changed */
	int query_fd; /* ours */
};

MUST_CHECK int route_monitor_open(struct route_monitor *ret);

/* Drains the notifications: whether an address or a route has come, gone or changed. */
bool route_monitor_read(struct route_monitor *m);

/* Whether datagrams to @e->to may still leave from @e->from: the address is ours, and the route for (to,
 * from, @fwmark) goes through the interface that the peer's last datagram came in by. True when there is
 * no source or the kernel gives no answer. Costs a system call or two. */
bool route_source_holds(struct route_monitor *m, const struct endpoint *e, uint32_t fwmark);

void route_monitor_close(struct route_monitor *m);

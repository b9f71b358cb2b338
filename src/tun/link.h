/* SPDX-License-Identifier: MPL-2.0 */
/* The TUN as a network interface, by rtnetlink: sets it up once, then tells what becomes of it, also
 * in another network namespace (P-402). Control thread only; never blocks. */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macro.h"

/* 0 = leave as it is. */
struct link_params {
	uint32_t mtu;          /* bytes */
	uint32_t txqueuelen;   /* packets */
	uint32_t gso_max_size; /* bytes; see link_gso_max_size() */
};

/* What link_setup() got done besides the MTU. */
enum link_done {
	LINK_TXQUEUELEN = 1U << 0,
	LINK_GSO_MAX_SIZE = 1U << 1,
	LINK_NO_ADDR_GEN = 1U << 2,  /* no IPv6 link-local address by itself (P-406) */
	LINK_NO_REDIRECTS = 1U << 3, /* no ICMP redirects over IPv4 (P-406) */
};

/* Applies @params to the interface @name of this network namespace, and what P-406 wants. Only the MTU
 * can fail; the rest is best effort and reported as link_done bits in *@ret_done (may be NULL).
 * 0, or -errno (-ENODEV, -EPERM, -EINVAL: MTU out of range). */
MUST_CHECK int link_setup(const char *name, const struct link_params *params, unsigned *ret_done);

/* The gso_max_size with which a TCP super-packet of MTU-sized segments becomes exactly one UDP_SEGMENT
 * send (61612 at MTU 1420). */
uint32_t link_gso_max_size(uint32_t mtu);

struct link_state {
	bool is_up;    /* IFF_UP */
	bool was_down; /* was down at some time since the last read, even if it is up again (P-400) */
	bool must_poll; /* moved to where we get no notifications: read once a second */
	uint32_t mtu;
	uint32_t ifindex;
	char name[IFNAMSIZ];
};

/* Follows one TUN through up, down, MTU changes, renames and moves between network namespaces.
 * Opened with privileges it goes on after they are dropped to CAP_NET_ADMIN: it enters no namespace,
 * but listens to all that have an id in ours. */
struct link_monitor {
	int fd;       /* readable when link_monitor_read() has something to do; constant */
	int query_fd; /* ours: requests and their answers */
	int tun_fd;   /* not owned */
	int nsid;     /* where the TUN is: id of its namespace in ours, -1 = our own */
	uint32_t ifindex;
	bool is_away;   /* the TUN is in another namespace than we are */
	bool hears_all; /* notifications of other namespaces arrive */
	bool was_down;  /* seen, but not reported yet */
};

/* @tun_fd is a queue of the device; it must stay open as long as the monitor. 0 or -errno
 * (-ENODEV: the device is gone already). */
MUST_CHECK int link_monitor_open(struct link_monitor *ret, int tun_fd);

/* Sets gso_max_size; @m has been read before. 0 or -errno: -EOPNOTSUPP while the interface is in another
 * network namespace. */
MUST_CHECK int link_monitor_set_gso(struct link_monitor *m, uint32_t size);

/* Drains the notifications and gives the state as it is now. Never blocks; may be called at any time.
 * 0; -ENODEV: the device does not exist any more (U-071, U-077); another -errno: try again later
 * (*@ret untouched in both cases). */
MUST_CHECK int link_monitor_read(struct link_monitor *m, struct link_state *ret);

void link_monitor_close(struct link_monitor *m);

/* SPDX-License-Identifier: MPL-2.0 */
/* The TUN device: creates it or adopts a descriptor, attaches its queues, negotiates offloads. Moves
 * no packets: io/ drives the descriptors. Control thread only. */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macro.h"

enum { TUN_MAX_QUEUES = 64 };

/* Switches: < 0 off, 0 automatic, > 0 on. "On" also tries what automatic leaves out; neither fails
 * when the kernel refuses: struct tun says what was got. */
struct tun_params {
	const char *name;  /* 1 - 15 bytes; may be a template ("wg%d", U-064) */
	uint16_t n_queues; /* wanted; 0 counts as 1 */
	int multi_queue;   /* more than one queue */
	int vnet_hdr;      /* virtio_net_hdr before each packet; without it there are no offloads */
	int tso;           /* TCP super-packets from the kernel, both families */
	int uso;           /* UDP super-packets from the kernel, both families */
};

struct tun {
	int fd[TUN_MAX_QUEUES]; /* n_queues descriptors, non-blocking, close-on-exec */
	uint16_t n_queues;
	bool multi_queue;    /* IFF_MULTI_QUEUE is on */
	bool vnet_hdr;       /* 10 bytes of virtio_net_hdr before each packet, in and out */
	unsigned offloads;   /* TUN_F_* of <linux/if_tun.h> that TUNSETOFFLOAD took */
	char name[IFNAMSIZ]; /* as it was at opening; it may be renamed (link_state.name) */
};

/* Creates the device, or takes over a persistent one that nobody is attached to (U-065; it stays
 * persistent). A new one disappears with its last descriptor (U-066). It is down.
 * 0 and *@ret to be ended with tun_close(), or with *@ret untouched: -EINVAL (name), -EBUSY (an
 * interface of this name exists), -ENOENT or -ENODEV (no /dev/net/tun), -EPERM or -EACCES. */
MUST_CHECK int tun_open(struct tun *ret, const struct tun_params *params);

/* Takes over @fd, an attached queue (WG_TUN_FD, U-063): name, vnet header and queue mode are what they are,
 * offloads as @params wants them (its name and n_queues are not looked at). On success @fd belongs to
 * *@ret; its MTU and state are left alone. 0, or -EBADF (not open), -EINVAL (not a TUN, TAP, or with
 * packet information headers), -EBADFD (not attached). */
MUST_CHECK int tun_adopt(struct tun *ret, int fd, const struct tun_params *params);

/* Changes the offloads of an open device, as the switches in @params say. Returns the TUN_F_* now
 * in force. */
unsigned tun_set_offloads(struct tun *tun, const struct tun_params *params);

/* Which offloads are in force, whatever the headers at hand know of. */
bool tun_has_tso(const struct tun *tun);
bool tun_has_uso(const struct tun *tun);

/* Whether the device still exists, in whatever network namespace. */
bool tun_is_alive(const struct tun *tun);

/* Detaches all queues; harmless when repeated. */
void tun_close(struct tun *tun);

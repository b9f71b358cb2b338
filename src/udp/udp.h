/* SPDX-License-Identifier: MPL-2.0 */
/* The UDP sockets of a device: per address family one for the control thread and one per worker, all
 * on one port that nobody else can share, with the kernel steering messages to their owner. Opened in
 * the network namespace of the calling thread (P-368). Knows no peers.
 * Opening and closing: control thread; each descriptor is then driven by its owner. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/bytes.h"
#include "base/macro.h"
#include "device/endpoint.h"

enum { UDP_MAX_WORKERS = 256, UDP_N_GUARDS = 2, UDP_BUFFER_LEN = 7 << 20 };

/* Switches: < 0 off, 0 automatic, > 0 on; struct udp_group says what was got. */
struct udp_params {
	uint16_t port;       /* 0 = the kernel chooses (P-361) */
	uint16_t n_workers;  /* 1 - UDP_MAX_WORKERS */
	uint32_t fwmark;     /* SO_MARK, 0 = none (P-365) */
	uint32_t buffer_len; /* bytes asked for per direction and socket; 0 = UDP_BUFFER_LEN */
	int steering;
	int gro; /* UDP_GRO on the workers' sockets */
};

struct udp_worker {
	int udp4, udp6; /* -1: no such family */
};

/* With steering, handshake messages and whatever is no transport message reach the control sockets,
 * transport messages the worker that udp_steer() names. **Not without exception**: the kernel's GRO can
 * append a shorter or equally long message of the same sender to a buffer that another one began, and
 * all of the buffer goes where its first message belongs. So both ends must pass on what is not theirs.
 * Without steering any worker may get anything, and the control sockets only send. */
struct udp_group {
	uint16_t port; /* the one in use, host byte order */
	uint16_t n_workers;
	bool steering;
	bool gro; /* on the workers' sockets; control sockets always get single datagrams */
	uint32_t recv_buffer_len,
		send_buffer_len; /* bytes that the kernel granted, as it counts them */
	int control4, control6;  /* control6 is -1 without IPv6 */
	int guard4[UDP_N_GUARDS], guard6[UDP_N_GUARDS]; /* no traffic: they keep others off */
	struct udp_worker worker[];
};

/* Opens all sockets or none. 0 and *@ret to be ended with udp_group_close(), or with *@ret untouched:
 * -EADDRINUSE (somebody has the port, in either family), -EPERM or -EACCES (fwmark, port),
 * -EINVAL (params), -ENOMEM, -EMFILE ... IPv6 that is not available is no error (P-360). */
MUST_CHECK int udp_group_open(struct udp_group **ret, const struct udp_params *params);

/* Applies to all sockets at once (P-365). 0 or -errno; then all still have the old one. */
MUST_CHECK int udp_group_set_mark(struct udp_group *g, uint32_t fwmark);

/* NULL is fine. */
void udp_group_close(struct udp_group *g);

/* The worker that gets transport messages with this receiver index, given as the bytes in the
 * message. Big-endian on purpose: that is how classic BPF loads them, and indices are random. */
static inline uint32_t udp_steer(const uint8_t index_le[4], uint32_t n_workers)
{
	return load_be32(index_le) % n_workers;
}

/* Sends one datagram by the control socket of @to's family, from its sticky source if it has one.
 * 0 or -errno: -EAFNOSUPPORT (no such family), -EAGAIN (buffer full: it is dropped, P-366), or what the
 * kernel says; P-347 is the caller's. */
int udp_send_one(const struct udp_group *g, struct bytes datagram, uint8_t tos,
		 const struct endpoint *to);

/* What came with a received datagram. */
struct udp_received {
	struct endpoint
		from; /* .to = its sender, .from = the address of ours that it was sent to */
	uint32_t segment_len; /* bytes; 0 = it is a single datagram */
	uint8_t tos;          /* outer TOS / traffic class */
};

/* Receives one datagram. Returns its length (0 is an empty datagram), or -EAGAIN: nothing there.
 * Queued errors of earlier sends are skipped (P-367). What does not fit into @buf is cut off. */
ssize_t udp_recv_one(int fd, struct mut_bytes buf, struct udp_received *ret);

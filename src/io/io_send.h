/* SPDX-License-Identifier: MPL-2.0 */
/* Sending of datagrams, by sendmmsg in both engines: a submission per datagram to io_uring costs some
 * percent more. Never blocks for more than a millisecond. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "io/io.h"
#include "udp/cmsg.h"

enum { IO_MAX_QUEUED = 256 };

/* What waits for submit(), and what sending has to know and keep. */
struct io_sender {
	struct io_stats *stats;
	uint32_t n_queued4, n_queued6;
	struct io_send *queued4[IO_MAX_QUEUED], *queued6[IO_MAX_QUEUED];
	bool gso;        /* UDP_SEGMENT has not been refused so far */
	bool has_waited; /* for room in the socket buffer, in this loop (P-366) */
	/* The last EMSGSIZE: runs of segments that long to this address are known to be refused. */
	struct sockaddr_in6 narrow_to;
	uint16_t narrow_segment_len;
	uint32_t n_narrow_left; /* times that this is believed; routes change */
};

static inline bool io_send_is_run(const struct io_send *s)
{
	return s->segment_len != 0 && s->len > s->segment_len;
}

/* Queues @n entries; sends what is queued already if there is no room. */
void io_send_queue(struct io_sender *sender, const struct io_fds *fds, struct io_send *s,
		   uint32_t n);

/* Sends all that is queued, each family in order; fills result and n_sent of each entry. */
void io_send_flush(struct io_sender *sender, const struct io_fds *fds);

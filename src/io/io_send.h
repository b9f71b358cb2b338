/* SPDX-License-Identifier: MPL-2.0 */
/* Sending of datagrams by plain system calls: the poll engine's normal way, and what io_uring falls
 * back to when the kernel refuses a run. Never blocks for more than a millisecond. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "io/io.h"
#include "udp/cmsg.h"

/* A message header with all that it points to. Not to be moved once it is set. */
struct io_msg {
	struct iovec iov;
	union udp_cmsg_send control;
};

/* What sending has to know and keep, per engine. */
struct io_sender {
	struct io_stats *stats;
	bool gso;        /* UDP_SEGMENT has not been refused so far */
	bool has_waited; /* for room in the socket buffer, in this loop (P-366) */
	/* The last EMSGSIZE: runs of segments that long to this address are known to be refused. */
	struct sockaddr_in6 narrow_to;
	uint16_t narrow_segment_len;
	uint32_t n_narrow_left; /* times that this is believed; routes change */
};

/* Fills @hdr so that it sends @len bytes at @data as @s says, with UDP_SEGMENT if @segment_len is not
 * 0. */
void io_msg_fill(struct msghdr *hdr, struct io_msg *msg, const struct io_send *s, struct iovec iov,
		 uint16_t segment_len);

static inline bool io_send_is_run(const struct io_send *s)
{
	return s->segment_len != 0 && s->len > s->segment_len;
}

/* Whether a run has to be sent datagram by datagram, and how that is done. */
bool io_send_must_split(struct io_sender *sender, const struct io_send *s);
void io_send_split(struct io_sender *sender, int fd, struct io_send *s);

/* Sends @n entries of one socket in order; fills result and n_sent of each. */
void io_send_all(struct io_sender *sender, int fd, struct io_send *const *s, uint32_t n);

/* Deals with one entry whose send gave @error: waits for room and tries again, or sends a refused run
 * datagram by datagram. Fills result and n_sent. */
void io_send_recover(struct io_sender *sender, int fd, struct io_send *s, int error);

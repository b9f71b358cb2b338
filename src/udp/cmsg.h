/* SPDX-License-Identifier: MPL-2.0 */
/* Control messages of UDP sockets, built and parsed. Pure functions on bytes. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "udp/udp.h"

enum {
	UDP_CMSG_SEND_LEN = 96,  /* bytes that suffice for udp_cmsg_build() */
	UDP_CMSG_RECV_LEN = 128, /* bytes that suffice for all that our sockets deliver */
};

/* Room for control messages, aligned as struct cmsghdr must be. */
union udp_cmsg_send {
	struct cmsghdr align;
	uint8_t b[UDP_CMSG_SEND_LEN];
};
union udp_cmsg_recv {
	struct cmsghdr align;
	uint8_t b[UDP_CMSG_RECV_LEN];
};

/* Writes the control messages for a send to @to: its sticky source (the interface only for link-local
 * ones, P-348), @tos if not 0, UDP_SEGMENT if @segment_len is not 0. Returns the bytes used, which is
 * what msg_controllen must be; 0 = none needed. */
size_t udp_cmsg_build(union udp_cmsg_send *control, const struct endpoint *to, uint8_t tos,
		      uint16_t segment_len);

/* Fills *@ret from a received name and control messages. Accepts any alignment, truncation and unknown
 * messages; what is missing is left zero. A name of no known family gives an endpoint that is not
 * set. */
void udp_cmsg_parse(struct udp_received *ret, struct bytes name, struct bytes control);

/* SPDX-License-Identifier: MPL-2.0 */
/* UDP datagrams by a packet socket: IP and UDP headers are ours, and the kernel hands the packet to
 * the interface as it does with one of a UDP socket: through the queueing discipline, the checksum
 * left to whoever sends it on (CHECKSUM_PARTIAL). What is saved is the sending half of the kernel's
 * UDP and IP, which no tunnel has a part in. Not thread-safe. */
#pragma once

#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "path.h"

enum { PACKET_MAX_HEAD = sizeof(struct virtio_net_hdr) + 14 + 40 + 8 };

/* What stands before the payload: the same for all datagrams of a flow, but for what
 * packet_write_head() changes. */
struct packet_head {
	uint8_t bytes[PACKET_MAX_HEAD];
	uint32_t len;
	uint32_t ip_at; /* index into bytes[] */
	bool is_v6;
	uint16_t id; /* of IPv4; counts up, as with a connected UDP socket */
};

/* A packet socket that receives nothing, and where it sends to. -errno on failure. */
MUST_CHECK int packet_open(struct sockaddr_ll *ret_to, const struct path *path, bool is_v6);

/* For datagrams of the connected UDP socket @udp_fd. -errno on failure. */
MUST_CHECK int packet_init_head(struct packet_head *ret_head, const struct path *path, int udp_fd);

/* Bytes of headers that the MTU has to hold besides the payload. */
uint32_t packet_overhead(bool is_v6);

/* Writes the headers of one datagram, h->len bytes, at @at. */
void packet_write_head(struct packet_head *h, uint8_t *at, uint32_t payload_len);

/* SPDX-License-Identifier: MPL-2.0 */
/* TUN -> us: cuts a super-packet (TSO4, TSO6, USO4, USO6) into segments, and completes checksums that
 * the kernel left to the device. Only headers are written, into the caller's memory; payload stays
 * in the TUN buffer. Pure functions.
 *
 * The real headers decide, not hdr_len: for forwarded traffic it is not the end of the L4 header. */
#pragma once

#include <linux/virtio_net.h>
#include <stdint.h>

#include "base/macro.h"

enum {
	GSO_MAX_HEADER = 256,   /* bytes: IPv6 with up to 156 of extension headers, 60 of TCP */
	GSO_MAX_SEGMENTS = 128, /* of one UDP_SEGMENT send: a sensible slice, not a limit here */
	GSO_MAX_LEN = 65535,    /* bytes of a super-packet */
	GSO_UDP_L4 = 5,         /* VIRTIO_NET_HDR_GSO_UDP_L4, which older headers lack */
};

/* All read-only for callers. */
struct gso_split {
	uint32_t n_segments; /* at least 1; thousands if the MSS is tiny: work in slices */
	uint32_t hdr_len;    /* bytes in front of each payload; 0 = nothing to rewrite, one segment,
			      * the whole packet is its payload */
	uint32_t mss;        /* payload bytes of each segment but the last; == payload_len when the
			      * packet is no super-packet */
	uint32_t payload_len; /* of all segments */
	const uint8_t *hdr;   /* the super-packet's */
	const uint8_t *payload;
	uint64_t l4_sum;         /* pseudo-header and L4 header but what differs by segment */
	uint64_t ip_sum;         /* IPv4 header without length, id and checksum */
	uint32_t l4_off, l4_len; /* bytes: where the L4 header begins, how long it is */
	uint32_t seq;            /* TCP: of the first segment */
	uint16_t tcp_flags;      /* TCP: data offset and flags */
	uint16_t ip_id;          /* IPv4: of the first segment */
	uint8_t version;         /* 4 or 6 */
	uint8_t protocol;        /* IPPROTO_TCP or IPPROTO_UDP */
};

/* One segment on its way to the cipher: s->hdr_len bytes of rewritten header, then this. */
struct gso_segment {
	const uint8_t *payload;
	uint32_t payload_len; /* may be 0 */
};

/* Prepares @pkt, read with @vnet in front, for splitting. Also takes what is no super-packet: a
 * missing checksum is completed in place, and the result is one segment with hdr_len 0.
 * @pkt must stay as it is until the last segment is written. 0, or -EINVAL: malformed, drop it. */
MUST_CHECK int gso_split_init(struct gso_split *s, const struct virtio_net_hdr *vnet, uint8_t *pkt,
			      uint32_t len);

/* Segment @i < s->n_segments, in any order: its payload goes to *@ret, its complete header (lengths,
 * IPv4 id and checksum, TCP sequence and flags, L4 checksum over the payload) to @hdr, which has
 * room for GSO_MAX_HEADER bytes and does not overlap the packet. */
void gso_split_segment(const struct gso_split *s, uint32_t i, struct gso_segment *ret,
		       uint8_t *hdr);

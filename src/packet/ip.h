/* SPDX-License-Identifier: MPL-2.0 */
/* What a tunnel must know and change of an inner IP packet: version, addresses, length, padding and
 * ECN. Pure functions on the caller's bytes, safe to call from any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
	IP_V4_MIN_HDR = 20, /* bytes */
	IP_V6_HDR = 40,     /* bytes, without extension headers */
};

struct ip_view {
	const uint8_t *src, *dst; /* into the packet, addr_len bytes each */
	uint8_t version;          /* 4 or 6 */
	uint8_t addr_len;         /* 4 or 16 */
	uint8_t ds_field;         /* TOS or traffic class: DSCP and ECN */
};

/* Looks at a packet read from the TUN (P-267): true and *@ret filled if it is IPv4 of at least 20
 * bytes or IPv6 of at least 40; otherwise false (drop it), *@ret untouched. */
bool ip_view(struct ip_view *ret, const uint8_t *pkt, uint32_t len);

/* The length to cut a decrypted plaintext to (P-262, P-263); 0 = drop. A keepalive (@len 0) is not
 * for this function: it gets 0 as well. */
uint32_t ip_inner_len(const uint8_t *plaintext, uint32_t len);

/* Zero bytes to append to a packet of @len bytes before sealing, at interface MTU @mtu (P-260).
 * At most 15. */
uint32_t padding_len(uint32_t len, uint32_t mtu);

/* Outer TOS byte for an inner one (P-301): the DSCP never leaves the tunnel. */
uint8_t ip_ecn_encap(uint8_t inner_ds);

/* Merges the outer ECN into the packet (P-302), adjusting the IPv4 header checksum. @pkt must have
 * passed ip_inner_len(). */
void ip_ecn_decap(uint8_t *pkt, uint8_t outer_tos);

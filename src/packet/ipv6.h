/* SPDX-License-Identifier: MPL-2.0 */
/* Walks IPv6 extension headers (RFC 8200 section 4). Private to packet/. Pure function. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct ipv6_chain {
	uint32_t l4_off;      /* bytes: first header that is no extension header */
	uint8_t protocol;     /* of that header */
	bool is_fragment;     /* has a fragment header */
	bool is_first;        /* no fragment, or the first one: the L4 header is there */
	bool has_route_ahead; /* routing header not used up: the address is not the final one */
};

/* False: cut off, or more headers than anybody sends. Stops at a fragment that is not the first: what
 * follows there is payload. */
bool ipv6_walk(struct ipv6_chain *ret, const uint8_t *pkt, uint32_t len);

/* SPDX-License-Identifier: MPL-2.0 */
/* Where a peer is reached: its outer address, and the local address that it last used (P-340,
 * P-345). A plain value; device/peer.h publishes it to the workers. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct endpoint {
	union {
		struct sockaddr sa; /* sa_family 0 = no endpoint known */
		struct sockaddr_in in4;
		struct sockaddr_in6 in6; /* sin6_scope_id only for link-local, sin6_flowinfo 0 */
	} to;
	union {
		struct in_addr in4;
		struct in6_addr in6;
	} from;                /* sticky source (P-345), of the same family; all zero = none */
	uint32_t from_ifindex; /* interface it arrived on; sent only for link-local (P-348) */
};

static inline bool endpoint_is_set(const struct endpoint *e)
{
	return e->to.sa.sa_family != 0;
}

static inline socklen_t endpoint_addr_len(const struct endpoint *e)
{
	return e->to.sa.sa_family == AF_INET ? (socklen_t)sizeof(e->to.in4)
					     : (socklen_t)sizeof(e->to.in6);
}

static inline bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return memcmp(a, b, sizeof(*a)) == 0; /* always built from zeroed memory */
}

static inline bool endpoint_has_source(const struct endpoint *e)
{
	static const struct in6_addr none;
	return memcmp(&e->from, &none, sizeof(none)) != 0;
}

static inline void endpoint_clear_source(struct endpoint *e)
{
	memset(&e->from, 0, sizeof(e->from));
	e->from_ifindex = 0;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Endpoints from text. */
#pragma once

#include <arpa/inet.h>
#include <string.h>

#include "device/endpoint.h"

/* To @to, from @from, both IPv4 or both IPv6, by the interface with index @ifindex; no port. */
static inline struct endpoint endpoint_of(const char *to, const char *from, uint32_t ifindex)
{
	struct endpoint e;
	memset(&e, 0, sizeof(e));
	if (inet_pton(AF_INET, to, &e.to.in4.sin_addr) == 1) {
		e.to.sa.sa_family = AF_INET;
		inet_pton(AF_INET, from, &e.from.in4);
	} else {
		inet_pton(AF_INET6, to, &e.to.in6.sin6_addr);
		e.to.sa.sa_family = AF_INET6;
		inet_pton(AF_INET6, from, &e.from.in6);
	}
	e.from_ifindex = ifindex;
	return e;
}

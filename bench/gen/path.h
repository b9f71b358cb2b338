/* SPDX-License-Identifier: MPL-2.0 */
/* Where the kernel would send a datagram: the interface, and the next station on it. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macro.h"

enum { PATH_MAC_LEN = 6 };

struct path {
	int ifindex;
	uint32_t mtu;     /* of IP packets */
	bool is_ethernet; /* else there is no link layer, as with a TUN */
	uint8_t mac[PATH_MAC_LEN], next_mac[PATH_MAC_LEN]; /* ours, and the next station's */
};

/* Fills @ret_path, asking the next station for its address where the kernel does not know it yet,
 * for at most a second. NULL, or why datagrams to @to can not be handed to an interface directly. */
MUST_CHECK const char *path_find(struct path *ret_path, const struct sockaddr_in6 *to);

/* SPDX-License-Identifier: MPL-2.0 */
/* The ICMP destination unreachable that answers a packet without a way out of the tunnel (P-320 to
 * P-322), and its rate limit. Pure functions; the time is an argument. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
	ICMP_V4_MAX_LEN = 576,  /* bytes of a whole answer */
	ICMP_V6_MAX_LEN = 1280, /* also the room that icmp_unreachable() needs */
	ICMP_BURST = 50,
	ICMP_PER_SEC = 100,
};

/* Builds the whole answer to @pkt in @out, ready for the TUN. Its length, or 0: this packet must not
 * be answered (an ICMP error, not the first fragment, multicast, broadcast, malformed). */
uint32_t icmp_unreachable(uint8_t out[ICMP_V6_MAX_LEN], const uint8_t *pkt, uint32_t len);

/* Token bucket: ICMP_PER_SEC with bursts of ICMP_BURST. All zero = full. Not thread-safe. */
struct icmp_limit {
	uint64_t full_at_ns; /* when the bucket will be full again if nothing more is taken */
};

/* Takes a token; false: none left, be silent. @now_ns: monotonic. */
bool icmp_limit_take(struct icmp_limit *l, uint64_t now_ns);

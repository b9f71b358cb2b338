/* SPDX-License-Identifier: MPL-2.0 */
/* Token bucket per source for handshake messages under load (P-123, P-124): 20 per second, burst of
 * 5. A table of fixed size in the caller's memory; sources idle for more than a second make room.
 * Constant work per call. Not thread-safe. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "crypto/siphash.h"

enum {
	RATELIMIT_PER_SECOND = 20,
	RATELIMIT_BURST = 5,
	RATELIMIT_MAX_ENTRIES = 65536, /* what the kernel uses; a table may be smaller */
};

/* One source, and the head of one hash chain; the two have nothing to do with each other. */
struct ratelimit_entry {
	uint64_t source;  /* IPv4 address, or upper half of an IPv6 address */
	uint64_t last_ns; /* last seen, allowed or not */
	uint32_t tokens;  /* in nanoseconds: one message costs 50 ms */
	uint32_t is_ipv6; /* part of the key */
	uint32_t chain;   /* next in the same hash chain, or in the list of free entries */
	uint32_t newer;   /* in the order of last_ns */
	uint32_t older;
	uint32_t bucket; /* head of chain number "index of this entry" */
};

struct ratelimit {
	struct ratelimit_entry *entries; /* caller's */
	uint32_t n_entries;
	uint32_t n_in_use;
	uint32_t free; /* indices into entries, UINT32_MAX = none */
	uint32_t newest;
	uint32_t oldest;
	uint8_t key[SIPHASH_KEY_LEN];
};

/* @entries stays the caller's, must outlive @rl and need not be initialised. @key is random. */
void ratelimit_init(struct ratelimit *rl, struct ratelimit_entry *entries, size_t n_entries,
		    const uint8_t key[SIPHASH_KEY_LEN]);

/* May a message from @source (4 bytes IPv4 or 16 bytes IPv6, which counts as its /64) be handled?
 * False too if it is a new source and the table is full. */
bool ratelimit_allow(struct ratelimit *rl, struct bytes source, uint64_t now_ns);

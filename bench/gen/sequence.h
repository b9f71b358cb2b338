/* SPDX-License-Identifier: MPL-2.0 */
/* The sequence numbers of one flow: what is new, reordered (RFC 4737) or a duplicate. Remembers the
 * last SEQUENCE_WINDOW numbers. Single-threaded. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { SEQUENCE_WINDOW = 65536 }; /* half a second at 130000 datagrams per second */

struct sequence {
	uint64_t next; /* highest number seen + 1 */
	uint64_t received;
	uint64_t duplicates;
	uint64_t reordered;
	uint64_t extent_max; /* by how many numbers a datagram came too late, at most */
	uint64_t sent;       /* by the end marker */
	bool has_end;
	uint64_t seen[SEQUENCE_WINDOW / 64];
};

/* False for a duplicate. A number older than the window counts as new and reordered. */
bool sequence_add(struct sequence *s, uint64_t seq);

/* By the end marker, or by the highest number if there was none. */
uint64_t sequence_lost(const struct sequence *s);

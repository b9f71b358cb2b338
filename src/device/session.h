/* SPDX-License-Identifier: MPL-2.0 */
/* A peer's keypair together with its place in the index table. Made and ended by the control
 * thread, used by workers under RCU, freed and wiped after a grace period. */
#pragma once

#include "crypto/secret.h"
#include "device/index_table.h"
#include "noise/keypair.h"

struct session {
	struct keypair keypair;
	struct index_entry entry;
	struct secret_pool *pool; /* where it goes back to; constant */
};

/* A session for @peer, not yet in the table; NULL = out of memory. The caller wipes @keys. */
struct session *session_create(struct secret_pool *pool, struct peer *peer,
			       const struct session_keys *keys, uint64_t now_ns);
/* Takes it out of @table at once (P-093), wipes and frees it after a grace period. NULL is fine. */
void session_retire(struct session *s, struct index_table *table);

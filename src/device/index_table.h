/* SPDX-License-Identifier: MPL-2.0 */
/* Receiver index -> session or handshake, for the whole device (P-090..P-093): liburcu's lock-free
 * hash table. Workers look sessions up under RCU; only the control thread changes it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <urcu/rculfhash.h>

#include "base/macro.h"
#include "base/rcu.h"

struct peer;
struct session;

struct index_entry {
	struct cds_lfht_node node;
	struct rcu_item rcu;     /* for the owner's free after removal */
	uint32_t index;          /* constant while in the table */
	struct peer *peer;       /* likewise */
	struct session *session; /* likewise; NULL: the peer's handshake in flight */
};

struct index_table {
	struct cds_lfht *ht;
};

/* 0 or -ENOMEM. The caller is a registered RCU thread, as in all functions here. */
int index_table_init(struct index_table *t);
/* Empty by now; nobody reads any more. */
void index_table_finish(struct index_table *t);

/* The entry of @index, or NULL. Valid until the thread's next quiescent state. Any thread. */
struct index_entry *index_table_lookup(const struct index_table *t, uint32_t index);
/* Enters @e under e->index. False: the index is taken, choose another. Control thread only. */
MUST_CHECK bool index_table_insert(struct index_table *t, struct index_entry *e);
/* Takes @e out; its memory may go after a grace period. Control thread only. */
void index_table_remove(struct index_table *t, struct index_entry *e);

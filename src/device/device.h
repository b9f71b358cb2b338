/* SPDX-License-Identifier: MPL-2.0 */
/* What the threads of a device share: peers, allowed IPs, the index table, mailboxes and counters.
 * No descriptors, no threads: those are the control thread's and the workers' own. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <urcu/rculfhash.h>

#include "crypto/siphash.h"
#include "device/allowedips.h"
#include "device/attention.h"
#include "device/dh_pool.h"
#include "device/drops.h"
#include "device/index_table.h"
#include "device/mailbox.h"
#include "device/peer.h"
#include "noise/identity.h"

enum {
	DEVICE_MAX_WORKERS = 256,
	DEVICE_MAX_PEERS = 1 << 20, /* P-019 */
};

struct device {
	/* constant after device_init() */
	uint32_t n_workers;
	void (*wake_control)(void *ctx);                 /* ends the control thread's sleep */
	void (*wake_worker)(void *ctx, uint32_t worker); /* ends a worker's sleep */
	void *wake_ctx;
	struct mailbox *mailbox;     /* one per worker, then the control thread's */
	struct dh_pool *dh_pool;     /* handshake work of the control thread for idle workers */
	struct drop_counters *drops; /* likewise: by the thread that dropped */

	/* any thread reads, control writes */
	struct allowedips allowedips;
	struct index_table indices;
	_Atomic uint32_t mtu; /* of the interface, in bytes; 0 is legal (P-260) */

	/* any thread, atomic */
	struct attention attention;
	struct staged_budget staged;
	struct forwarded_budget forwarded;

	/* owner: control */
	struct identity *identity; /* in locked memory */
	struct cds_lfht *peers_by_key;
	struct list peers; /* in order of creation */
	uint32_t n_peers;
	uint8_t hash_key[SIPHASH_KEY_LEN];
	struct secret_pool peer_pool;
	struct secret_pool session_pool;
	struct secret_pool identity_pool;
};

struct device_params {
	uint32_t n_workers;
	void (*wake_control)(void *ctx);
	void (*wake_worker)(void *ctx, uint32_t worker);
	void *wake_ctx;
};

/* 0, -ENOMEM or -EIO. The caller is, or acts as, the control thread and is registered with RCU. */
int device_init(struct device *d, const struct device_params *params);
/* All other threads have ended; no peers are left. Wipes everything. */
void device_finish(struct device *d);

/* Bytes of its mailboxes and counters, without what lies in them; constant. */
size_t device_memory(const struct device *d);

/* The rest: control thread only. */
struct peer *device_find_peer(const struct device *d, const uint8_t public_key[NOISE_KEY_LEN]);
/* Makes @n_peers calls of device_add_peer() and @n_allowed_ips insertions into @allowedips succeed,
 * from now to device_end_reservation(). 0 or -ENOMEM: no memory, or too many peers. */
MUST_CHECK int device_reserve(struct device *d, size_t n_peers, size_t n_allowed_ips);
void device_end_reservation(struct device *d);
/* A new peer with nothing configured (P-386); NULL = out of memory or too many. */
struct peer *device_add_peer(struct device *d, const uint8_t public_key[NOISE_KEY_LEN]);
/* Takes @p out of all tables at once and wipes it after a grace period (P-387). The caller has
 * ended its sessions, handshake and timers and cleared its queue. ATTENTION_FREE follows, upon
 * which the caller calls device_free_peer(). */
void device_remove_peer(struct device *d, struct peer *p);
void device_free_peer(struct device *d, struct peer *p);

static inline struct mailbox *device_control_mailbox(struct device *d)
{
	return &d->mailbox[d->n_workers];
}

/* Calls @p to the control thread's attention. Any thread. */
void device_call_attention(struct device *d, struct peer *p, uint32_t reason);

/* SPDX-License-Identifier: MPL-2.0 */
/* One peer: what workers read and count under RCU, and what only the control thread touches. Made and
 * removed by the control thread; its memory goes after a grace period (ATTENTION_FREE). */
#pragma once

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/rcu.h"
#include "base/timer_wheel.h"
#include "device/allowedips.h"
#include "device/attention.h"
#include "device/drops.h"
#include "device/endpoint_cell.h"
#include "device/session.h"
#include "device/staged.h"
#include "noise/cookie.h"
#include "noise/handshake.h"
#include "noise/timers.h"

struct device;

struct peer {
	/* workers read, control publishes */
	alignas(CACHELINE) RCU_PTR(struct session) current; /* the one we send with (P-170) */
	/* next, as long as a worker may still make it current by itself (P-173): it takes the
	 * pointer out and then stores it in current. Written by control otherwise. */
	_Atomic(struct session *) promotable;
	struct endpoint_cell endpoint;
	_Atomic uint32_t n_handed_over;  /* staged packets between workers and control */
	_Atomic uint64_t flush_until_ns; /* workers hand over behind staged packets until then */

	/* any thread, atomic */
	alignas(CACHELINE) struct timers timers;
	struct attention_link attention;
	alignas(CACHELINE) _Atomic uint64_t tx_bytes; /* P-421 */
	alignas(CACHELINE) _Atomic uint64_t rx_bytes; /* P-420 */
	struct drop_counters drops;

	/* owner: control */
	/* P-170: the slots as control last set them; current runs ahead if a worker promoted next */
	struct session *previous, *current_slot, *next;
	struct handshake handshake;
	struct index_entry *handshake_entry; /* of handshake.local_index; NULL = none */
	struct cookie_jar cookie_jar;
	struct staged_queue staged;
	struct timer_node timer;
	struct list to_initiate;   /* in the control thread's list of those that wait for a job */
	bool initiation_under_way; /* it has a job */
	struct allowedips_owner allowed; /* its prefixes */
	struct cds_lfht_node by_key;     /* in the device's table of public keys */
	struct list link;                /* in the device's list, in order of creation (U-043) */
	struct rcu_item rcu;
	uint64_t handshake_sec; /* P-423: CLOCK_REALTIME of the last one completed; 0 = never */
	uint32_t handshake_nsec;
	uint16_t keepalive_sec;
	uint8_t n_crossed;     /* initiations in a row that crossed with the peer's (P-073) */
	bool is_crossed;       /* so did the one that is being answered */
	struct device *device; /* constant */
	bool is_dead;          /* removed; waits for its grace period */
};

static inline struct peer *peer_of_attention(struct attention_link *l)
{
	return container_of(l, struct peer, attention);
}

static inline struct peer *peer_of_prefixes(struct allowedips_owner *o)
{
	return container_of(o, struct peer, allowed);
}

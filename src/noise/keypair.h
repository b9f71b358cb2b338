/* SPDX-License-Identifier: MPL-2.0 */
/* One derived session: two keys, the sending counter, the replay window, and when they may still be
 * used (P-140..P-149, P-170..P-178). Reads no clock. What thread writes which field stands beside
 * it; everything above the first such mark is constant after keypair_init(). */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macro.h"
#include "noise/handshake.h"
#include "noise/replay.h"

struct keypair {
	alignas(CACHELINE) uint8_t sending_key[32];
	uint8_t receiving_key[32];
	uint32_t local_index;  /* what the peer writes into receiver_index */
	uint32_t remote_index; /* what we write there */
	uint64_t birth_ns;     /* CLOCK_BOOTTIME */
	bool is_initiator;

	/* any thread, atomic */
	alignas(CACHELINE) _Atomic uint64_t send_counter; /* next counter to use */
	_Atomic bool send_disabled;  /* counter exhausted, or the private key changed */
	_Atomic bool is_unconfirmed; /* responder: nothing was received on it yet (P-173) */

	/* owner: the one worker that receives on local_index */
	alignas(CACHELINE) struct replay replay;
};

/* Makes @kp from freshly derived keys; the caller wipes @keys. */
void keypair_init(struct keypair *kp, const struct session_keys *keys, uint64_t now_ns);
/* Wipes everything. No thread may use @kp any more. */
void keypair_finish(struct keypair *kp);

/* Nanoseconds. A thread may have read its clock just before another made the pair: that is no age
 * of centuries. Any thread. */
static inline uint64_t keypair_age_ns(const struct keypair *kp, uint64_t now_ns)
{
	return now_ns > kp->birth_ns ? now_ns - kp->birth_ns : 0;
}

/* P-176: young enough, not disabled and counters left. Any thread. */
static inline bool keypair_may_send(const struct keypair *kp, uint64_t now_ns)
{
	return !atomic_load_explicit(&kp->send_disabled, memory_order_relaxed) &&
	       keypair_age_ns(kp, now_ns) < REJECT_AFTER_TIME_NS;
}

/* P-142: young enough to receive. Any thread. */
static inline bool keypair_may_receive(const struct keypair *kp, uint64_t now_ns)
{
	return keypair_age_ns(kp, now_ns) < REJECT_AFTER_TIME_NS;
}

/* Reserves @n consecutive counters from *@ret_first (P-140, P-244). False: one of them would
 * reach REJECT_AFTER_MESSAGES (P-141); none was taken and the pair is disabled for sending. Any
 * thread; @n at most 2^12. */
MUST_CHECK bool keypair_take_counters(struct keypair *kp, uint32_t n, uint64_t *ret_first);

/* P-220: time for a new session, asked after sending. Any thread. */
bool keypair_wants_rekey_after_send(const struct keypair *kp, uint64_t now_ns);
/* P-226, without the once-per-session flag: asked after receiving, of the current pair. */
bool keypair_wants_rekey_after_receive(const struct keypair *kp, uint64_t now_ns);

/* SPDX-License-Identifier: MPL-2.0 */
/* Sessions: key life times and counters. */
#include "noise/keypair.h"

#include <string.h>

#include "crypto/secret.h"
#include "noise/message.h"

void keypair_init(struct keypair *kp, const struct session_keys *keys, uint64_t now_ns)
{
	memcpy(kp->sending_key, keys->sending, sizeof(kp->sending_key));
	memcpy(kp->receiving_key, keys->receiving, sizeof(kp->receiving_key));
	kp->local_index = keys->local_index;
	kp->remote_index = keys->remote_index;
	kp->birth_ns = now_ns;
	kp->is_initiator = keys->is_initiator;
	atomic_init(&kp->send_counter, 0);
	atomic_init(&kp->send_disabled, false);
	atomic_init(&kp->is_unconfirmed, !keys->is_initiator);
	replay_init(&kp->replay);
}

void keypair_finish(struct keypair *kp)
{
	secret_wipe(kp, sizeof(*kp));
}

bool keypair_take_counters(struct keypair *kp, uint32_t n, uint64_t *ret_first)
{
	/* Racing threads overshoot by at most 2^12 each, far below the 2^13 between the limit and
	 * the wrap of the counter; every value they see is refused. */
	uint64_t first = atomic_load_explicit(&kp->send_counter, memory_order_relaxed);
	if (LIKELY(first < REJECT_AFTER_MESSAGES - n)) {
		first = atomic_fetch_add_explicit(&kp->send_counter, n, memory_order_relaxed);
		if (LIKELY(first <= REJECT_AFTER_MESSAGES - n)) {
			*ret_first = first;
			return true;
		}
	} else if (first <= REJECT_AFTER_MESSAGES - n &&
		   atomic_compare_exchange_strong_explicit(&kp->send_counter, &first, first + n,
							   memory_order_relaxed,
							   memory_order_relaxed)) {
		*ret_first = first;
		return true;
	}
	atomic_store_explicit(&kp->send_disabled, true, memory_order_relaxed);
	return false;
}

bool keypair_wants_rekey_after_send(const struct keypair *kp, uint64_t now_ns)
{
	return atomic_load_explicit(&kp->send_counter, memory_order_relaxed) >
		       REKEY_AFTER_MESSAGES ||
	       (kp->is_initiator && now_ns - kp->birth_ns >= REKEY_AFTER_TIME_NS);
}

bool keypair_wants_rekey_after_receive(const struct keypair *kp, uint64_t now_ns)
{
	return kp->is_initiator && now_ns - kp->birth_ns >= REJECT_AFTER_TIME_NS -
								    KEEPALIVE_TIMEOUT_NS -
								    REKEY_TIMEOUT_NS;
}

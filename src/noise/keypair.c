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

/* Far from the limit a plain addition will do: however many threads race, what they add together
 * stays below this distance. */
#define NEAR_LIMIT (REJECT_AFTER_MESSAGES - (UINT64_C(1) << 32))

bool keypair_take_counters(struct keypair *kp, uint32_t n, uint64_t *ret_first)
{
	uint64_t first = atomic_load_explicit(&kp->send_counter, memory_order_relaxed);

	if (LIKELY(first < NEAR_LIMIT)) {
		*ret_first = atomic_fetch_add_explicit(&kp->send_counter, n, memory_order_relaxed);
		return true;
	}
	while (first <= REJECT_AFTER_MESSAGES - n) {
		if (atomic_compare_exchange_weak_explicit(&kp->send_counter, &first, first + n,
							  memory_order_relaxed,
							  memory_order_relaxed)) {
			*ret_first = first;
			return true;
		}
	}
	atomic_store_explicit(&kp->send_disabled, true, memory_order_relaxed);
	return false;
}

bool keypair_wants_rekey_after_send(const struct keypair *kp, uint64_t now_ns)
{
	return atomic_load_explicit(&kp->send_counter, memory_order_relaxed) >
		       REKEY_AFTER_MESSAGES ||
	       (kp->is_initiator && keypair_age_ns(kp, now_ns) >= REKEY_AFTER_TIME_NS);
}

bool keypair_wants_rekey_after_receive(const struct keypair *kp, uint64_t now_ns)
{
	return kp->is_initiator && keypair_age_ns(kp, now_ns) >= REJECT_AFTER_TIME_NS -
									 KEEPALIVE_TIMEOUT_NS -
									 REKEY_TIMEOUT_NS;
}

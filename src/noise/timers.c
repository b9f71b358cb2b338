/* SPDX-License-Identifier: MPL-2.0 */
/* Timer rules. */
#include "noise/timers.h"

#include "noise/message.h"

#define CROSSING_NS (1500 * NSEC_PER_MSEC) /* a round trip is less */

void timers_init(struct timers *t)
{
	for (unsigned i = 0; i < TIMER_N_KINDS; i++)
		atomic_init(&t->at[i], 0);
	atomic_init(&t->persistent_ns, 0);
	atomic_init(&t->wake_ns, TIMER_NEVER);
	atomic_init(&t->initiation_allowed_ns, 0);
	atomic_init(&t->need_another_keepalive, false);
	atomic_init(&t->sent_last_minute_handshake, false);
	t->n_attempts = 0;
}

void timers_stop(struct timers *t)
{
	for (unsigned i = 0; i < TIMER_N_KINDS; i++)
		atomic_store_explicit(&t->at[i], 0, memory_order_relaxed);
	atomic_store_explicit(&t->initiation_allowed_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&t->need_another_keepalive, false, memory_order_relaxed);
	atomic_store_explicit(&t->sent_last_minute_handshake, false, memory_order_relaxed);
	t->n_attempts = 0;
}

static bool is_pending(const struct timers *t, enum timer_kind kind)
{
	return atomic_load_explicit(&t->at[kind], memory_order_relaxed) != 0;
}

static void cancel(struct timers *t, enum timer_kind kind)
{
	if (is_pending(t, kind)) /* reading first keeps the cache line shared */
		atomic_store_explicit(&t->at[kind], 0, memory_order_relaxed);
}

/* Arms and says whether control looks too late for it. Both accesses are seq_cst: together with
 * those in timers_plan() one side always sees the other's store. */
static bool arm(struct timers *t, enum timer_kind kind, uint64_t at_ns)
{
	atomic_store(&t->at[kind], at_ns);
	return at_ns < atomic_load(&t->wake_ns);
}

static bool rearm_persistent(struct timers *t, uint64_t now_ns)
{
	uint64_t interval = atomic_load_explicit(&t->persistent_ns, memory_order_relaxed);
	if (interval == 0)
		return false;
	if (!is_pending(t, TIMER_PERSISTENT_KEEPALIVE))
		return arm(t, TIMER_PERSISTENT_KEEPALIVE, now_ns + interval);
	/* Only ever later than what control already plans for: no need to tell it. */
	atomic_store_explicit(&t->at[TIMER_PERSISTENT_KEEPALIVE], now_ns + interval,
			      memory_order_relaxed);
	return now_ns + interval < atomic_load_explicit(&t->wake_ns, memory_order_relaxed);
}

bool timers_authenticated_sent(struct timers *t, uint64_t now_ns)
{
	cancel(t, TIMER_SEND_KEEPALIVE);
	return rearm_persistent(t, now_ns);
}

bool timers_authenticated_received(struct timers *t, uint64_t now_ns)
{
	cancel(t, TIMER_NEW_HANDSHAKE);
	return rearm_persistent(t, now_ns);
}

bool timers_data_received(struct timers *t, uint64_t now_ns)
{
	if (!is_pending(t, TIMER_SEND_KEEPALIVE))
		return arm(t, TIMER_SEND_KEEPALIVE, now_ns + KEEPALIVE_TIMEOUT_NS);
	if (!atomic_load_explicit(&t->need_another_keepalive, memory_order_relaxed))
		atomic_store_explicit(&t->need_another_keepalive, true, memory_order_relaxed);
	return false;
}

bool timers_data_sent(struct timers *t, uint64_t now_ns, uint64_t jitter_ns)
{
	if (is_pending(t, TIMER_NEW_HANDSHAKE))
		return false;
	return arm(t, TIMER_NEW_HANDSHAKE,
		   now_ns + KEEPALIVE_TIMEOUT_NS + REKEY_TIMEOUT_NS + jitter_ns);
}

void timers_initiation_sent(struct timers *t, uint64_t now_ns, uint64_t jitter_ns)
{
	(void)arm(t, TIMER_RETRANSMIT_HANDSHAKE, now_ns + REKEY_TIMEOUT_NS + jitter_ns);
}

void timers_handshake_message_sent(struct timers *t, uint64_t now_ns)
{
	atomic_store_explicit(&t->initiation_allowed_ns, now_ns + REKEY_TIMEOUT_NS,
			      memory_order_relaxed);
}

void timers_hold_back(struct timers *t, uint64_t more_ns)
{
	uint64_t at = atomic_load_explicit(&t->initiation_allowed_ns, memory_order_relaxed);
	atomic_store_explicit(&t->initiation_allowed_ns, at + more_ns, memory_order_relaxed);
}

bool timers_initiation_is_young(const struct timers *t, uint64_t now_ns)
{
	uint64_t at = atomic_load_explicit(&t->initiation_allowed_ns, memory_order_relaxed);
	return now_ns + REKEY_TIMEOUT_NS < at + CROSSING_NS;
}

void timers_allow_initiation(struct timers *t)
{
	atomic_store_explicit(&t->initiation_allowed_ns, 0, memory_order_relaxed);
}

bool timers_may_initiate(const struct timers *t, uint64_t now_ns)
{
	return now_ns >= atomic_load_explicit(&t->initiation_allowed_ns, memory_order_relaxed);
}

void timers_session_derived(struct timers *t, uint64_t now_ns)
{
	(void)arm(t, TIMER_ZERO_KEY_MATERIAL, now_ns + 3 * REJECT_AFTER_TIME_NS);
}

void timers_handshake_complete(struct timers *t)
{
	cancel(t, TIMER_RETRANSMIT_HANDSHAKE);
	t->n_attempts = 0;
	atomic_store_explicit(&t->sent_last_minute_handshake, false, memory_order_relaxed);
}

bool timers_retransmit_expired(struct timers *t, uint64_t now_ns)
{
	if (t->n_attempts <= MAX_TIMER_HANDSHAKES) {
		t->n_attempts++;
		return false;
	}
	cancel(t, TIMER_SEND_KEEPALIVE);
	if (!is_pending(t, TIMER_ZERO_KEY_MATERIAL))
		(void)arm(t, TIMER_ZERO_KEY_MATERIAL, now_ns + 3 * REJECT_AFTER_TIME_NS);
	return true;
}

void timers_retransmit_later(struct timers *t)
{
	(void)arm(t, TIMER_RETRANSMIT_HANDSHAKE,
		  atomic_load_explicit(&t->initiation_allowed_ns, memory_order_relaxed));
}

void timers_keepalive_expired(struct timers *t, uint64_t now_ns)
{
	if (atomic_exchange_explicit(&t->need_another_keepalive, false, memory_order_relaxed))
		(void)arm(t, TIMER_SEND_KEEPALIVE, now_ns + KEEPALIVE_TIMEOUT_NS);
}

void timers_set_persistent(struct timers *t, uint16_t interval_sec)
{
	atomic_store_explicit(&t->persistent_ns, interval_sec * NSEC_PER_SEC, memory_order_relaxed);
}

unsigned timers_expire(struct timers *t, uint64_t now_ns)
{
	unsigned due = 0;

	for (unsigned i = 0; i < TIMER_N_KINDS; i++) {
		uint64_t at = atomic_load_explicit(&t->at[i], memory_order_relaxed);
		/* A worker may move the deadline meanwhile: then it is not due after all. */
		if (at != 0 && at <= now_ns && atomic_compare_exchange_strong(&t->at[i], &at, 0))
			due |= BIT(i);
	}
	return due;
}

static uint64_t earliest(const struct timers *t)
{
	uint64_t min = TIMER_NEVER;

	for (unsigned i = 0; i < TIMER_N_KINDS; i++) {
		uint64_t at = atomic_load(&t->at[i]);
		if (at != 0)
			min = MIN(min, at);
	}
	return min;
}

uint64_t timers_plan(struct timers *t)
{
	for (;;) {
		uint64_t next = earliest(t);
		/* pairs with arm(): a worker that armed after our look sees this value and
		 * reports; one that armed before is seen by the look below */
		atomic_store(&t->wake_ns, next);
		if (earliest(t) >= next)
			return next;
	}
}

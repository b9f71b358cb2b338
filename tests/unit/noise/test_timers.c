/* SPDX-License-Identifier: MPL-2.0 */
/* The timer rules alone: what arms and cancels what, and who has to be told. What follows from an
 * expiry is in tests/protocol. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "noise/message.h"
#include "noise/timers.h"
#include "unit/base/random.h"

#define T0_NS (1000 * NSEC_PER_SEC)
#define SEC   NSEC_PER_SEC

static struct timers t;

static void init(void)
{
	timers_init(&t);
}

TestSuite(timers, .init = init);

static uint64_t at(enum timer_kind kind)
{
	return atomic_load(&t.at[kind]);
}

Test(timers, nothing_is_pending_at_first)
{
	cr_assert(eq(uint, timers_expire(&t, UINT64_MAX), 0));
	cr_assert(eq(u64, timers_plan(&t), TIMER_NEVER));
	cr_assert(timers_may_initiate(&t, 0));
	cr_assert(not(timers_authenticated_sent(&t, T0_NS)));
	cr_assert(not(timers_authenticated_received(&t, T0_NS)));
	cr_assert(eq(u64, timers_plan(&t), TIMER_NEVER));
}

Test(timers, p200_retransmission_by_5_s_and_jitter)
{
	timers_initiation_sent(&t, T0_NS, 77);
	cr_assert(eq(u64, at(TIMER_RETRANSMIT_HANDSHAKE), T0_NS + 5 * SEC + 77));
	timers_initiation_sent(&t, T0_NS + SEC, 0); /* arming replaces */
	cr_assert(eq(u64, at(TIMER_RETRANSMIT_HANDSHAKE), T0_NS + 6 * SEC));
	timers_handshake_complete(&t);
	cr_assert(eq(u64, at(TIMER_RETRANSMIT_HANDSHAKE), 0));
}

Test(timers, p201_p214_keepalive_is_armed_once)
{
	cr_assert(timers_data_received(&t, T0_NS));
	cr_assert(eq(u64, at(TIMER_SEND_KEEPALIVE), T0_NS + 10 * SEC));
	cr_assert(not(atomic_load(&t.need_another_keepalive)));
	cr_assert(not(timers_data_received(&t, T0_NS + SEC)));
	cr_assert(eq(u64, at(TIMER_SEND_KEEPALIVE), T0_NS + 10 * SEC));
	cr_assert(atomic_load(&t.need_another_keepalive));
	timers_authenticated_sent(&t, T0_NS + 2 * SEC);
	cr_assert(eq(u64, at(TIMER_SEND_KEEPALIVE), 0));
}

Test(timers, p202_p215_new_handshake_is_armed_once)
{
	cr_assert(timers_data_sent(&t, T0_NS, 99));
	cr_assert(eq(u64, at(TIMER_NEW_HANDSHAKE), T0_NS + 15 * SEC + 99));
	cr_assert(not(timers_data_sent(&t, T0_NS + SEC, 5)));
	cr_assert(eq(u64, at(TIMER_NEW_HANDSHAKE), T0_NS + 15 * SEC + 99));
	timers_authenticated_received(&t, T0_NS + 2 * SEC);
	cr_assert(eq(u64, at(TIMER_NEW_HANDSHAKE), 0));
}

Test(timers, p201_p202_do_not_cancel_each_other)
{
	(void)timers_data_received(&t, T0_NS);
	(void)timers_data_sent(&t, T0_NS, 0);
	timers_authenticated_received(&t, T0_NS);
	cr_assert(ne(u64, at(TIMER_SEND_KEEPALIVE), 0));
	(void)timers_data_sent(&t, T0_NS, 0);
	timers_authenticated_sent(&t, T0_NS);
	cr_assert(ne(u64, at(TIMER_NEW_HANDSHAKE), 0));
}

Test(timers, p203_p210_zero_key_material_540_s_after_each_session)
{
	timers_session_derived(&t, T0_NS);
	cr_assert(eq(u64, at(TIMER_ZERO_KEY_MATERIAL), T0_NS + 540 * SEC));
	timers_session_derived(&t, T0_NS + 100 * SEC);
	cr_assert(eq(u64, at(TIMER_ZERO_KEY_MATERIAL), T0_NS + 640 * SEC));
	timers_authenticated_sent(&t, T0_NS);
	timers_authenticated_received(&t, T0_NS);
	timers_handshake_complete(&t);
	cr_assert(eq(u64, at(TIMER_ZERO_KEY_MATERIAL), T0_NS + 640 * SEC));
}

Test(timers, p204_persistent_keepalive_follows_both_directions)
{
	timers_set_persistent(&t, 25);
	cr_assert(eq(u64, at(TIMER_PERSISTENT_KEEPALIVE), 0)); /* armed by traffic only */
	cr_assert(timers_authenticated_sent(&t, T0_NS));
	cr_assert(eq(u64, at(TIMER_PERSISTENT_KEEPALIVE), T0_NS + 25 * SEC));
	(void)timers_plan(&t);
	cr_assert(not(timers_authenticated_received(&t, T0_NS + SEC)));
	cr_assert(eq(u64, at(TIMER_PERSISTENT_KEEPALIVE), T0_NS + 26 * SEC));
	timers_set_persistent(&t, 0);
	timers_authenticated_sent(&t, T0_NS + 2 * SEC);
	cr_assert(eq(u64, at(TIMER_PERSISTENT_KEEPALIVE), T0_NS + 26 * SEC));
	timers_set_persistent(&t, 65535);
	timers_authenticated_sent(&t, T0_NS);
	cr_assert(eq(u64, at(TIMER_PERSISTENT_KEEPALIVE), T0_NS + 65535 * SEC));
}

Test(timers, p245_shorter_interval_is_reported)
{
	timers_set_persistent(&t, 100);
	timers_authenticated_sent(&t, T0_NS);
	cr_assert(eq(u64, timers_plan(&t), T0_NS + 100 * SEC));
	timers_set_persistent(&t, 5);
	cr_assert(timers_authenticated_sent(&t, T0_NS + SEC));
	cr_assert(eq(u64, timers_plan(&t), T0_NS + 6 * SEC));
}

Test(timers, p211_completion_resets)
{
	t.n_attempts = 4;
	atomic_store(&t.sent_last_minute_handshake, true);
	timers_handshake_complete(&t);
	cr_assert(eq(u32, t.n_attempts, 0));
	cr_assert(not(atomic_load(&t.sent_last_minute_handshake)));
}

Test(timers, p221_5_s_between_handshake_messages)
{
	timers_handshake_message_sent(&t, T0_NS);
	cr_assert(not(timers_may_initiate(&t, T0_NS)));
	cr_assert(not(timers_may_initiate(&t, T0_NS + 5 * SEC - 1)));
	cr_assert(timers_may_initiate(&t, T0_NS + 5 * SEC));
	timers_allow_initiation(&t);
	cr_assert(timers_may_initiate(&t, T0_NS));
}

Test(timers, p222_retransmission_moves_to_when_it_is_allowed)
{
	timers_handshake_message_sent(&t, T0_NS);
	timers_retransmit_later(&t);
	cr_assert(eq(u64, at(TIMER_RETRANSMIT_HANDSHAKE), T0_NS + 5 * SEC));
}

Test(timers, p223_nineteen_repetitions_then_give_up)
{
	(void)timers_data_received(&t, T0_NS);
	for (unsigned i = 0; i < 19; i++)
		cr_assert(not(timers_retransmit_expired(&t, T0_NS)));
	cr_assert(ne(u64, at(TIMER_SEND_KEEPALIVE), 0));
	cr_assert(eq(u64, at(TIMER_ZERO_KEY_MATERIAL), 0));
	cr_assert(timers_retransmit_expired(&t, T0_NS));
	cr_assert(eq(u64, at(TIMER_SEND_KEEPALIVE), 0));
	cr_assert(eq(u64, at(TIMER_ZERO_KEY_MATERIAL), T0_NS + 540 * SEC));
}

Test(timers, p223_pending_zero_key_material_stays)
{
	timers_session_derived(&t, T0_NS - 100 * SEC);
	t.n_attempts = 19;
	cr_assert(timers_retransmit_expired(&t, T0_NS));
	cr_assert(eq(u64, at(TIMER_ZERO_KEY_MATERIAL), T0_NS + 440 * SEC));
}

Test(timers, p224_need_another_arms_again_once)
{
	timers_keepalive_expired(&t, T0_NS);
	cr_assert(eq(u64, at(TIMER_SEND_KEEPALIVE), 0));
	atomic_store(&t.need_another_keepalive, true);
	timers_keepalive_expired(&t, T0_NS);
	cr_assert(eq(u64, at(TIMER_SEND_KEEPALIVE), T0_NS + 10 * SEC));
	cr_assert(not(atomic_load(&t.need_another_keepalive)));
}

Test(timers, p400_stop_clears_all_but_the_interval)
{
	timers_set_persistent(&t, 25);
	timers_authenticated_sent(&t, T0_NS);
	(void)timers_data_received(&t, T0_NS);
	(void)timers_data_received(&t, T0_NS);
	(void)timers_data_sent(&t, T0_NS, 0);
	timers_initiation_sent(&t, T0_NS, 0);
	timers_session_derived(&t, T0_NS);
	timers_handshake_message_sent(&t, T0_NS);
	atomic_store(&t.sent_last_minute_handshake, true);
	t.n_attempts = 3;
	timers_stop(&t);
	cr_assert(eq(uint, timers_expire(&t, UINT64_MAX), 0));
	cr_assert(timers_may_initiate(&t, T0_NS));
	cr_assert(not(atomic_load(&t.need_another_keepalive)));
	cr_assert(not(atomic_load(&t.sent_last_minute_handshake)));
	cr_assert(eq(u32, t.n_attempts, 0));
	timers_authenticated_sent(&t, T0_NS);
	cr_assert(eq(u64, at(TIMER_PERSISTENT_KEEPALIVE), T0_NS + 25 * SEC));
}

Test(timers, expire_takes_exactly_what_is_due)
{
	timers_initiation_sent(&t, T0_NS, 0);  /* 5 s */
	(void)timers_data_received(&t, T0_NS); /* 10 s */
	timers_session_derived(&t, T0_NS);     /* 540 s */
	cr_assert(eq(uint, timers_expire(&t, T0_NS + 5 * SEC - 1), 0));
	cr_assert(eq(uint, timers_expire(&t, T0_NS + 5 * SEC), BIT(TIMER_RETRANSMIT_HANDSHAKE)));
	cr_assert(eq(uint, timers_expire(&t, T0_NS + 600 * SEC),
		     BIT(TIMER_SEND_KEEPALIVE) | BIT(TIMER_ZERO_KEY_MATERIAL)));
	cr_assert(eq(uint, timers_expire(&t, UINT64_MAX), 0));
}

/* A worker tells of what comes before the planned look, and of nothing else. Against a model: at any
 * time the planned look, or a report, is not later than the earliest deadline. */
Test(timers, no_deadline_is_missed_and_few_are_reported)
{
	uint64_t now = T0_NS;
	uint32_t n_events = 0, n_reports = 0;

	timers_set_persistent(&t, 25);
	for (unsigned i = 0; i < 200000; i++) {
		bool told = false;
		now += random_below(100) * NSEC_PER_MSEC;
		switch (random_below(4)) {
		case 0:
			told = timers_authenticated_sent(&t, now);
			told |= timers_data_sent(&t, now, random_below(333) * NSEC_PER_MSEC);
			break;
		case 1:
			told = timers_authenticated_received(&t, now);
			break;
		case 2:
			told = timers_authenticated_received(&t, now);
			told |= timers_data_received(&t, now);
			break;
		default:
			told = timers_authenticated_sent(&t, now);
			break;
		}
		n_events++;
		n_reports += told;
		uint64_t earliest = TIMER_NEVER;
		for (unsigned k = 0; k < TIMER_N_KINDS; k++)
			if (at(k))
				earliest = MIN(earliest, at(k));
		if (told || atomic_load(&t.wake_ns) <= now) {
			(void)timers_expire(&t, now);
			(void)timers_plan(&t);
		} else {
			cr_assert(ge(u64, earliest, atomic_load(&t.wake_ns)));
		}
	}
	cr_assert(lt(u32, n_reports, n_events / 50));
}

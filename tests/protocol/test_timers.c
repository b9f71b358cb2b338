/* SPDX-License-Identifier: MPL-2.0 */
/* Each timer rule by its number (section 10), on complete devices. Node 0 is the initiator. */
#include <errno.h>

#include "check.h"
#include "control/peer_events.h"

static struct sim sim;

static void init(void)
{
	sim_init(&sim, 2, 2);
}

static void fini(void)
{
	sim_finish(&sim);
}

TestSuite(timers, .init = init, .fini = fini);

/* --- P-200: retransmission --- */

Test(timers, p200_initiation_is_repeated_after_5_s_and_jitter)
{
	sim.link.is_cut = true;
	uint64_t t = sim.now_ns;
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 4.99);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 1));
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 2));
	check_due_jittered(last_sent_ns(&sim, 0, 1), t + REKEY_TIMEOUT_NS);
}

Test(timers, p200_is_armed_although_the_send_failed)
{
	uint64_t t = sim.now_ns;
	sim.node[0].send_error = -EPERM;
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim.node[0].n_send_errors, 1));
	sim.node[0].send_error = 0;
	sim_run_sec(&sim, 5);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 1));
	check_due_jittered(last_sent_ns(&sim, 0, 1), t + REKEY_TIMEOUT_NS);
	cr_assert(eq(u32, sim.node[1].n_delivered, 1));
}

Test(timers, p200_is_cancelled_by_a_complete_handshake)
{
	bring_up(&sim);
	cr_assert(eq(u64, atomic_load(&timers_of(&sim, 0)->at[TIMER_RETRANSMIT_HANDSHAKE]), 0));
	sim_run_sec(&sim, 60);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 1));
}

Test(timers, p008_jitter_is_drawn_anew_and_spans_a_third_of_a_second)
{
	uint64_t before = 0, min = UINT64_MAX, max = 0;

	sim.link.is_cut = true;
	for (unsigned i = 0; i < 100; i++) { /* traffic keeps the retries alive (P-225) */
		sim_send(&sim, 0, 1, i);
		sim_run_sec(&sim, 6);
		if (before) {
			uint64_t at = last_sent_ns(&sim, 0, 1);
			min = MIN(min, at - before);
			max = MAX(max, at - before);
		}
		before = last_sent_ns(&sim, 0, 1);
	}
	cr_assert(ge(u64, min, REKEY_TIMEOUT_NS));
	cr_assert(ge(u64, max - min, 200 * NSEC_PER_MSEC));
}

/* --- P-201: keepalive --- */

Test(timers, p201_data_that_nobody_answers_is_acknowledged_after_10_s)
{
	bring_up_idle(&sim);
	uint64_t before = sim.node[1].n_keepalives;
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 1);
	uint64_t arrived = sim.node[1].delivered_at_ns[1];
	sim_run_sec(&sim, 8.999);
	cr_assert(eq(u64, sim.node[1].n_keepalives, before));
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim.node[1].n_keepalives, before + 1));
	check_due(last_sent_ns(&sim, 1, 4), arrived + KEEPALIVE_TIMEOUT_NS);
}

Test(timers, p201_more_data_does_not_postpone_the_keepalive)
{
	bring_up_idle(&sim);
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 1);
	uint64_t arrived = sim.node[1].delivered_at_ns[1];
	for (unsigned i = 0; i < 9; i++) {
		sim_run_sec(&sim, 1);
		sim_send(&sim, 0, 1, 3 + i);
	}
	sim_run_sec(&sim, 0.5);
	check_due(last_sent_ns(&sim, 1, 4), arrived + KEEPALIVE_TIMEOUT_NS);
}

Test(timers, p201_is_cancelled_by_any_packet_sent)
{
	bring_up_idle(&sim);
	uint64_t before = sim.node[1].n_keepalives;
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 9);
	sim_send(&sim, 1, 0, 3);
	sim_run_sec(&sim, 9); /* the initiator acknowledges that one at 19 s, not before */
	cr_assert(eq(u64, sim.node[1].n_keepalives, before));
}

/* --- P-202: new handshake --- */

Test(timers, p202_data_without_any_answer_starts_a_handshake_after_15_s)
{
	bring_up_idle(&sim);
	sim.node[1].is_mute = true;
	uint64_t t = sim.now_ns;
	sim_send(&sim, 0, 1, 2);
	for (unsigned i = 0; i < 14; i++) {
		sim_run_sec(&sim, 1);
		sim_send(&sim, 0, 1, 3 + i); /* does not postpone it */
	}
	sim_run_sec(&sim, 0.999);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 1));
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 2));
	check_due_jittered(last_sent_ns(&sim, 0, 1), t + KEEPALIVE_TIMEOUT_NS + REKEY_TIMEOUT_NS);
}

Test(timers, p202_responder_does_it_too)
{
	bring_up_idle(&sim);
	sim.node[0].is_mute = true;
	uint64_t t = sim.now_ns;
	sim_send(&sim, 1, 0, 2);
	sim_run_sec(&sim, 16);
	cr_assert(eq(u64, sim_n_initiations(&sim, 1), 1));
	check_due_jittered(last_sent_ns(&sim, 1, 1), t + KEEPALIVE_TIMEOUT_NS + REKEY_TIMEOUT_NS);
}

Test(timers, p202_is_cancelled_by_any_authenticated_packet)
{
	bring_up_idle(&sim);
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 9.5);
	cr_assert(ne(u64, atomic_load(&timers_of(&sim, 0)->at[TIMER_NEW_HANDSHAKE]), 0));
	sim_run_sec(&sim, 1); /* the keepalive of P-201 */
	cr_assert(eq(u64, atomic_load(&timers_of(&sim, 0)->at[TIMER_NEW_HANDSHAKE]), 0));
	sim_run_sec(&sim, 30);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 1));
}

Test(timers, p202_resets_the_attempts)
{
	bring_up_idle(&sim);
	sim.node[1].is_mute = true;
	timers_of(&sim, 0)->n_attempts = 17;
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 16);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 2));
	cr_assert(eq(u32, timers_of(&sim, 0)->n_attempts, 0));
}

/* --- P-203: zero key material --- */

Test(timers, p203_keys_are_destroyed_after_540_s)
{
	bring_up(&sim);
	uint64_t birth = session_of(&sim, 0)->keypair.birth_ns;
	uint32_t index = session_of(&sim, 0)->keypair.local_index;
	sim_run(&sim, birth + 3 * REJECT_AFTER_TIME_NS - 1 - sim.now_ns);
	cr_assert(session_of(&sim, 0) != NULL);
	cr_assert(index_table_lookup(&sim.node[0].device.indices, index) != NULL);
	sim_run(&sim, 1 + LATE_NS);
	cr_assert(session_of(&sim, 0) == NULL);
	cr_assert(index_table_lookup(&sim.node[0].device.indices, index) == NULL);
	sim_run_sec(&sim, 1);
	cr_assert(session_of(&sim, 1) == NULL);
	cr_assert(sim_peer(&sim, 1, 0)->previous == NULL && sim_peer(&sim, 1, 0)->next == NULL);
	cr_assert(eq(int, sim_peer(&sim, 0, 1)->handshake.state, HS_ZEROED));
}

Test(timers, p203_a_new_session_rearms_it)
{
	bring_up(&sim);
	sim_run_sec(&sim, 300);
	sim_send(&sim, 0, 1, 2); /* 180 s are long over */
	sim_run_sec(&sim, 300);
	cr_assert(session_of(&sim, 0) != NULL); /* 600 s after the first, 300 s after the second */
	sim_run_sec(&sim, 241);
	cr_assert(session_of(&sim, 0) == NULL);
}

/* --- P-204, P-247: persistent keepalive --- */

Test(timers, p204_p247_persistent_keepalive_after_an_idle_interval)
{
	bring_up_idle(&sim);
	sim_set_keepalive(&sim, 0, 1, 25);
	sim_run_sec(&sim, 0.1);
	uint64_t t = last_sent_ns(&sim, 0, 4); /* P-245 */
	uint64_t n = sim.node[0].n_keepalives;
	sim_run(&sim, t + 25 * NSEC_PER_SEC - 1 - sim.now_ns);
	cr_assert(eq(u64, sim.node[0].n_keepalives, n));
	sim_run(&sim, 1 + LATE_NS);
	cr_assert(eq(u64, sim.node[0].n_keepalives, n + 1));
	check_due(last_sent_ns(&sim, 0, 4), t + 25 * NSEC_PER_SEC);
}

Test(timers, p204_traffic_of_either_direction_postpones_it)
{
	bring_up(&sim);
	sim_set_keepalive(&sim, 0, 1, 25);
	sim_run_sec(&sim, 1);
	uint64_t n = sim.node[0].n_keepalives;
	sim_run_sec(&sim, 19);
	sim_send(&sim, 1, 0, 7); /* received at 20 s; 10 s later P-201 sends */
	sim_run_sec(&sim, 9.9);
	cr_assert(eq(u64, sim.node[0].n_keepalives, n));
	sim_run_sec(&sim, 0.2);
	cr_assert(eq(u64, sim.node[0].n_keepalives, n + 1));
	uint64_t t = last_sent_ns(&sim, 0, 4);
	sim_run_sec(&sim, 26);
	cr_assert(eq(u64, sim.node[0].n_keepalives, n + 2));
	check_due(last_sent_ns(&sim, 0, 4), t + 25 * NSEC_PER_SEC);
}

Test(timers, p204_expiry_with_interval_0_does_nothing)
{
	bring_up(&sim);
	sim_set_keepalive(&sim, 0, 1, 5);
	sim_run_sec(&sim, 12);
	sim_set_keepalive(&sim, 0, 1, 0);
	sim_run_sec(&sim, 0.1);
	uint64_t n = sim.node[0].n_sent;
	sim_run_sec(&sim, 300);
	cr_assert(eq(u64, sim.node[0].n_sent, n));
}

Test(timers, p204_shortest_and_longest_interval)
{
	bring_up(&sim);
	sim_set_keepalive(&sim, 0, 1, 1);
	sim_run_sec(&sim, 30.5);
	cr_assert(ge(u64, sim.node[0].n_keepalives, 29));
	cr_assert(le(u64, sim.node[0].n_keepalives, 31));
	sim_set_keepalive(&sim, 0, 1, 65535);
	sim_run_sec(&sim, 2);
	uint64_t t = MAX(last_sent_ns(&sim, 0, 4), last_sent_ns(&sim, 1, 4) + sim.link.delay_ns);
	uint64_t n = sim.node[0].n_sent;
	sim_run(&sim, t + 65535 * NSEC_PER_SEC - 1 - sim.now_ns);
	cr_assert(eq(u64, sim.node[0].n_sent, n));
	n = sim_n_initiations(&sim, 0);
	sim_run(&sim, 1 + LATE_NS); /* the session is long gone: an initiation */
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), n + 1));
	check_due(last_sent_ns(&sim, 0, 1), t + 65535 * NSEC_PER_SEC);
}

/* --- P-210 to P-216: events --- */

static uint8_t captured[148];
static uint32_t captured_len;

static bool capture_first(struct sim *s, struct sim_node *from, uint8_t *data, uint32_t len)
{
	if (captured_len == 0) {
		memcpy(captured, data, MIN(len, sizeof(captured)));
		captured_len = len;
	}
	return false;
}

Test(timers, p210_deriving_arms_zero_key_material_for_the_responder)
{
	sim.on_send = capture_first;
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 0.1);
	sim_set_up(&sim, 0, false); /* it does not try again */
	sim.on_send = NULL;
	arrive(&sim, 0, 1, captured, captured_len);
	uint64_t t = sim.now_ns;
	cr_assert(sim_peer(&sim, 1, 0)->next != NULL);
	sim_run(&sim, 3 * REJECT_AFTER_TIME_NS - 1);
	cr_assert(sim_peer(&sim, 1, 0)->next != NULL);
	sim_run(&sim, t + 3 * REJECT_AFTER_TIME_NS + LATE_NS - sim.now_ns);
	cr_assert(sim_peer(&sim, 1, 0)->next == NULL);
}

Test(timers, p211_p423_responder_completes_on_the_first_message_not_before)
{
	sim.link.delay_ns = 100 * NSEC_PER_MSEC;
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 0.25); /* the response has arrived, the first data not yet */
	cr_assert(ne(u64, sim_peer(&sim, 0, 1)->handshake_sec, 0));
	cr_assert(eq(u64, sim_peer(&sim, 1, 0)->handshake_sec, 0));
	sim_run_sec(&sim, 0.1);
	cr_assert(ne(u64, sim_peer(&sim, 1, 0)->handshake_sec, 0));
}

Test(timers, p211_completion_resets_attempts_and_the_last_minute_flag)
{
	sim.link.is_cut = true;
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 20);
	cr_assert(ge(u32, timers_of(&sim, 0)->n_attempts, 3));
	atomic_store(&timers_of(&sim, 0)->sent_last_minute_handshake, true);
	atomic_store(&timers_of(&sim, 1)->sent_last_minute_handshake, true);
	sim.link.is_cut = false;
	sim_run_sec(&sim, 6);
	cr_assert(sim_has_session(&sim, 0, 1));
	for (uint32_t i = 0; i < 2; i++) {
		cr_assert(eq(u32, timers_of(&sim, i)->n_attempts, 0));
		cr_assert(not(atomic_load(&timers_of(&sim, i)->sent_last_minute_handshake)));
	}
}

Test(timers, p212_initiation_and_response_postpone_the_persistent_keepalive)
{
	sim_set_keepalive(&sim, 1, 0, 30); /* initiates at once, P-245 */
	sim_run_sec(&sim, 20);
	/* node 0 starts a handshake at 20 s: node 1 sends a response */
	sim.node[1].is_mute = true;
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 15.5);
	cr_assert(ge(u64, sim_n_initiations(&sim, 0), 1));
	uint64_t t = last_sent_ns(&sim, 1, 2);
	uint64_t n = sim.node[1].n_keepalives;
	sim_set_up(&sim, 0, false);
	sim_run(&sim, t + 30 * NSEC_PER_SEC - 1 - sim.now_ns);
	cr_assert(eq(u64, sim.node[1].n_keepalives, n));
	sim_run(&sim, 1 + LATE_NS);
	cr_assert(eq(u64, sim.node[1].n_keepalives, n + 1));
	check_due(last_sent_ns(&sim, 1, 4), t + 30 * NSEC_PER_SEC);
}

Test(timers, p213_a_keepalive_received_postpones_the_persistent_keepalive)
{
	bring_up_idle(&sim);
	sim_set_keepalive(&sim, 0, 1, 30);
	sim_run_sec(&sim, 20);
	uint64_t n = sim.node[0].n_keepalives;
	uint64_t t = sim.now_ns;
	arrive_sealed(&sim, 1, 1000, NULL, 0);
	sim_run(&sim, 30 * NSEC_PER_SEC - 1);
	cr_assert(eq(u64, sim.node[0].n_keepalives, n));
	sim_run(&sim, 1 + LATE_NS);
	cr_assert(eq(u64, sim.node[0].n_keepalives, n + 1));
	check_due(last_sent_ns(&sim, 0, 4), t + 30 * NSEC_PER_SEC);
}

Test(timers, p214_p265_data_counts_before_the_inner_packet_is_looked_at)
{
	static const uint8_t no_packet[32] = { 0x12, 0x34 };

	bring_up_idle(&sim);
	uint64_t n = sim.node[1].n_keepalives;
	uint64_t t = sim.now_ns;
	arrive_sealed(&sim, 0, 1000, no_packet, sizeof(no_packet));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_RX_BAD_INNER), 1));
	sim_run_sec(&sim, 11);
	cr_assert(eq(u64, sim.node[1].n_keepalives, n + 1));
	check_due(last_sent_ns(&sim, 1, 4), t + KEEPALIVE_TIMEOUT_NS);
}

Test(timers, p214_more_data_while_pending_sets_need_another)
{
	bring_up_idle(&sim);
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 1);
	cr_assert(not(atomic_load(&timers_of(&sim, 1)->need_another_keepalive)));
	sim_send(&sim, 0, 1, 3);
	sim_run_sec(&sim, 1);
	cr_assert(atomic_load(&timers_of(&sim, 1)->need_another_keepalive));
}

Test(timers, keepalive_that_can_not_be_sent_is_counted)
{
	bring_up_idle(&sim);
	sim.node[0].send_error = -EPERM;
	sim_set_keepalive(&sim, 0, 1, 1);
	sim_run_sec(&sim, 0.5);
	cr_assert(eq(u64, sim_drops(&sim, 0, DROP_TX_SEND_FAILED), 1));
}

Test(timers, handshake_message_that_can_not_be_sent_is_counted)
{
	sim.node[0].send_error = -EPERM;
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim_drops(&sim, 0, DROP_TX_SEND_FAILED), 1));
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 0));
	sim.node[0].send_error = 0;
	sim_run_sec(&sim, 6); /* P-221: the next try takes it along */
	cr_assert(eq(u32, sim.node[1].n_delivered, 1));
	cr_assert(eq(u64, sim_drops(&sim, 0, DROP_TX_SEND_FAILED), 1));
}

Test(timers, p215_failed_send_does_not_ask_for_a_handshake)
{
	bring_up_idle(&sim);
	sim.node[0].send_error = -EPERM;
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim_drops(&sim, 0, DROP_TX_SEND_FAILED), 1));
	sim.node[0].send_error = 0;
	sim_run_sec(&sim, 20);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 1));
}

Test(timers, p215_keepalives_do_not_ask_for_a_handshake)
{
	bring_up_idle(&sim);
	sim.node[1].is_mute = true;
	sim_set_keepalive(&sim, 0, 1, 60);
	sim_run_sec(&sim, 20);
	cr_assert(ge(u64, sim.node[0].n_keepalives, 1));
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 1));
}

/* Row 56 of PITFALLS: a passive keepalive must not be answered. */
Test(timers, p216_row56_idle_peers_are_silent_after_one_keepalive)
{
	bring_up(&sim);
	uint64_t n0 = sim.node[0].n_sent;
	sim_run_sec(&sim, 100);
	cr_assert(eq(u64, sim.node[0].n_sent, n0));
	cr_assert(eq(u64, sim.node[1].n_sent, 2)); /* response, keepalive */
	cr_assert(eq(u64, sim.node[1].n_keepalives, 1));
	/* not sent at once either */
	check_due(last_sent_ns(&sim, 1, 4), sim.node[1].delivered_at_ns[0] + KEEPALIVE_TIMEOUT_NS);
}

/* --- P-220, P-226: when to rekey --- */

Test(timers, p220_initiator_rekeys_on_the_first_send_at_120_s)
{
	bring_up(&sim);
	uint64_t birth = session_of(&sim, 0)->keypair.birth_ns;
	sim_run(&sim, birth + REKEY_AFTER_TIME_NS - NSEC_PER_MSEC - sim.now_ns);
	sim_send(&sim, 0, 1, 2);
	sim_run(&sim, NSEC_PER_MSEC);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 1));
	sim_send(&sim, 0, 1, 3);
	sim_run(&sim, 0);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 2));
	sim_run_sec(&sim, 1);
	cr_assert(gt(u64, session_of(&sim, 0)->keypair.birth_ns, birth));
	cr_assert(eq(u32, sim.node[1].n_delivered, 3));
}

Test(timers, p220_keepalives_count_as_sent)
{
	sim_set_keepalive(&sim, 0, 1, 50);
	sim_run_sec(&sim, 99);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 1));
	sim_run_sec(&sim, 60); /* the keepalive at 150 s */
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 2));
	check_due(last_sent_ns(&sim, 0, 1) + LATE_NS,
		  session_of(&sim, 0)->keypair.birth_ns - 20 * NSEC_PER_MSEC);
}

Test(timers, p220_responder_never_rekeys_by_time)
{
	bring_up(&sim);
	sim_run_sec(&sim, 130);
	for (unsigned i = 0; i < 45; i++) {
		sim_send(&sim, 1, 0, 10 + i);
		sim_run_sec(&sim, 1);
	}
	cr_assert(eq(u64, sim_n_initiations(&sim, 1), 0));
}

Test(timers, p220_rekeys_beyond_2_60_messages_as_either_role)
{
	bring_up(&sim);
	sim_run_sec(&sim, 6); /* P-221 */
	atomic_store(&session_of(&sim, 1)->keypair.send_counter, REKEY_AFTER_MESSAGES - 1);
	sim_send(&sim, 1, 0, 2); /* uses 2^60 - 1: the counter is 2^60 then, not more */
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim_n_initiations(&sim, 1), 0));
	sim_send(&sim, 1, 0, 3);
	sim_run(&sim, 0);
	cr_assert(eq(u64, sim_n_initiations(&sim, 1), 1));
	sim_run_sec(&sim, 1);
	cr_assert(lt(u64, atomic_load(&session_of(&sim, 1)->keypair.send_counter), 10));
	cr_assert(eq(u32, sim.node[0].n_delivered, 2));

	sim_run_sec(&sim, 6);
	atomic_store(&session_of(&sim, 0)->keypair.send_counter, REKEY_AFTER_MESSAGES);
	uint64_t n = sim_n_initiations(&sim, 0);
	sim_send(&sim, 0, 1, 4);
	sim_run(&sim, 0);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), n + 1));
}

Test(timers, p220_resets_the_attempts)
{
	bring_up(&sim);
	sim_run_sec(&sim, 121);
	timers_of(&sim, 0)->n_attempts = 9;
	sim.link.is_cut = true;
	sim_send(&sim, 0, 1, 2);
	sim_run(&sim, 0);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 2));
	cr_assert(eq(u32, timers_of(&sim, 0)->n_attempts, 0));
}

Test(timers, p221_initiations_are_5_s_apart_however_much_is_sent)
{
	uint64_t before = 0;

	sim.link.is_cut = true;
	for (unsigned i = 0; i < 4000; i++) {
		uint64_t n = sim_n_initiations(&sim, 0);
		sim_send(&sim, 0, 1, i);
		sim_run_sec(&sim, 0.01);
		if (sim_n_initiations(&sim, 0) == n)
			continue;
		cr_assert(eq(u64, sim_n_initiations(&sim, 0), n + 1));
		uint64_t at = last_sent_ns(&sim, 0, 1);
		if (before)
			cr_assert(ge(u64, at - before, REKEY_TIMEOUT_NS));
		before = at;
	}
	cr_assert(ge(u64, sim_n_initiations(&sim, 0), 7));
}

Test(timers, p221_a_response_counts_as_well)
{
	sim.node[1].is_mute = true; /* its response is lost */
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 0.1);
	uint64_t t = last_sent_ns(&sim, 1, 2);
	sim_set_up(&sim, 0, false);
	for (unsigned i = 0; i < 600; i++) {
		sim_send(&sim, 1, 0, i);
		sim_run_sec(&sim, 0.01);
	}
	cr_assert(eq(u64, sim_n_initiations(&sim, 1), 1));
	check_between(last_sent_ns(&sim, 1, 1), t + REKEY_TIMEOUT_NS,
		      t + REKEY_TIMEOUT_NS + LATE_NS);
}

Test(timers, p222_retransmission_waits_for_p221)
{
	/* Both start; node 1 answers node 0's initiation 3 s after its own. */
	sim.node[0].is_mute = true;
	sim.node[1].is_mute = true;
	sim_send(&sim, 1, 0, 1);
	sim_run_sec(&sim, 3);
	sim.node[0].is_mute = false;
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 0.1);
	sim_set_up(&sim, 0, false);
	uint64_t t = last_sent_ns(&sim, 1, 2);
	sim_run(&sim, t + REKEY_TIMEOUT_NS - 1 - sim.now_ns);
	cr_assert(eq(u64, sim_n_initiations(&sim, 1), 1));
	sim_run(&sim, 1 + LATE_NS);
	cr_assert(eq(u64, sim_n_initiations(&sim, 1), 2));
	check_due(last_sent_ns(&sim, 1, 1), t + REKEY_TIMEOUT_NS);
	cr_assert(eq(u32, timers_of(&sim, 1)->n_attempts, 1));
}

/* --- P-223, P-225, P-227: giving up and coming back --- */

Test(timers, p223_gives_up_after_20_initiations)
{
	sim.link.is_cut = true;
	uint64_t t = sim.now_ns;
	for (unsigned i = 0; i < 5; i++)
		sim_send(&sim, 0, 1, i);
	sim_run_sec(&sim, 98);
	cr_assert(eq(u32, sim_peer(&sim, 0, 1)->staged.n, 5));
	sim_run_sec(&sim, 500);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 20));
	check_between(last_sent_ns(&sim, 0, 1), t + 19 * REKEY_TIMEOUT_NS,
		      t + 19 * (REKEY_TIMEOUT_NS + JITTER_NS + LATE_NS));
	cr_assert(eq(u32, sim_peer(&sim, 0, 1)->staged.n, 0)); /* P-248 */
	cr_assert(eq(u64, sim_drops(&sim, 0, DROP_TX_GAVE_UP), 5));
	cr_assert(eq(u64, atomic_load(&sim.node[0].device.staged.used), 0));
	/* all with keys, index and time of their own */
	const struct sim_sent *a = sim_last_sent(&sim.node[0], 1, 0);
	for (uint32_t i = 1; i < 20; i++) {
		const struct sim_sent *b = sim_last_sent(&sim.node[0], 1, i);
		cr_assert(memcmp(a->data + 4, b->data + 4, 4) != 0);
		cr_assert(memcmp(a->data + 8, b->data + 8, 32) != 0);
		cr_assert(memcmp(a->data + 88, b->data + 88, 28) != 0);
	}
}

Test(timers, p223_giving_up_arms_zero_key_material)
{
	sim.link.is_cut = true;
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 110);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 20));
	cr_assert(eq(int, sim_peer(&sim, 0, 1)->handshake.state, HS_CREATED_INITIATION));
	cr_assert(ne(u64, atomic_load(&timers_of(&sim, 0)->at[TIMER_ZERO_KEY_MATERIAL]), 0));
	sim_run_sec(&sim, 541);
	cr_assert(eq(int, sim_peer(&sim, 0, 1)->handshake.state, HS_ZEROED));
	cr_assert(sim_peer(&sim, 0, 1)->handshake_entry == NULL);
}

Test(timers, p223_giving_up_cancels_the_keepalive)
{
	bring_up_idle(&sim);
	sim.node[0].is_mute = true;
	timers_of(&sim, 0)->n_attempts = 19;
	timers_initiation_sent(timers_of(&sim, 0), sim.now_ns, 0);
	peer_plan(&sim.node[0].control, sim_peer(&sim, 0, 1));
	sim_run_sec(&sim, 2);
	sim_send(&sim, 1, 0, 2); /* arms the keepalive */
	sim_run_sec(&sim, 1);
	cr_assert(ne(u64, atomic_load(&timers_of(&sim, 0)->at[TIMER_SEND_KEEPALIVE]), 0));
	uint64_t n = sim.node[0].n_sent;
	sim_run_sec(&sim, 2.1); /* gives up */
	cr_assert(eq(u64, atomic_load(&timers_of(&sim, 0)->at[TIMER_SEND_KEEPALIVE]), 0));
	sim_run_sec(&sim, 8);
	cr_assert(eq(u64, sim.node[0].n_sent, n));
}

Test(timers, p225_traffic_keeps_the_retries_alive)
{
	sim.link.is_cut = true;
	for (unsigned i = 0; i < 300; i++) {
		sim_send(&sim, 0, 1, i);
		sim_run_sec(&sim, 1);
	}
	cr_assert(ge(u64, sim_n_initiations(&sim, 0), 50));
	cr_assert(le(u64, sim_n_initiations(&sim, 0), 60));
	sim_run_sec(&sim, 200); /* and once it stops they end, 20 later */
	uint64_t n = sim_n_initiations(&sim, 0);
	cr_assert(le(u64, n, 80));
	sim_run_sec(&sim, 200);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), n));
}

Test(timers, p227_new_traffic_after_giving_up_starts_again)
{
	sim.link.is_cut = true;
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 200);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 20));
	sim.link.is_cut = false;
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 21));
	cr_assert(eq(u32, sim.node[1].n_delivered, 1)); /* the new packet only */
	cr_assert(eq(u32, sim.node[1].delivered[0], 2));
}

Test(timers, p224_one_or_two_keepalives_for_one_way_traffic)
{
	bring_up_idle(&sim);
	uint64_t n = sim.node[1].n_keepalives;
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 1);
	sim_send(&sim, 0, 1, 3);
	sim_run_sec(&sim, 40);
	cr_assert(ge(u64, sim.node[1].n_keepalives, n + 1));
	cr_assert(le(u64, sim.node[1].n_keepalives, n + 2));
	cr_assert(not(atomic_load(&timers_of(&sim, 1)->need_another_keepalive)));
	n = sim.node[1].n_sent;
	sim_run_sec(&sim, 200);
	cr_assert(eq(u64, sim.node[1].n_sent, n));
}

Test(timers, p226_initiator_rekeys_on_receipt_at_165_s)
{
	bring_up(&sim);
	uint64_t birth = session_of(&sim, 0)->keypair.birth_ns;
	uint64_t at = birth + REJECT_AFTER_TIME_NS - KEEPALIVE_TIMEOUT_NS - REKEY_TIMEOUT_NS;
	sim_run(&sim, at - NSEC_PER_MSEC - sim.now_ns);
	arrive_sealed(&sim, 1, 1000, NULL, 0);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 1));
	sim_run(&sim, NSEC_PER_MSEC);
	sim.link.is_cut = true;
	timers_of(&sim, 0)->n_attempts = 3;
	arrive_sealed(&sim, 1, 1001, NULL, 0);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 2));
	cr_assert(eq(u32, timers_of(&sim, 0)->n_attempts, 3)); /* not reset here */
}

Test(timers, p226_once_per_session)
{
	bring_up(&sim);
	sim_run_sec(&sim, 166);
	sim.link.is_cut = true;
	arrive_sealed(&sim, 1, 1000, NULL, 0);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 2));
	timers_allow_initiation(timers_of(&sim, 0)); /* nothing else holds it back */
	arrive_sealed(&sim, 1, 1001, NULL, 0);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 2));
}

Test(timers, p226_responder_does_not)
{
	bring_up(&sim);
	sim_run_sec(&sim, 170);
	arrive_sealed(&sim, 0, 1000, NULL, 0);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim_n_initiations(&sim, 1), 0));
}

Test(timers, p228_initiator_confirms_at_once)
{
	sim_set_keepalive(&sim, 0, 1, 0);
	sim.link.is_cut = true;
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 1);
	/* nothing staged any more when the response comes */
	struct peer *p = sim_peer(&sim, 0, 1);
	cr_assert(eq(u32, staged_queue_clear(&p->staged, &sim.node[0].device.staged), 1));
	sim.link.is_cut = false;
	sim_run_sec(&sim, 6);
	cr_assert(eq(u64, sim.node[0].n_keepalives, 1));
	cr_assert(eq(u64, sim.node[0].n_sent_of_type[4], 1));
	cr_assert(sim_has_session(&sim, 1, 0));
	cr_assert(eq(u64, last_sent_ns(&sim, 0, 4), last_sent_ns(&sim, 1, 2) + sim.link.delay_ns));
}

Test(timers, p228_with_the_staged_packets_and_no_keepalive)
{
	for (unsigned i = 0; i < 3; i++)
		sim_send(&sim, 0, 1, i);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim.node[0].n_keepalives, 0));
	cr_assert(eq(u64, sim.node[0].n_sent_of_type[4], 3));
}

/* --- rows of PITFALLS --- */

Test(timers, row36_both_sides_keepalive_one_handshake_per_rekey)
{
	sim_set_keepalive(&sim, 0, 1, 25);
	sim_set_keepalive(&sim, 1, 0, 25);
	sim_run_sec(&sim, 5);
	uint64_t n = sim_n_initiations(&sim, 0) + sim_n_initiations(&sim, 1);
	sim_run_sec(&sim, 600);
	n = sim_n_initiations(&sim, 0) + sim_n_initiations(&sim, 1) - n;
	cr_assert(ge(u64, n, 4)); /* one each 125 to 145 s */
	cr_assert(le(u64, n, 5));
	cr_assert(sim_has_session(&sim, 0, 1) && sim_has_session(&sim, 1, 0));
}

static void check_long_round_trip(double rtt_sec)
{
	sim.link.delay_ns = (uint64_t)(rtt_sec / 2 * 1e9);
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 1.5 * rtt_sec + 0.1);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 1));
	cr_assert(eq(u32, sim.node[1].n_delivered, 1));
}

Test(timers, row37_response_after_300_ms)
{
	check_long_round_trip(0.3);
}

Test(timers, row37_response_after_1_s)
{
	check_long_round_trip(1);
}

Test(timers, row37_response_after_4_9_s)
{
	sim.link.delay_ns = 2450 * NSEC_PER_MSEC;
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 7.4);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 1));
	cr_assert(eq(u32, sim.node[1].n_delivered, 1));
}

Test(timers, row81_persistent_keepalive_never_gives_up)
{
	sim_set_keepalive(&sim, 0, 1, 25);
	sim_run_sec(&sim, 5);
	sim.link.is_cut = true;
	sim_run_sec(&sim, 600);
	sim.link.is_cut = false;
	sim_run_sec(&sim, 30);
	cr_assert(sim_has_session(&sim, 0, 1) && sim_has_session(&sim, 1, 0));
}

Test(timers, row82_persistent_keepalive_is_sent_when_enabled)
{
	bring_up_idle(&sim);
	sim_set_keepalive(&sim, 0, 1, 25);
	sim_run(&sim, 0);
	cr_assert(eq(u64, last_sent_ns(&sim, 0, 4), sim.now_ns));
}

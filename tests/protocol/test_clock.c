/* SPDX-License-Identifier: MPL-2.0 */
/* Clocks that jump (section 19): CLOCK_BOOTTIME after a suspend, CLOCK_REALTIME by hand or NTP. */
#include "check.h"

#define HOUR_NS (3600 * NSEC_PER_SEC)

static struct sim sim;

static void init(void)
{
	sim_init(&sim, 2, 5);
}

static void fini(void)
{
	sim_finish(&sim);
}

TestSuite(clock, .init = init, .fini = fini);

Test(clock, p403_p404_row58_keys_are_dead_after_9_h_of_suspend)
{
	bring_up_idle(&sim);
	uint64_t n = sim.node[0].n_sent_of_type[4];
	sim_jump(&sim, 9 * HOUR_NS);
	sim_send(&sim, 0, 1, 2);
	sim_run(&sim, 0);
	cr_assert(eq(u64, sim.node[0].n_sent_of_type[4], n)); /* nothing with the old keys */
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 2));    /* a handshake at once */
	cr_assert(session_of(&sim, 0) == NULL);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u32, sim.node[1].n_delivered, 2));
	cr_assert(sim_has_session(&sim, 0, 1) && sim_has_session(&sim, 1, 0));
}

Test(clock, p403_old_keys_receive_nothing_even_before_a_timer_ran)
{
	static struct session old;
	uint8_t datagram[32];

	bring_up(&sim);
	memcpy(&old, session_of(&sim, 0), sizeof(old));
	uint32_t n = sim_seal(&old, 50, NULL, 0, datagram);
	uint64_t rx = rx_bytes(&sim, 1);
	sim_jump(&sim, 180 * NSEC_PER_SEC);
	arrive(&sim, 0, 1, datagram, n);
	cr_assert(eq(u64, rx_bytes(&sim, 1), rx));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_RX_EXPIRED), 1));
}

Test(clock, p404_keepalive_after_resume_uses_no_old_key)
{
	sim_set_keepalive(&sim, 0, 1, 25);
	sim_run_sec(&sim, 5);
	uint64_t n = sim.node[0].n_sent_of_type[4];
	sim.link.is_cut = true;
	sim_jump(&sim, 200 * NSEC_PER_SEC); /* zero-key-material is not due yet */
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim.node[0].n_sent_of_type[4], n));
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 2));
}

Test(clock, row58_jump_with_everything_pending)
{
	sim_set_keepalive(&sim, 0, 1, 25);
	sim_set_keepalive(&sim, 1, 0, 7);
	for (unsigned i = 0; i < 20; i++) {
		sim_send(&sim, 0, 1, i);
		sim_send(&sim, 1, 0, i);
		sim_run_sec(&sim, 0.3);
		sim_jump(&sim, (uint64_t)sim_random(&sim) * 40000); /* up to 24 h */
		sim_run_sec(&sim, 20);
		cr_assert(sim_has_session(&sim, 0, 1) || sim_has_session(&sim, 1, 0));
	}
	cr_assert(ge(u32, sim.node[0].n_delivered, 18));
	cr_assert(ge(u32, sim.node[1].n_delivered, 18));
}

Test(clock, row58_response_after_the_jump)
{
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 0.015);
	sim_jump(&sim, 9 * HOUR_NS); /* both sleep, the response lies in the socket */
	sim_run_sec(&sim, 10);
	cr_assert(sim_has_session(&sim, 0, 1) && sim_has_session(&sim, 1, 0));
	cr_assert(eq(u32, sim.node[1].n_delivered, 1));
}

/* No clock of ours ever does this, but a thread's reading may be a moment older than another's. */
Test(clock, row58_reading_that_is_a_second_older)
{
	bring_up(&sim);
	sim.now_ns -= NSEC_PER_SEC;
	sim_send(&sim, 0, 1, 2);
	sim_send(&sim, 1, 0, 3);
	sim_run_sec(&sim, 0.5);
	cr_assert(eq(u32, sim.node[1].n_delivered, 2));
	cr_assert(eq(u32, sim.node[0].n_delivered, 1));
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 1));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_RX_EXPIRED), 0));
}

/* The worker read the clock, then the control thread made a session, then the peer answered. */
Test(clock, row58_session_younger_than_the_workers_reading)
{
	struct sim_node *n = &sim.node[1];
	uint8_t inner[28], datagram[64];

	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 0.025); /* the initiator has its session, the data are on their way */
	cr_assert(sim_peer(&sim, 1, 0)->next != NULL);
	sim_inner(inner, 0, 1, 44, sizeof(inner));
	uint32_t len = sim_seal(session_of(&sim, 0), 5, inner, sizeof(inner), datagram);
	sim_inject(&sim, 1, &sim.node[0].address, datagram, len);
	uint64_t birth = sim_peer(&sim, 1, 0)->next->keypair.birth_ns;
	(void)worker_step(n->worker, birth - 1);
	cr_assert(eq(u32, n->n_delivered, 1));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_RX_EXPIRED), 0));
	cr_assert(
		eq(u32,
		   atomic_load(&sim_peer(&sim, 1, 0)->attention.reasons) & ATTENTION_REKEY_RECEIVED,
		   0));
}

static bool lose_initiations_of_node_1(struct sim *s, struct sim_node *from, uint8_t *data,
				       uint32_t len)
{
	return from->number != 1 || data[0] != 1;
}

Test(clock, p405_step_back_stops_our_initiations_until_it_catches_up)
{
	bring_up(&sim);
	sim.on_send = lose_initiations_of_node_1;
	sim.node[0].realtime_offset_ns = -(int64_t)(300 * NSEC_PER_SEC);
	sim_send(&sim, 0, 1, 2); /* the session does not care */
	sim_run_sec(&sim, 1);
	cr_assert(eq(u32, sim.node[1].n_delivered, 2));
	for (unsigned i = 0; i < 250; i++) {
		sim_send(&sim, 0, 1, 100 + i);
		sim_run_sec(&sim, 1);
	}
	cr_assert(not(sim_has_session(&sim, 0, 1)));
	cr_assert(ge(u64, sim_drops(&sim, 1, DROP_HS_REPLAY), 10));
	for (unsigned i = 0; i < 60; i++) {
		sim_send(&sim, 0, 1, 500 + i);
		sim_run_sec(&sim, 1);
	}
	cr_assert(sim_has_session(&sim, 0, 1)); /* it has caught up */
	cr_assert(eq(u32, sim.node[1].delivered[sim.node[1].n_delivered - 1], 559));
}

Test(clock, p405_the_peer_can_still_initiate)
{
	bring_up(&sim);
	sim.node[0].realtime_offset_ns = -(int64_t)HOUR_NS;
	sim_run_sec(&sim, 200);
	sim_send(&sim, 1, 0, 5);
	sim_run_sec(&sim, 1);
	cr_assert(sim_has_session(&sim, 0, 1));
	cr_assert(eq(u32, sim.node[0].n_delivered, 1));
}

Test(clock, p405_steps_forward_and_back_touch_nothing_else)
{
	bring_up(&sim);
	sim_set_keepalive(&sim, 0, 1, 25);
	sim_set_keepalive(&sim, 1, 0, 25);
	for (unsigned i = 0; i < 100; i++) { /* by hours, both ways, on both */
		int64_t step = (int64_t)(sim_random(&sim) % 7200) - 3600;
		sim.node[i % 2].realtime_offset_ns += step * (int64_t)NSEC_PER_SEC;
		sim_send(&sim, 0, 1, i);
		sim_run_sec(&sim, 1);
	}
	cr_assert(eq(u32, sim.node[1].n_delivered, 101));
	cr_assert(eq(u64, sim_n_initiations(&sim, 0) + sim_n_initiations(&sim, 1), 1));
}

Test(clock, p405_p423_reported_handshake_time_follows_the_time_of_day)
{
	bring_up(&sim);
	uint64_t sec = sim_peer(&sim, 0, 1)->handshake_sec;
	cr_assert(eq(u64, sec, 1700000000));
	sim.node[0].realtime_offset_ns = (int64_t)HOUR_NS;
	sim_run_sec(&sim, 200);
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim_peer(&sim, 0, 1)->handshake_sec, sec + 3600 + 201));
	/* P-046: and it is what the initiation says */
	cr_assert(eq(u64, sim_peer(&sim, 1, 0)->handshake_sec, sec + 201));
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Packets that wait for a session, and keepalives (section 11). */
#include "check.h"

static struct sim sim;

static void init(void)
{
	sim_init(&sim, 2, 3);
}

static void fini(void)
{
	sim_finish(&sim);
}

TestSuite(staging, .init = init, .fini = fini);

static void check_delivered(uint32_t at, uint32_t first, uint32_t n)
{
	cr_assert(eq(u32, sim.node[at].n_delivered, n));
	for (uint32_t i = 0; i < n; i++)
		cr_assert(eq(u32, sim.node[at].delivered[i], first + i));
}

Test(staging, p240_packet_without_session_waits_and_asks)
{
	sim.link.is_cut = true;
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u32, sim_peer(&sim, 0, 1)->staged.n, 1));
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 1));
	cr_assert(eq(u64, sim.node[0].n_sent_of_type[4], 0));
}

Test(staging, p241_the_newest_packets_stay)
{
	sim.link.is_cut = true;
	for (uint32_t i = 0; i < 300; i++)
		sim_send(&sim, 0, 1, i);
	sim_run_sec(&sim, 1);
	sim.link.is_cut = false;
	sim_run_sec(&sim, 6);
	check_delivered(1, 300 - MAX_STAGED_PACKETS, MAX_STAGED_PACKETS);
	cr_assert(eq(u64, sim_drops(&sim, 0, DROP_TX_STAGED_FULL), 300 - MAX_STAGED_PACKETS));
}

Test(staging, p242_initiator_sends_them_in_order_on_the_response)
{
	for (uint32_t i = 0; i < 50; i++)
		sim_send(&sim, 0, 1, i);
	sim_run_sec(&sim, 1);
	check_delivered(1, 0, 50);
	for (uint32_t i = 0; i < 50; i++) /* consecutive counters: P-244 */
		cr_assert(eq(u64, sim_last_sent(&sim.node[0], 4, i)->counter, 49 - i));
	cr_assert(eq(u64, last_sent_ns(&sim, 0, 4), last_sent_ns(&sim, 1, 2) + sim.link.delay_ns));
}

Test(staging, p242_responder_sends_them_in_order_on_confirmation)
{
	sim_send(&sim, 0, 1, 1000);
	sim_run(&sim, 11 * NSEC_PER_MSEC); /* the initiation has arrived */
	cr_assert(sim_peer(&sim, 1, 0)->next != NULL);
	for (uint32_t i = 0; i < 50; i++)
		sim_send(&sim, 1, 0, i);
	sim_run_sec(&sim, 1);
	check_delivered(0, 0, 50);
	cr_assert(eq(u64, sim_n_initiations(&sim, 1), 0)); /* P-221: it has just answered */
}

Test(staging, p242_packets_behind_staged_ones_do_not_overtake)
{
	/* While the handshake is under way, while they are flushed, and after. */
	for (uint32_t i = 0; i < 400; i++) {
		sim_send(&sim, 0, 1, i);
		if (i >= 40 && i % 3 == 0)
			sim_run(&sim, NSEC_PER_MSEC);
	}
	sim_run_sec(&sim, 1);
	check_delivered(1, 0, 400);
}

Test(staging, p243_keepalive_waits_for_the_session)
{
	sim_set_keepalive(&sim, 0, 1, 100);
	cr_assert(eq(u32, sim_peer(&sim, 0, 1)->staged.n, 1));
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim.node[0].n_keepalives, 1));
	cr_assert(eq(u32, sim_last_sent(&sim.node[0], 4, 0)->len, 32));
	cr_assert(sim_has_session(&sim, 1, 0));
}

Test(staging, p243_no_keepalive_besides_staged_packets)
{
	sim.link.is_cut = true;
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 1);
	sim_set_keepalive(&sim, 0, 1, 100);
	cr_assert(eq(u32, sim_peer(&sim, 0, 1)->staged.n, 1));
	sim.link.is_cut = false;
	sim_run_sec(&sim, 6);
	cr_assert(eq(u64, sim.node[0].n_keepalives, 0));
	check_delivered(1, 1, 1);
}

Test(staging, p245_only_the_change_from_0_sends)
{
	bring_up_idle(&sim);
	uint64_t n = sim.node[0].n_sent;
	sim_set_keepalive(&sim, 0, 1, 40);
	sim_run(&sim, 0);
	cr_assert(eq(u64, sim.node[0].n_sent, n + 1));
	uint64_t t = sim.now_ns;
	sim_set_keepalive(&sim, 0, 1, 20); /* takes effect with the next arming */
	sim_run_sec(&sim, 39.9);
	cr_assert(eq(u64, sim.node[0].n_sent, n + 1));
	sim_run_sec(&sim, 0.2);
	cr_assert(eq(u64, sim.node[0].n_sent, n + 2));
	check_due(last_sent_ns(&sim, 0, 4), t + 40 * NSEC_PER_SEC);
	t = last_sent_ns(&sim, 0, 4);
	sim_run_sec(&sim, 20);
	check_due(last_sent_ns(&sim, 0, 4), t + 20 * NSEC_PER_SEC);
}

Test(staging, p245_not_while_down)
{
	sim_set_up(&sim, 0, false);
	sim_set_keepalive(&sim, 0, 1, 25);
	sim_run_sec(&sim, 60);
	cr_assert(eq(u64, sim.node[0].n_sent, 0));
}

Test(staging, p246_row82_interface_up_sends_to_peers_with_keepalive)
{
	sim_set_up(&sim, 0, false);
	sim_set_keepalive(&sim, 0, 1, 25);
	sim_set_up(&sim, 0, true);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 1));
	cr_assert(eq(u64, sim.node[0].n_keepalives, 1));
	cr_assert(sim_has_session(&sim, 1, 0));
}

Test(staging, p246_and_nothing_to_others)
{
	sim_set_up(&sim, 0, false);
	sim_set_up(&sim, 0, true);
	sim_run_sec(&sim, 60);
	cr_assert(eq(u64, sim.node[0].n_sent, 0));
}

Test(staging, p248_dropped_when_the_interface_goes_down)
{
	sim.link.is_cut = true;
	for (uint32_t i = 0; i < 7; i++)
		sim_send(&sim, 0, 1, i);
	sim_run_sec(&sim, 1);
	sim_set_up(&sim, 0, false);
	cr_assert(eq(u32, sim_peer(&sim, 0, 1)->staged.n, 0));
	cr_assert(eq(u64, atomic_load(&sim.node[0].device.staged.used), 0));
	cr_assert(eq(u64, sim_drops(&sim, 0, DROP_TX_GAVE_UP), 7));
	sim.link.is_cut = false;
	sim_set_up(&sim, 0, true);
	sim_run_sec(&sim, 30);
	cr_assert(eq(u32, sim.node[1].n_delivered, 0));
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 1));
}

Test(staging, p248_dropped_with_the_peer)
{
	sim.link.is_cut = true;
	for (uint32_t i = 0; i < 7; i++)
		sim_send(&sim, 0, 1, i);
	sim_run_sec(&sim, 1);
	sim_configure(&sim, 0, 1, (struct config_peer){ .remove = true });
	cr_assert(eq(u64, atomic_load(&sim.node[0].device.staged.used), 0));
}

Test(staging, p228_p243_keepalives_do_not_depend_on_the_budget)
{
	struct staged_budget *b = &sim.node[0].device.staged;

	atomic_store(&b->used, STAGED_MAX_BYTES); /* other peers' packets */
	sim_set_keepalive(&sim, 0, 1, 25);
	sim_run_sec(&sim, 1);
	cr_assert(sim_has_session(&sim, 1, 0));
	atomic_fetch_sub(&b->used, STAGED_MAX_BYTES);
	cr_assert(eq(u64, atomic_load(&b->used), 0));
}

Test(staging, packets_beyond_the_budget_are_dropped_and_counted)
{
	struct staged_budget *b = &sim.node[0].device.staged;

	atomic_store(&b->used, STAGED_MAX_BYTES - 10);
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim_drops(&sim, 0, DROP_TX_STAGED_FULL), 1));
	cr_assert(eq(u64, atomic_load(&b->used), STAGED_MAX_BYTES - 10));
	atomic_store(&b->used, 0);
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 1);
	check_delivered(1, 2, 1);
}

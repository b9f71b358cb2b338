/* SPDX-License-Identifier: MPL-2.0 */
/* Hours of traffic over a bad link: whatever it does, packets arrive at most once, sessions are
 * renewed in time, and nothing is left behind at the end. */
#include "check.h"

enum { N_IDS = 1 << 20 };

static struct sim sim;
static uint8_t seen[2][N_IDS / 8]; /* at either end */
static uint32_t n_received[2], n_doubled;

static void fini(void)
{
	sim_finish(&sim);
}

TestSuite(soak, .fini = fini);

static void collect(void)
{
	for (uint32_t i = 0; i < 2; i++) {
		struct sim_node *n = &sim.node[i];
		for (uint32_t k = 0; k < n->n_delivered; k++) {
			uint32_t id = n->delivered[k] % N_IDS;
			n_doubled += seen[i][id / 8] >> id % 8 & 1;
			seen[i][id / 8] |= (uint8_t)(1 << id % 8);
		}
		n_received[i] += n->n_delivered;
		n->n_delivered = 0;
	}
}

/* @sec of traffic, @n packets each way per second on average, in bursts; returns how many each way. */
static uint32_t traffic(double sec, uint32_t n)
{
	static uint32_t id;
	uint32_t first = id;

	for (double t = 0; t < sec; t += 1) {
		for (uint32_t i = 0; i < n; i++) {
			uint32_t len = 28 + sim_random(&sim) % 200;
			sim_send_len(&sim, 0, 1, id, len);
			if (sim_random(&sim) % 4 == 0)
				sim_run_sec(&sim, 0.1 / n);
			sim_send_len(&sim, 1, 0, id++, len);
		}
		sim_run_sec(&sim, 1);
		collect();
	}
	return id - first;
}

static uint64_t n_initiations(void)
{
	return sim_n_initiations(&sim, 0) + sim_n_initiations(&sim, 1);
}

static void check_nothing_left(void)
{
	sim.link = (struct sim_link){ 0 };
	sim_run_sec(&sim, 700); /* key material is gone */
	for (uint32_t i = 0; i < 2; i++) {
		sim_set_keepalive(&sim, i, 1 - i, 0);
		cr_assert(eq(u64, atomic_load(&sim.node[i].device.staged.used), 0));
		cr_assert(eq(u32, atomic_load(&sim_peer(&sim, i, 1 - i)->n_handed_over), 0));
		cr_assert(session_of(&sim, i) == NULL);
	}
	rcu_flush();
	for (uint32_t i = 0; i < 2; i++)
		cr_assert(eq(sz, sim.node[i].device.session_pool.n_in_use, 0));
}

Test(soak, three_hours_over_a_perfect_link_lose_nothing)
{
	sim_init(&sim, 2, 100);
	uint32_t n = traffic(3 * 3600, 5);
	cr_assert(eq(u32, n_received[0], n));
	cr_assert(eq(u32, n_received[1], n));
	cr_assert(eq(u32, n_doubled, 0));
	/* one handshake each 120 s; both may have begun together at the start */
	cr_assert(ge(u64, n_initiations(), 3 * 3600 / 122));
	cr_assert(le(u64, n_initiations(), 3 * 3600 / 120 + 4));
	check_nothing_left();
}

Test(soak, three_hours_of_loss_duplication_and_reordering)
{
	sim_init(&sim, 2, 101);
	sim.link = (struct sim_link){ .delay_ns = 40 * NSEC_PER_MSEC,
				      .jitter_ns = 300 * NSEC_PER_MSEC,
				      .loss = 50,
				      .duplication = 50 };
	uint32_t n = traffic(3 * 3600, 5);
	for (uint32_t i = 0; i < 2; i++) {
		cr_assert(ge(u32, n_received[i], n / 100 * 93));
		cr_assert(le(u32, n_received[i], n / 100 * 97));
	}
	cr_assert(eq(u32, n_doubled, 0));
	cr_assert(le(u64, n_initiations(), 3 * 3600 / 120 * 2));
	/* duplicates were seen, and refused */
	cr_assert(ge(u64, sim_drops(&sim, 1, DROP_RX_REPLAY), n / 30));
	check_nothing_left();
}

Test(soak, an_hour_over_a_link_that_loses_half)
{
	sim_init(&sim, 2, 102);
	sim.link = (struct sim_link){ .delay_ns = 100 * NSEC_PER_MSEC,
				      .jitter_ns = 900 * NSEC_PER_MSEC,
				      .loss = 500 };
	uint32_t n = traffic(3600, 5);
	for (uint32_t i = 0; i < 2; i++)
		cr_assert(ge(u32, n_received[i], n / 100 * 40));
	cr_assert(eq(u32, n_doubled, 0));
	check_nothing_left();
}

Test(soak, hours_of_outages_and_both_sides_come_back)
{
	sim_init(&sim, 2, 103);
	sim_set_keepalive(&sim, 0, 1, 25);
	for (unsigned i = 0; i < 20; i++) {
		sim.link.is_cut = true;
		uint64_t n = n_initiations();
		(void)traffic(5 + sim_random(&sim) % 400, 2);
		/* row 57: no more than one each 5 s from either side */
		cr_assert(le(u64, n_initiations() - n, 2 * 405 / 5 + 2));
		sim.link.is_cut = false;
		(void)traffic(20, 2);
		n = n_received[1];
		(void)traffic(20, 2);
		cr_assert(eq(u64, n_received[1] - n, 40));
		sim_run_sec(&sim, sim_random(&sim) % 700);
	}
	cr_assert(eq(u32, n_doubled, 0));
}

Test(soak, traffic_while_everything_is_reconfigured)
{
	sim_init(&sim, 2, 104);
	uint32_t n = 0;
	for (unsigned i = 0; i < 600; i++) {
		uint32_t of = sim_random(&sim) % 2;
		switch (sim_random(&sim) % 8) {
		case 0:
			sim_set_keepalive(&sim, of, 1 - of, (uint16_t)(sim_random(&sim) % 3));
			break;
		case 1:
			sim.node[of].address.to.in4.sin_port++;
			sim_configure(&sim, 1 - of, of,
				      (struct config_peer){ .has_endpoint = true,
							    .endpoint = sim.node[of].address });
			break;
		case 2:
			sim.node[of].address.to.in4.sin_port++; /* roams */
			sim_send(&sim, of, 1 - of, N_IDS - 1 - i);
			break;
		default:
			break;
		}
		n += traffic(1, 3);
	}
	cr_assert(ge(u32, n_received[0] + n_received[1], 2 * n / 100 * 97));
	cr_assert(eq(u32, n_doubled, 0));
}

/* Row 57 with many peers at once is the timers' jitter: test_timers.c. Here: three nodes, one hub. */
Test(soak, peers_of_one_device_do_not_disturb_each_other)
{
	sim_init(&sim, 4, 105);
	sim.node[2].is_mute = true; /* dead */
	for (uint32_t i = 0; i < 1200; i++) {
		sim_send(&sim, 0, 1, i);
		sim_send(&sim, 0, 2, i);
		sim_send(&sim, 3, 0, i);
		sim_run_sec(&sim, 0.5);
	}
	cr_assert(eq(u32, sim.node[1].n_delivered, 1200));
	cr_assert(eq(u32, sim.node[0].n_delivered, 1200));
	cr_assert(eq(u32, sim.node[2].n_delivered, 0));
	cr_assert(le(u32, sim_peer(&sim, 0, 2)->staged.n, MAX_STAGED_PACKETS));
}

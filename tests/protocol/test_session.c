/* SPDX-License-Identifier: MPL-2.0 */
/* How sessions come to be, are renewed and end (specification sections 4, 9 and 11). */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "sim.h"

static struct sim sim;

static void init(void)
{
	sim_init(&sim, 2, 1);
}

static void fini(void)
{
	sim_finish(&sim);
}

TestSuite(session, .init = init, .fini = fini);

Test(session, first_packet_brings_up_a_session_both_ways)
{
	sim_send(&sim, 0, 1, 7);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u32, sim.node[1].n_delivered, 1));
	cr_assert(eq(u32, sim.node[1].delivered[0], 7));
	sim_send(&sim, 1, 0, 8);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u32, sim.node[0].n_delivered, 1));
	cr_assert(eq(u64, sim.node[0].n_sent_of_type[1], 1));
	cr_assert(eq(u64, sim.node[1].n_sent_of_type[2], 1));
	cr_assert(sim_has_session(&sim, 0, 1));
	cr_assert(sim_has_session(&sim, 1, 0));
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Whom the control thread wakes for handshakes. What becomes of them is in
 * tests/protocol/test_answer.c. */
#include "control/answer.h"
#include "control_fixture.h"
#include "noise/cookie.h"
#include "noise/message.h"

static void init(void)
{
	fixture_init();
	give_key();
	cr_assert(eq(int, control_set_up(&control, true, NOW_NS), 0));
}

TestSuite(answer, .init = init, .fini = fixture_finish);

static void receive(uint32_t n)
{
	struct endpoint from = { .to.in4 = { .sin_family = AF_INET, .sin_port = 9 } };
	struct message_initiation msg;
	struct handshake hs;
	struct cookie_jar jar = { 0 };

	handshake_init(&hs, device.identity->public_key);
	memset(&msg, 0x77, sizeof(msg));
	msg.type = le32(MESSAGE_INITIATION);
	cookie_jar_add_macs(&jar, &hs, (uint8_t *)&msg, sizeof(msg), NOW_NS);
	for (uint32_t i = 0; i < n; i++)
		control_receive(&control, (struct bytes){ (uint8_t *)&msg, sizeof(msg) }, &from, 0,
				NOW_NS);
}

static void everybody_sleeps(void)
{
	idle_set_add(&device.dh_pool->idle, 0);
	idle_set_add(&device.dh_pool->idle, 1);
	memset(edges.n_worker_woken, 0, sizeof(edges.n_worker_woken));
}

Test(answer, lone_handshake_wakes_nobody)
{
	everybody_sleeps();
	receive(1);
	cr_assert(eq(u32, control_step(&control, 4, NOW_NS), 1));
	cr_assert(eq(u32, edges.n_worker_woken[0] + edges.n_worker_woken[1], 0));
	cr_assert(eq(u64, control.n_handled, 1));
}

Test(answer, one_sleeper_per_job_beyond_our_own)
{
	everybody_sleeps();
	receive(2);
	cr_assert(eq(u32, control_step(&control, 1, NOW_NS), 1));
	cr_assert(eq(u32, edges.n_worker_woken[0] + edges.n_worker_woken[1], 1));
	everybody_sleeps();
	receive(40);
	cr_assert(eq(u32, control_step(&control, 1, NOW_NS), 1));
	cr_assert(eq(u32, edges.n_worker_woken[0], 1));
	cr_assert(eq(u32, edges.n_worker_woken[1], 1));
	cr_assert(eq(u32, control_step(&control, 4, NOW_NS), 4)); /* nobody sleeps any more */
	cr_assert(eq(u32, edges.n_worker_woken[0] + edges.n_worker_woken[1], 2));
}

Test(answer, busy_workers_are_left_alone)
{
	receive(40);
	cr_assert(eq(u32, control_step(&control, 40, NOW_NS), 40));
	cr_assert(eq(u32, edges.n_worker_woken[0] + edges.n_worker_woken[1], 0));
}

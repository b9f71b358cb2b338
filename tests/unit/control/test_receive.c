/* SPDX-License-Identifier: MPL-2.0 */
/* Where a received datagram goes before anything expensive is done, and when there is load. The whole
 * of it, with peers, is in tests/protocol/test_load.c and test_silence.c. */
#include <stdlib.h>

#include "control/receive.h"
#include "control_fixture.h"
#include "noise/message.h"

static struct endpoint from = { .to.in4 = { .sin_family = AF_INET, .sin_port = 9 } };
static uint8_t datagram[2048];

static void init(void)
{
	fixture_init();
	give_key();
	cr_assert(eq(int, control_set_up(&control, true, NOW_NS), 0));
}

TestSuite(receive, .init = init, .fini = fixture_finish);

static void receive(size_t len, uint64_t now_ns)
{
	control_receive(&control, (struct bytes){ datagram, len }, &from, 0, now_ns);
}

static uint64_t drops(enum drop_reason why)
{
	return atomic_load(&control.drops->n[why]);
}

/* An initiation or response with a right mac1 and nothing else. */
static void make_message(uint8_t type, size_t len)
{
	struct handshake hs;
	struct cookie_jar jar = { 0 };

	handshake_init(&hs, device.identity->public_key);
	memset(datagram, 0x77, len);
	store_le32(datagram, type);
	cookie_jar_add_macs(&jar, &hs, datagram, len, NOW_NS);
}

Test(receive, p034_malformed_is_counted)
{
	for (size_t len = 0; len < 200; len++) {
		memset(datagram, 0, sizeof(datagram));
		datagram[0] = 9;
		receive(len, NOW_NS);
	}
	cr_assert(eq(u64, drops(DROP_RX_MALFORMED), 200));
	cr_assert(eq(u32, control.queue.n, 0));
}

Test(receive, p101_bad_mac1_is_not_queued)
{
	make_message(MESSAGE_INITIATION, 148);
	datagram[116] ^= 1;
	receive(148, NOW_NS);
	cr_assert(eq(u64, drops(DROP_HS_BAD_MAC1), 1));
	cr_assert(eq(u32, control.queue.n, 0));
}

Test(receive, good_mac1_is_queued_whole)
{
	make_message(MESSAGE_RESPONSE, 92);
	receive(92, NOW_NS);
	cr_assert(eq(u32, control.queue.n, 1));
	const struct queued_handshake *q = handshake_queue_pop(&control.queue);
	cr_assert(eq(u32, q->len, 92));
	cr_assert(memcmp(q->data, datagram, 92) == 0);
	cr_assert(endpoint_equal(&q->from, &from));
}

Test(receive, nothing_is_taken_while_down)
{
	cr_assert(eq(int, control_set_up(&control, false, NOW_NS), 0));
	make_message(MESSAGE_INITIATION, 148);
	receive(148, NOW_NS);
	cr_assert(eq(u32, control.queue.n, 0));
}

Test(receive, transport_for_a_full_mailbox_is_dropped_and_counted)
{
	struct note note;
	uint32_t n = 0;

	memset(datagram, 0, 32);
	store_le32(datagram, MESSAGE_TRANSPORT);
	for (uint32_t i = 0; i < 5000; i++)
		receive(32, NOW_NS);
	while (mailbox_pop(&device.mailbox[0], &note)) {
		forwarded_destroy(note.forwarded);
		n++;
	}
	cr_assert(gt(u32, n, 0));
	cr_assert(eq(u64, drops(DROP_RX_FORWARD_FULL), 5000 - n));
}

Test(receive, transport_is_passed_on_to_the_worker_that_owns_it)
{
	struct note note;

	for (uint8_t i = 0; i < 4; i++) {
		memset(datagram, i, 32);
		store_le32(datagram, MESSAGE_TRANSPORT);
		store_be32(datagram + 4, i); /* as steering reads it */
		receive(32, NOW_NS);
		cr_assert(eq(u32, edges.n_worker_woken[i % 2], 1 + i / 2));
		cr_assert(mailbox_pop(&device.mailbox[i % 2], &note));
		cr_assert(eq(int, note.kind, NOTE_FORWARDED));
		cr_assert(eq(u8, note.forwarded->data[31], i));
		forwarded_destroy(note.forwarded);
	}
}

Test(receive, p120_load_is_the_time_that_the_backlog_takes)
{
	make_message(MESSAGE_INITIATION, 148);
	control.handshake_cost_ns = NSEC_PER_MSEC; /* a slow machine */
	for (unsigned i = 0; i < 299; i++)
		receive(148, NOW_NS);
	cr_assert(not(receive_is_under_load(&control, NOW_NS)));
	receive(148, NOW_NS);
	cr_assert(receive_is_under_load(&control, NOW_NS));
	while (handshake_queue_pop(&control.queue))
		;
	cr_assert(receive_is_under_load(&control, NOW_NS + NSEC_PER_SEC - 1));
	cr_assert(not(receive_is_under_load(&control, NOW_NS + NSEC_PER_SEC)));
}

Test(receive, p120_full_backlog_is_load_however_fast_we_are)
{
	make_message(MESSAGE_INITIATION, 148);
	control.handshake_cost_ns = 1;
	for (unsigned i = 0; i < HANDSHAKE_QUEUE_LEN; i++)
		receive(148, NOW_NS);
	cr_assert(eq(u32, control.queue.n, HANDSHAKE_QUEUE_LEN));
	receive(148, NOW_NS); /* answered with a cookie */
	cr_assert(eq(u32, edges.n_sent, 1));
	cr_assert(eq(u8, edges.last_type, MESSAGE_COOKIE_REPLY));
	cr_assert(eq(u64, drops(DROP_HS_COOKIE_SENT), 1));
}

Test(receive, backlog_wraps_around)
{
	for (unsigned i = 0; i < 3 * HANDSHAKE_QUEUE_LEN; i++) {
		store_le32(datagram, i);
		cr_assert(handshake_queue_push(&control.queue, (struct bytes){ datagram, 92 },
					       &from));
		if (i % 3 == 0) {
			store_le32(datagram, i + 1000000);
			cr_assert(handshake_queue_push(&control.queue,
						       (struct bytes){ datagram, 148 }, &from));
			const struct queued_handshake *q = handshake_queue_pop(&control.queue);
			cr_assert(eq(u32, load_le32(q->data), i));
			q = handshake_queue_pop(&control.queue);
			cr_assert(eq(u32, load_le32(q->data), i + 1000000));
			cr_assert(eq(u32, q->len, 148));
			continue;
		}
		const struct queued_handshake *q = handshake_queue_pop(&control.queue);
		cr_assert(eq(u32, load_le32(q->data), i));
	}
	cr_assert(handshake_queue_pop(&control.queue) == NULL);
}

Test(receive, p126_handshakes_are_handled_a_few_at_a_time)
{
	make_message(MESSAGE_INITIATION, 148);
	for (unsigned i = 0; i < 10; i++)
		receive(148, NOW_NS);
	cr_assert(eq(u64, control_next_deadline(&control, NOW_NS), NOW_NS));
	cr_assert(eq(u32, control_step(&control, 4, NOW_NS), 4));
	cr_assert(eq(u32, control_backlog(&control), 6));
	cr_assert(eq(u32, control_step(&control, 100, NOW_NS), 6));
	cr_assert(eq(u64, drops(DROP_HS_INVALID), 10));
	cr_assert(eq(u64, control_next_deadline(&control, NOW_NS), UINT64_MAX));
}

/* SPDX-License-Identifier: MPL-2.0 */
/* TUN to UDP: what leaves, in which sends, and what does not. */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "fixture.h"

static struct fixture f;
static uint8_t packets[TX_READ_BURST][2048];
static uint8_t plain[FIXTURE_MAX_LEN];

static void init(void)
{
	fixture_init(&f, 1, false);
}

static void fini(void)
{
	fixture_finish(&f);
}

TestSuite(tx, .init = init, .fini = fini);

static void queue(uint32_t i, uint32_t len, uint8_t tos)
{
	fixture_packet(packets[i], len, 0, 1, tos);
	fixture_queue_packet(&f, packets[i], len);
}

static void step(void)
{
	(void)worker_step(f.worker[0], NOW_NS);
}

/* Datagram @i of send @send carries packet @packet under @counter, padded with zeros. */
static void check_sent(uint32_t send, uint32_t i, uint64_t counter, uint32_t packet)
{
	uint32_t len = load_be16(packets[packet] + 2);
	int32_t n = fixture_open(&f, send, i, counter, plain);

	cr_assert(eq(i32, n, (int32_t)ROUND_UP(len, 16)));
	cr_assert(memcmp(plain, packets[packet], len) == 0);
	for (uint32_t k = len; k < (uint32_t)n; k++)
		cr_assert(eq(u8, plain[k], 0));
}

Test(tx, p140_one_packet_one_message)
{
	queue(0, 100, 0);
	step();
	cr_assert(eq(u32, f.io[0].n_sends, 1));
	cr_assert(eq(u32, f.io[0].send[0].len, 112 + 32));
	cr_assert(eq(u16, f.io[0].send[0].to.to.in4.sin_port, 1234));
	check_sent(0, 0, 0, 0);
	cr_assert(eq(u64, atomic_load(&f.peer->tx_bytes), 144));
}

Test(tx, p147_equal_packets_leave_in_one_send_in_order)
{
	for (uint32_t i = 0; i < 10; i++)
		queue(i, 200, 0);
	step();
	cr_assert(eq(u32, f.io[0].n_sends, 1));
	cr_assert(eq(u32, f.io[0].send[0].segment_len, 208 + 32));
	for (uint32_t i = 0; i < 10; i++)
		check_sent(0, i, i, i);
}

Test(tx, shorter_packet_ends_a_run_longer_begins_one)
{
	queue(0, 200, 0);
	queue(1, 100, 0); /* joins as the last */
	queue(2, 100, 0);
	queue(3, 300, 0);
	step();
	cr_assert(eq(u32, f.io[0].n_sends, 3));
	check_sent(0, 0, 0, 0);
	check_sent(0, 1, 1, 1);
	check_sent(1, 0, 2, 2);
	check_sent(2, 0, 3, 3);
}

Test(tx, p303_runs_end_where_the_outer_tos_changes)
{
	static const uint8_t inner[] = { 0, 1, 2, 3, 0xb8, 0xb9 };
	static const uint8_t outer[] = { 0, 1, 2, 2, 0, 1 }; /* P-301 */
	static const uint32_t send_of[] = { 0, 1, 2, 2, 3, 4 };

	for (uint32_t i = 0; i < ARRAY_SIZE(inner); i++)
		queue(i, 200, inner[i]);
	step();
	cr_assert(eq(u32, f.io[0].n_sends, 5));
	for (uint32_t i = 0; i < ARRAY_SIZE(inner); i++)
		cr_assert(eq(u8, f.io[0].send[send_of[i]].tos, outer[i]));
}

Test(tx, run_holds_at_most_64_datagrams_and_65507_bytes)
{
	for (uint32_t i = 0; i < TX_READ_BURST; i++)
		queue(i, 1420, 0);
	step();
	uint32_t n = 0;
	for (uint32_t i = 0; i < f.io[0].n_sends; i++) {
		const struct fixture_send *s = &f.io[0].send[i];
		uint32_t n_segments = (s->len + s->segment_len - 1) / s->segment_len;
		cr_assert(le(u32, s->len, 65507));
		cr_assert(le(u32, n_segments, 64));
		for (uint32_t k = 0; k < n_segments; k++, n++)
			cr_assert(eq(i32, fixture_open(&f, i, k, n, plain), 1420));
	}
	cr_assert(eq(u32, n, TX_READ_BURST));
	cr_assert(eq(u64, atomic_load(&f.peer->tx_bytes), TX_READ_BURST * 1452));
}

/* A UDP super-packet of @n datagrams of @len bytes payload. */
static uint32_t make_uso(uint8_t *p, uint32_t n, uint32_t len, struct virtio_net_hdr *vnet)
{
	uint32_t total = 28 + n * len;

	fixture_packet(p, total, 0, 1, 0);
	p[9] = 17;
	store_be16(p + 20, 1000);
	store_be16(p + 22, 2000);
	store_be16(p + 24, (uint16_t)(total - 20));
	*vnet = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					 .gso_type = 5, /* UDP_L4 */
					 .hdr_len = 28,
					 .gso_size = (uint16_t)len,
					 .csum_start = 20,
					 .csum_offset = 6 };
	return total;
}

Test(tx, senseless_offload_data_are_dropped_and_counted)
{
	struct virtio_net_hdr vnet;
	static uint8_t super[FIXTURE_MAX_LEN];
	uint32_t len = make_uso(super, 4, 100, &vnet);

	vnet.gso_size = 0;
	fixture_queue_packet(&f, super, len);
	f.io[0].packet[0].vnet = vnet;
	step();
	cr_assert(eq(u64, fixture_drops(&f, DROP_TX_MALFORMED), 1));
	cr_assert(eq(u32, f.io[0].n_sends, 0));
}

Test(tx, p483_row50_super_packet_becomes_ordinary_messages)
{
	static uint8_t super[FIXTURE_MAX_LEN];
	struct virtio_net_hdr vnet;
	uint32_t len = make_uso(super, 600, 100, &vnet); /* more than fit between two flushes */

	fixture_queue_packet(&f, super, len);
	f.io[0].packet[0].vnet = vnet;
	step();
	uint32_t n = 0;
	for (uint32_t i = 0; i < f.io[0].n_sends; i++) {
		const struct fixture_send *s = &f.io[0].send[i];
		for (uint32_t k = 0; k * s->segment_len < s->len; k++, n++) {
			cr_assert(eq(i32, fixture_open(&f, i, k, n, plain), 128));
			cr_assert(eq(u16, load_be16(plain + 2), 128));
			cr_assert(memcmp(plain + 28, super + 28 + n * 100, 100) == 0);
		}
	}
	cr_assert(eq(u32, n, 600));
	cr_assert(gt(u32, f.io[0].n_send_calls, 1));
}

Test(tx, p267_malformed_packets_are_dropped)
{
	static const struct {
		uint8_t first;
		uint32_t len;
	} bad[] = { { 0x45, 19 }, { 0x65, 39 }, { 0x55, 100 }, { 0x05, 100 }, { 0x45, 0 } };

	for (uint32_t i = 0; i < ARRAY_SIZE(bad); i++) {
		fixture_packet(packets[i], 100, 0, 1, 0);
		packets[i][0] = bad[i].first;
		fixture_queue_packet(&f, packets[i], bad[i].len);
	}
	queue(9, 100, 0);
	step();
	cr_assert(eq(u64, fixture_drops(&f, DROP_TX_MALFORMED), ARRAY_SIZE(bad)));
	cr_assert(eq(u32, f.io[0].n_sends, 1));
	cr_assert(eq(u32, f.io[0].n_writes, 0)); /* no ICMP for these */
}

Test(tx, p281_p320_p321_no_peer_is_answered)
{
	fixture_packet(packets[0], 100, 5, 77, 0);
	fixture_queue_packet(&f, packets[0], 100);
	step();
	cr_assert(eq(u64, fixture_drops(&f, DROP_TX_NO_PEER), 1));
	cr_assert(eq(u32, f.io[0].n_writes, 1));
	const uint8_t *icmp = f.io[0].write[0].data;
	cr_assert(eq(u32, load_be32(icmp + 12), 0x0a000000 + 77)); /* from the destination */
	cr_assert(eq(u32, load_be32(icmp + 16), 0x0a000000 + 5));
	cr_assert(eq(u8, icmp[20], 3));
	cr_assert(eq(u8, icmp[21], 1));
	cr_assert(eq(u64, atomic_load(&f.peer->tx_bytes), 0)); /* P-324 */
}

Test(tx, p322_answers_are_limited)
{
	for (uint32_t round = 0; round < 5; round++) {
		for (uint32_t i = 0; i < TX_READ_BURST; i++) {
			fixture_packet(packets[i], 100, 5, 77, 0);
			fixture_queue_packet(&f, packets[i], 100);
		}
		step();
	}
	cr_assert(ge(u32, f.io[0].n_writes, 5));
	cr_assert(le(u32, f.io[0].n_writes, 50));
}

Test(tx, p240_without_session_packets_go_to_control_in_order)
{
	struct note note;

	rcu_publish(&f.peer->current, NULL);
	for (uint32_t i = 0; i < 5; i++)
		queue(i, 100 + i, 0);
	step();
	cr_assert(eq(u32, f.io[0].n_sends, 0));
	cr_assert(eq(u32, f.n_control_woken, 1));
	cr_assert(eq(u32, atomic_load(&f.peer->n_handed_over), 5));
	for (uint32_t i = 0; i < 5; i++) {
		cr_assert(mailbox_pop(device_control_mailbox(&f.device), &note));
		cr_assert(eq(int, note.kind, NOTE_STAGED));
		cr_assert(eq(ptr, note.staged->peer, f.peer));
		cr_assert(eq(u32, note.staged->len, 100 + i)); /* not padded */
		cr_assert(memcmp(note.staged->data, packets[i], 100 + i) == 0);
		staged_packet_destroy(&f.device.staged, note.staged);
	}
}

Test(tx, p240_full_mailbox_drops_and_counts)
{
	rcu_publish(&f.peer->current, NULL);
	for (uint32_t round = 0; round < 20; round++) {
		for (uint32_t i = 0; i < TX_READ_BURST; i++)
			queue(i, 100, 0);
		step();
	}
	cr_assert(eq(u64, fixture_drops(&f, DROP_TX_STAGED_FULL), 20 * TX_READ_BURST - 1024));
	cr_assert(eq(u32, atomic_load(&f.peer->n_handed_over), 1024));
}

Test(tx, p242_packets_queue_behind_those_handed_over)
{
	atomic_store(&f.peer->n_handed_over, 1);
	atomic_store(&f.peer->flush_until_ns, NOW_NS + 1);
	queue(0, 100, 0);
	step();
	cr_assert(eq(u32, f.io[0].n_sends, 0));
	queue(0, 100, 0);
	(void)worker_step(f.worker[0], NOW_NS + 1); /* but not for ever */
	cr_assert(eq(u32, f.io[0].n_sends, 1));
}

Test(tx, p141_counters_run_out_within_a_burst)
{
	atomic_store(&f.session->keypair.send_counter, REJECT_AFTER_MESSAGES - 3);
	for (uint32_t i = 0; i < 5; i++)
		queue(i, 100, 0);
	step();
	cr_assert(eq(u32, f.io[0].n_sends, 1));
	for (uint32_t i = 0; i < 3; i++)
		check_sent(0, i, REJECT_AFTER_MESSAGES - 3 + i, i);
	cr_assert(eq(u32, atomic_load(&f.peer->n_handed_over), 2));
}

Test(tx, p215_p421_failed_sends_count_nothing)
{
	f.io[0].send_error = -EPERM;
	queue(0, 100, 0);
	step();
	cr_assert(eq(u64, atomic_load(&f.peer->tx_bytes), 0));
	cr_assert(eq(u64, fixture_drops(&f, DROP_TX_SEND_FAILED), 1));
	cr_assert(eq(u64, atomic_load(&f.peer->timers.at[TIMER_NEW_HANDSHAKE]), 0));
}

Test(tx, row24_part_of_a_run)
{
	f.io[0].send_error = -EAGAIN;
	f.io[0].n_sent_before = 3;
	for (uint32_t i = 0; i < 10; i++)
		queue(i, 100, 0);
	step();
	cr_assert(eq(u64, atomic_load(&f.peer->tx_bytes), 3 * 144));
	cr_assert(eq(u64, fixture_drops(&f, DROP_TX_SOCKET_FULL), 7));
	cr_assert(ne(u64, atomic_load(&f.peer->timers.at[TIMER_NEW_HANDSHAKE]), 0));
}

Test(tx, p347_rest_of_a_run_is_sent_again_without_the_source)
{
	struct endpoint e;

	endpoint_cell_get(&f.peer->endpoint, &e);
	e.from.in4.s_addr = 7;
	endpoint_cell_set(&f.peer->endpoint, &e);
	f.io[0].source_error = -EINVAL;
	f.io[0].n_sent_before = 4;
	for (uint32_t i = 0; i < 10; i++)
		queue(i, 100, 0);
	step();
	cr_assert(eq(u32, f.io[0].n_sends, 1));
	cr_assert(not(endpoint_has_source(&f.io[0].send[0].to)));
	cr_assert(eq(u32, f.io[0].send[0].len, 6 * 144));
	for (uint32_t i = 0; i < 6; i++)
		check_sent(0, i, 4 + i, 4 + i);
	cr_assert(eq(u64, atomic_load(&f.peer->tx_bytes), 10 * 144));
	endpoint_cell_get(&f.peer->endpoint, &e);
	cr_assert(not(endpoint_has_source(&e)));
}

Test(tx, largest_packet_that_a_datagram_holds)
{
	static uint8_t big[FIXTURE_MAX_LEN];

	atomic_store(&f.device.mtu, 65475); /* P-261 */
	fixture_packet(big, 65475, 0, 1, 0);
	fixture_queue_packet(&f, big, 65475);
	step();
	cr_assert(eq(u32, f.io[0].n_sends, 1));
	cr_assert(eq(u32, f.io[0].send[0].len, 65507));
	cr_assert(eq(i32, fixture_open(&f, 0, 0, 0, plain), 65475));
	cr_assert(memcmp(plain, big, 65475) == 0);
}

Test(tx, row63_packet_that_no_datagram_holds)
{
	static uint8_t big[FIXTURE_MAX_LEN];

	atomic_store(&f.device.mtu, 65535);
	static const uint32_t lens[] = { 65473, 65476, 65535 }; /* the first by its padding */
	for (uint32_t k = 0; k < ARRAY_SIZE(lens); k++) {
		uint32_t len = lens[k];
		fixture_packet(big, len, 0, 1, 0);
		queue(0, 100, 0);
		fixture_queue_packet(&f, big, len);
		queue(1, 100, 0);
		step();
		uint32_t n = 0;
		for (uint32_t i = 0; i < f.io[0].n_sends; i++)
			n += f.io[0].send[i].len;
		cr_assert(eq(u32, n, 2 * 144)); /* the others, nothing else */
		fixture_forget(&f.io[0]);
	}
	cr_assert(eq(u64, fixture_drops(&f, DROP_TX_SEND_FAILED), ARRAY_SIZE(lens)));
}

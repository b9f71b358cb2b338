/* SPDX-License-Identifier: MPL-2.0 */
/* UDP to TUN: what is delivered, passed on or dropped. Worker 0 owns the session. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "fixture.h"
#include "packet/checksum.h"

static struct fixture f;
static uint8_t datagrams[RX_RECV_BURST][FIXTURE_MAX_LEN];
static uint8_t inner[FIXTURE_MAX_LEN];

static void init(void)
{
	fixture_init(&f, 2, false);
}

static void fini(void)
{
	fixture_finish(&f);
}

TestSuite(rx, .init = init, .fini = fini);

static void step(uint32_t worker)
{
	(void)worker_step(f.worker[worker], NOW_NS);
}

/* A whole packet of @len bytes in one datagram for worker 0. */
static void queue(uint32_t i, uint64_t counter, uint32_t len)
{
	fixture_packet(inner, len, 1, 0, (uint8_t)(counter << 2));
	uint32_t n = fixture_seal(&f, counter, inner, len, datagrams[i]);
	fixture_queue_datagram(&f, 0, datagrams[i], n, n, 0);
}

Test(rx, p147_packets_are_delivered_in_order_of_arrival)
{
	static const uint64_t counters[] = { 3, 1, 2, 9, 4 };

	for (uint32_t i = 0; i < 5; i++)
		queue(i, counters[i], 100);
	step(0);
	cr_assert(eq(u32, f.io[0].n_writes, 5));
	for (uint32_t i = 0; i < 5; i++) {
		cr_assert(eq(u32, f.io[0].write[i].len, 100));
		cr_assert(eq(u8, f.io[0].write[i].data[1], (uint8_t)(counters[i] << 2)));
	}
	cr_assert(eq(u64, atomic_load(&f.peer->rx_bytes), 5 * 132));
}

Test(rx, row51_gro_buffer_with_a_short_tail)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < 10; i++) {
		uint32_t len = i < 9 ? 200 : 60;
		fixture_packet(inner, len, 1, 0, (uint8_t)(i << 2));
		n += fixture_seal(&f, i, inner, len, datagrams[0] + n);
	}
	fixture_queue_datagram(&f, 0, datagrams[0], n, 232, 0);
	step(0);
	cr_assert(eq(u32, f.io[0].n_writes, 10));
	for (uint32_t i = 0; i < 10; i++) {
		cr_assert(eq(u8, f.io[0].write[i].data[1], (uint8_t)(i << 2)));
		cr_assert(eq(u32, f.io[0].write[i].len, i < 9 ? 200 : 60));
	}
}

Test(rx, more_messages_than_one_round_of_jobs)
{
	uint64_t counter = 0;

	for (uint32_t d = 0; d < 6; d++) {
		uint32_t n = 0;
		for (uint32_t i = 0; i < 64; i++) {
			fixture_packet(inner, 100, 1, 0, 0);
			n += fixture_seal(&f, counter++, inner, 100, datagrams[d] + n);
		}
		fixture_queue_datagram(&f, 0, datagrams[d], n, 132, 0);
	}
	step(0);
	cr_assert(eq(u32, f.io[0].n_writes, 384));
	cr_assert(eq(u64, atomic_load(&f.peer->rx_bytes), 384 * 132));
}

Test(rx, p036_row21_datagrams_of_any_size)
{
	static const uint32_t lens[] = { 20, 21, 1500, 9000, 65475 };

	for (uint32_t i = 0; i < ARRAY_SIZE(lens); i++)
		queue(i, i, lens[i]);
	step(0);
	cr_assert(eq(u32, f.io[0].n_writes, ARRAY_SIZE(lens)));
	for (uint32_t i = 0; i < ARRAY_SIZE(lens); i++)
		cr_assert(eq(u32, f.io[0].write[i].len, lens[i]));
}

Test(rx, p034_p092_malformed_and_unknown_are_counted)
{
	memset(datagrams[0], 9, 100);
	fixture_queue_datagram(&f, 0, datagrams[0], 100, 100, 0);
	fixture_queue_datagram(&f, 0, datagrams[1], 0, 0, 0); /* row 75 */
	fixture_packet(inner, 40, 1, 0, 0);
	uint32_t n = fixture_seal(&f, 1, inner, 40, datagrams[2]);
	datagrams[2][4] ^= 0x40; /* another index of worker 0's? be sure of it */
	datagrams[2][7] = (uint8_t)(datagrams[2][7] & 1);
	fixture_queue_datagram(&f, 0, datagrams[2], n, n, 0);
	step(0);
	step(1);
	cr_assert(eq(u64, fixture_drops(&f, DROP_RX_MALFORMED), 2));
	cr_assert(eq(u64, fixture_drops(&f, DROP_RX_UNKNOWN_INDEX), 1));
	cr_assert(eq(u32, f.io[0].n_writes, 0));
}

Test(rx, row40_p262_p263_inner_packets)
{
	uint32_t n;

	fixture_packet(inner, 100, 1, 0, 0);
	n = fixture_seal(&f, 1, inner, 19, datagrams[0]); /* shorter than a header */
	fixture_queue_datagram(&f, 0, datagrams[0], n, n, 0);
	n = fixture_seal(&f, 2, inner, 99, datagrams[1]); /* its length says 100 */
	fixture_queue_datagram(&f, 0, datagrams[1], n, n, 0);
	inner[0] = 0x75; /* no such version */
	n = fixture_seal(&f, 3, inner, 100, datagrams[2]);
	fixture_queue_datagram(&f, 0, datagrams[2], n, n, 0);
	inner[0] = 0x45;
	store_be16(inner + 2, 60); /* trailing bytes of any value are cut off */
	n = fixture_seal(&f, 4, inner, 100, datagrams[3]);
	fixture_queue_datagram(&f, 0, datagrams[3], n, n, 0);
	step(0);
	cr_assert(eq(u64, fixture_drops(&f, DROP_RX_BAD_INNER), 3));
	cr_assert(eq(u32, f.io[0].n_writes, 1));
	cr_assert(eq(u32, f.io[0].write[0].len, 60));
	cr_assert(eq(u64, atomic_load(&f.peer->rx_bytes), 132)); /* P-420: before trimming */
}

Test(rx, p302_outer_ecn_is_merged)
{
	fixture_packet(inner, 40, 1, 0, 2);
	store_be16(inner + 10, 0);
	store_be16(inner + 10, 0x1234);
	uint32_t n = fixture_seal(&f, 1, inner, 40, datagrams[0]);
	fixture_queue_datagram(&f, 0, datagrams[0], n, n, 3);
	step(0);
	cr_assert(eq(u8, f.io[0].write[0].data[1], 3));
}

Test(rx, one_bad_message_does_not_hurt_its_neighbours)
{
	for (uint32_t i = 0; i < 9; i++)
		queue(i, i, 100);
	datagrams[4][50] ^= 1;
	step(0);
	cr_assert(eq(u32, f.io[0].n_writes, 8));
	cr_assert(eq(u64, fixture_drops(&f, DROP_RX_BAD_TAG), 1));
	cr_assert(eq(u64, atomic_load(&f.peer->drops.n[DROP_RX_BAD_TAG]), 1));
}

Test(rx, duplicates_within_one_burst)
{
	queue(0, 5, 100);
	queue(1, 5, 100);
	queue(2, 5, 100);
	step(0);
	cr_assert(eq(u32, f.io[0].n_writes, 1));
	cr_assert(eq(u64, fixture_drops(&f, DROP_RX_REPLAY), 2));
}

Test(rx, handshake_messages_go_to_the_control_thread)
{
	struct note note;
	uint8_t *d = datagrams[0];

	memset(d, 0x33, 148);
	store_le32(d, MESSAGE_INITIATION);
	fixture_queue_datagram(&f, 0, d, 148, 148, 0x88);
	step(0);
	cr_assert(eq(u32, f.n_control_woken, 1));
	cr_assert(mailbox_pop(device_control_mailbox(&f.device), &note));
	cr_assert(eq(int, note.kind, NOTE_FORWARDED));
	cr_assert(eq(u32, note.forwarded->len, 148));
	cr_assert(eq(u8, note.forwarded->tos, 0x88));
	cr_assert(eq(u8, note.forwarded->data[147], 0x33));
	forwarded_destroy(note.forwarded);
}

Test(rx, messages_of_another_worker_are_passed_on_and_delivered_there)
{
	fixture_packet(inner, 100, 1, 0, 0);
	uint32_t n = fixture_seal(&f, 1, inner, 100, datagrams[0]);
	uint32_t owner = load_be32(datagrams[0] + 4) % 2, other = 1 - owner;
	fixture_queue_datagram(&f, other, datagrams[0], n, n, 0);
	step(other);
	cr_assert(eq(u32, f.io[other].n_writes, 0));
	cr_assert(eq(u32, f.n_worker_woken[owner], 1));
	memset(datagrams[0], 0, n); /* it was copied */
	step(owner);
	cr_assert(eq(u32, f.io[owner].n_writes, 1));
	cr_assert(memcmp(f.io[owner].write[0].data, inner, 100) == 0);
}

Test(rx, passed_on_to_a_worker_that_has_ended_is_freed)
{
	fixture_packet(inner, 100, 1, 0, 0);
	uint32_t n = fixture_seal(&f, 1, inner, 100, datagrams[0]);
	uint32_t other = 1 - load_be32(datagrams[0] + 4) % 2;
	fixture_queue_datagram(&f, other, datagrams[0], n, n, 0);
	step(other);
	struct note note; /* worker_finish() does this: afterwards nothing may be left */
	uint32_t owner = 1 - other;
	worker_finish(f.worker[owner]);
	cr_assert(not(mailbox_pop(&f.device.mailbox[owner], &note)));
}

Test(rx, full_ring_to_the_other_worker_drops_and_counts)
{
	fixture_packet(inner, 100, 1, 0, 0);
	uint32_t n = fixture_seal(&f, 1, inner, 100, datagrams[0]);
	uint32_t other = 1 - load_be32(datagrams[0] + 4) % 2;
	for (uint32_t i = 0; i < 40; i++) {
		for (uint32_t k = 0; k < RX_RECV_BURST; k++)
			fixture_queue_datagram(&f, other, datagrams[0], n, n, 0);
		step(other);
	}
	cr_assert(eq(u64, fixture_drops(&f, DROP_RX_FORWARD_FULL), 40 * RX_RECV_BURST - 1024));
}

/* --- with a vnet header: coalescing --- */

static void init_vnet(void)
{
	fixture_init(&f, 1, true);
}

TestSuite(rx_gro, .init = init_vnet, .fini = fini);

static uint32_t udp_packet(uint8_t *p, uint32_t payload_len, uint8_t value)
{
	uint32_t len = 28 + payload_len;

	fixture_packet(p, len, 1, 0, 0);
	memset(p + 28, value, payload_len);
	p[6] = 0x40; /* DF */
	p[9] = 17;
	store_be16(p + 20, 1000);
	store_be16(p + 22, 2000);
	store_be16(p + 24, (uint16_t)(payload_len + 8));
	store_be16(p + 26, 0);
	uint64_t sum = 17 + payload_len + 8;
	for (uint32_t i = 12; i < 20; i += 2)
		sum += load_be16(p + i);
	for (uint32_t i = 20; i + 1 < len; i += 2)
		sum += load_be16(p + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	store_be16(p + 26, (uint16_t)~sum);
	sum = 0;
	for (uint32_t i = 0; i < 20; i += 2)
		sum += load_be16(p + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	store_be16(p + 10, (uint16_t)~sum);
	return len;
}

static void queue_udp(uint32_t i)
{
	uint32_t len = udp_packet(inner, 100, (uint8_t)i);
	uint32_t n = fixture_seal(&f, i, inner, len, datagrams[i]);
	fixture_queue_datagram(&f, 0, datagrams[i], n, n, 0);
}

Test(rx_gro, neighbours_become_one_super_packet)
{
	for (uint32_t i = 0; i < 8; i++)
		queue_udp(i);
	step(0);
	cr_assert(eq(u32, f.io[0].n_writes, 1));
	cr_assert(eq(u32, f.io[0].write[0].len, 10 + 28 + 800));
}

Test(rx_gro, row46_super_packet_that_the_tun_refuses_is_written_one_by_one)
{
	f.io[0].write_error = -EINVAL;
	for (uint32_t i = 0; i < 8; i++)
		queue_udp(i);
	step(0);
	cr_assert(eq(u64, fixture_drops(&f, DROP_RX_TUN_FAILED), 0));
	cr_assert(eq(u32, f.io[0].n_writes, 8));
	for (uint32_t i = 0; i < 8; i++) {
		cr_assert(eq(u32, f.io[0].write[i].len, 10 + 128));
		cr_assert(eq(u8, f.io[0].write[i].data[10 + 127], i));
	}
	cr_assert(not(f.worker[0]->rx.gro.udp)); /* and from now on all are */
	fixture_forget(&f.io[0]);
	for (uint32_t i = 8; i < 16; i++)
		queue_udp(i);
	step(0);
	cr_assert(eq(u32, f.io[0].n_writes, 8));
}

Test(rx_gro, packets_that_the_tun_refuses_are_counted)
{
	f.io[0].single_write_error = -EIO;
	queue_udp(0);
	step(0);
	cr_assert(eq(u64, fixture_drops(&f, DROP_RX_TUN_FAILED), 1));
	f.io[0].write_error = -ENOBUFS; /* not for its being a super-packet */
	for (uint32_t i = 1; i < 4; i++)
		queue_udp(i);
	step(0);
	cr_assert(eq(u64, fixture_drops(&f, DROP_RX_TUN_FAILED), 4));
	f.io[0].write_error = -EINVAL; /* but singly they are refused as well: no reason to split */
	for (uint32_t i = 4; i < 12; i++)
		queue_udp(i);
	step(0);
	cr_assert(eq(u64, fixture_drops(&f, DROP_RX_TUN_FAILED), 12));
	cr_assert(eq(u32, f.io[0].n_writes, 0));
	cr_assert(f.worker[0]->rx.gro.udp);
}

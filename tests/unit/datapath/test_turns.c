/* SPDX-License-Identifier: MPL-2.0 */
/* Latency without a clock: how much can be between TUN and UDP at a time, and whose turn it is. A bulk
 * flow fills every burst; a lone packet of another flow may wait for one burst and no more. */
#include <string.h>

#include "base/bytes.h"
#include "fixture.h"

enum {
	SEGMENT = 1372,
	N_SEGMENTS = 43, /* of a super-packet */
	SUPER_LEN = 28 + N_SEGMENTS * SEGMENT,
	BULK = 1000, /* source ports */
	SPARSE = 2000,
	SPARSE_LEN = 100,
};

static struct fixture f;
static struct crypto_pool pool;
static uint8_t super[TX_READ_BURST][SUPER_LEN];
static uint8_t sparse[SPARSE_LEN];
static uint8_t plain[FIXTURE_MAX_LEN];

static void init(void)
{
	fixture_init(&f, 1, true);
	crypto_pool_init(&pool);
}

static void fini(void)
{
	fixture_finish(&f);
}

TestSuite(turns, .init = init, .fini = fini);

static struct io_packet *queue_udp(uint8_t *p, uint32_t len, uint16_t port)
{
	fixture_packet(p, len, 0, 1, 0);
	p[9] = 17;
	store_be16(p + 20, port);
	store_be16(p + 22, 7);
	store_be16(p + 24, (uint16_t)(len - 20));
	store_be16(p + 26, 0);
	fixture_queue_packet(&f, p, len);
	return &f.io[0].packet[f.io[0].n_packets - 1];
}

static void queue_super(uint32_t i)
{
	struct io_packet *p = queue_udp(super[i], SUPER_LEN, BULK);

	p->vnet = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					   .gso_type = 5, /* UDP_L4 */
					   .hdr_len = 28,
					   .gso_size = SEGMENT,
					   .csum_start = 20,
					   .csum_offset = 6 };
}

static void queue_bulk(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		queue_super(i);
}

static void queue_sparse(uint16_t port)
{
	(void)queue_udp(sparse, SPARSE_LEN, port);
}

static uint32_t step(void)
{
	return worker_step(f.worker[0], NOW_NS);
}

static uint32_t n_segments(const struct fixture_send *s)
{
	return (s->len + s->segment_len - 1) / s->segment_len;
}

static uint32_t n_sent(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < f.io[0].n_sends; i++)
		n += n_segments(&f.io[0].send[i]);
	return n;
}

/* How many datagrams left before the sparse packet, which alone is so short. @first: the counter of the
 * first one. The counters say in which order they were planned: they have to leave in the same. */
static uint32_t n_before_sparse(uint64_t first)
{
	uint32_t n = 0, found = UINT32_MAX;

	for (uint32_t i = 0; i < f.io[0].n_sends; i++) {
		for (uint32_t k = 0; k < n_segments(&f.io[0].send[i]); k++, n++) {
			int32_t len = fixture_open(&f, i, k, first + n, plain);
			cr_assert(gt(i32, len, 0));
			if (len == ROUND_UP(SPARSE_LEN, 16))
				found = n;
		}
	}
	return found;
}

static void check_nothing_is_left(void)
{
	struct tx *tx = &f.worker[0]->tx;

	cr_assert(eq(u32, tx->n_jobs, 0));
	cr_assert(eq(u32, tx->n_runs, 0));
	cr_assert(eq(u32, tx->out_len, 0));
	cr_assert(eq(u32, tx->n_batches, 0));
	cr_assert(eq(u32, f.worker[0]->rx.n_jobs, 0));
	cr_assert(eq(u32, atomic_load(&pool.head), atomic_load(&pool.tail)));
}

/* --- how much --- */

Test(turns, round_reads_one_burst_each_way_and_ends_with_nothing_between_tun_and_udp)
{
	for (uint32_t round = 1; round <= 3; round++) {
		queue_bulk(round == 2 ? 8 : TX_READ_BURST);
		uint32_t n = f.io[0].n_packets;
		cr_assert(eq(u32, step(), n));
		cr_assert(eq(u32, n_sent(), n * N_SEGMENTS));
		cr_assert(eq(u32, f.io[0].n_reads, round));
		cr_assert(eq(u32, f.io[0].n_recvs, round));
		check_nothing_is_left();
		fixture_forget(&f.io[0]);
	}
}

Test(turns, sent_at_once_are_at_most_512_datagrams_and_512_kilobytes)
{
	queue_bulk(TX_READ_BURST);
	(void)step();
	uint32_t n = 0, len = 0, call = 0, max_n = 0, max_len = 0;
	for (uint32_t i = 0; i < f.io[0].n_sends; i++) {
		const struct fixture_send *s = &f.io[0].send[i];
		if (s->call != call)
			n = len = 0;
		call = s->call;
		n += n_segments(s);
		len += s->len;
		max_n = MAX(max_n, n);
		max_len = MAX(max_len, len);
	}
	cr_assert(le(u32, max_n, 512));
	cr_assert(le(u32, max_len, 512 * 1024));
	cr_assert(gt(u32, max_len, 256 * 1024)); /* this test tests something */
}

/* Somebody sleeps all the time, and does nothing when he is woken. */
static uint32_t max_in_flight, max_jobs;

static void wake_lazy_worker(void *ctx, uint32_t worker)
{
	(void)ctx;
	uint32_t head = atomic_load(&pool.head), tail = atomic_load(&pool.tail);
	max_in_flight = MAX(max_in_flight, tail - head);
	for (; head != tail; head++)
		max_jobs = MAX(max_jobs, pool.slot[head % CRYPTO_POOL_SLOTS].batch->n);
	idle_set_add(&pool.idle, worker);
}

Test(turns, at_most_6_batches_of_48_are_with_idle_workers_and_none_after_the_round)
{
	f.worker[0]->pool = &pool;
	f.device.wake_worker = wake_lazy_worker;
	idle_set_add(&pool.idle, 9);
	queue_bulk(TX_READ_BURST);
	(void)step();
	cr_assert(eq(u32, max_in_flight, 6));
	cr_assert(eq(u32, max_jobs, 48));
	cr_assert(eq(u32, n_sent(), TX_READ_BURST * N_SEGMENTS));
	check_nothing_is_left();
	(void)n_before_sparse(0); /* in order */
}

/* --- whose turn: from the TUN --- */

Test(turns, lone_packet_leaves_before_the_bulk_that_was_read_with_it)
{
	queue_bulk(7);
	queue_sparse(SPARSE);
	(void)step();
	cr_assert(eq(u32, f.io[0].n_sends, 8));
	cr_assert(eq(u32, n_before_sparse(0), 0));
	cr_assert(eq(u32, f.io[0].send[0].call, 1)); /* and waits for no sealing of theirs */
	cr_assert(eq(u32, f.io[0].send[1].call, 2));
}

Test(turns, lone_packet_that_comes_during_a_burst_leaves_first_in_the_next)
{
	queue_bulk(8);
	(void)step();
	queue_bulk(7);
	queue_sparse(SPARSE);
	fixture_forget(&f.io[0]);
	(void)step();
	cr_assert(eq(u32, n_before_sparse(8 * N_SEGMENTS), 0));
	cr_assert(eq(u32, n_sent(), 7 * N_SEGMENTS + 1));
}

Test(turns, packet_of_the_bulk_flow_itself_keeps_its_place)
{
	queue_bulk(7);
	queue_sparse(BULK);
	(void)step();
	cr_assert(eq(u32, n_before_sparse(0), 7 * N_SEGMENTS));
}

Test(turns, where_a_flow_is_not_certain_nothing_changes_its_place)
{
	static uint8_t fragment[SPARSE_LEN + 100];

	queue_bulk(6);
	queue_sparse(SPARSE);
	(void)queue_udp(fragment, sizeof(fragment), BULK);
	store_be16(fragment + 6, 0x2000);
	(void)step();
	cr_assert(eq(u32, n_before_sparse(0), 6 * N_SEGMENTS));
}

Test(turns, without_a_backlog_order_is_that_of_arrival)
{
	queue_bulk(2);
	queue_sparse(SPARSE);
	(void)step();
	cr_assert(eq(u32, f.io[0].n_send_calls, 1));
	cr_assert(eq(u32, n_before_sparse(0), 2 * N_SEGMENTS));
}

Test(turns, lone_packet_is_sealed_and_sent_by_whoever_read_it)
{
	f.worker[0]->pool = &pool;
	f.device.wake_worker = wake_lazy_worker;
	idle_set_add(&pool.idle, 9);
	queue_sparse(SPARSE);
	(void)step();
	cr_assert(eq(u32, n_sent(), 1));
	cr_assert(eq(u32, atomic_load(&pool.tail), 0));
	cr_assert(not(mailbox_has_news(device_control_mailbox(&f.device))));
}

/* --- whose turn: another one's cipher work --- */

Test(turns, own_packet_waits_for_one_batch_of_others_at_most)
{
	enum { N = 20 };
	static struct crypto_batch batch[N];
	static uint8_t out[N][32];
	static struct aead_seal_job job[N];

	f.worker[0]->pool = &pool;
	for (uint32_t i = 0; i < N; i++) {
		job[i] = (struct aead_seal_job){ .key = f.sending_key, .out = out[i] };
		batch[i] = (struct crypto_batch){ .aead = aead_select(0), .seal = &job[i], .n = 1 };
		cr_assert(crypto_pool_offer(&pool, &batch[i]));
	}
	for (uint32_t i = 1; i <= N; i++) {
		queue_sparse(SPARSE);
		cr_assert(eq(u32, step(), 2));
		cr_assert(eq(u32, n_sent(), i));
		cr_assert(eq(u32, atomic_load(&pool.head), i));
	}
	cr_assert(eq(u64, atomic_load(&f.worker[0]->stats.packets), N));
}

/* --- whose turn: from the network --- */

enum { WIRE_LEN = SEGMENT + 28 + TRANSPORT_OVERHEAD, PER_BUFFER = 40 };

static uint8_t wire[RX_RECV_BURST][PER_BUFFER * WIRE_LEN];

static void queue_wire(uint32_t n, uint64_t *counter)
{
	static uint8_t pkt[SEGMENT + 28];

	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t k = 0; k < PER_BUFFER; k++) {
			fixture_packet(pkt, sizeof(pkt), 1, 0, 0);
			cr_assert(eq(u32,
				     fixture_seal(&f, (*counter)++, pkt, sizeof(pkt),
						  wire[i] + k * WIRE_LEN),
				     WIRE_LEN));
		}
		fixture_queue_datagram(&f, 0, wire[i], PER_BUFFER * WIRE_LEN, WIRE_LEN, 0);
	}
}

Test(turns, received_packet_reaches_the_tun_in_its_round_behind_255_others_at_most)
{
	static uint8_t pkt[SPARSE_LEN], lone[SPARSE_LEN + TRANSPORT_OVERHEAD];
	uint64_t counter = 0;

	for (uint32_t round = 0; round < 2; round++) {
		uint32_t n = 6, per_call[FIXTURE_MAX_WRITES + 1] = { 0 };
		queue_wire(n, &counter);
		fixture_packet(pkt, sizeof(pkt), 1, 0, 0);
		uint32_t len = fixture_seal(&f, counter++, pkt, sizeof(pkt), lone);
		fixture_queue_datagram(&f, 0, lone, len, len, 0);
		cr_assert(eq(u32, step(), n + 1));

		const struct fixture_io *io = &f.io[0];
		cr_assert(eq(u32, io->n_writes, n * PER_BUFFER + 1));
		for (uint32_t i = 0; i < io->n_writes; i++)
			cr_assert(le(u32, ++per_call[io->write[i].call], RX_MAX_JOBS));
		cr_assert(eq(u32, io->write[io->n_writes - 1].len,
			     SPARSE_LEN + (uint32_t)sizeof(struct virtio_net_hdr)));
		check_nothing_is_left();
		fixture_forget(&f.io[0]);
	}
}

Test(turns, neither_direction_waits_for_the_other_to_run_dry)
{
	uint64_t counter = 0;

	for (uint32_t round = 1; round <= 3; round++) {
		queue_bulk(8);
		queue_wire(4, &counter);
		cr_assert(eq(u32, step(), 12));
		cr_assert(eq(u32, n_sent(), 8 * N_SEGMENTS));
		cr_assert(eq(u32, f.io[0].n_writes, 4 * PER_BUFFER));
		fixture_forget(&f.io[0]);
	}
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Every engine on a real TUN and real sockets, the same tests for all (PITFALLS 21 - 25, 43, 44, 75). */
#include <linux/udp.h>
#include <stddef.h>
#include <stdlib.h>

#include "io/engine_fixture.h"

/* -- TUN to engine ------------------------------------------------------------------------------- */

static void app_send(size_t len, uint32_t number)
{
	static uint8_t b[MAX_TEXT];
	struct sockaddr_in to = app_addr;
	to.sin_addr.s_addr = inet_addr("10.9.0.2");
	fill(b, len, number);
	cr_assert(eq(int, sendto(app, b, len, 0, (struct sockaddr *)&to, sizeof(to)), len), "%s",
		  strerror(errno));
}

/* As a worker does: wait, read; until @n packets came or nothing more comes. */
static uint32_t read_until(struct io_packet *p, uint32_t n)
{
	uint64_t end = now_ns() + NSEC_PER_SEC;
	uint32_t got = 0;
	while (got == 0 && now_ns() < end) {
		cr_assert(eq(int, io->ops->wait(io, NSEC_PER_SEC / 10), 0));
		got = io->ops->read_burst(io, p, n);
	}
	return got;
}

ENGINE_TEST(reads_every_packet_in_order)
{
	open_engine(engine_number, true, true);
	struct io_packet p[IO_MAX_BURST];
	uint32_t next = 0;
	for (uint32_t i = 0; i < 1000; i++)
		app_send(4 + i % 1400, i);
	while (next < 1000) {
		uint32_t n = read_until(p, 1 + next % IO_MAX_BURST);
		cr_assert(gt(u32, n, 0), "lost after %u", next);
		cr_assert(le(u32, n, 1 + next % IO_MAX_BURST));
		for (uint32_t i = 0; i < n; i++, next++) {
			cr_assert(eq(u32, p[i].len, 28 + 4 + next % 1400));
			cr_assert(eq(int, p[i].vnet.gso_type, 0));
			cr_assert(is_filled(p[i].data + 28, p[i].len - 28, next));
			memset(p[i].data, 0xee, p[i].len); /* ours to scribble on */
		}
	}
	io->ops->wait(io, 0);
	cr_assert(eq(u32, io->ops->read_burst(io, p, 1), 0));
	close_engine();
}

ENGINE_TEST(largest_packets_do_not_overlap)
{
	open_engine(engine_number, true, true);
	struct io_packet p[IO_MAX_BURST];
	for (uint32_t i = 0; i < 60; i++)
		app_send(i % 3 == 2 ? 40 : 65507, i);
	uint32_t next = 0;
	while (next < 60) {
		uint32_t n = read_until(p, IO_MAX_BURST);
		cr_assert(gt(u32, n, 0), "lost after %u", next);
		for (uint32_t i = 0; i < n; i++) /* all before any is checked */
			store_be16(p[i].data, (uint16_t)i);
		for (uint32_t i = 0; i < n; i++, next++) {
			cr_assert(eq(u16, load_be16(p[i].data), i));
			cr_assert(is_filled(p[i].data + 28, p[i].len - 28, next));
		}
	}
	close_engine();
}

/* Sizes change faster than any mean follows; what a burst hands out stays within the documented bound. */
static void check_bursts_are_bounded(void)
{
	enum { N_SMALL = 200, N_LARGE = 40 };
	struct io_packet p[IO_MAX_BURST];
	uint32_t next = 0;
	for (uint32_t i = 0; i < N_SMALL + N_LARGE; i++)
		app_send(i < N_SMALL ? 20 : 65507, i);
	while (next < N_SMALL + N_LARGE) {
		uint32_t n = read_until(p, 64), len = 0;
		cr_assert(gt(u32, n, 0), "lost after %u", next);
		for (uint32_t i = 0; i < n; i++, next++) {
			cr_assert(is_filled(p[i].data + 28, p[i].len - 28, next));
			len += p[i].len;
		}
		cr_assert(le(u32, len, 512 * 1024), "%u packets at once", n);
	}
}

ENGINE_TEST(bursts_are_bounded_in_bytes_whatever_came_before)
{
	open_engine(engine_number, true, true);
	check_bursts_are_bounded();
	close_engine();
}

ENGINE_TEST(reads_super_packets_with_their_header)
{
	open_engine(engine_number, true, true);
	if (!(tun.offloads & 0x60))
		cr_skip_test("no USO in this kernel");
	int segment = 1000;
	fixture_run("ip link set wg0 mtu 1420");
	setsockopt(app, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment));
	app_send(9500, 1);
	struct io_packet p[4];
	cr_assert(eq(u32, read_until(p, 4), 1));
	cr_assert(eq(u32, p[0].len, 9528));
	cr_assert(eq(int, p[0].vnet.gso_type, 5 /* VIRTIO_NET_HDR_GSO_UDP_L4 */));
	cr_assert(eq(int, p[0].vnet.gso_size, 1000));
	cr_assert(is_filled(p[0].data + 28, 9500, 1));
	close_engine();
}

ENGINE_TEST(works_without_vnet_header)
{
	open_engine(engine_number, false, true);
	struct io_packet p[4];
	app_send(100, 1);
	app_send(0, 2);
	cr_assert(eq(u32, read_until(p, 1), 1));
	cr_assert(eq(u32, p[0].len, 128));
	cr_assert(is_filled(p[0].data + 28, 100, 1));
	cr_assert(eq(u32, read_until(p, 1), 1));
	cr_assert(eq(u32, p[0].len, 28));
	close_engine();
}

/* -- engine to TUN ------------------------------------------------------------------------------- */

static struct virtio_net_hdr no_vnet;

/* An IPv4/UDP packet from 10.9.0.2 to the app, UDP checksum 0 (none). */
static size_t make_packet(uint8_t *b, size_t len, uint32_t number)
{
	memset(b, 0, 28);
	b[0] = 0x45;
	store_be16(b + 2, (uint16_t)(28 + len));
	b[8] = 64;
	b[9] = 17;
	store_be32(b + 12, 0x0a090002);
	store_be32(b + 16, 0x0a090001);
	uint32_t sum = 0;
	for (int i = 0; i < 20; i += 2)
		sum += load_be16(b + i);
	sum = (sum & 0xffff) + (sum >> 16);
	store_be16(b + 10, (uint16_t) ~(sum + (sum >> 16)));
	store_be16(b + 20, 9);
	store_be16(b + 22, APP_PORT);
	store_be16(b + 24, (uint16_t)(8 + len));
	fill(b + 28, len, number);
	return 28 + len;
}

static void app_expect(uint32_t len, uint32_t number)
{
	static uint8_t b[MAX_TEXT];
	ssize_t n = recv(app, b, sizeof(b), 0);
	cr_assert(eq(int, n, len), "packet %u: %s", number, n < 0 ? strerror(errno) : "length");
	cr_assert(is_filled(b, len, number));
}

ENGINE_TEST(writes_every_packet_in_order)
{
	open_engine(engine_number, true, true);
	enum { N = 128 };
	static uint8_t text[N][2048];
	struct iovec iov[N][3];
	struct io_write w[N];
	for (uint32_t i = 0; i < N; i++) { /* in three pieces */
		size_t len = make_packet(text[i], 4 + i * 11, i);
		iov[i][0] = (struct iovec){ &no_vnet, sizeof(no_vnet) };
		iov[i][1] = (struct iovec){ text[i], 28 };
		iov[i][2] = (struct iovec){ text[i] + 28, len - 28 };
		w[i] = (struct io_write){ .iov = iov[i], .n_iov = 3, .result = 1, .user = &w[i] };
	}
	for (int round = 0; round < 3; round++) {
		io->ops->write_burst(io, w, N / 2);
		io->ops->write_burst(io, w + N / 2, N / 2);
		io->ops->submit(io);
		for (uint32_t i = 0; i < N; i++) {
			cr_assert(eq(int, w[i].result, 0));
			cr_assert(eq(ptr, w[i].user, &w[i]));
			app_expect(4 + i * 11, i);
		}
	}
	close_engine();
}

/* PITFALLS 46: the caller learns of a refused header and of nothing else. */
ENGINE_TEST(a_refused_write_leaves_the_others_alone)
{
	open_engine(engine_number, true, true);
	static uint8_t text[5][256];
	struct virtio_net_hdr bad = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 60000 };
	struct iovec iov[5][2];
	struct io_write w[5];
	for (uint32_t i = 0; i < 5; i++) {
		size_t len = make_packet(text[i], 100, i);
		iov[i][0] = (struct iovec){ i == 2 ? &bad : &no_vnet, sizeof(bad) };
		iov[i][1] = (struct iovec){ text[i], len };
		w[i] = (struct io_write){ .iov = iov[i], .n_iov = 2, .result = 1 };
	}
	io->ops->write_burst(io, w, 5);
	io->ops->submit(io);
	for (uint32_t i = 0; i < 5; i++) {
		cr_assert(eq(int, w[i].result, i == 2 ? -EINVAL : 0));
		if (i != 2)
			app_expect(100, i);
	}
	fixture_link_down("wg0");
	io->ops->write_burst(io, w, 1);
	io->ops->submit(io);
	cr_assert(eq(int, w[0].result, -EIO), "the interface is down");
	close_engine();
}

/* -- UDP to engine ------------------------------------------------------------------------------- */

static uint32_t recv_until(struct io_datagram *d, uint32_t n)
{
	uint64_t end = now_ns() + NSEC_PER_SEC;
	uint32_t got = 0;
	while (got == 0 && now_ns() < end) {
		cr_assert(eq(int, io->ops->wait(io, NSEC_PER_SEC / 10), 0));
		got = io->ops->recv_burst(io, d, n);
	}
	return got;
}

static void peer_send(int family, size_t len, uint32_t number)
{
	static uint8_t b[MAX_TEXT];
	static int fd6 = -1;
	struct endpoint to = fixture_endpoint(family, PORT);
	if (fd6 < 0)
		fd6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	fill(b, len, number);
	cr_assert(eq(int,
		     sendto(family == AF_INET ? peer : fd6, b, len, 0, &to.to.sa,
			    endpoint_addr_len(&to)),
		     len));
}

/* PITFALLS 75: empty ones alone, among others and by the thousand. */
ENGINE_TEST(receives_empty_and_full_datagrams_in_order)
{
	open_engine(engine_number, true, true);
	struct io_datagram d[IO_MAX_BURST];
	uint32_t next = 0, n_sent = 0;
	static const uint32_t lens[] = { 0, 148, 0, 0, 65507, 32, 0, 1452, 1, 20000 };
	while (next < 2000) {
		while (n_sent < 2000 && n_sent < next + 60) {
			peer_send(AF_INET, lens[n_sent % 10], n_sent);
			n_sent++;
		}
		uint32_t n = recv_until(d, 1 + next % IO_MAX_BURST);
		cr_assert(gt(u32, n, 0), "lost after %u", next);
		for (uint32_t i = 0; i < n; i++, next++) {
			cr_assert(eq(u32, d[i].len, lens[next % 10]));
			cr_assert(eq(u32, d[i].segment_len, d[i].len));
			cr_assert(is_filled(d[i].data, d[i].len, next));
			cr_assert(eq(int, d[i].from.to.sa.sa_family, AF_INET));
			cr_assert(eq(u32, d[i].from.from.in4.s_addr, htonl(INADDR_LOOPBACK)));
			memset(d[i].data, 0xee, d[i].len);
		}
	}
	for (int i = 0; i < 3000; i++) {
		peer_send(AF_INET, 0, 0);
		if (i % 200 == 199)
			while (recv_until(d, IO_MAX_BURST) == IO_MAX_BURST)
				;
	}
	peer_send(AF_INET, 99, 5);
	uint32_t n = 0, len = 0;
	while (len != 99 && (n = recv_until(d, IO_MAX_BURST)) > 0)
		len = d[n - 1].len;
	cr_assert(eq(u32, len, 99));
	close_engine();
}

ENGINE_TEST(serves_both_families)
{
	open_engine(engine_number, true, true);
	struct io_datagram d[IO_MAX_BURST];
	uint32_t next[2] = { 0, 0 };
	for (uint32_t i = 0; i < 400; i++) {
		peer_send(AF_INET, 100 + i % 7, i);
		if (i % 20 == 0)
			peer_send(AF_INET6, 200 + i % 7, i / 20);
	}
	uint32_t calls = 0, calls_until_v6_done = 0;
	while (next[0] + next[1] < 420) {
		uint32_t n = recv_until(d, 16);
		cr_assert(gt(u32, n, 0));
		calls++;
		for (uint32_t i = 0; i < n; i++) {
			bool v6 = d[i].from.to.sa.sa_family == AF_INET6;
			uint32_t number = next[v6]++;
			cr_assert(is_filled(d[i].data, d[i].len, number));
			cr_assert(eq(u32, d[i].len, v6 ? 200 + number * 20 % 7 : 100 + number % 7));
			if (v6)
				cr_assert(eq(int,
					     memcmp(&d[i].from.from.in6, &in6addr_loopback, 16),
					     0));
		}
		if (next[1] == 20 && !calls_until_v6_done)
			calls_until_v6_done = calls;
	}
	cr_assert(lt(u32, calls_until_v6_done, calls / 2), "the few do not wait for the many");
	close_engine();
}

ENGINE_TEST(receives_runs_as_segments)
{
	open_engine(engine_number, true, true);
	struct io_datagram d[IO_MAX_BURST];
	int segment = 1452;
	setsockopt(peer, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment));
	setsockopt(peer, IPPROTO_IP, IP_TOS, &(int){ 3 }, sizeof(int));
	for (uint32_t i = 0; i < 40; i++)
		peer_send(AF_INET, 45 * 1452 - i, i);
	for (uint32_t next = 0; next < 40;) {
		uint32_t n = recv_until(d, IO_MAX_BURST);
		cr_assert(gt(u32, n, 0), "lost after %u", next);
		for (uint32_t i = 0; i < n; i++, next++) {
			cr_assert(eq(u32, d[i].len, 45 * 1452 - next));
			cr_assert(eq(u32, d[i].segment_len, 1452));
			cr_assert(eq(u8, d[i].tos, 3));
			cr_assert(is_filled(d[i].data, d[i].len, next));
		}
	}
	close_engine();
}

/* PITFALLS 22: each of these leaves ECONNREFUSED in the socket. */
ENGINE_TEST(errors_never_stop_reception)
{
	open_engine(engine_number, true, true);
	struct io_datagram d[IO_MAX_BURST];
	setsockopt(fds.udp4, IPPROTO_IP, IP_RECVERR, &(int){ 1 }, sizeof(int));
	struct endpoint closed = fixture_endpoint(AF_INET, 9);
	for (uint32_t round = 0; round < 30; round++) {
		struct io_send s = {
			.data = (const uint8_t *)"x", .len = 1, .segment_len = 1, .to = &closed
		};
		for (int i = 0; i < 3; i++) {
			io->ops->send_burst(io, &s, 1);
			io->ops->submit(io);
		}
		peer_send(AF_INET, 50, round);
		cr_assert(eq(u32, recv_until(d, IO_MAX_BURST), 1), "round %u", round);
		cr_assert(is_filled(d[0].data, 50, round));
	}
	cr_assert(gt(u64, stats.recv_errors, 0), "otherwise this tests nothing");
	close_engine();
}

/* -- engine to UDP ------------------------------------------------------------------------------- */

static struct endpoint peer_endpoint(void)
{
	struct endpoint e = fixture_endpoint(AF_INET, 0);
	socklen_t len = sizeof(e.to.in4);
	getsockname(peer, &e.to.sa, &len);
	return e;
}

static void peer_expect(uint32_t len, uint32_t number)
{
	static uint8_t b[MAX_TEXT];
	ssize_t n = recv(peer, b, sizeof(b), 0);
	cr_assert(eq(int, n, len), "datagram %u: %s", number, n < 0 ? strerror(errno) : "length");
	cr_assert(is_filled(b, len, number));
}

/* @n segments of @segment_len, the last one a byte shorter; each filled by itself from @number on. */
static struct io_send make_run(uint8_t *b, uint32_t n, uint16_t segment_len, uint32_t number,
			       const struct endpoint *to)
{
	for (uint32_t i = 0; i < n; i++)
		fill(b + (size_t)i * segment_len, segment_len - (i == n - 1), number + i);
	return (struct io_send){ .data = b,
				 .len = n * segment_len - 1,
				 .segment_len = segment_len,
				 .to = to,
				 .result = 1 };
}

static void expect_run(uint32_t n, uint16_t segment_len, uint32_t number)
{
	for (uint32_t i = 0; i < n; i++)
		peer_expect(segment_len - (uint32_t)(i == n - 1), number + i);
}

ENGINE_TEST(sends_runs_and_single_datagrams_in_order)
{
	for (int gso = 1; gso >= 0; gso--) {
		open_engine(engine_number, true, gso);
		static uint8_t b[6][MAX_TEXT];
		struct endpoint to = peer_endpoint();
		struct io_send s[6];
		static const uint32_t n[6] = { 45, 1, 128, 2, 1, 127 };
		static const uint16_t len[6] = { 1452, 100, 400, 60, 1452, 124 };
		for (uint32_t i = 0; i < 6; i++) {
			s[i] = make_run(b[i], n[i], len[i], i * 1000, &to);
			if (n[i] == 1)
				s[i].segment_len = (uint16_t)s[i].len;
		}
		io->ops->send_burst(io, s, 2);
		io->ops->send_burst(io, s + 2, 4);
		io->ops->submit(io);
		for (uint32_t i = 0; i < 6; i++) {
			cr_assert(eq(int, s[i].result, 0));
			cr_assert(eq(u32, s[i].n_sent, n[i]));
			expect_run(n[i], len[i], i * 1000);
		}
		cr_assert(eq(u64, stats.gso_fallbacks, 0));
		close_engine();
	}
}

/* PITFALLS 23: three that can not be sent, for three reasons, between four that can. */
ENGINE_TEST(an_unsendable_datagram_leaves_the_others_alone)
{
	open_engine(engine_number, true, true);
	static uint8_t b[7][4096];
	struct endpoint good = peer_endpoint(), bad[3] = { good, good, good };
	bad[0].to.in4.sin_addr.s_addr = inet_addr("203.0.113.1"); /* no route */
	bad[1].to.in4.sin_port = 0;
	bad[2].from.in4.s_addr = inet_addr("192.0.2.55"); /* no address of ours */
	struct io_send s[7];
	for (uint32_t i = 0; i < 7; i++)
		s[i] = make_run(b[i], 1 + i % 3, 500, i * 10, i % 2 ? &bad[i / 2] : &good);
	for (int round = 0; round < 2; round++) {
		io->ops->send_burst(io, s, 7);
		io->ops->submit(io);
		for (uint32_t i = 0; i < 7; i++) {
			if (i % 2) {
				/* Of a source that is not ours Linux says the one or the other. */
				if (i != 5)
					cr_assert(eq(int, s[i].result,
						     i == 1 ? -ENETUNREACH : -EINVAL));
				cr_assert(lt(int, s[i].result, 0));
				cr_assert(eq(u32, s[i].n_sent, 0));
			} else {
				cr_assert(eq(int, s[i].result, 0));
				cr_assert(eq(u32, s[i].n_sent, 1 + i % 3));
				expect_run(1 + i % 3, 500, i * 10);
			}
		}
	}
	cr_assert(not(stats.gso_off), "a lost source address says nothing about UDP_SEGMENT");
	close_engine();
}

/* PITFALLS 83: families in turn; each datagram arrives where it should, from the address it should. */
ENGINE_TEST(alternates_between_families)
{
	open_engine(engine_number, true, true);
	fixture_run("ip addr add 127.0.0.77/8 dev lo; ip addr add 2001:db8::77/128 dev lo nodad");
	int peer6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct endpoint to[2] = { peer_endpoint(), fixture_endpoint(AF_INET6, 4242) };
	cr_assert(eq(int, bind(peer6, &to[1].to.sa, sizeof(to[1].to.in6)), 0));
	inet_pton(AF_INET, "127.0.0.77", &to[0].from.in4);
	inet_pton(AF_INET6, "2001:db8::77", &to[1].from.in6);
	static uint8_t b[20][100];
	struct io_send s[20];
	for (uint32_t i = 0; i < 20; i++)
		s[i] = make_run(b[i], 1, 100, i, &to[i % 2]);
	io->ops->send_burst(io, s, 20);
	io->ops->submit(io);
	for (uint32_t i = 0; i < 20; i++) {
		uint8_t got[200];
		struct endpoint from;
		socklen_t len = sizeof(from.to);
		cr_assert(eq(int, s[i].result, 0));
		cr_assert(eq(int,
			     recvfrom(i % 2 ? peer6 : peer, got, sizeof(got), MSG_DONTWAIT,
				      &from.to.sa, &len),
			     99));
		cr_assert(is_filled(got, 99, i));
		if (i % 2)
			cr_assert(eq(int, memcmp(&from.to.in6.sin6_addr, &to[1].from.in6, 16), 0));
		else
			cr_assert(eq(u32, from.to.in4.sin_addr.s_addr, to[0].from.in4.s_addr));
	}
	close_engine();
}

/* PITFALLS 44: segments larger than the MTU: sent one by one and fragmented, and only this run. */
ENGINE_TEST(a_run_above_the_mtu_is_fragmented)
{
	open_engine(engine_number, true, true);
	fixture_run("ip link set lo mtu 1280");
	static uint8_t b[2][MAX_TEXT];
	struct endpoint to = peer_endpoint();
	for (int round = 0; round < 3; round++) {
		struct io_send s[2] = { make_run(b[0], 45, 1452, 0, &to),
					make_run(b[1], 45, 1200, 500, &to) };
		/* The first refusal may let what was queued behind it pass; later ones do not. */
		uint32_t n = round == 0 ? 1 : 2;
		io->ops->send_burst(io, s, n);
		io->ops->submit(io);
		for (uint32_t i = 0; i < n; i++) {
			cr_assert(eq(int, s[i].result, 0));
			cr_assert(eq(u32, s[i].n_sent, 45));
		}
		expect_run(45, 1452, 0);
		if (n == 2)
			expect_run(45, 1200, 500);
	}
	cr_assert(eq(u64, stats.gso_fallbacks, 1), "known from then on");
	cr_assert(not(stats.gso_off));
	close_engine();
}

/* PITFALLS 43. A socket without checksums is refused UDP_SEGMENT by the kernel: nothing is lost, and
 * it is not tried again. */
ENGINE_TEST(a_refused_run_is_sent_singly_and_remembered)
{
	open_engine(engine_number, true, true);
	setsockopt(fds.udp4, SOL_SOCKET, SO_NO_CHECK, &(int){ 1 }, sizeof(int));
	static uint8_t b[3][MAX_TEXT];
	struct endpoint to = peer_endpoint();
	for (int round = 0; round < 3; round++) {
		struct io_send s[3] = { make_run(b[0], 128, 500, 0, &to),
					make_run(b[1], 1, 99, 200, &to),
					make_run(b[2], 3, 500, 300, &to) };
		uint32_t n = round == 0 ? 1 : 3;
		io->ops->send_burst(io, s, n);
		io->ops->submit(io);
		expect_run(128, 500, 0);
		cr_assert(eq(u32, s[0].n_sent, 128));
		cr_assert(eq(int, s[0].result, 0));
		cr_assert(stats.gso_off);
		if (n == 1)
			continue;
		cr_assert(eq(u32, s[1].n_sent + s[2].n_sent, 4));
		cr_assert(eq(int, s[1].result | s[2].result, 0));
		expect_run(1, 99, 200);
		expect_run(3, 500, 300);
	}
	cr_assert(eq(u64, stats.gso_fallbacks, 1));
	close_engine();
}

/* PITFALLS 24, P-366: a link of 4 Mbit/s and a buffer of 16 KB. What is said to be sent arrives, in
 * order; the rest is reported; and no call takes long. */
ENGINE_TEST(a_full_buffer_drops_and_reports)
{
	open_engine(engine_number, true, true);
	fixture_run("ip link add v0 type veth peer name v1; ip addr add 192.0.2.1/24 dev v0;"
		    "ip link set v0 up; ip link set v1 up;"
		    "ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev v0;"
		    "tc qdisc add dev v0 root tbf rate 4mbit burst 4000 limit 1000000");
	setsockopt(fds.udp4, SOL_SOCKET, SO_SNDBUF, &(int){ 8192 }, sizeof(int));
	struct endpoint to = fixture_endpoint(AF_INET, 9), good = peer_endpoint();
	to.to.in4.sin_addr.s_addr = inet_addr("192.0.2.2");
	static uint8_t b[40][4096];
	struct io_send s[40];
	uint32_t n_full = 0, n_ok = 0;
	uint64_t longest = 0;
	for (int round = 0; round < 20; round++) {
		for (uint32_t i = 0; i < 40; i++)
			s[i] = make_run(b[i], 1 + i % 2, 1000, i, i == 39 ? &good : &to);
		uint64_t t = now_ns();
		cr_assert(eq(int, io->ops->wait(io, 0), 0));
		io->ops->send_burst(io, s, 40);
		io->ops->submit(io);
		longest = MAX(longest, now_ns() - t);
		for (uint32_t i = 0; i < 40; i++) {
			cr_assert(s[i].result == 0 || s[i].result == -EAGAIN, "%s",
				  strerror(-s[i].result));
			cr_assert(eq(u32, s[i].n_sent, s[i].result == 0 ? 1 + i % 2 : 0));
			n_full += s[i].result != 0;
			n_ok += s[i].result == 0;
		}
	}
	cr_assert(gt(u32, n_full, 100));
	cr_assert(gt(u32, n_ok, 5));
	cr_assert(lt(u64, longest, 100 * NSEC_PER_MSEC));
	close_engine();
}

/* -- waiting and life ---------------------------------------------------------------------------- */

ENGINE_TEST(waits_as_long_as_asked)
{
	open_engine(engine_number, true, true);
	uint64_t t = now_ns();
	cr_assert(eq(int, io->ops->wait(io, 20 * NSEC_PER_MSEC), 0));
	uint64_t took = now_ns() - t;
	cr_assert(ge(u64, took, 19 * NSEC_PER_MSEC));
	cr_assert(lt(u64, took, 500 * NSEC_PER_MSEC));
	t = now_ns();
	for (int i = 0; i < 100; i++)
		cr_assert(eq(int, io->ops->wait(io, 0), 0));
	cr_assert(lt(u64, now_ns() - t, 500 * NSEC_PER_MSEC));

	for (int i = 0; i < 3; i++) { /* rung before or while it sleeps: it wakes, and only once */
		uint64_t one = 1;
		cr_assert(eq(int, write(fds.wake, &one, sizeof(one)), 8));
		t = now_ns();
		cr_assert(eq(int, io->ops->wait(io, 10 * NSEC_PER_SEC), 0));
		cr_assert(lt(u64, now_ns() - t, NSEC_PER_SEC));
		cr_assert(eq(int, io->ops->wait(io, 0), 0));
		t = now_ns();
		cr_assert(eq(int, io->ops->wait(io, 20 * NSEC_PER_MSEC), 0));
		cr_assert(ge(u64, now_ns() - t, 19 * NSEC_PER_MSEC), "the eventfd was not emptied");
	}
	close_engine();
}

ENGINE_TEST(wakes_for_each_source)
{
	open_engine(engine_number, true, true);
	struct io_datagram d[4];
	struct io_packet p[4];
	for (int i = 0; i < 10; i++) {
		uint64_t t = now_ns();
		if (i % 3 == 0)
			app_send(10, 1);
		else
			peer_send(i % 3 == 1 ? AF_INET : AF_INET6, 10, 1);
		cr_assert(eq(int, io->ops->wait(io, 10 * NSEC_PER_SEC), 0));
		uint32_t n_tun = io->ops->read_burst(io, p, 4),
			 n_udp = io->ops->recv_burst(io, d, 4);
		cr_assert(eq(u32, n_tun, i % 3 == 0));
		cr_assert(eq(u32, n_udp, i % 3 != 0));
		cr_assert(lt(u64, now_ns() - t, NSEC_PER_SEC));
	}
	close_engine();
}

ENGINE_TEST(says_when_the_tun_is_gone)
{
	open_engine(engine_number, true, true);
	cr_assert(eq(int, io->ops->wait(io, 0), 0));
	fixture_link_down("wg0");
	cr_assert(eq(int, io->ops->wait(io, 0), 0), "down is not gone");
	fixture_link_up("wg0");
	struct io_packet p[4];
	app_send(10, 1);
	cr_assert(eq(u32, read_until(p, 4), 1), "down and up again: goes on");
	fixture_run("ip link del wg0");
	uint64_t t = now_ns();
	int r = 0;
	for (int i = 0; i < 10 && r == 0; i++) {
		r = io->ops->wait(io, 10 * NSEC_PER_SEC);
		if (r == 0)
			(void)io->ops->read_burst(io, p, 4);
	}
	cr_assert(eq(int, r, -EBADFD));
	cr_assert(lt(u64, now_ns() - t, NSEC_PER_SEC));
	close_engine();
}

ENGINE_TEST(takes_new_sockets)
{
	open_engine(engine_number, true, true);
	struct io_datagram d[8];
	struct udp_group *old = sockets;
	for (int i = 0; i < 5; i++) {
		peer_send(AF_INET, 50, 1);
		cr_assert(eq(u32, recv_until(d, 8), 1));
		peer_send(AF_INET, 60, 2); /* waits in the old socket while it is taken away */

		for (int k = 0; i % 2 && k < 3; k++) /* or has been taken from it already */
			cr_assert(eq(int, io->ops->wait(io, NSEC_PER_MSEC), 0));

		fds.udp4 = fds.udp6 = -1;
		cr_assert(eq(int, io->ops->set_fds(io, &fds), 0));
		struct endpoint to = peer_endpoint();
		struct io_send s = {
			.data = (const uint8_t *)"x", .len = 1, .segment_len = 1, .to = &to
		};
		io->ops->send_burst(io, &s, 1);
		io->ops->submit(io);
		cr_assert(eq(int, s.result, -EAFNOSUPPORT));
		app_send(10, 1); /* the TUN goes on */
		struct io_packet p[4];
		cr_assert(eq(u32, read_until(p, 4), 1));
		udp_group_close(old);

		struct udp_params up = { .port = PORT, .n_workers = 1, .steering = -1 };
		cr_assert(eq(int, udp_group_open(&sockets, &up), 0), "the old port is free");
		fds.udp4 = sockets->worker[0].udp4;
		fds.udp6 = sockets->worker[0].udp6;
		cr_assert(eq(int, io->ops->set_fds(io, &fds), 0));
		peer_send(AF_INET6, 70, 3);
		cr_assert(eq(u32, recv_until(d, 8), 1));
		cr_assert(eq(u32, d[0].len, 70));
		old = sockets;
	}
	close_engine();
}

/* Everything at once, for a while: each byte arrives where it should. */
ENGINE_TEST(goes_on_with_traffic_in_all_directions)
{
	open_engine(engine_number, true, true);
	struct io_datagram d[IO_MAX_BURST];
	struct io_packet p[IO_MAX_BURST];
	static uint8_t run[MAX_TEXT], text[2048];
	struct endpoint to = peer_endpoint();
	uint32_t n_read = 0, n_recv = 0;
	for (uint32_t round = 0; round < 300; round++) {
		app_send(4 + round % 1000, round);
		peer_send(AF_INET, 4 + round % 3000, round);
		struct io_send s = make_run(run, 1 + round % 40, 1000, round, &to);
		struct iovec iov[2] = { { &no_vnet, sizeof(no_vnet) },
					{ text, make_packet(text, 4 + round % 900, round) } };
		struct io_write w = { .iov = iov, .n_iov = 2 };
		cr_assert(eq(int, io->ops->wait(io, 0), 0));
		uint32_t a = io->ops->read_burst(io, p, IO_MAX_BURST);
		uint32_t b = io->ops->recv_burst(io, d, IO_MAX_BURST);
		io->ops->send_burst(io, &s, 1);
		io->ops->write_burst(io, &w, 1);
		io->ops->submit(io);
		cr_assert(eq(int, s.result | w.result, 0));
		for (uint32_t i = 0; i < a; i++, n_read++)
			cr_assert(is_filled(p[i].data + 28, p[i].len - 28, n_read));
		for (uint32_t i = 0; i < b; i++, n_recv++)
			cr_assert(is_filled(d[i].data, d[i].len, n_recv));
		app_expect(4 + round % 900, round);
		expect_run(1 + round % 40, 1000, round);
	}
	for (int i = 0; i < 20 && n_read < 300; i++)
		n_read += read_until(p, IO_MAX_BURST);
	for (int i = 0; i < 20 && n_recv < 300; i++)
		n_recv += recv_until(d, IO_MAX_BURST);
	cr_assert(eq(u32, n_read, 300));
	cr_assert(eq(u32, n_recv, 300));
	cr_assert(eq(u64, stats.recv_errors, 0));
	cr_assert(eq(u64, stats.read_errors, 0));
	close_engine();
}

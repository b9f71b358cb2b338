/* SPDX-License-Identifier: MPL-2.0 */
/* What is merged, when it ends, and what it looks like. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/bytes.h"
#include "base/macro.h"
#include "packet/gro.h"
#include "packet/gso.h"
#include "unit/packet/burst.h"

/* --- Merged packets ----------------------------------------------------------------------------- */

Test(gro, tcp4_super_packet)
{
	struct spec s = tcp();

	begin(true, true);
	s.flags |= CWR;
	add(&s);
	s.flags &= (uint8_t)~CWR;
	for (unsigned i = 0; i < 3; i++) {
		s = following(s);
		if (i == 2)
			s.flags |= PSH;
		add(&s);
	}
	cr_assert(eq(u32, finish(), 1));
	expect_write(0, 4);
	cr_expect(eq(u32, writes[0].len, sizeof(struct virtio_net_hdr) + 52 + 4 * MSS));

	struct virtio_net_hdr v = vnet_of(0);
	cr_expect(eq(u8, v.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM));
	cr_expect(eq(u8, v.gso_type, VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN));
	cr_expect(eq(u16, v.gso_size, MSS));
	cr_expect(eq(u16, v.hdr_len, 52));
	cr_expect(eq(u16, v.csum_start, 20));
	cr_expect(eq(u16, v.csum_offset, 16));

	const uint8_t *p = packets[0].data;
	cr_expect(eq(ptr, writes[0].iov[1].iov_base, (void *)p), "the first packet itself");
	cr_expect(eq(u16, load_be16(p + 2), 52 + 4 * MSS));
	cr_expect(eq(u16, ref_sum(p, 20), 0xffff));
	cr_expect(eq(u16, load_be16(p + 36), ref_pseudo_sum(p, 52 + 4 * MSS, 20, TCP)));
	cr_expect(eq(u8, p[33], ACK | CWR | PSH));
	for (unsigned i = 1; i < 4; i++) {
		cr_expect(eq(ptr, writes[0].iov[i + 1].iov_base, packets[i].data + 52));
		cr_expect(eq(sz, writes[0].iov[i + 1].iov_len, MSS));
	}
	end();
}

Test(gro, udp6_super_packet)
{
	struct spec s = as_v6(udp());

	begin(true, true);
	add(&s);
	s = following(s);
	add(&s);
	s = following(s);
	s.payload_len = 1;
	add(&s);
	cr_assert(eq(u32, finish(), 1));
	expect_write(0, 3);

	struct virtio_net_hdr v = vnet_of(0);
	cr_expect(eq(u8, v.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM));
	cr_expect(eq(u8, v.gso_type, GSO_UDP_L4));
	cr_expect(eq(u16, v.gso_size, MSS));
	cr_expect(eq(u16, v.hdr_len, 48));
	cr_expect(eq(u16, v.csum_start, 40));
	cr_expect(eq(u16, v.csum_offset, 6));

	const uint8_t *p = packets[0].data;
	cr_expect(eq(u16, load_be16(p + 4), 8 + 2 * MSS + 1));
	cr_expect(eq(u16, load_be16(p + 44), 8 + 2 * MSS + 1));
	cr_expect(eq(u16, load_be16(p + 46), ref_pseudo_sum(p, 48 + 2 * MSS + 1, 40, UDP)));
	end();
}

Test(gro, single_packets_are_untouched)
{
	const struct virtio_net_hdr none = { 0 };
	struct spec s[] = { tcp(), udp(), as_v6(tcp()), as_v6(udp()) };

	begin(true, true);
	for (size_t i = 0; i < ARRAY_SIZE(s); i++)
		add(&s[i]);
	cr_assert(eq(u32, finish(), ARRAY_SIZE(s)));
	for (size_t i = 0; i < ARRAY_SIZE(s); i++) {
		struct virtio_net_hdr v = vnet_of((uint32_t)i);
		uint32_t len = build(built, &s[i]);

		expect_write((uint32_t)i, 1);
		cr_expect(memcmp(&v, &none, sizeof(v)) == 0);
		cr_expect(eq(u32, writes[i].len, len + sizeof(v)));
		cr_expect(eq(sz, writes[i].iov[1].iov_len, len));
		cr_expect(memcmp(packets[i].data, built, len) == 0);
	}
	end();
}

Test(gro, switches)
{
	for (unsigned i = 0; i < 4; i++) {
		bool with_tcp = i & 1, with_udp = i & 2;

		begin(with_tcp, with_udp);
		add_run(tcp(), 2);
		add_run(udp(), 2);
		add_run(as_v6(tcp()), 2);
		add_run(as_v6(udp()), 2);
		cr_expect(eq(u32, finish(), 8 - (with_tcp ? 2 : 0) - (with_udp ? 2 : 0)));
		end();
	}
}

/* --- Longer runs -------------------------------------------------------------------------------- */

Test(gro, ids_stand_still_or_count_but_not_both)
{
	static const struct {
		uint16_t id[4];
		uint32_t n_writes;
	} rows[] = {
		{ { 5, 6, 7, 8 }, 1 }, { { 5, 5, 5, 5 }, 1 }, { { 0, 0, 0, 0 }, 1 },
		{ { 5, 5, 6, 6 }, 2 }, { { 5, 6, 6, 7 }, 2 }, { { 5, 6, 8, 9 }, 2 },
		{ { 1, 9, 3, 7 }, 4 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct spec s = tcp();

		begin(true, true);
		for (unsigned k = 0; k < 4; k++, s = following(s)) {
			s.ip_id = rows[i].id[k];
			add(&s);
		}
		cr_expect(eq(u32, finish(), rows[i].n_writes), "row %zu", i);
		end();
	}
}

Test(gro, shorter_packet_ends_it)
{
	struct spec s = tcp();

	begin(true, true);
	add(&s);
	s = following(s);
	s.payload_len = 500;
	add(&s);
	s = following(s);
	add(&s); /* would continue, but only the last may be shorter */
	cr_assert(eq(u32, finish(), 2));
	expect_write(0, 2);
	expect_write(1, 1);
	end();
}

Test(gro, psh_ends_it_and_the_next_begins_anew)
{
	struct spec s = tcp();

	begin(true, true);
	for (unsigned i = 0; i < 6; i++, s = following(s)) {
		s.flags = i == 2 ? ACK | PSH : ACK;
		add(&s);
	}
	cr_assert(eq(u32, finish(), 2));
	expect_write(0, 3);
	expect_write(1, 3);
	end();
}

Test(gro, at_most_65535_bytes)
{
	begin(true, true);
	add_run(tcp(), 100); /* 52 + 65 * 1000 = 65052, but 64 segments */
	cr_assert(eq(u32, finish(), 2));
	expect_write(0, 64);
	end();

	struct spec s = tcp();
	s.payload_len = 1368;
	begin(true, true);
	add_run(s, 100);
	cr_assert(eq(u32, finish(), 3));
	expect_write(0, 47); /* 52 + 47 * 1368 = 64348 */
	end();

	s = as_v6(udp());
	s.payload_len = 32743; /* 48 + 2 * 32743 = 65534 */
	begin(true, true);
	add_run(s, 2);
	cr_assert(eq(u32, finish(), 1));
	end();
	s.payload_len = 32744; /* 65536 */
	begin(true, true);
	add_run(s, 2);
	cr_assert(eq(u32, finish(), 2));
	end();
}

Test(gro, at_most_64_segments)
{
	struct spec s = udp();

	s.payload_len = 64;
	begin(true, true);
	add_run(s, GRO_MAX_PACKETS);
	cr_assert(eq(u32, finish(), GRO_MAX_PACKETS / GRO_MAX_SEGMENTS));
	for (uint32_t i = 0; i < GRO_MAX_PACKETS / GRO_MAX_SEGMENTS; i++)
		expect_write(i, GRO_MAX_SEGMENTS);
	end();
}

Test(gro, full_table_takes_no_more)
{
	struct spec s = udp();

	begin(true, true);
	add_run(s, GRO_MAX_PACKETS);
	uint32_t len = build(built, &s);
	cr_assert(not(gro_add(&gro, built, len)));
	cr_assert(eq(u32, finish(), GRO_MAX_PACKETS / GRO_MAX_SEGMENTS), "and loses none");
	end();
	gro_begin(&gro);
	cr_assert(gro_add(&gro, built, len));
}

Test(gro, finish_in_slices)
{
	struct spec s = udp();

	begin(true, true);
	for (unsigned i = 0; i < 30; i++) {
		s.sport = (uint16_t)(i / 3);
		add(&s);
		s = following(s);
	}
	uint32_t n = 0;
	for (uint32_t got; (got = gro_finish(&gro, writes, 3)) > 0; n += got)
		for (uint32_t i = 0; i < got; i++) {
			expect_write(i, 3);
			cr_expect(eq(ptr, writes[i].iov[1].iov_base, packets[(n + i) * 3].data));
		}
	cr_assert(eq(u32, n, 10));
	end();
}

Test(gro, interleaved_flows)
{
	struct spec s[GRO_MAX_FLOWS];

	begin(true, true);
	for (unsigned i = 0; i < GRO_MAX_FLOWS; i++) {
		s[i] = i % 2 ? tcp() : udp();
		if (i % 4 > 1)
			s[i] = as_v6(s[i]);
		s[i].sport = (uint16_t)(1 + i / 4);
	}
	for (unsigned round = 0; round < 6; round++)
		for (unsigned i = 0; i < GRO_MAX_FLOWS; i++, s[i - 1] = following(s[i - 1]))
			add(&s[i]);
	cr_assert(eq(u32, finish(), GRO_MAX_FLOWS));
	for (uint32_t i = 0; i < GRO_MAX_FLOWS; i++)
		expect_write(i, 6);
	end();
}

/* One flow too many: still right, only less merged. */
Test(gro, more_flows_than_the_table_holds)
{
	struct spec s = udp();

	begin(true, true);
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < GRO_MAX_FLOWS + 1; i++) {
			s.sport = (uint16_t)i;
			s.ip_id = (uint16_t)round;
			add(&s);
		}
	uint32_t n = finish(), total = 0;
	for (uint32_t i = 0; i < n; i++)
		total += writes[i].n_segments;
	cr_assert(eq(u32, total, 3 * (GRO_MAX_FLOWS + 1)));
	end();
}

/* The hash as it is now: if it changes, this finds no collision of the new one, but is never wrong. */
static uint32_t hash_v4_udp(const uint8_t *pkt)
{
	const uint64_t mix = UINT64_C(0x9e3779b97f4a7c15);
	uint64_t addrs;
	uint32_t ports;

	memcpy(&addrs, pkt + 12, sizeof(addrs));
	memcpy(&ports, pkt + 20, sizeof(ports));
	return (uint32_t)(((((uint64_t)ports + UDP) * mix ^ addrs) * mix) >> 32);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* Two flows between the same hosts with the same hash are still two flows. */
Test(gro, colliding_flows)
{
	static uint64_t hashes[1 << 19]; /* hash and ports */
	struct spec a = udp();
	unsigned n = 0;

	a.payload_len = 10;
	build(built, &a);
	for (uint32_t ports = 0; ports < ARRAY_SIZE(hashes); ports++) {
		store_be32(built + 20, ports);
		hashes[ports] = (uint64_t)hash_v4_udp(built) << 32 | ports;
	}
	qsort(hashes, ARRAY_SIZE(hashes), sizeof(hashes[0]), compare_u64);
	for (unsigned i = 1; i < ARRAY_SIZE(hashes); i++) {
		if (hashes[i] >> 32 != hashes[i - 1] >> 32)
			continue;
		n++;
		a.sport = (uint16_t)(hashes[i - 1] >> 16);
		a.dport = (uint16_t)hashes[i - 1];
		struct spec b = following(a);
		b.sport = (uint16_t)(hashes[i] >> 16);
		b.dport = (uint16_t)hashes[i];
		begin(true, true);
		add(&a);
		add(&b);
		cr_assert(eq(u32, finish(), 2));
		end();
	}
	cr_assert(ge(u32, n, 1));
}

/* --- Order around what can not be merged -------------------------------------------------------- */

/* Data, @odd, data that would continue the first: three writes, in this order. */
static void check_between(const char *what, struct spec first, const uint8_t *odd, uint32_t odd_len,
			  bool is_same_flow)
{
	struct spec second = following(first);

	begin(true, true);
	add(&first);
	struct packet *p = add_bytes(odd, odd_len);
	add(&second);
	uint32_t n = finish();
	cr_expect(eq(u32, n, is_same_flow ? 3 : 2), "%s", what);
	cr_expect(eq(ptr, writes[1].iov[1].iov_base, p->data), "%s", what);
	end();
}

static void check_odd(const char *what, struct spec first, const struct spec *odd,
		      bool is_same_flow)
{
	static uint8_t pkt[ROOM];

	check_between(what, first, pkt, build(pkt, odd), is_same_flow);
}

Test(gro, nothing_overtakes_what_is_not_merged)
{
	struct spec bases[] = { tcp(), as_v6(tcp()), udp(), as_v6(udp()) };

	for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
		struct spec s = bases[i];
		s.payload_len = 0;
		check_odd("empty packet", bases[i], &s, true);
		s.host++;
		check_odd("empty packet of another host", bases[i], &s, false);

		s = bases[i];
		s.frag = s.version == 4 ? 0x2000 : 1;
		check_odd("first fragment", bases[i], &s, true);
		s.frag = 0x00b8; /* what looks like ports is payload */
		s.sport = 9;
		check_odd("second fragment", bases[i], &s, true);
		s.host++;
		check_odd("fragment of another host", bases[i], &s, false);

		s = bases[i];
		s.n_ip_options = 1;
		check_odd("options", bases[i], &s, true);
	}
	struct spec s = tcp();
	s.flags = RST;
	check_odd("RST", tcp(), &s, true);
	s = tcp();
	s.flags |= PSH; /* ends a super-packet, though it is not the next of this one */
	s.seq -= MSS;
	check_odd("old PSH", tcp(), &s, true);
	s = udp();
	s.no_udp_checksum = true;
	check_odd("UDP without checksum", udp(), &s, true);
	s = udp();
	check_odd("UDP among TCP", tcp(), &s, false);
}

/* Packets that are not what they say they are: never merged, never lost. */
Test(gro, malformed_headers)
{
	static const struct {
		const char *what;
		uint8_t at, value;
	} rows[] = {
		{ "total length", 3, 0x01 },   { "version 0", 0, 0x05 },
		{ "IHL 4", 0, 0x44 },          { "IHL 15", 0, 0x4f },
		{ "data offset 4", 32, 0x40 }, { "data offset 15", 32, 0xf0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct spec s = tcp();
		s.payload_len = 8; /* 60 bytes of TCP header do not fit */

		begin(true, true);
		for (unsigned k = 0; k < 3; k++, s = following(s)) {
			uint32_t len = build(built, &s);
			built[rows[i].at] = rows[i].value;
			add_bytes(built, len);
		}
		cr_expect(eq(u32, finish(), 3), "%s", rows[i].what);
		end();
	}
}

/* Bytes behind the packet would end up inside the super-packet. */
Test(gro, length_field)
{
	for (unsigned version = 4; version <= 6; version += 2) {
		for (int delta = -1; delta <= 1; delta++) {
			struct spec s = version == 4 ? tcp() : as_v6(tcp());

			begin(true, true);
			for (unsigned k = 0; k < 2; k++, s = following(s)) {
				uint32_t len = build(built, &s);
				uint8_t *field = built + (version == 4 ? 2 : 4);
				store_be16(field, (uint16_t)(load_be16(field) + delta));
				ref_fix_checksums(built, len);
				add_bytes(built, len);
			}
			cr_expect(eq(u32, finish(), delta == 0 ? 1 : 2), "IPv%u, %d", version,
				  delta);
			end();
		}
	}
}

Test(gro, udp_length_field)
{
	for (unsigned delta = 1; delta < 3; delta++) {
		struct spec s = udp();

		begin(true, true);
		for (unsigned k = 0; k < 2; k++, s = following(s)) {
			uint32_t len = build(built, &s);
			built[25] = (uint8_t)(built[25] - delta);
			ref_fix_checksums(built, len);
			add_bytes(built, len);
		}
		cr_expect(eq(u32, finish(), 2));
		end();
	}
}

Test(gro, every_truncation)
{
	struct spec bases[] = { tcp(), as_v6(tcp()), udp(), as_v6(udp()) };

	for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
		bases[i].payload_len = 20;
		uint32_t len = build(built, &bases[i]);
		uint32_t len_at = bases[i].version == 4 ? 2 : 4;
		for (uint32_t cut = 1; cut < len; cut++) {
			uint8_t pkt[256];

			memcpy(pkt, built, len);
			if (cut >= 40) /* a field that agrees, so that the L4 parser is reached */
				store_be16(pkt + len_at,
					   (uint16_t)(bases[i].version == 4 ? cut : cut - 40));
			begin(true, true);
			add_bytes(pkt, cut);
			add_bytes(pkt, cut);
			cr_assert(eq(u32, finish(), 2), "base %zu: %u of %u bytes", i, cut, len);
			end();
		}
	}
}

/* --- Checksums ---------------------------------------------------------------------------------- */

/* Three packets of a flow, the @i-th damaged at @at: nothing with it is merged, and it stays damaged. */
static void check_damaged(struct spec s, unsigned i, uint32_t at)
{
	begin(true, true);
	for (unsigned k = 0; k < 3; k++, s = following(s)) {
		uint32_t len = build(built, &s);
		if (k == i)
			built[at] ^= 0x10;
		add_bytes(built, len);
	}
	uint32_t n = finish();
	cr_expect(eq(u32, n, i == 1 ? 3 : 2), "packet %u, byte %u", i, at);
	for (uint32_t k = 0; k < n; k++)
		if (writes[k].iov[1].iov_base == packets[i].data) {
			expect_write(k, 1);
			cr_expect(not(ref_is_valid(packets[i].data, packets[i].len)));
		}
	end();
}

Test(gro, damaged_packets)
{
	struct spec bases[] = { tcp(), as_v6(tcp()), udp(), as_v6(udp()) };

	for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
		uint32_t hdr_len = build_hdr_len(&bases[i]);
		uint32_t csum = build_l4_off(&bases[i]) + (bases[i].protocol == TCP ? 16 : 6);

		for (unsigned k = 0; k < 3; k++) {
			check_damaged(bases[i], k, hdr_len);
			check_damaged(bases[i], k, hdr_len + MSS - 1);
			check_damaged(bases[i], k, csum);
			if (bases[i].version == 4)
				check_damaged(bases[i], k, 10); /* of the IP header */
		}
	}
}

static uint8_t odd[ROOM];

/* Adds @first and the bytes in odd[], and expects @n writes. */
static void check_after(const struct spec *first, uint32_t len, uint32_t n)
{
	struct packet second = packet_copy(odd, len);

	cr_assert(ref_is_valid(second.data, len));
	begin(true, true);
	add(first);
	add_bytes(second.data, len);
	cr_expect(eq(u32, finish(), n));
	end();
	packet_free(&second, 1);
}

/* 0xffff is as valid as 0, but splitting would give 0: such a packet is left as it is. */
Test(gro, minus_zero_tcp_checksum)
{
	struct spec first = tcp(), second = following(first);
	uint32_t len = build(odd, &second), csum = 36, payload = 52;

	memset(odd + payload, 0, 2);
	memset(odd + csum, 0, 2);
	store_be16(odd + payload, (uint16_t)~ref_l4_sum(odd, len, 20, TCP));
	check_after(&first, len, 1);
	store_be16(odd + csum, 0xffff);
	check_after(&first, len, 2);
}

Test(gro, minus_zero_ip_checksum)
{
	struct spec second = tcp();

	second.ip_id = 0;
	build(odd, &second);
	memset(odd + 10, 0, 2);
	second.ip_id = (uint16_t)~ref_sum(odd, 20);
	struct spec first = second;
	first.ip_id--;
	first.seq -= MSS;

	uint32_t len = build(odd, &second);
	cr_assert(eq(u16, load_be16(odd + 10), 0));
	check_after(&first, len, 1);
	store_be16(odd + 10, 0xffff);
	check_after(&first, len, 2);
}

/* 0 means that there is none, even where it would be right. */
Test(gro, udp_checksum_zero_is_none)
{
	struct spec first = udp(), second = following(first);
	uint32_t len = build(odd, &second), csum = 26, payload = 28;

	memset(odd + payload, 0, 2);
	memset(odd + csum, 0, 2);
	store_be16(odd + payload, (uint16_t)~ref_l4_sum(odd, len, 20, UDP));
	check_after(&first, len, 2);
}

/* UDP says 0xffff where TCP says 0: that is what splitting computes as well. */
Test(gro, udp_checksum_ffff_is_merged)
{
	struct spec first = udp(), second = following(first);
	uint32_t len = build(odd, &second), csum = 26, payload = 28;

	memset(odd + payload, 0, 2);
	memset(odd + csum, 0, 2);
	store_be16(odd + payload, (uint16_t)~ref_l4_sum(odd, len, 20, UDP));
	store_be16(odd + csum, 0xffff);
	check_after(&first, len, 1);
}

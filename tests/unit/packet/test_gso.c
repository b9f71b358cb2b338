/* SPDX-License-Identifier: MPL-2.0 */
/* Splitting of super-packets, compared with a slow splitter that builds each segment anew. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/macro.h"
#include "packet/gso.h"
#include "packet/ip.h"
#include "unit/packet/build.h"

static uint8_t super[ROOM], whole[ROOM];
static struct packet expected[65536];

/* Segment @i as one piece of memory of exactly its size. */
static struct packet segment(const struct gso_split *s, uint32_t i)
{
	struct packet hdr = { malloc(s->hdr_len), s->hdr_len };
	struct gso_segment seg;

	gso_split_segment(s, i, &seg, hdr.data);
	struct packet p = { malloc(hdr.len + seg.payload_len), hdr.len + seg.payload_len };
	memcpy(p.data, hdr.data, hdr.len);
	memcpy(p.data + hdr.len, seg.payload, seg.payload_len);
	packet_free(&hdr, 1);
	return p;
}

/* Splits and compares at most @n segments of it, the last one always. */
static void check_split(const struct virtio_net_hdr *vnet, const struct packet *p,
			const struct spec *spec, uint32_t n)
{
	uint32_t n_expected = ref_split(expected, ARRAY_SIZE(expected), spec, vnet->gso_size);
	struct gso_split s;

	cr_assert(eq(int, gso_split_init(&s, vnet, p->data, p->len), 0));
	cr_assert(eq(u32, s.n_segments, n_expected));
	cr_assert(eq(u32, s.hdr_len, build_hdr_len(spec)));
	for (uint32_t k = 0; k < MIN(n, n_expected); k++) {
		uint32_t i = n_expected - 1 - k;
		struct packet got = segment(&s, i);

		cr_assert(eq(u32, got.len, expected[i].len), "segment %u of %u", i, n_expected);
		cr_assert(memcmp(got.data, expected[i].data, got.len) == 0,
			  "segment %u of %u: IPv%u, protocol %u, MSS %u", i, n_expected,
			  spec->version, spec->protocol, vnet->gso_size);
		packet_free(&got, 1);
	}
	packet_free(expected, n_expected);
}

static void check_spec(const struct spec *spec, uint16_t mss, uint32_t n)
{
	struct virtio_net_hdr vnet;
	uint32_t len = build(super, spec);

	make_super(&vnet, super, len, spec, mss);
	struct packet p = packet_copy(super, len);
	check_split(&vnet, &p, spec, n);

	/* hdr_len means nothing: forwarded traffic has other values there. */
	vnet.hdr_len = 0;
	check_split(&vnet, &p, spec, n);
	vnet.hdr_len = 0xffff;
	check_split(&vnet, &p, spec, n);

	/* And without the sum of the pseudo-header we make it ourselves. */
	vnet.flags = 0;
	check_split(&vnet, &p, spec, n);
	packet_free(&p, 1);
}

static struct spec tcp4(void)
{
	return (struct spec){ .version = 4,
			      .protocol = TCP,
			      .host = 3,
			      .tos = 2,
			      .ttl = 64,
			      .frag = 0x4000,
			      .ip_id = 0xfff0, /* wraps */
			      .sport = 443,
			      .dport = 50000,
			      .seq = 0xffff0000, /* wraps */
			      .ack = 77,
			      .flags = ACK,
			      .window = 501,
			      .n_tcp_options = 3,
			      .option_fill = 1,
			      .payload_len = 61560 };
}

Test(gso, tcp4)
{
	struct spec s = tcp4();

	check_spec(&s, 1368, UINT32_MAX);
}

Test(gso, tcp6)
{
	struct spec s = tcp4();

	s.version = 6;
	s.frag = 0;
	check_spec(&s, 1348, UINT32_MAX);
}

Test(gso, udp)
{
	struct spec s = tcp4();

	s.protocol = UDP;
	s.payload_len = 65507;
	check_spec(&s, 1372, UINT32_MAX);
	s.version = 6;
	s.frag = 0;
	s.payload_len = 128 * 64;
	check_spec(&s, 64, UINT32_MAX);
}

/* Flags and where they belong: CWR to the first, FIN and PSH to the last, the others to all. */
Test(gso, tcp_flags)
{
	for (unsigned flags = 0; flags < 256; flags++) {
		struct spec s = tcp4();

		s.flags = (uint8_t)flags;
		s.reserved = flags % 16;
		s.payload_len = 5000;
		check_spec(&s, 1000 + flags % 3, UINT32_MAX);
	}
}

static const uint16_t mss_edges[] = { 1, 2, 88, 536, 1460, 8948, 61560, 65535 };

Test(gso, mss_edges)
{
	for (size_t i = 0; i < ARRAY_SIZE(mss_edges); i++) {
		struct spec s = tcp4();

		s.payload_len = MIN(mss_edges[i] * 700U, 61560);
		check_spec(&s, mss_edges[i], 800);
	}
}

Test(gso, mss_1_makes_a_segment_of_each_byte)
{
	struct spec s = tcp4();
	struct virtio_net_hdr vnet;
	struct gso_split split;
	struct gso_segment seg;
	uint8_t hdr[GSO_MAX_HEADER];

	s.payload_len = 65483;
	uint32_t len = build(super, &s);
	make_super(&vnet, super, len, &s, 1);
	cr_assert(eq(int, gso_split_init(&split, &vnet, super, len), 0));
	cr_assert(eq(u32, split.n_segments, 65483));
	for (uint32_t i = 0; i < split.n_segments; i++) {
		gso_split_segment(&split, i, &seg, hdr);
		cr_assert(eq(u32, seg.payload_len, 1));
		hdr[split.hdr_len] = *seg.payload;
		cr_assert(ref_is_valid(hdr, split.hdr_len + 1), "%u", i);
	}
}

Test(gso, payload_around_the_mss)
{
	for (uint32_t payload_len = 0; payload_len < 420; payload_len++) {
		struct spec s = tcp4();

		s.payload_len = payload_len;
		check_spec(&s, 100, UINT32_MAX);
		s.protocol = UDP;
		check_spec(&s, 100, UINT32_MAX);
	}
}

Test(gso, random_headers)
{
	struct rng r = { 11 };

	for (unsigned i = 0; i < 1500; i++) {
		struct spec s = { .version = rng_one_in(&r, 2) ? 4 : 6,
				  .protocol = rng_one_in(&r, 2) ? TCP : UDP,
				  .host = (uint8_t)rng_next(&r),
				  .tos = (uint8_t)rng_next(&r),
				  .ttl = (uint8_t)rng_next(&r),
				  .ip_id = (uint16_t)rng_next(&r),
				  .flow_label = rng_below(&r, 1 << 20),
				  .n_ip_options = (uint8_t)rng_below(&r, 11),
				  .sport = (uint16_t)rng_next(&r),
				  .dport = (uint16_t)rng_next(&r),
				  .seq = rng_next(&r),
				  .ack = rng_next(&r),
				  .flags = (uint8_t)rng_next(&r),
				  .reserved = (uint8_t)rng_below(&r, 16),
				  .window = (uint16_t)rng_next(&r),
				  .urgent = (uint16_t)rng_next(&r),
				  .n_tcp_options = (uint8_t)rng_below(&r, 11),
				  .option_fill = (uint8_t)rng_next(&r),
				  .payload_len = rng_below(&r, 9000),
				  .payload_seed = rng_next(&r) };
		if (s.version == 4)
			s.frag = (uint16_t)(rng_below(&r, 4) << 14); /* DF, reserved bit */
		check_spec(&s, (uint16_t)(1 + rng_below(&r, 3000)), 100);
	}
}

/* --- Ordinary packets --------------------------------------------------------------------------- */

Test(gso, ordinary_packet_is_left_alone)
{
	const struct virtio_net_hdr vnet = { .hdr_len = 99, .gso_size = 7, .csum_start = 3 };
	struct spec s = tcp4();
	struct gso_split split;
	struct gso_segment seg;

	s.payload_len = 1000;
	uint32_t len = build(super, &s);
	build(whole, &s);
	cr_assert(eq(int, gso_split_init(&split, &vnet, super, len), 0));
	cr_assert(eq(u32, split.n_segments, 1));
	cr_assert(eq(u32, split.hdr_len, 0));
	gso_split_segment(&split, 0, &seg, NULL);
	cr_assert(eq(ptr, (void *)seg.payload, super));
	cr_assert(eq(u32, seg.payload_len, len));
	cr_assert(memcmp(super, whole, len) == 0);
}

Test(gso, missing_checksum_is_completed)
{
	struct rng r = { 12 };

	for (unsigned i = 0; i < 2000; i++) {
		struct spec s = tcp4();
		struct virtio_net_hdr vnet;
		struct gso_split split;

		s.version = i % 2 ? 4 : 6;
		s.protocol = i % 4 < 2 ? TCP : UDP;
		s.frag = 0;
		s.n_ip_options = (uint8_t)rng_below(&r, 8);
		s.payload_len = rng_below(&r, 1600);
		s.payload_seed = i;
		uint32_t len = build(whole, &s);
		build(super, &s);
		make_super(&vnet, super, len, &s, 0);
		vnet.gso_type = VIRTIO_NET_HDR_GSO_NONE;
		struct packet p = packet_copy(super, len);
		cr_assert(ne(u32, memcmp(p.data, whole, len), 0), "nothing to complete");

		cr_assert(eq(int, gso_split_init(&split, &vnet, p.data, len), 0));
		cr_assert(eq(u32, split.n_segments, 1));
		cr_assert(eq(u32, split.hdr_len, 0));
		cr_assert(memcmp(p.data, whole, len) == 0, "round %u", i);
		packet_free(&p, 1);
	}
}

/* A payload for which the checksum comes out as zero. */
static uint32_t build_with_zero_checksum(uint8_t *out, struct spec *s)
{
	uint32_t off = build_l4_off(s), at = build_hdr_len(s);

	s->payload_len = 10;
	uint32_t len = build(out, s);
	uint8_t *field = out + off + (s->protocol == TCP ? 16 : 6);
	memset(field, 0, 2);
	memset(out + at, 0, 2);
	uint16_t missing = (uint16_t)~ref_l4_sum(out, len, off, s->protocol);
	out[at] = (uint8_t)(missing >> 8);
	out[at + 1] = (uint8_t)missing;
	return len;
}

Test(gso, udp_checksum_is_never_zero)
{
	for (uint8_t version = 4; version <= 6; version += 2) {
		struct spec s = { .version = version, .protocol = UDP, .sport = 1, .dport = 2 };
		uint32_t len = build_with_zero_checksum(super, &s), off = build_l4_off(&s);
		struct virtio_net_hdr vnet;
		struct gso_split split;

		make_super(&vnet, super, len, &s, 10);
		cr_assert(eq(int, gso_split_init(&split, &vnet, super, len), 0));
		struct packet p = segment(&split, 0);
		cr_expect(memcmp(p.data + off + 6, "\xff\xff", 2) == 0, "split, IPv%u", version);
		packet_free(&p, 1);

		vnet.gso_type = VIRTIO_NET_HDR_GSO_NONE;
		cr_assert(eq(int, gso_split_init(&split, &vnet, super, len), 0));
		cr_expect(memcmp(super + off + 6, "\xff\xff", 2) == 0, "completed, IPv%u", version);
	}
}

Test(gso, tcp_checksum_may_be_zero)
{
	struct spec s = { .version = 4, .protocol = TCP, .sport = 1, .dport = 2 };
	uint32_t len = build_with_zero_checksum(super, &s), off = build_l4_off(&s);
	struct virtio_net_hdr vnet;
	struct gso_split split;

	make_super(&vnet, super, len, &s, 10);
	cr_assert(eq(int, gso_split_init(&split, &vnet, super, len), 0));
	struct packet p = segment(&split, 0);
	cr_expect(memcmp(p.data + off + 16, "\0\0", 2) == 0);
	packet_free(&p, 1);
}

/* --- IPv6 extension headers --------------------------------------------------------------------- */

/* The pseudo-header has the last address of a routing header; the kernel's sum knows it. */
Test(gso, routing_header)
{
	struct spec s = tcp4();
	struct virtio_net_hdr vnet;
	struct gso_split split;

	s.version = 6;
	s.frag = 0;
	s.n_ip_options = 1;
	s.payload_len = 3000;
	uint32_t len = build(super, &s);
	make_super(&vnet, super, len, &s, 1000);
	super[6] = 43;  /* routing header instead of options, */
	super[43] = 1;  /* one more segment to go, */
	super[39] ^= 9; /* to another host first */

	cr_assert(eq(int, gso_split_init(&split, &vnet, super, len), 0));
	cr_assert(eq(u32, split.n_segments, 3));
	for (uint32_t i = 0; i < 3; i++) {
		struct packet p = segment(&split, i);
		p.data[39] ^= 9;
		cr_assert(eq(u16, ref_l4_sum(p.data, p.len, 48, TCP), 0xffff));
		packet_free(&p, 1);
	}
	vnet.flags = 0; /* nobody says where it ends */
	cr_assert(eq(int, gso_split_init(&split, &vnet, super, len), -EINVAL));
}

/* One destination options header of up to 2048 bytes: the header must fit GSO_MAX_HEADER. */
Test(gso, long_extension_header)
{
	for (unsigned ext_len = 8; ext_len <= 2048; ext_len += 8) {
		struct spec s = tcp4();
		struct virtio_net_hdr vnet;
		struct gso_split split;

		s.version = 6;
		s.frag = 0;
		s.payload_len = 4000;
		uint32_t len = build(whole, &s);
		make_super(&vnet, whole, len, &s, 1000);
		memcpy(super, whole, 40);
		memset(super + 40, 0, ext_len);
		super[6] = 60;
		super[40] = TCP;
		super[41] = (uint8_t)(ext_len / 8 - 1);
		memcpy(super + 40 + ext_len, whole + 40, len - 40);
		vnet.csum_start = (uint16_t)(vnet.csum_start + ext_len);

		int r = gso_split_init(&split, &vnet, super, len + ext_len);
		bool fits = 40 + ext_len + 32 <= GSO_MAX_HEADER;
		cr_assert(eq(int, r, fits ? 0 : -EINVAL), "%u", ext_len);
		for (uint32_t i = 0; fits && i < split.n_segments; i++) {
			struct packet p = segment(&split, i);
			cr_assert(eq(u32, p.len, split.hdr_len + 1000));
			cr_assert(eq(u16, ref_l4_sum(p.data, p.len, 40 + ext_len, TCP), 0xffff));
			packet_free(&p, 1);
		}
	}
}

/* --- Hostile input ------------------------------------------------------------------------------ */

/* Whatever init accepts must be splittable within bounds. */
static int try_all(const struct virtio_net_hdr *vnet, const uint8_t *data, uint32_t len)
{
	struct packet p = packet_copy(data, len);
	struct gso_split s;
	int r = gso_split_init(&s, vnet, p.data, p.len);

	for (uint32_t i = 0; r == 0 && i < s.n_segments; i += 1 + s.n_segments / 50) {
		struct packet got = segment(&s, i);
		packet_free(&got, 1);
	}
	packet_free(&p, 1);
	return r;
}

Test(gso, every_truncation)
{
	for (unsigned kind = 0; kind < 4; kind++) {
		struct spec s = tcp4();
		struct virtio_net_hdr vnet;

		s.version = kind < 2 ? 4 : 6;
		s.protocol = kind % 2 ? TCP : UDP;
		s.frag = 0;
		s.n_ip_options = 3;
		s.payload_len = 300;
		uint32_t len = build(super, &s), hdr_len = build_hdr_len(&s);
		make_super(&vnet, super, len, &s, 100);
		for (uint32_t cut = 0; cut <= len; cut++)
			cr_assert(eq(int, try_all(&vnet, super, cut), cut < hdr_len ? -EINVAL : 0),
				  "kind %u: %u of %u bytes", kind, cut, len);
	}
}

Test(gso, every_checksum_position)
{
	static const uint16_t huge[] = { 0x7fff, 0x8000, 0xfff0, 0xffff };
	struct spec s = tcp4();

	s.payload_len = 30;
	uint32_t len = build(super, &s);
	for (uint32_t start = 0; start < len + 8; start++)
		for (uint32_t off = 0; off < len + 8; off++) {
			struct virtio_net_hdr vnet = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						       .csum_start = (uint16_t)start,
						       .csum_offset = (uint16_t)off };
			bool is_inside = start >= 20 && start + off + 2 <= len;
			cr_assert(eq(int, try_all(&vnet, super, len), is_inside ? 0 : -EINVAL));
		}
	for (size_t i = 0; i < ARRAY_SIZE(huge); i++) {
		struct virtio_net_hdr vnet = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					       .csum_start = huge[i],
					       .csum_offset = huge[ARRAY_SIZE(huge) - 1 - i] };
		cr_assert(eq(int, try_all(&vnet, super, len), -EINVAL));
	}
}

static const struct {
	const char *what;
	struct virtio_net_hdr vnet; /* XOR */
	struct {
		uint8_t at, value; /* XOR */
	} patch[2];
	int expected;
} hostile[] = {
	{ "nothing", { 0 }, { { 0 } }, 0 },
	{ "hdr_len", { .hdr_len = 0x1234 }, { { 0 } }, 0 },
	{ "ECN bit", { .gso_type = 0x80 }, { { 0 } }, 0 },
	{ "csum_start + 1", { .csum_start = 20 ^ 21 }, { { 0 } }, -EINVAL },
	{ "csum_start 0", { .csum_start = 20 }, { { 0 } }, -EINVAL },
	{ "csum_start 65535", { .csum_start = 20 ^ 65535 }, { { 0 } }, -EINVAL },
	{ "csum_offset of UDP", { .csum_offset = 16 ^ 6 }, { { 0 } }, -EINVAL },
	{ "csum_offset 65535", { .csum_offset = 16 ^ 65535 }, { { 0 } }, -EINVAL },
	{ "gso_size 0", { .gso_size = 100 }, { { 0 } }, -EINVAL },
	{ "TCPV6", { .gso_type = 1 ^ 4 }, { { 0 } }, -EINVAL },
	{ "UDP_L4", { .gso_type = 1 ^ 5 }, { { 0 } }, -EINVAL },
	{ "UFO", { .gso_type = 1 ^ 3 }, { { 0 } }, -EINVAL },
	{ "unknown type", { .gso_type = 1 ^ 2 }, { { 0 } }, -EINVAL },
	{ "only the ECN bit", { .gso_type = 1 ^ 0x80 }, { { 0 } }, -EINVAL },
	{ "version 6", { 0 }, { { 0, 0x20 } }, -EINVAL },
	{ "version 0", { 0 }, { { 0, 0x40 } }, -EINVAL },
	{ "header length 16", { 0 }, { { 0, 5 ^ 4 } }, -EINVAL },
	{ "header length 60", { 0 }, { { 0, 5 ^ 15 } }, -EINVAL },
	{ "more fragments", { 0 }, { { 6, 0x20 } }, -EINVAL },
	{ "not the first fragment", { 0 }, { { 7, 1 } }, -EINVAL },
	{ "UDP inside", { 0 }, { { 9, TCP ^ UDP } }, -EINVAL },
	{ "data offset 4", { 0 }, { { 32, 0x80 ^ 0x40 } }, -EINVAL },
	{ "data offset 0", { 0 }, { { 32, 0x80 } }, -EINVAL },
	{ "total length", { 0 }, { { 2, 0xff } }, 0 }, /* rewritten anyway */
};

Test(gso, hostile_headers)
{
	struct spec s = tcp4();

	s.payload_len = 300;
	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
		struct virtio_net_hdr vnet;
		uint32_t len = build(super, &s);

		make_super(&vnet, super, len, &s, 100);
		vnet.gso_type ^= hostile[i].vnet.gso_type;
		vnet.hdr_len ^= hostile[i].vnet.hdr_len;
		vnet.gso_size ^= hostile[i].vnet.gso_size;
		vnet.csum_start ^= hostile[i].vnet.csum_start;
		vnet.csum_offset ^= hostile[i].vnet.csum_offset;
		for (size_t k = 0; k < ARRAY_SIZE(hostile[i].patch); k++)
			super[hostile[i].patch[k].at] ^= hostile[i].patch[k].value;
		cr_expect(eq(int, try_all(&vnet, super, len), hostile[i].expected), "%s",
			  hostile[i].what);
	}
}

Test(gso, fragmented_v6_super_packet)
{
	struct spec s = tcp4();
	struct virtio_net_hdr vnet;

	s.version = 6;
	s.frag = 1; /* more fragments */
	s.payload_len = 300;
	uint32_t len = build(super, &s);
	make_super(&vnet, super, len, &s, 100);
	cr_assert(eq(int, try_all(&vnet, super, len), -EINVAL));
}

Test(gso, longer_than_any_ip_packet)
{
	struct spec s = tcp4();
	struct virtio_net_hdr vnet;

	s.payload_len = 65535 - build_hdr_len(&s);
	uint32_t len = build(super, &s);
	make_super(&vnet, super, len, &s, 1000);
	cr_assert(eq(int, try_all(&vnet, super, 65535), 0));
	cr_assert(eq(int, try_all(&vnet, super, 65536), -EINVAL));
}

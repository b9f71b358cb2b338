/* SPDX-License-Identifier: MPL-2.0 */
/* P-260 to P-267, P-301, P-302. */
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/macro.h"
#include "packet/ip.h"
#include "unit/packet/build.h"

Test(ip, view_of_v4)
{
	struct spec s = { .version = 4, .protocol = UDP, .host = 7, .tos = 0xb9, .ttl = 64 };
	uint8_t pkt[64];
	struct ip_view v;

	cr_assert(ip_view(&v, pkt, build(pkt, &s)));
	cr_expect(eq(u8, v.version, 4));
	cr_expect(eq(u8, v.addr_len, 4));
	cr_expect(eq(u8, v.ds_field, 0xb9));
	cr_expect(eq(ptr, (void *)v.src, pkt + 12));
	cr_expect(eq(ptr, (void *)v.dst, pkt + 16));
}

Test(ip, view_of_v6)
{
	struct spec s = { .version = 6, .protocol = UDP, .tos = 0xb9, .flow_label = 0xfffff };
	uint8_t pkt[64];
	struct ip_view v;

	cr_assert(ip_view(&v, pkt, build(pkt, &s)));
	cr_expect(eq(u8, v.version, 6));
	cr_expect(eq(u8, v.addr_len, 16));
	cr_expect(eq(u8, v.ds_field, 0xb9));
	cr_expect(eq(ptr, (void *)v.src, pkt + 8));
	cr_expect(eq(ptr, (void *)v.dst, pkt + 24));
}

Test(ip, view_wants_a_header_of_a_known_version)
{
	for (unsigned version = 0; version < 16; version++) {
		uint8_t pkt[64] = { (uint8_t)(version << 4) };
		uint32_t least = version == 4 ? 20 : version == 6 ? 40 : 65;

		for (uint32_t len = 0; len <= 64; len++) {
			struct ip_view v = { .addr_len = 99 };
			cr_assert(eq(int, ip_view(&v, pkt, len), len >= least),
				  "version %u, %u bytes", version, len);
			cr_assert(eq(int, v.addr_len == 99, len < least), "untouched on failure");
		}
	}
}

static const struct {
	uint8_t first;
	uint16_t field; /* total length, or payload length of IPv6 */
	uint32_t len, expected;
} inner_lens[] = {
	{ 0x45, 20, 20, 20 },
	{ 0x45, 20, 19, 0 },
	{ 0x45, 19, 20, 0 },
	{ 0x45, 0, 64, 0 },
	{ 0x45, 21, 20, 0 },
	{ 0x45, 21, 32, 21 },
	{ 0x45, 1420, 1420, 1420 },
	{ 0x45, 1421, 1420, 0 },
	{ 0x45, 65535, 65535, 65535 },
	{ 0x4f, 20, 32, 20 }, /* header longer than the packet: not our business (P-264) */
	{ 0x40, 20, 32, 20 },
	{ 0x60, 0, 40, 40 },
	{ 0x60, 0, 39, 0 },
	{ 0x60, 0, 20, 0 },
	{ 0x60, 1, 40, 0 },
	{ 0x60, 1, 48, 41 },
	{ 0x60, 1380, 1420, 1420 },
	{ 0x60, 1381, 1420, 0 },
	{ 0x60, 65535, 39, 0 }, /* 65535 + 40 is 39 in 16 bits */
	{ 0x60, 65535, 48, 0 },
	{ 0x60, 65495, 65535, 65535 },
	{ 0x60, 65535, 65575, 65575 },
	{ 0x00, 20, 32, 0 },
	{ 0x50, 20, 32, 0 },
	{ 0x70, 20, 64, 0 },
	{ 0xf0, 20, 64, 0 },
};

Test(ip, inner_len)
{
	static uint8_t pkt[ROOM];

	cr_expect(eq(u32, ip_inner_len(pkt, 0), 0));
	for (size_t i = 0; i < ARRAY_SIZE(inner_lens); i++) {
		uint32_t at = inner_lens[i].first >> 4 == 6 ? 4 : 2;

		memset(pkt, 0xff, 40); /* what the length does not depend on */
		pkt[0] = inner_lens[i].first;
		pkt[at] = (uint8_t)(inner_lens[i].field >> 8);
		pkt[at + 1] = (uint8_t)inner_lens[i].field;
		cr_expect(eq(u32, ip_inner_len(pkt, inner_lens[i].len), inner_lens[i].expected),
			  "row %zu", i);
	}
}

static const struct {
	uint32_t len, mtu, expected;
} paddings[] = {
	{ 0, 1420, 0 },      { 1, 1420, 15 },    { 16, 1420, 0 },   { 17, 1420, 15 },
	{ 1408, 1420, 0 },   { 1409, 1420, 11 }, { 1419, 1420, 1 }, { 1420, 1420, 0 },
	{ 1421, 1420, 15 },  { 1436, 1420, 0 },  { 2840, 1420, 0 }, { 2839, 1420, 1 },
	{ 61612, 1420, 8 },  { 1279, 1280, 1 },  { 1280, 1280, 0 }, { 20, 68, 12 },
	{ 65, 68, 3 },       { 68, 68, 0 },      { 69, 68, 15 },    { 65475, 65475, 0 },
	{ 65474, 65475, 1 }, { 0, 0, 0 },        { 1, 0, 15 },      { 15, 0, 1 },
	{ 16, 0, 0 },        { 1421, 0, 3 },     { 65535, 0, 1 },   { 5, 1, 0 },
	{ 1, 1, 0 },         { 20, 10, 0 },      { 25, 10, 5 },
};

Test(ip, padding)
{
	for (size_t i = 0; i < ARRAY_SIZE(paddings); i++)
		cr_expect(eq(u32, padding_len(paddings[i].len, paddings[i].mtu),
			     paddings[i].expected),
			  "row %zu: %u at MTU %u", i, paddings[i].len, paddings[i].mtu);
}

/* Said in other words than the specification's: a packet that fits is rounded up, but never over the
 * MTU. */
Test(ip, padding_never_exceeds_the_mtu)
{
	for (uint32_t mtu = 68; mtu < 1600; mtu += 7) {
		for (uint32_t len = 1; len <= mtu; len++) {
			uint32_t padded = len + padding_len(len, mtu);
			cr_assert(le(u32, padded, mtu));
			bool is_full = padded % 16 == 0 || padded == mtu;
			cr_assert(is_full, "%u at MTU %u", len, mtu);
			cr_assert(lt(u32, padded - len, 16));
		}
	}
}

Test(ip, ecn_encap)
{
	static const uint8_t expected[4] = { 0, 1, 2, 2 };

	for (unsigned ds = 0; ds < 256; ds++)
		cr_expect(eq(u8, ip_ecn_encap((uint8_t)ds), expected[ds & 3]), "inner %02x", ds);
}

/* [outer][inner] */
static const uint8_t merged_ecn[4][4] = {
	{ 0, 1, 2, 3 },
	{ 0, 1, 1, 3 },
	{ 0, 1, 2, 3 },
	{ 0, 3, 3, 3 },
};

static void check_decap(struct spec *s, unsigned inner, unsigned outer)
{
	uint8_t pkt[128], expected[128];

	s->tos = (uint8_t)inner;
	uint32_t len = build(pkt, s);
	s->tos = (uint8_t)((inner & ~3U) | merged_ecn[outer & 3][inner & 3]);
	build(expected, s); /* its checksum computed from scratch */

	ip_ecn_decap(pkt, (uint8_t)outer);
	cr_assert(memcmp(pkt, expected, len) == 0, "IPv%u, inner %02x, outer %02x", s->version,
		  inner, outer);
}

Test(ip, ecn_decap)
{
	for (unsigned inner = 0; inner < 256; inner++)
		for (unsigned outer = 0; outer < 256; outer++) {
			struct spec v4 = { .version = 4,
					   .protocol = UDP,
					   .ip_id = (uint16_t)(inner * 256 + outer),
					   .n_ip_options = outer % 3,
					   .ttl = 3 };
			struct spec v6 = { .version = 6, .protocol = UDP, .flow_label = 0xabcde };
			check_decap(&v4, inner, outer);
			check_decap(&v6, inner, outer);
		}
}

/* All 65536 header checksums, so that each carry and both zeros happen. */
Test(ip, ecn_decap_adjusts_any_checksum)
{
	struct spec s = { .version = 4, .protocol = UDP, .tos = 2, .ttl = 64 };
	uint8_t pkt[64];

	for (unsigned id = 0; id < 65536; id++) {
		s.ip_id = (uint16_t)id;
		build(pkt, &s);
		ip_ecn_decap(pkt, 3);
		cr_assert(eq(u8, pkt[1], 3));
		cr_assert(eq(u16, ref_sum(pkt, 20), 0xffff), "id %u", id);
		bool is_minus_zero = pkt[10] == 0xff && pkt[11] == 0xff;
		cr_assert(not(is_minus_zero), "id %u", id);
	}
}

/* A wrong checksum must stay wrong: repairing it would hide damage. */
Test(ip, ecn_decap_does_not_repair)
{
	struct spec s = { .version = 4, .protocol = UDP, .tos = 2, .ttl = 64 };
	uint8_t pkt[64];

	build(pkt, &s);
	pkt[8] ^= 1;
	ip_ecn_decap(pkt, 3);
	cr_assert(ne(u16, ref_sum(pkt, 20), 0xffff));
}

/* SPDX-License-Identifier: MPL-2.0 */
/* P-320 to P-322: the answer to a packet without a way out. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/macro.h"
#include "packet/icmp.h"
#include "unit/packet/build.h"

/* Made by another program. UDP, port 1234 to 53, "hi!". */
/* clang-format off */
static const uint8_t v4_packet[] = {
	0x45, 0x00, 0x00, 0x1f, 0x1c, 0x46, 0x00, 0x00, 0x40, 0x11, 0x92, 0x7e,
	0x0a, 0x00, 0x00, 0x01, 0xc0, 0x00, 0x02, 0x09, 0x04, 0xd2, 0x00, 0x35,
	0x00, 0x0b, 0xa5, 0x5d, 0x68, 0x69, 0x21,
};
static const uint8_t v4_answer[] = {
	0x45, 0xc0, 0x00, 0x3b, 0x00, 0x00, 0x40, 0x00, 0x40, 0x01, 0x6d, 0xf8,
	0xc0, 0x00, 0x02, 0x09, 0x0a, 0x00, 0x00, 0x01, 0x03, 0x01, 0xc9, 0x25,
	0x00, 0x00, 0x00, 0x00, 0x45, 0x00, 0x00, 0x1f, 0x1c, 0x46, 0x00, 0x00,
	0x40, 0x11, 0x92, 0x7e, 0x0a, 0x00, 0x00, 0x01, 0xc0, 0x00, 0x02, 0x09,
	0x04, 0xd2, 0x00, 0x35, 0x00, 0x0b, 0xa5, 0x5d, 0x68, 0x69, 0x21,
};
static const uint8_t v6_packet[] = {
	0x60, 0x01, 0x23, 0x45, 0x00, 0x0b, 0x11, 0x40, 0xfd, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
	0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x53, 0x04, 0xd2, 0x00, 0x35, 0x00, 0x0b, 0x46, 0x5a,
	0x68, 0x69, 0x21,
};
static const uint8_t v6_answer[] = {
	0x60, 0x00, 0x00, 0x00, 0x00, 0x3b, 0x3a, 0x40, 0x20, 0x01, 0x0d, 0xb8,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x53,
	0xfd, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x01, 0x01, 0x03, 0x3f, 0x04, 0x00, 0x00, 0x00, 0x00,
	0x60, 0x01, 0x23, 0x45, 0x00, 0x0b, 0x11, 0x40, 0xfd, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
	0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x53, 0x04, 0xd2, 0x00, 0x35, 0x00, 0x0b, 0x46, 0x5a,
	0x68, 0x69, 0x21,
};
/* clang-format on */

static uint8_t out[ICMP_V6_MAX_LEN];

Test(icmp, golden_v4)
{
	uint32_t len = icmp_unreachable(out, v4_packet, sizeof(v4_packet));

	cr_assert(eq(u32, len, sizeof(v4_answer)));
	cr_assert(memcmp(out, v4_answer, len) == 0);
}

Test(icmp, golden_v6)
{
	uint32_t len = icmp_unreachable(out, v6_packet, sizeof(v6_packet));

	cr_assert(eq(u32, len, sizeof(v6_answer)));
	cr_assert(memcmp(out, v6_answer, len) == 0);
}

/* The whole packet is quoted while the answer stays within 576 or 1280 bytes. */
Test(icmp, quotes_as_much_as_allowed)
{
	static uint8_t pkt[ROOM];

	for (uint32_t payload_len = 0; payload_len < 1600; payload_len++) {
		struct spec s = { .version = 4, .protocol = UDP, .payload_len = payload_len };
		uint32_t len = build(pkt, &s);
		uint32_t total = MIN(28 + len, 576);

		cr_assert(eq(u32, icmp_unreachable(out, pkt, len), total));
		cr_assert(eq(u32, out[2] * 256U + out[3], total));
		cr_assert(eq(u16, ref_sum(out, 20), 0xffff));
		cr_assert(eq(u16, ref_sum(out + 20, total - 20), 0xffff));
		cr_assert(memcmp(out + 28, pkt, total - 28) == 0);

		s.version = 6;
		len = build(pkt, &s);
		total = MIN(48 + len, 1280);
		cr_assert(eq(u32, icmp_unreachable(out, pkt, len), total));
		cr_assert(eq(u32, out[4] * 256U + out[5], total - 40));
		cr_assert(eq(u16, ref_l4_sum(out, total, 40, 58), 0xffff));
		cr_assert(memcmp(out + 48, pkt, total - 48) == 0);
	}
}

/* What is patched into a packet that would be answered; { 0, 0 } patches nothing. */
static const struct refusal {
	const char *why;
	bool is_answered;
	struct {
		uint8_t at, value;
	} patch[6];
} v4_refusals[] = {
	{ "nothing", true, { { 0 } } },
	{ "first fragment", true, { { 6, 0x20 } } },
	{ "second fragment", false, { { 6, 0x20 }, { 7, 1 } } },
	{ "last fragment", false, { { 6, 0x1f }, { 7, 0xff } } },
	{ "do not fragment", true, { { 6, 0x40 } } },
	{ "from 0.0.0.0", false, { { 12, 0 }, { 13, 0 }, { 14, 0 }, { 15, 0 } } },
	{ "from 255.255.255.255", false, { { 12, 255 }, { 13, 255 }, { 14, 255 }, { 15, 255 } } },
	{ "from 224.0.0.0", false, { { 12, 224 } } },
	{ "from 239.255.255.255", false, { { 12, 239 }, { 13, 255 }, { 14, 255 }, { 15, 255 } } },
	{ "from 223.255.255.255", true, { { 12, 223 }, { 13, 255 }, { 14, 255 }, { 15, 255 } } },
	{ "to 0.0.0.0", false, { { 16, 0 }, { 17, 0 }, { 18, 0 }, { 19, 0 } } },
	{ "to 255.255.255.255", false, { { 16, 255 }, { 17, 255 }, { 18, 255 }, { 19, 255 } } },
	{ "to 224.0.0.251", false, { { 16, 224 }, { 17, 0 }, { 18, 0 }, { 19, 251 } } },
	{ "to 240.0.0.1", true, { { 16, 240 } } },
	{ "header shorter than 20", false, { { 0, 0x44 } } },
	{ "header longer than the packet", false, { { 0, 0x4f } } },
	{ "options", true, { { 0, 0x46 } } },
	{ "version 5", false, { { 0, 0x55 } } },
	{ "echo request", true, { { 9, 1 }, { 20, 8 } } },
	{ "ICMP behind options", false, { { 0, 0x46 }, { 9, 1 }, { 20, 8 }, { 24, 3 } } },
};

static uint32_t answer_patched(const uint8_t *packet, uint32_t len, const struct refusal *r)
{
	uint8_t pkt[128];

	memcpy(pkt, packet, len);
	for (size_t i = 0; i < ARRAY_SIZE(r->patch); i++)
		if (r->patch[i].at != 0 || r->patch[i].value != 0)
			pkt[r->patch[i].at] = r->patch[i].value;
	return icmp_unreachable(out, pkt, len);
}

Test(icmp, v4_refusals)
{
	for (size_t i = 0; i < ARRAY_SIZE(v4_refusals); i++) {
		uint32_t len = answer_patched(v4_packet, sizeof(v4_packet), &v4_refusals[i]);
		bool is_answered = len != 0;
		cr_expect(eq(int, is_answered, v4_refusals[i].is_answered), "%s",
			  v4_refusals[i].why);
	}
}

static const struct refusal v6_refusals[] = {
	{ "nothing", true, { { 0 } } },
	{ "version 7", false, { { 0, 0x70 } } },
	{ "from ff02::", false, { { 8, 0xff }, { 9, 2 } } },
	{ "to ff02::", false, { { 24, 0xff }, { 25, 2 } } },
	{ "from ::", false, { { 8, 0 }, { 9, 0 }, { 23, 0 } } },
	{ "to ::53", true, { { 24, 0 }, { 25, 0 }, { 26, 0 }, { 27, 0 } } },
	{ "to ::", false, { { 24, 0 }, { 25, 0 }, { 26, 0 }, { 27, 0 }, { 39, 0 } } },
	{ "from fe80::", true, { { 8, 0xfe }, { 9, 0x80 } } },
	{ "no next header", true, { { 6, 59 } } },
	{ "echo request", true, { { 6, 58 }, { 40, 128 } } },
	{ "first fragment", true, { { 6, 44 }, { 40, 17 }, { 42, 0 }, { 43, 1 } } },
	{ "second fragment", false, { { 6, 44 }, { 40, 17 }, { 42, 0 }, { 43, 9 } } },
	{ "last fragment", false, { { 6, 44 }, { 40, 17 }, { 42, 0xff }, { 43, 0xf8 } } },
	{ "cut extension header", false, { { 6, 60 }, { 40, 17 }, { 41, 1 } } },
	{ "echo request behind options", true, { { 6, 60 }, { 40, 58 }, { 41, 0 }, { 48, 128 } } },
	{ "error behind options", false, { { 6, 60 }, { 40, 58 }, { 41, 0 }, { 48, 1 } } },
	{ "error behind hop-by-hop", false, { { 6, 0 }, { 40, 58 }, { 41, 0 }, { 48, 1 } } },
	{ "error behind a routing header", false, { { 6, 43 }, { 40, 58 }, { 41, 0 }, { 48, 1 } } },
	{ "error in a first fragment", false, { { 6, 44 }, { 40, 58 }, { 43, 1 }, { 48, 3 } } },
	{ "AH, cut", false, { { 6, 51 }, { 40, 17 }, { 41, 4 } } },
};

Test(icmp, v6_refusals)
{
	for (size_t i = 0; i < ARRAY_SIZE(v6_refusals); i++) {
		uint32_t len = answer_patched(v6_packet, sizeof(v6_packet), &v6_refusals[i]);
		bool is_answered = len != 0;
		cr_expect(eq(int, is_answered, v6_refusals[i].is_answered), "%s",
			  v6_refusals[i].why);
	}
}

Test(icmp, v4_icmp_types)
{
	uint8_t pkt[sizeof(v4_packet)];

	memcpy(pkt, v4_packet, sizeof(pkt));
	pkt[9] = 1;
	for (unsigned type = 0; type < 256; type++) {
		bool is_error = type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
		bool is_known = type <= 18;
		pkt[20] = (uint8_t)type;
		bool is_answered = icmp_unreachable(out, pkt, sizeof(pkt)) != 0;
		cr_expect(eq(int, is_answered, is_known && !is_error), "type %u", type);
	}
	pkt[20] = 8;
	cr_expect(eq(u32, icmp_unreachable(out, pkt, 20), 0), "no type to look at");
}

Test(icmp, v6_icmp_types)
{
	uint8_t pkt[sizeof(v6_packet)];

	memcpy(pkt, v6_packet, sizeof(pkt));
	pkt[6] = 58;
	for (unsigned type = 0; type < 256; type++) {
		pkt[40] = (uint8_t)type;
		bool is_answered = icmp_unreachable(out, pkt, sizeof(pkt)) != 0;
		cr_expect(eq(int, is_answered, type >= 128 && type != 137), "type %u", type);
	}
	pkt[40] = 128;
	cr_expect(eq(u32, icmp_unreachable(out, pkt, 40), 0), "no type to look at");
}

/* Every truncation, in memory of exactly that size. */
Test(icmp, truncated)
{
	for (uint32_t len = 0; len <= sizeof(v4_packet); len++) {
		struct packet p = packet_copy(v4_packet, len);
		bool is_answered = icmp_unreachable(out, p.data, p.len) != 0;
		cr_expect(eq(int, is_answered, len >= 20), "%u", len);
		packet_free(&p, 1);
	}
	for (uint32_t len = 0; len <= sizeof(v6_packet); len++) {
		struct packet p = packet_copy(v6_packet, len);
		p.len = len;
		bool is_answered = icmp_unreachable(out, p.data, p.len) != 0;
		cr_expect(eq(int, is_answered, len >= 40), "%u", len);
		packet_free(&p, 1);
	}
}

/* More extension headers than anybody sends: the walk ends, however long the packet. */
Test(icmp, many_extension_headers)
{
	for (unsigned n = 1; n < 40; n++) {
		uint8_t pkt[40 + 40 * 8 + 8] = { 0 };

		memcpy(pkt, v6_packet, 40);
		pkt[6] = 60;
		for (unsigned i = 0; i < n; i++)
			pkt[40 + 8 * i] = i + 1 < n ? 60 : UDP;
		bool is_answered = icmp_unreachable(out, pkt, 40 + 8 * n + 8) != 0;
		cr_expect(eq(int, is_answered, n < 16), "%u headers", n);
	}
}

/* The payload of a later fragment is not a header, even if it looks like a first fragment's. */
Test(icmp, fragment_header_in_a_fragment)
{
	uint8_t pkt[64] = { 0 };

	memcpy(pkt, v6_packet, 40);
	pkt[6] = 44;
	pkt[40] = 44;
	pkt[43] = 8;
	pkt[48] = UDP;
	cr_expect(eq(u32, icmp_unreachable(out, pkt, sizeof(pkt)), 0));
}

Test(icmp, limit_allows_a_burst_then_a_rate)
{
	struct icmp_limit l = { 0 };
	uint64_t now = 5 * NSEC_PER_SEC;

	for (unsigned i = 0; i < 50; i++)
		cr_assert(icmp_limit_take(&l, now), "%u", i);
	cr_assert(not(icmp_limit_take(&l, now)));
	cr_assert(not(icmp_limit_take(&l, now + 9 * NSEC_PER_MSEC)));
	cr_assert(icmp_limit_take(&l, now + 10 * NSEC_PER_MSEC));
	cr_assert(not(icmp_limit_take(&l, now + 10 * NSEC_PER_MSEC)));

	unsigned n = 0; /* one attempt per ms for 10 s */
	for (unsigned ms = 11; ms <= 10010; ms++)
		n += icmp_limit_take(&l, now + ms * NSEC_PER_MSEC);
	cr_assert(eq(u32, n, 1000));
}

Test(icmp, limit_refills_to_the_burst_and_no_more)
{
	struct icmp_limit l = { 0 };
	unsigned n = 0;

	for (unsigned i = 0; i < 1000; i++)
		n += icmp_limit_take(&l, 0);
	cr_assert(eq(u32, n, 50), "full at time 0");
	for (unsigned i = 0; i < 1000; i++)
		n += icmp_limit_take(&l, 250 * NSEC_PER_MSEC);
	cr_assert(eq(u32, n, 75));
	for (unsigned i = 0; i < 1000; i++)
		n += icmp_limit_take(&l, 3600 * NSEC_PER_SEC);
	cr_assert(eq(u32, n, 125));
}

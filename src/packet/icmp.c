/* SPDX-License-Identifier: MPL-2.0 */
/* ICMP destination unreachable: whom to answer, and with what. */
#include "packet/icmp.h"

#include <netinet/in.h>
#include <string.h>

#include "base/bytes.h"
#include "base/macro.h"
#include "packet/checksum.h"
#include "packet/ip.h"
#include "packet/ipv6.h"
#include "packet/l4.h"

enum {
	V4_ICMP_OFF = IP_V4_MIN_HDR,
	V6_ICMP_OFF = IP_V6_HDR,
	ICMP_HDR = 8, /* type, code, checksum, four unused bytes */
	TTL = 64,
	TOS_INTERNETWORK_CONTROL = 0xc0, /* RFC 1812 section 4.3.2.5 */

	V4_UNREACHABLE = 3,
	V4_SOURCE_QUENCH = 4,
	V4_REDIRECT = 5,
	V4_TIME_EXCEEDED = 11,
	V4_PARAMETER_PROBLEM = 12,
	V4_LAST_KNOWN = 18,
	V4_CODE_HOST = 1,

	V6_UNREACHABLE = 1,
	V6_FIRST_INFORMATIONAL = 128,
	V6_REDIRECT = 137,
	V6_CODE_ADDRESS = 3,
};

static bool v4_is_single_host(const uint8_t *addr)
{
	uint32_t a = load_be32(addr);
	bool is_multicast = (a & 0xf0000000) == 0xe0000000;
	return a != INADDR_ANY && a != INADDR_BROADCAST && !is_multicast;
}

static bool v4_is_error(uint8_t type)
{
	switch (type) {
	case V4_UNREACHABLE:
	case V4_SOURCE_QUENCH:
	case V4_REDIRECT:
	case V4_TIME_EXCEEDED:
	case V4_PARAMETER_PROBLEM:
		return true;
	default: /* a type that nobody knows may be an error as well */
		return type > V4_LAST_KNOWN;
	}
}

static bool v4_may_answer(const uint8_t *pkt, uint32_t len)
{
	uint32_t hdr_len = (pkt[0] & 15U) * 4;

	if (hdr_len < IP_V4_MIN_HDR || hdr_len > len)
		return false;
	if (load_be16(pkt + 6) & IP_FRAGMENT_OFFSET)
		return false;
	if (pkt[9] == IPPROTO_ICMP && (hdr_len == len || v4_is_error(pkt[hdr_len])))
		return false;
	return v4_is_single_host(pkt + 12) && v4_is_single_host(pkt + 16);
}

static bool v6_is_single_host(const uint8_t *addr)
{
	static const uint8_t unspecified[16];
	bool is_multicast = addr[0] == 0xff;
	return !is_multicast && memcmp(addr, unspecified, sizeof(unspecified)) != 0;
}

static bool v6_may_answer(const uint8_t *pkt, uint32_t len)
{
	struct ipv6_chain c;

	if (!ipv6_walk(&c, pkt, len) || !c.is_first)
		return false;
	if (c.protocol == IPPROTO_ICMPV6) {
		if (c.l4_off == len)
			return false;
		uint8_t type = pkt[c.l4_off];
		if (type < V6_FIRST_INFORMATIONAL || type == V6_REDIRECT)
			return false;
	}
	return v6_is_single_host(pkt + 8) && v6_is_single_host(pkt + 24);
}

/* The answer seems to come from where the packet was going: a source address of our own would be
 * dropped as martian (P-321). */
static uint32_t v4_build(uint8_t *out, const uint8_t *pkt, uint32_t len)
{
	uint32_t quote_len = MIN(len, ICMP_V4_MAX_LEN - V4_ICMP_OFF - ICMP_HDR);
	uint32_t total = V4_ICMP_OFF + ICMP_HDR + quote_len;
	uint8_t *icmp = out + V4_ICMP_OFF;

	memset(out, 0, V4_ICMP_OFF + ICMP_HDR);
	out[0] = 0x45;
	out[1] = TOS_INTERNETWORK_CONTROL;
	store_be16(out + 2, (uint16_t)total);
	store_be16(out + 6, IP_DF); /* never fragmented, so id 0 is as good as any (RFC 6864) */
	out[8] = TTL;
	out[9] = IPPROTO_ICMP;
	memcpy(out + 12, pkt + 16, 4);
	memcpy(out + 16, pkt + 12, 4);
	checksum_store(out + 10, checksum_add(0, out, IP_V4_MIN_HDR));

	icmp[0] = V4_UNREACHABLE;
	icmp[1] = V4_CODE_HOST;
	memcpy(icmp + ICMP_HDR, pkt, quote_len);
	checksum_store(icmp + 2, checksum_add(0, icmp, ICMP_HDR + quote_len));
	return total;
}

static uint32_t v6_build(uint8_t *out, const uint8_t *pkt, uint32_t len)
{
	uint32_t quote_len = MIN(len, ICMP_V6_MAX_LEN - V6_ICMP_OFF - ICMP_HDR);
	uint32_t icmp_len = ICMP_HDR + quote_len;
	uint8_t *icmp = out + V6_ICMP_OFF;

	memset(out, 0, V6_ICMP_OFF + ICMP_HDR);
	out[0] = 0x60;
	store_be16(out + 4, (uint16_t)icmp_len);
	out[6] = IPPROTO_ICMPV6;
	out[7] = TTL;
	memcpy(out + 8, pkt + 24, 16);
	memcpy(out + 24, pkt + 8, 16);

	icmp[0] = V6_UNREACHABLE;
	icmp[1] = V6_CODE_ADDRESS;
	memcpy(icmp + ICMP_HDR, pkt, quote_len);
	uint64_t pseudo = checksum_pseudo_v6(out + 8, IPPROTO_ICMPV6, icmp_len);
	checksum_store(icmp + 2, checksum_add(pseudo, icmp, icmp_len));
	return V6_ICMP_OFF + icmp_len;
}

uint32_t icmp_unreachable(uint8_t out[ICMP_V6_MAX_LEN], const uint8_t *pkt, uint32_t len)
{
	struct ip_view ip;

	if (!ip_view(&ip, pkt, len))
		return 0;
	if (ip.version == 4)
		return v4_may_answer(pkt, len) ? v4_build(out, pkt, len) : 0;
	return v6_may_answer(pkt, len) ? v6_build(out, pkt, len) : 0;
}

bool icmp_limit_take(struct icmp_limit *l, uint64_t now_ns)
{
	const uint64_t per_token_ns = NSEC_PER_SEC / ICMP_PER_SEC;

	if (l->full_at_ns < now_ns)
		l->full_at_ns = now_ns;
	if (l->full_at_ns - now_ns > (ICMP_BURST - 1) * per_token_ns)
		return false;
	l->full_at_ns += per_token_ns;
	return true;
}

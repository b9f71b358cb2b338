/* SPDX-License-Identifier: MPL-2.0 */
/* Inner IP packets: lengths, addresses, padding, ECN. */
#include "packet/ip.h"

#include "base/bytes.h"
#include "base/macro.h"

enum {
	ECN_NOT_ECT = 0,
	ECN_ECT1 = 1,
	ECN_ECT0 = 2,
	ECN_CE = 3,
	ECN_MASK = 3,
	PADDING = 16, /* bytes: plaintexts are rounded up to a multiple of this */
};

bool ip_view(struct ip_view *ret, const uint8_t *pkt, uint32_t len)
{
	if (len < IP_V4_MIN_HDR)
		return false;

	switch (pkt[0] >> 4) {
	case 4:
		*ret = (struct ip_view){ .src = pkt + 12,
					 .dst = pkt + 16,
					 .version = 4,
					 .addr_len = 4,
					 .ds_field = pkt[1] };
		return true;
	case 6:
		if (len < IP_V6_HDR)
			return false;
		*ret = (struct ip_view){ .src = pkt + 8,
					 .dst = pkt + 24,
					 .version = 6,
					 .addr_len = 16,
					 .ds_field = (uint8_t)(load_be16(pkt) >> 4) };
		return true;
	default:
		return false;
	}
}

uint32_t ip_inner_len(const uint8_t *plaintext, uint32_t len)
{
	if (len < IP_V4_MIN_HDR)
		return 0;

	uint32_t total; /* of more than 16 bits: an IPv6 payload may be 65535 bytes long */
	switch (plaintext[0] >> 4) {
	case 4:
		total = load_be16(plaintext + 2);
		if (total < IP_V4_MIN_HDR)
			return 0;
		break;
	case 6:
		total = (uint32_t)load_be16(plaintext + 4) + IP_V6_HDR;
		break;
	default:
		return 0;
	}
	return total <= len ? total : 0;
}

uint32_t padding_len(uint32_t len, uint32_t mtu)
{
	if (mtu == 0)
		return -len % PADDING;

	/* Longer than the MTU: a packet that was let through before the MTU shrank, or a
	 * super-packet; its last piece counts. */
	uint32_t last = len <= mtu ? len : len % mtu;
	uint32_t padded = ROUND_UP(last, PADDING);
	return MIN(mtu, padded) - last;
}

uint8_t ip_ecn_encap(uint8_t inner_ds)
{
	uint8_t ecn = inner_ds & ECN_MASK;
	return ecn == ECN_CE ? ECN_ECT0 : ecn;
}

/* What the inner ECN becomes. */
static uint8_t ecn_merge(uint8_t inner, uint8_t outer)
{
	if (inner == ECN_NOT_ECT)
		return ECN_NOT_ECT;
	if (outer == ECN_CE)
		return ECN_CE;
	if (outer == ECN_ECT1 && inner == ECN_ECT0)
		return ECN_ECT1;
	return inner;
}

/* RFC 1624, equation 3: HC' = ~(~HC + ~m + m'). */
static void v4_set_tos(uint8_t *pkt, uint8_t tos)
{
	uint32_t sum = (uint16_t)~load_be16(pkt + 10);

	sum += (uint16_t)~load_be16(pkt);
	pkt[1] = tos;
	sum += load_be16(pkt);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	store_be16(pkt + 10, (uint16_t)~sum);
}

void ip_ecn_decap(uint8_t *pkt, uint8_t outer_tos)
{
	uint8_t outer = outer_tos & ECN_MASK;
	if (LIKELY(outer == ECN_NOT_ECT))
		return;

	if (pkt[0] >> 4 == 4) {
		uint8_t merged = ecn_merge(pkt[1] & ECN_MASK, outer);
		if (merged != (pkt[1] & ECN_MASK))
			v4_set_tos(pkt, (uint8_t)((pkt[1] & ~ECN_MASK) | merged));
	} else { /* the traffic class straddles the first two bytes; its ECN is in the second */
		uint8_t merged = ecn_merge((pkt[1] >> 4) & ECN_MASK, outer);
		pkt[1] = (uint8_t)((pkt[1] & ~(ECN_MASK << 4)) | merged << 4);
	}
}

/* SPDX-License-Identifier: MPL-2.0 */
/* IPv6 extension headers. */
#include "packet/ipv6.h"

#include <netinet/in.h>

#include "base/bytes.h"
#include "packet/ip.h"

enum {
	MAX_HEADERS = 16, /* each kind at most once, destination options twice: 6 by RFC 8200 */
	FRAGMENT_OFFSET = 0xfff8,
};

bool ipv6_walk(struct ipv6_chain *ret, const uint8_t *pkt, uint32_t len)
{
	struct ipv6_chain c = { .l4_off = IP_V6_HDR, .is_first = true };

	if (len < IP_V6_HDR)
		return false;
	c.protocol = pkt[6];

	for (unsigned i = 0; i < MAX_HEADERS; i++) {
		const uint8_t *h = pkt + c.l4_off;
		bool is_cut = len - c.l4_off < 8; /* the least that any of these has */
		uint32_t hdr_len;

		switch (c.protocol) {
		case IPPROTO_ROUTING:
			c.has_route_ahead |= !is_cut && h[3] != 0;
			__attribute__((fallthrough));
		case IPPROTO_HOPOPTS:
		case IPPROTO_DSTOPTS:
			hdr_len = is_cut ? 0 : (h[1] + 1U) * 8;
			break;
		case IPPROTO_AH: /* counts words of 4 bytes, minus 2 */
			hdr_len = is_cut ? 0 : (h[1] + 2U) * 4;
			break;
		case IPPROTO_FRAGMENT:
			hdr_len = 8;
			c.is_fragment = true;
			c.is_first = !is_cut && (load_be16(h + 2) & FRAGMENT_OFFSET) == 0;
			break;
		default:
			*ret = c;
			return true;
		}
		if (is_cut || hdr_len > len - c.l4_off)
			return false;
		c.protocol = h[0];
		c.l4_off += hdr_len;
		if (!c.is_first) {
			*ret = c;
			return true;
		}
	}
	return false;
}

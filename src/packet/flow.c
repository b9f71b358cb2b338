/* SPDX-License-Identifier: MPL-2.0 */
#include "packet/flow.h"

#include <netinet/in.h>
#include <string.h>

#include "base/bytes.h"
#include "packet/ip.h"
#include "packet/l4.h"

static const uint64_t mix = UINT64_C(0x9e3779b97f4a7c15); /* 2^64 / golden ratio */

/* Who makes collisions only loses his own precedence: no secret is needed. */
static uint64_t add(uint64_t h, const uint8_t *p, uint32_t len)
{
	for (; len >= 4; p += 4, len -= 4) {
		uint32_t v;
		memcpy(&v, p, sizeof(v));
		h = (h ^ v) * mix;
		h ^= h >> 32;
	}
	return h;
}

static bool has_ports(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

/* Behind these comes another header, which decides. */
static bool is_extension(uint8_t protocol)
{
	switch (protocol) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_FRAGMENT:
	case IPPROTO_DSTOPTS:
	case IPPROTO_AH:
	case IPPROTO_MH:
	case 139: /* HIP */
	case 140: /* shim6 */
		return true;
	default:
		return false;
	}
}

uint32_t flow_id(const uint8_t *pkt, uint32_t len)
{
	bool is_v4 = pkt[0] >> 4 == 4;
	uint32_t l4_off = is_v4 ? (pkt[0] & 15U) * 4 : IP_V6_HDR;
	uint8_t protocol = is_v4 ? pkt[9] : pkt[6];

	if (is_v4 && (load_be16(pkt + 6) & (IP_MORE_FRAGMENTS | IP_FRAGMENT_OFFSET)))
		return 0;
	if (!is_v4 && is_extension(protocol))
		return 0;
	uint64_t h = is_v4 ? add(protocol, pkt + 12, 8) : add(protocol, pkt + 8, 32);
	if (has_ports(protocol)) {
		if (l4_off < IP_V4_MIN_HDR || len < l4_off + 4)
			return 0;
		h = add(h, pkt + l4_off, 4);
	}
	return (uint32_t)h | 1;
}

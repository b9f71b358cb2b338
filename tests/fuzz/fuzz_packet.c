/* SPDX-License-Identifier: MPL-2.0 */
/* Packets from the TUN and from peers: everything that packet/ does to one. The input is a vnet
 * header, an outer TOS byte, and a packet. */
#include <linux/virtio_net.h>

#include "base/bytes.h"
#include "fuzz/fuzz.h"
#include "packet/checksum.h"
#include "packet/flow.h"
#include "packet/gso.h"
#include "packet/icmp.h"
#include "packet/ip.h"

static void try_icmp(const uint8_t *data, uint32_t len)
{
	uint8_t *pkt = copy_of(data, len);
	uint8_t *out = allocate(ICMP_V6_MAX_LEN);
	struct ip_view answer;

	uint32_t out_len = icmp_unreachable(out, pkt, len);
	if (out_len > 0) {
		CHECK(ip_view(&answer, out, out_len));
		CHECK(ip_inner_len(out, out_len) == out_len);
		CHECK(out_len <= (answer.version == 4 ? ICMP_V4_MAX_LEN : ICMP_V6_MAX_LEN));
		/* An error is never answered: no two hosts can play ping-pong. */
		uint8_t more[ICMP_V6_MAX_LEN];
		CHECK(icmp_unreachable(more, out, out_len) == 0);
	}
	free(out);
	free(pkt);
}

static void try_inner(const uint8_t *data, uint32_t len, uint8_t tos)
{
	uint8_t *pkt = copy_of(data, len);
	uint32_t inner_len = ip_inner_len(pkt, len);
	uint8_t outer_ecn = ip_ecn_encap(tos);
	struct ip_view before, after;

	CHECK(inner_len <= len);
	CHECK(padding_len(len, tos * 16U) < 16);
	CHECK(outer_ecn <= 2 && (outer_ecn == (tos & 3) || (tos & 3) == 3)); /* RFC 6040: no CE */
	if (inner_len > 0) {
		CHECK(ip_view(&before, pkt, inner_len));
		uint16_t sum = checksum_fold(checksum_add(0, pkt, IP_V4_MIN_HDR));
		ip_ecn_decap(pkt, tos);
		CHECK(ip_view(&after, pkt, inner_len));
		CHECK((before.ds_field | 3) == (after.ds_field | 3)); /* DSCP stays */
		if (after.version == 4) /* as right or as wrong as it was */
			CHECK(checksum_fold(checksum_add(0, pkt, IP_V4_MIN_HDR)) % 0xffff ==
			      sum % 0xffff);
	}
	free(pkt);
}

/* What routers change on the way changes no flow. */
static void try_flow(const uint8_t *data, uint32_t len)
{
	uint8_t *pkt = copy_of(data, len);
	struct ip_view v;

	if (ip_view(&v, pkt, len)) {
		uint32_t id = flow_id(pkt, len);
		pkt[v.version == 4 ? 8 : 7] ^= 0x55; /* TTL, hop limit */
		pkt[1] ^= v.version == 4 ? 0xff : 0x0f;
		CHECK(flow_id(pkt, len) == id);
	}
	free(pkt);
}

/* Without extension headers, and our own pseudo-header: the checksum must be right. */
static void check_segment(const uint8_t *hdr, const struct gso_split *s,
			  const struct gso_segment *g)
{
	uint32_t l4_len = s->l4_len + g->payload_len;
	uint64_t sum;

	if (s->version == 4) {
		CHECK(load_be16(hdr + 2) == s->hdr_len + g->payload_len);
		CHECK(checksum_fold(checksum_add(0, hdr, s->l4_off)) == 0xffff);
		sum = checksum_pseudo_v4(hdr + 12, s->protocol, l4_len);
	} else {
		CHECK(load_be16(hdr + 4) == s->hdr_len + g->payload_len - IP_V6_HDR);
		sum = checksum_pseudo_v6(hdr + 8, s->protocol, l4_len);
	}
	sum = checksum_add(sum, hdr + s->l4_off, s->l4_len);
	CHECK(checksum_fold(checksum_add(sum, g->payload, g->payload_len)) == 0xffff);
}

static void try_split(const struct virtio_net_hdr *vnet, const uint8_t *data, uint32_t len)
{
	uint8_t *pkt = copy_of(data, len);
	struct gso_split s;

	if (gso_split_init(&s, vnet, pkt, len) == 0) {
		uint8_t *hdr = allocate(s.hdr_len);
		uint32_t total = 0;

		CHECK(s.hdr_len <= GSO_MAX_HEADER && s.n_segments >= 1);
		for (uint32_t i = 0; i < s.n_segments; i++) {
			struct gso_segment seg;

			gso_split_segment(&s, i, &seg, hdr);
			CHECK(seg.payload >= pkt && seg.payload + seg.payload_len <= pkt + len);
			CHECK(seg.payload_len <= s.mss);
			total += seg.payload_len;
			if (s.hdr_len > 0 && vnet->flags == 0)
				check_segment(hdr, &s, &seg);
		}
		CHECK(s.hdr_len + total == len);
		free(hdr);
	}
	free(pkt);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct virtio_net_hdr vnet;

	if (len < sizeof(vnet) + 1 || len > 70000)
		return 0;
	memcpy(&vnet, data, sizeof(vnet));
	uint8_t tos = data[sizeof(vnet)];
	data += sizeof(vnet) + 1;
	len -= sizeof(vnet) + 1;

	try_icmp(data, (uint32_t)len);
	try_inner(data, (uint32_t)len, tos);
	try_flow(data, (uint32_t)len);
	try_split(&vnet, data, (uint32_t)len);
	return 0;
}

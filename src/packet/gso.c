/* SPDX-License-Identifier: MPL-2.0 */
/* Super-packets from the TUN: validation, and one segment header at a time. */
#include "packet/gso.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "packet/checksum.h"
#include "packet/ip.h"
#include "packet/ipv6.h"
#include "packet/l4.h"

/* An ordinary packet whose checksum the kernel left to the device: the field holds the sum of the
 * pseudo-header, to be replaced by the checksum from csum_start to the end. */
static int complete_checksum(const struct virtio_net_hdr *vnet, uint8_t *pkt, uint32_t len)
{
	uint32_t start = vnet->csum_start;
	uint32_t at = start + vnet->csum_offset;

	if (start < IP_V4_MIN_HDR || at + 2 > len)
		return -EINVAL;
	uint64_t sum = checksum_add(0, pkt + start, len - start);
	if (vnet->csum_offset == UDP_CSUM)
		checksum_store_udp(pkt + at, sum);
	else
		checksum_store(pkt + at, sum);
	return 0;
}

static int parse_v4(struct gso_split *s, const uint8_t *pkt, uint32_t len)
{
	uint32_t hdr_len = (pkt[0] & 15U) * 4;

	if (hdr_len < IP_V4_MIN_HDR || hdr_len > len)
		return -EINVAL;
	if (load_be16(pkt + 6) & (IP_MORE_FRAGMENTS | IP_FRAGMENT_OFFSET))
		return -EINVAL;

	s->version = 4;
	s->protocol = pkt[9];
	s->l4_off = hdr_len;
	s->ip_id = load_be16(pkt + 4);
	/* Version to TOS, fragment word to protocol, addresses and options: all but length, id and
	 * checksum, which every segment has its own of. */
	s->ip_sum = checksum_add(0, pkt, 2) + checksum_add(0, pkt + 6, 4);
	s->ip_sum = checksum_add(s->ip_sum, pkt + 12, hdr_len - 12);
	s->l4_sum = checksum_pseudo_v4(pkt + 12, s->protocol, 0);
	return 0;
}

static int parse_v6(struct gso_split *s, const uint8_t *pkt, uint32_t len, bool has_pseudo_sum)
{
	struct ipv6_chain c;

	if (!ipv6_walk(&c, pkt, len) || c.is_fragment)
		return -EINVAL;
	/* The pseudo-header has the final destination. The kernel gave its sum in every case known;
	 * without it we would have to read the routing header. */
	if (c.has_route_ahead && !has_pseudo_sum)
		return -EINVAL;

	s->version = 6;
	s->protocol = c.protocol;
	s->l4_off = c.l4_off;
	s->l4_sum = checksum_pseudo_v6(pkt + 8, s->protocol, 0);
	return 0;
}

/* Length of the L4 header; 0 = cut off or malformed. */
static uint32_t l4_header_len(uint8_t protocol, const uint8_t *l4, uint32_t len)
{
	if (protocol == IPPROTO_UDP)
		return len < UDP_HDR ? 0 : UDP_HDR;
	if (len < TCP_MIN_HDR)
		return 0;
	uint32_t hdr_len = tcp_hdr_len(l4);
	return hdr_len < TCP_MIN_HDR || hdr_len > len ? 0 : hdr_len;
}

/* The pseudo-header sum of a NEEDS_CSUM packet is in the checksum field, over the length of the
 * whole super-packet. Take that length out. */
static int take_pseudo_sum(struct gso_split *s, const struct virtio_net_hdr *vnet,
			   const uint8_t *pkt, uint32_t len)
{
	uint32_t csum_off = s->protocol == IPPROTO_TCP ? TCP_CSUM : UDP_CSUM;

	if (vnet->csum_start != s->l4_off || vnet->csum_offset != csum_off)
		return -EINVAL;
	uint16_t field;
	memcpy(&field, pkt + s->l4_off + csum_off, sizeof(field));
	s->l4_sum = field + (uint64_t)(uint16_t)~checksum_u16((uint16_t)(len - s->l4_off));
	return 0;
}

static int parse_super_packet(struct gso_split *s, const struct virtio_net_hdr *vnet,
			      const uint8_t *pkt, uint32_t len)
{
	bool has_pseudo_sum = vnet->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
	struct ip_view ip;

	if (!ip_view(&ip, pkt, len))
		return -EINVAL;
	int r = ip.version == 4 ? parse_v4(s, pkt, len) : parse_v6(s, pkt, len, has_pseudo_sum);
	if (r < 0)
		return r;

	bool is_expected;
	switch (vnet->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		is_expected = s->version == 4 && s->protocol == IPPROTO_TCP;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		is_expected = s->version == 6 && s->protocol == IPPROTO_TCP;
		break;
	case GSO_UDP_L4:
		is_expected = s->protocol == IPPROTO_UDP;
		break;
	default:
		is_expected = false;
	}
	if (!is_expected)
		return -EINVAL;

	s->l4_len = l4_header_len(s->protocol, pkt + s->l4_off, len - s->l4_off);
	s->hdr_len = s->l4_off + s->l4_len;
	if (s->l4_len == 0 || s->hdr_len > GSO_MAX_HEADER)
		return -EINVAL;
	return has_pseudo_sum ? take_pseudo_sum(s, vnet, pkt, len) : 0;
}

/* Adds what all segments have in common to the L4 sum: all but TCP sequence and flags, the UDP length
 * and the checksum. */
static void take_l4(struct gso_split *s, const uint8_t *l4)
{
	s->l4_sum = checksum_add(s->l4_sum, l4, 4);
	if (s->protocol != IPPROTO_TCP)
		return;
	s->seq = load_be32(l4 + TCP_SEQ);
	s->tcp_flags = load_be16(l4 + TCP_DATA_OFF);
	s->l4_sum = checksum_add(s->l4_sum, l4 + TCP_ACK_SEQ, 4);
	s->l4_sum = checksum_add(s->l4_sum, l4 + TCP_WINDOW, 2);
	s->l4_sum = checksum_add(s->l4_sum, l4 + TCP_URGENT, s->l4_len - TCP_URGENT);
}

int gso_split_init(struct gso_split *s, const struct virtio_net_hdr *vnet, uint8_t *pkt,
		   uint32_t len)
{
	*s = (struct gso_split){ .n_segments = 1, .hdr = pkt, .payload = pkt, .payload_len = len };

	if (vnet->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
		s->mss = len;
		if (vnet->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
			return complete_checksum(vnet, pkt, len);
		return 0;
	}
	if (vnet->gso_size == 0 || len > GSO_MAX_LEN)
		return -EINVAL;
	int r = parse_super_packet(s, vnet, pkt, len);
	if (r < 0)
		return r;

	s->payload = pkt + s->hdr_len;
	s->payload_len = len - s->hdr_len;
	s->mss = vnet->gso_size;
	if (s->payload_len > s->mss)
		s->n_segments = (s->payload_len + s->mss - 1) / s->mss;
	take_l4(s, pkt + s->l4_off);
	return 0;
}

static void write_ip(const struct gso_split *s, uint32_t i, uint32_t total, uint8_t *hdr)
{
	if (s->version == 6) {
		store_be16(hdr + 4, (uint16_t)(total - IP_V6_HDR));
		return;
	}
	uint16_t id = (uint16_t)(s->ip_id + i);
	store_be16(hdr + 2, (uint16_t)total);
	store_be16(hdr + 4, id);
	checksum_store(hdr + 10, s->ip_sum + checksum_u16((uint16_t)total) + checksum_u16(id));
}

static void write_tcp(const struct gso_split *s, uint32_t i, const struct gso_segment *seg,
		      uint8_t *tcp)
{
	uint32_t seq = s->seq + i * s->mss;
	uint16_t flags = s->tcp_flags;
	uint64_t sum = s->l4_sum + checksum_u16((uint16_t)(s->l4_len + seg->payload_len));

	if (i > 0)
		flags &= (uint16_t)~TCP_CWR;
	if (i + 1 < s->n_segments)
		flags &= (uint16_t) ~(TCP_FIN | TCP_PSH);
	sum += checksum_u16((uint16_t)(seq >> 16)) + checksum_u16((uint16_t)seq);
	sum += checksum_u16(flags);

	store_be32(tcp + TCP_SEQ, seq);
	store_be16(tcp + TCP_DATA_OFF, flags);
	checksum_store(tcp + TCP_CSUM, checksum_add(sum, seg->payload, seg->payload_len));
}

static void write_udp(const struct gso_split *s, const struct gso_segment *seg, uint8_t *udp)
{
	uint16_t len = (uint16_t)(UDP_HDR + seg->payload_len);
	uint64_t sum = s->l4_sum + 2 * checksum_u16(len); /* in pseudo-header and header */

	store_be16(udp + UDP_LEN, len);
	checksum_store_udp(udp + UDP_CSUM, checksum_add(sum, seg->payload, seg->payload_len));
}

void gso_split_segment(const struct gso_split *s, uint32_t i, struct gso_segment *ret, uint8_t *hdr)
{
	uint32_t off = i * s->mss;

	ret->payload = s->payload + off;
	ret->payload_len = i + 1 == s->n_segments ? s->payload_len - off : s->mss;
	if (s->hdr_len == 0)
		return;

	/* The sums come from what gso_split_init() kept, never from reading @hdr back: small stores
	 * followed by wide loads would stall. */
	memcpy(hdr, s->hdr, s->hdr_len);
	write_ip(s, i, s->hdr_len + ret->payload_len, hdr);
	if (s->protocol == IPPROTO_TCP)
		write_tcp(s, i, ret, hdr + s->l4_off);
	else
		write_udp(s, ret, hdr + s->l4_off);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Coalescing of decrypted packets. A super-packet is written where its first packet stood; a packet
 * that may not be merged closes its flow, so that nothing later can join in front of it. */
#include "packet/gro.h"

#include <netinet/in.h>
#include <string.h>

#include "base/bytes.h"
#include "base/macro.h"
#include "packet/checksum.h"
#include "packet/gso.h"
#include "packet/ip.h"
#include "packet/l4.h"

enum verdict {
	PASS,      /* belongs to no flow of ours */
	BARRIER,   /* of some flow between these two addresses: a fragment, for example */
	ALONE,     /* of this flow, but can not be merged */
	MERGEABLE, /* as far as the packet itself says */
};

struct candidate {
	uint8_t *pkt, *l4;
	uint32_t len, payload_len;
	uint32_t hash; /* of addresses, ports and protocol */
	uint8_t l4_off, hdr_len, protocol;
};

static uint64_t load_u64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static uint32_t load_u32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

/* Just to find the flow fast: who makes collisions gains nothing, the table is tiny. */
static uint32_t flow_hash(const struct candidate *c)
{
	const uint64_t mix = UINT64_C(0x9e3779b97f4a7c15); /* 2^64 / golden ratio */
	uint64_t h = (load_u32(c->l4) + c->protocol) * mix;

	if (c->l4_off == IP_V4_MIN_HDR) {
		h ^= load_u64(c->pkt + 12);
	} else {
		h ^= load_u64(c->pkt + 8) ^ load_u64(c->pkt + 16) * mix;
		h = h * mix ^ load_u64(c->pkt + 24) ^ load_u64(c->pkt + 32) * mix;
	}
	return (uint32_t)((h * mix) >> 32);
}

/* --- What a packet is ------------------------------------------------------------------------- */

static enum verdict classify_tcp(struct candidate *c)
{
	uint32_t l4_len = c->len - c->l4_off;
	if (l4_len < TCP_MIN_HDR)
		return BARRIER;

	uint32_t tcp_len = tcp_hdr_len(c->l4);
	c->hash = flow_hash(c);
	if (tcp_len < TCP_MIN_HDR || tcp_len >= l4_len) /* malformed, or no payload */
		return ALONE;
	if (c->l4[TCP_FLAGS] & (TCP_SYN | TCP_RST | TCP_URG))
		return ALONE;
	c->hdr_len = (uint8_t)(c->l4_off + tcp_len);
	c->payload_len = l4_len - tcp_len;
	return MERGEABLE;
}

static enum verdict classify_udp(struct candidate *c)
{
	uint32_t l4_len = c->len - c->l4_off;
	if (l4_len < UDP_HDR)
		return BARRIER;

	c->hash = flow_hash(c);
	if (l4_len == UDP_HDR || load_be16(c->l4 + UDP_LEN) != l4_len)
		return ALONE;
	if (load_be16(c->l4 + UDP_CSUM) == 0) /* has none, but its segments would get one */
		return ALONE;
	c->hdr_len = (uint8_t)(c->l4_off + UDP_HDR);
	c->payload_len = l4_len - UDP_HDR;
	return MERGEABLE;
}

static enum verdict classify_l4(const struct gro *g, struct candidate *c, uint8_t l4_off)
{
	c->l4_off = l4_off;
	c->l4 = c->pkt + l4_off;
	if (c->protocol == IPPROTO_TCP)
		return g->tcp ? classify_tcp(c) : PASS;
	return g->udp ? classify_udp(c) : PASS;
}

static enum verdict classify_v4(const struct gro *g, struct candidate *c)
{
	c->protocol = c->pkt[9];
	if (c->protocol != IPPROTO_TCP && c->protocol != IPPROTO_UDP)
		return PASS;
	/* Options, fragments and the reserved bit: not even the ports are certain. */
	if (c->pkt[0] != 0x45 || (load_be16(c->pkt + 6) & ~IP_DF) != 0)
		return BARRIER;
	if (load_be16(c->pkt + 2) != c->len)
		return BARRIER;
	return classify_l4(g, c, IP_V4_MIN_HDR);
}

static enum verdict classify_v6(const struct gro *g, struct candidate *c)
{
	if (c->len < IP_V6_HDR)
		return PASS;
	c->protocol = c->pkt[6];
	if (c->protocol == IPPROTO_ICMPV6)
		return PASS;
	if (c->protocol != IPPROTO_TCP && c->protocol != IPPROTO_UDP)
		return BARRIER; /* extension headers, a fragment's among them */
	if (load_be16(c->pkt + 4) + (uint32_t)IP_V6_HDR != c->len)
		return BARRIER;
	return classify_l4(g, c, IP_V6_HDR);
}

static enum verdict classify(const struct gro *g, struct candidate *c)
{
	if (c->len < IP_V4_MIN_HDR || !(g->tcp || g->udp))
		return PASS;
	switch (c->pkt[0] >> 4) {
	case 4:
		return classify_v4(g, c);
	case 6:
		return classify_v6(g, c);
	default:
		return PASS;
	}
}

/* --- Flows ------------------------------------------------------------------------------------ */

static bool is_same_flow(const struct gro *g, uint32_t head, const struct candidate *c)
{
	const struct gro_super *s = &g->super[head];
	const uint8_t *pkt = g->packet[head].data;

	if (s->protocol != c->protocol || s->l4_off != c->l4_off)
		return false;
	/* Addresses and ports are adjacent when there are no options. */
	if (s->l4_off == IP_V4_MIN_HDR)
		return memcmp(pkt + 12, c->pkt + 12, 12) == 0;
	return memcmp(pkt + 8, c->pkt + 8, 36) == 0;
}

/* Index of the candidate's open flow; n_flows = none. */
static uint32_t flow_find(const struct gro *g, const struct candidate *c)
{
	uint32_t i;

	for (i = 0; i < g->n_flows; i++)
		if (g->flow_hash[i] == c->hash && is_same_flow(g, g->flow[i], c))
			break;
	return i;
}

static void flow_close(struct gro *g, uint32_t i)
{
	uint32_t last = --g->n_flows;

	g->flow[i] = g->flow[last];
	g->flow_hash[i] = g->flow_hash[last];
}

/* Closes all flows between the packet's two addresses, whatever their ports. */
static void close_by_address(struct gro *g, const struct candidate *c)
{
	bool is_v4 = c->pkt[0] >> 4 == 4;
	uint32_t l4_off = is_v4 ? IP_V4_MIN_HDR : IP_V6_HDR;
	uint32_t addrs_off = is_v4 ? 12 : 8;

	for (uint32_t i = g->n_flows; i-- > 0;) {
		uint32_t head = g->flow[i];
		if (g->super[head].l4_off == l4_off &&
		    memcmp(g->packet[head].data + addrs_off, c->pkt + addrs_off,
			   l4_off - addrs_off) == 0)
			flow_close(g, i);
	}
}

static bool ends_super_packet(const struct candidate *c)
{
	return c->protocol == IPPROTO_TCP && (c->l4[TCP_FLAGS] & (TCP_PSH | TCP_FIN));
}

/* Makes the candidate, packet @idx, the first of a super-packet, in slot @i (n_flows = a new one). */
static void flow_open(struct gro *g, uint32_t i, const struct candidate *c, uint32_t idx)
{
	struct gro_super *s = &g->super[idx];

	if (i == GRO_MAX_FLOWS) {
		i = g->next_victim;
		g->next_victim = (i + 1) % GRO_MAX_FLOWS;
	} else if (i == g->n_flows) {
		g->n_flows++;
	}
	g->flow[i] = (uint16_t)idx;
	g->flow_hash[i] = c->hash;

	s->mss = (uint16_t)c->payload_len;
	s->l4_off = c->l4_off;
	s->hdr_len = c->hdr_len;
	s->protocol = c->protocol;
	s->is_verified = false;
	if (c->l4_off == IP_V4_MIN_HDR)
		s->ip_id = load_be16(c->pkt + 4);
	if (c->protocol == IPPROTO_TCP)
		s->next_seq = load_be32(c->l4 + TCP_SEQ) + c->payload_len;
}

/* --- May it join? ----------------------------------------------------------------------------- */

/* RFC 791: ids count up. With DF they mean nothing (RFC 6864) and some systems leave them alone. */
static bool may_follow_id(const struct gro_super *s, const struct candidate *c)
{
	uint16_t step = (uint16_t)(load_be16(c->pkt + 4) - s->ip_id);

	if (s->n_segments > 1)
		return step == s->id_step;
	return step == 1 || (step == 0 && (load_be16(c->pkt + 6) & IP_DF));
}

static bool is_same_ip(const struct gro_super *s, const uint8_t *first, const struct candidate *c)
{
	if (s->l4_off == IP_V6_HDR) /* traffic class, flow label; hop limit */
		return load_u32(first) == load_u32(c->pkt) && first[7] == c->pkt[7];
	/* TOS; fragment word; TTL */
	return first[1] == c->pkt[1] && memcmp(first + 6, c->pkt + 6, 3) == 0 &&
	       may_follow_id(s, c);
}

static bool is_same_tcp(const struct gro_super *s, const uint8_t *first, const struct candidate *c)
{
	const uint8_t *tcp = c->l4;
	uint8_t changed = first[TCP_FLAGS] ^ tcp[TCP_FLAGS];

	/* Of a split super-packet only the first segment has CWR, only the last FIN and PSH. */
	if ((tcp[TCP_FLAGS] & TCP_CWR) || (changed & ~(TCP_CWR | TCP_FIN | TCP_PSH)))
		return false;
	if (load_be32(tcp + TCP_SEQ) != s->next_seq)
		return false;
	if (load_u32(first + TCP_ACK_SEQ) != load_u32(tcp + TCP_ACK_SEQ) ||
	    first[TCP_DATA_OFF] != tcp[TCP_DATA_OFF] ||
	    memcmp(first + TCP_WINDOW, tcp + TCP_WINDOW, 2) != 0)
		return false;
	/* Urgent pointer and options; the data offset said that both have as many. */
	return memcmp(first + TCP_URGENT, tcp + TCP_URGENT, tcp_hdr_len(tcp) - TCP_URGENT) == 0;
}

static bool may_join(const struct gro_super *s, const uint8_t *first, const struct candidate *c)
{
	if (c->payload_len > s->mss || s->n_segments == GRO_MAX_SEGMENTS ||
	    s->total_len + c->payload_len > GRO_MAX_LEN)
		return false;
	if (!is_same_ip(s, first, c))
		return false;
	return s->protocol == IPPROTO_UDP || is_same_tcp(s, first + s->l4_off, c);
}

/* True if all checksums are right, and are what splitting would compute: 0xffff is as right as 0 but
 * nobody computes it, except that UDP must. */
static bool verify(const struct gro_super *s, const uint8_t *pkt, uint32_t len)
{
	static const uint8_t not_computed[2] = { 0xff, 0xff };
	const uint8_t *l4 = pkt + s->l4_off;
	uint32_t l4_len = len - s->l4_off;
	uint64_t pseudo;

	if (s->l4_off == IP_V4_MIN_HDR) {
		if (checksum_fold(checksum_add(0, pkt, IP_V4_MIN_HDR)) != 0xffff ||
		    memcmp(pkt + 10, not_computed, 2) == 0)
			return false;
		pseudo = checksum_pseudo_v4(pkt + 12, s->protocol, l4_len);
	} else {
		pseudo = checksum_pseudo_v6(pkt + 8, s->protocol, l4_len);
	}
	if (s->protocol == IPPROTO_TCP && memcmp(l4 + TCP_CSUM, not_computed, 2) == 0)
		return false;
	return checksum_fold(checksum_add(pseudo, l4, l4_len)) == 0xffff;
}

static void join(struct gro *g, struct gro_super *s, const struct candidate *c, uint32_t idx)
{
	g->packet[s->tail].next = idx;
	g->super[idx].n_segments = 0;
	s->tail = (uint16_t)idx;
	s->n_segments++;
	s->total_len += c->payload_len;
	if (c->l4_off == IP_V4_MIN_HDR) {
		uint16_t id = load_be16(c->pkt + 4);
		s->id_step = (uint8_t)(id - s->ip_id);
		s->ip_id = id;
	}
	s->next_seq += c->payload_len;
}

/* --- Interface -------------------------------------------------------------------------------- */

void gro_init(struct gro *g, bool tcp, bool udp)
{
	g->tcp = tcp;
	g->udp = udp;
	gro_begin(g);
}

void gro_begin(struct gro *g)
{
	g->n_packets = 0;
	g->n_flows = 0;
	g->next_victim = 0;
	g->n_finished = 0;
	g->n_iov = 0;
	g->n_writes = 0;
}

/* Merges the candidate, packet @idx, into its flow, or begins a new super-packet with it. */
static void merge(struct gro *g, const struct candidate *c, uint32_t idx)
{
	uint32_t i = flow_find(g, c);

	if (i < g->n_flows) {
		uint32_t head = g->flow[i];
		struct gro_super *s = &g->super[head];
		struct gro_packet *first = &g->packet[head];

		if (may_join(s, first->data, c)) {
			if (!s->is_verified)
				s->is_verified = verify(s, first->data, first->len);
			if (s->is_verified && verify(s, c->pkt, c->len)) {
				join(g, s, c, idx);
				if (c->payload_len < s->mss || ends_super_packet(c))
					flow_close(g, i);
				return;
			}
		}
	}
	if (!ends_super_packet(c))
		flow_open(g, i, c, idx);
	else if (i < g->n_flows)
		flow_close(g, i);
}

bool gro_add(struct gro *g, uint8_t *pkt, uint32_t len)
{
	if (g->n_packets == GRO_MAX_PACKETS)
		return false;

	uint32_t idx = g->n_packets++;
	struct candidate c = { .pkt = pkt, .len = len };
	uint32_t i;

	g->packet[idx] = (struct gro_packet){ .data = pkt, .len = len };
	g->super[idx].total_len = len;
	g->super[idx].n_segments = 1;
	g->super[idx].tail = (uint16_t)idx;

	switch (classify(g, &c)) {
	case PASS:
		break;
	case BARRIER:
		close_by_address(g, &c);
		break;
	case ALONE:
		i = flow_find(g, &c);
		if (i < g->n_flows)
			flow_close(g, i);
		break;
	case MERGEABLE:
		merge(g, &c, idx);
		break;
	}
	return true;
}

/* Makes the first packet's header that of the whole super-packet. The L4 checksum becomes the sum of
 * the pseudo-header: whoever needs more completes it. */
static void rewrite_header(const struct gro *g, const struct gro_super *s, uint8_t *pkt,
			   struct virtio_net_hdr *vnet)
{
	uint8_t *l4 = pkt + s->l4_off;
	uint32_t l4_len = s->total_len - s->l4_off;
	bool is_v4 = s->l4_off == IP_V4_MIN_HDR;
	uint64_t pseudo;

	if (is_v4) {
		store_be16(pkt + 2, (uint16_t)s->total_len);
		memset(pkt + 10, 0, 2);
		checksum_store(pkt + 10, checksum_add(0, pkt, IP_V4_MIN_HDR));
		pseudo = checksum_pseudo_v4(pkt + 12, s->protocol, l4_len);
	} else {
		store_be16(pkt + 4, (uint16_t)l4_len);
		pseudo = checksum_pseudo_v6(pkt + 8, s->protocol, l4_len);
	}
	uint16_t sum = checksum_fold(pseudo);

	*vnet = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					 .hdr_len = s->hdr_len,
					 .gso_size = s->mss,
					 .csum_start = s->l4_off };
	if (s->protocol == IPPROTO_UDP) {
		store_be16(l4 + UDP_LEN, (uint16_t)l4_len);
		memcpy(l4 + UDP_CSUM, &sum, sizeof(sum));
		vnet->csum_offset = UDP_CSUM;
		vnet->gso_type = GSO_UDP_L4;
		return;
	}
	const uint8_t *last = g->packet[s->tail].data + s->l4_off;
	l4[TCP_FLAGS] |= last[TCP_FLAGS] & (TCP_FIN | TCP_PSH);
	memcpy(l4 + TCP_CSUM, &sum, sizeof(sum));
	vnet->csum_offset = TCP_CSUM;
	vnet->gso_type = is_v4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
	if (l4[TCP_FLAGS] & TCP_CWR)
		vnet->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
}

static void finish_write(struct gro *g, uint32_t head, struct gro_write *ret)
{
	const struct gro_super *s = &g->super[head];
	struct gro_packet *p = &g->packet[head];
	struct virtio_net_hdr *vnet = &g->vnet[g->n_writes++];
	struct iovec *iov = &g->iov[g->n_iov];

	if (s->n_segments > 1)
		rewrite_header(g, s, p->data, vnet);
	else
		*vnet = (struct virtio_net_hdr){ 0 };

	*ret = (struct gro_write){ .iov = iov,
				   .n_iov = s->n_segments + 1U,
				   .len = (uint32_t)sizeof(*vnet) + s->total_len,
				   .n_segments = s->n_segments };
	*iov++ = (struct iovec){ vnet, sizeof(*vnet) };
	*iov++ = (struct iovec){ p->data, p->len };
	for (uint32_t i = 1; i < s->n_segments; i++) {
		p = &g->packet[p->next];
		*iov++ = (struct iovec){ p->data + s->hdr_len, p->len - s->hdr_len };
	}
	g->n_iov += ret->n_iov;
}

uint32_t gro_finish(struct gro *g, struct gro_write *ret, uint32_t n)
{
	uint32_t n_ret = 0;

	for (; g->n_finished < g->n_packets && n_ret < n; g->n_finished++)
		if (g->super[g->n_finished].n_segments > 0)
			finish_write(g, g->n_finished, &ret[n_ret++]);
	return n_ret;
}

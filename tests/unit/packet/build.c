/* SPDX-License-Identifier: MPL-2.0 */
/* Test packets and the slow reference. */
#include "unit/packet/build.h"

#include <stdlib.h>
#include <string.h>

uint32_t rng_next(struct rng *r)
{
	r->state ^= r->state >> 12;
	r->state ^= r->state << 25;
	r->state ^= r->state >> 27;
	return (uint32_t)((r->state * UINT64_C(2685821657736338717)) >> 32);
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
	return rng_next(r) % n;
}

bool rng_one_in(struct rng *r, uint32_t n)
{
	return rng_below(r, n) == 0;
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static uint32_t add_bytes(uint32_t sum, const uint8_t *data, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++) {
		sum += i % 2 == 0 ? (uint32_t)data[i] << 8 : data[i];
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

uint16_t ref_sum(const uint8_t *data, uint32_t len)
{
	return (uint16_t)add_bytes(0, data, len);
}

uint16_t ref_pseudo_sum(const uint8_t *pkt, uint32_t len, uint32_t off, uint8_t protocol)
{
	uint8_t tail[8] = { 0 };
	uint32_t sum = pkt[0] >> 4 == 4 ? add_bytes(0, pkt + 12, 8) : add_bytes(0, pkt + 8, 32);

	put32(tail, len - off);
	tail[7] = protocol;
	return (uint16_t)add_bytes(sum, tail, 8);
}

uint16_t ref_l4_sum(const uint8_t *pkt, uint32_t len, uint32_t off, uint8_t protocol)
{
	return (uint16_t)add_bytes(ref_pseudo_sum(pkt, len, off, protocol), pkt + off, len - off);
}

static void fix_l4(uint8_t *pkt, uint32_t len, uint32_t off, uint8_t protocol)
{
	uint8_t *field = pkt + off + (protocol == TCP ? 16 : 6);

	put16(field, 0);
	uint16_t v = (uint16_t)~ref_l4_sum(pkt, len, off, protocol);
	put16(field, protocol == UDP && v == 0 ? 0xffff : v);
}

static void fix_ip(uint8_t *pkt)
{
	uint32_t hdr_len = (pkt[0] & 15U) * 4;

	if (pkt[0] >> 4 != 4)
		return;
	put16(pkt + 10, 0);
	put16(pkt + 10, (uint16_t)~ref_sum(pkt, hdr_len));
}

void ref_fix_checksums(uint8_t *pkt, uint32_t len)
{
	bool is_v4 = pkt[0] >> 4 == 4;

	fix_ip(pkt);
	fix_l4(pkt, len, is_v4 ? (pkt[0] & 15U) * 4 : 40, is_v4 ? pkt[9] : pkt[6]);
}

bool ref_is_valid(const uint8_t *pkt, uint32_t len)
{
	bool is_v4 = pkt[0] >> 4 == 4;
	uint32_t off = is_v4 ? (pkt[0] & 15U) * 4 : 40;

	if (is_v4 && ref_sum(pkt, off) != 0xffff)
		return false;
	return ref_l4_sum(pkt, len, off, is_v4 ? pkt[9] : pkt[6]) == 0xffff;
}

uint32_t build_l4_off(const struct spec *s)
{
	if (s->version == 4)
		return 20 + s->n_ip_options * 4U;
	return 40 + s->n_ip_options * 8U + (s->frag != 0 ? 8 : 0);
}

uint32_t build_hdr_len(const struct spec *s)
{
	return build_l4_off(s) + (s->protocol == TCP ? 20 + s->n_tcp_options * 4U : 8);
}

static void build_v4(uint8_t *out, const struct spec *s, uint32_t len)
{
	out[0] = (uint8_t)(0x45 + s->n_ip_options);
	out[1] = s->tos;
	put16(out + 2, len);
	put16(out + 4, s->ip_id);
	put16(out + 6, s->frag);
	out[8] = s->ttl;
	out[9] = s->protocol;
	memcpy(out + 12, (const uint8_t[]){ 10, 1, 2, s->host, 192, 168, 9, s->host }, 8);
	memset(out + 20, 1, s->n_ip_options * 4U); /* no operation */
	fix_ip(out);
}

static void build_v6(uint8_t *out, const struct spec *s, uint32_t len)
{
	uint8_t *next = out + 6;
	uint8_t *at = out + 40;

	put32(out, 6U << 28 | (uint32_t)s->tos << 20 | s->flow_label);
	put16(out + 4, len - 40);
	out[7] = s->ttl;
	memset(out + 8, 0x20, 32);
	out[23] = s->host;
	out[39] = s->host;
	for (unsigned i = 0; i < s->n_ip_options; i++, at += 8) {
		*next = 60;
		next = at;
		memcpy(at, (const uint8_t[]){ 0, 0, 1, 4, 0, 0, 0, 0 }, 8); /* PadN */
	}
	if (s->frag != 0) {
		*next = 44;
		next = at;
		memset(at, 0, 8);
		put16(at + 2, s->frag);
		put32(at + 4, s->ip_id);
	}
	*next = s->protocol;
}

static void build_l4(uint8_t *l4, const struct spec *s)
{
	put16(l4, s->sport);
	put16(l4 + 2, s->dport);
	if (s->protocol == UDP) {
		put16(l4 + 4, 8 + s->payload_len);
		return;
	}
	put32(l4 + 4, s->seq);
	put32(l4 + 8, s->ack);
	l4[12] = (uint8_t)((5 + s->n_tcp_options) << 4 | s->reserved);
	l4[13] = s->flags;
	put16(l4 + 14, s->window);
	put16(l4 + 18, s->urgent);
	memset(l4 + 20, s->option_fill, s->n_tcp_options * 4U);
}

uint32_t build(uint8_t *out, const struct spec *s)
{
	uint32_t off = build_l4_off(s);
	uint32_t hdr_len = build_hdr_len(s);
	uint32_t len = hdr_len + s->payload_len;
	struct rng r = { s->payload_seed * UINT64_C(0x9e3779b97f4a7c15) + 1 };

	memset(out, 0, hdr_len);
	if (s->version == 4)
		build_v4(out, s, len);
	else
		build_v6(out, s, len);
	build_l4(out + off, s);
	for (uint32_t i = 0; i < s->payload_len; i++)
		out[hdr_len + i] = (uint8_t)rng_next(&r);
	fix_l4(out, len, off, s->protocol);
	if (s->protocol == UDP && s->no_udp_checksum)
		put16(out + off + 6, 0);
	return len;
}

struct packet packet_copy(const uint8_t *data, uint32_t len)
{
	struct packet p = { malloc(len), len };

	if (!p.data)
		abort();
	memcpy(p.data, data, len);
	return p;
}

void packet_free(struct packet *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		free(p[i].data);
}

void make_super(struct virtio_net_hdr *ret, uint8_t *pkt, uint32_t len, const struct spec *s,
		uint16_t mss)
{
	uint32_t off = build_l4_off(s);

	*ret = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					.hdr_len = (uint16_t)build_hdr_len(s),
					.gso_size = mss,
					.csum_start = (uint16_t)off,
					.csum_offset = s->protocol == TCP ? 16 : 6 };
	if (s->protocol == UDP)
		ret->gso_type = 5; /* VIRTIO_NET_HDR_GSO_UDP_L4 */
	else
		ret->gso_type = s->version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4
						: VIRTIO_NET_HDR_GSO_TCPV6;
	if (s->protocol == TCP && (s->flags & CWR))
		ret->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	put16(pkt + off + ret->csum_offset, ref_pseudo_sum(pkt, len, off, s->protocol));
}

uint32_t ref_split(struct packet *ret, uint32_t n, const struct spec *s, uint32_t mss)
{
	static uint8_t whole[ROOM], one[ROOM];
	uint32_t hdr_len = build_hdr_len(s);
	uint32_t off = build_l4_off(s);
	uint32_t n_ret = 0;

	build(whole, s);
	for (uint32_t at = 0; n_ret < n && (at < s->payload_len || at == 0); at += mss) {
		bool is_last = s->payload_len - at <= mss;
		struct spec part = *s;

		part.payload_len = is_last ? s->payload_len - at : mss;
		part.ip_id = (uint16_t)(s->ip_id + n_ret);
		part.seq = s->seq + at;
		if (n_ret > 0)
			part.flags &= (uint8_t)~CWR;
		if (!is_last)
			part.flags &= (uint8_t) ~(FIN | PSH);
		uint32_t len = build(one, &part);
		memcpy(one + hdr_len, whole + hdr_len + at, part.payload_len);
		fix_l4(one, len, off, s->protocol);
		ret[n_ret++] = packet_copy(one, len);
	}
	return n_ret;
}

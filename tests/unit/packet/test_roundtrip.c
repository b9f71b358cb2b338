/* SPDX-License-Identifier: MPL-2.0 */
/* split(coalesce(packets)) == packets and coalesce(split(super)) == super, byte for byte, over random
 * traffic; and the order within each flow. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/macro.h"
#include "packet/gro.h"
#include "packet/gso.h"
#include "unit/packet/build.h"

enum {
	MAX_FLOWS = 24, /* more than the table holds */
	N_ROUNDS = 1500,
};

struct flow {
	struct spec next;
	uint32_t mss;
	bool has_fixed_id;
	bool is_odd; /* its packets are often out of the ordinary */
};

struct sent {
	uint8_t *data; /* as it went in; gro may scribble on its own copy */
	uint8_t *copy;
	uint32_t len;
	uint32_t flow;
	bool is_back; /* came out again */
};

static struct gro gro;
static struct gro_write writes[GRO_MAX_PACKETS];
static struct sent sent[GRO_MAX_PACKETS];
static uint8_t buf[ROOM];
static struct rng rng;
static uint64_t n_merged, n_single; /* to see that the test tests something */

/* --- Random traffic ----------------------------------------------------------------------------- */

static void flow_begin(struct flow *f, bool may_fix_ids)
{
	static const uint16_t mss[] = { 1, 7, 64, 88, 100, 536, 1001, 1368, 1372 };
	struct spec *s = &f->next;

	*s = (struct spec){ .version = rng_one_in(&rng, 2) ? 4 : 6,
			    .protocol = rng_one_in(&rng, 2) ? TCP : UDP,
			    .host = (uint8_t)rng_below(&rng, 3),
			    .tos = (uint8_t)rng_below(&rng, 4),
			    .ttl = (uint8_t)(1 + rng_below(&rng, 255)),
			    .ip_id = (uint16_t)rng_next(&rng),
			    .flow_label = rng_below(&rng, 1 << 20),
			    .sport = (uint16_t)rng_below(&rng, 4),
			    .dport = (uint16_t)rng_next(&rng),
			    .seq = rng_next(&rng),
			    .ack = rng_next(&rng),
			    .flags = ACK,
			    .window = (uint16_t)rng_next(&rng),
			    .option_fill = (uint8_t)rng_next(&rng),
			    .payload_seed = rng_next(&rng) };
	f->mss = mss[rng_below(&rng, ARRAY_SIZE(mss))];
	f->is_odd = rng_one_in(&rng, 3);
	if (rng_one_in(&rng, 2))
		s->n_tcp_options = rng_one_in(&rng, 2) ? 3 : (uint8_t)rng_below(&rng, 11);
	if (rng_one_in(&rng, 4))
		s->flags |= ECE;
	if (s->version == 4 && rng_one_in(&rng, 2))
		s->frag = 0x4000;
	f->has_fixed_id = may_fix_ids && s->frag == 0x4000 && rng_one_in(&rng, 2);
	if (rng_one_in(&rng, 12))
		s->no_udp_checksum = true;
}

/* One thing or another that keeps a packet from being merged, or ends a run. */
static void make_odd(struct spec *s, struct flow *f)
{
	switch (rng_below(&rng, 20)) {
	case 0:
		s->flags |= PSH;
		break;
	case 1:
		s->flags |= FIN;
		break;
	case 2:
		s->flags |= CWR;
		break;
	case 3:
		s->flags = (uint8_t)rng_next(&rng);
		break;
	case 4:
		s->seq += rng_below(&rng, 3) - 1U;
		break;
	case 5:
		f->next.ack += 1000; /* from now on */
		break;
	case 6:
		f->next.window++;
		break;
	case 7:
		f->next.option_fill++;
		break;
	case 8:
		s->tos ^= 3;
		break;
	case 9:
		s->ttl ^= 1;
		break;
	case 10:
		s->ip_id = (uint16_t)(s->ip_id + 2); /* not 1: the next one has that */
		break;
	case 11:
		s->n_ip_options = 1;
		break;
	case 12:
		s->frag = s->version == 4 ? 0x2000 : 1;
		break;
	case 13:
		s->frag = 0x0008;
		break;
	case 14:
		s->no_udp_checksum = true;
		break;
	case 15:
		s->payload_len = 0;
		break;
	case 16:
		s->urgent = 1;
		break;
	case 17:
		s->reserved = (uint8_t)rng_below(&rng, 16);
		break;
	case 18:
		s->frag ^= s->version == 4 ? 0x4000 : 0;
		break;
	default:
		s->flow_label ^= 1;
		break;
	}
}

static uint32_t next_packet(struct flow *f)
{
	struct spec s = f->next;

	s.payload_len = f->mss;
	if (rng_one_in(&rng, 12))
		s.payload_len = rng_below(&rng, f->mss + 20);
	if (rng_one_in(&rng, f->is_odd ? 4 : 40))
		make_odd(&s, f);
	uint32_t len = build(buf, &s);
	if (rng_one_in(&rng, 60)) { /* damage, but behind the ports: it must stay in its flow */
		uint32_t from = build_l4_off(&s) + (s.protocol == TCP ? 16 : 6);
		buf[from + rng_below(&rng, len - from)] ^= (uint8_t)(1 + rng_below(&rng, 255));
	}

	f->next.seq += s.payload_len;
	f->next.payload_seed++;
	if (!f->has_fixed_id)
		f->next.ip_id++;
	return len;
}

/* --- Comparison --------------------------------------------------------------------------------- */

/* A segment of an IPv4 super-packet whose id stood still has another one now, which with DF is all
 * the same (RFC 6864). */
static bool is_same(const struct sent *s, const uint8_t *pkt, uint32_t len, bool may_fix_ids)
{
	if (s->len != len)
		return false;
	if (memcmp(s->data, pkt, len) == 0)
		return true;
	if (!may_fix_ids || pkt[0] != 0x45 || (pkt[6] & 0x40) == 0 || ref_sum(pkt, 20) != 0xffff)
		return false;
	return memcmp(s->data, pkt, 4) == 0 && memcmp(s->data + 6, pkt + 6, 4) == 0 &&
	       memcmp(s->data + 12, pkt + 12, len - 12) == 0;
}

/* @pkt came out: it must be a packet that went in, and no earlier one of its flow may be missing. */
static void check_out(uint32_t n, const uint8_t *pkt, uint32_t len, bool may_fix_ids)
{
	uint32_t i = 0;

	while (i < n && (sent[i].is_back || !is_same(&sent[i], pkt, len, may_fix_ids)))
		i++;
	cr_assert(lt(u32, i, n), "a packet of %u bytes that nobody sent", len);
	sent[i].is_back = true;
	for (uint32_t k = 0; k < i; k++)
		if (sent[k].flow == sent[i].flow)
			cr_assert(sent[k].is_back, "packet %u overtook %u", i, k);
}

/* The header of a super-packet, as the kernel will look at it. */
static void check_super(const struct virtio_net_hdr *v, const uint8_t *pkt, uint32_t len)
{
	bool is_v4 = pkt[0] >> 4 == 4;
	uint32_t off = is_v4 ? 20 : 40;
	uint8_t protocol = is_v4 ? pkt[9] : pkt[6];
	uint16_t field = (uint16_t)(pkt[off + v->csum_offset] << 8 | pkt[off + v->csum_offset + 1]);

	cr_assert(eq(u8, v->flags, VIRTIO_NET_HDR_F_NEEDS_CSUM));
	cr_assert(eq(u16, v->csum_start, off));
	cr_assert(le(u32, len, 65535));
	cr_assert(eq(u32, (uint32_t)(is_v4 ? pkt[2] << 8 | pkt[3] : (pkt[4] << 8 | pkt[5]) + 40),
		     len));
	cr_assert(eq(u16, field, ref_pseudo_sum(pkt, len, off, protocol)));
	if (is_v4)
		cr_assert(eq(u16, ref_sum(pkt, 20), 0xffff));
	if (protocol == UDP)
		cr_assert(eq(u32, (uint32_t)(pkt[off + 4] << 8 | pkt[off + 5]), len - off));
}

/* Gathers a write into buf[], vnet header apart; returns its length. */
static uint32_t gather(const struct gro_write *w, struct virtio_net_hdr *ret)
{
	uint32_t len = 0;

	memcpy(ret, w->iov[0].iov_base, sizeof(*ret));
	for (uint32_t i = 1; i < w->n_iov; i++) {
		cr_assert(le(sz, len + w->iov[i].iov_len, sizeof(buf)));
		memcpy(buf + len, w->iov[i].iov_base, w->iov[i].iov_len);
		len += (uint32_t)w->iov[i].iov_len;
	}
	cr_assert(eq(u32, len + (uint32_t)sizeof(*ret), w->len));
	return len;
}

static void check_write(const struct gro_write *w, uint32_t n, bool may_fix_ids)
{
	static uint8_t out[ROOM];
	struct virtio_net_hdr v;
	struct gso_split s;
	uint32_t len = gather(w, &v);

	if (v.gso_type == VIRTIO_NET_HDR_GSO_NONE) {
		cr_assert(eq(u32, w->n_segments, 1));
		cr_assert(eq(u8, v.flags, 0));
		check_out(n, buf, len, may_fix_ids);
		n_single++;
		return;
	}
	check_super(&v, buf, len);
	cr_assert(eq(int, gso_split_init(&s, &v, buf, len), 0));
	cr_assert(eq(u32, s.n_segments, w->n_segments));
	cr_assert(eq(u32, s.hdr_len, v.hdr_len));
	for (uint32_t i = 0; i < s.n_segments; i++) {
		struct gso_segment seg;

		gso_split_segment(&s, i, &seg, out);
		memcpy(out + s.hdr_len, seg.payload, seg.payload_len);
		cr_assert(ref_is_valid(out, s.hdr_len + seg.payload_len));
		check_out(n, out, s.hdr_len + seg.payload_len, may_fix_ids);
		n_merged++;
	}
}

/* --- Properties --------------------------------------------------------------------------------- */

static void round_of_traffic(bool may_fix_ids)
{
	static struct flow flows[MAX_FLOWS];
	uint32_t n_flows = rng_one_in(&rng, 2) ? 1 : 1 + rng_below(&rng, MAX_FLOWS);
	uint32_t n = 1 + rng_below(&rng, GRO_MAX_PACKETS), current = 0;

	for (uint32_t i = 0; i < n_flows; i++)
		flow_begin(&flows[i], may_fix_ids);
	gro_begin(&gro);
	for (uint32_t i = 0; i < n; i++) {
		if (rng_one_in(&rng, 4))
			current = rng_below(&rng, n_flows);
		uint32_t len = next_packet(&flows[current]);
		sent[i] = (struct sent){ .data = packet_copy(buf, len).data,
					 .copy = packet_copy(buf, len).data,
					 .len = len,
					 .flow = current };
		cr_assert(gro_add(&gro, sent[i].copy, len));
	}

	uint32_t slice = 1 + rng_below(&rng, GRO_MAX_PACKETS);
	for (uint32_t got; (got = gro_finish(&gro, writes, slice)) > 0;)
		for (uint32_t i = 0; i < got; i++)
			check_write(&writes[i], n, may_fix_ids);
	for (uint32_t i = 0; i < n; i++) {
		cr_assert(sent[i].is_back, "packet %u of %u is lost", i, n);
		free(sent[i].data);
		free(sent[i].copy);
	}
}

Test(roundtrip, packets_survive_coalescing_and_splitting)
{
	rng.state = 4711;
	gro_init(&gro, true, true);
	for (unsigned i = 0; i < N_ROUNDS; i++)
		round_of_traffic(false);
	cr_assert(gt(u64, n_merged, N_ROUNDS * 10), "next to nothing was merged");
	cr_assert(gt(u64, n_single, N_ROUNDS * 5), "everything was merged");
}

Test(roundtrip, ids_that_stand_still_are_all_that_changes)
{
	rng.state = 4712;
	gro_init(&gro, true, true);
	for (unsigned i = 0; i < N_ROUNDS / 3; i++)
		round_of_traffic(true);
	cr_assert(gt(u64, n_merged, N_ROUNDS));
}

Test(roundtrip, with_one_protocol_switched_off)
{
	for (unsigned k = 0; k < 2; k++) {
		rng.state = 4713;
		gro_init(&gro, k == 0, k == 1);
		for (unsigned i = 0; i < N_ROUNDS / 6; i++)
			round_of_traffic(false);
	}
}

/* A super-packet as the kernel makes them: up to 64 segments, no SYN, RST or URG. */
static struct spec random_super(uint32_t *ret_mss)
{
	struct flow f;

	flow_begin(&f, false);
	struct spec s = f.next;
	uint32_t room = MIN(65535 - build_hdr_len(&s), f.mss * GRO_MAX_SEGMENTS);
	s.no_udp_checksum = false;
	s.flags = (uint8_t)rng_next(&rng) & (FIN | PSH | ACK | ECE | CWR);
	s.reserved = (uint8_t)rng_below(&rng, 16);
	s.urgent = (uint16_t)rng_next(&rng);
	s.payload_len = f.mss + 1 + rng_below(&rng, room);
	s.payload_len = MIN(s.payload_len, room);
	*ret_mss = f.mss;
	return s;
}

Test(roundtrip, super_packet_survives_splitting_and_coalescing)
{
	static uint8_t super[ROOM];

	rng.state = 4714;
	gro_init(&gro, true, true);
	for (unsigned round = 0; round < N_ROUNDS / 3; round++) {
		struct virtio_net_hdr in, out;
		struct gso_split split;
		uint32_t mss;
		struct spec s = random_super(&mss);
		uint32_t len = build(super, &s);

		make_super(&in, super, len, &s, (uint16_t)mss);
		cr_assert(eq(int, gso_split_init(&split, &in, super, len), 0));
		cr_assert(gt(u32, split.n_segments, 1));
		gro_begin(&gro);
		for (uint32_t i = 0; i < split.n_segments; i++) {
			struct gso_segment seg;

			sent[i].copy = malloc(split.hdr_len + mss);
			gso_split_segment(&split, i, &seg, sent[i].copy);
			memcpy(sent[i].copy + split.hdr_len, seg.payload, seg.payload_len);
			cr_assert(gro_add(&gro, sent[i].copy, split.hdr_len + seg.payload_len));
		}
		cr_assert(eq(u32, gro_finish(&gro, writes, GRO_MAX_PACKETS), 1));
		cr_assert(eq(u32, gather(&writes[0], &out), len));
		cr_assert(memcmp(buf, super, len) == 0, "round %u", round);
		cr_assert(memcmp(&out, &in, sizeof(in)) == 0, "round %u", round);
		for (uint32_t i = 0; i < split.n_segments; i++)
			free(sent[i].copy);
	}
}

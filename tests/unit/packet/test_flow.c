/* SPDX-License-Identifier: MPL-2.0 */
/* Packets of one flow have one number, whatever else is in them, or none. */
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/macro.h"
#include "packet/flow.h"
#include "unit/packet/build.h"

static uint8_t buf[ROOM];

static uint32_t id_of(struct spec s)
{
	uint32_t len = build(buf, &s);
	struct packet p = packet_copy(buf, len); /* a sanitizer sees every byte too far */
	uint32_t id = flow_id(p.data, p.len);

	packet_free(&p, 1);
	return id;
}

static struct spec spec(uint8_t version, uint8_t protocol)
{
	return (struct spec){ .version = version,
			      .protocol = protocol,
			      .host = 3,
			      .ttl = 64,
			      .sport = 1000,
			      .dport = 2000,
			      .flags = ACK,
			      .payload_len = 50 };
}

static const uint8_t kinds[][2] = { { 4, TCP }, { 4, UDP }, { 6, TCP }, { 6, UDP } };

Test(flow, same_for_all_packets_of_a_flow)
{
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct rng rng = { .state = 17 + k };
		struct spec first = spec(kinds[k][0], kinds[k][1]);
		uint32_t id = id_of(first);

		cr_assert(ne(u32, id, 0));
		for (unsigned i = 0; i < 1000; i++) {
			struct spec s = first;
			s.tos = (uint8_t)rng_next(&rng);
			s.ttl = (uint8_t)rng_next(&rng);
			s.ip_id = (uint16_t)rng_next(&rng);
			s.flow_label = rng_below(&rng, 1 << 20);
			s.seq = rng_next(&rng);
			s.ack = rng_next(&rng);
			s.flags = (uint8_t)rng_next(&rng);
			s.n_tcp_options = (uint8_t)rng_below(&rng, 11);
			s.n_ip_options = s.version == 4 ? (uint8_t)rng_below(&rng, 11) : 0;
			s.payload_len = rng_below(&rng, 3000);
			s.payload_seed = rng_next(&rng);
			s.no_udp_checksum = rng_one_in(&rng, 2);
			cr_assert(eq(u32, id_of(s), id), "kind %zu, packet %u", k, i);
		}
	}
}

Test(flow, differs_by_address_protocol_and_port)
{
	uint32_t seen[64], n = 0;

	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		for (unsigned i = 0; i < 8; i++) {
			struct spec s = spec(kinds[k][0], kinds[k][1]);
			s.host = (uint8_t)(s.host + (i & 1));
			s.sport = (uint16_t)(s.sport + (i >> 1 & 1));
			s.dport = (uint16_t)(s.dport + (i >> 2 & 1));
			seen[n] = id_of(s);
			for (uint32_t m = 0; m < n; m++)
				cr_assert(ne(u32, seen[m], seen[n]));
			n++;
		}
	}
}

Test(flow, of_a_fragment_is_not_certain)
{
	static const uint16_t v4[] = { 0x2000, 0x2001, 0x0001, 0x1fff };

	for (size_t i = 0; i < ARRAY_SIZE(v4); i++) {
		struct spec s = spec(4, UDP);
		s.frag = v4[i];
		cr_assert(eq(u32, id_of(s), 0));
	}
	struct spec s = spec(4, UDP);
	s.frag = 0x4000; /* DF */
	cr_assert(ne(u32, id_of(s), 0));
	s = spec(6, UDP);
	s.frag = 1;
	cr_assert(eq(u32, id_of(s), 0));
}

Test(flow, behind_extension_headers_is_not_certain)
{
	struct spec s = spec(6, TCP);

	s.n_ip_options = 1;
	cr_assert(eq(u32, id_of(s), 0));
	(void)build(buf, &(struct spec){ .version = 6, .protocol = UDP });
	static const uint8_t headers[] = { 0, 43, 44, 51, 60, 135, 139, 140 };
	for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
		buf[6] = headers[i];
		cr_assert(eq(u32, flow_id(buf, 48), 0));
	}
}

Test(flow, without_ports_it_is_the_addresses_and_the_protocol)
{
	for (uint8_t version = 4; version <= 6; version += 2) {
		uint32_t len = build(buf, &(struct spec){ .version = version, .protocol = UDP });
		uint32_t last = 0;
		static const uint8_t protocols[] = { 1, 41, 47, 50, 58, 132, 253 };
		for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
			buf[version == 4 ? 9 : 6] = protocols[i];
			uint32_t id = flow_id(buf, len);
			cr_assert(ne(u32, id, 0));
			cr_assert(ne(u32, id, last));
			buf[len - 1] ^= 1;
			cr_assert(eq(u32, flow_id(buf, len), id));
			last = id;
		}
	}
}

Test(flow, cut_off_in_front_of_the_ports)
{
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct spec s = spec(kinds[k][0], kinds[k][1]);
		uint32_t l4_off = build_l4_off(&s);
		(void)build(buf, &s);
		for (uint32_t len = l4_off; len < l4_off + 6; len++) {
			struct packet p = packet_copy(buf, len);
			cr_assert(eq(int, flow_id(p.data, len) != 0, len >= l4_off + 4));
			packet_free(&p, 1);
		}
	}
	struct spec s = spec(4, UDP);
	(void)build(buf, &s);
	buf[0] = 0x44; /* a header that is shorter than a header */
	cr_assert(eq(u32, flow_id(buf, 40), 0));
	buf[0] = 0x4f; /* options beyond the end */
	cr_assert(eq(u32, flow_id(buf, 40), 0));
}

/* SPDX-License-Identifier: MPL-2.0 */
/* A burst of test packets. */
#include "unit/packet/burst.h"

#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/macro.h"

struct gro gro;
struct packet packets[GRO_MAX_PACKETS];
static uint32_t n_packets;
struct gro_write writes[GRO_MAX_PACKETS];
uint8_t built[ROOM];

void begin(bool tcp, bool udp)
{
	gro_init(&gro, tcp, udp);
	n_packets = 0;
}

struct packet *add_bytes(const uint8_t *data, uint32_t len)
{
	struct packet *p = &packets[n_packets++];

	*p = packet_copy(data, len);
	cr_assert(gro_add(&gro, p->data, p->len));
	return p;
}

struct packet *add(const struct spec *s)
{
	return add_bytes(built, build(built, s));
}

uint32_t finish(void)
{
	uint32_t n = gro_finish(&gro, writes, ARRAY_SIZE(writes));

	cr_assert(eq(u32, gro_finish(&gro, writes, ARRAY_SIZE(writes)), 0));
	return n;
}

void end(void)
{
	packet_free(packets, n_packets);
}

void expect_write(uint32_t i, uint32_t n)
{
	cr_expect(eq(u32, writes[i].n_segments, n), "write %u", i);
	cr_expect(eq(u32, writes[i].n_iov, n + 1), "write %u", i);
}

struct spec tcp(void)
{
	return (struct spec){ .version = 4,
			      .protocol = TCP,
			      .host = 3,
			      .ttl = 64,
			      .frag = 0x4000,
			      .ip_id = 100,
			      .sport = 443,
			      .dport = 50000,
			      .seq = 1000000,
			      .ack = 77,
			      .flags = ACK,
			      .window = 501,
			      .n_tcp_options = 3,
			      .option_fill = 1,
			      .payload_len = MSS };
}

struct spec udp(void)
{
	struct spec s = tcp();

	s.protocol = UDP;
	return s;
}

struct spec as_v6(struct spec s)
{
	s.version = 6;
	s.frag = 0;
	s.flow_label = 0x12345;
	return s;
}

struct spec following(struct spec s)
{
	s.seq += s.payload_len;
	s.ip_id++;
	s.payload_seed++;
	return s;
}

struct virtio_net_hdr vnet_of(uint32_t i)
{
	struct virtio_net_hdr v;

	cr_assert(eq(sz, writes[i].iov[0].iov_len, sizeof(v)));
	memcpy(&v, writes[i].iov[0].iov_base, sizeof(v));
	return v;
}

void add_run(struct spec s, unsigned n)
{
	for (unsigned i = 0; i < n; i++, s = following(s))
		add(&s);
}

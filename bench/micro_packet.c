/* SPDX-License-Identifier: MPL-2.0 */
/* What packet/ costs per packet: splitting and coalescing a full TCP super-packet, tiny datagrams that
 * merge and that do not, pure acknowledgements, and the checksum. Prints the best of several rounds;
 * everything is in cache, as in the pipeline. */
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/macro.h"
#include "packet/checksum.h"
#include "packet/gro.h"
#include "packet/gso.h"

enum {
	N_SEGMENTS = 45,
	MSS = 1368,
	TCP_HDR_LEN = 52, /* IPv4, TCP with a timestamp */
	SUPER_LEN = TCP_HDR_LEN + N_SEGMENTS * MSS,
	N_SMALL = 64,
	SMALL_LEN = 92, /* 64 bytes of payload */
	STRIDE = 1536,
	N_ROUNDS = 9,
	N_BURSTS = 2000, /* per round */
};

static uint8_t super[SUPER_LEN];
static struct virtio_net_hdr super_vnet;
static uint8_t fresh[N_SMALL][STRIDE], work[N_SMALL][STRIDE]; /* gro rewrites headers */
static uint32_t lens[N_SMALL];
static struct gro gro;
static struct gro_write writes[GRO_MAX_PACKETS];
static volatile uint64_t sink;

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static void bench(const char *what, void (*burst)(void), unsigned n_packets)
{
	double best = 1e18;

	for (unsigned round = 0; round < N_ROUNDS; round++) {
		uint64_t start = now_ns();
		for (unsigned i = 0; i < N_BURSTS; i++)
			burst();
		double ns = (double)(now_ns() - start) / N_BURSTS / n_packets;
		best = MIN(best, ns);
	}
	(void)printf("%-44s %8.1f ns per packet\n", what, best);
}

/* --- Packets ---------------------------------------------------------------------------------- */

static void build_v4(uint8_t *p, uint32_t len, uint8_t protocol)
{
	p[0] = 0x45;
	store_be16(p + 2, (uint16_t)len);
	p[6] = 0x40;
	p[8] = 64;
	p[9] = protocol;
	memcpy(p + 12, (const uint8_t[]){ 10, 0, 0, 1, 10, 0, 0, 2 }, 8);
	checksum_store(p + 10, checksum_add(0, p, 20));
}

static void build_super(void)
{
	for (unsigned i = 0; i < sizeof(super); i++)
		super[i] = (uint8_t)(i * 7 + i / 251);
	memset(super, 0, TCP_HDR_LEN);
	build_v4(super, sizeof(super), IPPROTO_TCP);
	super[32] = (TCP_HDR_LEN - 20) / 4 << 4;
	super[33] = 0x10;
	uint16_t pseudo =
		checksum_fold(checksum_pseudo_v4(super + 12, IPPROTO_TCP, sizeof(super) - 20));
	memcpy(super + 36, &pseudo, sizeof(pseudo));
	super_vnet = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					      .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
					      .hdr_len = TCP_HDR_LEN,
					      .gso_size = MSS,
					      .csum_start = 20,
					      .csum_offset = 16 };
}

static void build_segments(void)
{
	struct gso_split s;
	struct gso_segment seg;

	if (gso_split_init(&s, &super_vnet, super, sizeof(super)) < 0)
		abort();
	for (uint32_t i = 0; i < s.n_segments; i++) {
		gso_split_segment(&s, i, &seg, fresh[i]);
		memcpy(fresh[i] + s.hdr_len, seg.payload, seg.payload_len);
		lens[i] = s.hdr_len + seg.payload_len;
	}
}

/* @n_flows: how many source ports take turns. */
static void build_datagrams(unsigned n_flows, bool is_mergeable)
{
	for (unsigned i = 0; i < N_SMALL; i++) {
		uint8_t *p = fresh[i];

		memset(p, 0, SMALL_LEN);
		build_v4(p, SMALL_LEN, IPPROTO_UDP);
		store_be16(p + 20, (uint16_t)(1000 + i % n_flows));
		store_be16(p + 24, SMALL_LEN - 20);
		if (is_mergeable) {
			uint64_t sum = checksum_pseudo_v4(p + 12, IPPROTO_UDP, SMALL_LEN - 20);
			checksum_store_udp(p + 26, checksum_add(sum, p + 20, SMALL_LEN - 20));
		}
		lens[i] = SMALL_LEN;
	}
}

static void build_acks(void)
{
	for (unsigned i = 0; i < N_SMALL; i++) {
		memset(fresh[i], 0, TCP_HDR_LEN);
		build_v4(fresh[i], TCP_HDR_LEN, IPPROTO_TCP);
		fresh[i][32] = 0x80;
		fresh[i][33] = 0x10;
		lens[i] = TCP_HDR_LEN;
	}
}

/* --- Bursts ----------------------------------------------------------------------------------- */

static void split(void)
{
	uint8_t hdr[GSO_MAX_HEADER];
	struct gso_split s;
	struct gso_segment seg;

	if (gso_split_init(&s, &super_vnet, super, sizeof(super)) < 0)
		abort();
	for (uint32_t i = 0; i < s.n_segments; i++) {
		gso_split_segment(&s, i, &seg, hdr);
		sink += hdr[36];
	}
}

static void coalesce(unsigned n)
{
	for (unsigned i = 0; i < n; i++) /* the headers that the last burst rewrote */
		memcpy(work[i], fresh[i], TCP_HDR_LEN);
	gro_begin(&gro);
	for (unsigned i = 0; i < n; i++)
		if (!gro_add(&gro, work[i], lens[i]))
			abort();
	sink += gro_finish(&gro, writes, ARRAY_SIZE(writes));
}

static void coalesce_segments(void)
{
	coalesce(N_SEGMENTS);
}

static void coalesce_small(void)
{
	coalesce(N_SMALL);
}

static void sum_mss(void)
{
	sink += checksum_add(0, super + TCP_HDR_LEN, MSS);
}

/* The bursts must do what their names say: how many writes one makes. */
static void expect_writes(uint32_t n)
{
	memcpy(work, fresh, sizeof(work));
	uint64_t before = sink;
	coalesce_small();
	if (sink - before != n) {
		(void)fprintf(stderr, "%u writes expected, not %u\n", n, (unsigned)(sink - before));
		exit(1);
	}
}

int main(void)
{
	build_super();
	bench("checksum of 1368 bytes", sum_mss, 1);
	bench("split TCP, 45 x 1368", split, N_SEGMENTS);

	gro_init(&gro, true, true);
	build_segments();
	memcpy(work, fresh, sizeof(work));
	bench("coalesce TCP, 45 x 1368, one write", coalesce_segments, N_SEGMENTS);

	build_datagrams(1, true);
	expect_writes(1);
	bench("coalesce UDP, 64 x 64 bytes, one write", coalesce_small, N_SMALL);
	build_datagrams(1, false);
	expect_writes(N_SMALL);
	bench("UDP without checksum, 64 x 64 bytes", coalesce_small, N_SMALL);
	build_datagrams(N_SMALL, true);
	expect_writes(N_SMALL);
	bench("UDP, 64 flows x 64 bytes", coalesce_small, N_SMALL);
	build_acks();
	expect_writes(N_SMALL);
	bench("TCP acknowledgements", coalesce_small, N_SMALL);
	gro_init(&gro, false, false);
	bench("all switched off", coalesce_small, N_SMALL);
	return 0;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* What packet/ costs per packet: splitting and coalescing a full TCP super-packet, tiny datagrams
 * that merge and that do not, pure acknowledgements, and the checksum. Everything is in cache, as
 * in the pipeline. */
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "micro.h"
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
};

struct packets {
	uint8_t super[SUPER_LEN];
	struct virtio_net_hdr vnet;
	uint8_t fresh[N_SMALL][STRIDE], work[N_SMALL][STRIDE]; /* gro rewrites headers */
	uint32_t lens[N_SMALL];
	uint32_t n;        /* packets of a burst */
	uint32_t n_writes; /* that it must become */
	struct gro gro;
	struct gro_write writes[GRO_MAX_PACKETS];
	volatile uint64_t sink; /* results that are used for nothing else */
};

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

static void build_super(struct packets *k)
{
	for (unsigned i = 0; i < SUPER_LEN; i++)
		k->super[i] = (uint8_t)(i * 7 + i / 251);
	memset(k->super, 0, TCP_HDR_LEN);
	build_v4(k->super, SUPER_LEN, IPPROTO_TCP);
	k->super[32] = (TCP_HDR_LEN - 20) / 4 << 4;
	k->super[33] = 0x10;
	uint16_t pseudo =
		checksum_fold(checksum_pseudo_v4(k->super + 12, IPPROTO_TCP, SUPER_LEN - 20));
	memcpy(k->super + 36, &pseudo, sizeof(pseudo));
	k->vnet = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					   .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
					   .hdr_len = TCP_HDR_LEN,
					   .gso_size = MSS,
					   .csum_start = 20,
					   .csum_offset = 16 };
}

static void build_segments(struct packets *k)
{
	struct gso_split s;
	struct gso_segment seg;

	if (gso_split_init(&s, &k->vnet, k->super, SUPER_LEN) < 0)
		abort();
	for (uint32_t i = 0; i < s.n_segments; i++) {
		gso_split_segment(&s, i, &seg, k->fresh[i]);
		memcpy(k->fresh[i] + s.hdr_len, seg.payload, seg.payload_len);
		k->lens[i] = s.hdr_len + seg.payload_len;
	}
}

/* @n_flows: how many source ports take turns. */
static void build_datagrams(struct packets *k, unsigned n_flows, bool is_mergeable)
{
	for (unsigned i = 0; i < N_SMALL; i++) {
		uint8_t *p = k->fresh[i];

		memset(p, 0, SMALL_LEN);
		build_v4(p, SMALL_LEN, IPPROTO_UDP);
		store_be16(p + 20, (uint16_t)(1000 + i % n_flows));
		store_be16(p + 24, SMALL_LEN - 20);
		if (is_mergeable) {
			uint64_t sum = checksum_pseudo_v4(p + 12, IPPROTO_UDP, SMALL_LEN - 20);
			checksum_store_udp(p + 26, checksum_add(sum, p + 20, SMALL_LEN - 20));
		}
		k->lens[i] = SMALL_LEN;
	}
}

static void build_acks(struct packets *k)
{
	for (unsigned i = 0; i < N_SMALL; i++) {
		memset(k->fresh[i], 0, TCP_HDR_LEN);
		build_v4(k->fresh[i], TCP_HDR_LEN, IPPROTO_TCP);
		k->fresh[i][32] = 0x80;
		k->fresh[i][33] = 0x10;
		k->lens[i] = TCP_HDR_LEN;
	}
}

/* --- Bursts ----------------------------------------------------------------------------------- */

static void split(void *ctx)
{
	struct packets *k = ctx;
	uint8_t hdr[GSO_MAX_HEADER];
	struct gso_split s;
	struct gso_segment seg;

	micro_must(gso_split_init(&s, &k->vnet, k->super, SUPER_LEN) == 0, "no super-packet");
	for (uint32_t i = 0; i < s.n_segments; i++) {
		gso_split_segment(&s, i, &seg, hdr);
		k->sink += hdr[36];
	}
}

static void coalesce(void *ctx)
{
	struct packets *k = ctx;

	for (unsigned i = 0; i < k->n; i++) /* the headers that the last burst rewrote */
		memcpy(k->work[i], k->fresh[i], TCP_HDR_LEN);
	gro_begin(&k->gro);
	for (unsigned i = 0; i < k->n; i++)
		micro_must(gro_add(&k->gro, k->work[i], k->lens[i]), "the burst is too long");
	uint32_t n = gro_finish(&k->gro, k->writes, ARRAY_SIZE(k->writes));
	micro_must(n == k->n_writes, "packets were merged otherwise than the name says");
}

static void sum_mss(void *ctx)
{
	struct packets *k = ctx;

	k->sink += checksum_add(0, k->super + TCP_HDR_LEN, MSS);
}

static void run_one(struct micro *m, struct packets *k, const char *name, const char *label,
		    void (*burst)(void *), uint32_t n)
{
	micro_run(m, &(struct micro_case){ .name = name,
					   .group = "packets",
					   .label = label,
					   .op = "packet",
					   .n_ops = n,
					   .burst = burst,
					   .ctx = k });
}

static void run_coalesce(struct micro *m, struct packets *k, const char *name, const char *label,
			 uint32_t n, uint32_t n_writes)
{
	k->n = n;
	k->n_writes = n_writes;
	memcpy(k->work, k->fresh, sizeof(k->work));
	run_one(m, k, name, label, coalesce, n);
}

void micro_packet(struct micro *m)
{
	if (!micro_is_wanted(m, "packet-"))
		return;
	struct packets *k = micro_alloc(sizeof(*k));
	build_super(k);
	run_one(m, k, "packet-checksum", "checksum of 1368 bytes", sum_mss, 1);
	run_one(m, k, "packet-split-tcp", "split TCP, 45 x 1368", split, N_SEGMENTS);

	gro_init(&k->gro, true, true);
	build_segments(k);
	run_coalesce(m, k, "packet-join-tcp", "coalesce TCP, 45 x 1368, one write", N_SEGMENTS, 1);
	build_datagrams(k, 1, true);
	run_coalesce(m, k, "packet-join-udp", "coalesce UDP, 64 x 64 bytes, one write", N_SMALL, 1);
	build_datagrams(k, 1, false);
	run_coalesce(m, k, "packet-udp-unsummed", "UDP without checksum, 64 x 64 bytes", N_SMALL,
		     N_SMALL);
	build_datagrams(k, N_SMALL, true);
	run_coalesce(m, k, "packet-udp-flows", "UDP, 64 flows x 64 bytes", N_SMALL, N_SMALL);
	build_acks(k);
	run_coalesce(m, k, "packet-acks", "TCP acknowledgements", N_SMALL, N_SMALL);
	gro_init(&k->gro, false, false);
	run_coalesce(m, k, "packet-join-off", "coalescing switched off", N_SMALL, N_SMALL);
	free(k);
}

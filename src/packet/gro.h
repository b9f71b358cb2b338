/* SPDX-License-Identifier: MPL-2.0 */
/* us -> TUN: coalesces decrypted TCP and UDP packets of one burst into super-packets, as scatter
 * lists; no payload is copied. Works in the caller's struct alone; one thread at a time.
 *
 * gro_begin(), gro_add() for each packet in order of arrival, gro_finish(), write, and again.
 *
 * Merged is what the kernel's GRO would merge: same flow, TOS, TTL, DF, flow label; TCP with
 * consecutive sequence numbers and the same acknowledgement, window and options, ended by FIN or
 * PSH; UDP with a checksum; payloads of one length, the last may be shorter; IPv4 ids that count up,
 * or stay the same with DF set. Checksums are verified first, but only where there is something to
 * merge. Splitting the super-packet again gives the same bytes (only an id that stood still counts
 * up then, which RFC 6864 allows with DF).
 * Fragments, IPv4 options, IPv6 extension headers, other protocols and bad checksums pass untouched.
 * Order never changes within a flow, its fragments included. */
#pragma once

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
	GRO_MAX_PACKETS = 256, /* of one burst */
	GRO_MAX_FLOWS = 16,    /* open at a time; more only merge less */
	GRO_MAX_SEGMENTS = 64, /* of one super-packet: UDP_MAX_SEGMENTS of kernels before 6.9 */
	GRO_MAX_LEN = 65535,   /* bytes of one super-packet without its vnet header */
};

/* One TUN write. iov[0] is the vnet header (10 bytes): a TUN without one takes iov + 1. Points into
 * the struct gro and the packets, valid until the next gro_begin(). */
struct gro_write {
	const struct iovec *iov;
	uint32_t n_iov;      /* 2 to GRO_MAX_SEGMENTS + 1 */
	uint32_t len;        /* bytes, vnet header included */
	uint32_t n_segments; /* packets that went in */
};

struct gro_packet {
	uint8_t *data;
	uint32_t len;
	uint32_t next; /* index of the next packet of the same super-packet */
};

/* A super-packet in the making, at the index of its first packet. Often it stays alone. */
struct gro_super {
	uint32_t total_len;  /* bytes so far */
	uint32_t next_seq;   /* TCP: what would continue it */
	uint16_t n_segments; /* 0: this packet is part of an earlier one */
	uint16_t tail;       /* index of the last packet */
	uint16_t mss;        /* payload bytes of the first packet */
	uint16_t ip_id;      /* IPv4: of the last packet */
	uint8_t id_step;     /* IPv4: 0 or 1, known from the second packet on */
	uint8_t l4_off;      /* bytes; tells the IP version as well */
	uint8_t hdr_len;     /* bytes: up to the payload */
	uint8_t protocol;    /* IPPROTO_TCP or IPPROTO_UDP */
	bool is_verified; /* the first packet's checksums: not looked at before a second one comes */
};

/* About 11 KB; all private. */
struct gro {
	bool tcp, udp; /* constant after init */
	uint32_t n_packets;
	uint32_t n_flows;     /* open: their next packet may join */
	uint32_t next_victim; /* flow to close when the table is full */
	uint32_t n_finished;  /* packets that gro_finish() is done with */
	uint32_t n_iov, n_writes;
	uint32_t flow_hash[GRO_MAX_FLOWS];
	uint16_t flow[GRO_MAX_FLOWS]; /* index of its super-packet */
	struct gro_packet packet[GRO_MAX_PACKETS];
	struct gro_super super[GRO_MAX_PACKETS];
	struct virtio_net_hdr vnet[GRO_MAX_PACKETS];
	struct iovec iov[2 * GRO_MAX_PACKETS];
};

/* @tcp, @udp: merge these. The TUN must have the offloads on (TUN_F_TSO4, TUN_F_TSO6; TUN_F_USO4,
 * TUN_F_USO6). */
void gro_init(struct gro *g, bool tcp, bool udp);

/* Forgets the last burst; its packets need not exist any more. */
void gro_begin(struct gro *g);

/* Takes a packet that passed ip_inner_len(), @len being what that returned. Its memory must stay
 * until the write is done and its header may be rewritten. False: the table is full, finish and
 * write first. */
bool gro_add(struct gro *g, uint8_t *pkt, uint32_t len);

/* Fills up to @n writes, in order, and returns how many. Call it until it returns 0 unless @n is
 * GRO_MAX_PACKETS, which is always enough. No gro_add() after it until gro_begin(). */
uint32_t gro_finish(struct gro *g, struct gro_write *ret, uint32_t n);

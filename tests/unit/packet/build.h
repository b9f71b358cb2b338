/* SPDX-License-Identifier: MPL-2.0 */
/* Builds and checks packets for the tests, slowly and obviously: byte by byte, checksums by the loop
 * of RFC 1071, nothing of the code under test. */
#pragma once

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	ROOM = 66000, /* bytes: the largest packet and then some */
	TCP = 6,
	UDP = 17,
	FIN = 0x01,
	SYN = 0x02,
	RST = 0x04,
	PSH = 0x08,
	ACK = 0x10,
	URG = 0x20,
	ECE = 0x40,
	CWR = 0x80,
};

/* xorshift64*: the same numbers in every run. */
struct rng {
	uint64_t state; /* not 0 */
};
uint32_t rng_next(struct rng *r);
uint32_t rng_below(struct rng *r, uint32_t n);
bool rng_one_in(struct rng *r, uint32_t n);

struct spec {
	uint8_t version;  /* 4 or 6 */
	uint8_t protocol; /* TCP or UDP */
	uint8_t host;     /* last byte of both addresses */
	uint8_t tos, ttl;
	uint16_t frag; /* IPv4 fragment word; IPv6: of the fragment header, which 0 leaves out */
	uint16_t ip_id;
	uint32_t flow_label;
	uint8_t n_ip_options; /* IPv4: words of 4 bytes; IPv6: destination options of 8 bytes */
	uint16_t sport, dport;
	uint32_t seq, ack;
	uint8_t flags, reserved; /* TCP; reserved: low nibble of the data offset's byte */
	uint16_t window, urgent;
	uint8_t n_tcp_options; /* words of 4 bytes */
	uint8_t option_fill;
	bool no_udp_checksum;
	uint32_t payload_len;
	uint32_t payload_seed;
};

/* Writes the packet with right checksums; returns its length. */
uint32_t build(uint8_t *out, const struct spec *s);
/* Where its L4 header is, and how long all headers are. */
uint32_t build_l4_off(const struct spec *s);
uint32_t build_hdr_len(const struct spec *s);

/* The sum, folded, in host order: 0xffff over data with its own right checksum. */
uint16_t ref_sum(const uint8_t *data, uint32_t len);
/* With the pseudo-header of the packet @pkt in front; @off: the L4 header. */
uint16_t ref_l4_sum(const uint8_t *pkt, uint32_t len, uint32_t off, uint8_t protocol);
/* Of the pseudo-header alone. */
uint16_t ref_pseudo_sum(const uint8_t *pkt, uint32_t len, uint32_t off, uint8_t protocol);

/* Recomputes the checksums of a packet without IPv6 extension headers after a test changed it. */
void ref_fix_checksums(uint8_t *pkt, uint32_t len);
/* True if all checksums of a packet without IPv6 extension headers are right. */
bool ref_is_valid(const uint8_t *pkt, uint32_t len);

/* One packet of a list, in memory of its own so that a sanitizer sees every byte too far. */
struct packet {
	uint8_t *data;
	uint32_t len;
};
struct packet packet_copy(const uint8_t *data, uint32_t len);
void packet_free(struct packet *p, uint32_t n);

/* Turns a packet with a payload into a super-packet of @mss as the kernel hands it over: checksum
 * field = pseudo-header sum. */
void make_super(struct virtio_net_hdr *ret, uint8_t *pkt, uint32_t len, const struct spec *s,
		uint16_t mss);

/* Cuts a super-packet made of @s's headers as RFC 793 and the kernel would, into at most @n packets
 * for packet_free(); returns how many. */
uint32_t ref_split(struct packet *ret, uint32_t n, const struct spec *s, uint32_t mss);

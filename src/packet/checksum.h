/* SPDX-License-Identifier: MPL-2.0 */
/* The Internet checksum (RFC 1071). Running sums are kept in memory byte order and unfolded, so that
 * no byte is ever swapped: a result is stored with memcpy as it is. Pure functions. */
#pragma once

#include <stdint.h>
#include <string.h>

/* Adds @len bytes to the running sum @sum (0 to begin). Only the last piece of a sum may have an odd
 * length. Any alignment. */
uint64_t checksum_add(uint64_t sum, const void *data, uint32_t len);

/* Adds a sum to a sum, with the end-around carry. */
static inline uint64_t checksum_merge(uint64_t a, uint64_t b)
{
	uint64_t s = a + b;
	return s + (s < b);
}

/* A 16-bit host integer as a summand. */
static inline uint64_t checksum_u16(uint16_t v)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return __builtin_bswap16(v);
#else
	return v;
#endif
}

/* The 16-bit ones' complement sum, not inverted: what a NEEDS_CSUM packet carries. 0xffff over
 * anything that includes its own correct checksum. */
static inline uint16_t checksum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* Stores the checksum that completes @sum at @at. */
static inline void checksum_store(uint8_t *at, uint64_t sum)
{
	uint16_t v = (uint16_t)~checksum_fold(sum);
	memcpy(at, &v, sizeof(v));
}

/* The same for UDP, where 0 would mean "no checksum" (RFC 768). */
static inline void checksum_store_udp(uint8_t *at, uint64_t sum)
{
	uint16_t v = (uint16_t)~checksum_fold(sum);
	if (v == 0)
		v = 0xffff;
	memcpy(at, &v, sizeof(v));
}

/* Sum of the pseudo-header. @addrs: source and destination, adjacent as in the IP header, 8 or 32
 * bytes. @len: bytes from the L4 header to the end of the packet. */
uint64_t checksum_pseudo_v4(const uint8_t *addrs, uint8_t protocol, uint32_t len);
uint64_t checksum_pseudo_v6(const uint8_t *addrs, uint8_t protocol, uint32_t len);

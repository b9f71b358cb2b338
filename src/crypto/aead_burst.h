/* SPDX-License-Identifier: MPL-2.0 */
/* From bursts of packets to full vectors. Every vector kernel computes ChaCha20 for many unrelated
 * blocks at once and Poly1305 for several packets at once; this is the part they share: it cuts
 * packets into blocks and sorts packets into groups. All decisions depend on lengths only.
 *
 * ChaCha20: each lane is a block of any packet, so bursts of any mixture fill the vectors.
 * Poly1305: a group takes `width` packets with n_mac_lanes / width lanes each. One lane per packet
 * needs no powers of r beyond what hides latency, and no final combination; few or very unequal
 * packets get several lanes each, which then take every second (fourth, ...) block. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "crypto/aead.h"

/* Kernels are written as small functions that must become one: vectors stay in registers. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum {
	CHACHA_BLOCK_LEN = 64,
	CHACHA_LANES_MAX = 16,
	MAC_LANES_MAX = 8,
	MAC_ROW_BLOCKS = 4, /* a MAC lane takes four blocks per batch */
};

/* Blocks to encrypt, each a lane of its own: dst = src ^ keystream, 64 bytes. */
struct chacha_lanes {
	_Alignas(64) uint32_t nonce[CHACHA_LANES_MAX][4]; /* words 12 - 15 of the state */
	const uint8_t *key[CHACHA_LANES_MAX];
	const uint8_t *src[CHACHA_LANES_MAX];
	uint8_t *dst[CHACHA_LANES_MAX];
	bool has_one_key; /* all of key[] point to the same bytes */
};

/* Consecutive blocks of one packet: dst = src ^ keystream. */
struct chacha_run {
	const uint8_t *key;
	uint32_t nonce[4]; /* words 12 - 15 of the first block's state */
	const uint8_t *src;
	uint8_t *dst;
};

/* One message to authenticate: no associated data, whole blocks but for the last. */
struct mac {
	const uint8_t *text;
	size_t text_len;
	const uint8_t *one_time_key; /* 32 bytes: r and s, not clamped */
	uint64_t h[3];               /* out: 130 bits, not fully reduced */
};

struct aead_kernel {
	unsigned n_lanes;       /* ChaCha20 blocks at once, at most CHACHA_LANES_MAX */
	unsigned lanes_granule; /* chacha() may be called with any multiple of it */
	unsigned n_mac_lanes;   /* at most MAC_LANES_MAX */
	/* Cycles that mac() takes: once, by log2 of lanes per packet, and per batch. Roughly: they
	 * only have to rank the ways to group packets. */
	uint16_t mac_setup_cost[4];
	uint16_t mac_batch_cost;

	void (*chacha)(const struct chacha_lanes *lanes, unsigned n);
	/* @n is a multiple of n_lanes. */
	void (*chacha_run)(const struct chacha_run *run, size_t n);
	/* @m has @width entries; each gets n_mac_lanes / @width lanes. */
	void (*mac)(struct mac *const *m, unsigned width);
	void (*wipe_registers)(void);
};

/* Kernels for the portable scheduler, one per ISA. */
extern const struct aead_kernel aead_avx2_kernel;
extern const struct aead_kernel aead_avx512_kernel;
extern const struct aead_kernel aead_avx512ifma_kernel;
extern const struct aead_kernel aead_neon_kernel;

void aead_burst_seal(const struct aead_kernel *kernel, const struct aead_seal_job *job, size_t n);
void aead_burst_open(const struct aead_kernel *kernel, struct aead_open_job *job, size_t n);

/* 16-byte blocks that Poly1305 absorbs for a text: its own, and one for the lengths. */
static inline size_t mac_blocks(size_t text_len)
{
	return (text_len + 15) / 16 + 1;
}

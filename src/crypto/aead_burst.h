/* SPDX-License-Identifier: MPL-2.0 */
/* What a vector kernel offers to the scheduler of bursts (aead_burst.c), which cuts packets into
 * ChaCha20 blocks and decides how each packet's Poly1305 is computed. All decisions depend on
 * lengths only.
 *
 * ChaCha20: each lane is a block of any packet, so bursts of any mixture fill the vectors.
 *
 * Poly1305 of short packets: one lane per packet; each has its own r, so there is no final
 * combination. Poly1305 of long packets: in two scalar chains that run in the shadow of ChaCha20,
 * whose instructions keep the vector units busy and leave the integer units idle. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "crypto/aead.h"
#include "crypto/aead_poly1305.h"

/* Kernels are written as small functions that must become one: vectors stay in registers. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum {
	CHACHA_BLOCK_LEN = 64,
	CHACHA_LANES_MAX = 32,
	CHACHA_ROW_LANES = 16, /* of them in a row of struct aead_context */
	CHACHA_DOUBLE_ROUNDS = 10,
	MAC_LANES_MAX = 8,
	/* Chains advance by three Poly1305 blocks each, as instructions fit between those of one
	 * or two double rounds. */
	MAC_STEP_LEN = 3 * POLY1305_BLOCK_LEN,
};

/* Blocks to encrypt, each a lane of its own: dst = src ^ keystream, 64 bytes. */
struct chacha_lanes {
	_Alignas(64) uint32_t nonce[CHACHA_LANES_MAX][4]; /* words 12 - 15 of the state */
	const uint8_t *key[CHACHA_LANES_MAX];
	const uint8_t *src[CHACHA_LANES_MAX];
	uint8_t *dst[CHACHA_LANES_MAX];
	bool has_one_key; /* all of key[] point to the same bytes */
};

/* A vector full of consecutive blocks of one packet. */
struct chacha_run {
	const uint8_t *key;
	uint32_t nonce[4];    /* words 12 - 15 of the first block's state */
	const uint8_t *first; /* the first 64 bytes of input */
	const uint8_t *src;   /* of the others: the first ones would be here */
	uint8_t *dst;
};

/* Stretches of two messages to absorb side by side. */
struct mac_span {
	uint64_t r[2][3]; /* by chain: r, and r[1] * 5 / 4 */
	struct poly1305 *state[2];
	const uint8_t *text[2];
	uint64_t len; /* bytes of either text, a multiple of MAC_STEP_LEN; may be 0 */
	struct mac_span *next;
};

/* How far a list of spans was absorbed. */
struct mac_cursor {
	struct mac_span *span;
	uint64_t at; /* bytes of this one */
};

/* A message for a lane: no associated data, whole blocks but for the last. */
struct mac_lane {
	const uint8_t *text;
	size_t text_len;
	const uint8_t *one_time_key; /* 32 bytes: r and s, not clamped */
	uint8_t *tag;                /* out */
};

/* What lasts from call to call of a kernel. */
struct aead_context {
	/* Words of the ChaCha20 state as the kernel wants them; those of the constants and of the key
	 * stay while blocks have the same one. */
	_Alignas(64) uint32_t state[16][CHACHA_ROW_LANES];
	_Alignas(64) uint32_t scratch[4][CHACHA_ROW_LANES];
	/* The lanes that no longer fit in a row; rows of the key only if there is more than one. */
	_Alignas(64) uint32_t high[16][CHACHA_ROW_LANES];
	_Alignas(64) uint32_t high_out[16][CHACHA_ROW_LANES];
	const uint8_t *key; /* or NULL */
	bool has_used_high;
	struct mac_cursor cursor;
};

struct aead_kernel {
	unsigned n_lanes;       /* ChaCha20 blocks at once, at most CHACHA_LANES_MAX */
	unsigned lanes_granule; /* chacha() may be called with any multiple of it, up to */
	unsigned n_lanes_part;  /* this many, and with all lanes */
	unsigned n_mac_lanes;   /* at most MAC_LANES_MAX */
	/* Messages up to this length are for the lanes; the second figure holds when there are
	 * mac_lanes_worth messages. Longer ones are for the chains, if the kernel has any. */
	size_t mac_lane_max_len, mac_lane_max_len_burst;
	unsigned mac_lanes_worth;
	size_t mac_room; /* bytes per chain that chacha_run() absorbs */
	/* Cycles that mac_lanes() takes, and per 64 bytes of the longest message. Roughly: they
	 * are compared with SCALAR_BLOCK_COST. */
	uint16_t mac_setup_cost, mac_row_cost;

	/* Both encrypt, and absorb spans from the cursor on: as many steps as fit, or to the end. */
	void (*chacha)(const struct chacha_lanes *lanes, unsigned n, struct aead_context *x);
	void (*chacha_run)(const struct chacha_run *run, struct aead_context *x);
	/* Absorbs spans up to the end of @last, and does nothing else. */
	void (*mac_spans)(struct mac_cursor *cursor, const struct mac_span *last);
	/* n_mac_lanes messages. */
	void (*mac_lanes)(struct mac_lane *const *m);
	/* Clears the vector registers that aead_wipe_below() does not know. */
	void (*wipe_registers)(void);
};

/* Kernels for the portable scheduler, one per ISA. */
extern const struct aead_kernel aead_avx2_kernel;
extern const struct aead_kernel aead_avx512_kernel;
extern const struct aead_kernel aead_avx512ifma_kernel;
extern const struct aead_kernel aead_neon_kernel;

void aead_burst_seal(const struct aead_kernel *kernel, const struct aead_seal_job *job, size_t n);
void aead_burst_open(const struct aead_kernel *kernel, struct aead_open_job *job, size_t n);

/* aead_@isa: that scheduler with aead_@isa_kernel. */
#define AEAD_BURST_IMPL(isa, cpu_bits)                                          \
	static void isa##_seal_burst(const struct aead_seal_job *job, size_t n) \
	{                                                                       \
		aead_burst_seal(&aead_##isa##_kernel, job, n);                  \
	}                                                                       \
	static void isa##_open_burst(struct aead_open_job *job, size_t n)       \
	{                                                                       \
		aead_burst_open(&aead_##isa##_kernel, job, n);                  \
	}                                                                       \
	const struct aead_impl aead_##isa = { .name = #isa,                     \
					      .cpu = (cpu_bits),                \
					      .seal_burst = isa##_seal_burst,   \
					      .open_burst = isa##_open_burst }

/* 16-byte blocks that Poly1305 absorbs for a text: its own, and one for the lengths. */
static inline size_t mac_blocks(size_t text_len)
{
	return (text_len + POLY1305_BLOCK_LEN - 1) / POLY1305_BLOCK_LEN + 1;
}

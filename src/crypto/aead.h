/* SPDX-License-Identifier: MPL-2.0 */
/* ChaCha20-Poly1305 (RFC 8439) for bursts of packets. Constant time; no allocation, no system
 * call, no clock. The kernels are stateless: any thread may call them at any time on its own jobs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"

enum {
	AEAD_KEY_LEN = 32,
	AEAD_TAG_LEN = 16,
};

/* One packet to seal. plaintext = in[0] || in[1] || pad_len zero bytes.
 * Writes ciphertext || tag, in_len[0] + in_len[1] + pad_len + AEAD_TAG_LEN bytes, to @out.
 * @out may be identical to in[0] when in_len[1] is 0, or to (in[0] with in[1] directly behind it);
 * any other overlap with an input is forbidden. Nothing has to be aligned. */
struct aead_seal_job {
	const uint8_t *key;    /* AEAD_KEY_LEN bytes; not kept after the call */
	uint64_t counter;      /* nonce = nonce_prefix || counter, both little-endian */
	uint32_t nonce_prefix; /* first four nonce bytes; 0 in WireGuard */
	uint32_t ad_len;       /* bytes; 0 in transport messages */
	const uint8_t *ad;
	const uint8_t *in[2]; /* typically rewritten headers, then payload in the TUN buffer */
	uint32_t in_len[2];   /* bytes */
	uint32_t pad_len;     /* bytes, at most 4096 */
	uint8_t *out;
};

/* One packet to open. @in is ciphertext || tag, @in_len includes the tag (less than AEAD_TAG_LEN:
 * refused). Writes in_len - AEAD_TAG_LEN bytes to @out, which may equal @in; no other overlap. If
 * the tag is wrong @ok becomes false and all bytes at @out that were or would be written are
 * zeroed: no plaintext that failed is ever released. */
struct aead_open_job {
	const uint8_t *key;
	uint64_t counter;
	uint32_t nonce_prefix;
	uint32_t ad_len;
	const uint8_t *ad;
	const uint8_t *in;
	uint8_t *out;
	uint32_t in_len;
	bool ok; /* out: the verdict on this job, independent of the others */
};

struct aead_impl {
	const char *name; /* also the file suffix: aead_avx2.c */
	unsigned cpu;     /* CPU_* bits it needs (base/cpu.h); 0 = portable C */
	void (*seal_burst)(const struct aead_seal_job *job, size_t n);
	void (*open_burst)(struct aead_open_job *job, size_t n);
};

/* The kernels compiled in, best first, portable last, then NULL. Tests walk the same table. */
extern const struct aead_impl *const aead_impls[];

/* The best kernel whose CPU_* bits are all in @cpu. Never NULL. Pick once, then hold it. */
const struct aead_impl *aead_select(unsigned cpu);

/* SPDX-License-Identifier: MPL-2.0 */
/* What the AEAD tests share: the kernels this CPU can run, reproducible random bytes, and
 * libsodium's answer to a job. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/bytes.h"
#include "base/cpu.h"
#include "base/macro.h"
#include "crypto/aead.h"

enum {
	TEXT_MAX = 4096 + 256,
	BURST_MAX = 64,
};

/* Walks the kernels that this CPU runs. */
#define for_each_kernel(k)                                                                    \
	for (const struct aead_impl *const *k##_at = aead_impls, *k; (k = *k##_at); k##_at++) \
		if (k->cpu & ~cpu_features()) {                                               \
		} else

static inline uint64_t test_random(void)
{
	static uint64_t state = 1;
	uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline uint32_t test_random_below(uint32_t n)
{
	return (uint32_t)((test_random() >> 32) * n >> 32);
}

static inline void test_random_bytes(uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(test_random() >> 56);
}

static inline size_t seal_text_len(const struct aead_seal_job *job)
{
	return (size_t)job->in_len[0] + job->in_len[1] + job->pad_len;
}

static inline void nonce_write(uint8_t nonce[12], uint32_t prefix, uint64_t counter)
{
	store_le32(nonce, prefix);
	store_le64(nonce + 4, counter);
}

/* What @job has to write, according to libsodium. @text has room for the plaintext. */
static inline void sodium_seal(const struct aead_seal_job *job, uint8_t *text, uint8_t *out)
{
	uint8_t nonce[12];
	uint8_t *p = text;
	for (size_t i = 0; i < 2; i++) {
		if (job->in_len[i])
			memcpy(p, job->in[i], job->in_len[i]);
		p += job->in_len[i];
	}
	memset(p, 0, job->pad_len);
	nonce_write(nonce, job->nonce_prefix, job->counter);
	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, text, seal_text_len(job), job->ad,
						  job->ad_len, NULL, nonce, job->key);
}

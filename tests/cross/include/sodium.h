/* SPDX-License-Identifier: MPL-2.0 */
/* The one function of libsodium that the AEAD tests compare with, answered by the portable kernel:
 * for targets without libsodium. That the portable kernel agrees with libsodium is tested natively. */
#pragma once

#include "base/bytes.h"
#include "crypto/aead.h"

static inline int crypto_aead_chacha20poly1305_ietf_encrypt(
	uint8_t *out, unsigned long long *ret_len, const uint8_t *text, unsigned long long len,
	const uint8_t *ad, unsigned long long ad_len, const uint8_t *unused, const uint8_t *nonce,
	const uint8_t *key)
{
	const struct aead_seal_job job = {
		.key = key,
		.counter = load_le64(nonce + 4),
		.nonce_prefix = load_le32(nonce),
		.ad_len = (uint32_t)ad_len,
		.ad = ad,
		.in = { text },
		.in_len = { (uint32_t)len },
		.out = out,
	};
	aead_select(0)->seal_burst(&job, 1);
	return 0;
}

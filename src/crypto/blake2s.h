/* SPDX-License-Identifier: MPL-2.0 */
/* BLAKE2s (RFC 7693) and HMAC over it (P-020). Stateless: any thread, at any time. MAC and HMAC are
 * different constructions: mixing them up is the classic first bug. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

enum {
	BLAKE2S_HASH_LEN = 32,
	BLAKE2S_MAC_LEN = 16,
	BLAKE2S_BLOCK_LEN = 64,
};

/* General form: digest of 1 to 32 bytes over @parts one after the other, key of 0 to 32 bytes. */
void blake2s_digest(struct mut_bytes out, struct bytes key, const struct bytes *parts,
		    size_t n_parts);

/* HASH(parts[0] || parts[1] || ...). @out may be one of the parts. */
void blake2s_hash(uint8_t out[BLAKE2S_HASH_LEN], const struct bytes *parts, size_t n_parts);

/* MAC(key, in): keyed BLAKE2s, key of 16 or 32 bytes. */
void blake2s_mac(uint8_t out[BLAKE2S_MAC_LEN], struct bytes key, struct bytes in);

/* HMAC(key, in): RFC 2104 over HASH, key of any length. @out may be @key or @in. */
void blake2s_hmac(uint8_t out[BLAKE2S_HASH_LEN], struct bytes key, struct bytes in);

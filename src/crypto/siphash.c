/* SPDX-License-Identifier: MPL-2.0 */
/* SipHash-2-4 by libsodium. */
#include "crypto/siphash.h"

#include <sodium/crypto_shorthash.h>

uint64_t siphash(const uint8_t key[SIPHASH_KEY_LEN], struct bytes in)
{
	uint8_t out[crypto_shorthash_BYTES];
	(void)crypto_shorthash(out, in.data, in.len, key);
	return load_le64(out);
}

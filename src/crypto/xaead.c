/* SPDX-License-Identifier: MPL-2.0 */
/* One-shot AEADs by libsodium, which checks the length of a box, zeroes the output of one that it
 * refuses, and takes no output as "verify only". */
#include "crypto/xaead.h"

#include <string.h>

#include <sodium/crypto_aead_chacha20poly1305.h>
#include <sodium/crypto_aead_xchacha20poly1305.h>

enum { NONCE_LEN = 12 };

static void counter_nonce(uint8_t nonce[NONCE_LEN], uint64_t counter)
{
	memset(nonce, 0, NONCE_LEN);
	store_le64(nonce + 4, counter);
}

void chacha20poly1305_seal(uint8_t *out, const uint8_t key[XAEAD_KEY_LEN], uint64_t counter,
			   struct bytes plaintext, struct bytes ad)
{
	uint8_t nonce[NONCE_LEN];
	counter_nonce(nonce, counter);
	(void)crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, plaintext.data, plaintext.len,
							ad.data, ad.len, NULL, nonce, key);
}

bool chacha20poly1305_open(uint8_t *out, const uint8_t key[XAEAD_KEY_LEN], uint64_t counter,
			   struct bytes box, struct bytes ad)
{
	uint8_t nonce[NONCE_LEN];
	counter_nonce(nonce, counter);
	return crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, box.data, box.len,
							 ad.data, ad.len, nonce, key) == 0;
}

void xchacha20poly1305_seal(uint8_t *out, const uint8_t key[XAEAD_KEY_LEN],
			    const uint8_t nonce[XAEAD_NONCE_LEN], struct bytes plaintext,
			    struct bytes ad)
{
	(void)crypto_aead_xchacha20poly1305_ietf_encrypt(out, NULL, plaintext.data, plaintext.len,
							 ad.data, ad.len, NULL, nonce, key);
}

bool xchacha20poly1305_open(uint8_t *out, const uint8_t key[XAEAD_KEY_LEN],
			    const uint8_t nonce[XAEAD_NONCE_LEN], struct bytes box, struct bytes ad)
{
	return crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, box.data, box.len,
							  ad.data, ad.len, nonce, key) == 0;
}

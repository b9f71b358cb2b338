/* SPDX-License-Identifier: MPL-2.0 */
/* One-shot AEADs of handshakes and cookies (P-023, P-024). Transport packets use crypto/aead.h.
 * A box is ciphertext || tag. @out may be the start of the input. Stateless. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/macro.h"

enum {
	XAEAD_KEY_LEN = 32,
	XAEAD_TAG_LEN = 16,
	XAEAD_NONCE_LEN = 24, /* of the XChaCha20 form */
};

/* AEAD(key, counter, plaintext, ad): nonce = 4 zero bytes || counter, little-endian. Writes
 * plaintext.len + XAEAD_TAG_LEN bytes. */
void chacha20poly1305_seal(uint8_t *out, const uint8_t key[XAEAD_KEY_LEN], uint64_t counter,
			   struct bytes plaintext, struct bytes ad);

/* Writes box.len - XAEAD_TAG_LEN bytes. False if the box is too short or the tag is wrong: no
 * plaintext is released then, what was to be written is zero. @out may be NULL if it is empty. */
MUST_CHECK bool chacha20poly1305_open(uint8_t *out, const uint8_t key[XAEAD_KEY_LEN],
				      uint64_t counter, struct bytes box, struct bytes ad);

/* XAEAD(key, nonce, plaintext, ad); otherwise like the above. */
void xchacha20poly1305_seal(uint8_t *out, const uint8_t key[XAEAD_KEY_LEN],
			    const uint8_t nonce[XAEAD_NONCE_LEN], struct bytes plaintext,
			    struct bytes ad);
MUST_CHECK bool xchacha20poly1305_open(uint8_t *out, const uint8_t key[XAEAD_KEY_LEN],
				       const uint8_t nonce[XAEAD_NONCE_LEN], struct bytes box,
				       struct bytes ad);

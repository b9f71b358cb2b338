/* SPDX-License-Identifier: MPL-2.0 */
/* KDFn of the handshake: HKDF by another name, with HMAC-BLAKE2s. */
#include "crypto/kdf.h"

#include <string.h>

#include "crypto/blake2s.h"
#include "crypto/secret.h"

/* t0 = HMAC(c, x); t(i) = HMAC(t0, t(i-1) || i), where t(0) is taken as empty. */
static void expand(uint8_t *const *out, size_t n_out, const uint8_t *chaining_key, struct bytes in)
{
	uint8_t t0[KDF_LEN];
	uint8_t chain[KDF_LEN + 1]; /* t(i-1) || i */
	blake2s_hmac(t0, (struct bytes){ chaining_key, KDF_LEN }, in);

	chain[KDF_LEN] = 1;
	blake2s_hmac(chain, (struct bytes){ t0, KDF_LEN }, (struct bytes){ chain + KDF_LEN, 1 });
	memcpy(out[0], chain, KDF_LEN);
	for (size_t i = 1; i < n_out; i++) {
		chain[KDF_LEN] = (uint8_t)(i + 1);
		blake2s_hmac(chain, (struct bytes){ t0, KDF_LEN },
			     (struct bytes){ chain, sizeof(chain) });
		memcpy(out[i], chain, KDF_LEN);
	}
	secret_wipe(t0, sizeof(t0));
	secret_wipe(chain, sizeof(chain));
	secret_wipe_below(); /* libb2 keeps the last result in a buffer of its own */
}

void kdf1(uint8_t t1[KDF_LEN], const uint8_t chaining_key[KDF_LEN], struct bytes in)
{
	expand((uint8_t *const[]){ t1 }, 1, chaining_key, in);
}

void kdf2(uint8_t t1[KDF_LEN], uint8_t t2[KDF_LEN], const uint8_t chaining_key[KDF_LEN],
	  struct bytes in)
{
	expand((uint8_t *const[]){ t1, t2 }, 2, chaining_key, in);
}

void kdf3(uint8_t t1[KDF_LEN], uint8_t t2[KDF_LEN], uint8_t t3[KDF_LEN],
	  const uint8_t chaining_key[KDF_LEN], struct bytes in)
{
	expand((uint8_t *const[]){ t1, t2, t3 }, 3, chaining_key, in);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* X25519 by libsodium, which clamps and masks, and finds an all-zero result in constant time. */
#include "crypto/x25519.h"

#include <string.h>

#include <sodium/crypto_scalarmult_curve25519.h>

#include "crypto/secret.h"

bool x25519(uint8_t out[X25519_LEN], const uint8_t scalar[X25519_LEN],
	    const uint8_t point[X25519_LEN])
{
	uint8_t shared[X25519_LEN] = { 0 }; /* libsodium reads the inputs after it began to write */
	bool ok = crypto_scalarmult_curve25519(shared, scalar, point) == 0;
	if (ok)
		memcpy(out, shared, X25519_LEN);
	else
		secret_wipe(out, X25519_LEN);
	secret_wipe(shared, sizeof(shared));
	secret_wipe_below(); /* copies of the scalar, intermediate points */
	return ok;
}

void x25519_public(uint8_t out[X25519_LEN], const uint8_t scalar[X25519_LEN])
{
	uint8_t point[X25519_LEN];
	/* Can not fail: no clamped scalar takes the base point to zero. */
	(void)crypto_scalarmult_curve25519_base(point, scalar);
	memcpy(out, point, X25519_LEN);
	secret_wipe_below();
}

/* SPDX-License-Identifier: MPL-2.0 */
/* X25519 (RFC 7748, P-022). Constant time in the scalar. Stateless. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macro.h"

enum { X25519_LEN = 32 };

/* DH(@scalar, @point). The scalar is clamped, the top bit of the point ignored, non-canonical
 * points are taken. False if the result is all zero: @out is zero then and must not be used.
 * @out may be either input. */
MUST_CHECK bool x25519(uint8_t out[X25519_LEN], const uint8_t scalar[X25519_LEN],
		       const uint8_t point[X25519_LEN]);

/* The public key of @scalar, which is clamped on the way. @out may be @scalar. */
void x25519_public(uint8_t out[X25519_LEN], const uint8_t scalar[X25519_LEN]);

static inline void x25519_clamp(uint8_t scalar[X25519_LEN])
{
	scalar[0] &= 248;
	scalar[31] = (uint8_t)((scalar[31] & 127) | 64);
}

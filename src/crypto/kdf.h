/* SPDX-License-Identifier: MPL-2.0 */
/* KDFn of the handshake (P-021): t1..tn from a chaining key and an input. Each output may be the
 * chaining key or (part of) the input. Stateless. */
#pragma once

#include <stdint.h>

#include "base/bytes.h"

enum { KDF_LEN = 32 };

void kdf1(uint8_t t1[KDF_LEN], const uint8_t chaining_key[KDF_LEN], struct bytes in);
void kdf2(uint8_t t1[KDF_LEN], uint8_t t2[KDF_LEN], const uint8_t chaining_key[KDF_LEN],
	  struct bytes in);
void kdf3(uint8_t t1[KDF_LEN], uint8_t t2[KDF_LEN], uint8_t t3[KDF_LEN],
	  const uint8_t chaining_key[KDF_LEN], struct bytes in);

/* SPDX-License-Identifier: MPL-2.0 */
/* SipHash-2-4: keyed 64-bit hash for tables whose keys an attacker may choose (P-460). Stateless. */
#pragma once

#include <stdint.h>

#include "base/bytes.h"

enum { SIPHASH_KEY_LEN = 16 };

uint64_t siphash(const uint8_t key[SIPHASH_KEY_LEN], struct bytes in);

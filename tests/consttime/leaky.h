/* SPDX-License-Identifier: MPL-2.0 */
/* Functions with known leaks in the shape of AEAD kernels, and one without: what checks of constant
 * time have to find, and what they may not. None of them encrypts anything. */
#pragma once

#include "crypto/aead.h"

struct leaky {
	const char *name;
	const char *finds; /* "branch", "address", "time", or "none" */
	struct aead_impl impl;
};

/* The last one has no name. */
extern const struct leaky leaky[];

/* Compares tags byte by byte and stops at the first difference. */
bool leaky_tag_is_equal(const uint8_t *a, const uint8_t *b);

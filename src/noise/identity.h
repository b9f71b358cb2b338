/* SPDX-License-Identifier: MPL-2.0 */
/* The device's own static key pair and what is derived from it alone. Constant between two calls of
 * identity_set(): readers on other threads need a copy or the caller's lock. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "noise/message.h"

struct identity {
	bool has_private_key;               /* false: all the rest is zero (P-381) */
	uint8_t private_key[NOISE_KEY_LEN]; /* clamped */
	uint8_t public_key[NOISE_KEY_LEN];
	uint8_t mac1_key[NOISE_HASH_LEN];   /* of messages to us (P-100) */
	uint8_t cookie_key[NOISE_HASH_LEN]; /* of cookie replies by us (P-106) */
};

/* Replaces the key and recomputes the rest in one step (P-110). An all-zero key means none. Every
 * handshake needs handshake_identity_changed() afterwards. @private_key may be @id's own. */
void identity_set(struct identity *id, const uint8_t private_key[NOISE_KEY_LEN]);

/* Wipes. */
void identity_finish(struct identity *id);

/* HASH(LABEL-MAC1 || public key) and HASH(LABEL-COOKIE || public key), for either end (P-100,
 * P-106). */
void macs_derive_keys(uint8_t mac1_key[NOISE_HASH_LEN], uint8_t cookie_key[NOISE_HASH_LEN],
		      const uint8_t public_key[NOISE_KEY_LEN]);

/* SPDX-License-Identifier: MPL-2.0 */
/* The device's own key pair; labels are P-003. */
#include "noise/identity.h"

#include <string.h>

#include "crypto/blake2s.h"
#include "crypto/secret.h"
#include "crypto/x25519.h"

void identity_set(struct identity *id, const uint8_t private_key[NOISE_KEY_LEN])
{
	struct identity fresh = { 0 };
	if (!secret_is_zero(private_key, NOISE_KEY_LEN)) {
		fresh.has_private_key = true;
		memcpy(fresh.private_key, private_key, NOISE_KEY_LEN);
		x25519_clamp(fresh.private_key);
		x25519_public(fresh.public_key, fresh.private_key);
		macs_derive_keys(fresh.mac1_key, fresh.cookie_key, fresh.public_key);
	}
	*id = fresh;
	secret_wipe(&fresh, sizeof(fresh));
}

void identity_finish(struct identity *id)
{
	secret_wipe(id, sizeof(*id));
}

void macs_derive_keys(uint8_t mac1_key[NOISE_HASH_LEN], uint8_t cookie_key[NOISE_HASH_LEN],
		      const uint8_t public_key[NOISE_KEY_LEN])
{
	static const uint8_t label_mac1[8] = "mac1----";
	static const uint8_t label_cookie[8] = "cookie--";
	struct bytes key = { public_key, NOISE_KEY_LEN };
	blake2s_hash(mac1_key, (struct bytes[]){ { label_mac1, sizeof(label_mac1) }, key }, 2);
	blake2s_hash(cookie_key, (struct bytes[]){ { label_cookie, sizeof(label_cookie) }, key },
		     2);
}

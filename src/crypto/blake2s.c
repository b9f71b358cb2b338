/* SPDX-License-Identifier: MPL-2.0 */
/* BLAKE2s by libb2, HMAC over it. Every state is wiped: a keyed one holds the key, and a hash of the
 * handshake is itself a secret (P-461). */
#include "crypto/blake2s.h"

#include <assert.h>
#include <blake2.h>
#include <string.h>

#include "base/macro.h"
#include "crypto/secret.h"

void blake2s_digest(struct mut_bytes out, struct bytes key, const struct bytes *parts,
		    size_t n_parts)
{
	blake2s_state state;
	int r = key.len ? blake2s_init_key(&state, out.len, key.data, key.len)
			: blake2s_init(&state, out.len);
	for (size_t i = 0; i < n_parts; i++)
		if (parts[i].len) /* data may be NULL otherwise */
			r |= blake2s_update(&state, parts[i].data, parts[i].len);
	r |= blake2s_final(&state, out.data, out.len);
	assert(r == 0); /* only a length out of range can fail */
	(void)r;
	secret_wipe(&state, sizeof(state));
}

void blake2s_hash(uint8_t out[BLAKE2S_HASH_LEN], const struct bytes *parts, size_t n_parts)
{
	blake2s_digest((struct mut_bytes){ out, BLAKE2S_HASH_LEN }, (struct bytes){ NULL, 0 },
		       parts, n_parts);
}

void blake2s_mac(uint8_t out[BLAKE2S_MAC_LEN], struct bytes key, struct bytes in)
{
	blake2s_digest((struct mut_bytes){ out, BLAKE2S_MAC_LEN }, key, &in, 1);
}

void blake2s_hmac(uint8_t out[BLAKE2S_HASH_LEN], struct bytes key, struct bytes in)
{
	uint8_t block[BLAKE2S_BLOCK_LEN] = { 0 };
	uint8_t inner[BLAKE2S_HASH_LEN];
	if (key.len > sizeof(block))
		blake2s_hash(block, &key, 1);
	else if (key.len)
		memcpy(block, key.data, key.len);

	for (size_t i = 0; i < sizeof(block); i++)
		block[i] ^= 0x36;
	blake2s_hash(inner, (struct bytes[]){ { block, sizeof(block) }, in }, 2);
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] ^= 0x36 ^ 0x5c;
	blake2s_hash(out, (struct bytes[]){ { block, sizeof(block) }, { inner, sizeof(inner) } },
		     2);

	secret_wipe(block, sizeof(block));
	secret_wipe(inner, sizeof(inner));
}

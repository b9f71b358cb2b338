/* SPDX-License-Identifier: MPL-2.0 */
/* SipHash-2-4 against the published values for the key 00..0f and inputs 00, 0001, ... */
#include <criterion/criterion.h>

#include "base/macro.h"
#include "crypto/siphash.h"

Test(siphash, published_values)
{
	static const struct {
		size_t len;
		uint64_t hash;
	} values[] = {
		{ 0, UINT64_C(0x726fdb47dd0e0e31) }, { 1, UINT64_C(0x74f839c593dc67fd) },
		{ 2, UINT64_C(0x0d6c8009d9a94f5a) }, { 7, UINT64_C(0xab0200f58b01d137) },
		{ 8, UINT64_C(0x93f5f5799a932462) }, { 15, UINT64_C(0xa129ca6149be45e5) },
	};
	uint8_t count[16];
	for (size_t i = 0; i < sizeof(count); i++)
		count[i] = (uint8_t)i;
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		cr_assert(siphash(count, (struct bytes){ count, values[i].len }) == values[i].hash,
			  "length %zu", values[i].len);
}

Test(siphash, depends_on_the_key)
{
	uint8_t key[SIPHASH_KEY_LEN] = { 0 };
	struct bytes in = { (const uint8_t *)"192.0.2.1", 9 };
	uint64_t hash = siphash(key, in);
	key[15] = 1;
	cr_assert(siphash(key, in) != hash);
}

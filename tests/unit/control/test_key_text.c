/* SPDX-License-Identifier: MPL-2.0 */
/* Keys as text. */
#include <ctype.h>
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "control/key_text.h"

static const char hex[] = "00112233445566778899aabbccddeeff0123456789abcdef1032547698badcfe";

Test(key_text, decodes_either_case)
{
	uint8_t key[KEY_LEN];
	uint8_t upper_key[KEY_LEN];
	char upper[KEY_HEX_LEN];
	for (size_t i = 0; i < KEY_HEX_LEN; i++)
		upper[i] = (char)toupper(hex[i]);

	cr_assert(key_from_hex(key, hex, KEY_HEX_LEN));
	cr_assert(key_from_hex(upper_key, upper, KEY_HEX_LEN));
	cr_assert(eq(int, key[1], 0x11));
	cr_assert(eq(int, key[KEY_LEN - 1], 0xfe));
	cr_assert(memcmp(key, upper_key, KEY_LEN) == 0);
}

Test(key_text, encodes_what_it_decoded)
{
	uint8_t key[KEY_LEN];
	char text[KEY_HEX_LEN];

	for (unsigned seed = 0; seed < 256; seed++) {
		for (unsigned i = 0; i < KEY_LEN; i++)
			key[i] = (uint8_t)(seed * 7 + i * 31);
		uint8_t again[KEY_LEN];
		key_to_hex(text, key);
		cr_assert(key_from_hex(again, text, sizeof(text)));
		cr_assert(memcmp(key, again, KEY_LEN) == 0);
	}
	cr_assert(key_from_hex(key, hex, KEY_HEX_LEN));
	key_to_hex(text, key);
	cr_assert(memcmp(text, hex, KEY_HEX_LEN) == 0);
}

Test(key_text, refuses_every_other_byte_everywhere)
{
	uint8_t key[KEY_LEN];
	char text[KEY_HEX_LEN];

	for (size_t at = 0; at < KEY_HEX_LEN; at++) {
		memcpy(text, hex, sizeof(text));
		for (int c = 0; c < 256; c++) {
			text[at] = (char)c;
			cr_assert(eq(int, key_from_hex(key, text, sizeof(text)), isxdigit(c) != 0),
				  "byte %d at %zu", c, at);
		}
	}
}

Test(key_text, refuses_other_lengths)
{
	uint8_t key[KEY_LEN];
	char text[KEY_HEX_LEN + 2];
	memset(text, 'a', sizeof(text));

	for (size_t len = 0; len <= sizeof(text); len++)
		cr_assert(eq(int, key_from_hex(key, text, len), len == KEY_HEX_LEN));
}

Test(key_text, base64_is_what_wg_prints)
{
	static const struct {
		const char *hex, *base64;
	} vectors[] = {
		{ "0000000000000000000000000000000000000000000000000000000000000000",
		  "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" },
		{ "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		  "//////////////////////////////////////////8=" },
		/* every digit once, then some again */
		{ "00108310518720928b30d38f41149351559761969b71d79f8218a39259a7a29a",
		  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopo=" },
		{ "aabb2dbafc31cb3d35db7e39ebbf3dfbf0196b3d3dfbf9a7a29aabb2dbafc318",
		  "qrstuvwxyz0123456789+/AZaz09+/mnopqrstuvwxg=" },
	};

	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		uint8_t key[KEY_LEN];
		char text[KEY_BASE64_LEN];
		cr_assert(key_from_hex(key, vectors[i].hex, KEY_HEX_LEN));
		key_to_base64(text, key);
		cr_assert(memcmp(text, vectors[i].base64, sizeof(text)) == 0, "%s: got %.44s",
			  vectors[i].hex, text);
	}
}

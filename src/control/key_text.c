/* SPDX-License-Identifier: MPL-2.0 */
/* Keys as text. Digits are turned by arithmetic on masks, never by tables or comparisons. */
#include "control/key_text.h"

/* All ones if lo <= x <= hi, else zero; all three below 256. */
static uint32_t range_mask(uint32_t x, uint32_t lo, uint32_t hi)
{
	/* Both differences wrap to a set top bit exactly when x is inside. */
	return 0U - (((lo - 1 - x) & (x - hi - 1)) >> 31);
}

/* The digit's value, with BIT(8) set if it is none. */
static uint32_t hex_value(char digit)
{
	uint32_t x = (unsigned char)digit;
	uint32_t lower = x | 0x20U;
	uint32_t is_num = range_mask(x, '0', '9');
	uint32_t is_alpha = range_mask(lower, 'a', 'f');

	return (is_num & (x - '0')) | (is_alpha & (lower - 'a' + 10)) |
	       (~(is_num | is_alpha) & BIT(8));
}

bool key_from_hex(uint8_t key[KEY_LEN], const char *text, size_t len)
{
	if (len != KEY_HEX_LEN)
		return false;

	uint32_t bad = 0;
	for (size_t i = 0; i < KEY_LEN; i++) {
		uint32_t high = hex_value(text[2 * i]);
		uint32_t low = hex_value(text[2 * i + 1]);
		bad |= high | low;
		key[i] = (uint8_t)(high << 4 | low);
	}
	return !(bad & BIT(8));
}

static char hex_digit(uint32_t value)
{
	return (char)('0' + value + (range_mask(value, 10, 15) & ('a' - '9' - 1)));
}

void key_to_hex(char text[KEY_HEX_LEN], const uint8_t key[KEY_LEN])
{
	for (size_t i = 0; i < KEY_LEN; i++) {
		text[2 * i] = hex_digit(key[i] >> 4);
		text[2 * i + 1] = hex_digit(key[i] & 15U);
	}
}

/* A-Z a-z 0-9 + /: each later range corrects the offset of those before it. */
static char base64_digit(uint32_t value)
{
	return (char)('A' + value + (range_mask(value, 26, 63) & 6U) -
		      (range_mask(value, 52, 63) & 75U) - (range_mask(value, 62, 63) & 15U) +
		      (range_mask(value, 63, 63) & 3U));
}

void key_to_base64(char text[KEY_BASE64_LEN], const uint8_t key[KEY_LEN])
{
	size_t out = 0;
	/* 30 bytes are ten full groups; the last two bytes make three digits and a '='. */
	for (size_t i = 0; i < KEY_LEN; i += 3) {
		uint32_t third = i + 2 < KEY_LEN ? key[i + 2] : 0;
		uint32_t group = (uint32_t)key[i] << 16 | (uint32_t)key[i + 1] << 8 | third;
		for (unsigned shift = 24; shift > 0;) {
			shift -= 6;
			text[out++] = base64_digit(group >> shift & 63U);
		}
	}
	text[KEY_BASE64_LEN - 1] = '=';
}

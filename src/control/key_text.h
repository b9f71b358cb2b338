/* SPDX-License-Identifier: MPL-2.0 */
/* Keys as text: hexadecimal as UAPI writes them, base64 as wg(8) shows them. Constant time: no
 * branch and no index depends on a digit (P-460). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"

enum {
	KEY_LEN = 32,
	KEY_HEX_LEN = 64,    /* digits, without terminator */
	KEY_BASE64_LEN = 44, /* with its one '=', without terminator */
};

/* Exactly 64 digits of either case (U-020). False leaves @key undefined but not secret. */
MUST_CHECK bool key_from_hex(uint8_t key[KEY_LEN], const char *text, size_t len);

/* Lower case; writes 64 characters and no terminator. */
void key_to_hex(char text[KEY_HEX_LEN], const uint8_t key[KEY_LEN]);

/* Writes 44 characters and no terminator. For public keys in the log and in status. */
void key_to_base64(char text[KEY_BASE64_LEN], const uint8_t key[KEY_LEN]);

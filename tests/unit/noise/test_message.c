/* SPDX-License-Identifier: MPL-2.0 */
/* What counts as a message (P-034), and the constants as numbers. */
#include <criterion/criterion.h>

#include "noise/message.h"

static uint8_t datagram[65527];

static enum message_type classify(uint32_t first_word, size_t len)
{
	store_le32(datagram, first_word);
	return message_classify(datagram, len);
}

/* The rule of P-034, written once more. */
static enum message_type expected(uint32_t type, size_t len)
{
	switch (type) {
	case 1:
		return len == 148 ? MESSAGE_INITIATION : MESSAGE_INVALID;
	case 2:
		return len == 92 ? MESSAGE_RESPONSE : MESSAGE_INVALID;
	case 3:
		return len == 64 ? MESSAGE_COOKIE_REPLY : MESSAGE_INVALID;
	case 4:
		return len >= 32 ? MESSAGE_TRANSPORT : MESSAGE_INVALID;
	default:
		return MESSAGE_INVALID;
	}
}

Test(message, every_type_and_length)
{
	for (uint32_t type = 0; type < 256; type++)
		for (size_t len = 0; len <= 300; len++)
			cr_assert(classify(type, len) == expected(type, len), "type %u, length %zu",
				  type, len);
}

Test(message, largest_datagrams)
{
	cr_assert(classify(4, 65507) == MESSAGE_TRANSPORT); /* IPv4 */
	cr_assert(classify(4, 65527) == MESSAGE_TRANSPORT); /* IPv6 */
	cr_assert(classify(1, 65507) == MESSAGE_INVALID);
}

Test(message, reserved_bytes_must_be_zero)
{
	static const size_t len[] = { 0, 148, 92, 64, 32 };
	for (uint32_t type = 1; type <= 4; type++)
		for (int bit = 8; bit < 32; bit++)
			cr_assert(classify(type | 1U << bit, len[type]) == MESSAGE_INVALID,
				  "type %u, bit %d", type, bit);
}

Test(message, reads_nothing_of_an_empty_datagram)
{
	cr_assert(message_classify(NULL, 0) == MESSAGE_INVALID);
}

Test(message, constants)
{
	cr_assert(REKEY_AFTER_MESSAGES == UINT64_C(1152921504606846976));
	cr_assert(REJECT_AFTER_MESSAGES == UINT64_C(18446744073709543423));
	cr_assert(REKEY_AFTER_TIME_NS == UINT64_C(120000000000));
	cr_assert(REJECT_AFTER_TIME_NS == UINT64_C(180000000000));
	cr_assert(REKEY_TIMEOUT_NS == UINT64_C(5000000000));
	cr_assert(REKEY_TIMEOUT_JITTER_MAX_NS == UINT64_C(333000000));
	cr_assert(KEEPALIVE_TIMEOUT_NS == UINT64_C(10000000000));
	cr_assert(COOKIE_SECRET_MAX_AGE_NS == UINT64_C(120000000000));
	cr_assert(COOKIE_SECRET_LATENCY_NS == UINT64_C(5000000000));
	cr_assert(INITIATION_MIN_INTERVAL_NS == UINT64_C(20000000));
	cr_assert(REPLAY_WINDOW == 8128 && MAX_TIMER_HANDSHAKES == 18);
}

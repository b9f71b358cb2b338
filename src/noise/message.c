/* SPDX-License-Identifier: MPL-2.0 */
/* Telling the four messages apart. */
#include "noise/message.h"

enum { TRANSPORT_MIN_LEN = sizeof(struct message_transport) + NOISE_TAG_LEN };

enum message_type message_classify(const uint8_t *data, size_t len)
{
	if (len < TRANSPORT_MIN_LEN) /* no message is shorter */
		return MESSAGE_INVALID;

	/* All four bytes: the reserved ones must be zero (P-034). */
	switch (load_le32(data)) {
	case MESSAGE_TRANSPORT:
		return MESSAGE_TRANSPORT;
	case MESSAGE_INITIATION:
		return len == sizeof(struct message_initiation) ? MESSAGE_INITIATION
								: MESSAGE_INVALID;
	case MESSAGE_RESPONSE:
		return len == sizeof(struct message_response) ? MESSAGE_RESPONSE : MESSAGE_INVALID;
	case MESSAGE_COOKIE_REPLY:
		return len == sizeof(struct message_cookie_reply) ? MESSAGE_COOKIE_REPLY
								  : MESSAGE_INVALID;
	default:
		return MESSAGE_INVALID;
	}
}

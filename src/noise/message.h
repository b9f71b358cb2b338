/* SPDX-License-Identifier: MPL-2.0 */
/* The four messages on the wire (P-030..P-033) and the constants of the protocol (P-001..P-018).
 * All members are bytes, so a struct can be laid over a datagram at any address. */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/macro.h"

#define REKEY_AFTER_MESSAGES  (UINT64_C(1) << 60)                /* P-004 */
#define REJECT_AFTER_MESSAGES (UINT64_MAX - (UINT64_C(1) << 13)) /* P-005: 2^64 - 2^13 - 1 */

#define REKEY_AFTER_TIME_NS         (120 * NSEC_PER_SEC) /* P-006 */
#define REJECT_AFTER_TIME_NS        (180 * NSEC_PER_SEC) /* P-007 */
#define REKEY_TIMEOUT_NS            (5 * NSEC_PER_SEC)   /* P-008, without the jitter */
#define REKEY_TIMEOUT_JITTER_MAX_NS (333 * NSEC_PER_MSEC)
#define KEEPALIVE_TIMEOUT_NS        (10 * NSEC_PER_SEC)  /* P-009 */
#define COOKIE_SECRET_MAX_AGE_NS    (120 * NSEC_PER_SEC) /* P-011 */
#define COOKIE_SECRET_LATENCY_NS    (5 * NSEC_PER_SEC)
#define INITIATION_MIN_INTERVAL_NS  (NSEC_PER_SEC / 50) /* P-012: 20 ms */

enum {
	MAX_TIMER_HANDSHAKES = 18, /* P-010 */
	REPLAY_BITMAP_BITS = 8192, /* P-013 */
	REPLAY_WINDOW = REPLAY_BITMAP_BITS - 64,
	PADDING_MULTIPLE = 16,    /* P-014 */
	MAX_STAGED_PACKETS = 128, /* P-015 */
	HANDSHAKE_TOS = 0x88,     /* P-016: DSCP AF41, ECN 00 */
	DEFAULT_MTU = 1420,       /* P-017 */
	TRANSPORT_OVERHEAD = 32,  /* P-018: header and tag */

	NOISE_KEY_LEN = 32, /* public, private and preshared keys alike */
	NOISE_HASH_LEN = 32,
	NOISE_TAG_LEN = 16,
	TAI64N_LEN = 12,
	COOKIE_LEN = 16,
	COOKIE_NONCE_LEN = 24,
	MAC_LEN = 16,
};

enum message_type {
	MESSAGE_INVALID = 0, /* drop it */
	MESSAGE_INITIATION = 1,
	MESSAGE_RESPONSE = 2,
	MESSAGE_COOKIE_REPLY = 3,
	MESSAGE_TRANSPORT = 4,
};

struct message_macs {
	uint8_t mac1[MAC_LEN];
	uint8_t mac2[MAC_LEN];
};

struct message_initiation {
	le32_t type; /* the type byte and three zero bytes */
	le32_t sender_index;
	uint8_t ephemeral[NOISE_KEY_LEN];
	uint8_t encrypted_static[NOISE_KEY_LEN + NOISE_TAG_LEN];
	uint8_t encrypted_timestamp[TAI64N_LEN + NOISE_TAG_LEN];
	struct message_macs macs;
};

struct message_response {
	le32_t type;
	le32_t sender_index;
	le32_t receiver_index;
	uint8_t ephemeral[NOISE_KEY_LEN];
	uint8_t encrypted_nothing[NOISE_TAG_LEN];
	struct message_macs macs;
};

struct message_cookie_reply {
	le32_t type;
	le32_t receiver_index;
	uint8_t nonce[COOKIE_NONCE_LEN];
	uint8_t encrypted_cookie[COOKIE_LEN + NOISE_TAG_LEN];
};

/* Followed by the ciphertext and its tag. */
struct message_transport {
	le32_t type;
	le32_t receiver_index;
	le64_t counter;
};

static_assert(sizeof(struct message_initiation) == 148, "P-030");
static_assert(offsetof(struct message_initiation, macs) == 116, "P-030");
static_assert(sizeof(struct message_response) == 92, "P-031");
static_assert(offsetof(struct message_response, macs) == 60, "P-031");
static_assert(sizeof(struct message_cookie_reply) == 64, "P-032");
static_assert(sizeof(struct message_transport) == 16, "P-033");
static_assert(_Alignof(struct message_initiation) == 1, "may lie anywhere in a buffer");

/* The type of a datagram whose first four bytes and length are both as they must be (P-034), else
 * MESSAGE_INVALID. Looks at nothing else. */
enum message_type message_classify(const uint8_t *data, size_t len);

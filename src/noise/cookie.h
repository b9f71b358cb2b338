/* SPDX-License-Identifier: MPL-2.0 */
/* mac1, mac2 and cookie replies, both sides (P-100..P-109). Time and randomness are arguments. In
 * all functions @msg, @len is a whole initiation or response: the macs are its last 32 bytes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/macro.h"
#include "noise/handshake.h"
#include "noise/identity.h"
#include "noise/message.h"

enum {
	COOKIE_SECRET_LEN = 32,
	COOKIE_SOURCE_MAX_LEN = 18, /* IPv6 address and port */
};

/* First of all checks on a received initiation or response (P-101). False also without a key. */
MUST_CHECK bool macs_check_mac1(const struct identity *id, const uint8_t *msg, size_t len);

/* Refusing side, one per device; caller's lock. Zeroed memory is a valid start. */
struct cookie_checker {
	uint8_t secret[COOKIE_SECRET_LEN];
	uint64_t birth_ns;
	bool has_secret;
};

/* True: draw 32 random bytes and call cookie_checker_renew() before anything below (P-105). */
bool cookie_checker_is_stale(const struct cookie_checker *c, uint64_t now_ns);
void cookie_checker_renew(struct cookie_checker *c, const uint8_t fresh[COOKIE_SECRET_LEN],
			  uint64_t now_ns);
/* Wipes. */
void cookie_checker_finish(struct cookie_checker *c);

/* @source = address bytes || port bytes, network order (P-104). False without a secret. */
MUST_CHECK bool cookie_check_mac2(const struct cookie_checker *c, const uint8_t *msg, size_t len,
				  struct bytes source);

/* Answers @msg, which has a valid mac1 and no valid mac2 (P-106). @nonce is random. */
void cookie_create_reply(struct message_cookie_reply *ret, const struct cookie_checker *c,
			 const struct identity *id, const uint8_t *msg, size_t len,
			 struct bytes source, const uint8_t nonce[COOKIE_NONCE_LEN]);

/* Refused side, one per peer. Zeroed memory is a valid start. */
struct cookie_jar {
	bool has_cookie;
	bool has_last_mac1; /* a mac1 was sent and not yet answered by a cookie reply */
	uint8_t cookie[COOKIE_LEN];
	uint8_t last_mac1[MAC_LEN];
	uint64_t received_ns; /* when the cookie came */
};

/* Completes a message to the peer of @hs: mac1, and mac2 if there is a fresh cookie (P-102). */
void cookie_jar_add_macs(struct cookie_jar *jar, const struct handshake *hs, uint8_t *msg,
			 size_t len, uint64_t now_ns);

/* A cookie reply that was found by its receiver index (P-107). False: ignored, nothing changed. */
MUST_CHECK bool cookie_jar_consume_reply(struct cookie_jar *jar, const struct handshake *hs,
					 const struct message_cookie_reply *msg, uint64_t now_ns);

/* Wipes. */
void cookie_jar_finish(struct cookie_jar *jar);

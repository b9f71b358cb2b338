/* SPDX-License-Identifier: MPL-2.0 */
/* What the control thread sends: handshake messages, staged packets and keepalives. */
#pragma once

#include "control/control.h"

/* Sends an initiation unless one or a response left less than 5 s ago (P-221), there is no private
 * key, no endpoint, or no handshake is possible with this peer. */
void send_initiation(struct control *c, struct peer *p, uint64_t now_ns);
/* Whether send_initiation() would. */
bool may_send_initiation(const struct control *c, struct peer *p, uint64_t now_ns);
/* The end of a job for an initiation: sends what it came to, if that may still be. */
void send_initiation_with(struct control *c, struct peer *p, const struct handshake_dh *dh,
			  uint64_t now_ns);
/* The same as a fresh attempt: resets the attempt counter first (P-225, P-220, P-202). */
void send_first_initiation(struct control *c, struct peer *p, uint64_t now_ns);
/* Answers the initiation that @p's handshake consumed (P-060 - P-066), unless it is no longer the one
 * that @dh was computed for. */
void send_response(struct control *c, struct peer *p, const struct handshake_dh *dh,
		   uint64_t now_ns);
/* P-106, to whoever sent @msg. */
void send_cookie_reply(struct control *c, struct bytes msg, const struct endpoint *to,
		       uint64_t now_ns);

/* Sends the staged packets if there is a usable session, otherwise asks for one (P-240, P-242). */
void send_staged(struct control *c, struct peer *p, uint64_t now_ns);
/* The same with @s, which is about to become the current session: staged packets leave before the
 * workers see it. */
void send_staged_with(struct control *c, struct peer *p, struct session *s, uint64_t now_ns);
/* P-243: puts an empty packet into the queue if nothing else is there ... */
void stage_keepalive(struct control *c, struct peer *p);
/* ... and tries to send the queue. */
void send_keepalive(struct control *c, struct peer *p, uint64_t now_ns);

/* Gives the peer's handshake no index any more (P-093). */
void forget_handshake_index(struct control *c, struct peer *p);
/* Address bytes and port bytes of an endpoint, as cookies are bound to (P-104). Returns the length. */
size_t endpoint_source_bytes(uint8_t out[COOKIE_SOURCE_MAX_LEN], const struct endpoint *e);

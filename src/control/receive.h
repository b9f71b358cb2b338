/* SPDX-License-Identifier: MPL-2.0 */
/* Received handshake messages: load, macs, and what they do to a peer. */
#pragma once

#include "control/control.h"

/* The end of a job for a response (section 4 of the specification); of an initiation it is
 * control/answer.h. */
void receive_response(struct control *c, const struct message_response *msg,
		      const struct handshake_dh *dh, const struct endpoint *from, uint64_t now_ns);
/* What an accepted initiation and an accepted response have in common (P-340, P-213, P-420). */
void receive_note_accepted(struct peer *p, const struct endpoint *from, uint64_t len,
			   uint64_t now_ns);
/* P-120: whether senders must show a cookie; takes note of the backlog as it is now. */
bool receive_is_under_load(struct control *c, uint64_t now_ns);

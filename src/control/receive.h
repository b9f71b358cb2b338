/* SPDX-License-Identifier: MPL-2.0 */
/* Received handshake messages: load, macs, and what they do to a peer. */
#pragma once

#include "control/control.h"

/* The expensive part of one queued initiation or response (sections 4 and 6 of the specification). */
void receive_queued_handshake(struct control *c, const struct queued_handshake *q, uint64_t now_ns);
/* P-120: whether senders must show a cookie; takes note of the backlog as it is now. */
bool receive_is_under_load(struct control *c, uint64_t now_ns);

/* SPDX-License-Identifier: MPL-2.0 */
/* The three key slots of a peer and how sessions move through them (P-170 - P-178). */
#pragma once

#include "control/control.h"

/* Derives the session of the peer's finished handshake and puts it where it belongs: current as
 * initiator (P-171), next as responder (P-172). False: out of memory, nothing is left of it. */
MUST_CHECK bool sessions_begin(struct control *c, struct peer *p, uint64_t now_ns);
/* The first message on the next session came (P-173): it becomes current. */
void sessions_confirm(struct control *c, struct peer *p, uint64_t now_ns);
/* Ends the handshake and all three sessions at once. */
void sessions_clear(struct control *c, struct peer *p);
/* The private key changed: none may send any more, all may receive until they are too old. */
void sessions_disable_sending(struct peer *p);

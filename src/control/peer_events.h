/* SPDX-License-Identifier: MPL-2.0 */
/* What happens to a peer by itself: its timers, what workers report of it, packets they hand over. */
#pragma once

#include "control/control.h"

/* Arms the wheel for the peer's next deadline. After every call that may have changed a timer. */
void peer_plan(struct control *c, struct peer *p);
/* The peer's timer node fired. */
void peer_timers_due(struct control *c, struct peer *p, uint64_t now_ns);
/* Empties the attention stack and the control thread's mailbox. */
void peers_attend(struct control *c, uint64_t now_ns);
/* Ends everything that runs for the peer but its configuration and memory (P-400). */
void peer_stop(struct control *c, struct peer *p);
/* P-387. */
void peer_remove(struct control *c, struct peer *p);

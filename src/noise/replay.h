/* SPDX-License-Identifier: MPL-2.0 */
/* Replay window of one receiving key (P-143..P-146): RFC 6479's bitmap that is never shifted. Not
 * thread-safe: one worker owns a key pair's receiving side. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "noise/message.h"

struct replay {
	uint64_t next;                            /* highest accepted counter + 1; 0 = none yet */
	uint64_t bitmap[REPLAY_BITMAP_BITS / 64]; /* bit c mod 8192: counter c was accepted */
};

void replay_init(struct replay *r);

/* Marks @counter. False: too old, seen before, or past REJECT_AFTER_MESSAGES; nothing is changed
 * then. Only after the packet was authenticated. */
MUST_CHECK bool replay_accept(struct replay *r, uint64_t counter);

/* What replay_accept() would say, for a cheap look before decryption. Changes nothing. */
MUST_CHECK bool replay_may_accept(const struct replay *r, uint64_t counter);

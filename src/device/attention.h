/* SPDX-License-Identifier: MPL-2.0 */
/* How a worker tells the control thread to look at a peer: a lock-free stack of peers with a set of
 * reasons each. Many producers, one consumer; a peer is on it at most once, so it needs no room. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct peer;

enum attention_reason {
	ATTENTION_TIMER = 1 << 0,          /* a deadline was armed before the planned look */
	ATTENTION_CONFIRMED = 1 << 1,      /* first packet on the next session (P-173) */
	ATTENTION_REKEY_SENT = 1 << 2,     /* P-220: also resets the attempts */
	ATTENTION_REKEY_RECEIVED = 1 << 3, /* P-226 */
	ATTENTION_FREE = 1 << 4,           /* a removed peer's grace period is over */
};

/* The part of a peer that links it. */
struct attention_link {
	_Atomic uint32_t reasons;    /* 0 = not on the stack */
	struct attention_link *next; /* written by who put it there, before the push */
};

struct attention {
	_Atomic(struct attention_link *) head;
};

/* Adds @reason to @l. Any thread. True: the stack was empty, wake the control thread. */
bool attention_call(struct attention *a, struct attention_link *l, uint32_t reason);
/* Takes everything, newest first, linked by next; NULL = nothing. Control thread only. For each
 * one read next first, then call attention_take(). */
struct attention_link *attention_pop_all(struct attention *a);
/* The reasons of one popped link, which may be called for again from now on. */
uint32_t attention_take(struct attention_link *l);

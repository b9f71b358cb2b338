/* SPDX-License-Identifier: MPL-2.0 */
/* The timer rules of one peer (P-200..P-228). Deadlines are plain values of CLOCK_BOOTTIME in ns;
 * nobody sleeps here and no clock is read. Workers note what they sent and received by relaxed
 * stores; the control thread looks when the earliest deadline it knows of has passed.
 *
 * The hand-over is lazy: a worker only reports a peer to the control thread when it armed a
 * deadline that lies before the control thread's next look at that peer (wake_ns). */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macro.h"

enum timer_kind {
	TIMER_RETRANSMIT_HANDSHAKE, /* P-200 */
	TIMER_SEND_KEEPALIVE,       /* P-201 */
	TIMER_NEW_HANDSHAKE,        /* P-202 */
	TIMER_ZERO_KEY_MATERIAL,    /* P-203 */
	TIMER_PERSISTENT_KEEPALIVE, /* P-204 */
	TIMER_N_KINDS,
};

#define TIMER_NEVER UINT64_MAX

struct timers {
	/* any thread, atomic */
	_Atomic uint64_t at[TIMER_N_KINDS]; /* deadline in ns, 0 = not pending */
	_Atomic uint64_t persistent_ns;     /* interval, 0 = off; written by control */
	_Atomic uint64_t wake_ns; /* control's next look at this peer; TIMER_NEVER = none */
	_Atomic uint64_t initiation_allowed_ns;  /* P-221: not before; written by control */
	_Atomic bool need_another_keepalive;     /* P-214 */
	_Atomic bool sent_last_minute_handshake; /* P-226; any may set, control clears */

	/* owner: control */
	uint32_t n_attempts; /* P-223 */
};

void timers_init(struct timers *t);
/* Interface down: nothing is pending, an initiation is allowed at once (P-400). */
void timers_stop(struct timers *t);

/* The events. Any thread. True: tell the control thread to look at this peer. @jitter_ns is the
 * J of P-008, drawn anew each time. */
bool timers_authenticated_sent(struct timers *t, uint64_t now_ns);            /* P-212 */
bool timers_authenticated_received(struct timers *t, uint64_t now_ns);        /* P-213 */
bool timers_data_received(struct timers *t, uint64_t now_ns);                 /* P-214 */
bool timers_data_sent(struct timers *t, uint64_t now_ns, uint64_t jitter_ns); /* P-215 */

/* Control thread only. */
void timers_initiation_sent(struct timers *t, uint64_t now_ns, uint64_t jitter_ns); /* P-200 */
void timers_handshake_message_sent(struct timers *t, uint64_t now_ns);              /* P-221 */
/* P-073: after the answer to an initiation that crossed with ours. */
void timers_hold_back(struct timers *t, uint64_t more_ns);
/* Did an initiation leave so short a time ago that one that arrives now may have crossed with it? For
 * when it was the last handshake message sent. */
bool timers_initiation_is_young(const struct timers *t, uint64_t now_ns);
void timers_allow_initiation(struct timers *t); /* private key changed, interface down */
bool timers_may_initiate(const struct timers *t, uint64_t now_ns); /* P-221; also any thread */
void timers_session_derived(struct timers *t, uint64_t now_ns);    /* P-210 */
void timers_handshake_complete(struct timers *t);                  /* P-211 */
/* P-223: true = give up (staged packets are the caller's), false = initiate once more. */
MUST_CHECK bool timers_retransmit_expired(struct timers *t, uint64_t now_ns);
/* P-222: the retransmission has to wait until an initiation is allowed again. */
void timers_retransmit_later(struct timers *t);
/* P-224, called before the keepalive goes out, which cancels what is armed here. */
void timers_keepalive_expired(struct timers *t, uint64_t now_ns);
void timers_set_persistent(struct timers *t, uint16_t interval_sec);

/* Which deadlines have passed, as bits 1 << enum timer_kind; they are no longer pending. */
unsigned timers_expire(struct timers *t, uint64_t now_ns);
/* The control thread's next look: the earliest deadline, or TIMER_NEVER. Publishes it so that
 * workers report anything earlier. */
uint64_t timers_plan(struct timers *t);

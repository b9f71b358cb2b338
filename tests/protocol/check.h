/* SPDX-License-Identifier: MPL-2.0 */
/* What the tests in virtual time share: a session to start from, and bounds on when things happen. */
#pragma once

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/rcu.h"
#include "noise/message.h"
#include "sim.h"

/* How late a timer may fire (section 10); never early. */
#define LATE_NS   (50 * NSEC_PER_MSEC)
#define JITTER_NS REKEY_TIMEOUT_JITTER_MAX_NS

/* Node 0 is the initiator of a session, 1 the responder; both have used it. */
static inline void bring_up(struct sim *s)
{
	sim_send(s, 0, 1, 1);
	sim_run_sec(s, 1);
	cr_assert(sim_has_session(s, 0, 1) && sim_has_session(s, 1, 0));
}

/* The same, and 29 s later: all but the keys' own timers have run out. */
static inline void bring_up_idle(struct sim *s)
{
	bring_up(s);
	sim_run_sec(s, 29);
}

static inline struct timers *timers_of(struct sim *s, uint32_t of)
{
	return &sim_peer(s, of, of == 0 ? 1 : 0)->timers;
}

static inline struct session *session_of(struct sim *s, uint32_t of)
{
	return rcu_peek(&sim_peer(s, of, of == 0 ? 1 : 0)->current);
}

/* When node @of sent its latest message of @type. */
static inline uint64_t last_sent_ns(const struct sim *s, uint32_t of, uint8_t type)
{
	const struct sim_sent *x = sim_last_sent(&s->node[of], type, 0);
	cr_assert(x != NULL);
	return x->at_ns;
}

static inline void check_between(uint64_t at_ns, uint64_t from_ns, uint64_t to_ns)
{
	cr_assert(ge(u64, at_ns, from_ns), "%.3f ms early", (double)(from_ns - at_ns) / 1e6);
	cr_assert(le(u64, at_ns, to_ns), "%.3f ms late", (double)(at_ns - to_ns) / 1e6);
}

static inline void check_due(uint64_t at_ns, uint64_t due_ns)
{
	check_between(at_ns, due_ns, due_ns + LATE_NS);
}

/* Due at @due_ns plus J of P-008. */
static inline void check_due_jittered(uint64_t at_ns, uint64_t due_ns)
{
	check_between(at_ns, due_ns, due_ns + JITTER_NS + LATE_NS);
}

/* What node @of counted for its only (or first) peer. */
static inline uint64_t rx_bytes(struct sim *s, uint32_t of)
{
	return atomic_load(&sim_peer(s, of, of == 0 ? 1 : 0)->rx_bytes);
}

static inline uint64_t tx_bytes(struct sim *s, uint32_t of)
{
	return atomic_load(&sim_peer(s, of, of == 0 ? 1 : 0)->tx_bytes);
}

/* A datagram arrives at node @to from the address of node @from. */
static inline void arrive(struct sim *s, uint32_t from, uint32_t to, const uint8_t *data,
			  uint32_t len)
{
	sim_inject(s, to, &s->node[from].address, data, len);
	sim_run(s, 0);
}

/* An authentic transport message with @counter and any plaintext from the initiator or responder. */
static inline void arrive_sealed(struct sim *s, uint32_t from, uint64_t counter,
				 const uint8_t *plain, uint32_t len)
{
	uint8_t datagram[2048];
	uint32_t n = sim_seal(session_of(s, from), counter, plain, len, datagram);
	arrive(s, from, from == 0 ? 1 : 0, datagram, n);
}

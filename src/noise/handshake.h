/* SPDX-License-Identifier: MPL-2.0 */
/* Noise_IKpsk2 between this device and one peer (P-040..P-074), without I/O: time, entropy and
 * indices are arguments. No function keeps a pointer or looks at anything but its arguments, so the
 * Diffie-Hellman parts may run on another thread on copies. Not thread-safe per object: the caller
 * serialises per peer, and P-055..P-057 are then one critical section.
 *
 * Macs are not handled here: see noise/cookie.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macro.h"
#include "noise/identity.h"
#include "noise/message.h"

enum handshake_state {
	HS_ZEROED, /* nothing in flight, no secret of a handshake is held */
	HS_CREATED_INITIATION,
	HS_CONSUMED_INITIATION,
	HS_CREATED_RESPONSE,
	HS_CONSUMED_RESPONSE,
	HS_N_STATES
};

enum handshake_verdict {
	HANDSHAKE_OK,
	HANDSHAKE_BAD,    /* does not authenticate, or no handshake is possible with these keys */
	HANDSHAKE_REPLAY, /* timestamp not greater than the last one accepted (P-055) */
	HANDSHAKE_FLOOD,  /* less than 20 ms after the last one accepted (P-056) */
};

struct handshake {
	enum handshake_state state;

	/* in flight; zero in HS_ZEROED */
	uint32_t local_index;  /* the last one we put in a message */
	uint32_t remote_index; /* valid once a message was consumed */
	uint8_t hash[NOISE_HASH_LEN];
	uint8_t chaining_key[NOISE_HASH_LEN];
	uint8_t ephemeral_private[NOISE_KEY_LEN]; /* only in HS_CREATED_INITIATION */
	uint8_t remote_ephemeral[NOISE_KEY_LEN];  /* only in HS_CONSUMED_INITIATION */

	/* configuration */
	uint8_t remote_static[NOISE_KEY_LEN];
	uint8_t preshared_key[NOISE_KEY_LEN]; /* all zero = none */

	/* derived from the remote static key alone */
	uint8_t mac1_key[NOISE_HASH_LEN];   /* of messages to the peer (P-100) */
	uint8_t cookie_key[NOISE_HASH_LEN]; /* of cookie replies by the peer (P-107) */

	/* DH(own static, remote static), computed when first needed: loading many peers must be
	 * cheap (P-044) */
	bool has_static_static;
	bool static_static_is_zero; /* no handshake is possible with this peer (P-385) */
	uint8_t static_static[NOISE_KEY_LEN];

	/* memory for P-055 and P-056; lives as long as the peer (P-058) */
	bool has_consumed;         /* an initiation was accepted at @last_consumed_ns */
	uint64_t last_consumed_ns; /* any one clock that runs during suspend (P-403) */
	uint8_t latest_timestamp[TAI64N_LEN];
};

/* What the caller draws for each message we create: fresh random bytes, and an index that is unique
 * in the device (P-090). */
struct handshake_entropy {
	uint8_t ephemeral_private[NOISE_KEY_LEN]; /* clamped on use */
	uint32_t index;
};

/* The outcome of the peer-independent half of consuming an initiation. */
struct initiation_opened {
	uint8_t remote_static[NOISE_KEY_LEN]; /* claimed, not yet proven */
	uint8_t hash[NOISE_HASH_LEN];
	uint8_t chaining_key[NOISE_HASH_LEN];
};

/* The Diffie-Hellman work of a handshake, in steps. One function prepares a step, another
 * one uses its result; in between handshake_dh_run() reads and writes nothing but this, so any
 * thread may call it. */
enum handshake_dh_step {
	DH_OPEN,    /* es: initiation_dh(), then initiation_open_with() */
	DH_STATIC,  /* ss: handshake_static_dh(), then handshake_set_static_static() */
	DH_RESPOND, /* ee, se: handshake_response_dh(), then handshake_create_response_with() */
	/* es: handshake_initiation_dh(), then handshake_create_initiation_with(); needs DH_STATIC */
	DH_INITIATE,
	DH_FINISH, /* ee, se: handshake_finish_dh(), then handshake_consume_response_with() */
};

struct handshake_dh {
	enum handshake_dh_step step;
	uint8_t private_key[NOISE_KEY_LEN];
	uint8_t own_static[NOISE_KEY_LEN];    /* a second private key, only in DH_FINISH */
	uint8_t remote_key[2][NOISE_KEY_LEN]; /* the second one only in DH_RESPOND */
	/* results */
	bool ok; /* none is all zero (P-022) */
	uint8_t shared[2][NOISE_KEY_LEN];
	uint8_t public_key[NOISE_KEY_LEN]; /* of private_key; only in DH_RESPOND and DH_INITIATE */
};

struct session_keys {
	uint8_t sending[NOISE_KEY_LEN];
	uint8_t receiving[NOISE_KEY_LEN];
	uint32_t local_index;
	uint32_t remote_index;
	bool is_initiator;
};

const char *handshake_state_name(enum handshake_state state);

/* A new peer: no preshared key, nothing in flight, no timestamp seen. Two hashes, no DH. */
void handshake_init(struct handshake *hs, const uint8_t remote_static[NOISE_KEY_LEN]);

/* Wipes everything. */
void handshake_finish(struct handshake *hs);

/* Used from the next computation on, also by a handshake in flight (P-391, P-067). */
void handshake_set_psk(struct handshake *hs, const uint8_t psk[NOISE_KEY_LEN]);

/* After identity_set(): forgets DH(own static, remote static) and clears the handshake (P-380). */
void handshake_identity_changed(struct handshake *hs);

/* Drops the handshake in flight and wipes its secrets. Keys, cached DH, timestamp and time of
 * acceptance stay (P-058). The caller frees hs->local_index before (P-093). */
void handshake_clear(struct handshake *hs);

void handshake_dh_run(struct handshake_dh *dh);
void handshake_dh_wipe(struct handshake_dh *dh);

/* The cached DH in steps; there is a private key. The result may come when somebody else has it
 * already; the caller knows that the private key is still the same. */
void handshake_static_dh(struct handshake_dh *ret, const struct handshake *hs,
			 const struct identity *id);
void handshake_set_static_static(struct handshake *hs, const struct handshake_dh *dh);

/* Computes the cached DH now if it is missing. False: it is all zero, or there is no private key. */
MUST_CHECK bool handshake_precompute(struct handshake *hs, const struct identity *id);

/* Builds an initiation but for its macs, which become zero; supersedes whatever was in flight: the
 * caller frees the old hs->local_index. @timestamp by tai64n_now(). False if no handshake is
 * possible (no private key, low-order remote key): nothing in flight is changed then, @ret_msg is
 * untouched. */
MUST_CHECK bool handshake_create_initiation(struct handshake *hs, const struct identity *id,
					    const struct handshake_entropy *e,
					    const uint8_t timestamp[TAI64N_LEN],
					    struct message_initiation *ret_msg);

/* Opens the static key of an initiation whose macs were checked (P-050, P-052). The caller looks
 * @ret->remote_static up among its peers, and ends with initiation_opened_wipe(). False: drop the
 * message; @ret is untouched. */
MUST_CHECK bool initiation_open(struct initiation_opened *ret, const struct identity *id,
				const struct message_initiation *msg);

/* The same in steps; there is a private key, and in the end still the same one. */
void initiation_dh(struct handshake_dh *ret, const struct identity *id,
		   const struct message_initiation *msg);
MUST_CHECK bool initiation_open_with(struct initiation_opened *ret, const struct identity *id,
				     const struct message_initiation *msg,
				     const struct handshake_dh *dh);

void initiation_opened_wipe(struct initiation_opened *o);

/* The rest (P-054..P-057), with the handshake of the peer whose remote_static is in @o. Unless it
 * returns HANDSHAKE_OK nothing is changed but the cached DH. On HANDSHAKE_OK an own initiation in
 * flight is overwritten; hs->local_index is still its index until a response is created. */
MUST_CHECK enum handshake_verdict handshake_consume_initiation(struct handshake *hs,
							       const struct identity *id,
							       const struct initiation_opened *o,
							       const struct message_initiation *msg,
							       uint64_t now_ns);

/* Builds the response but for its macs, which become zero. Only in HS_CONSUMED_INITIATION; the
 * caller frees the old hs->local_index. False: nothing is changed, @ret_msg is untouched. */
MUST_CHECK bool handshake_create_response(struct handshake *hs, const struct identity *id,
					  const struct handshake_entropy *e,
					  struct message_response *ret_msg);

/* The same in steps. Only in HS_CONSUMED_INITIATION. False also when the initiation that @dh was
 * prepared for is no longer the one in flight. */
void handshake_response_dh(struct handshake_dh *ret, const struct handshake *hs,
			   const uint8_t ephemeral_private[NOISE_KEY_LEN]);
MUST_CHECK bool handshake_create_response_with(struct handshake *hs, const struct identity *id,
					       const struct handshake_dh *dh, uint32_t index,
					       struct message_response *ret_msg);

/* handshake_create_initiation() in steps, once the cached DH is there. False as there. */
void handshake_initiation_dh(struct handshake_dh *ret, const struct handshake *hs,
			     const uint8_t ephemeral_private[NOISE_KEY_LEN]);
MUST_CHECK bool handshake_create_initiation_with(struct handshake *hs, const struct identity *id,
						 const struct handshake_dh *dh, uint32_t index,
						 const uint8_t timestamp[TAI64N_LEN],
						 struct message_initiation *ret_msg);

/* Consumes a response whose mac1 was checked and that was found by its receiver index. False: drop
 * the message; nothing is changed, the initiation stays usable (P-068). */
MUST_CHECK bool handshake_consume_response(struct handshake *hs, const struct identity *id,
					   const struct message_response *msg);

/* The same in steps. False: as above, without a computation ... */
MUST_CHECK bool handshake_finish_dh(struct handshake_dh *ret, const struct handshake *hs,
				    const struct identity *id, const struct message_response *msg);
/* ... or with @dh of another initiation than the one in flight, or of another message. */
MUST_CHECK bool handshake_consume_response_with(struct handshake *hs, const struct identity *id,
						const struct handshake_dh *dh,
						const struct message_response *msg);

/* After either of the two above: the keys of the session; the handshake is cleared and its index
 * now belongs to the session (P-070, P-091). False in any other state; @ret is untouched. The
 * caller wipes @ret after use. */
MUST_CHECK bool handshake_begin_session(struct handshake *hs, struct session_keys *ret);

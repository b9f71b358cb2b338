/* SPDX-License-Identifier: MPL-2.0 */
/* The control thread's state and what it does with it: handshakes, key rotation, timers, staged
 * packets, configuration. Owner of all slow state of a device. Nothing in this header's functions
 * sleeps, reads a clock or touches a descriptor: time is an argument, and the outside world is
 * behind struct control_ops, so that tests run it in virtual time. control/loop.h is the thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/timer_wheel.h"
#include "control/handshake_queue.h"
#include "crypto/aead.h"
#include "crypto/secret.h"
#include "device/device.h"
#include "noise/cookie.h"
#include "noise/ratelimit.h"

/* The edges. All but send() and realtime() are called on interface and configuration changes only. */
struct control_ops {
	/* One datagram, 0 or -errno. */
	int (*send)(void *ctx, const struct endpoint *to, uint8_t tos, struct bytes datagram);
	/* Opens sockets on @port (0 = any) with @fwmark and gives them to the workers; those of
	 * before, if any, are closed after success. 0 and *@ret_port, or -errno and nothing changed. */
	int (*open_sockets)(void *ctx, uint16_t port, uint32_t fwmark, uint16_t *ret_port);
	void (*close_sockets)(void *ctx);
	/* 0 or -errno and nothing changed. */
	int (*set_mark)(void *ctx, uint32_t fwmark);
	/* CLOCK_REALTIME. */
	void (*realtime)(void *ctx, uint64_t *ret_sec, uint32_t *ret_nsec);
	/* A line for the log at debug level; printf-like. */
	void (*debug)(void *ctx, const char *format, ...) PRINTF_LIKE(2, 3);
};

enum { CONTROL_OUT_LEN = 3 * 65536 }; /* sealed staged packets on their way */

struct control {
	/* constant */
	struct device *device;
	const struct aead_impl *aead;
	const struct control_ops *ops;
	void *ops_ctx;
	struct drop_counters *drops; /* the control thread's own */

	struct timer_wheel wheel; /* of struct peer.timer */
	struct handshake_queue queue;
	struct cookie_checker cookies;
	struct ratelimit ratelimit;
	struct ratelimit_entry *ratelimit_entries; /* allocated at the first load */
	uint64_t under_load_until_ns;              /* P-120; 0 = never was */
	/* Time that the backlog takes per message: a running mean of what it took lately, with the
	 * help of workers that had nothing else to do. Learned by control_learn_cost(). */
	uint64_t handshake_cost_ns;
	uint64_t learned_ns; /* time and messages since it last changed */
	uint64_t learned_n;
	uint64_t learned_until_ns;      /* 0 = nothing waited then */
	uint64_t n_handled;             /* messages that were answered or dropped, ever */
	uint64_t n_handled_learned;     /* of these */
	struct secret_pool answer_pool; /* of struct answer_job: the handshake messages under way */
	uint32_t n_answers;             /* jobs */
	uint32_t answer_epoch;
	/* Own initiations: some are made at once, those of a storm wait here for jobs. */
	struct list to_initiate; /* of struct peer.to_initiate */
	uint32_t n_initiated;    /* at once, since the last step */
	uint32_t n_initiating;   /* jobs */
	uint64_t jitter_state;

	uint16_t listen_port; /* configured or, after the first open, in use */
	uint32_t fwmark;
	bool has_sockets;

	size_t n_applied_sections; /* of the `set` that is being applied in slices */
	uint8_t *out;              /* CONTROL_OUT_LEN */
};

struct control_params {
	struct device *device;
	const struct aead_impl *aead;
	const struct control_ops *ops;
	void *ops_ctx;
	uint64_t now_ns;
};

/* 0, -ENOMEM or -EIO. @params->device is initialised and outlives it. */
int control_init(struct control *c, const struct control_params *params);
/* Removes all peers and wipes. The workers have ended. */
void control_finish(struct control *c);

/* Bytes that it may take at most, the table of its rate limit included. */
size_t control_memory(void);

/* A datagram from a control socket, or passed on by a worker. */
void control_receive(struct control *c, struct bytes datagram, const struct endpoint *from,
		     uint8_t tos, uint64_t now_ns);
/* Handles what waits: all mailboxes, attention and due timers, and of the handshakes what workers did
 * and up to @max_steps steps of Diffie-Hellman by itself. Returns how many. */
uint32_t control_step(struct control *c, uint32_t max_steps, uint64_t now_ns);
/* Handshake messages that were let in and are not done with. */
static inline uint32_t control_backlog(const struct control *c)
{
	return c->queue.n + c->n_answers;
}
/* P-121: how fast the backlog is served, from two readings of the clock around each control_step(). */
void control_learn_cost(struct control *c, uint64_t before_ns, uint64_t after_ns);
/* When control_step() must be called again if nothing else happens: now_ns = at once, UINT64_MAX. */
uint64_t control_next_deadline(const struct control *c, uint64_t now_ns);

/* P-400, P-401: the interface went up or down. 0, or -errno when the sockets could not be opened:
 * call again later. */
int control_set_up(struct control *c, bool up, uint64_t now_ns);
/* Addresses or routes changed (P-348): drops the sticky sources that @holds says no of. */
void control_check_sources(struct control *c, bool (*holds)(void *ctx, const struct endpoint *e),
			   void *ctx);

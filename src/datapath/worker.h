/* SPDX-License-Identifier: MPL-2.0 */
/* One worker: its own TUN queue, UDP sockets, I/O engine, buffers and counters. Runs each burst to
 * completion: read, seal, send; receive, open, write. Shares nothing that it writes per packet.
 * worker_loop() is the thread; a test may call worker_step() with a time of its own instead. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "crypto/aead.h"
#include "datapath/crypto_pool.h"
#include "datapath/priority.h"
#include "datapath/rx.h"
#include "datapath/tx.h"
#include "device/device.h"
#include "io/io.h"

/* Written by the worker, read by anybody (relaxed). */
struct worker_stats {
	_Atomic uint64_t packets;         /* packets and datagrams that came in */
	_Atomic uint64_t batches_shared;  /* of cipher work, offered to others, */
	_Atomic uint64_t batches_served;  /* and done for others */
	_Atomic uint64_t write_fallbacks; /* super-packets that the TUN refused */
	_Atomic int write_error;          /* the last such error of errno.h; 0 = there was none */
	_Atomic bool has_clock;           /* the thread runs, and cpu_clock is valid */
	clockid_t cpu_clock;              /* of its thread */
};

struct worker {
	/* constant after worker_init() */
	struct device *device;
	struct io *io;
	const struct aead_impl *aead;
	struct crypto_pool *pool;    /* shared by all workers; NULL = none */
	struct drop_counters *drops; /* our own */
	uint32_t index;
	int tun_fd;
	int wake_fd;
	bool tun_writes_only; /* the queue is another worker's to read */
	bool vnet_hdr;
	int nice;           /* of our thread when it may hurry; 0 = as it is */
	bool other_sockets; /* no steering: datagrams of any session may come */

	/* handed over by control: next_* first, then wanted with release */
	int next_udp4, next_udp6;
	_Atomic uint32_t sockets_wanted;  /* written by control */
	_Atomic uint32_t sockets_applied; /* written by us, then control is woken */
	_Atomic bool stop;                /* written by control */
	_Atomic int failed;               /* written by us: -errno that ended the loop, 0 = none */

	/* owner: the worker */
	uint64_t now_ns;       /* when this round began */
	uint64_t random_state; /* of the timers' jitter; no secret */
	struct tx tx;
	struct rx rx;

	/* written by us, read by anybody */
	struct io_stats io_stats;
	_Atomic uint64_t n_dh_steps; /* of handshakes, when there was nothing else to do */
	struct worker_stats stats;
	struct priority priority;
};

struct worker_params {
	struct device *device;
	const struct aead_impl *aead;
	struct crypto_pool *pool; /* NULL: each worker does its own cipher work */
	uint32_t index;
	int tun_fd;
	int wake_fd;
	bool tun_writes_only;
	bool vnet_hdr;
	bool gro_tcp, gro_udp; /* coalesce towards the TUN */
	int nice;              /* see priority.h; 0 = none */
};

/* Prepares @w, which is zeroed memory; io is set by the caller afterwards. 0 or -ENOMEM. */
int worker_init(struct worker *w, const struct worker_params *params);
/* All threads of the device have ended. Frees buffers and what lies in the mailbox, wipes; not io. */
void worker_finish(struct worker *w);

/* Bytes of @w and its buffers, those of the engine included; constant. */
size_t worker_memory(const struct worker *w);

/* One round: takes what is there, up to a burst each way, and one batch of another worker's cipher work.
 * Returns how many packets, datagrams and batches that was. Ends with nothing in flight. */
uint32_t worker_step(struct worker *w, uint64_t now_ns);

/* Runs until worker_stop() or a failure; registers with RCU. */
void worker_loop(struct worker *w);

/* Control thread: */
void worker_stop(struct worker *w);
/* Other sockets from the next round on; -1 = none. The worker wakes control when it has let go of
 * the old ones: worker_has_applied(). */
void worker_set_sockets(struct worker *w, int udp4, int udp6);
bool worker_has_applied(const struct worker *w);

/* Offers @b to a worker that sleeps and wakes it; false = nobody does or no core is free for it: run it
 * yourself. Owner only. */
MUST_CHECK bool worker_share(struct worker *w, struct crypto_batch *b);

/* Takes one step of a handshake (device/dh_pool.h) for the control thread; false = there was none. Owner
 * only, when it has no packets. */
bool worker_serve_dh(struct worker *w);

/* J of P-008. Owner only. */
uint64_t worker_jitter_ns(struct worker *w);

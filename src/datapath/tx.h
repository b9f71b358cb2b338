/* SPDX-License-Identifier: MPL-2.0 */
/* tun -> udp: route, split, seal, send. One per worker, owner only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "crypto/aead.h"
#include "datapath/crypto_pool.h"
#include "device/endpoint.h"
#include "io/io.h"
#include "packet/gso.h"
#include "packet/icmp.h"

struct worker;
struct peer;
struct session;

enum {
	TX_MAX_JOBS = 512,      /* datagrams between two flushes */
	TX_SEAL_JOBS = 48,      /* so many wait at most before they are sealed: still in cache */
	TX_OUT_LEN = 8 * 65536, /* bytes of datagrams between two flushes */
	TX_RUN_LEN = 65507,     /* bytes of one UDP_SEGMENT send, */
	TX_RUN_SEGMENTS = 64,   /* and its segments: UDP_MAX_SEGMENTS of older kernels */
	TX_MAX_BATCHES = 6,     /* offered to idle workers between two flushes */
	TX_BACKLOG_LEN = 2 * 65536, /* bytes in one read burst from which on it is a backlog */
	TX_MAX_ICMP = 8,            /* answers between two flushes; there is a rate limit, too */
	TX_READ_BURST = 64,
};

/* Datagrams of one size to one place: one send. */
struct tx_run {
	struct peer *peer;
	struct session *session;
	struct endpoint to;
	uint32_t n_segments;
	bool is_closed; /* ended by a shorter datagram */
};

/* Where a packet of the burst goes. */
struct tx_route {
	struct peer *peer; /* NULL: nowhere, it was dropped */
	uint8_t ds_field;
};

struct tx {
	struct aead_seal_job job[TX_MAX_JOBS];
	uint32_t n_jobs, n_sealed;
	bool has_backlog; /* more than one burst waits: others may help */
	uint32_t n_batches;
	struct crypto_batch batch[TX_MAX_BATCHES];
	uint32_t n_runs;
	struct tx_run run[TX_MAX_JOBS];
	struct io_send send[TX_MAX_JOBS];
	uint32_t n_icmp;
	struct io_write icmp_write[TX_MAX_ICMP];
	struct iovec icmp_iov[TX_MAX_ICMP][2];
	struct icmp_limit icmp_limit;
	bool handed_over;                  /* control has new notes: wake it */
	uint32_t out_len;                  /* bytes used of out */
	uint8_t *out;                      /* TX_OUT_LEN */
	uint8_t (*header)[GSO_MAX_HEADER]; /* one per job */
	uint8_t (*icmp)[ICMP_V6_MAX_LEN];
	struct io_packet packet[TX_READ_BURST];
	struct tx_route route[TX_READ_BURST];
};

int tx_init(struct tx *tx);
void tx_finish(struct tx *tx);
/* Bytes of its buffers. */
size_t tx_memory(void);

/* Reads and sends one burst; returns how many packets were read. */
uint32_t tx_step(struct worker *w, uint64_t now_ns);

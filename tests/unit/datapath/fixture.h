/* SPDX-License-Identifier: MPL-2.0 */
/* A device with workers, no control thread and an engine in memory that shows what it was given. One
 * peer has 10.0.0.1/32 and a session with known keys. */
#pragma once

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/rcu.h"
#include "datapath/worker.h"
#include "device/device.h"
#include "noise/message.h"

enum {
	FIXTURE_WORKERS = 3,
	FIXTURE_MAX_SENDS = 512,
	FIXTURE_MAX_WRITES = 512,
	FIXTURE_MAX_LEN = 66000,
	LOCAL_INDEX = 4, /* of the session, as steering reads it: worker 0's */
	REMOTE_INDEX = 0x01020304,
};
#define NOW_NS (1000 * NSEC_PER_SEC)

struct fixture_send {
	uint8_t *data; /* a copy */
	uint32_t len, segment_len;
	uint8_t tos;
	uint32_t call; /* of send_burst(), from 1 on */
	struct endpoint to;
};

struct fixture_write {
	uint8_t *data; /* a copy of all pieces */
	uint32_t len, n_iov;
	uint32_t call; /* of write_burst(), from 1 on */
};

struct fixture_io {
	struct io io;
	/* what comes in next; taken as a whole by one call */
	struct io_packet packet[TX_READ_BURST];
	uint32_t n_packets;
	struct io_datagram datagram[RX_RECV_BURST];
	uint32_t n_datagrams;
	/* what went out */
	struct fixture_send send[FIXTURE_MAX_SENDS];
	uint32_t n_sends, n_send_calls;
	struct fixture_write write[FIXTURE_MAX_WRITES];
	uint32_t n_writes, n_write_calls;
	uint32_t n_reads, n_recvs; /* bursts asked for */
	/* failures */
	int send_error;         /* for all; */
	int source_error;       /* for what has a sticky source; */
	uint32_t n_sent_before; /* segments of each send that succeed nevertheless */
	int write_error;        /* of super-packets, */
	int single_write_error; /* and of others */
};

struct fixture {
	struct device device;
	struct worker *worker[FIXTURE_WORKERS];
	struct fixture_io io[FIXTURE_WORKERS];
	struct peer *peer;
	struct session *session;
	uint8_t sending_key[32], receiving_key[32];
	uint32_t n_control_woken, n_worker_woken[FIXTURE_WORKERS];
};

void fixture_init(struct fixture *f, uint32_t n_workers, bool vnet_hdr);
void fixture_finish(struct fixture *f);
/* Forgets what went out. */
void fixture_forget(struct fixture_io *io);

/* An IPv4 packet to 10.0.0.@dst with @len bytes in all; @buf has room for it. */
void fixture_packet(uint8_t *buf, uint32_t len, uint8_t src, uint8_t dst, uint8_t tos);
/* Queues it for worker 0's TUN; the memory is the caller's. */
void fixture_queue_packet(struct fixture *f, uint8_t *data, uint32_t len);

/* A transport message of the peer. Returns its length. */
uint32_t fixture_seal(const struct fixture *f, uint64_t counter, const uint8_t *plain, uint32_t len,
		      uint8_t *ret);
/* Queues a UDP buffer for @worker; the memory is the caller's. */
void fixture_queue_datagram(struct fixture *f, uint32_t worker, uint8_t *data, uint32_t len,
			    uint32_t segment_len, uint8_t tos);
/* Opens datagram @i of send @send of worker 0; returns the plaintext's length, or -1. */
int32_t fixture_open(const struct fixture *f, uint32_t send, uint32_t i, uint64_t counter,
		     uint8_t *ret);

uint64_t fixture_drops(const struct fixture *f, enum drop_reason why);

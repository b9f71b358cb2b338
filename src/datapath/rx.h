/* SPDX-License-Identifier: MPL-2.0 */
/* udp -> tun: find the session, open, check, deliver. One per worker, owner only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "crypto/aead.h"
#include "device/mailbox.h"
#include "io/io.h"
#include "packet/gro.h"

struct worker;
struct session;

enum {
	RX_MAX_JOBS = 256,  /* messages between two deliveries; GRO_MAX_PACKETS */
	RX_SHARE_JOBS = 64, /* from so many on an idle worker gets half of them */
	RX_RECV_BURST = 32,
};

/* What belongs to a message besides its cipher job. */
struct rx_message {
	struct session *session;
	const struct endpoint *from;
	uint64_t counter;
	uint8_t tos;
};

struct rx {
	struct aead_open_job job[RX_MAX_JOBS];
	struct rx_message message[RX_MAX_JOBS];
	uint32_t n_jobs;
	uint32_t n_forwarded;
	struct forwarded *forwarded[RX_MAX_JOBS]; /* to be freed after delivery */
	struct io_datagram datagram[RX_RECV_BURST];
	struct gro gro;
	struct gro_write gro_write[GRO_MAX_PACKETS];
	struct io_write write[GRO_MAX_PACKETS];
	bool handed_over;
	uint8_t *scratch; /* 64 KB, for super-packets that the TUN refused */
};

int rx_init(struct rx *rx, bool gro_tcp, bool gro_udp);
void rx_finish(struct rx *rx);
/* Bytes of its buffers. */
size_t rx_memory(void);

/* Receives and delivers one burst; returns how many datagrams came. */
uint32_t rx_step(struct worker *w, uint64_t now_ns);
/* The same for what other threads passed on. */
uint32_t rx_forwarded_step(struct worker *w, uint64_t now_ns);

/* SPDX-License-Identifier: MPL-2.0 */
/* Receiving of datagrams by recvmmsg, into few large buffers. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "io/io.h"
#include "io/io_wait.h"
#include "udp/cmsg.h"

enum {
	IO_BUFFER_LEN = 65536,  /* bytes of one UDP_GRO buffer or TUN packet */
	IO_DEFAULT_BUFFERS = 8, /* of that length per direction */
	IO_RECV_SLOTS = 32,     /* how many one call uses depends on what comes */
};

/* Where one received message ends up. */
struct io_recv_meta {
	struct iovec iov;
	struct sockaddr_in6 name;
	union udp_cmsg_recv control;
};

struct io_receiver {
	struct io_stats *stats;
	uint32_t budget;   /* bytes that one burst may fill, about */
	uint32_t mean_len; /* bytes of received messages, sliding */
	bool v6_first;     /* who is served first changes from call to call */
	uint8_t *slots;    /* IO_RECV_SLOTS of IO_BUFFER_LEN, touched only as far as needed */
	struct io_recv_meta meta[IO_RECV_SLOTS];
	struct mmsghdr msg[IO_RECV_SLOTS];
};

MUST_CHECK int io_receiver_init(struct io_receiver *r, uint32_t budget, struct io_stats *stats);
/* Bytes of its buffers. */
size_t io_receiver_memory(void);
void io_receiver_finish(struct io_receiver *r);

/* Receives up to @n from the sockets whose bit in *@ready is set; clears it when one is empty. What the
 * entries point to is valid until the next call. */
uint32_t io_receiver_burst(struct io_receiver *r, const struct io_fds *fds, unsigned *ready,
			   struct io_datagram *d, uint32_t n);

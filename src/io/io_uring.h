/* SPDX-License-Identifier: MPL-2.0 */
/* Inside of the io_uring engine: what its two files share. Owner: the worker. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "io/io.h"
#include "io/io_recv.h"
#include "io/io_send.h"
#include "io/io_tun.h"
#include "io/io_wait.h"
#include "udp/cmsg.h"
#include "uring/uring.h"

enum {
	N_ENTRIES = 256, /* submissions of one entry into the kernel */
	MAX_READS = 64,  /* TUN packets of one burst */
	N_READS = MAX_READS,
	N_RECVS = 32,            /* receive buffers per family; a power of two */
	MAX_RECVS = N_RECVS - 8, /* datagrams of one burst and family; the kernel has the rest */
	MIN_BUFFERS = 4,         /* in use, however large the packets are */

	/* The vnet header ends on a cache line, so that the packet begins on the next. An odd number
	 * of lines apart, so that the beginnings do not all fall into one set of the cache. */
	READ_STRIDE = CACHELINE + 65536 + 4 * CACHELINE,
	/* struct io_uring_recvmsg_out, name, control messages; the payload on a cache line. */
	RECV_HEAD = 16 + sizeof(struct sockaddr_in6) + UDP_CMSG_RECV_LEN,
	RECV_PAYLOAD = ROUND_UP(RECV_HEAD, CACHELINE),
	RECV_STRIDE = RECV_PAYLOAD + 65536 + 2 * CACHELINE,
};

static_assert(READ_STRIDE / CACHELINE % 2 == 1 && RECV_STRIDE / CACHELINE % 2 == 1, "see above");

/* Slots for registered files. */
enum file_slot { FILE_TUN, FILE_UDP4, FILE_UDP6, N_FILES };

/* What a completion belongs to: the low bits of its user_data, above them a pointer or number. */
enum tag { TAG_READ, TAG_RECV4, TAG_RECV6, TAG_WRITE, TAG_OTHER };
enum { TAG_MASK = 7 };

/* A buffer with something in it. */
struct filled {
	uint16_t id;
	uint32_t len; /* bytes, as the completion said */
};

/* Buffers of one kind, by number: free ones, filled ones in order of arrival, and those that the caller
 * holds until his next call. */
struct slots {
	uint16_t n_free, n_filled, n_held, first; /* @first of @filled is the next to hand out */
	uint16_t free[N_READS];
	uint16_t held[N_READS];
	struct filled filled[N_READS];
};

/* Multishot receive on one socket. */
struct recv_side {
	enum file_slot file;
	enum tag tag;
	bool is_armed;
	bool has_socket;
	uint16_t n_given;  /* buffers that the kernel has */
	uint32_t mean_len; /* bytes, sliding */
	struct uring_bufring ring;
	struct slots slots;
	struct msghdr shape; /* lengths of name and control messages */
	uint8_t *mem;        /* N_RECVS of RECV_STRIDE */
};

struct io_uring_engine {
	struct io io; /* first */
	struct uring uring;
	struct io_fds fds;
	struct io_waiter waiter;
	struct io_stats *stats;
	uint32_t budget;   /* bytes that one burst may fill, about */
	uint32_t vnet_len; /* bytes in front of each packet */
	bool tun_gone;

	/* TUN reads: only when epoll said that there is something, and none that waits. */
	bool tun_ready;
	/* io_uring_probe.c: bursts of reads and writes go by the ring, and a receive stays armed. Else there
	 * are system calls only, and the ring rests. */
	bool is_probed, ring_pays;
	bool read_ran_dry;      /* the last burst got less than it asked for */
	int read_flags;         /* RWF_NOWAIT, if this kernel's TUN knows it */
	uint32_t read_goal;     /* packets that the next burst asks for */
	uint32_t read_first;    /* the same, after a pause */
	uint32_t read_total;    /* packets of this series, without a pause */
	uint32_t read_mean_len; /* bytes, sliding */
	struct slots reads;
	uint8_t *read_mem; /* N_READS of READ_STRIDE */

	bool v6_first;                 /* who is served first changes from call to call */
	struct recv_side recv4, recv6; /* when the ring pays, */
	struct io_receiver receiver;   /* and when not */
	unsigned udp_ready;            /* IO_UDP4, IO_UDP6: not known to be empty */

	struct io_sender sender;
	uint32_t n_writes; /* in flight */
};

/* Measures whether bursts on the TUN are cheaper by the ring; nothing may be in flight on the TUN. The
 * thread that uses the ring. */
bool uring_measure_pays(struct io_uring_engine *e);

static inline uint64_t tagged(enum tag tag, const void *p)
{
	return (uint64_t)(uintptr_t)p | tag;
}

static inline uint64_t tagged_id(enum tag tag, uint16_t id)
{
	return (uint64_t)id << 3 | tag;
}

static inline void slots_init(struct slots *s, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++)
		s->free[i] = (uint16_t)(n - 1 - i);
	s->n_free = n;
}

/* The caller came again: what it held is free. The last used are used first, they are in the cache. */
static inline void slots_release(struct slots *s)
{
	while (s->n_held > 0)
		s->free[s->n_free++] = s->held[--s->n_held];
	if (s->first == s->n_filled)
		s->first = s->n_filled = 0;
}

static inline uint32_t slots_n_ready(const struct slots *s)
{
	return (uint32_t)s->n_filled - s->first;
}

/* Bytes in the next buffer to hand out; there is one. */
static inline uint32_t slots_next_len(const struct slots *s)
{
	return s->filled[s->first].len;
}

static inline struct filled slots_hand_out(struct slots *s)
{
	struct filled f = s->filled[s->first++];
	s->held[s->n_held++] = f.id;
	return f;
}

/* @n_filled never overflows: a buffer is in one of the three places, and @first is set back whenever
 * all were handed out; see slots_fill(). */
static inline void slots_fill(struct slots *s, uint16_t id, uint32_t len)
{
	if (s->first > 0 && s->n_filled == N_READS) {
		for (uint16_t i = s->first; i < s->n_filled; i++)
			s->filled[i - s->first] = s->filled[i];
		s->n_filled = (uint16_t)(s->n_filled - s->first);
		s->first = 0;
	}
	s->filled[s->n_filled++] = (struct filled){ .id = id, .len = len };
}

/* How many buffers may be in use at once: few large ones, which stay in the cache, or many small. */
static inline uint32_t slots_wanted(uint32_t budget, uint32_t mean_len, uint32_t max)
{
	uint32_t n = budget / MAX(mean_len, 1U);
	return MIN(MAX(n, (uint32_t)MIN_BUFFERS), max);
}

static inline void mean_add(uint32_t *mean, uint32_t len)
{
	*mean += len / 8;
	*mean -= *mean / 8;
}

/* io_uring_recv.c */
MUST_CHECK int recv_side_open(struct recv_side *r, struct uring *u, enum file_slot file);
void recv_side_close(struct recv_side *r);
/* Arms the receive if it is not and there are buffers; queues a submission. */
void recv_side_arm(struct recv_side *r, struct uring *u, uint32_t budget);
/* Takes one completion. */
void recv_side_complete(struct recv_side *r, const struct io_uring_cqe *cqe,
			struct io_stats *stats);
/* Hands out up to @n; the buffers of the last call go back to the kernel. */
uint32_t recv_side_burst(struct recv_side *r, struct io_datagram *d, uint32_t n,
			 struct io_stats *stats);
/* What was received from the old socket and nobody fetched. */
void recv_side_forget(struct recv_side *r);

/* SPDX-License-Identifier: MPL-2.0 */
/* The boundary between a worker and the kernel: bursts of TUN packets and UDP datagrams, in and
 * out. Two engines implement it (poll: epoll, readv/writev, recvmmsg/sendmmsg; uring: io_uring), the
 * tests a third one in memory. An engine knows no peers and no keys.
 * Not thread-safe: each worker owns one and is the only one to call it. */
#pragma once

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "device/endpoint.h"

enum {
	IO_MAX_DATAGRAM = 65535, /* bytes of one UDP_GRO buffer or one TUN packet */
	IO_MAX_BURST = 128,      /* entries of one call */
	IO_MAX_IOV = 132,        /* pieces of one TUN write, vnet header included */
};

/* A packet read from the TUN: a super-packet if vnet.gso_type says so. */
struct io_packet {
	uint8_t *data;              /* the IP header; the engine's memory, ours to scribble on */
	uint32_t len;               /* bytes */
	struct virtio_net_hdr vnet; /* all zero when the TUN has no vnet header */
};

/* What one UDP receive gave: one datagram, or several of equal size (the last may be shorter). */
struct io_datagram {
	uint8_t *data;        /* the engine's memory, ours to scribble on */
	uint32_t len;         /* bytes of all segments; 0 is a valid empty datagram */
	uint32_t segment_len; /* bytes of one segment; == len when there is just one */
	uint8_t tos;          /* outer TOS / traffic class byte */
	struct endpoint from; /* .to = source of the datagram, .from = our address it was sent to */
};

/* One UDP send: one datagram, or a run of equal ones (UDP_SEGMENT). */
struct io_send {
	const uint8_t *data;  /* contiguous; valid until submit() returned */
	uint32_t len;         /* bytes of all segments, at most 65507 */
	uint16_t segment_len; /* == len: a single datagram; at most 128 segments */
	uint8_t tos;
	const struct endpoint *to; /* valid until submit() returned */
	int result;      /* out: 0, or -errno of what could not be sent at all after fallbacks */
	uint32_t n_sent; /* out: segments that the kernel accepted */
	void *user;      /* the caller's, untouched */
};

/* One TUN write. iov[0] is the vnet header when the TUN has one (io_has_vnet()). */
struct io_write {
	const struct iovec *iov; /* valid until submit() returned */
	uint32_t n_iov;
	int result; /* out: 0 or -errno */
	void *user;
};

struct io;

/* File descriptors that an engine works on; -1 = none. The engine does not own them. */
struct io_fds {
	int tun;
	int udp4, udp6;
	int wake;             /* eventfd that ends wait(); the engine reads it empty */
	bool tun_writes_only; /* another engine reads it: two readers of a queue would reorder */
};

struct io_ops {
	const char *name;
	void (*destroy)(struct io *io);
	/* Takes new descriptors (a port change, interface down). Called between loops only; nothing
	 * is in flight then. Does not hold on to the old ones: a worker that ends takes all away, as
	 * io_uring would let go of them late. 0 or -errno. */
	int (*set_fds)(struct io *io, const struct io_fds *fds);
	/* Sleeps until something can be read, the eventfd rings or @timeout_ns passed (UINT64_MAX =
	 * no time-out, 0 = just look). Returns 0, or -errno when the TUN is gone (-EBADFD) or the
	 * engine is broken. */
	int (*wait)(struct io *io, uint64_t timeout_ns);
	/* Fill up to @n entries, never block. What they point to is valid until the next call of the
	 * same function. Receive errors are counted, never fatal (P-366, P-367). */
	uint32_t (*recv_burst)(struct io *io, struct io_datagram *d, uint32_t n);
	uint32_t (*read_burst)(struct io *io, struct io_packet *p, uint32_t n);
	/* Queue output, in order. Entries and what they point to stay valid until submit() returned;
	 * results are final then. A refused offload is retried without it (EIO, EMSGSIZE, EINVAL,
	 * EOPNOTSUPP) before an error is reported. */
	void (*send_burst)(struct io *io, struct io_send *s, uint32_t n);
	void (*write_burst)(struct io *io, struct io_write *w, uint32_t n);
	void (*submit)(struct io *io);
};

/* Base of every engine's own struct. */
struct io {
	const struct io_ops *ops;
	size_t memory; /* bytes of its buffers, touched or not; constant */
	/* -errno: the kernel would not limit the engine to the operations that it uses; constant */
	int restrict_error;
};

/* Switches and facts, constant after creation but for what a run-time fallback turns off. */
struct io_params {
	struct io_fds fds;
	bool vnet_hdr;      /* the TUN has IFF_VNET_HDR: reads and writes carry a virtio_net_hdr */
	bool udp_gso;       /* try UDP_SEGMENT */
	bool udp_gro;       /* the sockets have UDP_GRO */
	bool ring_always;   /* io_uring: all by the ring, even where system calls are cheaper */
	uint32_t n_buffers; /* of 64 KB per direction; 0 = engine's default (8) */
};

/* Counters of one engine, written by its worker, read by anybody (relaxed). */
struct io_stats {
	_Atomic uint64_t recv_errors, read_errors, gso_fallbacks, loops;
	_Atomic bool gso_off;  /* UDP_SEGMENT was refused at run time, */
	_Atomic int gso_error; /* with this error of errno.h */
	_Atomic bool by_ring;  /* bursts go by the ring (io_uring, and it pays or has to) */
};

/* Creates an engine. 0 and *@ret_io to be ended with io_destroy(), or -errno (-EPERM, -ENOSYS,
 * -ENOMEM for io_uring where it is refused: use poll then) with *@ret_io untouched. */
int io_poll_create(struct io **ret_io, const struct io_params *params, struct io_stats *stats);
int io_uring_create(struct io **ret_io, const struct io_params *params, struct io_stats *stats);

/* NULL is fine. */
void io_destroy(struct io *io);

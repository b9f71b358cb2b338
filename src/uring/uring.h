/* SPDX-License-Identifier: MPL-2.0 */
/* A thin layer over liburing: one ring that belongs to one thread, with registered files and rings of
 * provided buffers. Decides which kernels are good enough; knows nothing of what is transferred.
 * May be opened and closed by another thread than the one that uses it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <liburing.h>

#include "base/macro.h"

struct uring {
	struct io_uring ring;
	bool is_open;
	bool is_enabled; /* the thread that uses it has begun to */
};

/* Opens a ring of @n_entries submissions and 4 times as many completions, with @n_files empty slots for
 * registered files. 0 or -errno: -EPERM (forbidden), -ENOMEM (also RLIMIT_MEMLOCK), -ENOSYS (no
 * io_uring, or a kernel before 6.1: no DEFER_TASKRUN). */
MUST_CHECK int uring_open(struct uring *u, unsigned n_entries, unsigned n_files);
/* From its first use on the ring takes only these operations and flags of submissions, and of
 * registrations what this file does to a ring in use: seccomp does not see what comes through a ring.
 * After all bufrings are open. 0 or -errno: the ring is as it was. */
MUST_CHECK int uring_restrict(struct uring *u, const uint8_t *opcodes, size_t n, uint8_t flags);
/* Harmless when repeated, or if uring_open() failed. What is in flight ends some time later; the user
 * cancels it before. */
void uring_close(struct uring *u);

/* Bytes of the queues that the kernel shares with us. */
size_t uring_memory(const struct uring *u);

/* Puts a descriptor into a slot, -1 = empties it. Nothing in flight may use the slot. 0 or -errno. */
MUST_CHECK int uring_set_file(struct uring *u, unsigned slot, int fd);

/* A cleared submission for a registered file. Hands over what is queued if there is no room. NULL: the
 * kernel takes nothing any more. */
struct io_uring_sqe *uring_sqe(struct uring *u, unsigned slot);

/* Hands over what is queued and runs what is due. Never waits. 0 or -errno. */
int uring_enter(struct uring *u);

/* Whether an entry would find anything to do: submissions, or completions that are held back. */
static inline bool uring_is_idle(const struct uring *u)
{
	/* relaxed: a hint, the kernel sets it at any time */
	return io_uring_sq_ready(&u->ring) == 0 &&
	       !(__atomic_load_n(u->ring.sq.kflags, __ATOMIC_RELAXED) &
		 (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
}

/* Buffers from which the kernel picks one per receive. */
struct uring_bufring {
	struct io_uring_buf_ring *br; /* NULL: closed */
	uint16_t n_entries;           /* power of two */
	uint16_t group;
	uint16_t n_pending; /* added, not yet published */
};

MUST_CHECK int uring_bufring_open(struct uring *u, struct uring_bufring *b, uint16_t group,
				  uint16_t n_entries);
/* After uring_close(). */
void uring_bufring_close(struct uring_bufring *b);

/* Adds a buffer that completions will call @id; the kernel sees it after uring_bufring_publish(). */
static inline void uring_bufring_add(struct uring_bufring *b, void *buf, uint32_t len, uint16_t id)
{
	io_uring_buf_ring_add(b->br, buf, len, id, b->n_entries - 1, b->n_pending++);
}

static inline void uring_bufring_publish(struct uring_bufring *b)
{
	if (b->n_pending)
		io_uring_buf_ring_advance(b->br, TAKE(b->n_pending, 0));
}

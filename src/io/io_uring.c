/* SPDX-License-Identifier: MPL-2.0 */
/* The io_uring engine: bursts of TUN reads and writes in one entry into the kernel each, and a receive
 * that stays armed. Writes complete inline, so that results are final when submit() returns.
 * src/adr/0004-io-engines.md has the figures behind the shape. */
#include "io/io_uring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "io/io_stats.h"

enum {
	MAX_ENTRIES_FOR_WRITES = 1000, /* of a submit(); one is normal */
	MAX_CANCEL_ENTRIES = 1000,
};

static struct io_uring_engine *engine_of(struct io *io)
{
	return container_of(io, struct io_uring_engine, io);
}

/* -- completions --------------------------------------------------------------------------------- */

static void complete_read(struct io_uring_engine *e, uint16_t id, int res)
{
	if (res > (int)e->vnet_len) {
		slots_fill(&e->reads, id, (uint32_t)res - e->vnet_len);
		return;
	}
	e->reads.free[e->reads.n_free++] = id;
	e->read_ran_dry = true;
	if (res == -EBADFD)
		e->tun_gone = true;
	else if (res == -EOPNOTSUPP && e->read_flags)
		e->read_flags = 0; /* such a TUN never waits, as it is non-blocking */
	else if (res != -EAGAIN && res != -EINTR)
		io_stat_add(&e->stats->read_errors, 1);
}

static void complete_write(struct io_uring_engine *e, struct io_write *w, int res)
{
	e->n_writes--;
	w->result = MIN(res, 0);
	if (res == -EBADFD)
		e->tun_gone = true;
}

static void complete(struct io_uring_engine *e, const struct io_uring_cqe *cqe)
{
	uint16_t id = (uint16_t)(cqe->user_data >> 3);
	void *p = (void *)(uintptr_t)(cqe->user_data & ~(uint64_t)TAG_MASK);
	switch ((enum tag)(cqe->user_data & TAG_MASK)) {
	case TAG_READ:
		complete_read(e, id, cqe->res);
		break;
	case TAG_RECV4:
		recv_side_complete(&e->recv4, cqe, e->stats);
		break;
	case TAG_RECV6:
		recv_side_complete(&e->recv6, cqe, e->stats);
		break;
	case TAG_WRITE:
		complete_write(e, p, cqe->res);
		break;
	case TAG_OTHER:
		break;
	}
}

static void reap(struct io_uring_engine *e)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	io_uring_for_each_cqe(&e->uring.ring, head, cqe)
	{
		complete(e, cqe);
		n++;
	}
	io_uring_cq_advance(&e->uring.ring, n);
}

static int enter_and_reap(struct io_uring_engine *e)
{
	int r = uring_enter(&e->uring);
	reap(e);
	return r;
}

/* -- TUN reads ----------------------------------------------------------------------------------- */

/* Where the packet begins that is read into a buffer. */
static uint8_t *packet_at(const struct io_uring_engine *e, uint16_t id)
{
	return e->read_mem + (size_t)id * READ_STRIDE + CACHELINE;
}

static bool queue_read(struct io_uring_engine *e)
{
	if (e->reads.n_free == 0)
		return false;
	struct io_uring_sqe *sqe = uring_sqe(&e->uring, FILE_TUN);
	if (!sqe)
		return false;
	uint16_t id = e->reads.free[--e->reads.n_free];
	sqe->opcode = IORING_OP_READ;
	sqe->addr = (uint64_t)(uintptr_t)(packet_at(e, id) - e->vnet_len);
	sqe->len = e->vnet_len + IO_MAX_DATAGRAM;
	sqe->rw_flags = e->read_flags;
	sqe->user_data = tagged_id(TAG_READ, id);
	return true;
}

/* A single packet is cheaper without the ring. */
static void read_single(struct io_uring_engine *e)
{
	uint16_t id = e->reads.free[--e->reads.n_free];
	complete_read(e, id,
		      io_tun_read(e->fds.tun, packet_at(e, id) - e->vnet_len,
				  e->vnet_len + IO_MAX_DATAGRAM));
}

/* Where system calls are cheap. They show at once that there is nothing more. */
static void read_by_calls(struct io_uring_engine *e, uint32_t n)
{
	uint32_t len = 0;

	e->tun_ready = false;
	e->read_ran_dry = false;
	for (uint32_t i = slots_n_ready(&e->reads); i < n && e->reads.n_free > 0; i++) {
		read_single(e);
		if (e->read_ran_dry)
			break;
		len += e->reads.filled[e->reads.n_filled - 1].len;
		if (len + IO_MAX_DATAGRAM > e->budget) /* sizes changed faster than their mean */
			break;
	}
}

/* Fetches up to @n packets, in one entry. A read that finds nothing costs half of one that does, so it
 * does not pay to ask for many. */
static void read_tun(struct io_uring_engine *e, uint32_t n)
{
	n = MIN(n, slots_wanted(e->budget, e->read_mean_len, MAX_READS));
	if (!e->ring_pays) {
		read_by_calls(e, n);
		return;
	}
	n = MIN(n, e->read_goal);
	uint32_t before = slots_n_ready(&e->reads);
	e->tun_ready = false;
	e->read_ran_dry = false;
	if (before + 1 == n && e->reads.n_free > 0) {
		read_single(e);
	} else {
		for (uint32_t i = before; i < n && queue_read(e); i++)
			;
		(void)enter_and_reap(e);
	}
	e->read_total += slots_n_ready(&e->reads) - before;
	if (e->read_ran_dry)
		e->read_goal = MAX(slots_n_ready(&e->reads), 1U);
}

/* How many packets the next burst asks for. After a pause: as many as the series before it had. While
 * there is more than was asked for: at first half of that, as a rest is likely, then ever more. */
static void set_read_goal(struct io_uring_engine *e)
{
	uint32_t first = e->read_first, total = e->read_total;
	if (total == 0)
		return;
	if (!e->tun_ready) {
		first = total < first ? total : (first + total + 1) / 2;
		e->read_first = MIN(first, (uint32_t)MAX_READS);
		e->read_goal = e->read_first;
		e->read_total = 0;
	} else if (!e->read_ran_dry) {
		e->read_goal = total == first ? (first + 1) / 2 : 2 * e->read_goal;
		e->read_goal = MIN(e->read_goal, (uint32_t)MAX_READS);
	}
}

static uint32_t uring_read_burst(struct io *io, struct io_packet *p, uint32_t n)
{
	struct io_uring_engine *e = engine_of(io);
	slots_release(&e->reads);
	if (e->tun_ready)
		read_tun(e, n);

	uint32_t n_out = 0, len = 0;
	n = MIN(n, (uint32_t)MAX_READS);
	/* The rest, if so many bytes came at once, is the next burst's. */
	while (n_out < n && slots_n_ready(&e->reads) > 0 &&
	       len + slots_next_len(&e->reads) <= e->budget) {
		struct filled f = slots_hand_out(&e->reads);
		len += f.len;
		mean_add(&e->read_mean_len, f.len);
		io_packet_set(&p[n_out++], packet_at(e, f.id), f.len, e->vnet_len);
	}
	return n_out;
}

/* -- UDP ----------------------------------------------------------------------------------------- */

static uint32_t uring_recv_burst(struct io *io, struct io_datagram *d, uint32_t n)
{
	struct io_uring_engine *e = engine_of(io);
	if (!e->ring_pays)
		return io_receiver_burst(&e->receiver, &e->fds, &e->udp_ready, d, n);
	struct recv_side *first = e->v6_first ? &e->recv6 : &e->recv4;
	struct recv_side *second = e->v6_first ? &e->recv4 : &e->recv6;
	e->v6_first = !e->v6_first;
	slots_release(&first->slots);
	slots_release(&second->slots);

	uint32_t n_out = recv_side_burst(first, d, n, e->stats);
	return n_out + recv_side_burst(second, d + n_out, n - n_out, e->stats);
}

static void arm_all(struct io_uring_engine *e)
{
	if (!e->ring_pays)
		return;
	recv_side_arm(&e->recv4, &e->uring, e->budget);
	recv_side_arm(&e->recv6, &e->uring, e->budget);
}

static void uring_send_burst(struct io *io, struct io_send *s, uint32_t n)
{
	struct io_uring_engine *e = engine_of(io);
	io_send_queue(&e->sender, &e->fds, s, n);
}

/* -- TUN writes ---------------------------------------------------------------------------------- */

static void queue_write(struct io_uring_engine *e, struct io_write *w)
{
	struct io_uring_sqe *sqe = uring_sqe(&e->uring, FILE_TUN);
	size_t len;
	w->result = -ENOMEM;
	if (!sqe)
		return;
	if (io_write_is_contiguous(w, &len)) {
		sqe->opcode = IORING_OP_WRITE;
		sqe->addr = (uint64_t)(uintptr_t)w->iov[0].iov_base;
		sqe->len = (uint32_t)len;
	} else {
		sqe->opcode = IORING_OP_WRITEV;
		sqe->addr = (uint64_t)(uintptr_t)w->iov;
		sqe->len = w->n_iov;
	}
	sqe->user_data = tagged(TAG_WRITE, w);
	e->n_writes++;
}

static void uring_write_burst(struct io *io, struct io_write *w, uint32_t n)
{
	struct io_uring_engine *e = engine_of(io);
	/* cheaper without the ring: a single one, or any where system calls are cheap */
	bool is_direct = e->n_writes == 0 && (n == 1 || !e->ring_pays);
	for (uint32_t i = 0; i < n; i++) {
		if (e->fds.tun < 0)
			w[i].result = -EBADFD;
		else if (is_direct)
			w[i].result = io_tun_write(e->fds.tun, &w[i]);
		else
			queue_write(e, &w[i]);
	}
}

/* All writes in one entry, which also renews what is armed. They complete inline. */
static void uring_submit(struct io *io)
{
	struct io_uring_engine *e = engine_of(io);
	io_send_flush(&e->sender, &e->fds);
	if (e->n_writes == 0)
		return;
	arm_all(e);
	int r = 0;
	for (int i = 0; i < MAX_ENTRIES_FOR_WRITES && e->n_writes > 0 && r == 0; i++)
		r = enter_and_reap(e);
}

/* -- waiting ------------------------------------------------------------------------------------- */

static bool has_input(const struct io_uring_engine *e)
{
	return e->tun_ready || slots_n_ready(&e->reads) > 0 || (!e->ring_pays && e->udp_ready) ||
	       slots_n_ready(&e->recv4.slots) > 0 || slots_n_ready(&e->recv6.slots) > 0;
}

/* The TUN is watched by epoll, not by a read that waits in the kernel, and the sleep is epoll's too: it
 * takes the hint of the network stack that the waker is about to sleep, so that we run where he ran.
 * A ring does not, and often an idle CPU has to be woken first. */
static int look(struct io_uring_engine *e, uint64_t timeout_ns)
{
	int r = io_waiter_wait(&e->waiter, timeout_ns);
	if (r < 0)
		return r;
	e->tun_gone |= (r & IO_TUN_GONE) != 0;
	e->tun_ready = (r & IO_TUN) != 0;
	e->udp_ready |= (unsigned)r & (IO_UDP4 | IO_UDP6);
	set_read_goal(e);
	return r;
}

static int uring_wait(struct io *io, uint64_t timeout_ns)
{
	struct io_uring_engine *e = engine_of(io);
	int r = 0;
	io_stat_add(&e->stats->loops, 1);
	e->sender.has_waited = false;
	if (UNLIKELY(!e->is_probed)) { /* here, as it has to be the thread that uses the ring */
		e->ring_pays = uring_measure_pays(e);
		e->is_probed = true;
		atomic_store_explicit(&e->stats->by_ring, e->ring_pays, memory_order_relaxed);
	}
	arm_all(e);
	if (!uring_is_idle(&e->uring))
		r = enter_and_reap(e);
	if (r == 0 && !e->tun_ready)
		r = look(e, has_input(e) ? 0 : timeout_ns);
	if (r > 0 && !uring_is_idle(&e->uring))
		r = enter_and_reap(e);
	return e->tun_gone ? -EBADFD : MIN(r, 0);
}

/* -- life ---------------------------------------------------------------------------------------- */

static void queue_cancel(struct io_uring_engine *e, uint64_t user_data)
{
	struct io_uring_sqe *sqe = uring_sqe(&e->uring, 0);
	if (!sqe)
		return;
	sqe->flags = 0;
	sqe->fd = -1;
	sqe->opcode = IORING_OP_ASYNC_CANCEL;
	sqe->addr = user_data;
	sqe->user_data = tagged_id(TAG_OTHER, 0);
}

/* Ends the receives that are in flight. */
static int cancel(struct io_uring_engine *e)
{
	if (e->recv4.is_armed)
		queue_cancel(e, tagged_id(TAG_RECV4, 0));
	if (e->recv6.is_armed)
		queue_cancel(e, tagged_id(TAG_RECV6, 0));
	int r = 0;
	for (int i = 0; i < MAX_CANCEL_ENTRIES && r == 0; i++) {
		if (!e->recv4.is_armed && !e->recv6.is_armed)
			return 0;
		r = enter_and_reap(e);
	}
	return r < 0 ? r : -EBUSY;
}

static int set_files(struct io_uring_engine *e, const struct io_fds *fds)
{
	int r = uring_set_file(&e->uring, FILE_TUN, fds->tun);
	if (r == 0)
		r = uring_set_file(&e->uring, FILE_UDP4, fds->udp4);
	if (r == 0)
		r = uring_set_file(&e->uring, FILE_UDP6, fds->udp6);
	return r;
}

static int uring_set_fds(struct io *io, const struct io_fds *fds)
{
	struct io_uring_engine *e = engine_of(io);
	int r = cancel(e);
	recv_side_forget(&e->recv4);
	recv_side_forget(&e->recv6);
	if (r == 0)
		r = set_files(e, fds);
	if (r == 0)
		r = io_waiter_set(&e->waiter, fds);
	if (r < 0)
		return r;
	e->fds = *fds;
	e->recv4.has_socket = fds->udp4 >= 0;
	e->recv6.has_socket = fds->udp6 >= 0;
	e->tun_ready = false;
	e->udp_ready = 0;
	e->tun_gone = false;
	return 0;
}

static void uring_destroy(struct io *io)
{
	struct io_uring_engine *e = engine_of(io);
	/* Lets go of the descriptors at once if this is the engine's own thread. From another one the
	 * kernel refuses, and lets go tens of milliseconds after the ring is closed: that thread should
	 * have taken them away itself, with set_fds(). */
	if (e->uring.is_open)
		(void)uring_set_fds(io, &(struct io_fds){ -1, -1, -1, -1, false });
	uring_close(&e->uring);
	io_waiter_close(&e->waiter);
	recv_side_close(&e->recv4);
	recv_side_close(&e->recv6);
	io_receiver_finish(&e->receiver);
	free(e->read_mem);
	free(e);
}

static const struct io_ops uring_ops = {
	.name = "uring",
	.destroy = uring_destroy,
	.set_fds = uring_set_fds,
	.wait = uring_wait,
	.recv_burst = uring_recv_burst,
	.read_burst = uring_read_burst,
	.send_burst = uring_send_burst,
	.write_burst = uring_write_burst,
	.submit = uring_submit,
};

/* Whatever this engine submits. */
static const uint8_t opcodes[] = { IORING_OP_READ, IORING_OP_WRITE, IORING_OP_WRITEV,
				   IORING_OP_RECVMSG, IORING_OP_ASYNC_CANCEL };
static const uint8_t flags = IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;

static int engine_open(struct io_uring_engine *e, const struct io_params *params)
{
	e->read_mem = aligned_alloc(CACHELINE, (size_t)N_READS * READ_STRIDE);
	if (!e->read_mem)
		return -ENOMEM;
	int r = uring_open(&e->uring, N_ENTRIES, N_FILES);
	if (r == 0)
		r = io_receiver_init(&e->receiver, e->budget, e->stats);
	if (r == 0)
		r = recv_side_open(&e->recv4, &e->uring, FILE_UDP4);
	if (r == 0)
		r = recv_side_open(&e->recv6, &e->uring, FILE_UDP6);
	if (r == 0)
		r = uring_set_fds(&e->io, &params->fds);
	if (r == 0) /* without it the ring is as good as it was */
		e->io.restrict_error =
			uring_restrict(&e->uring, opcodes, ARRAY_SIZE(opcodes), flags);
	return r;
}

int io_uring_create(struct io **ret_io, const struct io_params *params, struct io_stats *stats)
{
	struct io_uring_engine *e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	uint32_t n_buffers = params->n_buffers ? MAX(params->n_buffers, 2U) : IO_DEFAULT_BUFFERS;
	e->io.ops = &uring_ops;
	e->fds = (struct io_fds){ -1, -1, -1, -1, false };
	e->waiter.epoll_fd = -1;
	e->stats = stats;
	e->vnet_len = params->vnet_hdr ? IO_VNET_LEN : 0;
	e->read_flags = RWF_NOWAIT;
	e->is_probed = e->ring_pays = params->ring_always;
	atomic_store_explicit(&stats->by_ring, params->ring_always, memory_order_relaxed);
	e->read_goal = 1;
	e->read_first = 1;
	e->sender.stats = stats;
	e->sender.gso = params->udp_gso;
	e->budget = n_buffers * IO_BUFFER_LEN;
	slots_init(&e->reads, N_READS);
	int r = engine_open(e, params);
	if (r < 0) {
		uring_destroy(&e->io);
		return r;
	}
	e->io.memory = sizeof(*e) + (size_t)N_READS * READ_STRIDE +
		       (size_t)N_RECVS * RECV_STRIDE * 2 + io_receiver_memory() +
		       uring_memory(&e->uring);
	*ret_io = &e->io;
	return 0;
}

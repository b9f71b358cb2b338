/* SPDX-License-Identifier: MPL-2.0 */
/* The io_uring engine: bursts of TUN reads, all writes and sends, and all arming in few entries into
 * the kernel. Output completes inline, so results are final when submit() returns.
 * src/adr/0004-io-engines.md has the figures behind the shape. */
#include "io/io_uring.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "io/io_stats.h"

enum {
	DEFAULT_BUFFERS = 4,
	SLOT_LEN = 65536,
	ID_WAITS = 0x100,  /* in the number of a read: the one that waits */
	FIRST_BACKLOG = 4, /* packets; doubles as long as it is met */
	VNET_LEN = sizeof(struct virtio_net_hdr),
	MAX_ENTRIES_FOR_OUTPUT = 1000, /* of a submit(); one is normal */
	MAX_CANCEL_ENTRIES = 1000,
};

static struct io_uring_engine *engine_of(struct io *io)
{
	return container_of(io, struct io_uring_engine, io);
}

static int socket_of(const struct io_uring_engine *e, const struct io_send *s)
{
	return s->to->to.sa.sa_family == AF_INET ? e->fds.udp4 : e->fds.udp6;
}

/* -- completions --------------------------------------------------------------------------------- */

static void complete_read(struct io_uring_engine *e, uint16_t id, int res)
{
	uint32_t head = e->vnet_hdr ? VNET_LEN : 0;
	if (res > (int)head) {
		slots_fill(&e->reads, id, (uint32_t)res - head);
		return;
	}
	e->reads.free[e->reads.n_free++] = id;
	e->read_ran_dry = true;
	if (res == -EBADFD)
		e->tun_gone = true;
	else if (res == -EOPNOTSUPP && e->read_flags)
		e->read_flags = 0; /* such a TUN never waits, as it is non-blocking */
	else if (res != -EAGAIN && res != -ECANCELED && res != -EINTR)
		io_stat_add(&e->stats->read_errors, 1);
}

/* The read that waits for the next packet is done. If it did not have to wait at all, packets come
 * faster than we fetch them: then hope for more next time. */
static void complete_armed_read(struct io_uring_engine *e, uint16_t id, int res)
{
	complete_read(e, id, res);
	e->read_armed = false;
	e->read_polls |= res == -EAGAIN;
	e->read_due = res > 0;
	if (res <= 0)
		return;
	uint32_t *last = &e->read_goal[e->read_kind];
	if (!e->read_just_armed) {
		e->read_kind = READ_WOKEN;
		e->read_goal[READ_BACKLOG] = FIRST_BACKLOG;
	} else {
		if (!e->read_ran_dry)
			*last = MIN(*last + *last / (e->read_kind == READ_WOKEN ? 4 : 1) + 1,
				    (uint32_t)MAX_READS);
		e->read_kind = READ_BACKLOG;
	}
}

static void complete_send(struct io_uring_engine *e, struct io_send *s, int res)
{
	e->n_output--;
	s->result = MIN(res, 0);
	s->n_sent = 0;
	if (res >= 0)
		s->n_sent = io_send_is_run(s) ? (s->len + s->segment_len - 1U) / s->segment_len : 1;
	else
		io_send_recover(&e->sender, socket_of(e, s), s, -res);
}

static void complete_write(struct io_uring_engine *e, struct io_write *w, int res)
{
	e->n_output--;
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
		if (!(id & ID_WAITS))
			complete_read(e, id, cqe->res);
		else
			complete_armed_read(e, (uint16_t)(id - ID_WAITS), cqe->res);
		break;
	case TAG_POLL:
		e->read_armed = false;
		e->read_due = true; /* the read will tell, also that the TUN is gone */
		break;
	case TAG_RECV4:
		recv_side_complete(&e->recv4, cqe, e->stats);
		break;
	case TAG_RECV6:
		recv_side_complete(&e->recv6, cqe, e->stats);
		break;
	case TAG_WAKE:
		e->wake_armed = false;
		e->woken = true;
		break;
	case TAG_SEND:
		complete_send(e, p, cqe->res);
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

static int enter_and_reap(struct io_uring_engine *e, unsigned n_wait, uint64_t timeout_ns)
{
	int r = uring_enter(&e->uring, n_wait, timeout_ns);
	reap(e);
	e->read_just_armed = false;
	return r;
}

/* -- TUN reads ----------------------------------------------------------------------------------- */

/* Queues a read into a free buffer. One that @waits stays in the kernel until there is a packet. */
static bool queue_read(struct io_uring_engine *e, bool waits)
{
	if (e->reads.n_free == 0)
		return false;
	struct io_uring_sqe *sqe = uring_sqe(&e->uring, FILE_TUN);
	if (!sqe)
		return false;
	uint16_t id = e->reads.free[--e->reads.n_free];
	uint32_t head = e->vnet_hdr ? VNET_LEN : 0;
	sqe->opcode = IORING_OP_READ;
	sqe->addr =
		(uint64_t)(uintptr_t)(e->read_mem + (size_t)id * READ_STRIDE + CACHELINE - head);
	sqe->len = head + IO_MAX_DATAGRAM;
	sqe->rw_flags = waits ? 0 : e->read_flags;
	sqe->user_data = tagged_id(TAG_READ, (uint16_t)(waits ? id | ID_WAITS : id));
	if (waits)
		e->armed_id = id;
	return true;
}

static void arm_read(struct io_uring_engine *e)
{
	if (e->read_armed || e->read_due || e->fds.tun < 0 || e->tun_gone)
		return;
	if (!e->read_polls) {
		e->read_armed = e->read_just_armed = queue_read(e, true);
		return;
	}
	struct io_uring_sqe *sqe = uring_sqe(&e->uring, FILE_TUN);
	if (!sqe)
		return;
	sqe->opcode = IORING_OP_POLL_ADD;
	sqe->poll32_events = POLLIN;
	sqe->user_data = tagged_id(TAG_POLL, 0);
	e->read_armed = true;
}

static void arm_wake(struct io_uring_engine *e)
{
	if (e->wake_armed || e->fds.wake < 0)
		return;
	struct io_uring_sqe *sqe = uring_sqe(&e->uring, FILE_WAKE);
	if (!sqe)
		return;
	sqe->opcode = IORING_OP_READ;
	sqe->addr = (uint64_t)(uintptr_t)&e->wake_value;
	sqe->len = sizeof(e->wake_value);
	sqe->user_data = tagged_id(TAG_WAKE, 0);
	e->wake_armed = true;
}

static void arm_all(struct io_uring_engine *e)
{
	arm_wake(e);
	recv_side_arm(&e->recv4, &e->uring, e->budget);
	recv_side_arm(&e->recv6, &e->uring, e->budget);
	arm_read(e);
}

/* Fetches what else is there now, in one entry. As many as came last time; a read that finds nothing
 * costs half of one that does, and tells that we wanted too much. */
static void read_more(struct io_uring_engine *e, uint32_t n)
{
	n = MIN(n, slots_wanted(e->budget, e->read_mean_len, MAX_READS));
	n = MIN(n, e->read_goal[e->read_kind]);
	uint32_t ready = slots_n_ready(&e->reads);
	e->read_due = false;
	e->read_ran_dry = false;
	if (ready >= n)
		return; /* the usual case of a lone packet: no entry at all */
	for (uint32_t i = ready; i < n && queue_read(e, false); i++)
		;
	(void)enter_and_reap(e, 0, 0);
	if (e->read_ran_dry)
		e->read_goal[e->read_kind] = MAX(slots_n_ready(&e->reads), 1U);
}

static uint32_t uring_read_burst(struct io *io, struct io_packet *p, uint32_t n)
{
	struct io_uring_engine *e = engine_of(io);
	slots_release(&e->reads);
	if (e->read_due)
		read_more(e, n);

	uint32_t n_out = 0;
	uint32_t head = e->vnet_hdr ? VNET_LEN : 0;
	n = MIN(n, (uint32_t)MAX_READS);
	while (n_out < n && slots_n_ready(&e->reads) > 0) {
		struct filled f = slots_hand_out(&e->reads);
		uint8_t *data = e->read_mem + (size_t)f.id * READ_STRIDE + CACHELINE;
		mean_add(&e->read_mean_len, f.len);
		p[n_out].data = data;
		p[n_out].len = f.len;
		memset(&p[n_out].vnet, 0, sizeof(p[n_out].vnet));
		memcpy(&p[n_out].vnet, data - head, head);
		n_out++;
	}
	return n_out;
}

/* -- UDP ----------------------------------------------------------------------------------------- */

static uint32_t uring_recv_burst(struct io *io, struct io_datagram *d, uint32_t n)
{
	struct io_uring_engine *e = engine_of(io);
	struct recv_side *first = e->v6_first ? &e->recv6 : &e->recv4;
	struct recv_side *second = e->v6_first ? &e->recv4 : &e->recv6;
	e->v6_first = !e->v6_first;
	slots_release(&first->slots);
	slots_release(&second->slots);

	uint32_t n_out = recv_side_burst(first, d, n, e->stats);
	return n_out + recv_side_burst(second, d + n_out, n - n_out, e->stats);
}

/* Enters until all output is done: once, as it completes inline. */
static void drain_output(struct io_uring_engine *e)
{
	int r = 0;
	for (int i = 0; i < MAX_ENTRIES_FOR_OUTPUT && e->n_output > 0 && r == 0; i++)
		r = enter_and_reap(e, i > 0, UINT64_MAX);
	e->n_msgs = 0;
}

static void queue_send(struct io_uring_engine *e, struct io_send *s)
{
	s->n_sent = 0;
	s->result = -ENOMEM;
	if (e->n_msgs == MAX_MSGS)
		drain_output(e);
	bool is_v4 = s->to->to.sa.sa_family == AF_INET;
	struct io_uring_sqe *sqe = uring_sqe(&e->uring, is_v4 ? FILE_UDP4 : FILE_UDP6);
	if (!sqe)
		return;
	struct msghdr *hdr = &e->hdr[e->n_msgs];
	struct iovec all = { (void *)(uintptr_t)s->data, s->len };
	io_msg_fill(hdr, &e->msg[e->n_msgs++], s, all, io_send_is_run(s) ? s->segment_len : 0);
	sqe->opcode = IORING_OP_SENDMSG;
	sqe->addr = (uint64_t)(uintptr_t)hdr;
	sqe->len = 1;
	sqe->msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL;
	sqe->user_data = tagged(TAG_SEND, s);
	e->n_output++;
}

static void uring_send_burst(struct io *io, struct io_send *s, uint32_t n)
{
	struct io_uring_engine *e = engine_of(io);
	for (uint32_t i = 0; i < n; i++) {
		if (socket_of(e, &s[i]) < 0) {
			s[i].result = -EAFNOSUPPORT;
			s[i].n_sent = 0;
		} else if (UNLIKELY(io_send_must_split(&e->sender, &s[i]))) {
			drain_output(e); /* what came before goes before */
			io_send_split(&e->sender, socket_of(e, &s[i]), &s[i]);
		} else {
			queue_send(e, &s[i]);
		}
	}
}

/* -- TUN writes ---------------------------------------------------------------------------------- */

/* Whether the pieces lie one behind the other; then a plain write is cheaper. */
static bool is_contiguous(const struct io_write *w, uint32_t *ret_len)
{
	size_t len = w->iov[0].iov_len;
	for (uint32_t i = 1; i < w->n_iov; i++) {
		if ((const uint8_t *)w->iov[i].iov_base !=
		    (const uint8_t *)w->iov[0].iov_base + len)
			return false;
		len += w->iov[i].iov_len;
	}
	*ret_len = (uint32_t)len;
	return true;
}

static void queue_write(struct io_uring_engine *e, struct io_write *w)
{
	struct io_uring_sqe *sqe = e->fds.tun < 0 ? NULL : uring_sqe(&e->uring, FILE_TUN);
	uint32_t len;
	w->result = e->fds.tun < 0 ? -EBADFD : -ENOMEM;
	if (!sqe)
		return;
	if (is_contiguous(w, &len)) {
		sqe->opcode = IORING_OP_WRITE;
		sqe->addr = (uint64_t)(uintptr_t)w->iov[0].iov_base;
		sqe->len = len;
	} else {
		sqe->opcode = IORING_OP_WRITEV;
		sqe->addr = (uint64_t)(uintptr_t)w->iov;
		sqe->len = w->n_iov;
	}
	sqe->user_data = tagged(TAG_WRITE, w);
	e->n_output++;
}

static void uring_write_burst(struct io *io, struct io_write *w, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		queue_write(engine_of(io), &w[i]);
}

static void uring_submit(struct io *io)
{
	struct io_uring_engine *e = engine_of(io);
	if (e->n_output == 0)
		return;
	arm_all(e); /* in the same entry */
	drain_output(e);
}

/* -- waiting ------------------------------------------------------------------------------------- */

static bool has_input(const struct io_uring_engine *e)
{
	return e->read_due || e->woken || slots_n_ready(&e->reads) > 0 ||
	       slots_n_ready(&e->recv4.slots) > 0 || slots_n_ready(&e->recv6.slots) > 0;
}

static int uring_wait(struct io *io, uint64_t timeout_ns)
{
	struct io_uring_engine *e = engine_of(io);
	int r = 0;
	io_stat_add(&e->stats->loops, 1);
	e->sender.has_waited = false;
	arm_all(e);
	bool sleeps = timeout_ns > 0 && !has_input(e);
	if (sleeps || !uring_is_idle(&e->uring))
		r = enter_and_reap(e, sleeps, timeout_ns);
	e->woken = false;
	return e->tun_gone ? -EBADFD : r;
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

static bool is_armed(const struct io_uring_engine *e, bool tun, bool wake)
{
	return e->recv4.is_armed || e->recv6.is_armed || (tun && e->read_armed) ||
	       (wake && e->wake_armed);
}

/* Ends what is in flight on the sockets, and on the TUN and the eventfd if asked to. */
static int cancel(struct io_uring_engine *e, bool tun, bool wake)
{
	if (e->recv4.is_armed)
		queue_cancel(e, tagged_id(TAG_RECV4, 0));
	if (e->recv6.is_armed)
		queue_cancel(e, tagged_id(TAG_RECV6, 0));
	if (tun && e->read_armed)
		queue_cancel(e, e->read_polls ? tagged_id(TAG_POLL, 0)
					      : tagged_id(TAG_READ, e->armed_id | ID_WAITS));
	if (wake && e->wake_armed)
		queue_cancel(e, tagged_id(TAG_WAKE, 0));
	int r = 0;
	for (int i = 0; i < MAX_CANCEL_ENTRIES && r == 0 && is_armed(e, tun, wake); i++)
		r = enter_and_reap(e, i > 0, NSEC_PER_MSEC);
	return r == 0 && is_armed(e, tun, wake) ? -EBUSY : r;
}

static int uring_set_fds(struct io *io, const struct io_fds *fds)
{
	struct io_uring_engine *e = engine_of(io);
	bool new_tun = fds->tun != e->fds.tun, new_wake = fds->wake != e->fds.wake;
	int r = cancel(e, new_tun, new_wake);
	recv_side_forget(&e->recv4);
	recv_side_forget(&e->recv6);
	if (r == 0 && new_tun)
		r = uring_set_file(&e->uring, FILE_TUN, fds->tun);
	if (r == 0 && new_wake)
		r = uring_set_file(&e->uring, FILE_WAKE, fds->wake);
	if (r == 0)
		r = uring_set_file(&e->uring, FILE_UDP4, fds->udp4);
	if (r == 0)
		r = uring_set_file(&e->uring, FILE_UDP6, fds->udp6);
	if (r < 0)
		return r;
	e->fds = *fds;
	e->recv4.has_socket = fds->udp4 >= 0;
	e->recv6.has_socket = fds->udp6 >= 0;
	if (new_tun)
		e->tun_gone = false;
	return 0;
}

static void uring_destroy(struct io *io)
{
	struct io_uring_engine *e = engine_of(io);
	/* Lets go of the descriptors at once if we are on the engine's own thread; otherwise the
	 * kernel refuses, and does it some time after the ring is closed. */
	if (e->uring.is_open && e->uring.is_enabled)
		(void)uring_set_fds(io, &(struct io_fds){ -1, -1, -1, -1 });
	uring_close(&e->uring);
	recv_side_close(&e->recv4);
	recv_side_close(&e->recv6);
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

static int engine_open(struct io_uring_engine *e, const struct io_params *params)
{
	e->read_mem = aligned_alloc(CACHELINE, (size_t)N_READS * READ_STRIDE);
	if (!e->read_mem)
		return -ENOMEM;
	int r = uring_open(&e->uring, N_ENTRIES, N_FILES);
	if (r == 0)
		r = recv_side_open(&e->recv4, &e->uring, FILE_UDP4);
	if (r == 0)
		r = recv_side_open(&e->recv6, &e->uring, FILE_UDP6);
	if (r == 0)
		r = uring_set_fds(&e->io, &params->fds);
	return r;
}

int io_uring_create(struct io **ret_io, const struct io_params *params, struct io_stats *stats)
{
	struct io_uring_engine *e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	uint32_t n_buffers = params->n_buffers ? MAX(params->n_buffers, 2U) : DEFAULT_BUFFERS;
	e->io.ops = &uring_ops;
	e->fds = (struct io_fds){ -1, -1, -1, -1 };
	e->stats = stats;
	e->vnet_hdr = params->vnet_hdr;
	e->read_flags = RWF_NOWAIT;
	e->read_goal[READ_WOKEN] = 1;
	e->read_goal[READ_BACKLOG] = FIRST_BACKLOG;
	e->sender = (struct io_sender){ .stats = stats, .gso = params->udp_gso };
	e->budget = n_buffers * SLOT_LEN;
	slots_init(&e->reads, N_READS);
	int r = engine_open(e, params);
	if (r < 0) {
		uring_destroy(&e->io);
		return r;
	}
	*ret_io = &e->io;
	return 0;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* The engine of plain system calls: epoll, read and writev on the TUN, recvmmsg and sendmmsg on the
 * sockets. Works on every kernel and in every sandbox. TUN writes happen at once, while the packet is
 * in the cache; sends are gathered until submit(), because sendmmsg is cheaper per datagram. */
#include <errno.h>
#include <stdlib.h>

#include "base/macro.h"
#include "io/io.h"
#include "io/io_recv.h"
#include "io/io_send.h"
#include "io/io_stats.h"
#include "io/io_tun.h"
#include "io/io_wait.h"

enum {
	MAX_ERRORS = 16, /* skipped by one read_burst() */
	/* The vnet header ends on a cache line, so that the packet begins on the next. */
	READ_ROOM = CACHELINE + IO_MAX_DATAGRAM,
};

struct io_poll {
	struct io io; /* first */
	struct io_fds fds;
	struct io_waiter waiter;
	struct io_stats *stats;
	bool vnet_hdr;
	bool tun_gone;
	unsigned ready; /* IO_*: not known to be empty */

	uint8_t *arena; /* TUN packets, one behind the other */
	size_t arena_len;

	struct io_receiver receiver;
	struct io_sender sender;
};

static struct io_poll *poll_of(struct io *io)
{
	return container_of(io, struct io_poll, io);
}

/* -- descriptors and waiting ---------------------------------------------------------------------- */

static int poll_set_fds(struct io *io, const struct io_fds *fds)
{
	struct io_poll *p = poll_of(io);
	int r = io_waiter_set(&p->waiter, fds);
	if (r < 0)
		return r;
	p->fds = *fds;
	p->ready = 0;
	p->tun_gone = false;
	return 0;
}

static int poll_wait(struct io *io, uint64_t timeout_ns)
{
	struct io_poll *p = poll_of(io);
	io_stat_add(&p->stats->loops, 1);
	p->sender.has_waited = false;
	/* If there is something already, just look what else there is. */
	int r = io_waiter_wait(&p->waiter, p->ready || p->tun_gone ? 0 : timeout_ns);
	if (r < 0)
		return r;
	p->ready |= (unsigned)r & (IO_TUN | IO_UDP4 | IO_UDP6);
	p->tun_gone |= (r & IO_TUN_GONE) != 0;
	return p->tun_gone ? -EBADFD : 0;
}

/* -- sockets ------------------------------------------------------------------------------------- */

static uint32_t poll_recv_burst(struct io *io, struct io_datagram *d, uint32_t n)
{
	struct io_poll *p = poll_of(io);
	return io_receiver_burst(&p->receiver, &p->fds, &p->ready, d, n);
}

static void poll_send_burst(struct io *io, struct io_send *s, uint32_t n)
{
	struct io_poll *p = poll_of(io);
	io_send_queue(&p->sender, &p->fds, s, n);
}

static void poll_submit(struct io *io)
{
	struct io_poll *p = poll_of(io);
	io_send_flush(&p->sender, &p->fds);
}

/* -- TUN ----------------------------------------------------------------------------------------- */

/* One packet to @at. Its length, 0: nothing there. */
static uint32_t read_one(struct io_poll *p, uint8_t *at, struct io_packet *ret)
{
	int head = p->vnet_hdr ? IO_VNET_LEN : 0;
	uint8_t *data = at + CACHELINE;
	for (int i = 0; i < MAX_ERRORS; i++) {
		int r = io_tun_read(p->fds.tun, data - head, (size_t)head + IO_MAX_DATAGRAM);
		if (r > head) {
			io_packet_set(ret, data, (uint32_t)(r - head), (size_t)head);
			return ret->len;
		}
		p->tun_gone |= r == -EBADFD;
		if (r == -EAGAIN || p->tun_gone)
			break;
		io_stat_add(&p->stats->read_errors, 1);
	}
	p->ready &= ~(unsigned)IO_TUN;
	return 0;
}

static uint32_t poll_read_burst(struct io *io, struct io_packet *packet, uint32_t n)
{
	struct io_poll *p = poll_of(io);
	size_t used = 0;
	uint32_t i = 0;
	while (i < n && (p->ready & IO_TUN) && p->arena_len - used >= READ_ROOM) {
		uint32_t len = read_one(p, p->arena + used, &packet[i]);
		if (len == 0)
			break;
		used += ROUND_UP(CACHELINE + (size_t)len, (size_t)CACHELINE);
		i++;
	}
	return i;
}

static void poll_write_burst(struct io *io, struct io_write *w, uint32_t n)
{
	struct io_poll *p = poll_of(io);
	for (uint32_t i = 0; i < n; i++) {
		w[i].result = p->fds.tun < 0 ? -EBADFD : io_tun_write(p->fds.tun, &w[i]);
		p->tun_gone |= w[i].result == -EBADFD;
	}
}

/* -- life ---------------------------------------------------------------------------------------- */

static void poll_destroy(struct io *io)
{
	struct io_poll *p = poll_of(io);
	io_waiter_close(&p->waiter);
	io_receiver_finish(&p->receiver);
	free(p->arena);
	free(p);
}

static const struct io_ops poll_ops = {
	.name = "poll",
	.destroy = poll_destroy,
	.set_fds = poll_set_fds,
	.wait = poll_wait,
	.recv_burst = poll_recv_burst,
	.read_burst = poll_read_burst,
	.send_burst = poll_send_burst,
	.write_burst = poll_write_burst,
	.submit = poll_submit,
};

int io_poll_create(struct io **ret_io, const struct io_params *params, struct io_stats *stats)
{
	struct io_poll *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	uint32_t n_buffers = params->n_buffers ? MAX(params->n_buffers, 2U) : IO_DEFAULT_BUFFERS;
	p->io.ops = &poll_ops;
	p->waiter.epoll_fd = -1;
	p->stats = stats;
	p->vnet_hdr = params->vnet_hdr;
	p->sender.stats = stats;
	p->sender.gso = params->udp_gso;
	/* Room for so many full packets, each with its header. */
	p->arena_len = ROUND_UP((size_t)n_buffers * READ_ROOM, (size_t)CACHELINE);
	p->arena = aligned_alloc(CACHELINE, p->arena_len);
	int r = p->arena ? 0 : -ENOMEM;
	if (r == 0)
		r = io_receiver_init(&p->receiver, n_buffers * IO_BUFFER_LEN, stats);
	if (r == 0)
		r = poll_set_fds(&p->io, &params->fds);
	if (r < 0) {
		poll_destroy(&p->io);
		return r;
	}
	p->io.memory = sizeof(*p) + p->arena_len + io_receiver_memory();
	*ret_io = &p->io;
	return 0;
}

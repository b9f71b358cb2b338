/* SPDX-License-Identifier: MPL-2.0 */
/* The engine of plain system calls: epoll, read and writev on the TUN, recvmmsg and sendmmsg on the
 * sockets. Works on every kernel and in every sandbox. TUN writes happen at once, while the packet is
 * in the cache; sends are gathered until submit(), because sendmmsg is cheaper per datagram. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/macro.h"
#include "io/io.h"
#include "io/io_send.h"
#include "io/io_stats.h"
#include "udp/cmsg.h"

enum {
	DEFAULT_BUFFERS = 4,
	SLOT_LEN = 65536, /* bytes; one UDP_GRO buffer */
	N_SLOTS = 32,     /* for receiving; how many one call uses depends on what comes */
	MAX_QUEUED = 256, /* sends until they are flushed */
	N_EVENTS = 4,
	MAX_ERRORS = 16, /* skipped by one recv_burst() and socket */
	VNET_LEN = sizeof(struct virtio_net_hdr),
	/* The vnet header ends on a cache line, so that the packet begins on the next. */
	READ_ROOM = CACHELINE + IO_MAX_DATAGRAM,
};

/* What an epoll event belongs to; also bits of "may be readable". */
enum source {
	SRC_TUN = 1U << 0,
	SRC_UDP4 = 1U << 1,
	SRC_UDP6 = 1U << 2,
	SRC_WAKE = 1U << 3,
};

/* Where one received message ends up. */
struct slot_meta {
	struct iovec iov;
	struct sockaddr_in6 name;
	union udp_cmsg_recv control;
};

struct io_poll {
	struct io io; /* first */
	struct io_fds fds;
	struct io_stats *stats;
	bool vnet_hdr;
	bool tun_gone;
	bool v6_first;  /* who is served first changes from call to call */
	unsigned ready; /* SRC_*: not known to be empty */
	int epoll_fd;

	uint32_t budget;   /* bytes that one recv_burst() or read_burst() may fill, about */
	uint32_t mean_len; /* bytes; of received messages, sliding */
	uint8_t *slots;    /* N_SLOTS of SLOT_LEN, touched only as far as needed */
	uint8_t *arena;    /* TUN packets, one behind the other */
	size_t arena_len;

	struct slot_meta meta[N_SLOTS];
	struct mmsghdr msg[N_SLOTS];

	struct io_sender sender;
	uint32_t n_queued4, n_queued6;
	struct io_send *queued4[MAX_QUEUED], *queued6[MAX_QUEUED];
};

static struct io_poll *poll_of(struct io *io)
{
	return container_of(io, struct io_poll, io);
}

/* -- descriptors --------------------------------------------------------------------------------- */

static int watch(struct io_poll *p, int fd, enum source source)
{
	if (fd < 0)
		return 0;
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = source };
	return epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static int poll_set_fds(struct io *io, const struct io_fds *fds)
{
	struct io_poll *p = poll_of(io);
	int epoll_fd CLEANUP(close_fdp) = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		return -errno;
	int old CLEANUP(close_fdp) = TAKE(p->epoll_fd, epoll_fd);
	int r = watch(p, fds->tun, SRC_TUN);
	if (r == 0)
		r = watch(p, fds->udp4, SRC_UDP4);
	if (r == 0)
		r = watch(p, fds->udp6, SRC_UDP6);
	if (r == 0)
		r = watch(p, fds->wake, SRC_WAKE);
	if (r < 0) {
		p->epoll_fd = TAKE_FD(old);
		return r;
	}
	epoll_fd = -1;
	p->fds = *fds;
	p->ready = 0;
	p->tun_gone = false;
	return 0;
}

/* -- waiting ------------------------------------------------------------------------------------- */

static int epoll_wait_ns(int fd, struct epoll_event *ev, uint64_t timeout_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(timeout_ns / NSEC_PER_SEC),
			       .tv_nsec = (long)(timeout_ns % NSEC_PER_SEC) };
	if (timeout_ns == 0)
		return epoll_wait(fd, ev, N_EVENTS, 0);
	if (timeout_ns == UINT64_MAX)
		return epoll_wait(fd, ev, N_EVENTS, -1);
	int r = epoll_pwait2(fd, ev, N_EVENTS, &ts, NULL);
	if (r >= 0 || errno != ENOSYS)
		return r;
	/* Before Linux 5.11: rounded up, so that we do not wake early and spin. */
	uint64_t ms = MIN((timeout_ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC, (uint64_t)INT32_MAX);
	return epoll_wait(fd, ev, N_EVENTS, (int)ms);
}

static void empty_eventfd(int fd)
{
	uint64_t value;
	while (read(fd, &value, sizeof(value)) < 0 && errno == EINTR)
		;
}

static int poll_wait(struct io *io, uint64_t timeout_ns)
{
	struct io_poll *p = poll_of(io);
	struct epoll_event ev[N_EVENTS];
	io_stat_add(&p->stats->loops, 1);
	p->sender.has_waited = false;

	if (p->ready || p->tun_gone)
		timeout_ns = 0; /* just look what else there is */
	int n = epoll_wait_ns(p->epoll_fd, ev, timeout_ns);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		if (ev[i].data.u32 == SRC_WAKE)
			empty_eventfd(p->fds.wake);
		else
			p->ready |= ev[i].data.u32;
		if (ev[i].data.u32 == SRC_TUN && (ev[i].events & (EPOLLERR | EPOLLHUP)))
			p->tun_gone = true;
	}
	return p->tun_gone ? -EBADFD : 0;
}

/* -- receiving ----------------------------------------------------------------------------------- */

static void slot_prepare(struct io_poll *p, uint32_t i)
{
	struct slot_meta *m = &p->meta[i];
	m->iov = (struct iovec){ p->slots + (size_t)i * SLOT_LEN, IO_MAX_DATAGRAM };
	p->msg[i].msg_hdr = (struct msghdr){
		.msg_name = &m->name,
		.msg_namelen = sizeof(m->name),
		.msg_iov = &m->iov,
		.msg_iovlen = 1,
		.msg_control = &m->control,
		.msg_controllen = sizeof(m->control),
	};
}

/* False: it was cut off, or comes from nowhere. */
static bool slot_take(struct io_poll *p, uint32_t i, struct io_datagram *d)
{
	const struct msghdr *h = &p->msg[i].msg_hdr;
	struct udp_received got;
	if (h->msg_flags & MSG_TRUNC)
		return false;
	udp_cmsg_parse(&got, (struct bytes){ (const uint8_t *)&p->meta[i].name, h->msg_namelen },
		       (struct bytes){ p->meta[i].control.b, h->msg_controllen });
	d->data = p->meta[i].iov.iov_base;
	d->len = p->msg[i].msg_len;
	d->segment_len = got.segment_len && got.segment_len < d->len ? got.segment_len : d->len;
	d->tos = got.tos;
	d->from = got.from;
	return endpoint_is_set(&d->from);
}

/* recvmmsg into the slots from @first on. Skips errors; what they were does not matter (P-367). Returns
 * how many messages came. */
static uint32_t recv_into(struct io_poll *p, enum source source, uint32_t first, uint32_t n)
{
	int fd = source == SRC_UDP4 ? p->fds.udp4 : p->fds.udp6;
	for (uint32_t i = first; i < first + n; i++)
		slot_prepare(p, i);
	for (int i = 0; i < MAX_ERRORS; i++) {
		int r = recvmmsg(fd, p->msg + first, n, MSG_DONTWAIT, NULL);
		if (r > 0) {
			if ((uint32_t)r < n)
				p->ready &= ~(unsigned)source; /* epoll tells if we are wrong */
			return (uint32_t)r;
		}
		if (r == 0 || errno == EAGAIN)
			break;
		if (errno != EINTR)
			io_stat_add(&p->stats->recv_errors, 1);
	}
	p->ready &= ~(unsigned)source;
	return 0;
}

/* Few slots when large buffers come, so that they stay in the cache; many for small datagrams. */
static uint32_t slots_wanted(const struct io_poll *p)
{
	uint32_t n = p->budget / MAX(p->mean_len, 1U);
	return MIN(MAX(n, (uint32_t)DEFAULT_BUFFERS), (uint32_t)N_SLOTS);
}

static uint32_t poll_recv_burst(struct io *io, struct io_datagram *d, uint32_t n)
{
	struct io_poll *p = poll_of(io);
	enum source order[2] = { SRC_UDP4, SRC_UDP6 };
	if (p->v6_first) {
		order[0] = SRC_UDP6;
		order[1] = SRC_UDP4;
	}
	p->v6_first = !p->v6_first;

	uint32_t n_slots = MIN(n, slots_wanted(p)), used = 0, n_out = 0;
	for (int k = 0; k < 2; k++) {
		if (!(p->ready & order[k]))
			continue;
		uint32_t got = used < n_slots ? recv_into(p, order[k], used, n_slots - used) : 0;
		for (uint32_t i = used; i < used + got; i++) {
			p->mean_len += (p->msg[i].msg_len / 8) - (p->mean_len / 8);
			if (slot_take(p, i, &d[n_out]))
				n_out++;
			else
				io_stat_add(&p->stats->recv_errors, 1);
		}
		used += got;
	}
	return n_out;
}

/* -- TUN ----------------------------------------------------------------------------------------- */

/* One packet to @at. Its length, 0: nothing there. */
static uint32_t read_one(struct io_poll *p, uint8_t *at, struct io_packet *ret)
{
	size_t head = p->vnet_hdr ? VNET_LEN : 0;
	uint8_t *data = at + CACHELINE;
	for (int i = 0; i < MAX_ERRORS; i++) {
		ssize_t r = read(p->fds.tun, data - head, head + IO_MAX_DATAGRAM);
		if (r > (ssize_t)head) {
			memset(&ret->vnet, 0, sizeof(ret->vnet));
			memcpy(&ret->vnet, data - head, head);
			ret->data = data;
			ret->len = (uint32_t)((size_t)r - head);
			return ret->len;
		}
		if (r < 0 && errno == EAGAIN)
			break;
		if (r < 0 && errno == EBADFD)
			p->tun_gone = true;
		if (p->tun_gone)
			break;
		if (r >= 0 || errno != EINTR)
			io_stat_add(&p->stats->read_errors, 1);
	}
	p->ready &= ~(unsigned)SRC_TUN;
	return 0;
}

static uint32_t poll_read_burst(struct io *io, struct io_packet *packet, uint32_t n)
{
	struct io_poll *p = poll_of(io);
	size_t used = 0;
	uint32_t i = 0;
	while (i < n && (p->ready & SRC_TUN) && p->arena_len - used >= READ_ROOM) {
		uint32_t len = read_one(p, p->arena + used, &packet[i]);
		if (len == 0)
			break;
		used += ROUND_UP(CACHELINE + (size_t)len, (size_t)CACHELINE);
		i++;
	}
	return i;
}

static int write_one(struct io_poll *p, const struct io_write *w)
{
	for (int i = 0; i < MAX_ERRORS; i++) {
		if (writev(p->fds.tun, w->iov, (int)w->n_iov) >= 0)
			return 0;
		if (errno != EINTR)
			break;
	}
	if (errno == EBADFD)
		p->tun_gone = true;
	return -errno;
}

static void poll_write_burst(struct io *io, struct io_write *w, uint32_t n)
{
	struct io_poll *p = poll_of(io);
	for (uint32_t i = 0; i < n; i++)
		w[i].result = p->fds.tun < 0 ? -EBADFD : write_one(p, &w[i]);
}

/* -- sending ------------------------------------------------------------------------------------- */

static void flush(struct io_poll *p)
{
	if (p->n_queued4)
		io_send_all(&p->sender, p->fds.udp4, p->queued4, TAKE(p->n_queued4, 0));
	if (p->n_queued6)
		io_send_all(&p->sender, p->fds.udp6, p->queued6, TAKE(p->n_queued6, 0));
}

static void poll_send_burst(struct io *io, struct io_send *s, uint32_t n)
{
	struct io_poll *p = poll_of(io);
	for (uint32_t i = 0; i < n; i++) {
		bool is_v4 = s[i].to->to.sa.sa_family == AF_INET;
		if ((is_v4 ? p->fds.udp4 : p->fds.udp6) < 0) {
			s[i].result = -EAFNOSUPPORT;
			s[i].n_sent = 0;
			continue;
		}
		if (p->n_queued4 == MAX_QUEUED || p->n_queued6 == MAX_QUEUED)
			flush(p);
		if (is_v4)
			p->queued4[p->n_queued4++] = &s[i];
		else
			p->queued6[p->n_queued6++] = &s[i];
	}
}

static void poll_submit(struct io *io)
{
	flush(poll_of(io));
}

/* -- life ---------------------------------------------------------------------------------------- */

static void poll_destroy(struct io *io)
{
	struct io_poll *p = poll_of(io);
	close_fdp(&p->epoll_fd);
	free(p->slots);
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
	uint32_t n_buffers = params->n_buffers ? MAX(params->n_buffers, 2U) : DEFAULT_BUFFERS;
	p->io.ops = &poll_ops;
	p->epoll_fd = -1;
	p->stats = stats;
	p->vnet_hdr = params->vnet_hdr;
	p->sender = (struct io_sender){ .stats = stats, .gso = params->udp_gso };
	p->budget = MIN(n_buffers, (uint32_t)N_SLOTS) * SLOT_LEN;
	/* Room for so many full packets, each with its header. */
	p->arena_len = ROUND_UP((size_t)n_buffers * READ_ROOM, (size_t)CACHELINE);
	p->arena = aligned_alloc(CACHELINE, p->arena_len);
	p->slots = aligned_alloc(CACHELINE, (size_t)N_SLOTS * SLOT_LEN);
	int r = p->arena && p->slots ? poll_set_fds(&p->io, &params->fds) : -ENOMEM;
	if (r < 0) {
		poll_destroy(&p->io);
		return r;
	}
	*ret_io = &p->io;
	return 0;
}

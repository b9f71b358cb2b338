/* SPDX-License-Identifier: MPL-2.0 */
/* Preloaded into the daemon: a kernel that refuses offloads.
 * While the daemon runs: UDP_SEGMENT sends fail with E2E_GSO_ERROR, writes of super-packets to the TUN
 * with E2E_TUN_ERROR, both numbers of errno.h.
 * From the start: E2E_NO_OPTION="LEVEL OPTION ERROR", a setsockopt(); E2E_NO_OFFLOAD="MASK ERROR", the
 * TUNSETOFFLOAD with any of these bits; E2E_NO_QUEUES="ERROR", the TUNSETIFF with IFF_MULTI_QUEUE.
 * Nothing else changes. */
#include <dlfcn.h>
#include <errno.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/udp.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <liburing.h>

enum { MAX_REFUSED = 1024 }; /* of one entry into the kernel; the daemon's ring has fewer */

int sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags);
ssize_t write(int fd, const void *data, size_t len);
ssize_t writev(int fd, const struct iovec *iov, int n);
int io_uring_submit_and_get_events(struct io_uring *ring);

static int error_of(const char *variable)
{
	const char *text = getenv(variable);
	return text ? atoi(text) : 0;
}

static void *next(const char *name)
{
	void *f = dlsym(RTLD_NEXT, name);
	if (!f)
		abort();
	return f;
}

/* -- UDP_SEGMENT --------------------------------------------------------------------------------- */

static bool has_segment(struct msghdr *h)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_SEGMENT)
			return true;
	return false;
}

/* As the kernel does it: what is in front of the refused one is sent. */
int sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
	static int (*real)(int, struct mmsghdr *, unsigned, int);
	int error = error_of("E2E_GSO_ERROR");
	unsigned n_good = 0;

	if (!real)
		real = next("sendmmsg");
	while (n_good < n && !(error && has_segment(&m[n_good].msg_hdr)))
		n_good++;
	if (n_good > 0 || n == 0)
		return real(fd, m, n_good, flags);
	errno = error;
	return -1;
}

/* -- super-packets to the TUN -------------------------------------------------------------------- */

static bool is_super_packet(const void *data, size_t len)
{
	struct virtio_net_hdr h;

	if (len < sizeof(h))
		return false;
	memcpy(&h, data, sizeof(h));
	return h.flags == VIRTIO_NET_HDR_F_NEEDS_CSUM && h.gso_size &&
	       (h.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) <= 5 && h.gso_type && h.csum_start >= 20;
}

ssize_t write(int fd, const void *data, size_t len)
{
	static ssize_t (*real)(int, const void *, size_t);
	int error = error_of("E2E_TUN_ERROR");

	if (!real)
		real = next("write");
	if (!error || !is_super_packet(data, len))
		return real(fd, data, len);
	errno = error;
	return -1;
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
	static ssize_t (*real)(int, const struct iovec *, int);
	int error = error_of("E2E_TUN_ERROR");

	if (!real)
		real = next("writev");
	if (!error || n < 1 || !is_super_packet(iov[0].iov_base, iov[0].iov_len))
		return real(fd, iov, n);
	errno = error;
	return -1;
}

static bool writes_super_packet(const struct io_uring_sqe *sqe)
{
	const void *at = (const void *)(uintptr_t)sqe->addr;
	const struct iovec *iov = at;

	if (sqe->opcode == IORING_OP_WRITE)
		return is_super_packet(at, sqe->len);
	return sqe->opcode == IORING_OP_WRITEV && sqe->len > 0 &&
	       is_super_packet(iov[0].iov_base, iov[0].iov_len);
}

/* The ring takes no operations but those that the daemon uses, so it becomes a write of nothing, which
 * completes at once, and the completion is changed. */
static void answer(struct io_uring *ring, uint64_t user_data, int error)
{
	unsigned mask = ring->cq.ring_mask;

	for (unsigned i = *ring->cq.khead; i != *ring->cq.ktail; i++)
		if (ring->cq.cqes[i & mask].user_data == user_data)
			ring->cq.cqes[i & mask].res = -error;
}

int io_uring_submit_and_get_events(struct io_uring *ring)
{
	static int (*real)(struct io_uring *);
	int error = error_of("E2E_TUN_ERROR");
	struct io_uring_sq *sq = &ring->sq;
	uint64_t refused[MAX_REFUSED];
	unsigned n = 0;

	if (!real)
		real = next("io_uring_submit_and_get_events");
	for (unsigned i = sq->sqe_head; error && i != sq->sqe_tail && n < MAX_REFUSED; i++) {
		struct io_uring_sqe *sqe = &sq->sqes[i & sq->ring_mask];
		if (!writes_super_packet(sqe))
			continue;
		sqe->opcode = IORING_OP_WRITE;
		sqe->len = 0;
		refused[n++] = sqe->user_data;
	}
	int r = real(ring);
	for (unsigned i = 0; i < n; i++)
		answer(ring, refused[i], error);
	return r;
}

/* -- from the start ------------------------------------------------------------------------------ */

int setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
	static int (*real)(int, int, int, const void *, socklen_t);
	const char *text = getenv("E2E_NO_OPTION");
	int refused_level, refused_option, error;

	if (!real)
		real = next("setsockopt");
	if (!text || sscanf(text, "%d %d %d", &refused_level, &refused_option, &error) != 3 ||
	    level != refused_level || option != refused_option)
		return real(fd, level, option, value, len);
	errno = error;
	return -1;
}

/* The errno.h number with which an ioctl shall fail; 0 = it shall not. */
static int ioctl_error(unsigned long request, void *arg)
{
	const char *offload = getenv("E2E_NO_OFFLOAD");
	unsigned mask;
	int error = 0;

	if (request == TUNSETOFFLOAD && offload && sscanf(offload, "%u %d", &mask, &error) == 2)
		return (uintptr_t)arg & mask ? error : 0;
	if (request == TUNSETIFF && ((struct ifreq *)arg)->ifr_flags & IFF_MULTI_QUEUE)
		return error_of("E2E_NO_QUEUES");
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	static int (*real)(int, unsigned long, ...);
	va_list ap;

	va_start(ap, request);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	if (!real)
		real = next("ioctl");
	int error = ioctl_error(request, arg);
	if (!error)
		return real(fd, request, arg);
	errno = error;
	return -1;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Level-triggered: what one call did not fetch is reported again. */
#include "io/io_wait.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { N_EVENTS = 4 };

static int watch(int epoll_fd, int fd, enum io_source source)
{
	if (fd < 0)
		return 0;
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = source };
	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int io_waiter_set(struct io_waiter *w, const struct io_fds *fds)
{
	int fd CLEANUP(close_fdp) = epoll_create1(EPOLL_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = watch(fd, fds->tun_writes_only ? -1 : fds->tun, IO_TUN);
	if (r == 0)
		r = watch(fd, fds->udp4, IO_UDP4);
	if (r == 0)
		r = watch(fd, fds->udp6, IO_UDP6);
	if (r == 0)
		r = watch(fd, fds->wake, IO_WAKE);
	if (r < 0)
		return r;
	io_waiter_close(w);
	w->epoll_fd = TAKE_FD(fd);
	w->wake_fd = fds->wake;
	return 0;
}

static int wait_ns(int fd, struct epoll_event *ev, uint64_t timeout_ns)
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

int io_waiter_wait(struct io_waiter *w, uint64_t timeout_ns)
{
	struct epoll_event ev[N_EVENTS];
	int n = wait_ns(w->epoll_fd, ev, timeout_ns);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	int ready = 0;
	for (int i = 0; i < n; i++) {
		ready |= (int)ev[i].data.u32;
		/* P-402: a TUN that is down reports no error, one that is gone does. */
		if (ev[i].data.u32 == IO_TUN && (ev[i].events & (EPOLLERR | EPOLLHUP)))
			ready |= IO_TUN_GONE;
	}
	if (ready & IO_WAKE)
		empty_eventfd(w->wake_fd);
	return ready;
}

void io_waiter_close(struct io_waiter *w)
{
	close_fdp(&w->epoll_fd);
	w->epoll_fd = -1;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* What the daemon's list of system calls costs: ns per call of the data path without and with it. Calls
 * that are allowed whatever their arguments are answered by a bitmap that the kernel makes of the list
 * when it is set (Linux 5.11); fcntl(), whose argument is looked at, shows what a run of the filter
 * itself costs. Each variant is a process of its own, in alternation; the fastest counts. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/macro.h"
#include "daemon/syscall_filter.h"

enum { ROUNDS = 15, REPEATS = 30, CALLS = 1000 };

static int event_fd, epoll_fd, udp_fd;
static uint8_t byte[8];
static struct iovec iov = { byte, sizeof(byte) };

/* All of them return at once: nothing is there, or nothing is asked for. */
static void do_read(void)
{
	(void)!read(event_fd, byte, sizeof(byte));
}

static void do_write(void)
{
	(void)!write(event_fd, byte, 1); /* EINVAL */
}

static void do_readv(void)
{
	(void)!readv(event_fd, &iov, 1);
}

static void do_writev(void)
{
	(void)!writev(event_fd, &iov, 0);
}

static void do_epoll_wait(void)
{
	struct epoll_event ev;
	(void)epoll_wait(epoll_fd, &ev, 1, 0);
}

static void do_recvmmsg(void)
{
	struct mmsghdr m = { .msg_hdr = { .msg_iov = &iov, .msg_iovlen = 1 } };
	(void)recvmmsg(udp_fd, &m, 1, MSG_DONTWAIT, NULL);
}

static void do_sendmmsg(void)
{
	(void)sendmmsg(udp_fd, NULL, 0, MSG_DONTWAIT);
}

static void do_io_uring_enter(void)
{
	(void)syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0);
}

static void do_futex(void)
{
	static uint32_t word;
	(void)syscall(SYS_futex, &word, 129 /* FUTEX_WAKE, private */, 1, NULL, NULL, 0);
}

static void do_fcntl(void)
{
	(void)fcntl(udp_fd, F_GETFL);
}

static const struct {
	const char *name;
	void (*call)(void);
} calls[] = {
	{ "read", do_read },
	{ "write", do_write },
	{ "readv", do_readv },
	{ "writev", do_writev },
	{ "epoll_wait", do_epoll_wait },
	{ "recvmmsg", do_recvmmsg },
	{ "sendmmsg", do_sendmmsg },
	{ "io_uring_enter", do_io_uring_enter },
	{ "futex", do_futex },
	{ "fcntl (by argument)", do_fcntl },
};

static double measure(void (*call)(void))
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < REPEATS; i++) {
		uint64_t begin = clock_boottime_ns();
		for (int k = 0; k < CALLS; k++)
			call();
		best = MIN(best, clock_boottime_ns() - begin);
	}
	return (double)best / CALLS;
}

/* In the child: no way back from the list. */
static int run(int result_fd, bool with_filter)
{
	double ns[ARRAY_SIZE(calls)];
	int r = 0;

	if (with_filter && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
		r = seccomp_confine_device(true);
	if (r < 0)
		return -r;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		ns[i] = measure(calls[i].call);
	return write(result_fd, ns, sizeof(ns)) == sizeof(ns) ? 0 : EIO;
}

/* Takes the better of *@best and a new measurement. 0 or an error of errno.h. */
static int measure_in_child(double best[static ARRAY_SIZE(calls)], bool with_filter)
{
	double ns[ARRAY_SIZE(calls)];
	int fd[2], status;

	if (pipe2(fd, O_CLOEXEC) < 0)
		return errno;
	pid_t pid = fork();
	if (pid == 0)
		_exit(run(fd[1], with_filter));
	(void)close(fd[1]);
	ssize_t n = read(fd[0], ns, sizeof(ns));
	(void)close(fd[0]);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return errno;
	if (!WIFEXITED(status) || n != sizeof(ns))
		return WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		best[i] = MIN(best[i], ns[i]);
	return 0;
}

int main(void)
{
	double best[2][ARRAY_SIZE(calls)];

	event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	udp_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		best[0][i] = best[1][i] = 1e9;
	for (int i = 0; i < 2 * ROUNDS; i++) {
		int r = measure_in_child(best[i % 2], i % 2);
		if (r) {
			fprintf(stderr, "micro_seccomp: %s\n", strerror(r));
			return EXIT_FAILURE;
		}
	}
	printf("%-22s %8s %8s %6s   ns per call\n", "", "without", "with", "more");
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		printf("%-22s %8.1f %8.1f %6.1f\n", calls[i].name, best[0][i], best[1][i],
		       best[1][i] - best[0][i]);
	return EXIT_SUCCESS;
}

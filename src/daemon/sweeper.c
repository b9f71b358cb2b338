/* SPDX-License-Identifier: MPL-2.0 */
/* The process that removes the control socket's name. */
#include "daemon/sweeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/landlock.h"
#include "daemon/privileges.h"
#include "daemon/syscall_filter.h"

enum { SWEEP_MSEC = 1000 };

static void close_all_but(int a, int b)
{
	int low = MIN(a, b);
	int high = MAX(a, b);
	if (low > 0)
		(void)close_range(0, (unsigned)low - 1, 0);
	if (high > low + 1)
		(void)close_range((unsigned)low + 1, (unsigned)high - 1, 0);
	(void)close_range((unsigned)high + 1, UINT_MAX, 0);
}

/* Whatever of this the kernel lacks, the rest holds. */
static void confine(const char *dir)
{
	int abi;
	(void)prctl(PR_SET_NAME, "ringtun-sweeper");
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	(void)!privileges_drop_groups();
	(void)!privileges_drop_capabilities(0);
	(void)!landlock_confine(dir, &abi);
	(void)!seccomp_confine_sweeper();
}

/* @file_fd keeps the file's numbers from being given out again. */
static _Noreturn void sweep(int fd, int file_fd, const char *dir, const char *path)
{
	struct stat ours, now;
	char request;

	close_all_but(fd, file_fd);
	bool known = fstat(file_fd, &ours) == 0;
	confine(dir);
	ssize_t n;
	do
		n = read(fd, &request, 1);
	while (n < 0 && errno == EINTR);
	if (known && lstat(path, &now) == 0 && now.st_dev == ours.st_dev &&
	    now.st_ino == ours.st_ino)
		(void)unlink(path);
	_exit(0); /* which closes @fd: the answer */
}

int sweeper_start(const char *dir, const char *path, int *ret_fd)
{
	int pair[2];
	int file_fd CLEANUP(close_fdp) = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (file_fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;

	pid_t child = fork();
	if (child == 0)
		sweep(pair[1], file_fd, dir, path);
	int r = child < 0 ? -errno : 0;
	(void)close(pair[1]);
	if (r < 0)
		(void)close(pair[0]);
	else
		*ret_fd = pair[0];
	return r;
}

void sweeper_sweep(int *fd)
{
	struct pollfd answer = { .fd = *fd, .events = POLLIN };

	if (*fd < 0)
		return;
	if (send(*fd, "x", 1, MSG_NOSIGNAL) == 1)
		(void)poll(&answer, 1, SWEEP_MSEC); /* it ends when it is done */
	(void)close(TAKE_FD(*fd));
}

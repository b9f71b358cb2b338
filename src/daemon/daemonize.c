/* SPDX-License-Identifier: MPL-2.0 */
/* Going to the background. The report is one byte for success, or the reason's text. */
#include "daemon/daemonize.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

#define REPORT_READY "\1"

void daemonize_fill_std_fds(void)
{
	int fd;
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		(void)close(fd);
}

int daemonize_fork(int *ret_report_fd)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;

	pid_t child = fork();
	if (child < 0) {
		int r = -errno;
		(void)close(fds[0]);
		(void)close(fds[1]);
		return r;
	}
	(void)close(fds[child ? 1 : 0]);
	*ret_report_fd = fds[child ? 0 : 1];
	return (int)child;
}

static void describe_death(int child, char *reason, size_t reason_size)
{
	int status = 0;
	pid_t r;
	do
		r = waitpid((pid_t)child, &status, 0);
	while (r < 0 && errno == EINTR);
	if (r == (pid_t)child && WIFSIGNALED(status))
		(void)snprintf(reason, reason_size, "the daemon was killed: %s",
			       strsignal(WTERMSIG(status)));
	else
		(void)snprintf(reason, reason_size, "the daemon ended while it started");
}

int daemonize_wait(int report_fd, int child, char *reason, size_t reason_size)
{
	size_t len = 0;
	while (len < reason_size - 1) {
		ssize_t n = read(report_fd, reason + len, reason_size - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	reason[len] = '\0';
	if (strcmp(reason, REPORT_READY) == 0)
		return 0;
	if (!len)
		describe_death(child, reason, reason_size);
	return -1;
}

static int redirect(int null_fd, int fd)
{
	return dup2(null_fd, fd) < 0 ? -errno : 0;
}

static bool is_kept(int fd, const int *keep, size_t n_keep)
{
	for (size_t i = 0; i < n_keep; i++)
		if (keep[i] == fd)
			return true;
	return fd <= STDERR_FILENO;
}

/* By the list of what is open: the range of possible numbers may have a thousand million. */
static int close_others_listed(const int *keep, size_t n_keep)
{
	DIR *dir = opendir("/proc/self/fd");
	if (!dir)
		return -errno;
	const struct dirent *entry;
	while ((entry = readdir(dir)) != NULL) {
		int fd = atoi(entry->d_name); /* "." and ".." are 0, which is kept */
		if (fd != dirfd(dir) && !is_kept(fd, keep, n_keep))
			(void)close(fd);
	}
	(void)closedir(dir);
	return 0;
}

static int close_others(const int *keep, size_t n_keep)
{
	unsigned first = STDERR_FILENO + 1;
	for (;;) {
		/* The gap before the lowest kept descriptor from here on. */
		unsigned last = ~0U;
		for (size_t i = 0; i < n_keep; i++)
			if (keep[i] >= (int)first && (unsigned)keep[i] - 1 < last)
				last = (unsigned)keep[i] - 1;
		if (last >= first && close_range(first, last, 0) < 0)
			return close_others_listed(keep, n_keep); /* before Linux 5.9 */
		if (last == ~0U)
			return 0;
		first = last + 2;
	}
}

int daemonize_detach(bool keep_output, const int *keep, size_t n_keep)
{
	if (setsid() < 0 || chdir("/") < 0)
		return -errno;

	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0)
		return -errno;
	int r = redirect(null_fd, STDIN_FILENO);
	if (r == 0 && !keep_output)
		r = redirect(null_fd, STDOUT_FILENO);
	if (r == 0 && !keep_output)
		r = redirect(null_fd, STDERR_FILENO);
	if (r < 0)
		return r;
	return close_others(keep, n_keep); /* null_fd among them */
}

bool daemonize_report(int report_fd, const char *reason)
{
	const char *text = reason && *reason ? reason : REPORT_READY;
	ssize_t n;
	do
		n = write(report_fd, text, strlen(text));
	while (n < 0 && errno == EINTR);
	(void)close(report_fd);
	return n == (ssize_t)strlen(text);
}

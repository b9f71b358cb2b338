/* SPDX-License-Identifier: MPL-2.0 */
/* Log sinks. */
#include "daemon/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

enum {
	MAX_LINE = 1024, /* bytes with prefix and newline; below PIPE_BUF, so one write is atomic */
};

void log_init(struct log *log, int level)
{
	*log = (struct log){ .level = level, .fd = STDOUT_FILENO };
	(void)pthread_mutex_init(&log->lock, NULL);
}

static void log_set_fd(struct log *log, int fd, bool is_syslog)
{
	if (log->owns_fd && log->fd >= 0)
		(void)close(log->fd);
	log->fd = fd;
	log->owns_fd = fd >= 0;
	log->is_syslog = is_syslog;
}

void log_finish(struct log *log)
{
	log_set_fd(log, -1, false);
	(void)pthread_mutex_destroy(&log->lock);
}

static bool is_safe_file(int fd)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return false;
	if (S_ISCHR(st.st_mode))
		return true; /* /dev/null, a terminal */
	return S_ISREG(st.st_mode) && st.st_nlink == 1 &&
	       (st.st_uid == geteuid() || st.st_uid == 0);
}

int log_to_file(struct log *log, const char *path)
{
	/* O_NONBLOCK: opening a FIFO without a reader must not hang us. */
	int fd CLEANUP(close_fdp) =
		open(path,
		     O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
		     0600);
	if (fd < 0)
		return -errno;
	if (!is_safe_file(fd))
		return -EPERM;
	log_set_fd(log, TAKE_FD(fd), false);
	return 0;
}

void log_to_syslog(struct log *log)
{
	static const struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
	int fd CLEANUP(close_fdp) = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 && connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
		log_set_fd(log, TAKE_FD(fd), true);
	else
		log_set_fd(log, -1, false);
}

void log_set_name(struct log *log, const char *name)
{
	(void)snprintf(log->name, sizeof(log->name), "%s", name);
}

/* wireguard-go's form: "ERROR: (wg0) 2006/01/02 15:04:05 text". */
static size_t format_line(char buf[MAX_LINE], const struct log *log, enum ringtun_log_level level,
			  const char *line)
{
	static const char *const names[] = {
		[RINGTUN_LOG_ERROR] = "ERROR",
		[RINGTUN_LOG_INFO] = "INFO",
		[RINGTUN_LOG_DEBUG] = "DEBUG",
	};
	char when[32] = "";
	struct tm tm;
	time_t now = time(NULL);
	if (localtime_r(&now, &tm))
		(void)strftime(when, sizeof(when), "%Y/%m/%d %H:%M:%S ", &tm);

	int len = snprintf(buf, MAX_LINE, "%s: (%s) %s%s", names[level], log->name, when, line);
	size_t used = len < MAX_LINE ? (size_t)len : MAX_LINE - 1;
	for (size_t i = 0; i < used; i++)
		if ((unsigned char)buf[i] < ' ' || buf[i] == 0x7f)
			buf[i] = '?';
	used = MIN(used, (size_t)MAX_LINE - 1);
	buf[used++] = '\n';
	return used;
}

static size_t format_syslog(char buf[MAX_LINE], const struct log *log, enum ringtun_log_level level,
			    const char *line)
{
	static const int priorities[] = {
		[RINGTUN_LOG_ERROR] = LOG_ERR,
		[RINGTUN_LOG_INFO] = LOG_INFO,
		[RINGTUN_LOG_DEBUG] = LOG_DEBUG,
	};
	int len = snprintf(buf, MAX_LINE, "<%d>ringtun[%d]: (%s) %s",
			   LOG_DAEMON | priorities[level], (int)getpid(), log->name, line);
	return len < MAX_LINE ? (size_t)len : MAX_LINE - 1;
}

/* True if the sink took it all. Never waits. */
static bool put_line(const struct log *log, const char *buf, size_t len)
{
	if (log->is_syslog)
		return send(log->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
	struct pollfd ready = { .fd = log->fd, .events = POLLOUT };
	if (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLOUT))
		return false;
	return write(log->fd, buf, len) == (ssize_t)len;
}

static bool put(const struct log *log, enum ringtun_log_level level, const char *line)
{
	char buf[MAX_LINE];
	size_t len = log->is_syslog ? format_syslog(buf, log, level, line)
				    : format_line(buf, log, level, line);
	return put_line(log, buf, len);
}

void log_write(void *ctx, enum ringtun_log_level level, const char *line)
{
	struct log *log = ctx;
	if ((int)level > log->level || log->fd < 0)
		return;

	int saved_errno = errno;
	(void)pthread_mutex_lock(&log->lock);
	if (log->n_lost) {
		char lost[64];
		(void)snprintf(lost, sizeof(lost), "%llu lines were lost",
			       (unsigned long long)log->n_lost);
		if (put(log, RINGTUN_LOG_ERROR, lost))
			log->n_lost = 0;
	}
	if (log->n_lost || !put(log, level, line))
		log->n_lost++;
	(void)pthread_mutex_unlock(&log->lock);
	errno = saved_errno;
}

void log_printf(struct log *log, enum ringtun_log_level level, const char *format, ...)
{
	char line[MAX_LINE];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	log_write(log, level, line);
}

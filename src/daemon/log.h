/* SPDX-License-Identifier: MPL-2.0 */
/* Where the daemon's log goes: standard output, a file, the system log, or nowhere. Any thread may
 * write; a sink that does not take a line loses it, and the loss is reported, as nobody may wait
 * for a terminal. */
#pragma once

#include <net/if.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <ringtun/log.h>

#include "base/macro.h"

struct log {
	int level;              /* enum ringtun_log_level, or below all of them; constant */
	char name[IF_NAMESIZE]; /* interface, shown in each line */
	bool is_syslog;         /* fd is a datagram socket to the system log */
	bool owns_fd;
	int fd; /* -1 = nowhere */
	pthread_mutex_t lock;
	uint64_t n_lost; /* lines since the last one that was written; under lock */
};

/* To standard output; never fails. */
void log_init(struct log *log, int level);
void log_finish(struct log *log);

/* Appends to a file, made with mode 0600. Never follows a symbolic link, and takes no file that
 * somebody else owns or that has another name: root may be pointed to a directory that everybody
 * writes to. 0 or -errno; -EPERM for what is refused. */
MUST_CHECK int log_to_file(struct log *log, const char *path);

/* To the system log, or nowhere if there is none. */
void log_to_syslog(struct log *log);

/* Before other threads exist. */
void log_set_name(struct log *log, const char *name);

/* A ringtun_log_fn; @ctx is a struct log. Control characters become '?'. */
void log_write(void *ctx, enum ringtun_log_level level, const char *line);

void log_printf(struct log *log, enum ringtun_log_level level, const char *format, ...)
	PRINTF_LIKE(3, 4);

/* SPDX-License-Identifier: MPL-2.0 */
/* Last words. There is no way back to what aborts, so this is the one place that knows by a signal. */
#include "daemon/last_words.h"

#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

/* Set by the main thread, read by the handler in whatever thread aborts. */
static volatile sig_atomic_t log_to = -1, report_to = -1;
static const char *volatile left_behind = "";

/* Async-signal-safe: the log's lock may be held. */
static void on_abort(int signal)
{
	static const char words[] =
		"ERROR: ringtun ended: a library gave up; memory or threads are used up\n";
	const int fds[] = { STDERR_FILENO, log_to, report_to };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			(void)!write(fds[i], words, sizeof(words) - 1);
	const char *path = left_behind;
	if (path[0])
		(void)unlink(path);
	_exit(EXIT_FAILURE);
}

void last_words_prepare(int log_fd, int report_fd, const char *path)
{
	const struct sigaction action = { .sa_handler = on_abort };

	log_to = log_fd == STDERR_FILENO ? -1 : log_fd;
	report_to = report_fd;
	left_behind = path;
	(void)sigaction(SIGABRT, &action, NULL);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Going to the background: the process forks before it has threads, the child sets everything up
 * and reports, and the parent's exit status is that report (U-061). Main thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/macro.h"

/* Opens /dev/null for each standard descriptor that is closed, so that nothing else gets its
 * number. */
void daemonize_fill_std_fds(void);

/* Forks. In the child returns 0 with *@ret_report_fd set; in the parent returns the child's process
 * id; or -errno. */
MUST_CHECK int daemonize_fork(int *ret_report_fd);

/* In the parent: waits for the report. 0 when the child is ready; else -1 with the reason in
 * @reason, NUL-terminated. */
MUST_CHECK int daemonize_wait(int report_fd, int child, char *reason, size_t reason_size);

/* In the child: a session of its own, "/" as directory, standard input on /dev/null, output and
 * error too unless @keep_output; closes every other descriptor but those in @keep, where -1 is
 * ignored (U-062). 0 or -errno. */
MUST_CHECK int daemonize_detach(bool keep_output, const int *keep, size_t n_keep);

/* In the child: tells the parent, @reason NULL for success, and closes @report_fd. False if the
 * parent is gone: nobody will ever know of the daemon, it has to end. */
MUST_CHECK bool daemonize_report(int report_fd, const char *reason);

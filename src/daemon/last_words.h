/* SPDX-License-Identifier: MPL-2.0 */
/* What is said when a library ends the process by abort(), as liburcu does when it can have no memory or
 * no thread: an error in the log and status 1, not a death that nobody hears of. */
#pragma once

/* From now on they go to stderr, and to @log_fd and @report_fd unless these are -1. The file @path, which
 * is looked at only then, is removed unless it is "". May be repeated. Main thread. */
void last_words_prepare(int log_fd, int report_fd, const char *path);

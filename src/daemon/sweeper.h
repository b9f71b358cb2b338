/* SPDX-License-Identifier: MPL-2.0 */
/* A process that removes the control socket's name for a daemon that became a user who may not write
 * to its directory. It waits on a socket pair and does one thing: when it is asked, or when the
 * daemon has ended in whatever way, it removes the name if that is still the same file. It keeps the
 * user of the start and no capability, and is confined as the daemon is. */
#pragma once

#include "base/macro.h"

/* Forks; before there are threads. @path is in @dir. The caller owns *@ret_fd, which it may close
 * only when the name may go. 0 or -errno. */
MUST_CHECK int sweeper_start(const char *dir, const char *path, int *ret_fd);

/* Has the name removed and waits until it is, at most a second. Closes *@fd. */
void sweeper_sweep(int *fd);

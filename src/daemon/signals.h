/* SPDX-License-Identifier: MPL-2.0 */
/* Signals as a descriptor. Main thread, before any other exists: they inherit the mask. */
#pragma once

#include <stdbool.h>

#include "base/macro.h"

/* Blocks SIGTERM and SIGINT and gives a descriptor that reads them; ignores SIGHUP, SIGPIPE and
 * SIGCHLD (U-076). 0 or -errno. */
MUST_CHECK int signals_open(int *ret_fd);

/* Takes a signal from @fd; 0 if there is none, -errno if that can not be told. */
int signals_take(int fd);

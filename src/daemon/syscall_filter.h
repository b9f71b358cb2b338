/* SPDX-License-Identifier: MPL-2.0 */
/* Allow-lists of system calls, by libseccomp. What is not on the list fails with EPERM, so that a
 * library that tries something new goes on without it; what only an intruder would do, such as
 * execve(), ends the process. */
#pragma once

#include <stdbool.h>

#include "base/macro.h"

/* For a running device: applies to every thread of the process, all of which exist already (none
 * can be made afterwards). @with_uring: workers drive io_uring. 0; -ENOSYS when built without
 * libseccomp; or -errno, and then nothing changed. */
MUST_CHECK int seccomp_confine_device(bool with_uring);

/* For the process that only waits and removes a socket's name. The same errors. */
MUST_CHECK int seccomp_confine_sweeper(void);

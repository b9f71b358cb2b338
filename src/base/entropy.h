/* SPDX-License-Identifier: MPL-2.0 */
/* Random bytes from the kernel, for layers that may make system calls. Any thread. */
#pragma once

#include <stddef.h>

#include "base/macro.h"

/* Fills all of @buf. Blocks only early at boot, until the kernel has collected entropy. 0, or -errno
 * (a seccomp filter may forbid the call) with @buf in an undefined state: never use it then. */
MUST_CHECK int entropy_fill(void *buf, size_t len);

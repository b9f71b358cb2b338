/* SPDX-License-Identifier: MPL-2.0 */
/* Releases of the kernel, for the few faults that no probe can find. */
#pragma once

#include <stdbool.h>

#include "base/macro.h"

struct kernel_release {
	unsigned major, minor, patch;
};

/* @text as uname -r prints it ("7.0.3-amd64"); "7.1" and "7.1-rc3" are patch level 0. False: it is no
 * release. */
MUST_CHECK bool kernel_release_parse(struct kernel_release *ret, const char *text);

/* Whether @r is @first, @last or between them. */
bool kernel_release_is_within(const struct kernel_release *r, const struct kernel_release *first,
			      const struct kernel_release *last);

/* SPDX-License-Identifier: MPL-2.0 */
/* Kernels that damage UDP_SEGMENT sends without refusing them, so that no probe can tell. */
#pragma once

#include <stdbool.h>

/* Whether a kernel of this release ("7.0.3-amd64", as uname -r prints it) is known to mangle segments
 * of equal length. False for a text that is no release. */
bool udp_gso_is_broken(const char *release);

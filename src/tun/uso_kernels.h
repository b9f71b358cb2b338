/* SPDX-License-Identifier: MPL-2.0 */
/* Kernels on which UDP super-packets break tunnels inside the tunnel, without any refusal that a probe
 * could see. */
#pragma once

#include <stdbool.h>

/* Whether a kernel of this release ("6.8.4-amd64", as uname -r prints it) loses VXLAN packets that
 * were coalesced. False for a text that is no release. */
bool tun_uso_is_broken(const char *release);

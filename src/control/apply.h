/* SPDX-License-Identifier: MPL-2.0 */
/* Applies a `set` transaction (sections 18 of the protocol, 3 of UAPI). */
#pragma once

#include "control/config.h"
#include "control/control.h"

/* Applies @set, or its next slice. 0: all of it is in force; -EAGAIN: call again with the same @set;
 * other -errno: memory, a port or a mark is not to be had. Then no peer was touched, and of the device
 * stays what comes before that in the order of U-029 (U-019). */
int control_apply(struct control *c, const struct config_set *set, uint64_t now_ns);

/* SPDX-License-Identifier: MPL-2.0 */
/* The reply to `status`: what the device is made of at this moment, and what it dropped. Lines of
 * key=value, as in `get`; keys may be added, never change their meaning. */
#pragma once

#include "control/loop.h"
#include "control/uapi_format.h"

enum { STATUS_N_OFFLOADS = 8 };

/* One switch and what became of it: "on", "off" (by option, or there is nothing to switch on),
 * "refused" (wanted, but the kernel does not do it), "down" (its sockets are not open). */
struct status_offload {
	const char *name, *state;
	char why[64]; /* it is not on; "" = it is */
};

/* The loop's thread, or before that runs. */
void status_offloads(const struct loop *l, struct status_offload ret[static STATUS_N_OFFLOADS]);

void status_report(struct loop *l, struct uapi_text *text);

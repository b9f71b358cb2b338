/* SPDX-License-Identifier: MPL-2.0 */
/* The replies to `get` and `status`. */
#pragma once

#include "control/control.h"
#include "control/uapi_format.h"

/* Configuration and state as U-040 to U-044 want it, without the errno line. */
void control_report(const struct control *c, struct uapi_text *text);
/* Drop counters of the device, of all threads together, */
void control_report_drops(const struct control *c, struct uapi_text *text);
/* and of each peer that has any. */
void control_report_peer_drops(const struct control *c, struct uapi_text *text);

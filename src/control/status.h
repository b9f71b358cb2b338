/* SPDX-License-Identifier: MPL-2.0 */
/* The reply to `status`: what the device is made of at this moment, and what it dropped. Lines of
 * key=value, as in `get`; keys may be added, never change their meaning. */
#pragma once

#include "control/loop.h"
#include "control/uapi_format.h"

void status_report(const struct loop *l, struct uapi_text *text);

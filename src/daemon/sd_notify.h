/* SPDX-License-Identifier: MPL-2.0 */
/* One datagram to the service manager, as sd_notify(3) sends it. */
#pragma once

/* "READY=1" and the like, lines separated by '\n'. Nothing happens without NOTIFY_SOCKET; errors
 * are nobody's business. */
void sd_notify_send(const char *state);

/* SPDX-License-Identifier: MPL-2.0 */
/* Datagrams to the service manager, as sd_notify(3) sends them. */
#pragma once

/* A socket that is connected to it, while we still may; -1 without a usable NOTIFY_SOCKET. */
int sd_notify_open(void);

/* "READY=1" and the like, lines separated by '\n'. @fd may be -1; errors are nobody's business. */
void sd_notify_send(int fd, const char *state);

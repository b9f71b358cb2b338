/* SPDX-License-Identifier: MPL-2.0 */
/* UDP sockets as a measurement wants them: with room enough that they are not what loses. */
#pragma once

#include <stdint.h>

#include "gen.h"

/* A large send buffer, and no call that waits for long. */
void socket_set_sending(int fd);

/* Connected to o->address. -errno on failure. */
MUST_CHECK int socket_connect(const struct gen_options *o);

/* Bound to o->address, with a receive buffer of o->rcvbuf if the kernel grants it. */
MUST_CHECK int socket_bind(const struct gen_options *o);

/* What the kernel granted, bytes. */
uint32_t socket_rcvbuf(int fd);

/* Datagrams that the socket lost for want of buffer since it was opened. */
uint32_t socket_drops(int fd);

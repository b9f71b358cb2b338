/* SPDX-License-Identifier: MPL-2.0 */
/* The classic BPF program that tells the kernel which socket of a reuseport group gets a datagram. */
#pragma once

#include <stdint.h>

#include "base/macro.h"

/* Attaches it to the group that @fd belongs to: transport messages go to socket @first + udp_steer(),
 * all else to socket 0, counted in the order of binding. 0 or -errno. */
MUST_CHECK int udp_steer_attach(int fd, uint32_t first, uint32_t n_workers);

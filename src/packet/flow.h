/* SPDX-License-Identifier: MPL-2.0 */
/* Which packets have to stay in order among each other. Pure function. */
#pragma once

#include <stdint.h>

/* A number that is the same for all packets of a flow: addresses, protocol, and for TCP and UDP the
 * ports. Flows may share one; never 0. 0: not certain (a fragment, IPv6 extension headers, cut off), so
 * the packet may belong to any flow. @pkt has passed ip_view(). */
uint32_t flow_id(const uint8_t *pkt, uint32_t len);

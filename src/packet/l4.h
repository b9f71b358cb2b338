/* SPDX-License-Identifier: MPL-2.0 */
/* Field offsets of IPv4, TCP and UDP headers. Private to packet/. */
#pragma once

#include <stdint.h>

enum {
	IP_DF = 0x4000,
	IP_MORE_FRAGMENTS = 0x2000,
	IP_FRAGMENT_OFFSET = 0x1fff,

	TCP_SEQ = 4,
	TCP_ACK_SEQ = 8,
	TCP_DATA_OFF = 12,
	TCP_FLAGS = 13,
	TCP_WINDOW = 14,
	TCP_CSUM = 16,
	TCP_URGENT = 18,
	TCP_MIN_HDR = 20,

	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_PSH = 0x08,
	TCP_URG = 0x20,
	TCP_CWR = 0x80,

	UDP_LEN = 4,
	UDP_CSUM = 6,
	UDP_HDR = 8,
};

static inline uint32_t tcp_hdr_len(const uint8_t *tcp)
{
	return (tcp[TCP_DATA_OFF] >> 4) * 4U;
}

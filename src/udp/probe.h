/* SPDX-License-Identifier: MPL-2.0 */
/* What this kernel's UDP sockets can do, found out before there is any traffic. */
#pragma once

/* 0, or why it can not be had: -errno. A kernel may still refuse a single send (io/io_send.h). */
struct udp_abilities {
	int segment;  /* UDP_SEGMENT */
	int gro;      /* UDP_GRO */
	int steering; /* a classic BPF program for a reuseport group */
};

/* In the network namespace of the calling thread. */
void udp_probe(struct udp_abilities *ret);

/* SPDX-License-Identifier: MPL-2.0 */
/* One packet to or from the TUN by a plain system call. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "io/io.h"

enum {
	IO_VNET_LEN = sizeof(struct virtio_net_hdr),
	IO_TUN_RETRIES = 16, /* of an interrupted call */
};

/* Whether the pieces lie one behind the other: then write is cheaper than writev. */
static inline bool io_write_is_contiguous(const struct io_write *w, size_t *ret_len)
{
	const uint8_t *start = w->iov[0].iov_base;
	size_t len = w->iov[0].iov_len;
	for (uint32_t i = 1; i < w->n_iov; i++) {
		if ((const uint8_t *)w->iov[i].iov_base != start + len)
			return false;
		len += w->iov[i].iov_len;
	}
	*ret_len = len;
	return true;
}

/* 0 or -errno. */
int io_tun_write(int fd, const struct io_write *w);

/* Reads into @len bytes at @at. Bytes read, or -errno: -EAGAIN (no packet), -EBADFD (no TUN). */
int io_tun_read(int fd, void *at, size_t len);

/* Fills *@p with what lies at @data, @vnet_len (0 or IO_VNET_LEN) bytes of vnet header in front of
 * it. */
static inline void io_packet_set(struct io_packet *p, uint8_t *data, uint32_t len, size_t vnet_len)
{
	p->data = data;
	p->len = len;
	p->vnet = (struct virtio_net_hdr){ 0 };
	memcpy(&p->vnet, data - vnet_len, vnet_len);
}

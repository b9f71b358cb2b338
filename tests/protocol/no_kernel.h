/* SPDX-License-Identifier: MPL-2.0 */
/* What devices without a kernel have in common: the calls of an engine and of control's edges that do
 * nothing there, and sending a run datagram by datagram. */
#pragma once

#include "base/bytes.h"
#include "base/macro.h"
#include "io/io.h"

static inline void no_io_destroy(struct io *io)
{
}

static inline int no_io_set_fds(struct io *io, const struct io_fds *fds)
{
	return 0;
}

static inline int no_io_wait(struct io *io, uint64_t timeout_ns)
{
	return 0;
}

static inline void no_io_submit(struct io *io)
{
}

/* Of struct io_ops; who really sleeps has a wait() of its own. */
/* clang-format off */
#define NO_KERNEL_IO \
	.destroy = no_io_destroy, .set_fds = no_io_set_fds, .submit = no_io_submit
/* clang-format on */

/* Hands each datagram of each run to @send, until one of a run fails. */
static inline void io_send_each(struct io_send *snd, uint32_t n,
				int (*send)(void *ctx, const struct endpoint *to, uint8_t tos,
					    struct bytes d),
				void *ctx)
{
	for (uint32_t i = 0; i < n; i++) {
		snd[i].result = 0;
		snd[i].n_sent = 0;
		for (uint32_t off = 0; off < snd[i].len; off += snd[i].segment_len) {
			uint32_t len = MIN(snd[i].len - off, snd[i].segment_len);
			snd[i].result = send(ctx, snd[i].to, snd[i].tos,
					     (struct bytes){ snd[i].data + off, len });
			if (snd[i].result < 0)
				break;
			snd[i].n_sent++;
		}
	}
}

static inline int no_open_sockets(void *ctx, uint16_t port, uint32_t fwmark, uint16_t *ret_port)
{
	*ret_port = port ? port : 51820;
	return 0;
}

static inline void no_close_sockets(void *ctx)
{
}

static inline int no_set_mark(void *ctx, uint32_t fwmark)
{
	return 0;
}

PRINTF_LIKE(2, 3) static inline void no_debug(void *ctx, const char *format, ...)
{
}

/* Of struct control_ops. */
/* clang-format off */
#define NO_KERNEL_CONTROL \
	.open_sockets = no_open_sockets, .close_sockets = no_close_sockets, \
	.set_mark = no_set_mark, .debug = no_debug
/* clang-format on */

/* Of struct device_params: everybody looks all the time. */
static inline void wake_nobody(void *ctx)
{
}

static inline void wake_no_worker(void *ctx, uint32_t worker)
{
}

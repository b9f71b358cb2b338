/* SPDX-License-Identifier: MPL-2.0 */
/* Control state alone: no workers, and edges that note what they were asked for. */
#pragma once

#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/rcu.h"
#include "control/apply.h"
#include "control/control.h"

#define NOW_NS (1000 * NSEC_PER_SEC)

struct edges {
	uint32_t n_sent, n_opened, n_closed, n_marked;
	uint8_t last_type;
	struct endpoint last_to;
	uint16_t port_asked, random_port;
	uint32_t mark_asked;
	int open_error, mark_error; /* what the next calls answer */
	uint32_t n_control_woken, n_worker_woken[4];
};

static struct device device;
static struct control control;
static struct edges edges;

static int edge_send(void *ctx, const struct endpoint *to, uint8_t tos, struct bytes d)
{
	(void)ctx;
	(void)tos;
	edges.n_sent++;
	edges.last_type = d.data[0];
	edges.last_to = *to;
	return 0;
}

static int edge_open(void *ctx, uint16_t port, uint32_t fwmark, uint16_t *ret_port)
{
	(void)ctx;
	(void)fwmark;
	edges.n_opened++;
	edges.port_asked = port;
	if (edges.open_error)
		return edges.open_error;
	*ret_port = port ? port : edges.random_port;
	return 0;
}

static void edge_close(void *ctx)
{
	(void)ctx;
	edges.n_closed++;
}

static int edge_mark(void *ctx, uint32_t fwmark)
{
	(void)ctx;
	edges.n_marked++;
	edges.mark_asked = fwmark;
	return edges.mark_error;
}

static void edge_realtime(void *ctx, uint64_t *sec, uint32_t *nsec)
{
	(void)ctx;
	*sec = 1700000000;
	*nsec = 123456789;
}

PRINTF_LIKE(2, 3) static void edge_debug(void *ctx, const char *format, ...)
{
	(void)ctx;
	(void)format;
}

static const struct control_ops edge_ops = {
	.send = edge_send,
	.open_sockets = edge_open,
	.close_sockets = edge_close,
	.set_mark = edge_mark,
	.realtime = edge_realtime,
	.debug = edge_debug,
};

static void edge_wake_control(void *ctx)
{
	(void)ctx;
	edges.n_control_woken++;
}

static void edge_wake_worker(void *ctx, uint32_t worker)
{
	(void)ctx;
	edges.n_worker_woken[worker]++;
}

static void fixture_init(void)
{
	struct device_params params = { .n_workers = 2,
					.wake_control = edge_wake_control,
					.wake_worker = edge_wake_worker };

	rcu_thread_register();
	cr_assert(eq(int, crypto_init(), 0));
	cr_assert(eq(int, device_init(&device, &params), 0));
	cr_assert(eq(int,
		     control_init(&control, &(struct control_params){ .device = &device,
								      .aead = aead_select(0),
								      .ops = &edge_ops,
								      .now_ns = NOW_NS }),
		     0));
	edges.random_port = 40000;
}

static void fixture_finish(void)
{
	control_finish(&control);
	device_finish(&device);
	rcu_thread_unregister();
}

static inline void give_key(void)
{
	struct config_set set = { .has_private_key = true };

	memset(set.private_key, 0x40, sizeof(set.private_key));
	cr_assert(eq(int, control_apply(&control, &set, NOW_NS), 0));
}

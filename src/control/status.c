/* SPDX-License-Identifier: MPL-2.0 */
/* Status lines. */
#include "control/status.h"

#include <stdio.h>

#include "control/report.h"

static const char *on_off(bool on)
{
	return on ? "on" : "off";
}

static void report_offloads(const struct loop *l, struct uapi_text *text)
{
	const struct tun *t = l->params.tun;
	const struct udp_group *g = l->sockets;
	bool gso_off = false;

	for (uint32_t i = 0; i < l->params.device->n_workers; i++)
		gso_off |= atomic_load_explicit(&l->params.workers[i].io_stats.gso_off,
						memory_order_relaxed);
	uapi_text_append_line(text, "tun_vnet_hdr", on_off(t->vnet_hdr));
	uapi_text_append_line(text, "tun_tso", on_off(tun_has_tso(t)));
	uapi_text_append_line(text, "tun_uso", on_off(tun_has_uso(t)));
	uapi_text_append_line(text, "multi_queue", on_off(t->n_queues > 1));
	uapi_text_append_line(text, "udp_gso", gso_off ? "refused" : "on");
	uapi_text_append_line(text, "udp_gro", g ? on_off(g->gro) : "down");
	uapi_text_append_line(text, "steering", g ? on_off(g->steering) : "down");
}

static void report_workers(const struct loop *l, struct uapi_text *text)
{
	char key[48];

	uapi_text_append_u64(text, "workers", l->params.device->n_workers);
	for (uint32_t i = 0; i < l->params.device->n_workers; i++) {
		const struct io_stats *s = &l->params.workers[i].io_stats;
		(void)snprintf(key, sizeof(key), "worker_%u_loops", i);
		uapi_text_append_u64(text, key,
				     atomic_load_explicit(&s->loops, memory_order_relaxed));
		(void)snprintf(key, sizeof(key), "worker_%u_recv_errors", i);
		uapi_text_append_u64(text, key,
				     atomic_load_explicit(&s->recv_errors, memory_order_relaxed));
	}
}

void status_report(const struct loop *l, struct uapi_text *text)
{
	const struct device *d = l->params.device;

	uapi_text_append_line(text, "cipher", l->params.aead->name);
	report_workers(l, text);
	report_offloads(l, text);
	uapi_text_append_u64(text, "mtu", atomic_load_explicit(&d->mtu, memory_order_relaxed));
	uapi_text_append_line(text, "interface", l->wants_up ? "up" : "down");
	uapi_text_append_u64(text, "peers", d->n_peers);
	uapi_text_append_u64(text, "staged_bytes",
			     atomic_load_explicit(&d->staged.used, memory_order_relaxed));
	uapi_text_append_u64(text, "handshake_backlog", l->control.queue.n);
	control_report_drops(&l->control, text);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Status lines. */
#include "control/status.h"

#include <stdio.h>
#include <string.h>

#include "control/report.h"

static const char *on_off(bool on)
{
	return on ? "on" : "off";
}

/* @wanted as in struct loop_params, @possible: whether the kernel was asked at all. */
static const char *switch_state(int wanted, bool possible, bool got)
{
	if (got)
		return "on";
	return wanted < 0 || !possible ? "off" : "refused";
}

static const char *socket_state(const struct loop *l, int wanted, bool got)
{
	if (wanted < 0)
		return "off";
	return l->sockets ? switch_state(wanted, true, got) : "down";
}

/* The kernel tells by refusing a send. */
static const char *udp_gso_state(const struct loop *l)
{
	bool refused = false;

	for (uint32_t i = 0; i < l->params.device->n_workers; i++)
		refused |= atomic_load_explicit(&l->params.workers[i].io_stats.gso_off,
						memory_order_relaxed);
	return switch_state(l->params.udp_gso, true, l->params.udp_gso >= 0 && !refused);
}

void status_offloads(const struct loop *l, struct status_offload ret[static STATUS_N_OFFLOADS])
{
	const struct loop_params *p = &l->params;
	const struct tun *t = p->tun;
	const struct udp_group *g = l->sockets;
	const struct status_offload all[STATUS_N_OFFLOADS] = {
		{ "tun_vnet_hdr", on_off(t->vnet_hdr) },
		{ "tun_tso", switch_state(p->tun_tso, t->vnet_hdr, tun_has_tso(t)) },
		{ "tun_uso", switch_state(p->tun_uso, t->vnet_hdr, tun_has_uso(t)) },
		{ "multi_queue",
		  switch_state(p->multi_queue, p->device->n_workers > 1, t->n_queues > 1) },
		{ "udp_gso", udp_gso_state(l) },
		{ "udp_gro", socket_state(l, p->udp_gro, g && g->gro) },
		{ "steering", socket_state(l, p->steering, g && g->steering) },
	};

	memcpy(ret, all, sizeof(all));
}

static void report_offloads(const struct loop *l, struct uapi_text *text)
{
	struct status_offload offloads[STATUS_N_OFFLOADS];

	status_offloads(l, offloads);
	for (size_t i = 0; i < STATUS_N_OFFLOADS; i++)
		uapi_text_append_line(text, offloads[i].name, offloads[i].state);
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
		(void)snprintf(key, sizeof(key), "worker_%u_dh_steps", i);
		uapi_text_append_u64(text, key,
				     atomic_load_explicit(&l->params.workers[i].n_dh_steps,
							  memory_order_relaxed));
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
	uapi_text_append_u64(text, "handshake_backlog", control_backlog(&l->control));
	control_report_drops(&l->control, text);
}

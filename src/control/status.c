/* SPDX-License-Identifier: MPL-2.0 */
/* Status lines. */
#include "control/status.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "control/memory.h"
#include "control/report.h"

#define LOAD_MIN_NS (100 * NSEC_PER_MSEC) /* a shorter time says nothing */

/* One offload: @wanted as in struct loop_params. */
struct offload {
	const char *name;
	int wanted;
	bool got;
	const char *put_off;    /* why the library did not try; NULL = it did */
	const char *impossible; /* why there is nothing to switch on; NULL = there is */
	int error;              /* of errno.h, with which the kernel refused; 0 = not told */
};

static void describe(struct status_offload *ret, const struct offload *o)
{
	const char *state = "on", *why = "";

	if (o->wanted < 0) {
		state = "off";
		why = o->put_off ? o->put_off : "by option";
	} else if (!o->got && o->impossible) {
		state = "off";
		why = o->impossible;
	} else if (!o->got) {
		state = "refused";
		why = o->error ? strerror(o->error) : "by the kernel";
	}
	*ret = (struct status_offload){ .name = o->name, .state = state };
	(void)snprintf(ret->why, sizeof(ret->why), "%s", why);
}

/* The same for what sockets have, of which there are none while the interface is down. */
static void describe_socket(struct status_offload *ret, const struct loop *l,
			    const struct offload *o)
{
	describe(ret, o);
	if (o->wanted < 0 || l->sockets)
		return;
	ret->state = "down";
	(void)snprintf(ret->why, sizeof(ret->why), "the interface is down");
}

/* The kernel tells by refusing a send or a write; the first worker's error stands for all. */
static int first_error(const struct loop *l, bool sending)
{
	for (uint32_t i = 0; i < l->params.device->n_workers; i++) {
		const struct worker *w = &l->params.workers[i];
		int e = atomic_load_explicit(sending ? &w->io_stats.gso_error
						     : &w->stats.write_error,
					     memory_order_relaxed);
		if (e)
			return e;
	}
	return 0;
}

void status_offloads(const struct loop *l, struct status_offload ret[static STATUS_N_OFFLOADS])
{
	const struct loop_params *p = &l->params;
	const struct tun *t = p->tun;
	const struct udp_group *g = l->sockets;
	const char *no_header = t->vnet_hdr ? NULL : "the TUN has no vnet header";
	bool coalesces = tun_has_tso(t) || tun_has_uso(t);
	int write_error = first_error(l, false), send_error = first_error(l, true);

	describe(&ret[0], &(struct offload){ "tun_vnet_hdr", 0, t->vnet_hdr, NULL, no_header, 0 });
	describe(&ret[1],
		 &(struct offload){ "tun_tso", p->tun_tso, tun_has_tso(t), NULL, no_header, 0 });
	describe(&ret[2], &(struct offload){ "tun_uso", p->tun_uso, tun_has_uso(t), p->tun_uso_why,
					     no_header, 0 });
	describe(&ret[3], &(struct offload){ "tun_gro", 0, coalesces && !write_error, NULL,
					     coalesces ? NULL : "neither tun_tso nor tun_uso is on",
					     write_error });
	describe(&ret[4], &(struct offload){ "multi_queue", p->multi_queue, t->n_queues > 1, NULL,
					     p->device->n_workers > 1 ? NULL : "one worker", 0 });
	describe(&ret[5], &(struct offload){ "udp_gso", p->udp_gso, !send_error, p->udp_gso_why,
					     NULL, send_error });
	describe_socket(
		&ret[6], l,
		&(struct offload){ "udp_gro", p->udp_gro, g && g->gro, p->udp_gro_why, NULL, 0 });
	describe_socket(&ret[7], l,
			&(struct offload){ "steering", p->steering, g && g->steering,
					   p->steering_why, NULL, 0 });
}

static void report_offloads(const struct loop *l, struct uapi_text *text)
{
	struct status_offload offloads[STATUS_N_OFFLOADS];
	char key[48];

	status_offloads(l, offloads);
	for (size_t i = 0; i < STATUS_N_OFFLOADS; i++) {
		uapi_text_append_line(text, offloads[i].name, offloads[i].state);
		if (!offloads[i].why[0])
			continue;
		(void)snprintf(key, sizeof(key), "%s_why", offloads[i].name);
		uapi_text_append_line(text, key, offloads[i].why);
	}
}

static void report_memory(const struct loop *l, struct uapi_text *text)
{
	struct memory_use m;
	struct rusage usage;

	memory_measure(l, &m);
	uapi_text_append_u64(text, "memory_bound",
			     m.buffers + m.max_waiting + l->params.device->n_peers * m.per_peer);
	uapi_text_append_u64(text, "memory_use", m.buffers + m.waiting + m.peers);
	uapi_text_append_u64(text, "memory_buffers", m.buffers);
	uapi_text_append_u64(text, "memory_waiting", m.waiting);
	uapi_text_append_u64(text, "memory_per_peer", m.per_peer);
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		uapi_text_append_u64(text, "memory_peak_rss", (uint64_t)usage.ru_maxrss * 1024);
}

static uint64_t cpu_ns(const struct worker *w)
{
	struct timespec ts;

	/* acquire: pairs with release in worker_loop(), the clock's id goes first */
	if (!atomic_load_explicit(&w->stats.has_clock, memory_order_acquire) ||
	    clock_gettime(w->stats.cpu_clock, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void report_counter(struct uapi_text *text, const char *key, const _Atomic uint64_t *counter)
{
	uapi_text_append_u64(text, key, atomic_load_explicit(counter, memory_order_relaxed));
}

/* CPU time in use between the last two requests for it, in percent of one core. */
static uint64_t load_percent(struct loop_load *last, uint64_t cpu, uint64_t now_ns)
{
	uint64_t passed = now_ns - last->at_ns;

	if (passed >= LOAD_MIN_NS) {
		last->percent = (uint32_t)((cpu - MIN(cpu, last->cpu_ns)) * 100 / passed);
		last->at_ns = now_ns;
		last->cpu_ns = cpu;
	}
	return last->percent;
}

/* What io_uring's engine found to be cheaper, each worker for itself (ADR 0004). */
static void report_bursts(const struct worker *w, struct uapi_text *text)
{
	bool by_ring = atomic_load_explicit(&w->io_stats.by_ring, memory_order_relaxed);
	uapi_text_append_line(text, "bursts", by_ring ? "ring" : "calls");
}

static void report_workers(struct loop *l, struct uapi_text *text)
{
	uint64_t now_ns = clock_boottime_ns();
	char nice[8];

	for (uint32_t i = 0; i < l->params.device->n_workers; i++) {
		const struct worker *w = &l->params.workers[i];
		uint64_t cpu = cpu_ns(w);
		uapi_text_append_u64(text, "worker", i); /* begins the worker's lines */
		uapi_text_append_u64(text, "cpu_msec", cpu / NSEC_PER_MSEC);
		uapi_text_append_u64(text, "load_percent", load_percent(&l->load[i], cpu, now_ns));
		(void)snprintf(nice, sizeof(nice), "%d",
			       atomic_load_explicit(&w->priority.now, memory_order_relaxed));
		uapi_text_append_line(text, "nice", nice);
		report_bursts(w, text);
		report_counter(text, "loops", &w->io_stats.loops);
		report_counter(text, "packets", &w->stats.packets);
		report_counter(text, "batches_shared", &w->stats.batches_shared);
		report_counter(text, "batches_served", &w->stats.batches_served);
		report_counter(text, "dh_steps", &w->n_dh_steps);
		report_counter(text, "recv_errors", &w->io_stats.recv_errors);
		report_counter(text, "read_errors", &w->io_stats.read_errors);
		report_counter(text, "gso_fallbacks", &w->io_stats.gso_fallbacks);
		report_counter(text, "write_fallbacks", &w->stats.write_fallbacks);
	}
}

void status_report(struct loop *l, struct uapi_text *text)
{
	const struct device *d = l->params.device;

	if (l->params.io_why)
		uapi_text_append_line(text, "io_why", l->params.io_why);
	uapi_text_append_line(text, "cipher", l->params.aead->name);
	uapi_text_append_u64(text, "workers", d->n_workers);
	report_offloads(l, text);
	uapi_text_append_u64(text, "mtu", atomic_load_explicit(&d->mtu, memory_order_relaxed));
	uapi_text_append_line(text, "interface", l->wants_up ? "up" : "down");
	uapi_text_append_u64(text, "peers", d->n_peers);
	report_memory(l, text);
	uapi_text_append_u64(text, "staged_bytes",
			     atomic_load_explicit(&d->staged.used, memory_order_relaxed));
	uapi_text_append_u64(text, "handshake_backlog", control_backlog(&l->control));
	control_report_drops(&l->control, text);
	report_workers(l, text);
	control_report_peer_drops(&l->control, text);
}

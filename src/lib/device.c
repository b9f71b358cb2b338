/* SPDX-License-Identifier: MPL-2.0 */
/* The device as an embedder sees it: puts TUN, workers and control thread together and takes them
 * apart again. */
#include "device/device.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <ringtun/device.h>
#include <ringtun/version.h>

#include "base/cpu.h"
#include "base/macro.h"
#include "base/rcu.h"
#include "control/loop.h"
#include "control/memory.h"
#include "control/status.h"
#include "crypto/aead.h"
#include "crypto/secret.h"
#include "datapath/worker.h"
#include "io/io.h"
#include "tun/link.h"
#include "tun/tun.h"
#include "tun/uso_kernels.h"
#include "udp/gso_kernels.h"
#include "udp/probe.h"

#ifndef TUN_F_USO4 /* Linux 6.2 */
#define TUN_F_USO4 0x20
#endif

enum {
	DEFAULT_TXQUEUELEN = 4000, /* a TUN tail-drops: one scheduling hiccup must fit */
	MAX_WORKERS = 64,          /* TUN queues */
	MAX_STATUS = 16,
	MAX_STATUS_LEN = 128, /* "key\0value\0" */
	RING_TRIES = 100,
};

struct ringtun_device {
	struct ringtun_device_params params; /* pointers in it are not kept */
	struct tun tun;
	struct link_monitor link;
	struct route_monitor route;
	struct device device;
	struct loop loop;
	struct worker *workers;
	struct crypto_pool *pool;
	uint32_t n_engines; /* whose create_engine() succeeded */
	uint32_t n_workers; /* whose worker_init() succeeded */
	uint32_t n_worker_threads;
	pthread_t *worker_threads;
	pthread_t loop_thread;
	bool has_tun, has_link, has_route, has_device, has_loop, has_loop_thread;
	int control_wake_fd;
	int *worker_wake_fds;
	uint32_t n_wake_fds;
	int event_fd;
	_Atomic int ended; /* enum ringtun_end */
	const struct aead_impl *aead;
	/* why something was put off without being tried; NULL = it was not. For the status. */
	const char *tun_uso_why, *udp_gso_why, *udp_gro_why, *steering_why;
	char io_why[64]; /* "" = the engine is the one that was asked for */
	pthread_mutex_t status_lock;
	char status[MAX_STATUS][MAX_STATUS_LEN]; /* of the host; under status_lock */
	unsigned n_status;                       /* likewise */
};

PRINTF_LIKE(3, 4)
static void log_line(struct ringtun_device *d, enum ringtun_log_level level, const char *format,
		     ...)
{
	char line[512];
	va_list ap;

	if (!d->params.log)
		return;
	va_start(ap, format);
	(void)vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	d->params.log(d->params.log_ctx, level, line);
}

static void ring(int fd)
{
	uint64_t one = 1;
	/* An error would leave somebody asleep for ever; only a full eventfd is awake all the same. */
	for (int i = 0; i < RING_TRIES && write(fd, &one, sizeof(one)) < 0; i++)
		;
}

static void wake_control(void *ctx)
{
	ring(((struct ringtun_device *)ctx)->control_wake_fd);
}

static void wake_worker(void *ctx, uint32_t worker)
{
	ring(((struct ringtun_device *)ctx)->worker_wake_fds[worker]);
}

static void on_ended(void *ctx, enum loop_end why)
{
	static const enum ringtun_end ends[] = {
		[LOOP_INTERFACE_GONE] = RINGTUN_INTERFACE_GONE,
		[LOOP_STREAM_CLOSED] = RINGTUN_CONTROL_CLOSED,
		[LOOP_FAILED] = RINGTUN_FAILED,
	};
	struct ringtun_device *d = ctx;

	atomic_store(&d->ended, ends[why]);
	ring(d->event_fd);
}

static void on_log(void *ctx, enum loop_log_level level, const char *line)
{
	static const enum ringtun_log_level levels[] = {
		[LOOP_LOG_ERROR] = RINGTUN_LOG_ERROR,
		[LOOP_LOG_INFO] = RINGTUN_LOG_INFO,
		[LOOP_LOG_DEBUG] = RINGTUN_LOG_DEBUG,
	};
	log_line(ctx, levels[level], "%s", line);
}

/* Whether the kernel holds the rings to the operations that they need; nothing without rings. */
static void report_ring_limits(const struct ringtun_device *d, struct uapi_text *text)
{
	const struct io *io = d->n_workers ? d->workers[0].io : NULL;
	char value[64] = "on";

	if (!io || strcmp(io->ops->name, "uring") != 0)
		return;
	if (io->restrict_error < 0)
		(void)snprintf(value, sizeof(value), "refused: %s", strerror(-io->restrict_error));
	uapi_text_append_line(text, "io_ring_limits", value);
}

static void on_status(void *ctx, struct uapi_text *text)
{
	struct ringtun_device *d = ctx;
	bool is_locked = loop_keys_are_locked(&d->loop);

	uapi_text_append_line(text, "version", ringtun_version());
	uapi_text_append_line(text, "io", d->n_workers ? d->workers[0].io->ops->name : "none");
	report_ring_limits(d, text);
	uapi_text_append_line(text, "keys_locked", is_locked ? "true" : "false");
	(void)pthread_mutex_lock(&d->status_lock);
	for (unsigned i = 0; i < d->n_status; i++)
		uapi_text_append_line(text, d->status[i], d->status[i] + strlen(d->status[i]) + 1);
	(void)pthread_mutex_unlock(&d->status_lock);
}

static int switch_value(enum ringtun_switch s)
{
	return s == RINGTUN_OFF ? -1 : s == RINGTUN_ON ? 1 : 0;
}

static uint32_t usable_cores(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return 1;
	return (uint32_t)CPU_COUNT(&set);
}

static int check_params(const struct ringtun_device_params *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(p->reserved); i++)
		if (p->reserved[i])
			return -EINVAL;
	if (p->n_workers > DEVICE_MAX_WORKERS || (p->tun_fd < 0 && !p->name))
		return -EINVAL;
	if (p->nice > 0 || p->nice < -20)
		return -EINVAL;
	return 0;
}

static int choose_cipher(struct ringtun_device *d)
{
	unsigned mask = ~0U;

	if (d->params.cpu_mask) {
		int r = cpu_mask_parse(d->params.cpu_mask, &mask);
		if (r < 0)
			return r;
	}
	d->aead = aead_select(cpu_features() & mask);
#ifdef RINGTUN_NULL_CIPHER
	log_line(
		d, RINGTUN_LOG_ERROR,
		"NULL CIPHER: this build is for benchmarks. It does NOT ENCRYPT, and takes packets "
		"from anybody");
#endif
	return 0;
}

static int open_tun(struct ringtun_device *d, uint32_t n_workers)
{
	const struct ringtun_device_params *p = &d->params;
	struct tun_params tp = {
		.name = p->name,
		.n_queues = (uint16_t)n_workers,
		.multi_queue = switch_value(p->multi_queue),
		.tso = switch_value(p->tun_tso),
		.uso = switch_value(p->tun_uso),
	};
	unsigned done;

	int r = p->tun_fd >= 0 ? tun_adopt(&d->tun, p->tun_fd, &tp) : tun_open(&d->tun, &tp);
	if (r < 0)
		return r;
	d->has_tun = true;
	if (p->tun_fd >= 0)
		return 0;
	struct link_params lp = {
		.mtu = p->mtu,
		.txqueuelen = p->txqueuelen ? p->txqueuelen : DEFAULT_TXQUEUELEN,
		.gso_max_size = p->gso_max_size ? p->gso_max_size : link_gso_max_size(p->mtu),
	};
	return link_setup(d->tun.name, &lp, &done);
}

/* Puts a switch that is automatic off and says why. */
static void put_off(struct ringtun_device *d, const char *name, enum ringtun_switch *s,
		    const char **why, const char *reason)
{
	if (*s != RINGTUN_AUTO)
		return;
	*s = RINGTUN_OFF;
	*why = reason;
	log_line(d, RINGTUN_LOG_INFO, "%s is off: %s", name, reason);
}

/* What a kernel does wrong without refusing it: only a list can know. */
static void avoid_broken(struct ringtun_device *d)
{
	struct utsname u;

	if (uname(&u) < 0)
		return;
	if (udp_gso_is_broken(u.release))
		put_off(d, "udp_gso", &d->params.udp_gso, &d->udp_gso_why,
			"this kernel damages segments");
	if (tun_uso_is_broken(u.release))
		put_off(d, "tun_uso", &d->params.tun_uso, &d->tun_uso_why,
			"this kernel loses VXLAN in it");
}

/* "On" fails where the kernel can not; "auto" does without. */
static int check_ability(struct ringtun_device *d, const char *name, enum ringtun_switch *s,
			 const char **why, int error)
{
	if (error == 0 || *s == RINGTUN_OFF)
		return 0;
	if (*s == RINGTUN_AUTO) {
		put_off(d, name, s, why, "the kernel does not know it");
		return 0;
	}
	log_line(d, RINGTUN_LOG_ERROR, "%s was asked for, but is not to be had: %s", name,
		 strerror(-error));
	return -EOPNOTSUPP;
}

static int check_sockets(struct ringtun_device *d)
{
	struct udp_abilities able;
	struct ringtun_device_params *p = &d->params;

	udp_probe(&able);
	int r = check_ability(d, "udp_gso", &p->udp_gso, &d->udp_gso_why, able.segment);
	if (r == 0)
		r = check_ability(d, "udp_gro", &p->udp_gro, &d->udp_gro_why, able.gro);
	if (r == 0)
		r = check_ability(d, "steering", &p->steering, &d->steering_why, able.steering);
	return r;
}

/* What was asked of the TUN and not got. */
static int check_tun(struct ringtun_device *d, uint32_t n_workers)
{
	const struct ringtun_device_params *p = &d->params;
	const char *missing = NULL;

	if (p->tun_tso == RINGTUN_ON && !tun_has_tso(&d->tun))
		missing = "tun_tso";
	else if (p->tun_uso == RINGTUN_ON && !tun_has_uso(&d->tun))
		missing = "tun_uso";
	else if (p->multi_queue == RINGTUN_ON && d->tun.n_queues < n_workers)
		missing = "multi_queue";
	if (!missing)
		return 0;
	log_line(d, RINGTUN_LOG_ERROR, "%s was asked for, but %s has no such thing", missing,
		 d->tun.name);
	return -EOPNOTSUPP;
}

static int open_eventfds(struct ringtun_device *d, uint32_t n_workers)
{
	d->worker_wake_fds = malloc(n_workers * sizeof(int));
	if (!d->worker_wake_fds)
		return -ENOMEM;
	memset(d->worker_wake_fds, 0xff, n_workers * sizeof(int));
	d->n_wake_fds = n_workers;
	for (uint32_t i = 0; i < n_workers; i++) {
		d->worker_wake_fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (d->worker_wake_fds[i] < 0)
			return -errno;
	}
	d->control_wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return d->control_wake_fd < 0 || d->event_fd < 0 ? -errno : 0;
}

/* What tells of changes to the interface and the routes. */
static int open_monitors(struct ringtun_device *d)
{
	int r = link_monitor_open(&d->link, d->tun.fd[0]);
	if (r < 0)
		return r;
	d->has_link = true;
	r = route_monitor_open(&d->route);
	d->has_route = r == 0;
	return r;
}

/* Workers beyond the queues read nothing, but write to a shared one. */
static int tun_fd_of(const struct ringtun_device *d, uint32_t worker)
{
	return d->tun.fd[worker % d->tun.n_queues];
}

static int create_engine(struct ringtun_device *d, uint32_t i)
{
	struct worker *w = &d->workers[i];
	struct io_params p = { .fds = { .tun = tun_fd_of(d, i),
					.udp4 = -1,
					.udp6 = -1,
					.tun_writes_only = i >= d->tun.n_queues,
					.wake = d->worker_wake_fds[i] },
			       .vnet_hdr = d->tun.vnet_hdr,
			       .udp_gso = d->params.udp_gso != RINGTUN_OFF,
			       .udp_gro = d->params.udp_gro != RINGTUN_OFF,
			       .ring_always = d->params.io == RINGTUN_IO_URING };

	if (d->params.io != RINGTUN_IO_POLL) {
		int r = io_uring_create(&w->io, &p, &w->io_stats);
		if (r == 0 && i == 0 && w->io->restrict_error < 0)
			log_line(d, RINGTUN_LOG_INFO, "io_uring: rings take any operation: %s",
				 strerror(-w->io->restrict_error));
		if (r == 0 || d->params.io == RINGTUN_IO_URING)
			return r;
		if (i == 0) {
			log_line(d, RINGTUN_LOG_INFO, "io_uring is not available (%s): using poll",
				 strerror(-r));
			(void)snprintf(d->io_why, sizeof(d->io_why), "io_uring is refused: %s",
				       strerror(-r));
		}
		d->params.io = RINGTUN_IO_POLL;
	}
	return io_poll_create(&w->io, &p, &w->io_stats);
}

/* All that a confined host could not open any more. */
static int create_engines(struct ringtun_device *d, uint32_t n)
{
	d->workers = aligned_alloc(CACHELINE, n * ROUND_UP(sizeof(*d->workers), CACHELINE));
	d->worker_threads = calloc(n, sizeof(*d->worker_threads));
	d->pool = aligned_alloc(CACHELINE, sizeof(*d->pool));
	if (d->pool)
		crypto_pool_init(d->pool);
	if (!d->workers || !d->worker_threads || !d->pool)
		return -ENOMEM;
	if (n > 1 && !idle_cores_open(&d->pool->cores))
		log_line(d, RINGTUN_LOG_DEBUG, "no /proc/stat: cipher work is shared at any load");
	memset(d->workers, 0, n * sizeof(*d->workers));
	for (uint32_t i = 0; i < n; i++) {
		int r = create_engine(d, i);
		if (r < 0)
			return r;
		d->n_engines++;
	}
	return 0;
}

static int create_workers(struct ringtun_device *d, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct worker_params wp = {
			.device = &d->device,
			.aead = d->aead,
			.pool = n > 1 ? d->pool : NULL,
			.index = i,
			.tun_fd = tun_fd_of(d, i),
			.tun_writes_only = i >= d->tun.n_queues,
			.wake_fd = d->worker_wake_fds[i],
			.vnet_hdr = d->tun.vnet_hdr,
			.nice = d->params.nice,
			.gro_tcp = d->tun.vnet_hdr && d->params.tun_tso != RINGTUN_OFF,
			.gro_udp = d->tun.vnet_hdr && tun_has_uso(&d->tun),
		};
		int r = worker_init(&d->workers[i], &wp);
		if (r < 0)
			return r;
		d->n_workers++;
	}
	return 0;
}

/* Each thread names itself: for another one the C library would write to /proc, which a host that
 * has confined itself can not. */
static void *worker_thread(void *w)
{
	char name[16];

	(void)snprintf(name, sizeof(name), "rt-worker-%u", ((struct worker *)w)->index % 1000);
	(void)pthread_setname_np(pthread_self(), name);
	worker_loop(w);
	return NULL;
}

/* As hasty as the workers, or it would starve beside them. */
static void *loop_thread(void *ctx)
{
	struct ringtun_device *d = ctx;

	(void)pthread_setname_np(pthread_self(), "rt-control");
	if (d->params.nice && setpriority(PRIO_PROCESS, 0, d->params.nice) < 0)
		log_line(d, RINGTUN_LOG_INFO, "threads can not be raised to nice value %d: %s",
			 d->params.nice, strerror(errno));
	loop_run(&d->loop);
	return NULL;
}

/* Signals are the host's business: our threads take none. */
static int start_threads(struct ringtun_device *d)
{
	sigset_t all, old;
	int r = 0;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	for (uint32_t i = 0; i < d->n_workers && r == 0; i++) {
		r = -pthread_create(&d->worker_threads[i], NULL, worker_thread, &d->workers[i]);
		d->n_worker_threads += r == 0;
	}
	if (r == 0) {
		r = -pthread_create(&d->loop_thread, NULL, loop_thread, d);
		d->has_loop_thread = r == 0;
	}
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

static int create_core(struct ringtun_device *d, uint32_t n_workers)
{
	struct device_params dp = { .n_workers = n_workers,
				    .wake_control = wake_control,
				    .wake_worker = wake_worker,
				    .wake_ctx = d };
	int r = device_init(&d->device, &dp);
	if (r < 0)
		return r;
	d->has_device = true;
	r = create_workers(d, n_workers);
	if (r < 0)
		return r;
	struct loop_params lp = { .device = &d->device,
				  .workers = d->workers,
				  .tun = &d->tun,
				  .aead = d->aead,
				  .steering = switch_value(d->params.steering),
				  .udp_gro = switch_value(d->params.udp_gro),
				  .tun_tso = switch_value(d->params.tun_tso),
				  .tun_uso = switch_value(d->params.tun_uso),
				  .multi_queue = switch_value(d->params.multi_queue),
				  .udp_gso = switch_value(d->params.udp_gso),
				  .tun_uso_why = d->tun_uso_why,
				  .udp_gso_why = d->udp_gso_why,
				  .udp_gro_why = d->udp_gro_why,
				  .steering_why = d->steering_why,
				  .io_why = d->io_why[0] ? d->io_why : NULL,
				  .follows_mtu = d->params.tun_fd < 0 && !d->params.gso_max_size,
				  .wake_fd = d->control_wake_fd,
				  .link = &d->link,
				  .route = &d->route,
				  .ended = on_ended,
				  .log = on_log,
				  .status = on_status,
				  .ctx = d };
	r = loop_init(&d->loop, &lp);
	d->has_loop = r == 0;
	return r;
}

/* Before the loop's thread runs. */
static void log_offloads(struct ringtun_device *d)
{
	struct status_offload offloads[STATUS_N_OFFLOADS];
	char line[480];
	size_t len = 0;

	status_offloads(&d->loop, offloads);
	for (size_t i = 0; i < STATUS_N_OFFLOADS && len < sizeof(line); i++) {
		const struct status_offload *o = &offloads[i];
		len += (size_t)snprintf(line + len, sizeof(line) - len, "%s %s %s%s%s%s",
					i ? "," : "", o->name, o->state, o->why[0] ? " (" : "",
					o->why, o->why[0] ? ")" : "");
	}
	log_line(d, RINGTUN_LOG_INFO, "%s: offloads:%s", d->tun.name, line);
}

static void log_memory(struct ringtun_device *d)
{
	struct memory_use m;

	memory_measure(&d->loop, &m);
	log_line(d, RINGTUN_LOG_INFO,
		 "%s: memory: at most %llu KiB, of which %llu KiB are buffers and %llu KiB waiting "
		 "packets, and %llu bytes per peer",
		 d->tun.name, (unsigned long long)(m.buffers + m.max_waiting) >> 10,
		 (unsigned long long)m.buffers >> 10, (unsigned long long)m.max_waiting >> 10,
		 (unsigned long long)m.per_peer);
}

/* The rest of what must be open before the host may confine itself, and then it does. */
static int open_all(struct ringtun_device *d, uint32_t n_workers)
{
	int r = open_eventfds(d, n_workers);
	if (r == 0)
		r = open_monitors(d);
	if (r == 0)
		r = create_engines(d, n_workers);
	if (r == 0 && d->params.before_threads)
		r = d->params.before_threads(d->params.before_threads_ctx, d);
	return r;
}

static int create(struct ringtun_device *d)
{
	uint32_t n_workers = d->params.n_workers ? d->params.n_workers : usable_cores();

	n_workers = MIN(n_workers, (uint32_t)MAX_WORKERS);
	int r = crypto_init();
	if (r == 0)
		r = choose_cipher(d);
	avoid_broken(d);
	if (r == 0)
		r = check_sockets(d);
	if (r == 0)
		r = open_tun(d, n_workers);
	if (r == 0)
		r = check_tun(d, n_workers);
	if (r == 0)
		r = open_all(d, n_workers);
	if (r < 0)
		return r;
	rcu_start();
	rcu_thread_register(); /* for as long as we act as the control thread */
	r = create_core(d, n_workers);
	rcu_thread_unregister();
	if (r == 0) {
		log_offloads(d);
		log_memory(d);
		r = start_threads(d);
	}
	if (r == 0)
		log_line(d, RINGTUN_LOG_INFO, "%s: ringtun %s, %u workers, io %s, cipher %s",
			 d->tun.name, ringtun_version(), n_workers, d->workers[0].io->ops->name,
			 d->aead->name);
	return r;
}

void ringtun_device_params_init(struct ringtun_device_params *params)
{
	*params = (struct ringtun_device_params){ .tun_fd = -1, .mtu = DEFAULT_MTU };
}

int ringtun_device_create(struct ringtun_device **ret_device,
			  const struct ringtun_device_params *params)
{
	int r = check_params(params);
	if (r < 0)
		return r;
	struct ringtun_device *d = calloc(1, ROUND_UP(sizeof(*d), CACHELINE));
	if (!d)
		return -ENOMEM;
	d->params = *params;
	d->control_wake_fd = -1;
	d->event_fd = -1;
	(void)pthread_mutex_init(&d->status_lock, NULL);
	r = create(d);
	if (r < 0) {
		if (d->has_tun && params->tun_fd >= 0)
			d->tun.n_queues = 0; /* still the caller's */
		ringtun_device_destroy(d);
		return r;
	}
	d->params.name = NULL;
	d->params.cpu_mask = NULL;
	*ret_device = d;
	return 0;
}

static void stop_threads(struct ringtun_device *d)
{
	if (d->has_loop_thread) { /* it needs the workers to take back their sockets */
		loop_stop(&d->loop);
		(void)pthread_join(d->loop_thread, NULL);
	}
	for (uint32_t i = 0; i < d->n_worker_threads; i++)
		worker_stop(&d->workers[i]);
	for (uint32_t i = 0; i < d->n_worker_threads; i++)
		(void)pthread_join(d->worker_threads[i], NULL);
}

static void close_eventfds(struct ringtun_device *d)
{
	for (uint32_t i = 0; d->worker_wake_fds && i < d->n_wake_fds; i++)
		if (d->worker_wake_fds[i] >= 0)
			(void)close(d->worker_wake_fds[i]);
	free(d->worker_wake_fds);
	if (d->control_wake_fd >= 0)
		(void)close(d->control_wake_fd);
	if (d->event_fd >= 0)
		(void)close(d->event_fd);
}

void ringtun_device_destroy(struct ringtun_device *device)
{
	if (!device)
		return;
	stop_threads(device);
	if (device->has_tun)
		tun_close(&device->tun); /* the interface goes at once; the rest is memory */
	rcu_thread_register();
	if (device->has_loop)
		loop_finish(&device->loop);
	if (device->has_link)
		link_monitor_close(&device->link);
	if (device->has_route)
		route_monitor_close(&device->route);
	for (uint32_t i = 0; i < device->n_engines; i++)
		io_destroy(device->workers[i].io);
	for (uint32_t i = 0; i < device->n_workers; i++)
		worker_finish(&device->workers[i]);
	if (device->has_device)
		device_finish(&device->device);
	rcu_thread_unregister();
	close_eventfds(device);
	(void)pthread_mutex_destroy(&device->status_lock);
	free(device->workers);
	if (device->pool)
		crypto_pool_finish(device->pool);
	free(device->pool);
	free(device->worker_threads);
	free(device);
}

const char *ringtun_device_name(const struct ringtun_device *device)
{
	return device->tun.name;
}

int ringtun_device_serve_uapi(struct ringtun_device *device, int fd)
{
	return loop_serve_uapi(&device->loop, fd);
}

enum ringtun_io ringtun_device_io(const struct ringtun_device *device)
{
	/* Workers come in order, and after the first that can not have io_uring all use poll. */
	return device->n_engines && strcmp(device->workers[0].io->ops->name, "uring") == 0
		       ? RINGTUN_IO_URING
		       : RINGTUN_IO_POLL;
}

int ringtun_device_add_status(struct ringtun_device *device, const char *key, const char *value)
{
	size_t key_len = strlen(key);
	size_t value_len = strlen(value);
	int r = -ENOSPC;

	if (!key_len || strpbrk(key, "=\n") || strchr(value, '\n'))
		return -EINVAL;
	if (key_len + value_len + 2 > MAX_STATUS_LEN)
		return -ENOSPC;
	(void)pthread_mutex_lock(&device->status_lock);
	if (device->n_status < MAX_STATUS) {
		char *to = device->status[device->n_status++];
		memcpy(to, key, key_len + 1);
		memcpy(to + key_len + 1, value, value_len + 1);
		r = 0;
	}
	(void)pthread_mutex_unlock(&device->status_lock);
	return r;
}

int ringtun_device_event_fd(const struct ringtun_device *device)
{
	return device->event_fd;
}

enum ringtun_end ringtun_device_ended(const struct ringtun_device *device)
{
	return (enum ringtun_end)atomic_load(&device->ended);
}

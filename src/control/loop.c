/* SPDX-License-Identifier: MPL-2.0 */
/* The control thread's event loop. */
#include "control/loop.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rcu.h"
#include "control/apply.h"
#include "control/report.h"
#include "control/status.h"

enum {
	N_EVENTS = 32,
	RECV_PER_EVENT = 256,  /* datagrams, some 0.3 ms */
	DH_STEPS_PER_STEP = 4, /* before the clock is read again */
	LOG_LINE_LEN = 256,
	MAX_WAIT_FAILURES = 1000, /* in a row, a millisecond each */
};
#define HANDSHAKE_SLICE_NS (2 * NSEC_PER_MSEC) /* of one loop: UAPI and timers wait no longer */
#define RETRY_NS           NSEC_PER_SEC
#define CHECK_SOURCES_NS   (100 * NSEC_PER_MSEC) /* route changes come in swarms */

__attribute__((format(printf, 3, 0))) static void
log_line(struct loop *l, enum loop_log_level level, const char *format, va_list ap)
{
	char line[LOG_LINE_LEN];

	(void)vsnprintf(line, sizeof(line), format, ap);
	l->params.log(l->params.ctx, level, line);
}

PRINTF_LIKE(3, 4)
static void loop_log(struct loop *l, enum loop_log_level level, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	log_line(l, level, format, ap);
	va_end(ap);
}

static void end(struct loop *l, enum loop_end why)
{
	if (l->has_ended)
		return;
	l->has_ended = true;
	l->params.ended(l->params.ctx, why);
}

static int watch(struct loop *l, struct loop_fd *h, int fd,
		 void (*ready)(struct fd_handler *, uint32_t, uint64_t))
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = h };

	h->handler.ready = ready;
	h->loop = l;
	h->fd = fd;
	return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static void unwatch(struct loop *l, int fd)
{
	(void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

/* --- what control wants from the world --- */

static int op_send(void *ctx, const struct endpoint *to, uint8_t tos, struct bytes datagram)
{
	struct loop *l = ctx;

	return l->sockets ? udp_send_one(l->sockets, datagram, tos, to) : -ENOTCONN;
}

static void udp_ready(struct fd_handler *handler, uint32_t events, uint64_t now_ns)
{
	struct loop_fd *h = (struct loop_fd *)handler;
	struct loop *l = h->loop;
	struct udp_received meta;

	(void)events;
	for (unsigned i = 0; i < RECV_PER_EVENT && l->sockets; i++) {
		struct mut_bytes buf = { l->recv_buf, LOOP_RECV_BUF_LEN };
		ssize_t n = udp_recv_one(h->fd, buf, &meta);
		if (n < 0)
			return;
		control_receive(&l->control, (struct bytes){ buf.data, (size_t)n }, &meta.from,
				meta.tos, now_ns);
	}
}

/* Gives the workers their sockets, or none, and waits until they let go of the old ones: a round of
 * theirs, well below a millisecond. */
static void hand_out_sockets(struct loop *l, const struct udp_group *g)
{
	uint32_t n = l->params.device->n_workers;
	struct pollfd wake = { .fd = l->params.wake_fd, .events = POLLIN };

	for (uint32_t i = 0; i < n; i++)
		worker_set_sockets(&l->params.workers[i], g ? g->worker[i].udp4 : -1,
				   g ? g->worker[i].udp6 : -1);
	rcu_offline();
	for (uint32_t i = 0; i < n; i++) {
		uint64_t count;
		while (!worker_has_applied(&l->params.workers[i])) {
			(void)poll(&wake, 1, 10);
			if (read(l->params.wake_fd, &count, sizeof(count)) < 0)
				continue;
		}
	}
	rcu_online();
}

static void replace_sockets(struct loop *l, struct udp_group *g)
{
	struct udp_group *old = l->sockets;

	if (old && old->steering) {
		unwatch(l, old->control4);
		if (old->control6 >= 0)
			unwatch(l, old->control6);
	}
	hand_out_sockets(l, g);
	udp_group_close(old);
	l->sockets = g;
}

static int op_open_sockets(void *ctx, uint16_t port, uint32_t fwmark, uint16_t *ret_port)
{
	struct loop *l = ctx;
	struct udp_group *g;
	struct udp_params params = {
		.port = port,
		.n_workers = (uint16_t)l->params.device->n_workers,
		.fwmark = fwmark,
		.steering = l->params.steering,
		.gro = l->params.udp_gro,
	};

	int r = udp_group_open(&g, &params);
	if (r < 0)
		return r;
	/* Without steering they are worker 0's, under another number, and for sending only: what we
	 * took from there could be a whole run of datagrams. */
	if (g->steering)
		r = watch(l, &l->udp4_handler, g->control4, udp_ready);
	if (r == 0 && g->steering && g->control6 >= 0)
		r = watch(l, &l->udp6_handler, g->control6, udp_ready);
	if (r < 0) {
		udp_group_close(g);
		return r;
	}
	replace_sockets(l, g);
	loop_log(l, LOOP_LOG_INFO, "listening on UDP port %u (%s, steering %s)", g->port,
		 g->control6 >= 0 ? "IPv4 and IPv6" : "IPv4 only", g->steering ? "on" : "off");
	*ret_port = g->port;
	return 0;
}

static void op_close_sockets(void *ctx)
{
	replace_sockets(ctx, NULL);
}

static int op_set_mark(void *ctx, uint32_t fwmark)
{
	struct loop *l = ctx;

	return udp_group_set_mark(l->sockets, fwmark);
}

static void op_realtime(void *ctx, uint64_t *ret_sec, uint32_t *ret_nsec)
{
	(void)ctx;
	clock_realtime(ret_sec, ret_nsec);
}

PRINTF_LIKE(2, 3) static void op_debug(void *ctx, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	log_line(ctx, LOOP_LOG_DEBUG, format, ap);
	va_end(ap);
}

static const struct control_ops ops = {
	.send = op_send,
	.open_sockets = op_open_sockets,
	.close_sockets = op_close_sockets,
	.set_mark = op_set_mark,
	.realtime = op_realtime,
	.debug = op_debug,
};

/* --- UAPI --- */

static int uapi_set(void *ctx, const struct config_set *set)
{
	struct loop *l = ctx;
	return control_apply(&l->control, set, clock_boottime_ns());
}

static int uapi_get(void *ctx, struct uapi_text *text)
{
	struct loop *l = ctx;
	control_report(&l->control, text);
	return 0;
}

static int uapi_status(void *ctx, struct uapi_text *text)
{
	struct loop *l = ctx;
	l->params.status(l->params.ctx, text);
	status_report(l, text);
	return 0;
}

static void uapi_stream_closed(void *ctx)
{
	end(ctx, LOOP_STREAM_CLOSED);
}

/* On the stack of who waits for it. */
struct loop_uapi_request {
	int fd;
	int result;
	bool is_done;
};

int loop_serve_uapi(struct loop *l, int fd)
{
	struct loop_uapi_request request = { .fd = fd };
	int type = 0;
	socklen_t len = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return -EINVAL;
	(void)pthread_mutex_lock(&l->lock);
	if (l->takes_nothing || l->n_uapi == UAPI_MAX_ADDED) {
		request.result = l->takes_nothing ? -ESHUTDOWN : -EBUSY;
		request.is_done = true;
	} else {
		l->pending_uapi[l->n_pending_uapi++] = &request;
		l->n_uapi++;
		l->params.device->wake_control(l->params.device->wake_ctx);
	}
	while (!request.is_done)
		(void)pthread_cond_wait(&l->uapi_taken, &l->lock);
	(void)pthread_mutex_unlock(&l->lock);
	return request.result;
}

/* Serves what was brought, or refuses it with @error. */
static void take_pending_uapi(struct loop *l, int error)
{
	(void)pthread_mutex_lock(&l->lock);
	l->takes_nothing = error < 0;
	while (l->n_pending_uapi > 0) {
		struct loop_uapi_request *request = l->pending_uapi[--l->n_pending_uapi];
		request->result = error < 0 ? error : uapi_server_add(l->uapi, request->fd);
		if (request->result < 0)
			l->n_uapi--;
		request->is_done = true;
		(void)pthread_cond_broadcast(&l->uapi_taken);
	}
	(void)pthread_mutex_unlock(&l->lock);
}

/* --- the interface --- */

static void go_up_or_down(struct loop *l, bool up, uint64_t now_ns)
{
	l->wants_up = up;
	if (up == l->control.has_sockets)
		return;
	int r = control_set_up(&l->control, up, now_ns);
	if (r < 0)
		loop_log(l, LOOP_LOG_ERROR, "can not open UDP port %u: %s; trying again",
			 l->control.listen_port, strerror(-r));
	else
		loop_log(l, LOOP_LOG_INFO, "interface is %s", up ? "up" : "down");
	l->retry_ns = r < 0 ? now_ns + RETRY_NS : UINT64_MAX;
}

static void follow_mtu(struct loop *l, uint32_t mtu)
{
	loop_log(l, LOOP_LOG_DEBUG, "MTU is %u", mtu);
	if (!l->params.follows_mtu)
		return;
	uint32_t size = link_gso_max_size(mtu);
	int r = link_monitor_set_gso(l->params.link, size);
	if (r < 0)
		loop_log(l, LOOP_LOG_DEBUG, "gso_max_size can not be set to %u: %s", size,
			 strerror(-r));
}

static void read_link(struct loop *l, uint64_t now_ns)
{
	struct link_state s;

	int r = link_monitor_read(l->params.link, &s);
	if (r == -ENODEV) {
		unwatch(l, l->params.link->fd);
		end(l, LOOP_INTERFACE_GONE);
		return;
	}
	if (r < 0) {
		l->retry_ns = now_ns + RETRY_NS;
		return;
	}
	l->link_must_poll = s.must_poll;
	if (atomic_exchange_explicit(&l->params.device->mtu, s.mtu, memory_order_relaxed) != s.mtu)
		follow_mtu(l, s.mtu);
	if (s.was_down) /* P-400, also if it is up again already */
		go_up_or_down(l, false, now_ns);
	go_up_or_down(l, s.is_up, now_ns);
	if (s.must_poll)
		l->retry_ns = now_ns + RETRY_NS;
}

static void link_ready(struct fd_handler *handler, uint32_t events, uint64_t now_ns)
{
	(void)events;
	read_link(((struct loop_fd *)handler)->loop, now_ns);
}

static void route_ready(struct fd_handler *handler, uint32_t events, uint64_t now_ns)
{
	struct loop *l = ((struct loop_fd *)handler)->loop;

	(void)events;
	(void)now_ns;
	if (route_monitor_read(l->params.route))
		l->must_check_sources = true;
}

static bool source_holds(void *ctx, const struct endpoint *e)
{
	struct loop *l = ctx;
	return route_source_holds(l->params.route, e, l->control.fwmark);
}

static void wake_ready(struct fd_handler *handler, uint32_t events, uint64_t now_ns)
{
	struct loop *l = ((struct loop_fd *)handler)->loop;
	uint64_t count;

	(void)events;
	(void)now_ns;
	/* Nothing is carried by the count: every loop looks at all that may have rung. */
	(void)!read(l->params.wake_fd, &count, sizeof(count));
}

static void check_workers(struct loop *l)
{
	for (uint32_t i = 0; i < l->params.device->n_workers && !l->has_ended; i++) {
		int r = atomic_load_explicit(&l->params.workers[i].failed, memory_order_acquire);
		if (r == 0)
			continue;
		bool is_alive = tun_is_alive(l->params.tun);
		if (is_alive)
			loop_log(l, LOOP_LOG_ERROR, "worker %u failed: %s", i, strerror(-r));
		end(l, is_alive ? LOOP_FAILED : LOOP_INTERFACE_GONE);
	}
}

/* What workers fell back to since the last look. */
static void check_fallbacks(struct loop *l)
{
	for (uint32_t i = 0; i < l->params.device->n_workers; i++) {
		const struct worker *w = &l->params.workers[i];
		int gso = atomic_load_explicit(&w->io_stats.gso_error, memory_order_relaxed);
		int tun = atomic_load_explicit(&w->stats.write_error, memory_order_relaxed);
		if (gso && !TAKE(l->told_gso_off, true))
			loop_log(l, LOOP_LOG_INFO, "udp_gso is off: refused when sending: %s",
				 strerror(gso));
		if (tun && !TAKE(l->told_write_error, true))
			loop_log(l, LOOP_LOG_INFO, "tun_gro is off: refused when writing: %s",
				 strerror(tun));
	}
}

bool loop_keys_are_locked(struct loop *l)
{
	struct device *d = l->params.device;

	return secret_pool_is_locked(&d->identity_pool) && secret_pool_is_locked(&d->peer_pool) &&
	       secret_pool_is_locked(&d->session_pool) &&
	       secret_pool_is_locked(&l->control.answer_pool) && uapi_server_is_locked(l->uapi);
}

static void check_locked(struct loop *l)
{
	if (l->told_unlocked || loop_keys_are_locked(l))
		return;
	l->told_unlocked = true;
	loop_log(l, LOOP_LOG_INFO,
		 "keys, or text with keys, may be swapped out: RLIMIT_MEMLOCK is too small");
}

/* --- the loop --- */

/* Handshakes for at most a slice of time; learns what one costs (P-121). */
static void step(struct loop *l, uint64_t now_ns)
{
	struct control *c = &l->control;
	uint64_t before = now_ns;

	for (;;) {
		uint32_t n = control_step(c, DH_STEPS_PER_STEP, before);
		uint64_t after = clock_boottime_ns();
		control_learn_cost(c, before, after);
		if (n == 0 || after - now_ns >= HANDSHAKE_SLICE_NS)
			return;
		before = after;
	}
}

static void periodic(struct loop *l, uint64_t now_ns)
{
	take_pending_uapi(l, 0);
	check_workers(l);
	check_fallbacks(l);
	check_locked(l);
	if (now_ns >= l->retry_ns) {
		l->retry_ns = UINT64_MAX;
		read_link(l, now_ns);
	}
	if (l->must_check_sources && now_ns - l->checked_sources_ns >= CHECK_SOURCES_NS) {
		l->must_check_sources = false;
		l->checked_sources_ns = now_ns;
		control_check_sources(&l->control, source_holds, l);
	}
	uapi_server_tick(l->uapi, now_ns);
}

static int timeout_ms(const struct loop *l, uint64_t now_ns)
{
	uint64_t next = control_next_deadline(&l->control, now_ns);

	next = MIN(next, uapi_server_next_deadline(l->uapi));
	next = MIN(next, l->retry_ns);
	if (l->must_check_sources)
		next = MIN(next, l->checked_sources_ns + CHECK_SOURCES_NS);
	if (next == UINT64_MAX)
		return -1;
	if (next <= now_ns)
		return 0;
	uint64_t ms = (next - now_ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;
	return (int)MIN(ms, (uint64_t)3600 * 1000);
}

/* epoll_wait() failed, which only descriptors that are no more can explain: goes on with what needs no
 * events, and ends if that does not pass. */
static void wait_failed(struct loop *l, int error)
{
	static const struct timespec pause = { .tv_nsec = (long)NSEC_PER_MSEC };

	if (error == EINTR)
		return;
	(void)nanosleep(&pause, NULL);
	if (++l->n_wait_failures < MAX_WAIT_FAILURES || l->has_ended)
		return;
	loop_log(l, LOOP_LOG_ERROR, "can not wait for events: %s", strerror(error));
	end(l, LOOP_FAILED);
}

void loop_run(struct loop *l)
{
	struct epoll_event ev[N_EVENTS];

	rcu_thread_register();
	read_link(l, clock_boottime_ns());
	periodic(l, clock_boottime_ns()); /* handing out sockets may have eaten a wake-up */
	while (!atomic_load_explicit(&l->stop, memory_order_relaxed)) {
		int timeout = timeout_ms(l, clock_boottime_ns());
		if (timeout != 0)
			rcu_offline();
		int n = epoll_wait(l->epoll_fd, ev, N_EVENTS, timeout);
		int error = errno;
		if (timeout != 0)
			rcu_online();
		if (n < 0)
			wait_failed(l, error);
		else
			l->n_wait_failures = 0;
		uint64_t now_ns = clock_boottime_ns();
		for (int i = 0; i < n; i++) {
			struct fd_handler *h = ev[i].data.ptr;
			h->ready(h, ev[i].events, now_ns);
		}
		step(l, now_ns);
		periodic(l, now_ns);
		rcu_quiescent();
	}
	if (l->control.has_sockets)
		(void)control_set_up(&l->control, false, clock_boottime_ns());
	take_pending_uapi(l, -ESHUTDOWN);
	rcu_thread_unregister();
}

void loop_stop(struct loop *l)
{
	atomic_store_explicit(&l->stop, true, memory_order_relaxed);
	l->params.device->wake_control(l->params.device->wake_ctx);
}

int loop_init(struct loop *l, const struct loop_params *params)
{
	struct uapi_handler handler = { .set = uapi_set,
					.get = uapi_get,
					.status = uapi_status,
					.stream_closed = uapi_stream_closed,
					.ctx = l };
	struct control_params cp = { .device = params->device,
				     .aead = params->aead,
				     .ops = &ops,
				     .ops_ctx = l,
				     .now_ns = clock_boottime_ns() };

	memset(l, 0, sizeof(*l));
	l->params = *params;
	l->retry_ns = UINT64_MAX;
	(void)pthread_mutex_init(&l->lock, NULL);
	(void)pthread_cond_init(&l->uapi_taken, NULL);
	l->recv_buf = malloc(LOOP_RECV_BUF_LEN);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	int r = !l->recv_buf ? -ENOMEM : l->epoll_fd < 0 ? -errno : 0;
	if (r == 0)
		r = control_init(&l->control, &cp);
	if (r == 0)
		r = uapi_server_create(&l->uapi, l->epoll_fd, &handler);
	if (r == 0)
		r = watch(l, &l->wake_handler, params->wake_fd, wake_ready);
	if (r == 0)
		r = watch(l, &l->link_handler, params->link->fd, link_ready);
	if (r == 0)
		r = watch(l, &l->route_handler, params->route->fd, route_ready);
	if (r < 0)
		loop_finish(l);
	return r;
}

void loop_finish(struct loop *l)
{
	uapi_server_destroy(l->uapi);
	control_finish(&l->control);
	udp_group_close(TAKE_PTR(l->sockets));
	if (l->epoll_fd >= 0)
		(void)close(l->epoll_fd);
	free(l->recv_buf);
	(void)pthread_cond_destroy(&l->uapi_taken);
	(void)pthread_mutex_destroy(&l->lock);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Opening of the socket group. The order of binding is what keeps others off the port and what the
 * steering program counts by: src/adr/0003-exclusive-port.md. */
#include "udp/udp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "udp/cmsg.h"
#include "udp/steer.h"

enum {
	RANDOM_PORT_TRIES = 100, /* P-361 */
	MAX_PENDING_ERRORS = 16, /* skipped by one call */
	FIRST_WORKER = 1,        /* index in the reuseport group, after the control socket */
	NOWHERE = INT32_MAX,     /* an interface index that no interface has */
};

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* As much as the kernel grants: beyond its limit only with CAP_NET_ADMIN (P-366). */
static void set_buffers(int fd, uint32_t len)
{
	int want = (int)MIN(len, (uint32_t)INT32_MAX / 2);
	if (set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, want) < 0)
		(void)set_int(fd, SOL_SOCKET, SO_RCVBUF, want);
	if (set_int(fd, SOL_SOCKET, SO_SNDBUFFORCE, want) < 0)
		(void)set_int(fd, SOL_SOCKET, SO_SNDBUF, want);
}

/* P-303, P-305, P-345; without the last two things a tunnel still works. */
static int set_ip_options(int fd, int family)
{
	int r;
	if (family == AF_INET6) {
		(void)set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
		(void)set_int(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
		(void)set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
		return set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	}
	r = set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
	(void)set_int(fd, IPPROTO_IP, IP_RECVTOS, 1);
	(void)set_int(fd, IPPROTO_IP, IP_PKTINFO, 1);
	return r;
}

/* An unbound socket with all options. The descriptor or -errno. */
static int socket_prepare(int family, const struct udp_params *params)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_UDP);
	if (fd < 0)
		return -errno;
	int r = set_ip_options(fd, family);
	if (r == 0 && params->fwmark != 0)
		r = set_int(fd, SOL_SOCKET, SO_MARK, (int)params->fwmark);
	if (r < 0) {
		(void)close(fd);
		return r;
	}
	set_buffers(fd, params->buffer_len ? params->buffer_len : UDP_BUFFER_LEN);
	return fd;
}

/* Binds to the wildcard address of @family. */
static int socket_bind(int fd, int family, uint16_t port)
{
	struct sockaddr_in in4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int r = family == AF_INET ? bind(fd, (const struct sockaddr *)&in4, sizeof(in4))
				  : bind(fd, (const struct sockaddr *)&in6, sizeof(in6));
	return r < 0 ? -errno : 0;
}

static int socket_port(int fd, uint16_t *ret_port)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		return -errno;
	in_port_t port;
	memcpy(&port, (const char *)&ss + offsetof(struct sockaddr_in, sin_port), sizeof(port));
	*ret_port = ntohs(port);
	return 0;
}

/* The sockets of one family while they are being opened. -1: none (yet). */
struct family {
	int family;
	bool steering;
	int control;
	int guard[UDP_N_GUARDS];
	int worker[UDP_MAX_WORKERS];
};

static void close_one(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static void family_init(struct family *f, int family)
{
	f->family = family;
	f->steering = false;
	f->control = -1;
	for (size_t i = 0; i < UDP_N_GUARDS; i++)
		f->guard[i] = -1;
	for (size_t i = 0; i < UDP_MAX_WORKERS; i++)
		f->worker[i] = -1;
}

static void family_close(struct family *f)
{
	close_one(&f->control);
	for (size_t i = 0; i < UDP_N_GUARDS; i++)
		close_one(&f->guard[i]);
	for (size_t i = 0; i < UDP_MAX_WORKERS; i++)
		close_one(&f->worker[i]);
}

static int set_guard(int fd)
{
	return set_int(fd, SOL_SOCKET, SO_BINDTOIFINDEX, NOWHERE);
}

/* Binds one more socket to a port that the first one has. */
static int family_join(const struct family *f, const struct udp_params *params, uint16_t port,
		       bool is_guard, int *ret_fd)
{
	int fd CLEANUP(close_fdp) = socket_prepare(f->family, params);
	if (fd < 0)
		return fd;
	int r = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (r == 0 && is_guard)
		r = set_guard(fd);
	if (r == 0)
		r = socket_bind(fd, f->family, port);
	if (r == 0)
		*ret_fd = TAKE_FD(fd);
	return r;
}

/* The second guard, and no more sharing of the port from here on. */
static int family_shut(struct family *f, const struct udp_params *params, uint16_t port)
{
	int r = family_join(f, params, port, true, &f->guard[1]);
	for (size_t i = 0; r == 0 && i < UDP_N_GUARDS; i++)
		r = set_int(f->guard[i], SOL_SOCKET, SO_REUSEPORT, 0);
	return r;
}

/* Turns the socket that was bound alone into a group: a guard around it, then, in the order that the
 * steering program counts by, the control socket and the workers. */
static int family_fill(struct family *f, int first_fd, const struct udp_params *params,
		       uint16_t port)
{
	int *head = f->steering ? &f->control : &f->worker[0];
	bool guarded = set_guard(first_fd) == 0;
	*(guarded ? &f->guard[0] : head) = first_fd; /* Linux before 5.1 can not guard */
	int r = set_int(first_fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (r == 0 && guarded)
		r = family_join(f, params, port, false, head);
	for (uint16_t i = f->steering ? 0 : 1; r == 0 && i < params->n_workers; i++)
		r = family_join(f, params, port, false, &f->worker[i]);
	if (r == 0 && f->steering)
		r = udp_steer_attach(f->control, FIRST_WORKER, params->n_workers);
	if (r == 0 && guarded)
		r = family_shut(f, params, port);
	return r;
}

/* Opens all sockets of one family on *@port, or on one that the kernel chooses and *@port then has. */
static int family_open(struct family *f, const struct udp_params *params, uint16_t *port)
{
	int fd CLEANUP(close_fdp) = socket_prepare(f->family, params);
	if (fd < 0)
		return fd;
	int r = socket_bind(fd, f->family, *port); /* fails if anybody has the port */
	if (r == 0)
		r = socket_port(fd, port);
	if (r < 0)
		return r;
	if (f->steering || params->n_workers > 1)
		r = family_fill(f, TAKE_FD(fd), params, *port);
	else
		f->worker[0] = TAKE_FD(fd);
	if (r == 0 && !f->steering) { /* it only sends, and the group needs no member for that */
		f->control = fcntl(f->worker[0], F_DUPFD_CLOEXEC, 0);
		r = f->control < 0 ? -errno : 0;
	}
	return r;
}

static bool means_no_family(int r)
{
	return r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL || r == -EPROTONOSUPPORT;
}

/* Both families on one port. IPv6 may be missing (P-360). */
static int families_open(struct family *v4, struct family *v6, const struct udp_params *params,
			 uint16_t *ret_port)
{
	uint16_t port = params->port;
	int r = family_open(v4, params, &port);
	if (r < 0)
		return r;
	r = family_open(v6, params, &port);
	if (means_no_family(r)) {
		family_close(v6);
		r = 0;
	}
	if (r == 0)
		*ret_port = port;
	return r;
}

/* P-361: a random port that is free for one family may be taken for the other. */
static int families_open_retrying(struct family *v4, struct family *v6,
				  const struct udp_params *params, uint16_t *ret_port)
{
	int r = -EADDRINUSE;
	int n_tries = params->port == 0 ? RANDOM_PORT_TRIES : 1;
	for (int i = 0; i < n_tries && r == -EADDRINUSE; i++) {
		r = families_open(v4, v6, params, ret_port);
		if (r < 0) {
			family_close(v4);
			family_close(v6);
		}
	}
	return r;
}

/* What the kernel granted, as it counts it. */
static uint32_t buffer_len(int fd, int option)
{
	int value = 0;
	socklen_t len = sizeof(value);
	(void)getsockopt(fd, SOL_SOCKET, option, &value, &len);
	return (uint32_t)value;
}

static void enable_gro(struct udp_group *g)
{
	for (uint16_t i = 0; i < g->n_workers; i++) {
		struct udp_worker *w = &g->worker[i];
		if (set_int(w->udp4, IPPROTO_UDP, UDP_GRO, 1) < 0)
			return;
		if (w->udp6 >= 0 && set_int(w->udp6, IPPROTO_UDP, UDP_GRO, 1) < 0)
			return;
	}
	g->gro = true;
}

static void group_take(struct udp_group *g, struct family *v4, struct family *v6)
{
	g->steering = v4->steering;
	g->control4 = TAKE_FD(v4->control);
	g->control6 = TAKE_FD(v6->control);
	for (size_t i = 0; i < UDP_N_GUARDS; i++) {
		g->guard4[i] = TAKE_FD(v4->guard[i]);
		g->guard6[i] = TAKE_FD(v6->guard[i]);
	}
	for (uint16_t i = 0; i < g->n_workers; i++) {
		g->worker[i].udp4 = TAKE_FD(v4->worker[i]);
		g->worker[i].udp6 = TAKE_FD(v6->worker[i]);
	}
	g->recv_buffer_len = buffer_len(g->worker[0].udp4, SO_RCVBUF);
	g->send_buffer_len = buffer_len(g->worker[0].udp4, SO_SNDBUF);
}

int udp_group_open(struct udp_group **ret, const struct udp_params *params)
{
	if (params->n_workers == 0 || params->n_workers > UDP_MAX_WORKERS)
		return -EINVAL;
	struct udp_group *g = calloc(1, sizeof(*g) + params->n_workers * sizeof(g->worker[0]));
	if (!g)
		return -ENOMEM;
	g->n_workers = params->n_workers;

	struct family v4, v6;
	family_init(&v4, AF_INET);
	family_init(&v6, AF_INET6);
	v4.steering = v6.steering = params->steering >= 0;
	int r = families_open_retrying(&v4, &v6, params, &g->port);
	if (v4.steering && (r == -ENOPROTOOPT || r == -EINVAL || r == -EOPNOTSUPP)) {
		v4.steering = v6.steering = false; /* the program was refused: do without */
		r = families_open_retrying(&v4, &v6, params, &g->port);
	}
	if (r < 0) {
		free(g);
		return r;
	}
	group_take(g, &v4, &v6);
	if (params->gro >= 0)
		enable_gro(g);
	*ret = g;
	return 0;
}

/* Calls @fn for every descriptor; stops at the first error. */
static int group_each(struct udp_group *g, int (*fn)(int *fd, uint32_t arg), uint32_t arg)
{
	int *own[] = { &g->control4,  &g->control6,  &g->guard4[0],
		       &g->guard4[1], &g->guard6[0], &g->guard6[1] };
	int r = 0;
	for (size_t i = 0; i < ARRAY_SIZE(own) && r == 0; i++)
		r = *own[i] < 0 ? 0 : fn(own[i], arg);
	for (uint16_t i = 0; i < g->n_workers && r == 0; i++) {
		r = fn(&g->worker[i].udp4, arg);
		if (r == 0 && g->worker[i].udp6 >= 0)
			r = fn(&g->worker[i].udp6, arg);
	}
	return r;
}

static int set_mark(int *fd, uint32_t fwmark)
{
	return set_int(*fd, SOL_SOCKET, SO_MARK, (int)fwmark);
}

static int close_each(int *fd, uint32_t arg)
{
	close_one(fd);
	return 0;
}

int udp_group_set_mark(struct udp_group *g, uint32_t fwmark)
{
	uint32_t old = buffer_len(g->control4, SO_MARK);
	int r = group_each(g, set_mark, fwmark);
	if (r < 0)
		(void)group_each(g, set_mark, old);
	return r;
}

void udp_group_close(struct udp_group *g)
{
	if (!g)
		return;
	(void)group_each(g, close_each, 0);
	free(g);
}

int udp_send_one(const struct udp_group *g, struct bytes datagram, uint8_t tos,
		 const struct endpoint *to)
{
	int fd = to->to.sa.sa_family == AF_INET ? g->control4 : g->control6;
	if (fd < 0)
		return -EAFNOSUPPORT;
	union udp_cmsg_send control;
	struct iovec iov = { (void *)(uintptr_t)datagram.data, datagram.len };
	struct msghdr msg = {
		.msg_name = (void *)(uintptr_t)&to->to,
		.msg_namelen = endpoint_addr_len(to),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = udp_cmsg_build(&control, to, tos, 0),
	};
	int n_pending = MAX_PENDING_ERRORS; /* of earlier sends; each is reported once (P-367) */
	while (sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		if ((errno != EINTR && errno != ECONNREFUSED) || n_pending-- == 0)
			return -errno;
	return 0;
}

ssize_t udp_recv_one(int fd, struct mut_bytes buf, struct udp_received *ret)
{
	struct sockaddr_in6 name;
	union udp_cmsg_recv control;
	for (int i = 0; i < MAX_PENDING_ERRORS; i++) {
		struct iovec iov = { buf.data, buf.len };
		struct msghdr msg = {
			.msg_name = &name,
			.msg_namelen = sizeof(name),
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = &control,
			.msg_controllen = sizeof(control),
		};
		ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);
		if (n >= 0) {
			udp_cmsg_parse(ret,
				       (struct bytes){ (const uint8_t *)&name, msg.msg_namelen },
				       (struct bytes){ control.b, msg.msg_controllen });
			return n;
		}
		if (errno == EAGAIN)
			break;
	}
	return -EAGAIN;
}

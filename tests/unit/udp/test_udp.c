/* SPDX-License-Identifier: MPL-2.0 */
/* The socket group on a real kernel: who gets which datagram, who else gets the port (PITFALLS 18 -
 * 20, 22, 25, 84). */
#include <linux/filter.h>
#include <linux/udp.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/bytes.h"
#include "io/net_fixture.h"
#include "udp/cmsg.h"
#include "udp/udp.h"

enum { PORT = 51820 };

static struct udp_group *group_open(uint16_t n_workers, int steering, int gro)
{
	struct udp_params p = {
		.port = PORT, .n_workers = n_workers, .steering = steering, .gro = gro
	};
	struct udp_group *g = NULL;
	int r = udp_group_open(&g, &p);
	cr_assert(eq(int, r, 0), "%s", strerror(-r));
	return g;
}

static int sender_open(int family)
{
	struct endpoint to = fixture_endpoint(family, PORT);
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert(eq(int, connect(fd, &to.to.sa, endpoint_addr_len(&to)), 0));
	return fd;
}

/* A transport message of @len bytes with this receiver index (as it is in memory). */
static void transport_message(uint8_t *b, size_t len, uint32_t index_be)
{
	memset(b, 0, len);
	b[0] = 4;
	store_be32(b + 4, index_be);
}

static bool is_readable_within(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	return poll(&p, 1, ms) == 1;
}

static bool is_readable(int fd)
{
	return is_readable_within(fd, 0);
}

/* Bytes waiting in the one socket that has any; -1: in none or in more than one. */
static ssize_t take_only_from(struct udp_group *g, int family, int expected_fd)
{
	int fds[3 + UDP_MAX_WORKERS];
	size_t n = 0;
	fds[n++] = family == AF_INET ? g->control4 : g->control6;
	fds[n++] = family == AF_INET ? g->guard4[0] : g->guard6[0];
	fds[n++] = family == AF_INET ? g->guard4[1] : g->guard6[1];
	for (uint16_t i = 0; i < g->n_workers; i++)
		fds[n++] = family == AF_INET ? g->worker[i].udp4 : g->worker[i].udp6;
	for (size_t i = 0; i < n; i++)
		if (fds[i] != expected_fd && is_readable(fds[i]))
			return -1;
	uint8_t buf[65536];
	struct udp_received got;
	return udp_recv_one(expected_fd, (struct mut_bytes){ buf, sizeof(buf) }, &got);
}

struct steering_case {
	int family;
	uint16_t n_workers;
	int gro;
};

ParameterizedTestParameters(udp, steers_each_message_to_its_owner)
{
	static struct steering_case cases[] = {
		{ AF_INET, 1, 1 },  { AF_INET6, 1, 1 }, { AF_INET, 2, 1 },  { AF_INET6, 2, 1 },
		{ AF_INET, 7, -1 }, { AF_INET6, 7, 1 }, { AF_INET, 16, 1 },
	};
	return cr_make_param_array(struct steering_case, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(struct steering_case *c, udp, steers_each_message_to_its_owner)
{
	fixture_enter_netns();
	struct udp_group *g = group_open(c->n_workers, 0, c->gro);
	cr_assert(g->steering);
	cr_assert(eq(int, g->gro, c->gro >= 0));
	int fd = sender_open(c->family);
	int control = c->family == AF_INET ? g->control4 : g->control6;
	uint8_t b[256];

	for (uint32_t i = 0; i < 64; i++) {
		uint32_t index = i * 0x9e3779b1U;
		transport_message(b, 32 + i, index);
		struct udp_worker *w = &g->worker[udp_steer(b + 4, c->n_workers)];
		cr_assert(eq(int, send(fd, b, 32 + i, 0), 32 + i));
		cr_assert(eq(int,
			     take_only_from(g, c->family, c->family == AF_INET ? w->udp4 : w->udp6),
			     32 + i));
	}
	for (unsigned type = 0; type < 256; type++) {
		if (type == 4)
			continue;
		memset(b, (int)type, sizeof(b));
		cr_assert(eq(int, send(fd, b, 148, 0), 148));
		cr_assert(eq(int, take_only_from(g, c->family, control), 148));
	}
	for (size_t len = 0; len < 8; len++) { /* too short for an index: nobody's but control's */
		transport_message(b, 8, 0xffffffff);
		cr_assert(eq(int, send(fd, b, len, 0), len));
		cr_assert(eq(int, take_only_from(g, c->family, control), len));
	}
	close(fd);
	udp_group_close(g);
}

/* A run sent with UDP_SEGMENT over lo arrives as one buffer at the worker that it belongs to. */
ParameterizedTestParameters(udp, steers_runs_and_keeps_what_came_with_them)
{
	static int families[] = { AF_INET, AF_INET6 };
	return cr_make_param_array(int, families, 2);
}

ParameterizedTest(int *family, udp, steers_runs_and_keeps_what_came_with_them)
{
	fixture_enter_netns();
	struct udp_group *g = group_open(3, 0, 0);
	int fd = sender_open(*family);
	static uint8_t run[10 * 400];
	for (size_t i = 0; i < 10; i++)
		transport_message(run + i * 400, 400, 5); /* 5 mod 3 = 2 */
	int segment = 400;
	cr_assert(eq(int, setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)), 0));
	if (*family == AF_INET)
		setsockopt(fd, IPPROTO_IP, IP_TOS, &(int){ 2 }, sizeof(int));
	else
		setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &(int){ 2 }, sizeof(int));
	cr_assert(eq(int, send(fd, run, sizeof(run) - 100, 0), sizeof(run) - 100));

	static uint8_t buf[65536];
	struct udp_received got;
	int owner = *family == AF_INET ? g->worker[2].udp4 : g->worker[2].udp6;
	ssize_t n = udp_recv_one(owner, (struct mut_bytes){ buf, sizeof(buf) }, &got);
	cr_assert(eq(int, n, sizeof(run) - 100));
	cr_assert(eq(u32, got.segment_len, 400));
	cr_assert(eq(u8, got.tos, 2));
	struct endpoint self = fixture_endpoint(*family, 0);
	if (*family == AF_INET)
		cr_assert(eq(u32, got.from.from.in4.s_addr, self.to.in4.sin_addr.s_addr));
	else
		cr_assert(eq(int, memcmp(&got.from.from.in6, &self.to.in6.sin6_addr, 16), 0));
	cr_assert(eq(u32, got.from.from_ifindex, if_nametoindex("lo")));
	cr_assert(eq(int, memcmp(buf, run, (size_t)n), 0));

	/* The control socket has no UDP_GRO: it gets the same run as single datagrams. */
	memset(run, 1, sizeof(run));
	cr_assert(eq(int, send(fd, run, sizeof(run), 0), sizeof(run)));
	int control = *family == AF_INET ? g->control4 : g->control6;
	for (int i = 0; i < 10; i++) {
		n = udp_recv_one(control, (struct mut_bytes){ buf, sizeof(buf) }, &got);
		cr_assert(eq(int, n, 400));
		cr_assert(eq(u32, got.segment_len, 0));
	}
	udp_group_close(g);
}

/* Tries to bind the port as a stranger would, with and without the two options that share ports. */
static int intrude(int family, bool reuse_addr, bool reuse_port, bool specific)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (reuse_addr)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	if (reuse_port)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){ 1 }, sizeof(int));
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 1 }, sizeof(int));
	struct endpoint e = fixture_endpoint(family, PORT);
	if (!specific)
		memset(family == AF_INET ? (void *)&e.to.in4.sin_addr : &e.to.in6.sin6_addr, 0,
		       family == AF_INET ? 4 : 16);
	int r = bind(fd, &e.to.sa, endpoint_addr_len(&e)) < 0 ? -errno : 0;
	if (r < 0)
		close(fd);
	return r; /* on success it stays open */
}

struct exclusive_case {
	uint16_t n_workers;
	int steering;
};

ParameterizedTestParameters(udp, keeps_its_port_to_itself)
{
	static struct exclusive_case cases[] = { { 1, 0 },  { 2, 0 },  { 16, 0 },
						 { 1, -1 }, { 2, -1 }, { 5, -1 } };
	return cr_make_param_array(struct exclusive_case, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(struct exclusive_case *c, udp, keeps_its_port_to_itself)
{
	fixture_enter_netns();
	struct udp_group *g = group_open(c->n_workers, c->steering, 0), *other = NULL;
	for (unsigned i = 0; i < 16; i++) {
		int r = intrude(i & 8 ? AF_INET6 : AF_INET, i & 1, i & 2, i & 4);
		cr_assert(eq(int, r, -EADDRINUSE), "intruder %u", i);
	}
	struct udp_params again = { .port = PORT,
				    .n_workers = c->n_workers,
				    .steering = c->steering };
	cr_assert(eq(int, udp_group_open(&other, &again), -EADDRINUSE), "another ringtun");
	cr_assert(eq(ptr, other, NULL));
	udp_group_close(g);
	g = group_open(c->n_workers, c->steering, 0); /* nothing is left behind */
	udp_group_close(g);
}

ParameterizedTestParameters(udp, fails_if_anybody_has_the_port)
{
	static int bits[16];
	for (int i = 0; i < 16; i++)
		bits[i] = i;
	return cr_make_param_array(int, bits, 16);
}

ParameterizedTest(int *bits, udp, fails_if_anybody_has_the_port)
{
	fixture_enter_netns();
	cr_assert(eq(int, intrude(*bits & 8 ? AF_INET6 : AF_INET, *bits & 1, *bits & 2, *bits & 4),
		     0));
	struct udp_params p = { .port = PORT, .n_workers = 2 };
	struct udp_group *g = NULL;
	cr_assert(eq(int, udp_group_open(&g, &p), -EADDRINUSE));
	cr_assert(eq(ptr, g, NULL));
}

/* Without steering every socket of the group may get a flow, and the group stays exclusive. */
Test(udp, without_steering_spreads_flows_and_loses_nothing)
{
	fixture_enter_netns();
	struct udp_group *g = group_open(4, -1, 0);
	cr_assert(not(g->steering));
	int n_used = 0, total = 0;
	uint8_t b[64];
	for (int i = 0; i < 64; i++) {
		int fd = sender_open(AF_INET);
		transport_message(b, sizeof(b), 1);
		cr_assert(eq(int, send(fd, b, sizeof(b), 0), sizeof(b)));
		close(fd);
	}
	int fds[] = { g->worker[0].udp4, g->worker[1].udp4, g->worker[2].udp4, g->worker[3].udp4 };
	for (size_t i = 0; i < 4; i++) {
		struct udp_received got;
		int n = 0;
		while (udp_recv_one(fds[i], (struct mut_bytes){ b, sizeof(b) }, &got) == sizeof(b))
			n++;
		n_used += n > 0;
		total += n;
	}
	cr_assert(eq(int, total, 64));
	cr_assert(ge(int, n_used, 3));
	udp_group_close(g);
}

Test(udp, one_worker_without_steering_is_one_socket)
{
	fixture_enter_netns();
	struct udp_group *g = group_open(1, -1, 0);
	cr_assert(not(g->steering));
	struct endpoint to = fixture_endpoint(AF_INET, PORT);
	cr_assert(eq(int, udp_send_one(g, (struct bytes){ (const uint8_t *)"x", 1 }, 0, &to), 0));
	uint8_t b[8];
	struct udp_received got;
	cr_assert(eq(int, udp_recv_one(g->worker[0].udp4, (struct mut_bytes){ b, sizeof(b) }, &got),
		     1));
	cr_assert(eq(u16, ntohs(got.from.to.in4.sin_port), PORT));
	udp_group_close(g);
}

/* PITFALLS 20: IPv4 is free at most ports, IPv6 at none but a few. */
Test(udp, random_port_is_free_in_both_families)
{
	fixture_enter_netns();
	struct rlimit many = { 65536, 65536 };
	setrlimit(RLIMIT_NOFILE, &many);
	fixture_run("echo 40000 40063 > /proc/sys/net/ipv4/ip_local_port_range");
	for (unsigned port = 40000; port < 40064; port++) {
		if (port % 8 == 3)
			continue; /* 8 of 64 stay free */
		int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 1 }, sizeof(int));
		struct sockaddr_in6 a = { .sin6_family = AF_INET6,
					  .sin6_port = htons((uint16_t)port) };
		cr_assert(eq(int, bind(fd, (struct sockaddr *)&a, sizeof(a)), 0));
	}
	struct udp_params p = { .n_workers = 2 };
	struct udp_group *g = NULL;
	cr_assert(eq(int, udp_group_open(&g, &p), 0));
	cr_assert(eq(int, g->port % 8, 3));
	cr_assert(ge(int, g->control6, 0));
	udp_group_close(g);
}

/* Makes socket(AF_INET6) or its bind fail, as on a host without IPv6. */
static void deny_inet6(int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), /* system call number */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 16), /* first argument */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0x00050000U | (unsigned)error), /* SECCOMP_RET_ERRNO */
		BPF_STMT(BPF_RET | BPF_K, 0x7fff0000U),                   /* SECCOMP_RET_ALLOW */
	};
	struct sock_fprog program = { .len = 6, .filter = code };
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	cr_assert(eq(int, prctl(PR_SET_SECCOMP, 2, &program, 0, 0), 0));
}

ParameterizedTestParameters(udp, goes_on_without_ipv6)
{
	static int errors[] = { EAFNOSUPPORT, EADDRNOTAVAIL };
	return cr_make_param_array(int, errors, 2);
}

ParameterizedTest(int *error, udp, goes_on_without_ipv6)
{
	fixture_enter_netns();
	deny_inet6(*error);
	struct udp_params p = { .n_workers = 2 };
	struct udp_group *g = NULL;
	cr_assert(eq(int, udp_group_open(&g, &p), 0));
	cr_assert(eq(int, g->control6, -1));
	cr_assert(eq(int, g->worker[1].udp6, -1));
	cr_assert(ne(int, g->port, 0));
	cr_assert(g->gro);
	uint16_t port = g->port;
	udp_group_close(g);
	p.port = port; /* as over interface down and up: PITFALLS 19 */
	cr_assert(eq(int, udp_group_open(&g, &p), 0));
	cr_assert(eq(int, g->port, port));
	struct endpoint to = fixture_endpoint(AF_INET6, PORT);
	cr_assert(eq(int, udp_send_one(g, (struct bytes){ (const uint8_t *)"x", 1 }, 0, &to),
		     -EAFNOSUPPORT));
	udp_group_close(g);
}

static unsigned mark_of(int fd)
{
	unsigned mark = 0;
	socklen_t len = sizeof(mark);
	getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &len);
	return mark;
}

static int int_option(int fd, int level, int option)
{
	int v = -1;
	socklen_t len = sizeof(v);
	getsockopt(fd, level, option, &v, &len);
	return v;
}

Test(udp, marks_and_options_are_on_every_socket)
{
	fixture_enter_netns();
	struct udp_params p = { .port = PORT, .n_workers = 2, .fwmark = 0x1234 };
	struct udp_group *g = NULL;
	cr_assert(eq(int, udp_group_open(&g, &p), 0));
	int v4[] = { g->control4, g->worker[0].udp4, g->worker[1].udp4 };
	int v6[] = { g->control6, g->worker[0].udp6, g->worker[1].udp6 };
	for (int i = 0; i < 3; i++) {
		cr_assert(eq(uint, mark_of(v4[i]), 0x1234));
		cr_assert(eq(uint, mark_of(v6[i]), 0x1234));
		cr_assert(
			eq(int, int_option(v4[i], IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_DONT));
		cr_assert(eq(int, int_option(v6[i], IPPROTO_IPV6, IPV6_MTU_DISCOVER),
			     IPV6_PMTUDISC_DONT));
		cr_assert(eq(int, int_option(v6[i], IPPROTO_IPV6, IPV6_V6ONLY), 1));
		cr_assert(ge(int, int_option(v4[i], SOL_SOCKET, SO_RCVBUF), UDP_BUFFER_LEN));
		cr_assert(ge(int, int_option(v6[i], SOL_SOCKET, SO_SNDBUF), UDP_BUFFER_LEN));
	}
	cr_assert(eq(int, udp_group_set_mark(g, 0), 0));
	for (int i = 0; i < 3; i++) {
		cr_assert(eq(uint, mark_of(v4[i]), 0));
		cr_assert(eq(uint, mark_of(v6[i]), 0));
	}
	cr_assert(ge(uint, g->recv_buffer_len, UDP_BUFFER_LEN));
	udp_group_close(g);
}

/* P-367: what a closed port answers is no error of ours. */
Test(udp, skips_errors_of_earlier_sends)
{
	fixture_enter_netns();
	struct udp_group *g = group_open(1, 0, 0);
	setsockopt(g->control4, IPPROTO_IP, IP_RECVERR, &(int){ 1 }, sizeof(int)); /* be told */
	struct endpoint closed = fixture_endpoint(AF_INET, 9),
			self = fixture_endpoint(AF_INET, PORT);
	struct bytes x = { (const uint8_t *)"\1", 1 };
	cr_assert(eq(int, udp_send_one(g, x, 0, &closed), 0)); /* leaves ECONNREFUSED behind */
	cr_assert(eq(int, udp_send_one(g, x, 0, &self), 0));
	cr_assert(eq(int, udp_send_one(g, x, 0, &closed), 0));
	uint8_t b[8];
	struct udp_received got;
	cr_assert(eq(int, udp_recv_one(g->control4, (struct mut_bytes){ b, sizeof(b) }, &got), 1));
	cr_assert(eq(int, udp_recv_one(g->control4, (struct mut_bytes){ b, sizeof(b) }, &got),
		     -EAGAIN));
	udp_group_close(g);
}

/* P-345 and PITFALLS 84: the answer leaves from the address that was asked. */
Test(udp, answers_from_the_address_that_was_asked)
{
	fixture_enter_netns();
	fixture_run("ip addr add 127.0.0.77/8 dev lo; ip addr add 2001:db8::77/128 dev lo nodad");
	struct udp_group *g = group_open(1, 0, 0);
	for (int i = 0; i < 2; i++) {
		int family = i ? AF_INET6 : AF_INET;
		struct endpoint asked = fixture_endpoint(family, PORT);
		inet_pton(family, i ? "2001:db8::77" : "127.0.0.77",
			  i ? (void *)&asked.to.in6.sin6_addr : &asked.to.in4.sin_addr);
		int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		uint8_t b[8];
		struct udp_received got;
		int control = i ? g->control6 : g->control4;
		/* An IPv6 address works a moment after it was added: the kernel has a worker do it. */
		for (int tries = 0; tries < 500 && !is_readable_within(control, 10); tries++)
			cr_assert(
				eq(int,
				   sendto(fd, "\1", 1, 0, &asked.to.sa, endpoint_addr_len(&asked)),
				   1));
		cr_assert(eq(int, udp_recv_one(control, (struct mut_bytes){ b, sizeof(b) }, &got),
			     1));
		cr_assert(eq(int, udp_send_one(g, (struct bytes){ b, 1 }, 0x88, &got.from), 0));
		struct endpoint answer;
		memset(&answer, 0, sizeof(answer));
		socklen_t len = sizeof(answer.to);
		cr_assert(eq(int, recvfrom(fd, b, sizeof(b), 0, &answer.to.sa, &len), 1));
		cr_assert(eq(int, memcmp(&answer.to, &asked.to, len), 0));
		close(fd);
	}
	udp_group_close(g);
}

Test(udp, refuses_senseless_parameters)
{
	struct udp_group *g = NULL;
	struct udp_params p = { .n_workers = 0 };
	cr_assert(eq(int, udp_group_open(&g, &p), -EINVAL));
	p.n_workers = UDP_MAX_WORKERS + 1;
	cr_assert(eq(int, udp_group_open(&g, &p), -EINVAL));
	udp_group_close(NULL);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* An engine on a real TUN and real sockets, and recognisable payloads: what the tests in
 * test_engines.c stand on. Included once per executable. */
#pragma once

#include <linux/udp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/bytes.h"
#include "base/macro.h"
#include "io/io.h"
#if __has_include(<liburing.h>)
#include "io/io_uring.h"
#endif
#include "io/net_fixture.h"
#include "tun/tun.h"
#include "udp/udp.h"

enum { PORT = 51820, APP_PORT = 7, MAX_TEXT = 65536 };

static struct io *io;
static struct io_stats stats;
static struct tun tun;
static struct udp_group *sockets;
static struct io_fds fds;
static int app;  /* a socket at 10.9.0.1, the TUN's own address */
static int peer; /* a socket on loopback that talks to PORT */

static const struct sockaddr_in app_addr = { .sin_family = AF_INET,
					     .sin_port = 0x0700, /* 7, either byte order of ours */
					     .sin_addr.s_addr = 0x0100090a };

/* -- set-up -------------------------------------------------------------------------------------- */

typedef int engine_create(struct io **ret, const struct io_params *p, struct io_stats *stats);

static int create_all_by_ring(struct io **ret, const struct io_params *p, struct io_stats *s)
{
	struct io_params always = *p;
	always.ring_always = true;
	return io_uring_create(ret, &always, s);
}

/* Whatever this CPU prefers: io_uring in both of its ways. */
static int create_beside_ring(struct io **ret, const struct io_params *p, struct io_stats *s)
{
	int r = io_uring_create(ret, p, s);
#if __has_include(<liburing.h>)
	if (r == 0)
		container_of(*ret, struct io_uring_engine, io)->is_probed = true;
#endif
	return r;
}

static engine_create *const engines[] = { io_poll_create, create_all_by_ring, create_beside_ring };

static void open_engine(int engine, bool vnet, bool gso)
{
	fixture_enter_netns();
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		cr_skip_test("no /dev/net/tun");
	struct tun_params tp = { .name = "wg0", .n_queues = 1, .vnet_hdr = vnet ? 0 : -1 };
	cr_assert(eq(int, tun_open(&tun, &tp), 0));
	fixture_run("ip addr add 10.9.0.1/24 dev wg0; ip link set wg0 mtu 65535 txqueuelen 2000");
	/* Nothing but what the tests send. */
	fixture_run("echo 1 > /proc/sys/net/ipv6/conf/wg0/disable_ipv6");
	fixture_link_up("wg0");

	struct udp_params up = { .port = PORT, .n_workers = 1, .steering = -1 };
	cr_assert(eq(int, udp_group_open(&sockets, &up), 0));
	fds = (struct io_fds){ .tun = tun.fd[0],
			       .udp4 = sockets->worker[0].udp4,
			       .udp6 = sockets->worker[0].udp6,
			       .wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) };
	struct io_params p = {
		.fds = fds, .vnet_hdr = tun.vnet_hdr, .udp_gso = gso, .udp_gro = true
	};
	int r = engines[engine](&io, &p, &stats);
	if (r == -ENOSYS || r == -EPERM)
		cr_skip_test("no io_uring here: %s", strerror(-r));
	cr_assert(eq(int, r, 0), "%s", strerror(-r));

	app = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert(eq(int, bind(app, (const struct sockaddr *)&app_addr, sizeof(app_addr)), 0));
	peer = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct timeval tv = { .tv_sec = 1 };
	setsockopt(app, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(peer, SOL_SOCKET, SO_RCVBUFFORCE, &(int){ 8 << 20 }, sizeof(int));
	setsockopt(app, SOL_SOCKET, SO_RCVBUFFORCE, &(int){ 8 << 20 }, sizeof(int));
	struct endpoint any = fixture_endpoint(AF_INET, 0);
	cr_assert(eq(int, bind(peer, &any.to.sa, sizeof(any.to.in4)), 0));
}

static void close_engine(void)
{
	io_destroy(io);
	udp_group_close(sockets);
	tun_close(&tun);
}

#define ENGINE_TEST(name)                                    \
	ParameterizedTestParameters(engine, name)            \
	{                                                    \
		static int numbers[] = { 0, 1, 2 };          \
		return cr_make_param_array(int, numbers, 3); \
	}                                                    \
	static void test_##name(int engine_number);          \
	ParameterizedTest(int *number, engine, name)         \
	{                                                    \
		test_##name(*number);                        \
	}                                                    \
	static void test_##name(int engine_number)

static inline uint64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* A recognisable payload. */
static void fill(uint8_t *b, size_t len, uint32_t number)
{
	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)(number * 7 + i * 13 + (i >> 8));
	if (len >= 4)
		store_be32(b, number);
}

static inline bool is_filled(const uint8_t *b, size_t len, uint32_t number)
{
	static uint8_t want[MAX_TEXT];
	fill(want, len, number);
	return memcmp(b, want, len) == 0;
}

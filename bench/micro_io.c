/* SPDX-License-Identifier: MPL-2.0 */
/* CPU time of the I/O engines per packet, kernel included: N packets wait in the TUN or the socket, the
 * engine takes them in bursts and passes them on, until it finds nothing more. Then the time of one echo
 * by a sleeping engine in a thread on the same CPU. Fastest quarter of many repetitions, engines in
 * turn. No second namespace, no iperf3: less real than io_engines, but it repeats to a few percent on
 * a busy machine. Needs root. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/macro.h"
#include "io/io.h"
#include "tun/tun.h"
#include "udp/udp.h"

enum {
	N_ENGINES = 2,
	REPEATS = 200,
	N_ECHOES = 4000,
	BURST = 64,
	MAX_RUN = 65507,
	OUT_LEN = 8 << 20,
};

struct bench {
	struct io *io;
	struct io_stats stats;
	struct tun tun;
	struct udp_group *udp;
	struct sockaddr_in inside;  /* an address behind the TUN */
	struct sockaddr_in outside; /* the engine's socket */
	uint8_t header[28];         /* of a packet from inside, for the TUN */
};

static struct bench benches[N_ENGINES];
static const char *const names[N_ENGINES] = { "poll", "uring" };
static int app;
static struct endpoint sink;
static uint8_t *out, text[65536];

static void die(const char *what, int error)
{
	fprintf(stderr, "micro_io: %s: %s\n", what, strerror(error));
	exit(1);
}

static double cpu_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static struct sockaddr_in address(uint32_t addr, uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons(port),
				     .sin_addr.s_addr = htonl(addr) };
}

static void create_engine(struct bench *b, int number)
{
	struct io_params p = { .fds = { .tun = b->tun.fd[0],
					.udp4 = b->udp->worker[0].udp4,
					.udp6 = b->udp->worker[0].udp6,
					.wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) },
			       .vnet_hdr = b->tun.vnet_hdr,
			       .udp_gso = true,
			       .udp_gro = b->udp->gro };
	int r = number ? io_uring_create(&b->io, &p, &b->stats)
		       : io_poll_create(&b->io, &p, &b->stats);
	if (r < 0)
		die(names[number], -r);
}

static void open_one(struct bench *b, int number)
{
	char line[256];
	uint32_t net = 0x0a090000U + ((uint32_t)number << 8);
	struct tun_params tp = { .name = "wg%d", .n_queues = 1 };
	struct udp_params up = { .port = (uint16_t)(5000 + number),
				 .n_workers = 1,
				 .steering = -1 };
	int r = tun_open(&b->tun, &tp);
	if (r == 0)
		r = udp_group_open(&b->udp, &up);
	if (r < 0)
		die("tun, udp", -r);
	snprintf(line, sizeof(line),
		 "ip addr add 10.9.%d.1/24 dev wg%d; ip link set wg%d mtu 65535 txqueuelen 4000 up;"
		 "echo 1 > /proc/sys/net/ipv6/conf/wg%d/disable_ipv6",
		 number, number, number, number);
	if (system(line) != 0)
		die("ip", EIO);
	create_engine(b, number);
	b->inside = address(net + 2, 9);
	b->outside = address(INADDR_LOOPBACK, up.port);
	uint8_t *h = b->header;
	h[0] = 0x45;
	h[8] = 64;
	h[9] = IPPROTO_UDP;
	store_be32(h + 12, net + 2);
	store_be32(h + 16, net + 1);
	store_be16(h + 22, 9);
}

/* The length and, with it, the checksum of the IPv4 header. */
static void finish_header(uint8_t *h, uint32_t len)
{
	uint32_t sum = 0;
	store_be16(h + 2, (uint16_t)len);
	store_be16(h + 24, (uint16_t)(len - 20));
	store_be16(h + 10, 0);
	for (int i = 0; i < 20; i += 2)
		sum += load_be16(h + i);
	sum = (sum & 0xffff) + (sum >> 16);
	store_be16(h + 10, (uint16_t) ~(sum + (sum >> 16)));
}

static void queue(const struct sockaddr_in *to, uint32_t n, uint32_t len)
{
	for (uint32_t i = 0; i < n; i++)
		if (sendto(app, text, len, 0, (const struct sockaddr *)to, sizeof(*to)) < 0)
			die("sendto", errno);
}

/* TUN to UDP: small packets in runs, large ones as they are. */
static double from_tun(struct bench *b, uint32_t n, uint32_t len)
{
	static struct io_packet p[BURST];
	static struct io_send s[BURST];
	const struct io_ops *ops = b->io->ops;
	uint32_t got, total = 0;
	queue(&b->inside, n, len - 28);
	double start = cpu_ns();
	do {
		uint32_t n_runs = 0, used = 0;
		(void)ops->wait(b->io, 0);
		got = ops->read_burst(b->io, p, BURST);
		for (uint32_t i = 0; i < got; i++) {
			struct io_send *last = n_runs ? &s[n_runs - 1] : NULL;
			memcpy(out + used, p[i].data, p[i].len);
			if (last && last->len + p[i].len <= MAX_RUN)
				last->len += p[i].len;
			else
				s[n_runs++] = (struct io_send){ .data = out + used,
								.len = p[i].len,
								.segment_len = (uint16_t)p[i].len,
								.to = &sink };
			used += p[i].len;
		}
		if (n_runs) {
			ops->send_burst(b->io, s, n_runs);
			ops->submit(b->io);
		}
		total += got;
	} while (got > 0);
	double took = cpu_ns() - start;
	return total == n ? took / n : 1e9;
}

/* UDP to TUN, each datagram a packet. */
static double to_tun(struct bench *b, uint32_t n, uint32_t len)
{
	static struct io_datagram d[BURST];
	static struct io_write w[BURST];
	static struct iovec iov[BURST][2];
	static struct virtio_net_hdr vnet;
	const struct io_ops *ops = b->io->ops;
	uint32_t got, total = 0;
	memcpy(text, b->header, sizeof(b->header));
	finish_header(text, len);
	queue(&b->outside, n, len);
	double start = cpu_ns();
	do {
		(void)ops->wait(b->io, 0);
		got = ops->recv_burst(b->io, d, BURST);
		for (uint32_t i = 0; i < got; i++) {
			iov[i][0] = (struct iovec){ &vnet, sizeof(vnet) };
			iov[i][1] = (struct iovec){ d[i].data, d[i].len };
			w[i] = (struct io_write){ .iov = iov[i], .n_iov = 2 };
		}
		if (got) {
			ops->write_burst(b->io, w, got);
			ops->submit(b->io);
		}
		total += got;
	} while (got > 0);
	double took = cpu_ns() - start;
	return total == n ? took / n : 1e9;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void measure(const char *what, double (*fn)(struct bench *, uint32_t, uint32_t), uint32_t n,
		    uint32_t len)
{
	static double took[N_ENGINES][REPEATS];
	for (int r = 0; r < REPEATS; r++)
		for (int e = 0; e < N_ENGINES; e++)
			took[e][r] = fn(&benches[e], n, len);
	for (int e = 0; e < N_ENGINES; e++)
		qsort(took[e], REPEATS, sizeof(double), compare);
	double poll = took[0][REPEATS / 4], uring = took[1][REPEATS / 4];
	printf("%-12s %6u %6u %9.0f %9.0f %8.2f\n", what, len, n, poll, uring, poll / uring);
}

/* -- echo ---------------------------------------------------------------------------------------- */

static void echo_udp(struct io *io)
{
	struct io_datagram d;
	if (io->ops->recv_burst(io, &d, 1) == 0)
		return;
	struct io_send s = {
		.data = d.data, .len = d.len, .segment_len = (uint16_t)d.len, .to = &d.from
	};
	io->ops->send_burst(io, &s, 1);
	io->ops->submit(io);
}

static void swap(uint8_t *a, uint8_t *b, size_t len)
{
	uint8_t t[8];
	memcpy(t, a, len);
	memcpy(a, b, len);
	memcpy(b, t, len);
}

static void echo_tun(struct io *io)
{
	struct io_packet p;
	struct virtio_net_hdr vnet;
	if (io->ops->read_burst(io, &p, 1) == 0)
		return;
	vnet = p.vnet;                     /* its checksum may still be missing */
	swap(p.data + 12, p.data + 16, 4); /* addresses */
	swap(p.data + 20, p.data + 22, 2); /* ports */
	struct iovec iov[2] = { { &vnet, sizeof(vnet) }, { p.data, p.len } };
	struct io_write w = { .iov = iov, .n_iov = 2 };
	io->ops->write_burst(io, &w, 1);
	io->ops->submit(io);
}

static void pin(void)
{
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	(void)sched_setaffinity(0, sizeof(one), &one);
}

static void *echo_thread(void *arg)
{
	struct io *io = arg;
	pin();
	while (io->ops->wait(io, UINT64_MAX) == 0) {
		echo_udp(io);
		echo_tun(io);
	}
	return NULL;
}

static double echo_once(const struct sockaddr_in *to)
{
	struct timespec a, b;
	clock_gettime(CLOCK_MONOTONIC, &a);
	if (sendto(app, text, 64, 0, (const struct sockaddr *)to, sizeof(*to)) < 0 ||
	    recv(app, text, 64, 0) < 0)
		die("echo", errno);
	clock_gettime(CLOCK_MONOTONIC, &b);
	usleep(20); /* the engine goes to sleep */
	return (double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec);
}

static void measure_echo(const char *what, bool by_tun)
{
	static double took[N_ENGINES][N_ECHOES];
	for (int i = 0; i < N_ECHOES; i++)
		for (int e = 0; e < N_ENGINES; e++)
			took[e][i] = echo_once(by_tun ? &benches[e].inside : &benches[e].outside);
	for (int e = 0; e < N_ENGINES; e++)
		qsort(took[e], N_ECHOES, sizeof(double), compare);
	double poll = took[0][N_ECHOES / 4], uring = took[1][N_ECHOES / 4];
	printf("%-12s %6d %6s %9.0f %9.0f %8.2f\n", what, 92, "", poll, uring, poll / uring);
}

/* The engines are used by threads of their own now, so they are opened again. */
static void measure_echoes(void)
{
	for (int e = 0; e < N_ENGINES; e++) {
		struct bench *b = &benches[e];
		pthread_t thread;
		io_destroy(b->io);
		create_engine(b, e);
		if (pthread_create(&thread, NULL, echo_thread, b->io) != 0)
			die("thread", EAGAIN);
	}
	setsockopt(app, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ .tv_sec = 2 },
		   sizeof(struct timeval));
	pin();
	measure_echo("echo by TUN", true);
	measure_echo("echo by UDP", false);
}

int main(void)
{
	static const uint32_t counts[] = { 1, 2, 4, 8, 16, 64, 256, 1000 };
	if (unshare(CLONE_NEWNET) < 0 || system("ip link set lo up") != 0)
		die("unshare", errno);
	for (int i = 0; i < N_ENGINES; i++)
		open_one(&benches[i], i);
	out = malloc(OUT_LEN);
	app = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	setsockopt(app, SOL_SOCKET, SO_SNDBUFFORCE, &(int){ 256 << 20 }, sizeof(int));
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* full at once, then drops */
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){ 1 }, sizeof(int));
	sink.to.in4 = address(INADDR_LOOPBACK, 6000);
	if (bind(fd, &sink.to.sa, sizeof(sink.to.in4)) < 0)
		die("bind", errno);
	printf("%-12s %6s %6s %9s %9s %8s\n", "", "bytes", "queued", "poll, ns", "uring, ns",
	       "poll/uring");
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		measure("TUN to UDP", from_tun, counts[i], 92);
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		measure("UDP to TUN", to_tun, counts[i], 92);
	for (size_t i = 0; i < 6; i++)
		measure("TUN to UDP", from_tun, counts[i], 60000);
	for (size_t i = 0; i < 6; i++)
		measure("UDP to TUN", to_tun, counts[i], 60000);
	measure_echoes();
	fflush(stdout);
	_exit(0); /* the threads sleep */
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Compares the I/O engines: a plaintext forwarder (TUN to UDP and back, with splitting and coalescing,
 * without cipher and protocol) in two network namespaces joined by a veth pair. One round runs each
 * load over each engine, so that a slow minute of the machine hits all alike; medians of the rounds
 * are printed. Needs root and, for TCP, iperf3.
 *
 *   io_engines [-r ROUNDS] [-t SECONDS] [-e ENGINE] [LOAD...]     loads: tcp small full gso rtt */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/udp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/macro.h"
#include "io/io.h"
#include "packet/gro.h"
#include "packet/gso.h"
#include "packet/ip.h"
#include "tun/link.h"
#include "tun/tun.h"
#include "udp/udp.h"

enum {
	PORT = 51820,
	MTU = 1420,
	TXQUEUELEN = 4000,
	OUT_LEN = 256 << 10, /* bytes of datagrams between two submits */
	MAX_RUNS = 64,
	MAX_RUN_LEN = 65507,
	READ_BURST = 64,
	RECV_BURST = 32,
	MAX_ROUNDS = 64,
	MAX_TEXT = 2048,
};

/* -- forwarder ----------------------------------------------------------------------------------- */

struct forwarder {
	struct io *io;
	struct io_stats stats;
	struct tun tun;
	struct udp_group *udp;
	struct endpoint peer;
	struct gro gro;
	struct io_write write[GRO_MAX_PACKETS];
	struct io_send send[MAX_RUNS];
	uint32_t n_runs, out_used, n_segments; /* @n_segments: of the last run */
	uint8_t *out;
};

static void tx_flush(struct forwarder *f)
{
	f->io->ops->send_burst(f->io, f->send, f->n_runs);
	f->io->ops->submit(f->io);
	f->n_runs = 0;
	f->out_used = 0;
}

/* Appends what was just written at f->out + f->out_used, to the last run if that may grow. */
static void tx_append(struct forwarder *f, uint32_t len)
{
	struct io_send *last = f->n_runs ? &f->send[f->n_runs - 1] : NULL;
	uint8_t *at = f->out + f->out_used;
	f->out_used += len;
	if (last && last->len == f->n_segments * last->segment_len && len <= last->segment_len &&
	    f->n_segments < GSO_MAX_SEGMENTS && last->len + len <= MAX_RUN_LEN) {
		last->len += len;
		f->n_segments++;
		return;
	}
	f->send[f->n_runs++] = (struct io_send){
		.data = at, .len = len, .segment_len = (uint16_t)len, .to = &f->peer
	};
	f->n_segments = 1;
}

static void tx_packet(struct forwarder *f, struct io_packet *p)
{
	struct gso_split s;
	struct gso_segment segment;
	if (gso_split_init(&s, &p->vnet, p->data, p->len) < 0)
		return;
	for (uint32_t i = 0; i < s.n_segments; i++) {
		if (f->n_runs == MAX_RUNS || f->out_used + GSO_MAX_HEADER + GSO_MAX_LEN > OUT_LEN)
			tx_flush(f);
		uint8_t *at = f->out + f->out_used;
		gso_split_segment(&s, i, &segment, at);
		memcpy(at + s.hdr_len, segment.payload, segment.payload_len); /* the "cipher" */
		tx_append(f, s.hdr_len + segment.payload_len);
	}
}

static uint32_t tx_step(struct forwarder *f)
{
	struct io_packet p[READ_BURST];
	uint32_t n = f->io->ops->read_burst(f->io, p, READ_BURST);
	for (uint32_t i = 0; i < n; i++)
		tx_packet(f, &p[i]);
	if (f->n_runs)
		tx_flush(f);
	return n;
}

static void rx_flush(struct forwarder *f)
{
	struct gro_write w[GRO_MAX_PACKETS];
	uint32_t n = gro_finish(&f->gro, w, GRO_MAX_PACKETS);
	for (uint32_t i = 0; i < n; i++)
		f->write[i] = (struct io_write){ .iov = w[i].iov, .n_iov = w[i].n_iov };
	f->io->ops->write_burst(f->io, f->write, n);
	f->io->ops->submit(f->io);
	gro_begin(&f->gro);
}

static uint32_t rx_step(struct forwarder *f)
{
	struct io_datagram d[RECV_BURST];
	uint32_t n = f->io->ops->recv_burst(f->io, d, RECV_BURST);
	gro_begin(&f->gro);
	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t at = 0; at < d[i].len; at += d[i].segment_len) {
			uint32_t len = MIN(d[i].segment_len, d[i].len - at);
			if (!gro_add(&f->gro, d[i].data + at, len)) {
				rx_flush(f);
				(void)gro_add(&f->gro, d[i].data + at, len);
			}
		}
	}
	if (n)
		rx_flush(f);
	return n;
}

static bool stopping; /* set by SIGTERM */

static void forward(struct forwarder *f)
{
	while (!__atomic_load_n(&stopping, __ATOMIC_RELAXED)) {
		uint32_t n = rx_step(f);
		n += tx_step(f);
		if (f->io->ops->wait(f->io, n ? 0 : NSEC_PER_SEC / 10) < 0)
			break;
	}
}

/* -- two sides ----------------------------------------------------------------------------------- */

static void die(const char *what, int error)
{
	fprintf(stderr, "io_engines: %s: %s\n", what, strerror(error));
	exit(1);
}

PRINTF_LIKE(1, 2) static void run(const char *format, ...)
{
	char line[MAX_TEXT];
	va_list args;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (system(line) != 0) {
		fprintf(stderr, "io_engines: failed: %s\n", line);
		exit(1);
	}
}

/* What a side shares with the parent. */
struct shared {
	uint64_t cpu_ns[2], loops[2];
	uint64_t received; /* packets, by the sink */
	bool go, done;
};

static struct shared *shared; /* mapped once in main() */

static void on_term(int number)
{
	__atomic_store_n(&stopping, true, __ATOMIC_RELAXED);
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;
	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void side_setup(struct forwarder *f, int side, bool uring)
{
	struct tun_params tp = { .name = "wg0", .n_queues = 1 };
	struct link_params lp = { .mtu = MTU,
				  .txqueuelen = TXQUEUELEN,
				  .gso_max_size = link_gso_max_size(MTU) };
	int r = tun_open(&f->tun, &tp);
	if (r == 0)
		r = link_setup("wg0", &lp, NULL);
	if (r < 0)
		die("tun", -r);
	run("ip addr add 10.9.0.%d/24 dev wg0; ip link set wg0 up; ip link set lo up", side + 1);
	struct udp_params up = { .port = PORT, .n_workers = 1, .steering = -1 };
	r = udp_group_open(&f->udp, &up);
	if (r < 0)
		die("udp", -r);
	f->peer.to.in4.sin_family = AF_INET;
	f->peer.to.in4.sin_port = htons(PORT);
	f->peer.to.in4.sin_addr.s_addr = htonl(0xc0000201U + (uint32_t)!side);
	/* As after a received message: with the sticky source. */
	f->peer.from.in4.s_addr = htonl(0xc0000201U + (uint32_t)side);

	struct io_params p = { .fds = { .tun = f->tun.fd[0],
					.udp4 = f->udp->worker[0].udp4,
					.udp6 = f->udp->worker[0].udp6,
					.wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) },
			       .vnet_hdr = f->tun.vnet_hdr,
			       .udp_gso = true,
			       .udp_gro = f->udp->gro };
	r = uring ? io_uring_create(&f->io, &p, &f->stats) : io_poll_create(&f->io, &p, &f->stats);
	if (r < 0)
		die(uring ? "io_uring" : "poll", -r);
	gro_init(&f->gro, true, f->tun.offloads & 0x60);
	f->out = aligned_alloc(CACHELINE, OUT_LEN + GSO_MAX_HEADER + GSO_MAX_LEN + 1);
}

/* A child in a namespace of its own; tells by @ready when it is there, then when it forwards. */
static pid_t side_start(int side, bool uring, int *ret_pipe)
{
	int ready[2], go[2];
	if (pipe(ready) < 0 || pipe(go) < 0)
		die("pipe", errno);
	pid_t pid = fork();
	if (pid != 0) {
		char c;
		close(ready[1]);
		close(go[0]);
		if (pid < 0 || read(ready[0], &c, 1) != 1)
			die("fork", errno);
		ret_pipe[0] = ready[0];
		ret_pipe[1] = go[1];
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, side ? "forward1" : "forward0");
	struct sigaction sa = { .sa_handler = on_term };
	sigaction(SIGTERM, &sa, NULL);
	char c = 0;
	if (unshare(CLONE_NEWNET) < 0 || write(ready[1], &c, 1) != 1 || read(go[0], &c, 1) != 1)
		die("unshare", errno);
	static struct forwarder f;
	side_setup(&f, side, uring);
	if (write(ready[1], &c, 1) != 1)
		exit(1);
	forward(&f);
	shared->cpu_ns[side] = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	shared->loops[side] = f.stats.loops;
	exit(0);
}

struct pair {
	pid_t pid[2];
	int pipe[2][2];
};

static void pair_start(struct pair *p, bool uring)
{
	for (int i = 0; i < 2; i++)
		p->pid[i] = side_start(i, uring, p->pipe[i]);
	run("nsenter -n -t %d ip link add v0 type veth peer name v0 netns %d", p->pid[0],
	    p->pid[1]);
	for (int i = 0; i < 2; i++) {
		char c = 0;
		run("nsenter -n -t %d sh -c 'ip addr add 192.0.2.%d/24 dev v0; ip link set v0 up;"
		    "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6'",
		    p->pid[i], i + 1);
		if (write(p->pipe[i][1], &c, 1) != 1 || read(p->pipe[i][0], &c, 1) != 1)
			die("side", EIO);
	}
	run("nsenter -n -t %d ping -q -c 2 -i 0.1 -w 3 10.9.0.2 > /dev/null", p->pid[0]);
}

static void pair_stop(struct pair *p)
{
	for (int i = 0; i < 2; i++) {
		kill(p->pid[i], SIGTERM);
		waitpid(p->pid[i], NULL, 0);
		close(p->pipe[i][0]);
		close(p->pipe[i][1]);
	}
}

/* -- loads --------------------------------------------------------------------------------------- */

struct result {
	double rate; /* Gbit/s, packets per second, or microseconds */
	double cost; /* CPU seconds of both forwarders per GB or per million packets */
};

static void enter(pid_t pid)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		die(path, errno);
	close(fd);
}

static double output_number(const char *line)
{
	FILE *p = popen(line, "r");
	double v = 0;
	if (!p || fscanf(p, "%lf", &v) != 1)
		v = 0;
	if (p)
		pclose(p);
	return v;
}

static double load_tcp(struct pair *p, int seconds)
{
	char line[MAX_TEXT];
	run("nsenter -n -t %d iperf3 -s -1 -B 10.9.0.2 > /dev/null & sleep 0.3", p->pid[1]);
	snprintf(line, sizeof(line),
		 "nsenter -n -t %d iperf3 -c 10.9.0.2 -t %d -f k | "
		 "sed -n 's,.* \\([0-9.]*\\) Kbits/sec .*receiver,\\1,p'",
		 p->pid[0], seconds);
	return output_number(line) / 1e6;
}

/* The median: the mean belongs to whatever else the machine does. */
static double load_rtt(struct pair *p, int seconds)
{
	char line[MAX_TEXT];
	snprintf(line, sizeof(line),
		 "nsenter -n -t %d ping -i 0.002 -c %d 10.9.0.2 | sed -n 's,.*time=\\([0-9.]*\\) "
		 "ms,\\1,p' | "
		 "sort -n | sed -n %dp",
		 p->pid[0], 400 * seconds, 200 * seconds);
	return output_number(line) * 1e3;
}

/* Counts packets of @len bytes until it is told to end. */
static pid_t sink_start(const struct pair *p, int len)
{
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "sink");
	enter(p->pid[1]);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(7) };
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &(int){ 64 << 20 }, sizeof(int));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ .tv_usec = 200000 },
		   sizeof(struct timeval));
	setsockopt(fd, IPPROTO_UDP, UDP_GRO, &(int){ 1 }, sizeof(int));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		die("bind", errno);
	static uint8_t buf[64][65536];
	struct iovec iov[64];
	struct mmsghdr m[64] = { 0 };
	for (int i = 0; i < 64; i++) {
		iov[i] = (struct iovec){ buf[i], sizeof(buf[i]) };
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
	__atomic_store_n(&shared->go, true, __ATOMIC_RELEASE);
	for (;;) {
		int n = recvmmsg(fd, m, 64, MSG_WAITFORONE, NULL);
		uint64_t received = 0;
		for (int i = 0; i < n; i++)
			received += m[i].msg_len / (unsigned)len;
		__atomic_fetch_add(&shared->received, received, __ATOMIC_RELAXED);
		if (n <= 0 && __atomic_load_n(&shared->done, __ATOMIC_RELAXED))
			exit(0);
	}
}

/* Sends as fast as it can, @len bytes each; with @segments > 1 by UDP_SEGMENT. */
static pid_t source_start(const struct pair *p, int len, int segments, int seconds)
{
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "source");
	enter(p->pid[0]);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(7) };
	a.sin_addr.s_addr = inet_addr("10.9.0.2");
	if (segments > 1)
		setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &len, sizeof(len));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		die("connect", errno);
	static uint8_t b[65536];
	uint64_t end = now_ns(CLOCK_MONOTONIC) + (uint64_t)seconds * NSEC_PER_SEC;
	while (now_ns(CLOCK_MONOTONIC) < end)
		for (int i = 0; i < 64; i++)
			(void)!send(fd, b, (size_t)len * (size_t)segments, 0);
	exit(0);
}

static double load_udp(struct pair *p, int len, int segments, int seconds)
{
	memset(shared, 0, sizeof(*shared));
	pid_t sink = sink_start(p, len);
	while (!__atomic_load_n(&shared->go, __ATOMIC_ACQUIRE))
		usleep(1000);
	pid_t source = source_start(p, len, segments, seconds);
	waitpid(source, NULL, 0);
	usleep(300000); /* what is still on its way */
	__atomic_store_n(&shared->done, true, __ATOMIC_RELAXED);
	waitpid(sink, NULL, 0);
	return (double)shared->received / seconds;
}

struct load {
	const char *name, *rate_unit, *cost_unit;
	int len, segments;
};

static const struct load loads[] = {
	{ "tcp", "Gbit/s", "CPU s/GB", 0, 0 },
	{ "small", "packets/s", "CPU s/M", 64, 1 },
	{ "full", "packets/s", "CPU s/M", 1372, 1 },
	{ "gso", "packets/s", "CPU s/M", 64, 64 },
	{ "rtt", "us", "", -1, 0 },
};

static struct result measure(const struct load *l, bool uring, int seconds)
{
	struct pair p;
	struct result r;
	pair_start(&p, uring);
	if (l->len > 0)
		r.rate = load_udp(&p, l->len, l->segments, seconds);
	else
		r.rate = l->len == 0 ? load_tcp(&p, seconds) : load_rtt(&p, seconds);
	double received = (double)shared->received;
	pair_stop(&p);
	double cpu = (double)(shared->cpu_ns[0] + shared->cpu_ns[1]) / 1e9;
	if (l->len == 0)
		r.cost = cpu / (r.rate * seconds / 8);
	else
		r.cost = l->len > 0 ? cpu / (received / 1e6) : 0;
	return r;
}

/* -- main ---------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(const double *v, int n)
{
	double s[MAX_ROUNDS];
	memcpy(s, v, (size_t)n * sizeof(*v));
	qsort(s, (size_t)n, sizeof(*s), compare);
	return n % 2 ? s[n / 2] : (s[n / 2 - 1] + s[n / 2]) / 2;
}

static bool is_wanted(const struct load *l, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (strcmp(*names, l->name) == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	static const char *const engines[] = { "poll", "uring" };
	int rounds = 5, seconds = 3, only = -1, c;
	while ((c = getopt(argc, argv, "r:t:e:")) != -1) {
		if (c == 'r')
			rounds = MIN(MAX(atoi(optarg), 1), (int)MAX_ROUNDS);
		else if (c == 't')
			seconds = MAX(atoi(optarg), 1);
		else if (c == 'e')
			only = strcmp(optarg, "uring") == 0;
		else
			return 2;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		die("mmap", errno);
	static double rate[ARRAY_SIZE(loads)][2][MAX_ROUNDS],
		cost[ARRAY_SIZE(loads)][2][MAX_ROUNDS];
	for (int r = 0; r < rounds; r++) {
		for (size_t l = 0; l < ARRAY_SIZE(loads); l++) {
			for (int k = 0; k < 2; k++) {
				int e = (k + r) % 2; /* each goes first as often as the other */
				if (!is_wanted(&loads[l], argv + optind) ||
				    (only >= 0 && only != e))
					continue;
				struct result got = measure(&loads[l], e, seconds);
				rate[l][e][r] = got.rate;
				cost[l][e][r] = got.cost;
				fprintf(stderr, "%d %-6s %-6s %12.2f %-9s %8.3f %s\n", r,
					loads[l].name, engines[e], got.rate, loads[l].rate_unit,
					got.cost, loads[l].cost_unit);
			}
		}
	}
	printf("%-6s %12s %12s %7s   %8s %8s %7s\n", "load", "poll", "uring", "ratio", "poll",
	       "uring", "ratio");
	for (size_t l = 0; l < ARRAY_SIZE(loads); l++) {
		if (!is_wanted(&loads[l], argv + optind))
			continue;
		double r0 = median(rate[l][0], rounds), r1 = median(rate[l][1], rounds);
		double c0 = median(cost[l][0], rounds), c1 = median(cost[l][1], rounds);
		printf("%-6s %12.2f %12.2f %7.3f   %8.3f %8.3f %7.3f   %s, %s\n", loads[l].name, r0,
		       r1, r0 > 0 ? r1 / r0 : 0, c0, c1, c0 > 0 ? c1 / c0 : 0, loads[l].rate_unit,
		       loads[l].cost_unit);
	}
	return 0;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* The role "send": datagrams at a constant rate, many to a system call. Memory is laid out once;
 * per datagram only headers are written. */
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "gen.h"
#include "pacer.h"
#include "packet.h"
#include "path.h"
#include "report.h"
#include "socket.h"
#include "wire.h"

/* A flow sends what one system call holds, then the next flow's turn comes. */
struct flow {
	int fd; /* UDP; also what the end markers take, and errors come to */
	struct packet_head head;
	uint64_t n_measured;
	uint64_t n_warm_up;
};

struct phase {
	uint64_t sent, bytes;
	double seconds;
};

struct sender {
	const struct gen_options *o;
	struct flow *flows;
	int packet_fd;           /* what sends for all flows; -1 = their UDP sockets do */
	const char *why_socket;  /* instead of the packet socket; NULL = asked for */
	struct sockaddr_ll link; /* where the packet socket sends to */
	size_t head_len;         /* of the packet socket's headers, in front of each datagram */
	uint8_t *memory;         /* a slot of slot_len for each message */
	size_t slot_len;
	struct mmsghdr msgs[GEN_MAX_BATCH];
	struct iovec iov[GEN_MAX_BATCH];
	uint8_t control[CMSG_SPACE(sizeof(uint16_t))]; /* the same for all messages */
	uint32_t next_flow;
	uint32_t next_size;
	uint32_t run;
	uint64_t system_calls, errors;
	int last_error;
};

static void finish(struct sender *s)
{
	for (uint32_t i = 0; s->flows && i < s->o->flows; i++)
		close_fdp(&s->flows[i].fd);
	close_fdp(&s->packet_fd);
	free(s->flows);
	free(s->memory);
}

static void set_segment_size(struct sender *s)
{
	struct msghdr h = { .msg_control = s->control, .msg_controllen = sizeof(s->control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);

	c->cmsg_level = SOL_UDP;
	c->cmsg_type = UDP_SEGMENT;
	c->cmsg_len = CMSG_LEN(sizeof(uint16_t));
	memcpy(CMSG_DATA(c), &s->o->size[0], sizeof(uint16_t));
}

static size_t size_max(const struct gen_options *o)
{
	size_t max = 0;

	for (uint32_t i = 0; i < o->n_sizes; i++)
		max = MAX(max, o->size[i]);
	return max;
}

/* NULL, or why it can not be. */
static const char *open_packet_socket(struct sender *s)
{
	const struct gen_options *o = s->o;
	bool is_v6 = o->address.sin6_family == AF_INET6;
	struct path path;

	if (o->segments > 1)
		return "UDP_SEGMENT is for UDP sockets";
	const char *why = path_find(&path, &o->address);
	if (why)
		return why;
	if (size_max(o) + packet_overhead(is_v6) > path.mtu)
		return "a datagram is larger than the MTU";
	int fd = packet_open(&s->link, &path, is_v6);
	if (fd < 0)
		return strerror(-fd);
	s->packet_fd = fd;
	for (uint32_t i = 0; i < o->flows; i++) {
		int r = packet_init_head(&s->flows[i].head, &path, s->flows[i].fd);
		if (r < 0)
			return strerror(-r);
	}
	s->head_len = s->flows[0].head.len;
	return NULL;
}

/* False, with a line on stderr, if it must be the packet socket but can not. */
static bool choose_socket(struct sender *s)
{
	if (s->o->via == GEN_VIA_SOCKET)
		return true;
	s->why_socket = open_packet_socket(s);
	if (!s->why_socket)
		return true;
	close_fdp(&s->packet_fd);
	s->packet_fd = -1;
	if (s->o->via == GEN_VIA_AUTO)
		return true;
	(void)fprintf(stderr, "ringtun-bench-gen: sending by a packet socket: %s\n", s->why_socket);
	return false;
}

/* -errno on failure. */
static int open_flows(struct sender *s)
{
	s->flows = calloc(s->o->flows, sizeof(*s->flows));
	if (!s->flows)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->o->flows; i++)
		s->flows[i].fd = -1;
	for (uint32_t i = 0; i < s->o->flows; i++) {
		int fd = socket_connect(s->o);
		if (fd < 0)
			return fd;
		s->flows[i].fd = fd;
	}
	return 0;
}

/* -errno on failure. */
static int lay_out_messages(struct sender *s)
{
	const struct gen_options *o = s->o;

	s->slot_len = s->head_len + size_max(o) * o->segments;
	s->memory = calloc(GEN_MAX_BATCH, s->slot_len);
	if (!s->memory)
		return -ENOMEM;
	if (o->segments > 1)
		set_segment_size(s);
	for (unsigned i = 0; i < GEN_MAX_BATCH; i++) {
		struct msghdr *h = &s->msgs[i].msg_hdr;

		s->iov[i] = (struct iovec){ .iov_base = s->memory + i * s->slot_len };
		*h = (struct msghdr){ .msg_iov = &s->iov[i], .msg_iovlen = 1 };
		if (o->segments > 1) {
			h->msg_control = s->control;
			h->msg_controllen = sizeof(s->control);
		}
		if (s->packet_fd >= 0) {
			h->msg_name = &s->link;
			h->msg_namelen = sizeof(s->link);
		}
	}
	return 0;
}

/* Writes the headers of @n datagrams of @f from w->seq on. Returns the number of messages. */
static unsigned fill(struct sender *s, struct flow *f, struct wire *w, uint32_t n)
{
	const struct gen_options *o = s->o;
	uint32_t n_msgs = 0;

	while (n) {
		uint32_t size = o->size[s->next_size];
		uint32_t n_segments = MIN(n, o->segments);
		uint8_t *slot = s->iov[n_msgs].iov_base;

		if (s->packet_fd >= 0)
			packet_write_head(&f->head, slot, size);
		for (uint32_t i = 0; i < n_segments; i++) {
			wire_store(slot + s->head_len + i * size, w);
			w->seq++;
		}
		s->iov[n_msgs++].iov_len = s->head_len + (size_t)n_segments * size;
		s->next_size = (s->next_size + 1) % o->n_sizes;
		n -= n_segments;
	}
	return n_msgs;
}

/* Why the packet socket took a part only: there is no other way to learn it. */
static int partial_error(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, 0) > 0 && (p.revents & POLLOUT) ? ENOBUFS : EAGAIN;
}

/* Returns how many messages the kernel took; *@ret_error is set if it refused the next one. A queue
 * below the packet socket that is full makes an error of it, unlike with a UDP socket: for both, the
 * datagram was sent and is lost on the way. */
static unsigned transmit(struct sender *s, const struct flow *f, unsigned n_msgs, int *ret_error)
{
	bool is_packet = s->packet_fd >= 0;
	int fd = is_packet ? s->packet_fd : f->fd;
	unsigned done = 0;

	while (done < n_msgs) {
		int n = sendmmsg(fd, s->msgs + done, n_msgs - done, 0);
		int error = n < 0 ? errno : 0;
		s->system_calls++;
		done += n > 0 ? (unsigned)n : 0;
		if (is_packet && n > 0 && done < n_msgs)
			error = partial_error(fd);
		if (is_packet && error == ENOBUFS) {
			done++;
			continue;
		}
		*ret_error = error;
		break;
	}
	return done;
}

/* Sends @n datagrams in one call. What the kernel refuses is given up: its numbers are used for the
 * next datagrams, so that a gap in them is a loss on the way. */
static void send_batch(struct sender *s, enum wire_kind kind, uint32_t n, struct phase *phase,
		       uint64_t now)
{
	struct flow *f = &s->flows[s->next_flow];
	uint64_t *next = kind == WIRE_MEASURED ? &f->n_measured : &f->n_warm_up;
	struct wire w = { .kind = kind,
			  .n_flows = (uint16_t)s->o->flows,
			  .run = s->run,
			  .flow = s->next_flow,
			  .seq = *next,
			  .sent_ns = now };
	int error = 0;

	unsigned n_sent = transmit(s, f, fill(s, f, &w, n), &error);
	if (error)
		s->last_error = error;
	uint64_t taken = 0;
	for (unsigned i = 0; i < n_sent; i++) {
		taken += MIN(s->o->segments, n - taken);
		phase->bytes += s->iov[i].iov_len - s->head_len;
	}
	*next += taken;
	phase->sent += taken;
	s->errors += error == EINTR ? 0 : n - taken;
	s->next_flow = (s->next_flow + 1) % s->o->flows;
}

static struct phase run_phase(struct sender *s, enum wire_kind kind, struct pacer *p,
			      uint64_t duration_ns)
{
	struct phase phase = { 0 };
	uint64_t now, n;

	pacer_init(p, gen_now_ns(), duration_ns);
	while ((n = pacer_wait(p, &now)) > 0)
		send_batch(s, kind, (uint32_t)n, &phase, now);
	/* What is due within the last interval belongs to the phase as a whole. */
	now = gen_now_ns();
	if (!gen_is_stopped() && p->rate > 0)
		now = MAX(now, p->end_ns);
	phase.seconds = (double)(now - p->start_ns) / 1e9;
	return phase;
}

/* Waits, and returns whether the receiver went away meanwhile. What the first flow's socket learns
 * counts for all: they have one receiver. */
static bool receiver_leaves(const struct sender *s, uint64_t until_ns)
{
	struct pollfd p = { .fd = s->flows[0].fd };
	uint64_t now;

	while ((now = gen_now_ns()) < until_ns && !gen_is_stopped()) {
		if (poll(&p, 1, (int)((until_ns - now) / 1000000) + 1) <= 0)
			continue;
		int error = 0;
		socklen_t len = sizeof(error);
		if (getsockopt(p.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ||
		    error == ECONNREFUSED)
			return true;
	}
	return false;
}

/* Again and again, since a queue that is full drops them too, until the receiver has gone. */
static void send_end_markers(struct sender *s)
{
	uint8_t datagram[WIRE_LEN];

	for (unsigned round = 0; round < GEN_N_MARKERS && !gen_is_stopped(); round++) {
		for (uint32_t i = 0; i < s->o->flows; i++) {
			struct wire w = { .kind = WIRE_END,
					  .n_flows = (uint16_t)s->o->flows,
					  .run = s->run,
					  .flow = i,
					  .seq = s->flows[i].n_measured,
					  .sent_ns = gen_now_ns() };
			wire_store(datagram, &w);
			if (send(s->flows[i].fd, datagram, sizeof(datagram), 0) < 0 &&
			    errno == ECONNREFUSED && round)
				return;
		}
		if (round < GEN_N_MARKERS - 1 &&
		    receiver_leaves(s, gen_now_ns() + GEN_MARKER_GAP_NS(round)) && round)
			return;
	}
}

/* Datagrams per system call: what falls due within 100 us. */
static uint32_t choose_batch(const struct gen_options *o)
{
	if (o->batch)
		return o->batch * o->segments;
	double n = o->rate > 0 ? o->rate * 100e-6 / o->segments : GEN_MAX_BATCH;
	/* Super-packets are a batch by themselves. */
	double max = o->segments > 1 ? 1 + GEN_MAX_BATCH / (double)o->segments : GEN_MAX_BATCH;
	return (uint32_t)MAX(1.0, MIN(n, max)) * o->segments;
}

static int report(const struct sender *s, const struct phase *warm_up, const struct phase *measured,
		  const struct pacer *p)
{
	const struct gen_options *o = s->o;

	report_begin("send");
	report_double("asked_pps", o->rate);
	report_u64("sent", measured->sent);
	report_u64("bytes", measured->bytes);
	report_double("seconds", measured->seconds);
	report_double("offered_pps", report_rate(measured->sent, measured->seconds));
	report_u64("warm_up_sent", warm_up->sent);
	report_u64("send_errors", s->errors);
	report_string("last_error", s->last_error ? strerrorname_np(s->last_error) : NULL);
	report_double("late_max_us", (double)p->late_max_ns / 1e3);
	report_u64("skipped", p->skipped);
	report_u64("system_calls", s->system_calls);
	report_u64("batch", p->batch);
	report_u64("segments", o->segments);
	report_u64("flows", o->flows);
	report_string("via", s->packet_fd >= 0 ? "packet" : "socket");
	report_string("why_socket", s->why_socket);
	(void)fprintf(stderr,
		      "sent %llu datagrams in %.3f s: %.0f/s (asked: %.0f), %llu refused, "
		      "%llu skipped, at most %.0f us late\n",
		      (unsigned long long)measured->sent, measured->seconds,
		      report_rate(measured->sent, measured->seconds), o->rate,
		      (unsigned long long)s->errors, (unsigned long long)p->skipped,
		      (double)p->late_max_ns / 1e3);
	return report_end();
}

/* False, with a line on stderr, on failure; finish() in any case. */
static bool init(struct sender *s, const struct gen_options *o)
{
	*s = (struct sender){ .o = o, .packet_fd = -1 };
	int r = getrandom(&s->run, sizeof(s->run), 0) == sizeof(s->run) ? 0 : -errno;
	if (r == 0)
		r = open_flows(s);
	if (r == 0) {
		if (!choose_socket(s))
			return false;
		r = lay_out_messages(s);
	}
	errno = -r;
	if (r < 0)
		(void)gen_fail("opening the socket");
	return r == 0;
}

int gen_send(const struct gen_options *o)
{
	struct sender s;
	struct pacer p = { .rate = o->rate, .spin_ns = o->spin_ns, .batch = choose_batch(o) };
	struct phase warm_up = { 0 };

	if (!init(&s, o)) {
		finish(&s);
		return EXIT_FAILURE;
	}
	if (o->warm_up_ns)
		warm_up = run_phase(&s, WIRE_WARM_UP, &p, o->warm_up_ns);
	s.errors = 0;
	s.system_calls = 0;
	struct phase measured = run_phase(&s, WIRE_MEASURED, &p, o->duration_ns);
	send_end_markers(&s);
	int r = report(&s, &warm_up, &measured, &p);
	finish(&s);
	return r;
}

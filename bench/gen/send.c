/* SPDX-License-Identifier: MPL-2.0 */
/* The role "send": datagrams at a constant rate, many to a system call. Memory is laid out once;
 * per datagram only the header is written. */
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
#include "report.h"
#include "socket.h"
#include "wire.h"

/* A flow sends what one system call holds, then the next flow's turn comes. */
struct flow {
	int fd;
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
	uint8_t *memory; /* a slot of slot_len for each message */
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

/* -errno on failure; finish() in any case. */
static int init(struct sender *s, const struct gen_options *o)
{
	*s = (struct sender){ .o = o, .slot_len = size_max(o) * o->segments };
	if (getrandom(&s->run, sizeof(s->run), 0) != sizeof(s->run))
		return -errno;
	s->flows = calloc(o->flows, sizeof(*s->flows));
	s->memory = calloc(GEN_MAX_BATCH, s->slot_len);
	if (!s->flows || !s->memory)
		return -ENOMEM;
	for (uint32_t i = 0; i < o->flows; i++)
		s->flows[i].fd = -1;
	for (uint32_t i = 0; i < o->flows; i++) {
		int fd = socket_connect(o);
		if (fd < 0)
			return fd;
		s->flows[i].fd = fd;
	}
	if (o->segments > 1)
		set_segment_size(s);
	for (unsigned i = 0; i < GEN_MAX_BATCH; i++) {
		s->iov[i] = (struct iovec){ .iov_base = s->memory + i * s->slot_len };
		s->msgs[i].msg_hdr = (struct msghdr){ .msg_iov = &s->iov[i], .msg_iovlen = 1 };
		if (o->segments > 1) {
			s->msgs[i].msg_hdr.msg_control = s->control;
			s->msgs[i].msg_hdr.msg_controllen = sizeof(s->control);
		}
	}
	return 0;
}

/* Writes the headers of @n datagrams from w->seq on. Returns the number of messages. */
static unsigned fill(struct sender *s, struct wire *w, uint32_t n)
{
	const struct gen_options *o = s->o;
	uint32_t n_msgs = 0;

	while (n) {
		uint32_t size = o->size[s->next_size];
		uint32_t n_segments = MIN(n, o->segments);
		uint8_t *slot = s->iov[n_msgs].iov_base;

		for (uint32_t i = 0; i < n_segments; i++) {
			wire_store(slot + i * size, w);
			w->seq++;
		}
		s->iov[n_msgs++].iov_len = (size_t)n_segments * size;
		s->next_size = (s->next_size + 1) % o->n_sizes;
		n -= n_segments;
	}
	return n_msgs;
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

	unsigned n_msgs = fill(s, &w, n);
	int n_sent = sendmmsg(f->fd, s->msgs, n_msgs, 0);
	s->system_calls++;
	if (n_sent < 0)
		s->last_error = errno;
	uint64_t taken = 0;
	for (int i = 0; i < n_sent; i++) {
		taken += MIN(s->o->segments, n - taken);
		phase->bytes += s->iov[i].iov_len;
	}
	*next += taken;
	phase->sent += taken;
	s->errors += n_sent < 0 && errno == EINTR ? 0 : n - taken;
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
	(void)fprintf(stderr,
		      "sent %llu datagrams in %.3f s: %.0f/s (asked: %.0f), %llu refused, "
		      "%llu skipped, at most %.0f us late\n",
		      (unsigned long long)measured->sent, measured->seconds,
		      report_rate(measured->sent, measured->seconds), o->rate,
		      (unsigned long long)s->errors, (unsigned long long)p->skipped,
		      (double)p->late_max_ns / 1e3);
	return report_end();
}

int gen_send(const struct gen_options *o)
{
	struct sender s;
	struct pacer p = { .rate = o->rate, .spin_ns = o->spin_ns, .batch = choose_batch(o) };
	struct phase warm_up = { 0 };

	int r = init(&s, o);
	if (r < 0) {
		errno = -r;
		r = gen_fail("opening the socket");
		finish(&s);
		return r;
	}
	if (o->warm_up_ns)
		warm_up = run_phase(&s, WIRE_WARM_UP, &p, o->warm_up_ns);
	s.errors = 0;
	s.system_calls = 0;
	struct phase measured = run_phase(&s, WIRE_MEASURED, &p, o->duration_ns);
	send_end_markers(&s);
	r = report(&s, &warm_up, &measured, &p);
	finish(&s);
	return r;
}

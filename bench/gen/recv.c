/* SPDX-License-Identifier: MPL-2.0 */
/* The role "recv": counts what arrives. With timestamps of the kernel it may be late itself: it
 * takes datagrams in bursts and naps in between, which costs whoever delivers them no wake-up. */
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "gen.h"
#include "histogram.h"
#include "report.h"
#include "sequence.h"
#include "socket.h"
#include "wire.h"

enum {
	BATCH = 64,
	GRO_LEN = 65536,
	CONTROL_LEN = 64, /* a timestamp and a segment size */
	POLL_MSEC = 50,   /* between looks at the clock while nothing comes */
};
#define NAP_NS         (200 * NSEC_PER_USEC)
#define OFFSET_LIFE_NS (100 * NSEC_PER_MSEC)

struct receiver {
	const struct gen_options *o;
	int fd;
	bool has_kernel_timestamps;

	bool has_run;
	uint32_t run;
	uint32_t n_flows, n_ended;
	struct sequence *flows; /* n_flows, once there is a run */

	uint64_t bytes, foreign, warm_up, system_calls;
	uint64_t first_ns, last_ns; /* measured datagrams, CLOCK_MONOTONIC */
	uint64_t ended_ns;          /* when the last end marker was missing no more; 0 = not yet */
	uint64_t active_ns;         /* when something came last */
	struct histogram delay;

	uint64_t offset_ns;    /* CLOCK_REALTIME - CLOCK_MONOTONIC */
	uint64_t offset_at_ns; /* when that was looked up */

	uint8_t *memory;
	size_t slot_len;
	struct mmsghdr msgs[BATCH];
	struct iovec iov[BATCH];
	struct sockaddr_in6 from[BATCH]; /* IPv4 is in there as sockaddr_in */
	_Alignas(struct cmsghdr) uint8_t control[BATCH][CONTROL_LEN];
};

static void enable_options(struct receiver *r)
{
	int on = 1;

	r->has_kernel_timestamps = r->o->kernel_timestamps &&
				   setsockopt(r->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) ==
					   0;
	if (r->o->gro && setsockopt(r->fd, SOL_UDP, UDP_GRO, &on, sizeof(on)) < 0)
		(void)fprintf(stderr, "ringtun-bench-gen: this kernel has no UDP_GRO\n");
}

/* -errno on failure; finish() in any case. */
static int init(struct receiver *r, const struct gen_options *o)
{
	memset(r, 0, sizeof(*r));
	r->o = o;
	histogram_init(&r->delay);
	r->fd = socket_bind(o);
	if (r->fd < 0)
		return r->fd;
	enable_options(r);
	/* Headers are all that is read; MSG_TRUNC tells the true length. */
	r->slot_len = o->gro ? GRO_LEN : WIRE_LEN;
	r->memory = malloc(BATCH * r->slot_len);
	if (!r->memory)
		return -ENOMEM;
	for (unsigned i = 0; i < BATCH; i++) {
		r->iov[i] = (struct iovec){ r->memory + i * r->slot_len, r->slot_len };
		r->msgs[i].msg_hdr = (struct msghdr){ .msg_iov = &r->iov[i], .msg_iovlen = 1 };
	}
	return 0;
}

static void finish(struct receiver *r)
{
	close_fdp(&r->fd);
	free(r->memory);
	free(r->flows);
}

/* --- Timestamps ------------------------------------------------------------------------------- */

/* The kernel's stamps are in CLOCK_REALTIME, which may be adjusted in between. */
static void update_offset(struct receiver *r, uint64_t now)
{
	uint64_t best = UINT64_MAX;

	if (r->offset_at_ns && now - r->offset_at_ns < OFFSET_LIFE_NS)
		return;
	for (unsigned i = 0; i < 3; i++) { /* the one least disturbed */
		uint64_t before = gen_now_ns();
		uint64_t real = gen_clock_ns(CLOCK_REALTIME);
		uint64_t took = gen_now_ns() - before;
		if (took < best) {
			best = took;
			r->offset_ns = real - (before + took / 2);
		}
	}
	r->offset_at_ns = now;
}

struct meta {
	uint64_t arrived_ns;  /* CLOCK_MONOTONIC */
	uint32_t segment_len; /* 0 = not coalesced */
};

static struct meta read_control(const struct receiver *r, struct msghdr *h, uint64_t now)
{
	struct meta m = { .arrived_ns = now };
	struct timespec t;
	int segment_len;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
			memcpy(&t, CMSG_DATA(c), sizeof(t));
			m.arrived_ns = (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec -
				       r->offset_ns;
		} else if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
			memcpy(&segment_len, CMSG_DATA(c), sizeof(segment_len));
			m.segment_len = (uint32_t)segment_len;
		}
	}
	return m;
}

/* --- Counting --------------------------------------------------------------------------------- */

/* A run begins with the first datagram of ours. If it has one flow only, our socket is connected to
 * where that comes from: the kernel then finds route and socket by one look-up, which saves a
 * twentieth of the sender's time, whose CPU does this over a veth pair. */
static bool begin_run(struct receiver *r, const struct wire *w, const struct sockaddr_in6 *from)
{
	r->flows = calloc(w->n_flows, sizeof(*r->flows));
	if (!r->flows)
		return false;
	r->has_run = true;
	r->run = w->run;
	r->n_flows = w->n_flows;
	if (w->n_flows == 1)
		(void)connect(r->fd, (const struct sockaddr *)from, sizeof(*from));
	return true;
}

static bool is_of_run(struct receiver *r, const struct wire *w, unsigned i)
{
	if (!r->has_run && !begin_run(r, w, &r->from[i]))
		return false;
	return w->run == r->run && w->n_flows == r->n_flows;
}

static void count_end(struct receiver *r, const struct wire *w, uint64_t now)
{
	struct sequence *s = &r->flows[w->flow];

	if (s->has_end)
		return;
	s->has_end = true;
	s->sent = w->seq;
	if (++r->n_ended == r->n_flows)
		r->ended_ns = now;
}

static void count_measured(struct receiver *r, const struct wire *w, size_t len, uint64_t arrived)
{
	if (!sequence_add(&r->flows[w->flow], w->seq))
		return;
	r->bytes += len;
	if (!r->first_ns)
		r->first_ns = arrived;
	r->last_ns = MAX(r->last_ns, arrived);
	histogram_record(&r->delay, arrived > w->sent_ns ? arrived - w->sent_ns : 0);
}

static void count(struct receiver *r, unsigned i, size_t at, size_t len, const struct meta *m)
{
	const uint8_t *p = (const uint8_t *)r->iov[i].iov_base + at;
	struct wire w;

	if (!wire_load(&w, p, len) || !is_of_run(r, &w, i))
		r->foreign++;
	else if (w.kind == WIRE_MEASURED)
		count_measured(r, &w, len, m->arrived_ns);
	else if (w.kind == WIRE_WARM_UP)
		r->warm_up++;
	else
		count_end(r, &w, gen_now_ns());
}

static void count_message(struct receiver *r, unsigned i, uint64_t now)
{
	size_t len = r->msgs[i].msg_len;
	struct meta m = read_control(r, &r->msgs[i].msg_hdr, now);

	if (!m.segment_len || m.segment_len >= len) {
		count(r, i, 0, len, &m);
		return;
	}
	for (size_t at = 0; at < len; at += m.segment_len)
		count(r, i, at, MIN(m.segment_len, len - at), &m);
}

/* --- Receiving -------------------------------------------------------------------------------- */

/* Returns the number of messages, or -errno. */
static int receive(struct receiver *r)
{
	for (unsigned i = 0; i < BATCH; i++) {
		/* Where a datagram comes from matters until the run has begun. */
		r->msgs[i].msg_hdr.msg_name = r->has_run ? NULL : &r->from[i];
		r->msgs[i].msg_hdr.msg_namelen = r->has_run ? 0 : sizeof(r->from[i]);
		r->msgs[i].msg_hdr.msg_control = r->control[i];
		r->msgs[i].msg_hdr.msg_controllen = CONTROL_LEN;
	}
	int n = recvmmsg(r->fd, r->msgs, BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
	r->system_calls++;
	if (n < 0)
		return -errno;
	uint64_t now = gen_now_ns();
	r->active_ns = now;
	update_offset(r, now);
	for (unsigned i = 0; i < (unsigned)n; i++)
		count_message(r, i, now);
	return n;
}

static bool is_done(const struct receiver *r, uint64_t now, uint64_t end_ns)
{
	if (gen_is_stopped() || now >= end_ns)
		return true;
	if (r->ended_ns)
		return now >= r->ended_ns + r->o->linger_ns;
	return r->has_run && r->o->idle_ns && now >= r->active_ns + r->o->idle_ns;
}

/* 0, or -errno. */
static int run(struct receiver *r)
{
	uint64_t end_ns = gen_now_ns() + r->o->limit_ns;
	uint64_t now;

	while (now = gen_now_ns(), !is_done(r, now, end_ns)) {
		int n = receive(r);
		if (n == -EAGAIN) {
			struct pollfd p = { .fd = r->fd, .events = POLLIN };
			(void)poll(&p, 1, POLL_MSEC);
		} else if (n < 0 && n != -EINTR && n != -ECONNREFUSED) {
			return n;
		} else if (n < BATCH && r->has_kernel_timestamps) {
			gen_sleep_until(gen_now_ns() + NAP_NS);
		}
	}
	return 0;
}

/* --- Result ----------------------------------------------------------------------------------- */

struct totals {
	uint64_t sent, received, lost, duplicates, reordered, extent_max;
	double flow_loss_max;
	uint32_t n_seen;
};

static struct totals add_flows(const struct receiver *r)
{
	struct totals t = { 0 };

	for (uint32_t i = 0; i < r->n_flows; i++) {
		const struct sequence *s = &r->flows[i];
		uint64_t lost = sequence_lost(s);
		t.sent += s->sent;
		t.received += s->received;
		t.lost += lost;
		t.duplicates += s->duplicates;
		t.reordered += s->reordered;
		t.extent_max = MAX(t.extent_max, s->extent_max);
		t.n_seen += s->received || s->has_end;
		if (lost)
			t.flow_loss_max =
				MAX(t.flow_loss_max, (double)lost / (double)(lost + s->received));
	}
	return t;
}

static void report_flows(const struct receiver *r)
{
	(void)printf(", \"flow\": [");
	for (uint32_t i = 0; i < r->n_flows; i++) {
		const struct sequence *s = &r->flows[i];
		(void)printf("%s{\"flow\": %u", i ? ", " : "", i);
		if (s->has_end)
			report_u64("sent", s->sent);
		else
			report_null("sent");
		report_u64("received", s->received);
		report_u64("lost", sequence_lost(s));
		report_u64("reordered", s->reordered);
		report_u64("duplicates", s->duplicates);
		(void)printf("}");
	}
	(void)printf("]");
}

static void report_totals(const struct receiver *r, const struct totals *t, double seconds)
{
	bool is_complete = r->n_flows && r->n_ended == r->n_flows;

	report_u64("received", t->received);
	report_u64("bytes", r->bytes);
	report_double("seconds", seconds);
	report_double("delivered_pps", report_rate(t->received, seconds));
	if (is_complete)
		report_u64("sent", t->sent);
	else
		report_null("sent");
	report_u64("lost", t->lost);
	report_double("loss", t->lost ? (double)t->lost / (double)(t->lost + t->received) : 0);
	report_bool("is_complete", is_complete);
	report_u64("duplicates", t->duplicates);
	report_u64("reordered", t->reordered);
	report_u64("reorder_extent_max", t->extent_max);
}

static int report(const struct receiver *r)
{
	struct totals t = add_flows(r);
	double seconds = (double)(r->last_ns - r->first_ns) / 1e9;

	report_begin("recv");
	report_totals(r, &t, seconds);
	report_u64("foreign", r->foreign);
	report_u64("warm_up_received", r->warm_up);
	report_u64("socket_drops", socket_drops(r->fd));
	report_u64("rcvbuf_bytes", socket_rcvbuf(r->fd));
	report_u64("flows", t.n_seen);
	report_double("flow_loss_max", t.flow_loss_max);
	if (r->o->per_flow)
		report_flows(r);
	report_string("timestamps", r->has_kernel_timestamps ? "kernel" : "user");
	report_u64("system_calls", r->system_calls);
	report_bool("gro", r->o->gro);
	report_histogram("delay_ns", &r->delay);
	(void)fprintf(stderr,
		      "received %llu datagrams in %.3f s: %.0f/s, %llu lost, %llu reordered, "
		      "%llu duplicates, median delay %.0f us\n",
		      (unsigned long long)t.received, seconds, report_rate(t.received, seconds),
		      (unsigned long long)t.lost, (unsigned long long)t.reordered,
		      (unsigned long long)t.duplicates,
		      r->delay.count ? (double)histogram_percentile(&r->delay, 50) / 1e3 : 0);
	return report_end();
}

int gen_recv(const struct gen_options *o)
{
	struct receiver *r = malloc(sizeof(*r));
	if (!r)
		return gen_fail("memory");

	int error = init(r, o);
	const char *step = "binding the socket";
	if (error == 0) {
		gen_ready();
		step = "receiving";
		error = run(r);
	}
	int status;
	if (error < 0) {
		errno = -error;
		status = gen_fail(step);
	} else {
		status = report(r);
	}
	finish(r);
	free(r);
	return status;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* The role "rtt": round trips of datagrams that "echo" sends back. With a rate the next datagram
 * does not wait for the last answer: an answer that is late delays no later sample. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "gen.h"
#include "histogram.h"
#include "report.h"
#include "sequence.h"
#include "socket.h"
#include "wire.h"

struct prober {
	const struct gen_options *o;
	int fd;
	uint32_t run;
	uint64_t sent, refused;
	uint64_t answered; /* sequence number + 1 of the last answer: what ping-pong waits for */
	struct sequence answers;
	struct histogram rtt;
	uint8_t datagram[WIRE_MAX_DATAGRAM];
};

static int init(struct prober *p, const struct gen_options *o)
{
	memset(p, 0, sizeof(*p));
	p->o = o;
	histogram_init(&p->rtt);
	p->fd = socket_connect(o);
	if (p->fd < 0)
		return p->fd;
	return getrandom(&p->run, sizeof(p->run), 0) == sizeof(p->run) ? 0 : -errno;
}

static void probe(struct prober *p, enum wire_kind kind, uint64_t seq)
{
	struct wire w = { .kind = kind, .n_flows = 1, .run = p->run, .seq = seq };

	w.sent_ns = gen_now_ns();
	wire_store(p->datagram, &w);
	if (send(p->fd, p->datagram, p->o->size[0], 0) < 0)
		p->refused++;
}

static void take_answer(struct prober *p, enum wire_kind kind, uint64_t now)
{
	uint8_t head[WIRE_LEN];
	struct wire w;

	ssize_t n = recv(p->fd, head, sizeof(head), MSG_DONTWAIT);
	if (n < 0 || !wire_load(&w, head, (size_t)n) || w.run != p->run || w.kind != kind)
		return;
	p->answered = MAX(p->answered, w.seq + 1);
	uint64_t rtt = now - w.sent_ns;
	if (kind != WIRE_MEASURED || rtt > p->o->timeout_ns)
		return;
	if (sequence_add(&p->answers, w.seq))
		histogram_record(&p->rtt, rtt);
}

/* Takes answers until @until_ns, or until the @n_wanted first are answered. */
static void collect(struct prober *p, enum wire_kind kind, uint64_t until_ns, uint64_t n_wanted)
{
	struct pollfd fd = { .fd = p->fd, .events = POLLIN };
	uint64_t now;

	while ((now = gen_now_ns()) < until_ns && p->answered < n_wanted && !gen_is_stopped()) {
		uint64_t gap = until_ns - now;
		struct timespec t = { .tv_sec = (time_t)(gap / NSEC_PER_SEC),
				      .tv_nsec = (long)(gap % NSEC_PER_SEC) };
		if (ppoll(&fd, 1, &t, NULL) > 0)
			take_answer(p, kind, gen_now_ns());
	}
}

/* All answers that still may come in time. Losses in the middle are no reason to wait. */
static void collect_rest(struct prober *p, enum wire_kind kind)
{
	uint64_t end = gen_now_ns() + p->o->timeout_ns;

	while (gen_now_ns() < end && !gen_is_stopped() && p->answers.received < p->sent) {
		uint64_t slice = MIN(end, gen_now_ns() + 10 * NSEC_PER_MSEC);
		collect(p, kind, slice, UINT64_MAX);
	}
}

/* Returns seconds. */
static double run_phase(struct prober *p, enum wire_kind kind, uint64_t duration_ns)
{
	uint64_t start = gen_now_ns(), end = start + duration_ns;
	uint64_t n = 0, next;

	p->answered = 0;
	do {
		probe(p, kind, n++);
		if (p->o->rate > 0) {
			next = start + (uint64_t)((double)n / p->o->rate * 1e9);
			collect(p, kind, MIN(next, end), UINT64_MAX);
		} else {
			collect(p, kind, gen_now_ns() + p->o->timeout_ns, n);
			next = gen_now_ns();
		}
	} while (next < end && !gen_is_stopped());
	p->sent = n;
	return (double)(gen_now_ns() - start) / 1e9;
}

static int report(const struct prober *p, double seconds)
{
	uint64_t received = p->answers.received;

	report_begin("rtt");
	report_double("asked_pps", p->o->rate);
	report_u64("sent", p->sent);
	report_u64("received", received);
	report_u64("lost", p->sent - received);
	report_u64("duplicates", p->answers.duplicates);
	report_u64("send_errors", p->refused);
	report_double("seconds", seconds);
	report_histogram("rtt_ns", &p->rtt);
	(void)fprintf(stderr, "%llu of %llu answered, round trip median %.1f us, 99 %% %.1f us\n",
		      (unsigned long long)received, (unsigned long long)p->sent,
		      p->rtt.count ? (double)histogram_percentile(&p->rtt, 50) / 1e3 : 0,
		      p->rtt.count ? (double)histogram_percentile(&p->rtt, 99) / 1e3 : 0);
	return report_end();
}

static void send_end_markers(struct prober *p)
{
	for (unsigned i = 0; i < GEN_N_MARKERS && !gen_is_stopped(); i++) {
		struct wire w = { .kind = WIRE_END, .n_flows = 1, .run = p->run, .seq = p->sent };
		wire_store(p->datagram, &w);
		if (send(p->fd, p->datagram, WIRE_LEN, 0) < 0 && errno == ECONNREFUSED && i)
			return; /* it has gone */
		gen_sleep_until(gen_now_ns() + GEN_MARKER_GAP_NS(i));
	}
}

int gen_rtt(const struct gen_options *o)
{
	struct prober *p = malloc(sizeof(*p));
	if (!p)
		return gen_fail("memory");

	int status;
	int r = init(p, o);
	if (r < 0) {
		errno = -r;
		status = gen_fail("opening the socket");
	} else {
		if (o->warm_up_ns)
			(void)run_phase(p, WIRE_WARM_UP, o->warm_up_ns);
		p->refused = 0;
		double seconds = run_phase(p, WIRE_MEASURED, o->duration_ns);
		collect_rest(p, WIRE_MEASURED);
		send_end_markers(p);
		status = report(p, seconds);
	}
	close_fdp(&p->fd);
	free(p);
	return status;
}

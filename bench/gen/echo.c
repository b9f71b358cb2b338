/* SPDX-License-Identifier: MPL-2.0 */
/* The role "echo": sends every datagram of ours back to where it came from, at once. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "gen.h"
#include "report.h"
#include "socket.h"
#include "wire.h"

enum {
	BATCH = 16,
	SLOT_LEN = 65536,
	POLL_MSEC = 50,
};

struct echo {
	int fd;
	uint64_t echoed, foreign, refused;
	bool is_ended;
	uint8_t *memory;
	struct mmsghdr msgs[BATCH];
	struct iovec iov[BATCH];
	struct sockaddr_in6 from[BATCH];
};

/* Sends back message @i as it came. */
static void answer(struct echo *e, unsigned i)
{
	struct wire w;

	if (!wire_load(&w, e->iov[i].iov_base, e->msgs[i].msg_len)) {
		e->foreign++;
	} else if (w.kind == WIRE_END) {
		e->is_ended = true;
	} else {
		e->iov[i].iov_len = e->msgs[i].msg_len;
		if (sendmsg(e->fd, &e->msgs[i].msg_hdr, 0) < 0)
			e->refused++;
		else
			e->echoed++;
	}
}

static int receive(struct echo *e)
{
	for (unsigned i = 0; i < BATCH; i++) {
		e->iov[i] = (struct iovec){ e->memory + (size_t)i * SLOT_LEN, SLOT_LEN };
		e->msgs[i].msg_hdr = (struct msghdr){ .msg_name = &e->from[i],
						      .msg_namelen = sizeof(e->from[i]),
						      .msg_iov = &e->iov[i],
						      .msg_iovlen = 1 };
	}
	int n = recvmmsg(e->fd, e->msgs, BATCH, MSG_DONTWAIT, NULL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR || errno == ECONNREFUSED ? 0 : -errno;
	for (unsigned i = 0; i < (unsigned)n; i++)
		answer(e, i);
	return n;
}

static int run(struct echo *e, uint64_t limit_ns)
{
	uint64_t end = gen_now_ns() + limit_ns;
	struct pollfd p = { .fd = e->fd, .events = POLLIN };

	while (!e->is_ended && !gen_is_stopped() && gen_now_ns() < end) {
		int r = receive(e);
		if (r < 0)
			return r;
		if (r == 0)
			(void)poll(&p, 1, POLL_MSEC);
	}
	return 0;
}

static int report(const struct echo *e)
{
	report_begin("echo");
	report_u64("echoed", e->echoed);
	report_u64("foreign", e->foreign);
	report_u64("send_errors", e->refused);
	(void)fprintf(stderr, "%llu datagrams echoed\n", (unsigned long long)e->echoed);
	return report_end();
}

int gen_echo(const struct gen_options *o)
{
	struct echo e = { .memory = malloc((size_t)BATCH * SLOT_LEN) };
	if (!e.memory)
		return gen_fail("memory");

	const char *step = "binding the socket";
	int error = e.fd = socket_bind(o);
	if (error >= 0) {
		gen_ready();
		step = "echoing";
		error = run(&e, o->limit_ns);
	}
	int status;
	if (error < 0) {
		errno = -error;
		status = gen_fail(step);
	} else {
		status = report(&e);
	}
	close_fdp(&e.fd);
	free(e.memory);
	return status;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* sendmmsg in order. An entry that fails never takes its neighbours along (PITFALLS 23, 24), and a
 * refused UDP_SEGMENT loses no datagram (PITFALLS 43, 44). */
#include "io/io_send.h"

#include <errno.h>
#include <poll.h>

#include "base/macro.h"
#include "io/io_stats.h"

enum {
	BATCH = 64,         /* messages of one sendmmsg */
	MAX_SEGMENTS = 128, /* of one run; the kernel's limit for UDP_SEGMENT */
	ROOM_WAIT_MS = 1,   /* for a full socket buffer, once per loop */
	MAX_RETRIES = 8,    /* of one message: interruptions and errors of earlier sends */
};

void io_msg_fill(struct msghdr *hdr, struct io_msg *msg, const struct io_send *s, struct iovec iov,
		 uint16_t segment_len)
{
	msg->iov = iov;
	size_t control_len = udp_cmsg_build(&msg->control, s->to, s->tos, segment_len);
	*hdr = (struct msghdr){
		.msg_name = (void *)(uintptr_t)&s->to->to,
		.msg_namelen = endpoint_addr_len(s->to),
		.msg_iov = &msg->iov,
		.msg_iovlen = 1,
		.msg_control = control_len ? &msg->control : NULL,
		.msg_controllen = control_len,
	};
}

static struct iovec all_of(const struct io_send *s)
{
	return (struct iovec){ (void *)(uintptr_t)s->data, s->len };
}

/* Once per loop, a little time for a full buffer to drain; more would delay everybody else. */
static bool wait_for_room(struct io_sender *sender, int fd)
{
	if (sender->has_waited)
		return false;
	sender->has_waited = true;
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	return poll(&p, 1, ROOM_WAIT_MS) == 1;
}

static bool is_worth_repeating(struct io_sender *sender, int fd, int error)
{
	switch (error) {
	case EINTR:
	case ECONNREFUSED: /* of an earlier datagram, reported only now (P-367) */
		return true;
	case EAGAIN:
	case ENOBUFS:
		return wait_for_room(sender, fd);
	default:
		return false;
	}
}

/* As sendmmsg, but repeats what is worth it. Messages sent, at least 1, or -errno of the first. */
static int send_some(struct io_sender *sender, int fd, struct mmsghdr *m, uint32_t n)
{
	for (int i = 0; i < MAX_RETRIES; i++) {
		int r = sendmmsg(fd, m, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (r > 0)
			return r;
		if (r == 0 || !is_worth_repeating(sender, fd, errno))
			break;
	}
	return -errno;
}

/* Sends a run without UDP_SEGMENT. Stops at the first datagram that fails: the others have the same
 * destination, and order is kept. */
static void send_singly(struct io_sender *sender, int fd, struct io_send *s)
{
	struct io_msg msg;
	struct iovec iov[BATCH];
	struct mmsghdr m[BATCH];
	uint32_t offset = 0;
	s->result = 0;
	while (offset < s->len && s->result == 0) {
		uint32_t n = 0;
		for (uint32_t at = offset; at < s->len && n < BATCH; at += s->segment_len, n++) {
			iov[n].iov_base = (void *)(uintptr_t)(s->data + at);
			iov[n].iov_len = MIN(s->segment_len, s->len - at);
			io_msg_fill(&m[n].msg_hdr, &msg, s, iov[n], 0);
			m[n].msg_hdr.msg_iov = &iov[n];
		}
		int r = send_some(sender, fd, m, n);
		if (r < 0)
			s->result = r;
		else
			s->n_sent += (uint32_t)r, offset += (uint32_t)r * s->segment_len;
	}
}

/* Whether the kernel may have meant UDP_SEGMENT and not the datagram as such. */
static bool may_mean_gso(int error)
{
	return error == EIO || error == EMSGSIZE || error == EINVAL || error == EOPNOTSUPP;
}

void io_send_recover(struct io_sender *sender, int fd, struct io_send *s, int error)
{
	struct io_msg msg;
	struct mmsghdr m;
	s->n_sent = 0;
	s->result = -error;
	bool is_run = io_send_is_run(s);

	if (is_worth_repeating(sender, fd, error)) {
		io_msg_fill(&m.msg_hdr, &msg, s, all_of(s), is_run ? s->segment_len : 0);
		int r = send_some(sender, fd, &m, 1);
		s->result = MIN(r, 0);
		if (r > 0)
			s->n_sent = is_run ? (s->len + s->segment_len - 1U) / s->segment_len : 1;
		error = r < 0 ? -r : 0;
	}
	if (error == 0 || !is_run || !may_mean_gso(error))
		return;

	send_singly(sender, fd, s);
	io_stat_add(&sender->stats->gso_fallbacks, 1);
	/* EMSGSIZE: segments larger than this route's MTU, which says nothing of other routes. The others
	 * can also mean the destination or source; then the first single datagram failed as well. */
	if (error != EMSGSIZE && s->n_sent > 0) {
		sender->gso = false;
		atomic_store_explicit(&sender->stats->gso_off, true, memory_order_relaxed);
	}
}

static void mark_sent(struct io_send *s)
{
	s->result = 0;
	s->n_sent = io_send_is_run(s) ? (s->len + s->segment_len - 1U) / s->segment_len : 1;
}

/* One sendmmsg, repeated after each entry that failed. @n is at most BATCH. */
static void send_batch(struct io_sender *sender, int fd, struct io_send *const *s, uint32_t n)
{
	struct io_msg msg[BATCH];
	struct mmsghdr m[BATCH];
	for (uint32_t i = 0; i < n; i++)
		io_msg_fill(&m[i].msg_hdr, &msg[i], s[i], all_of(s[i]),
			    io_send_is_run(s[i]) ? s[i]->segment_len : 0);

	for (uint32_t done = 0; done < n;) {
		int r = sendmmsg(fd, m + done, n - done, MSG_DONTWAIT | MSG_NOSIGNAL);
		for (int i = 0; i < r; i++)
			mark_sent(s[done + (uint32_t)i]);
		done += (uint32_t)MAX(r, 0);
		if (r <= 0) {
			io_send_recover(sender, fd, s[done], errno);
			done++;
		}
	}
}

void io_send_all(struct io_sender *sender, int fd, struct io_send *const *s, uint32_t n)
{
	for (uint32_t done = 0; done < n;) {
		/* Without UDP_SEGMENT a run is a batch of its own. */
		if (!sender->gso && io_send_is_run(s[done])) {
			s[done]->n_sent = 0;
			send_singly(sender, fd, s[done]);
			done++;
			continue;
		}
		uint32_t k = 1;
		while (k < BATCH && done + k < n && (sender->gso || !io_send_is_run(s[done + k])))
			k++;
		send_batch(sender, fd, s + done, k);
		done += k;
	}
}

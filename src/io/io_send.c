/* SPDX-License-Identifier: MPL-2.0 */
/* sendmmsg in order. An entry that fails never takes its neighbours along (PITFALLS 23, 24), and a
 * refused UDP_SEGMENT loses no datagram (PITFALLS 43, 44). */
#include "io/io_send.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/macro.h"
#include "io/io_stats.h"
#include "udp/cmsg.h"

enum {
	BATCH = 64,          /* messages of one sendmmsg */
	ROOM_WAIT_MS = 1,    /* for a full socket buffer, once per loop */
	MAX_RETRIES = 8,     /* of one message: interruptions and errors of earlier sends */
	NARROW_TIMES = 1000, /* runs until a refused length is tried again */
};

/* A message header with all that it points to. Not to be moved once it is set. */
struct message {
	struct iovec iov;
	union udp_cmsg_send control;
};

/* Fills @hdr so that it sends @iov as @s says, with UDP_SEGMENT if @segment_len is not 0. */
static void message_fill(struct msghdr *hdr, struct message *msg, const struct io_send *s,
			 struct iovec iov, uint16_t segment_len)
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

/* Sends a run datagram by datagram. Stops at the first that fails: the others have the same
 * destination, and order is kept. Fills result and n_sent. */
static void send_split(struct io_sender *sender, int fd, struct io_send *s)
{
	struct message msg;
	struct iovec iov[BATCH];
	struct mmsghdr m[BATCH];
	uint32_t offset = 0;
	s->result = 0;
	s->n_sent = 0;
	while (offset < s->len && s->result == 0) {
		uint32_t n = 0;
		for (uint32_t at = offset; at < s->len && n < BATCH; at += s->segment_len, n++) {
			iov[n].iov_base = (void *)(uintptr_t)(s->data + at);
			iov[n].iov_len = MIN(s->segment_len, s->len - at);
			message_fill(&m[n].msg_hdr, &msg, s, iov[n], 0);
			m[n].msg_hdr.msg_iov = &iov[n];
		}
		int r = send_some(sender, fd, m, n);
		if (r < 0)
			s->result = r;
		else
			s->n_sent += (uint32_t)r, offset += (uint32_t)r * s->segment_len;
	}
}

/* Whether that is known to be necessary. */
static bool is_refused(struct io_sender *sender, const struct io_send *s)
{
	if (!io_send_is_run(s))
		return false;
	if (!sender->gso)
		return true;
	if (LIKELY(sender->n_narrow_left == 0) || s->segment_len < sender->narrow_segment_len ||
	    memcmp(&sender->narrow_to, &s->to->to, endpoint_addr_len(s->to)) != 0)
		return false;
	sender->n_narrow_left--;
	return true;
}

static void remember_narrow(struct io_sender *sender, const struct io_send *s)
{
	memset(&sender->narrow_to, 0, sizeof(sender->narrow_to));
	memcpy(&sender->narrow_to, &s->to->to, endpoint_addr_len(s->to));
	sender->narrow_segment_len = s->segment_len;
	sender->n_narrow_left = NARROW_TIMES;
}

/* Whether the kernel may have meant UDP_SEGMENT and not the datagram as such. */
static bool may_mean_gso(int error)
{
	return error == EIO || error == EMSGSIZE || error == EINVAL || error == EOPNOTSUPP;
}

/* Deals with one entry whose send gave @error: waits for room and tries again, or sends a refused run
 * datagram by datagram. Fills result and n_sent. */
static void recover(struct io_sender *sender, int fd, struct io_send *s, int error)
{
	struct message msg;
	struct mmsghdr m;
	s->n_sent = 0;
	s->result = -error;
	bool is_run = io_send_is_run(s);

	if (is_worth_repeating(sender, fd, error)) {
		message_fill(&m.msg_hdr, &msg, s, all_of(s), is_run ? s->segment_len : 0);
		int r = send_some(sender, fd, &m, 1);
		s->result = MIN(r, 0);
		if (r > 0)
			s->n_sent = is_run ? (s->len + s->segment_len - 1U) / s->segment_len : 1;
		error = r < 0 ? -r : 0;
	}
	if (error == 0 || !is_run || !may_mean_gso(error))
		return;

	send_split(sender, fd, s);
	io_stat_add(&sender->stats->gso_fallbacks, 1);
	/* EMSGSIZE: segments larger than this route's MTU, which says nothing of other routes. The others
	 * can also mean the destination or source; then the first single datagram failed as well. */
	if (error == EMSGSIZE) {
		remember_narrow(sender, s);
	} else if (s->n_sent > 0) {
		sender->gso = false;
		atomic_store_explicit(&sender->stats->gso_error, error, memory_order_relaxed);
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
	struct message msg[BATCH];
	struct mmsghdr m[BATCH];
	for (uint32_t i = 0; i < n; i++)
		message_fill(&m[i].msg_hdr, &msg[i], s[i], all_of(s[i]),
			     io_send_is_run(s[i]) ? s[i]->segment_len : 0);

	for (uint32_t done = 0; done < n;) {
		int r = sendmmsg(fd, m + done, n - done, MSG_DONTWAIT | MSG_NOSIGNAL);
		for (int i = 0; i < r; i++)
			mark_sent(s[done + (uint32_t)i]);
		done += (uint32_t)MAX(r, 0);
		if (r <= 0) {
			recover(sender, fd, s[done], errno);
			done++;
		}
	}
}

/* Sends @n entries of one socket in order. */
static void send_all(struct io_sender *sender, int fd, struct io_send *const *s, uint32_t n)
{
	uint32_t first = 0, i = 0; /* those between are one batch */
	for (; i < n; i++) {
		bool must_split = is_refused(sender, s[i]);
		if (i > first && (must_split || i - first == BATCH)) {
			send_batch(sender, fd, s + first, i - first);
			first = i;
		}
		if (must_split) {
			send_split(sender, fd, s[i]);
			first = i + 1;
		}
	}
	if (i > first)
		send_batch(sender, fd, s + first, i - first);
}

void io_send_queue(struct io_sender *sender, const struct io_fds *fds, struct io_send *s,
		   uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		bool is_v4 = s[i].to->to.sa.sa_family == AF_INET;
		if ((is_v4 ? fds->udp4 : fds->udp6) < 0) {
			s[i].result = -EAFNOSUPPORT;
			s[i].n_sent = 0;
			continue;
		}
		if (sender->n_queued4 == IO_MAX_QUEUED || sender->n_queued6 == IO_MAX_QUEUED)
			io_send_flush(sender, fds);
		if (is_v4)
			sender->queued4[sender->n_queued4++] = &s[i];
		else
			sender->queued6[sender->n_queued6++] = &s[i];
	}
}

void io_send_flush(struct io_sender *sender, const struct io_fds *fds)
{
	if (sender->n_queued4)
		send_all(sender, fds->udp4, sender->queued4, TAKE(sender->n_queued4, 0));
	if (sender->n_queued6)
		send_all(sender, fds->udp6, sender->queued6, TAKE(sender->n_queued6, 0));
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Errors that a healthy kernel does not give on demand, by wrapping the system calls: refused
 * UDP_SEGMENT (PITFALLS 43), failing receives (22), partial sends (24), and a kernel without io_uring
 * (55). */
#include <linux/filter.h>
#include <linux/udp.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/macro.h"
#include "io/io.h"
#include "io/io_send.h"
#include "io/net_fixture.h"

/* -- a kernel of our own -------------------------------------------------------------------------- */

enum { MAX_LOG = 4096 };

/* What the wrapped calls do next, and what they saw. */
static struct {
	int gso_error;    /* for messages with UDP_SEGMENT */
	int single_error; /* for messages without */
	int once;         /* error of the next call, whatever it is */
	int at_most;      /* messages per call; 0 = all */
	int fail_from;    /* message number from which on @late_error is given; 0 = never */
	int late_error;
	int n_messages, n_calls, n_polls, poll_result;
	size_t len[MAX_LOG];
	int recv_errors; /* receives that fail before one is let through */
} kernel;

int __wrap_sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags);
int __wrap_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *timeout);
int __wrap_poll(struct pollfd *p, nfds_t n, int timeout);
int __real_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *timeout);

static bool has_segment(const struct msghdr *h)
{
	struct msghdr copy = *h;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&copy); c; c = CMSG_NXTHDR(&copy, c))
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_SEGMENT)
			return true;
	return false;
}

static int error_of(const struct msghdr *h)
{
	if (kernel.once)
		return TAKE(kernel.once, 0);
	if (kernel.fail_from && kernel.n_messages >= kernel.fail_from)
		return kernel.late_error;
	return has_segment(h) ? kernel.gso_error : kernel.single_error;
}

int __wrap_sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
	kernel.n_calls++;
	unsigned i = 0;
	for (; i < n && (!kernel.at_most || i < (unsigned)kernel.at_most); i++) {
		int error = error_of(&m[i].msg_hdr);
		if (error && i == 0) {
			errno = error;
			return -1;
		}
		if (error)
			break;
		cr_assert(lt(int, kernel.n_messages, MAX_LOG));
		kernel.len[kernel.n_messages++] = m[i].msg_hdr.msg_iov[0].iov_len;
	}
	return (int)i;
}

int __wrap_poll(struct pollfd *p, nfds_t n, int timeout)
{
	kernel.n_polls++;
	cr_assert(le(int, timeout, 1), "P-366: never blocks for long");
	return kernel.poll_result;
}

int __wrap_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *timeout)
{
	static const int errors[] = { ENOMEM, ENOBUFS, ECONNREFUSED, EINTR, EIO };
	if (kernel.recv_errors > 0) {
		errno = errors[kernel.recv_errors-- % 5];
		return -1;
	}
	return __real_recvmmsg(fd, m, n, flags, timeout);
}

/* -- sending -------------------------------------------------------------------------------------- */

static struct io_stats stats;
static struct io_sender sender = { .stats = &stats, .gso = true };
static const struct io_fds sockets = { .tun = -1, .udp4 = 3, .udp6 = 4, .wake = -1 };
static struct endpoint to[3];
static uint8_t data[65536];

static struct io_send entry(int peer, uint32_t len, uint16_t segment_len)
{
	to[peer] = fixture_endpoint(AF_INET, (uint16_t)(100 + peer));
	return (struct io_send){ .data = data,
				 .len = len,
				 .segment_len = segment_len,
				 .to = &to[peer],
				 .result = 1,
				 .n_sent = 99 };
}

static void send_all(struct io_send *s, uint32_t n)
{
	sender.has_waited = false;
	io_send_queue(&sender, &sockets, s, n);
	io_send_flush(&sender, &sockets);
}

ParameterizedTestParameters(faults, a_refused_run_is_sent_singly)
{
	static int errors[] = { EIO, EINVAL, EOPNOTSUPP };
	return cr_make_param_array(int, errors, 3);
}

ParameterizedTest(int *error, faults, a_refused_run_is_sent_singly)
{
	kernel.gso_error = *error;
	struct io_send s[4] = { entry(0, 100, 100), entry(0, 128 * 100 - 30, 100), entry(1, 50, 50),
				entry(1, 300, 100) };
	send_all(s, 4);
	for (int i = 0; i < 4; i++)
		cr_assert(eq(int, s[i].result, 0));
	cr_assert(eq(u32, s[1].n_sent, 128));
	cr_assert(eq(u32, s[3].n_sent, 3));
	cr_assert(eq(int, kernel.n_messages, 1 + 128 + 1 + 3));
	cr_assert(eq(sz, kernel.len[128], 70), "the short tail");
	cr_assert(stats.gso_off);
	cr_assert(not(sender.gso));
	uint64_t fallbacks = stats.gso_fallbacks;
	kernel.n_messages = 0;
	send_all(s, 4);
	cr_assert(eq(int, kernel.n_messages, 133));
	cr_assert(eq(u64, stats.gso_fallbacks, fallbacks), "not tried again");
}

Test(faults, emsgsize_concerns_one_destination_and_length)
{
	kernel.gso_error = EMSGSIZE;
	struct io_send s = entry(0, 4 * 1452, 1452);
	send_all(&s, 1);
	cr_assert(eq(int, s.result, 0));
	cr_assert(eq(u32, s.n_sent, 4));
	cr_assert(sender.gso);
	cr_assert(not(stats.gso_off));

	kernel.gso_error = 0;
	kernel.n_messages = 0;
	send_all(&s, 1);
	cr_assert(eq(int, kernel.n_messages, 4), "known to be refused");
	struct io_send other = entry(1, 4 * 1452, 1452), narrow = entry(0, 4 * 1000, 1000);
	kernel.n_messages = 0;
	send_all(&other, 1);
	send_all(&narrow, 1);
	cr_assert(eq(int, kernel.n_messages, 2), "others are runs as before");
	for (int i = 0; i < 1100; i++) {
		kernel.n_messages = 0;
		send_all(&s, 1);
	}
	cr_assert(eq(int, kernel.n_messages, 1), "tried again after a while");
}

/* An error of the destination, not of UDP_SEGMENT: the single datagrams fail as well. */
Test(faults, an_unreachable_peer_does_not_turn_gso_off)
{
	kernel.gso_error = kernel.single_error = EINVAL;
	struct io_send s = entry(0, 1000, 100);
	send_all(&s, 1);
	cr_assert(eq(int, s.result, -EINVAL));
	cr_assert(eq(u32, s.n_sent, 0));
	cr_assert(sender.gso);
	kernel.gso_error = kernel.single_error = ENETUNREACH;
	kernel.n_calls = 0;
	send_all(&s, 1);
	cr_assert(eq(int, s.result, -ENETUNREACH));
	cr_assert(eq(int, kernel.n_calls, 1), "nothing to fall back to");
}

Test(faults, partial_sends_are_continued_in_order)
{
	for (int at_most = 1; at_most < 8; at_most++) {
		memset(&kernel, 0, sizeof(kernel));
		kernel.at_most = at_most;
		struct io_send s[200];
		for (uint32_t i = 0; i < 200; i++)
			s[i] = entry(0, 1 + i, (uint16_t)(1 + i));
		send_all(s, 200);
		cr_assert(eq(int, kernel.n_messages, 200));
		for (uint32_t i = 0; i < 200; i++) {
			cr_assert(eq(int, s[i].result, 0));
			cr_assert(eq(u32, s[i].n_sent, 1));
			cr_assert(eq(sz, kernel.len[i], 1 + i));
		}
	}
}

Test(faults, interruptions_and_old_errors_lose_nothing)
{
	static const int errors[] = { EINTR, ECONNREFUSED };
	for (int i = 0; i < 2; i++) {
		for (int gso = 0; gso < 2; gso++) {
			kernel.once = errors[i];
			sender.gso = gso;
			struct io_send s[2] = { entry(0, 300, 100), entry(1, 10, 10) };
			kernel.n_messages = 0;
			send_all(s, 2);
			cr_assert(eq(int, s[0].result | s[1].result, 0));
			cr_assert(eq(u32, s[0].n_sent, 3));
			cr_assert(eq(int, kernel.n_messages, gso ? 2 : 4));
		}
	}
}

Test(faults, a_full_buffer_is_waited_for_once_per_loop)
{
	kernel.once = EAGAIN;
	kernel.poll_result = 1;
	struct io_send s[3] = { entry(0, 300, 100), entry(1, 10, 10), entry(2, 10, 10) };
	send_all(s, 3);
	cr_assert(eq(int, s[0].result, 0), "room came");
	cr_assert(eq(int, kernel.n_polls, 1));

	kernel.fail_from = 1;
	kernel.late_error = EAGAIN;
	kernel.poll_result = 0;
	kernel.n_messages = 0;
	send_all(s, 3);
	cr_assert(eq(int, s[0].result, 0));
	cr_assert(eq(int, s[1].result, -EAGAIN));
	cr_assert(eq(int, s[2].result, -EAGAIN));
	cr_assert(eq(u32, s[2].n_sent, 0));
	cr_assert(eq(int, kernel.n_polls, 2));
}

/* A run that breaks off in the middle reports how far it came. */
Test(faults, a_split_run_reports_what_was_sent)
{
	sender.gso = false;
	kernel.fail_from = 5;
	kernel.late_error = EPERM;
	struct io_send s[2] = { entry(0, 1000, 100), entry(1, 10, 10) };
	send_all(s, 1);
	cr_assert(eq(int, s[0].result, -EPERM));
	cr_assert(eq(u32, s[0].n_sent, 5));
}

/* -- receiving ------------------------------------------------------------------------------------ */

Test(faults, failing_receives_do_not_stop_reception)
{
	fixture_enter_netns();
	struct endpoint self = fixture_endpoint(AF_INET, 5555);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	cr_assert(eq(int, bind(fd, &self.to.sa, sizeof(self.to.in4)), 0));
	struct io_params p = { .fds = { .tun = -1, .udp4 = fd, .udp6 = -1, .wake = -1 } };
	struct io *io;
	cr_assert(eq(int, io_poll_create(&io, &p, &stats), 0));
	for (int round = 1; round <= 40; round++) {
		struct io_datagram d[4];
		uint32_t n = 0;
		kernel.recv_errors = round;
		cr_assert(eq(int, sendto(fd, "hello", 5, 0, &self.to.sa, sizeof(self.to.in4)), 5));
		for (int i = 0; i < 10 && n == 0; i++) {
			cr_assert(eq(int, io->ops->wait(io, NSEC_PER_SEC), 0));
			n = io->ops->recv_burst(io, d, 4);
		}
		cr_assert(eq(u32, n, 1), "after %d errors", round);
		cr_assert(eq(u32, d[0].len, 5));
	}
	cr_assert(gt(u64, stats.recv_errors, 40));
	io_destroy(io);
}

/* -- no io_uring ----------------------------------------------------------------------------------- */

ParameterizedTestParameters(faults, says_why_there_is_no_io_uring)
{
	static int errors[] = { EPERM, ENOSYS, ENOMEM, EINVAL };
	return cr_make_param_array(int, errors, 4);
}

ParameterizedTest(int *error, faults, says_why_there_is_no_io_uring)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), /* system call number */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0x00050000U | (unsigned)*error), /* SECCOMP_RET_ERRNO */
		BPF_STMT(BPF_RET | BPF_K, 0x7fff0000U),                    /* SECCOMP_RET_ALLOW */
	};
	struct sock_fprog program = { .len = 4, .filter = code };
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	cr_assert(eq(int, prctl(PR_SET_SECCOMP, 2, &program, 0, 0), 0));
	struct io_params p = { .fds = { .tun = -1, .udp4 = -1, .udp6 = -1, .wake = -1 } };
	struct io *io = NULL;
	/* An unknown flag is an old kernel, which is as good as none. */
	cr_assert(eq(int, io_uring_create(&io, &p, &stats), *error == EINVAL ? -ENOSYS : -*error));
	cr_assert(eq(ptr, io, NULL));
	cr_assert(eq(int, io_poll_create(&io, &p, &stats), 0));
	io_destroy(io);
	io_destroy(NULL);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* The server of the text protocol on real sockets, with a loop and a clock of the test's own. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "control/fd_handler.h"
#include "control/uapi_server.h"

#define KEY  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define PEER "public_key=" KEY "\n"

static int epoll_fd;
static struct uapi_server *server;
static uint64_t now_ns;
static int listener = -1;
static char dir[] = "/tmp/test_uapi_server.XXXXXX";
static struct sockaddr_un addr = { .sun_family = AF_UNIX };

/* What the handlers saw, and what they shall do. */
static struct {
	unsigned n_set, n_get, n_status, n_closed;
	uint16_t last_port;
	size_t last_peers;
	int set_result, get_result;
	unsigned set_turns;     /* -EAGAIN that often before the result */
	size_t reply_len;       /* bytes of "x=..." in a get reply; 0 = one short line */
	unsigned max_per_event; /* most handler calls in one event or tick */
	unsigned in_event;
} seen;

static int on_set(void *ctx, const struct config_set *set)
{
	cr_assert(ctx == &seen);
	if (seen.set_turns) {
		seen.set_turns--;
		return -EAGAIN;
	}
	seen.n_set++;
	seen.in_event++;
	seen.last_port = set->listen_port;
	seen.last_peers = set->n_peers;
	return seen.set_result;
}

static int on_get(void *ctx, struct uapi_text *text)
{
	seen.n_get++;
	seen.in_event++;
	if (!seen.reply_len) {
		uapi_text_append_u64(text, "listen_port", seen.last_port);
		return seen.get_result;
	}
	char block[1024];
	memset(block, 'y', sizeof(block));
	uapi_text_append_str(text, "x=");
	for (size_t left = seen.reply_len; left;) {
		size_t part = MIN(left, sizeof(block));
		uapi_text_append(text, block, part);
		left -= part;
	}
	uapi_text_append_str(text, "\n");
	return seen.get_result;
}

static int on_status(void *ctx, struct uapi_text *text)
{
	seen.n_status++;
	uapi_text_append_line(text, "version", "7");
	return 0;
}

static void on_closed(void *ctx)
{
	seen.n_closed++;
}

static void setup(void)
{
	static const struct uapi_handler handler = { on_set, on_get, on_status, on_closed, &seen };
	now_ns = 1000 * NSEC_PER_SEC;
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	cr_assert(eq(int, uapi_server_create(&server, epoll_fd, &handler), 0));
}

static void teardown(void)
{
	uapi_server_destroy(server);
	close(epoll_fd);
	if (addr.sun_path[0]) {
		unlink(addr.sun_path);
		rmdir(dir);
	}
}

TestSuite(uapi_server, .init = setup, .fini = teardown);

/* One round of events and a tick, as the control thread does it. False when nothing happened. */
static bool turn(void)
{
	struct epoll_event events[16];
	int n = epoll_wait(epoll_fd, events, ARRAY_SIZE(events), 0);
	for (int i = 0; i < n; i++) {
		struct fd_handler *handler = events[i].data.ptr;
		seen.in_event = 0;
		handler->ready(handler, events[i].events, now_ns);
		seen.max_per_event = MAX(seen.max_per_event, seen.in_event);
	}
	bool due = uapi_server_next_deadline(server) <= now_ns;
	seen.in_event = 0;
	if (due)
		uapi_server_tick(server, now_ns);
	seen.max_per_event = MAX(seen.max_per_event, seen.in_event);
	return n > 0 || due;
}

static void run(void)
{
	for (unsigned i = 0; turn(); i++)
		cr_assert(i < 100000, "the loop does not come to rest");
}

static void listen_here(void)
{
	cr_assert(mkdtemp(dir) != NULL);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/wg0.sock", dir);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(eq(int, bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0));
	cr_assert(eq(int, listen(listener, 128), 0));
	cr_assert(eq(int, uapi_server_add(server, listener), 0));
}

static int client(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert(eq(int, connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0));
	return fd;
}

static void say(int fd, const char *text)
{
	cr_assert(eq(sz, (size_t)write(fd, text, strlen(text)), strlen(text)));
}

/* All that can be read now. *@ret_eof tells whether the other end is closed. */
static size_t hear(int fd, char *buf, size_t room, bool *ret_eof)
{
	size_t len = 0;
	*ret_eof = false;
	while (len < room) {
		ssize_t n = read(fd, buf + len, room - len);
		if (n > 0) {
			len += (size_t)n;
			continue;
		}
		*ret_eof = n == 0 || errno == ECONNRESET;
		break;
	}
	return len;
}

static void expect_hear(int fd, const char *expected, bool expected_eof)
{
	char buf[8192];
	bool eof;
	buf[hear(fd, buf, sizeof(buf) - 1, &eof)] = '\0';
	cr_assert(eq(str, buf, (char *)expected));
	cr_assert(eq(int, eof, expected_eof));
}

static void ask(int fd, const char *text, const char *expected)
{
	say(fd, text);
	run();
	expect_hear(fd, expected, false);
}

Test(uapi_server, errno_signs)
{
	listen_here();
	int fd = client();

	ask(fd, "set=1\nlisten_port=7\n\n", "errno=0\n\n");
	ask(fd, "get=1\n\n", "listen_port=7\nerrno=0\n\n");
	ask(fd, "status=1\n\n", "version=7\nerrno=0\n\n");
	ask(fd, "set=1\nlisten_port=x\n\n", "errno=-22\n\n");
	ask(fd, "set=1\nlisten_port\n\n", "errno=-71\n\n");
	ask(fd, "get=1\nlisten_port=1\n\n", "errno=22\n\n");
	ask(fd, "status=1\nx\n\n", "errno=22\n\n");
	seen.set_result = -EADDRINUSE;
	ask(fd, "set=1\n\n", "errno=-98\n\n");
	seen.get_result = -ENOMEM;
	ask(fd, "get=1\n\n", "errno=12\n\n");
	cr_assert(eq(u32, seen.n_set, 2), "malformed ones are not applied");
	close(fd);
}

Test(uapi_server, unknown_operation_is_answered_and_closed)
{
	static const char *const texts[] = { "get=2\n", "\n", "set=1\r\n\n", "hello\nset=1\n\n" };
	listen_here();
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		int fd = client();
		say(fd, texts[i]);
		run();
		expect_hear(fd, "errno=-71\n\n", true);
		close(fd);
	}
	cr_assert(eq(u32, seen.n_set, 0));
}

Test(uapi_server, pipelined_in_one_write)
{
	listen_here();
	int fd = client();
	ask(fd,
	    "set=1\nlisten_port=5\n\nget=1\n\nset=1\nx=\n\nget=1\n\nset=1\nlisten_port=6\n\nget="
	    "1\n\n",
	    "errno=0\n\nlisten_port=5\nerrno=0\n\nerrno=-22\n\nlisten_port=5\nerrno=0\n\n"
	    "errno=0\n\nlisten_port=6\nerrno=0\n\n");
	close(fd);
}

Test(uapi_server, byte_by_byte)
{
	static const char text[] = "set=1\nlisten_port=5\n" PEER
				   "allowed_ip=1.2.3.4/32\n\nget=1\n\n";
	listen_here();
	int fd = client();
	for (const char *c = text; *c; c++) {
		cr_assert(eq(int, (int)write(fd, c, 1), 1));
		run();
	}
	expect_hear(fd, "errno=0\n\nlisten_port=5\nerrno=0\n\n", false);
	cr_assert(eq(sz, seen.last_peers, 1));
	close(fd);
}

Test(uapi_server, an_existence_test_is_silent)
{
	listen_here();
	for (unsigned i = 0; i < 200; i++) {
		int fd = client();
		close(fd);
		run();
	}
	int fd = client();
	ask(fd, "get=1\n\n", "listen_port=0\nerrno=0\n\n");
	close(fd);
}

Test(uapi_server, half_a_transaction_is_discarded)
{
	static const char *const texts[] = { "set=1\nlisten_port=1\n",
					     "set=1\nlisten_port=1\n" PEER, "set=1\n", "set=1",
					     "get=1\n" };
	listen_here();
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		int fd = client();
		say(fd, texts[i]);
		shutdown(fd, SHUT_WR);
		run();
		expect_hear(fd, "", true);
		close(fd);
	}
	cr_assert(eq(u32, seen.n_set + seen.n_get, 0));
}

Test(uapi_server, a_half_closed_client_gets_its_reply)
{
	listen_here();
	int fd = client();
	say(fd, "set=1\n\nget=1\n\n");
	shutdown(fd, SHUT_WR);
	run();
	expect_hear(fd, "errno=0\n\nlisten_port=0\nerrno=0\n\n", true);
	close(fd);
}

Test(uapi_server, a_client_that_left_is_still_obeyed)
{
	listen_here();
	int fd = client();
	/* Its replies raise EPIPE; SIGPIPE would end this test. */
	for (unsigned port = 1; port <= 20; port++) {
		char text[64];
		snprintf(text, sizeof(text), "set=1\nlisten_port=%u\n\n", port);
		say(fd, text);
	}
	close(fd);
	run();
	cr_assert(eq(u32, seen.n_set, 20));
	cr_assert(eq(u16, seen.last_port, 20));
}

Test(uapi_server, stalled_and_idle_clients_block_nobody)
{
	listen_here();
	int stalled = client();
	int idle = client();
	int fd = client();
	say(stalled, "set=1\nlisten_port=9\n" PEER "allowed");
	run();
	ask(fd, "get=1\n\n", "listen_port=0\nerrno=0\n\n");
	ask(fd, "set=1\nlisten_port=4\n\n", "errno=0\n\n");
	cr_assert(uapi_server_next_deadline(server) == UINT64_MAX, "nothing to wake up for");
	ask(stalled, "_ip=10.0.0.0/8\n\n", "errno=0\n\n");
	ask(fd, "get=1\n\n", "listen_port=9\nerrno=0\n\n");
	close(stalled);
	close(idle);
	close(fd);
}

Test(uapi_server, connections_beyond_the_limit_are_closed_at_once)
{
	int fds[UAPI_MAX_CONNECTIONS + 3];
	listen_here();
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = client();
		run();
	}
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		expect_hear(fds[i], "", i >= UAPI_MAX_CONNECTIONS);
	close(fds[0]);
	run();
	int fd = client();
	ask(fd, "get=1\n\n", "listen_port=0\nerrno=0\n\n");
	ask(fds[UAPI_MAX_CONNECTIONS - 1], "set=1\n\n", "errno=0\n\n");
}

/* Silent for a second and full: the longest silent one makes room, and whoever said or got something
 * since stays. */
Test(uapi_server, u007_connections_that_are_only_held_open_shut_out_nobody)
{
	int fds[UAPI_MAX_CONNECTIONS];
	listen_here();
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = client();
		if (i % 2)
			say(fds[i], "set=1\nlisten_port=9\n" PEER "allowed");
		run();
	}
	now_ns += UAPI_SILENCE_MSEC * NSEC_PER_MSEC / 2;
	ask(fds[0], "get=1\n\n", "listen_port=0\nerrno=0\n\n");
	now_ns += UAPI_SILENCE_MSEC * NSEC_PER_MSEC / 2 - 1;
	int early = client();
	run();
	expect_hear(early, "", true);
	now_ns += 1;
	for (size_t i = 1; i < ARRAY_SIZE(fds); i++) {
		int fd = client();
		ask(fd, "get=1\n\n", "listen_port=0\nerrno=0\n\n");
		expect_hear(fds[i], "", true); /* half a transaction ends without a word */
		if (i + 1 < ARRAY_SIZE(fds))
			expect_hear(fds[i + 1], "", false);
	}
	cr_assert(eq(u32, seen.n_set, 0));
	ask(fds[0], "set=1\n\n", "errno=0\n\n");
	int late = client(); /* all others are as new as this one */
	run();
	expect_hear(late, "", true);
}

Test(uapi_server, room_is_made_neither_by_added_streams_nor_by_work_in_hand)
{
	int pair[2], fds[UAPI_MAX_CONNECTIONS - 1];
	cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0));
	cr_assert(eq(int, uapi_server_add(server, pair[1]), 0));
	listen_here();
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = client();
		say(fds[i], "set=1\n\n");
	}
	seen.set_turns = 20;
	(void)turn(); /* 16 are accepted at a time */
	for (unsigned i = 0; i < 6; i++)
		(void)turn();
	now_ns += 2 * UAPI_SILENCE_MSEC * NSEC_PER_MSEC;
	int fd = client();
	(void)turn();
	expect_hear(fd, "", true);
	run();
	cr_assert(eq(u32, seen.n_set, ARRAY_SIZE(fds)));
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		expect_hear(fds[i], "errno=0\n\n", false);
	ask(pair[0], "set=1\n\n", "errno=0\n\n");
}

Test(uapi_server, a_long_reply_arrives_whole)
{
	seen.reply_len = 5 * 1024 * 1024;
	listen_here();
	int fd = client();
	say(fd, "get=1\n\n");

	size_t room = seen.reply_len + 100;
	char *buf = malloc(room);
	size_t len = 0;
	for (unsigned i = 0; i < 10000 && (len < 10 || memcmp(buf + len - 2, "\n\n", 2) != 0);
	     i++) {
		bool eof;
		run();
		len += hear(fd, buf + len, room - len, &eof);
	}
	cr_assert(eq(sz, len, seen.reply_len + 3 + 9));
	cr_assert(memcmp(buf, "x=yyy", 5) == 0);
	cr_assert(memcmp(buf + len - 12, "yy\nerrno=0\n\n", 12) == 0);
	for (size_t i = 2; i < 2 + seen.reply_len; i++)
		if (buf[i] != 'y')
			cr_fail("byte %zu", i);
	cr_assert(uapi_server_next_deadline(server) == UINT64_MAX);
	free(buf);
	close(fd);
}

Test(uapi_server, nothing_is_read_while_a_reply_is_unsent)
{
	seen.reply_len = 5 * 1024 * 1024;
	listen_here();
	int fd = client();
	say(fd, "get=1\n\nget=1\n\nset=1\nlisten_port=3\n\n");
	run();
	cr_assert(eq(u32, seen.n_get, 1));
	cr_assert(eq(u32, seen.n_set, 0));
	close(fd);
	run();
	cr_assert(eq(u32, seen.n_get, 1), "nobody would read it");
	cr_assert(eq(u32, seen.n_set, 1));
}

Test(uapi_server, a_client_that_does_not_read_is_dropped)
{
	seen.reply_len = 5 * 1024 * 1024;
	listen_here();
	int fd = client();
	int other = client();
	char buf[65536];
	bool eof;
	say(fd, "get=1\n\n");
	run();
	uint64_t deadline_ns = uapi_server_next_deadline(server);
	cr_assert(eq(u64, deadline_ns, now_ns + UAPI_WRITE_TIMEOUT_SEC * NSEC_PER_SEC));

	now_ns += 9 * NSEC_PER_SEC; /* it reads a little: that counts */
	for (unsigned i = 0; i < 8; i++)
		(void)hear(fd, buf, sizeof(buf), &eof);
	run();
	now_ns += 9 * NSEC_PER_SEC;
	run();
	cr_assert(uapi_server_next_deadline(server) != UINT64_MAX, "not yet dropped");
	ask(other, "set=1\n\n", "errno=0\n\n");

	now_ns += 2 * NSEC_PER_SEC;
	run();
	cr_assert(uapi_server_next_deadline(server) == UINT64_MAX);
	do
		(void)hear(fd, buf, sizeof(buf), &eof);
	while (!eof && poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, 0) == 1);
	cr_assert(eof, "closed by the server");
	close(fd);
	close(other);
}

Test(uapi_server, work_is_cut_into_slices)
{
	char text[7 * 1000 + 1];
	for (unsigned i = 0; i < 1000; i++)
		memcpy(text + 7 * i, "get=1\n\n", 8);
	listen_here();
	int fd = client();
	int other = client();
	run();
	say(fd, text);
	say(other, "set=1\nlisten_port=2\n\n");
	cr_assert(turn());
	expect_hear(other, "errno=0\n\n", false);

	size_t len = 0;
	char *buf = malloc(100000);
	for (unsigned i = 0; i < 100 && seen.n_get < 1000; i++) {
		bool eof;
		run(); /* until the client's buffer is full of small replies */
		len += hear(fd, buf + len, 100000 - len, &eof);
	}
	cr_assert(eq(u32, seen.n_get, 1000));
	cr_assert(seen.max_per_event <= 8);
	run();
	bool eof;
	len += hear(fd, buf + len, 100000 - len, &eof);
	size_t n = 0;
	for (size_t i = 0; i + 9 <= len; i++)
		n += memcmp(buf + i, "errno=0\n\n", 9) == 0;
	cr_assert(eq(sz, n, 1000));
	free(buf);
	close(fd);
	close(other);
}

Test(uapi_server, a_set_in_turns_is_seen_whole_or_not_at_all)
{
	listen_here();
	int fd = client();
	int other = client();
	seen.set_turns = 5;
	say(fd, "set=1\nlisten_port=11\n\nget=1\n\n");
	cr_assert(turn()); /* accepts */
	cr_assert(turn()); /* first turns of it */
	say(other, "get=1\n\nset=1\nlisten_port=12\n\n");
	cr_assert(turn());
	cr_assert(seen.set_turns > 0);
	expect_hear(other, "", false);
	cr_assert(eq(u64, uapi_server_next_deadline(server), 0));
	run();
	expect_hear(fd, "errno=0\n\nlisten_port=11\nerrno=0\n\n", false);
	expect_hear(other, "listen_port=11\nerrno=0\n\nerrno=0\n\n", false);
	close(fd);
	close(other);
}

Test(uapi_server, who_waits_does_not_wake_the_loop)
{
	struct epoll_event event;
	listen_here();
	int fd = client();
	int other = client();
	seen.set_turns = 1000;
	say(fd, "set=1\n\nget=1\n\n");
	say(other, "get=1\n\nget=1\n\n");
	for (unsigned i = 0; i < 5; i++)
		cr_assert(turn());
	close(other);
	shutdown(fd, SHUT_WR);
	cr_assert(eq(int, epoll_wait(epoll_fd, &event, 1, 0), 0));
	run();
	expect_hear(fd, "errno=0\n\nlisten_port=0\nerrno=0\n\n", true);
	close(fd);
}

Test(uapi_server, a_set_in_turns_ends_though_its_client_left)
{
	listen_here();
	int fd = client();
	seen.set_turns = 5;
	say(fd, "set=1\nlisten_port=11\n\n");
	cr_assert(turn());
	cr_assert(turn());
	close(fd);
	run();
	cr_assert(eq(u32, seen.n_set, 1));
	cr_assert(eq(u32, seen.set_turns, 0));
}

Test(uapi_server, a_line_of_ten_megabytes_costs_an_error)
{
	char *junk = malloc(1024 * 1024);
	memset(junk, 'j', 1024 * 1024);
	listen_here();
	int fd = client();
	say(fd, "set=1\n");
	for (size_t sent = 0, at = 0; sent < 10 * 1024 * 1024;) {
		ssize_t n = write(fd, junk + at, 1024 * 1024 - at);
		if (n > 0) {
			sent += (size_t)n;
			at = sent % (1024 * 1024);
		}
		run();
	}
	ask(fd, "\n\n", "errno=-71\n\n");
	ask(fd, "set=1\nlisten_port=1\n\n", "errno=0\n\n");
	free(junk);
	close(fd);
}

Test(uapi_server, a_given_stream_ends_with_an_upcall)
{
	int pair[2];
	cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0));
	cr_assert(eq(int, uapi_server_add(server, pair[0]), 0));
	cr_assert(fcntl(pair[1], F_SETFL, O_NONBLOCK) == 0);
	ask(pair[1], "get=1\n\n", "listen_port=0\nerrno=0\n\n");
	cr_assert(eq(u32, seen.n_closed, 0));
	say(pair[1], "set=1\nlisten_port=8\n\n");
	close(pair[1]);
	run();
	cr_assert(eq(u16, seen.last_port, 8));
	cr_assert(eq(u32, seen.n_closed, 1));
}

Test(uapi_server, accepted_connections_end_without_an_upcall)
{
	listen_here();
	int fd = client();
	run();
	close(fd);
	run();
	cr_assert(eq(u32, seen.n_closed, 0));
}

Test(uapi_server, refuses_what_it_can_not_serve)
{
	int fds[2];
	cr_assert(eq(int, pipe(fds), 0));
	cr_assert(eq(int, uapi_server_add(server, fds[0]), -EINVAL));
	int unconnected = socket(AF_UNIX, SOCK_STREAM, 0);
	cr_assert(eq(int, uapi_server_add(server, unconnected), -EINVAL));
	int udp = socket(AF_INET, SOCK_DGRAM, 0);
	cr_assert(eq(int, uapi_server_add(server, udp), -EINVAL));
	cr_assert(eq(int, uapi_server_add(server, -1), -EINVAL));

	listen_here();
	for (unsigned i = 1; i < UAPI_MAX_ADDED; i++) {
		cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0));
		cr_assert(eq(int, uapi_server_add(server, fds[0]), 0));
	}
	int last[2];
	cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM, 0, last), 0));
	cr_assert(eq(int, uapi_server_add(server, last[0]), -EBUSY));
	close(fds[1]); /* makes room */
	run();
	cr_assert(eq(int, uapi_server_add(server, last[0]), 0));
}

Test(uapi_server, out_of_descriptors_is_a_pause)
{
	listen_here();
	int fds[3];
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = client();
	int next = dup(0);
	struct rlimit old, limit;
	getrlimit(RLIMIT_NOFILE, &old);
	limit = old;
	limit.rlim_cur = (rlim_t)next;
	close(next);
	cr_assert(eq(int, setrlimit(RLIMIT_NOFILE, &limit), 0));
	run(); /* comes to rest although the backlog is not empty */
	uint64_t resume_ns = uapi_server_next_deadline(server);
	cr_assert(resume_ns > now_ns && resume_ns <= now_ns + NSEC_PER_SEC);
	cr_assert(eq(int, setrlimit(RLIMIT_NOFILE, &old), 0));
	now_ns = resume_ns;
	run();
	ask(fds[2], "get=1\n\n", "listen_port=0\nerrno=0\n\n");
}

Test(uapi_server, destroying_it_closes_everything)
{
	listen_here();
	int fd = client();
	int pair[2];
	cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0));
	cr_assert(eq(int, uapi_server_add(server, pair[0]), 0));
	run();
	say(fd, "set=1\nprivate_key=" KEY "\n" PEER "allowed_ip=1.2.3.4/32\n");
	run();
	uapi_server_destroy(server);
	server = NULL;
	expect_hear(fd, "", true);
	cr_assert(eq(int, fcntl(listener, F_GETFD), -1));
	cr_assert(eq(int, fcntl(pair[0], F_GETFD), -1));
	cr_assert(eq(u32, seen.n_closed, 0));
	close(fd);
	close(pair[1]);
}

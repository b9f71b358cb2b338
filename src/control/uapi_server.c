/* SPDX-License-Identifier: MPL-2.0 */
/* Serves UAPI. A connection reads only while it has nothing to send and no transaction to carry
 * out, so what it holds is bounded by one read, one parsed transaction and one reply, and replies
 * come in order. Work that does not fit into one slice waits in a list for the next tick. */
#include "control/uapi_server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/list.h"
#include "control/fd_handler.h"
#include "control/uapi_parse.h"
#include "crypto/secret.h"

enum {
	READ_SIZE = 16384,      /* bytes of one read */
	SLICE_READS = 4,        /* reads of one turn: 64 KB, about 2000 lines */
	SLICE_TRANSACTIONS = 8, /* transactions of one turn */
	SLICE_SENDS = 16,       /* chunks sent in one turn: 1 MB */
	SLICE_ACCEPTS = 16,
	ACCEPT_PAUSE_MSEC = 100, /* when the process is out of descriptors or memory */
};

#define NO_DEADLINE UINT64_MAX

struct listener {
	struct fd_handler handler; /* first: what epoll points to */
	struct uapi_server *server;
	int fd;             /* -1 = free */
	uint64_t resume_ns; /* NO_DEADLINE, or paused until then */
};

struct conn {
	struct fd_handler handler; /* first: what epoll points to */
	struct uapi_server *server;
	struct list all;     /* in server->conns, or in server->closed when fd is -1 */
	struct list waiting; /* in server->waiting while it has work for the next tick */
	int fd;              /* -1 = closed, to be freed at the next tick */
	uint32_t interest;   /* registered events; 0 = not in the epoll set */
	bool is_added;       /* a stream given to uapi_server_add() */
	bool is_eof;         /* no more bytes will come */
	bool is_mute;        /* nobody reads replies any more, what was asked is still done */
	uint64_t write_deadline_ns; /* NO_DEADLINE while nothing is unsent */
	uint64_t last_turn_ns; /* when it was accepted, or could last be read, written or served */
	struct uapi_text out;
	struct uapi_parser parser;
	uint32_t in_pos, in_len; /* bytes of in[] that are parsed, and read */
	char in[READ_SIZE];
};

/* The closed ones of one round are still there while others come. */
enum { MAX_CONNS = 2 * (UAPI_MAX_CONNECTIONS + UAPI_MAX_ADDED) };

struct uapi_server {
	int epoll_fd;
	struct uapi_handler handler;
	struct listener listeners[UAPI_MAX_ADDED];
	unsigned n_added; /* listeners and added streams */
	unsigned n_conns;
	struct list conns, closed, waiting;
	struct conn *applying; /* whose `set` is carried out in turns; NULL = none */
	/* What text with keys is in: connections, and their replies and transactions. */
	struct secret_pool conn_pool;
	struct secret_pages pages;
};

/* Registers @conn for exactly @events. False: it is not registered (out of memory). */
static bool conn_watch(struct conn *conn, uint32_t events)
{
	if (conn->interest == events)
		return true;

	struct epoll_event event = { .events = events, .data.ptr = &conn->handler };
	int op = !events ? EPOLL_CTL_DEL : conn->interest ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	if (epoll_ctl(conn->server->epoll_fd, op, conn->fd, &event) < 0)
		return false;
	conn->interest = events;
	return true;
}

static void conn_drop_input(struct conn *conn)
{
	explicit_bzero(conn->in, conn->in_len);
	conn->in_pos = 0;
	conn->in_len = 0;
}

/* The memory stays until the next tick: its event may be in the round that is being handled. */
static void conn_close(struct conn *conn)
{
	struct uapi_server *server = conn->server;

	(void)conn_watch(conn, 0);
	(void)close(TAKE_FD(conn->fd));
	uapi_text_finish(&conn->out);
	uapi_parser_finish(&conn->parser);
	conn_drop_input(conn);
	conn->write_deadline_ns = NO_DEADLINE;
	list_remove(&conn->waiting);
	list_remove(&conn->all);
	list_push_back(&server->closed, &conn->all);
	server->n_conns--;
	if (conn->is_added) {
		server->n_added--;
		server->handler.stream_closed(server->handler.ctx);
	}
}

/* Its next turn is the server's to give. Until then a closed or readable peer must not wake the
 * loop, which could do nothing about it. */
static void conn_wait(struct conn *conn)
{
	(void)conn_watch(conn, 0);
	list_push_back(&conn->server->waiting, &conn->waiting);
}

static void conn_watch_or_close(struct conn *conn, uint32_t events)
{
	if (!conn_watch(conn, events))
		conn_close(conn);
}

/* Sends what the socket takes, up to a slice. False when something is left. */
static bool conn_flush(struct conn *conn, uint64_t now_ns)
{
	for (unsigned i = 0; i < SLICE_SENDS && conn->out.len; i++) {
		struct bytes front = uapi_text_front(&conn->out);
		ssize_t n = send(conn->fd, front.data, front.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0) {
			conn->is_mute = true;
			uapi_text_finish(&conn->out);
			break;
		}
		uapi_text_take(&conn->out, (size_t)n);
		conn->write_deadline_ns = NO_DEADLINE; /* progress */
	}

	if (!conn->out.len)
		conn->write_deadline_ns = NO_DEADLINE;
	else if (conn->write_deadline_ns == NO_DEADLINE)
		conn->write_deadline_ns = now_ns + UAPI_WRITE_TIMEOUT_SEC * NSEC_PER_SEC;
	return !conn->out.len;
}

static size_t server_unsent(const struct uapi_server *server)
{
	size_t len = 0;
	list_for_each (it, &server->conns)
		len += list_entry(it, struct conn, all)->out.len;
	return len;
}

/* Fills the reply of a `get` or `status`. 0 or -errno. */
static int conn_collect(struct conn *conn, int (*collect)(void *ctx, struct uapi_text *text))
{
	if (conn->is_mute)
		return 0;
	if (server_unsent(conn->server) >= UAPI_MAX_UNSENT)
		return -ENOMEM;

	int r = collect(conn->server->handler.ctx, &conn->out);
	if (r == 0 && uapi_text_failed(&conn->out))
		r = -ENOMEM;
	if (r < 0)
		uapi_text_finish(&conn->out);
	return r;
}

/* Ends the transaction with @error, 0 or -errno. wg(8) wants it negative after a `set` and positive
 * after a `get` (U-018). */
static void conn_reply(struct conn *conn, int error)
{
	enum uapi_op op = conn->parser.request.op;
	bool is_get = op == UAPI_OP_GET || op == UAPI_OP_STATUS;

	if (conn->parser.request.close) {
		conn->is_eof = true; /* close once this is sent; what follows is not read */
		conn_drop_input(conn);
	}
	uapi_parser_next(&conn->parser);
	if (conn->is_mute)
		return;
	uapi_format_errno(&conn->out, is_get ? -error : error);
	if (uapi_text_failed(&conn->out)) { /* a reply without its end would be misread */
		uapi_text_finish(&conn->out);
		conn->is_mute = true;
		conn->is_eof = true;
	}
}

/* Carries out the complete transaction. False: it has to wait, or to be continued. */
static bool conn_execute(struct conn *conn)
{
	struct uapi_server *server = conn->server;
	const struct uapi_request *request = &conn->parser.request;

	if (request->error) {
		conn_reply(conn, -request->error);
		return true;
	}
	if (server->applying && server->applying != conn)
		return false;

	int r = -ENOMEM;
	if (request->op == UAPI_OP_SET) {
		/* No change whose result we could not tell. Kept until all turns are over. */
		if (conn->is_mute || uapi_text_prepare(&conn->out))
			r = server->handler.set(server->handler.ctx, &request->set);
		server->applying = r == -EAGAIN ? conn : NULL;
		if (r == -EAGAIN)
			return false;
	} else if (request->op == UAPI_OP_GET) {
		r = conn_collect(conn, server->handler.get);
	} else {
		r = conn_collect(conn, server->handler.status);
	}
	conn_reply(conn, r);
	return true;
}

/* Reads once. False when there is nothing to read now, or ever. */
static bool conn_read(struct conn *conn)
{
	ssize_t n = recv(conn->fd, conn->in, sizeof(conn->in), MSG_DONTWAIT);
	if (n > 0) {
		conn->in_pos = 0;
		conn->in_len = (uint32_t)n;
		return true;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	conn->is_eof = true; /* end of file, or a connection reset: both end it without a word */
	return false;
}

/* What @conn may use of the memory for all parsed transactions. */
static size_t conn_memory_limit(const struct conn *conn)
{
	size_t used = 0;
	list_for_each (it, &conn->server->conns)
		used += config_set_memory(&list_entry(it, struct conn, all)->parser.request.set);
	used -= config_set_memory(&conn->parser.request.set);
	return used < UAPI_MAX_PARSED ? UAPI_MAX_PARSED - used : 1;
}

static void conn_parse(struct conn *conn)
{
	conn->parser.request.set.memory_limit = conn_memory_limit(conn);
	conn->parser.request.set.pages = &conn->server->pages;
	conn->in_pos += (uint32_t)uapi_parser_feed(&conn->parser, conn->in + conn->in_pos,
						   conn->in_len - conn->in_pos);
	if (conn->in_pos == conn->in_len)
		conn_drop_input(conn);
}

/* One turn: send, carry out, parse, read, in this order, until the socket or the slice ends. */
static void conn_run(struct conn *conn, uint64_t now_ns)
{
	unsigned n_reads = 0, n_transactions = 0;

	list_remove(&conn->waiting);
	conn->last_turn_ns = now_ns;
	for (;;) {
		if (!conn_flush(conn, now_ns)) {
			conn_watch_or_close(conn, EPOLLOUT);
			return;
		}
		if (conn->parser.complete) {
			if (n_transactions++ == SLICE_TRANSACTIONS || !conn_execute(conn)) {
				conn_wait(conn);
				return;
			}
		} else if (conn->in_pos < conn->in_len) {
			conn_parse(conn);
		} else if (conn->is_eof) {
			conn_close(conn);
			return;
		} else if (n_reads++ == SLICE_READS || (!conn_read(conn) && !conn->is_eof)) {
			conn_watch_or_close(conn, EPOLLIN);
			return;
		}
	}
}

static void conn_ready(struct fd_handler *handler, uint32_t events, uint64_t now_ns)
{
	struct conn *conn = container_of(handler, struct conn, handler);
	/* An event of this round may be older than what happened to the connection since. */
	if (conn->fd >= 0 && conn->interest)
		conn_run(conn, now_ns);
}

/* Owns @fd on success. 0 or -errno. */
static int server_add_conn(struct uapi_server *server, int fd, bool is_added, uint64_t now_ns)
{
	struct conn *conn = secret_pool_get(&server->conn_pool);
	if (!conn)
		return -ENOMEM;

	conn->handler.ready = conn_ready;
	conn->server = server;
	list_init(&conn->all);
	list_init(&conn->waiting);
	conn->fd = fd;
	conn->is_added = is_added;
	conn->write_deadline_ns = NO_DEADLINE;
	conn->last_turn_ns = now_ns;
	uapi_text_init(&conn->out);
	conn->out.pages = &server->pages;
	uapi_parser_init(&conn->parser);
	if (!conn_watch(conn, EPOLLIN)) {
		int r = -errno;
		secret_pool_put(&server->conn_pool, conn);
		return r;
	}
	list_push_back(&server->conns, &conn->all);
	server->n_conns++;
	return 0;
}

static int listener_watch(struct listener *listener)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = &listener->handler };
	return epoll_ctl(listener->server->epoll_fd, EPOLL_CTL_ADD, listener->fd, &event) < 0
		       ? -errno
		       : 0;
}

/* The backlog stays readable, so a level-triggered loop would spin. */
static void listener_pause(struct listener *listener, uint64_t now_ns)
{
	(void)epoll_ctl(listener->server->epoll_fd, EPOLL_CTL_DEL, listener->fd, NULL);
	listener->resume_ns = now_ns + ACCEPT_PAUSE_MSEC * NSEC_PER_MSEC;
}

/* False: there are as many connections as may be. Those that fell silent, between two transactions or
 * within one, make room for newer ones, the longest silent one first: nobody who just holds connections
 * open can shut out others (U-007). */
static bool server_make_room(struct uapi_server *server, uint64_t now_ns)
{
	struct conn *oldest = NULL;

	if (server->n_conns < UAPI_MAX_CONNECTIONS)
		return true;
	list_for_each (it, &server->conns) {
		struct conn *conn = list_entry(it, struct conn, all);
		bool waits_for_client = conn->interest != 0;
		if (waits_for_client && !conn->is_added &&
		    (!oldest || conn->last_turn_ns < oldest->last_turn_ns))
			oldest = conn;
	}
	if (!oldest || now_ns < oldest->last_turn_ns + UAPI_SILENCE_MSEC * NSEC_PER_MSEC)
		return false;
	conn_close(oldest);
	return true;
}

static void listener_ready(struct fd_handler *handler, uint32_t events, uint64_t now_ns)
{
	struct listener *listener = container_of(handler, struct listener, handler);
	struct uapi_server *server = listener->server;

	for (unsigned i = 0; i < SLICE_ACCEPTS; i++) {
		int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			    errno == ENOMEM)
				listener_pause(listener, now_ns);
			return;
		}
		if (!server_make_room(server, now_ns) ||
		    server_add_conn(server, fd, false, now_ns) < 0)
			(void)close(fd); /* U-008 */
	}
}

static int server_add_listener(struct uapi_server *server, int fd)
{
	struct listener *listener = server->listeners;
	while (listener->fd >= 0)
		listener++; /* there is one: n_added was checked */

	listener->fd = fd;
	int r = listener_watch(listener);
	if (r < 0)
		listener->fd = -1;
	return r;
}

static bool socket_option_is(int fd, int option, int wanted)
{
	int value = 0;
	socklen_t len = sizeof(value);
	return getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0 && value == wanted;
}

int uapi_server_add(struct uapi_server *server, int fd)
{
	struct sockaddr_storage peer;
	socklen_t peer_len = sizeof(peer);
	bool is_listener = socket_option_is(fd, SO_ACCEPTCONN, 1);

	if (!socket_option_is(fd, SO_DOMAIN, AF_UNIX) ||
	    !socket_option_is(fd, SO_TYPE, SOCK_STREAM))
		return -EINVAL;
	if (!is_listener && getpeername(fd, (struct sockaddr *)&peer, &peer_len) < 0)
		return -EINVAL;
	if (server->n_added == UAPI_MAX_ADDED)
		return -EBUSY;

	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	int r = is_listener ? server_add_listener(server, fd)
			    : server_add_conn(server, fd, true, 0);
	if (r < 0)
		return r;
	server->n_added++;
	return 0;
}

int uapi_server_create(struct uapi_server **ret_server, int epoll_fd,
		       const struct uapi_handler *handler)
{
	struct uapi_server *server = calloc(1, sizeof(*server));
	int r = server ? secret_pool_init(&server->conn_pool, sizeof(struct conn),
					  _Alignof(struct conn), MAX_CONNS)
		       : -ENOMEM;
	if (r < 0) {
		free(server);
		return r;
	}

	secret_pages_init(&server->pages, UAPI_MAX_LOCKED);
	server->epoll_fd = epoll_fd;
	server->handler = *handler;
	list_init(&server->conns);
	list_init(&server->closed);
	list_init(&server->waiting);
	for (size_t i = 0; i < ARRAY_SIZE(server->listeners); i++) {
		struct listener *listener = &server->listeners[i];
		listener->handler.ready = listener_ready;
		listener->server = server;
		listener->fd = -1;
		listener->resume_ns = NO_DEADLINE;
	}
	*ret_server = server;
	return 0;
}

static void server_free_closed(struct uapi_server *server)
{
	struct list *it;
	while ((it = list_pop_front(&server->closed)) != NULL)
		secret_pool_put(&server->conn_pool, list_entry(it, struct conn, all));
}

void uapi_server_destroy(struct uapi_server *server)
{
	if (!server)
		return;
	list_for_each_safe (it, next, &server->conns) {
		struct conn *conn = list_entry(it, struct conn, all);
		conn->is_added = false; /* it is we who close it: no upcall */
		conn_close(conn);
	}
	server_free_closed(server);
	for (size_t i = 0; i < ARRAY_SIZE(server->listeners); i++)
		close_fdp(&server->listeners[i].fd);
	secret_pool_finish(&server->conn_pool);
	free(server);
}

bool uapi_server_is_locked(struct uapi_server *server)
{
	return !server->pages.was_unlocked && secret_pool_is_locked(&server->conn_pool);
}

uint64_t uapi_server_next_deadline(const struct uapi_server *server)
{
	uint64_t deadline_ns = NO_DEADLINE;

	if (!list_is_empty(&server->waiting) || !list_is_empty(&server->closed))
		return 0;
	list_for_each (it, &server->conns) {
		const struct conn *conn = list_entry(it, struct conn, all);
		deadline_ns = MIN(deadline_ns, conn->write_deadline_ns);
	}
	for (size_t i = 0; i < ARRAY_SIZE(server->listeners); i++)
		deadline_ns = MIN(deadline_ns, server->listeners[i].resume_ns);
	return deadline_ns;
}

static void server_expire(struct uapi_server *server, uint64_t now_ns)
{
	list_for_each_safe (it, next, &server->conns) {
		struct conn *conn = list_entry(it, struct conn, all);
		if (now_ns >= conn->write_deadline_ns)
			conn_close(conn);
	}
	for (size_t i = 0; i < ARRAY_SIZE(server->listeners); i++) {
		struct listener *listener = &server->listeners[i];
		if (now_ns < listener->resume_ns)
			continue;
		listener->resume_ns = NO_DEADLINE;
		if (listener_watch(listener) < 0)
			listener->resume_ns = now_ns + ACCEPT_PAUSE_MSEC * NSEC_PER_MSEC;
	}
}

/* Each connection that waits gets one turn, in order; those that still wait stay in line. */
static void server_run_waiting(struct uapi_server *server, uint64_t now_ns)
{
	struct list turns;

	if (server->applying) {
		conn_run(server->applying, now_ns);
		if (server->applying)
			return; /* nobody else may begin */
	}
	list_init(&turns);
	struct list *it;
	while ((it = list_pop_front(&server->waiting)) != NULL)
		list_push_back(&turns, it);
	while ((it = list_pop_front(&turns)) != NULL)
		conn_run(list_entry(it, struct conn, waiting), now_ns);
}

void uapi_server_tick(struct uapi_server *server, uint64_t now_ns)
{
	server_run_waiting(server, now_ns);
	server_expire(server, now_ns);
	server_free_closed(server);
}

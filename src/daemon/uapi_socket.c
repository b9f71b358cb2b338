/* SPDX-License-Identifier: MPL-2.0 */
/* The control socket's name in the file system. */
#include "daemon/uapi_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/sweeper.h"

enum {
	BACKLOG = 128,    /* U-008 asks for 16 */
	CLAIM_TRIES = 50, /* one second (U-004) */
	CLAIM_PAUSE_MSEC = 20,
	LOOK_TRIES = 20,
};

void uapi_socket_init(struct uapi_socket *sock)
{
	*sock = (struct uapi_socket){ .watch_fd = -1, .sweeper_fd = -1 };
}

void uapi_socket_finish(struct uapi_socket *sock)
{
	close_fdp(&sock->watch_fd);
	close_fdp(&sock->sweeper_fd);
	uapi_socket_init(sock);
}

/* @suffix ".sock" gives the final name, anything else a temporary one. */
static int make_addr(struct sockaddr_un *addr, const char *dir, const char *name,
		     const char *suffix)
{
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	int len = snprintf(addr->sun_path, sizeof(addr->sun_path), "%s/%s%s", dir, name, suffix);
	return len < (int)sizeof(addr->sun_path) ? 0 : -ENAMETOOLONG;
}

/* Makes one directory of mode 0755 whatever the umask; an existing one stays as it is (U-002). */
static int make_one_dir(const char *path)
{
	if (mkdir(path, 0755) == 0)
		return chmod(path, 0755) < 0 ? -errno : 0;
	return errno == EEXIST ? 0 : -errno;
}

static int make_dirs(const char *dir)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof(path), "%s", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;

	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		int r = make_one_dir(path);
		*slash = '/';
		if (r < 0)
			return r;
	}
	return make_one_dir(path);
}

static int connect_to(const struct sockaddr_un *addr, int flags, int *ret_fd)
{
	int fd CLEANUP(close_fdp) = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int uapi_socket_connect(const char *dir, const char *name, int *ret_fd)
{
	struct sockaddr_un addr;
	int r = make_addr(&addr, dir, name, ".sock");
	return r < 0 ? r : connect_to(&addr, 0, ret_fd);
}

/* Looks at what has the name that we want. 0: the name may be free now; -EADDRINUSE: somebody is
 * behind it; or -errno. */
static int clear_stale(const struct sockaddr_un *addr)
{
	struct stat st;
	if (lstat(addr->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST; /* not ours to delete */

	int fd CLEANUP(close_fdp) = -1;
	int r = connect_to(addr, SOCK_NONBLOCK, &fd);
	if (r == 0 || r == -EAGAIN) /* EAGAIN: its backlog is full */
		return -EADDRINUSE;
	if (r == -ENOENT)
		return 0;
	if (r != -ECONNREFUSED)
		return r;
	return unlink(addr->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

/* Gives the socket file @from the name @to if nobody has it. 0, -EEXIST if it is taken, or
 * -errno. */
static int rename_exclusively(const char *from, const char *to)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	/* Some file systems do not know the flag: a link is as exclusive, in two steps. */
	if (link(from, to) < 0)
		return -errno;
	(void)unlink(from);
	return 0;
}

static int claim_name(const char *temporary, const struct sockaddr_un *addr)
{
	int r = -EADDRINUSE;
	for (unsigned i = 0; i < CLAIM_TRIES; i++) {
		r = rename_exclusively(temporary, addr->sun_path);
		if (r != -EEXIST)
			return r;
		r = clear_stale(addr);
		if (r < 0 && r != -EADDRINUSE)
			return r;
		if (r == -EADDRINUSE) {
			static const struct timespec pause = { .tv_nsec = CLAIM_PAUSE_MSEC *
									  (long)NSEC_PER_MSEC };
			(void)nanosleep(&pause, NULL);
		}
	}
	return r < 0 ? r : -EADDRINUSE;
}

/* Bound to a temporary name, mode 0600, listening; nobody could connect before the mode was set. */
static int listen_at(const struct sockaddr_un *addr, int *ret_fd)
{
	int fd CLEANUP(close_fdp) = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;

	(void)unlink(addr->sun_path); /* of a process that had our id and was killed */
	if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		return -errno;
	if (chmod(addr->sun_path, 0600) < 0 || listen(fd, BACKLOG) < 0) {
		int r = -errno;
		(void)unlink(addr->sun_path);
		return r;
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Where inotify is used up (128 instances per user by default) the name is looked at instead. */
static void watch(struct uapi_socket *sock, const char *dir)
{
	sock->watch_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (sock->watch_fd < 0)
		return;
	if (inotify_add_watch(sock->watch_fd, dir,
			      IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF |
				      IN_MOVE_SELF) < 0) {
		(void)close(sock->watch_fd);
		sock->watch_fd = -1;
	}
}

int uapi_socket_adopt(struct uapi_socket *sock, const char *dir, const char *name)
{
	struct sockaddr_un addr;
	struct stat st;
	int r = make_addr(&addr, dir, name, ".sock");
	if (r < 0)
		return r;
	if (lstat(addr.sun_path, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;

	sock->dev = st.st_dev;
	sock->ino = st.st_ino;
	(void)snprintf(sock->path, sizeof(sock->path), "%s", addr.sun_path);
	watch(sock, dir);
	return 0;
}

int uapi_socket_listen(struct uapi_socket *sock, const char *dir, const char *name, int *ret_fd)
{
	struct sockaddr_un addr;
	struct sockaddr_un temporary;
	char suffix[32];
	(void)snprintf(suffix, sizeof(suffix), ".%d.tmp", (int)getpid());
	int r = make_addr(&addr, dir, name, ".sock");
	if (r == 0)
		r = make_addr(&temporary, dir, name, suffix);
	if (r == 0)
		r = make_dirs(dir);
	if (r < 0)
		return r;

	int fd CLEANUP(close_fdp) = -1;
	r = listen_at(&temporary, &fd);
	if (r < 0)
		return r;
	r = claim_name(temporary.sun_path, &addr);
	if (r < 0) {
		(void)unlink(temporary.sun_path);
		return r;
	}
	r = uapi_socket_adopt(sock, dir, name);
	if (r < 0) { /* deleted that instant (U-072 has come early), or not to be looked at */
		(void)unlink(addr.sun_path);
		return r;
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* 1: it is there; 0: it is not, or is another's; -errno: who knows. */
static int has_our_file(const struct uapi_socket *sock)
{
	struct stat st;
	int r = -1;
	for (unsigned i = 0; r < 0 && i < LOOK_TRIES; i++) {
		r = lstat(sock->path, &st);
		if (r < 0 && (errno == ENOENT || errno == ENOTDIR))
			return 0;
	}
	return r < 0 ? -errno : st.st_dev == sock->dev && st.st_ino == sock->ino;
}

bool uapi_socket_is_ours(struct uapi_socket *sock)
{
	char events[4096];
	while (sock->watch_fd >= 0 && read(sock->watch_fd, events, sizeof(events)) > 0)
		; /* what happened does not matter, only what is there now */
	return !sock->path[0] || has_our_file(sock) != 0; /* an error of a look is no removal */
}

int uapi_socket_leave_to_sweeper(struct uapi_socket *sock, const char *dir)
{
	return sweeper_start(dir, sock->path, &sock->sweeper_fd);
}

void uapi_socket_remove(struct uapi_socket *sock)
{
	if (sock->sweeper_fd >= 0)
		sweeper_sweep(&sock->sweeper_fd);
	else if (sock->path[0] && has_our_file(sock) > 0)
		(void)unlink(sock->path);
	sock->path[0] = '\0';
}

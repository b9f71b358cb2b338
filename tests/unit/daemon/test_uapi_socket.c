/* SPDX-License-Identifier: MPL-2.0 */
/* The control socket's name: U-002 to U-005, U-072. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "daemon/uapi_socket.h"

static char base[] = "/tmp/test_uapi_socket.XXXXXX";
static char dir[64], path[96], other[96];
static struct uapi_socket sock;
static int fd = -1;

static void setup(void)
{
	cr_assert(mkdtemp(base) != NULL);
	snprintf(dir, sizeof(dir), "%s/run/wireguard", base);
	snprintf(path, sizeof(path), "%s/wg0.sock", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	uapi_socket_init(&sock);
}

static void teardown(void)
{
	char command[64];
	uapi_socket_finish(&sock);
	if (fd >= 0)
		close(fd);
	snprintf(command, sizeof(command), "rm -rf %s", base);
	cr_assert(eq(int, system(command), 0));
}

TestSuite(uapi_socket, .init = setup, .fini = teardown);

static bool exists(const char *name)
{
	struct stat st;
	return lstat(name, &st) == 0;
}

static unsigned mode_of(const char *name)
{
	struct stat st;
	cr_assert(eq(int, lstat(name, &st), 0));
	return st.st_mode & 07777;
}

static unsigned n_files(void)
{
	char command[128];
	unsigned n = 0;
	snprintf(command, sizeof(command), "ls -A %s | wc -l", dir);
	FILE *p = popen(command, "r");
	cr_assert(fscanf(p, "%u", &n) == 1);
	pclose(p);
	return n;
}

/* A socket of somebody else with the name @at; @backlog -1 = bound, but dead. */
static int foreign(const char *at, int backlog)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	cr_assert(strlen(at) < sizeof(addr.sun_path));
	strcpy(addr.sun_path, at);
	cr_assert(eq(int, bind(s, (struct sockaddr *)&addr, sizeof(addr)), 0));
	if (backlog >= 0)
		cr_assert(eq(int, listen(s, backlog), 0));
	return s;
}

static double now_sec(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int start(void)
{
	return uapi_socket_listen(&sock, dir, "wg0", &fd);
}

Test(uapi_socket, makes_directory_and_private_socket_whatever_the_umask)
{
	umask(077);
	cr_assert(eq(int, start(), 0));
	cr_assert(eq(u32, mode_of(dir), 0755));
	cr_assert(eq(u32, mode_of(path), 0600));
	cr_assert(eq(u32, n_files(), 1), "no temporary name is left");
	int client;
	cr_assert(eq(int, uapi_socket_connect(dir, "wg0", &client), 0));
	close(client);
	uapi_socket_remove(&sock);
	cr_assert(not(exists(path)));
}

Test(uapi_socket, an_existing_directory_is_left_alone)
{
	char parent[80];
	umask(0);
	snprintf(parent, sizeof(parent), "%s/run", base);
	cr_assert(mkdir(parent, 0700) == 0 && mkdir(dir, 0750) == 0);
	cr_assert(eq(int, start(), 0));
	cr_assert(eq(u32, mode_of(dir), 0750));
	cr_assert(eq(u32, mode_of(path), 0600));
}

Test(uapi_socket, a_dead_name_is_replaced)
{
	cr_assert(eq(int, start(), 0));
	close(fd); /* as after kill -9 */
	fd = -1;
	uapi_socket_finish(&sock);
	cr_assert(exists(path));
	double before = now_sec();
	cr_assert(eq(int, start(), 0));
	cr_assert(now_sec() - before < 0.5, "no waiting for the dead");
	int client;
	cr_assert(eq(int, uapi_socket_connect(dir, "wg0", &client), 0));
	close(client);
}

Test(uapi_socket, a_live_name_is_waited_for_one_second)
{
	struct uapi_socket second;
	int second_fd = -1;
	cr_assert(eq(int, start(), 0));
	uapi_socket_init(&second);
	double before = now_sec();
	cr_assert(eq(int, uapi_socket_listen(&second, dir, "wg0", &second_fd), -EADDRINUSE));
	double waited = now_sec() - before;
	cr_assert(waited > 0.9 && waited < 3, "%.2f s", waited);
	cr_assert(eq(u32, n_files(), 1));
	cr_assert(uapi_socket_is_ours(&sock), "the owner is not disturbed");
}

Test(uapi_socket, a_predecessor_may_take_its_time)
{
	cr_assert(eq(int, start(), 0));
	pid_t child = fork();
	if (!child) {
		usleep(300000);
		unlink(path);
		_exit(0);
	}
	struct uapi_socket second;
	int second_fd = -1;
	uapi_socket_init(&second);
	cr_assert(eq(int, uapi_socket_listen(&second, dir, "wg0", &second_fd), 0));
	waitpid(child, NULL, 0);
	cr_assert(not(uapi_socket_is_ours(&sock)));
	uapi_socket_remove(&sock); /* the slow one must not delete its successor's */
	cr_assert(uapi_socket_is_ours(&second));
	uapi_socket_finish(&second);
	close(second_fd);
}

Test(uapi_socket, a_full_backlog_is_life)
{
	umask(0);
	char command[128];
	snprintf(command, sizeof(command), "mkdir -p %s", dir);
	cr_assert(eq(int, system(command), 0));
	int s = foreign(path, 0);
	int clients[8];
	for (unsigned i = 0; i < 8; i++) {
		struct sockaddr_un addr = { .sun_family = AF_UNIX };
		memcpy(addr.sun_path, path, sizeof(path));
		clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)!connect(clients[i], (struct sockaddr *)&addr, sizeof(addr));
	}
	cr_assert(eq(int, start(), -EADDRINUSE));
	cr_assert(exists(path));
	close(s);
}

Test(uapi_socket, what_is_not_a_socket_is_not_deleted)
{
	char command[256];
	snprintf(command, sizeof(command), "mkdir -p %s && touch %s", dir, path);
	cr_assert(eq(int, system(command), 0));
	cr_assert(eq(int, start(), -EEXIST));
	cr_assert(exists(path));
	cr_assert(eq(u32, n_files(), 1));
}

Test(uapi_socket, the_name_never_refuses_a_connection)
{
	char command[128];
	snprintf(command, sizeof(command), "mkdir -p %s", dir);
	cr_assert(eq(int, system(command), 0));
	pid_t child = fork();
	if (!child) { /* what `wg show` in a loop would see */
		double end = now_sec() + 10;
		while (now_sec() < end) {
			int client;
			int r = uapi_socket_connect(dir, "wg0", &client);
			if (r == 0)
				close(client);
			if (r == -ECONNREFUSED)
				_exit(1);
			if (exists(other))
				_exit(0);
		}
		_exit(2);
	}
	for (unsigned i = 0; i < 300; i++) {
		cr_assert(eq(int, start(), 0));
		uapi_socket_remove(&sock);
		close(fd);
		fd = -1;
		uapi_socket_finish(&sock);
	}
	close(open(other, O_CREAT | O_WRONLY, 0600));
	int status;
	waitpid(child, &status, 0);
	cr_assert(eq(int, status, 0));
}

static bool watch_rings(void)
{
	struct pollfd ready = { .fd = sock.watch_fd, .events = POLLIN };
	return poll(&ready, 1, 1000) == 1;
}

Test(uapi_socket, deletion_is_noticed)
{
	cr_assert(eq(int, start(), 0));
	cr_assert(uapi_socket_is_ours(&sock));
	unlink(path);
	cr_assert(watch_rings());
	cr_assert(not(uapi_socket_is_ours(&sock)));
}

Test(uapi_socket, replacement_is_noticed_and_not_deleted)
{
	cr_assert(eq(int, start(), 0));
	int s = foreign(other, 4);
	cr_assert(eq(int, rename(other, path), 0));
	cr_assert(watch_rings());
	cr_assert(not(uapi_socket_is_ours(&sock)));
	uapi_socket_remove(&sock);
	cr_assert(exists(path));
	close(s);
}

Test(uapi_socket, deletion_of_the_directory_is_noticed)
{
	char command[128];
	cr_assert(eq(int, start(), 0));
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert(eq(int, system(command), 0));
	cr_assert(watch_rings());
	cr_assert(not(uapi_socket_is_ours(&sock)));
}

Test(uapi_socket, other_names_do_not_matter)
{
	cr_assert(eq(int, start(), 0));
	int s = foreign(other, 4);
	unlink(other);
	close(s);
	cr_assert(watch_rings());
	cr_assert(uapi_socket_is_ours(&sock));
	struct pollfd ready = { .fd = sock.watch_fd, .events = POLLIN };
	cr_assert(eq(int, poll(&ready, 1, 0), 0), "the watch was read empty");
}

Test(uapi_socket, works_without_a_watch)
{
	cr_assert(eq(int, start(), 0));
	close(sock.watch_fd);
	sock.watch_fd = -1;
	cr_assert(uapi_socket_is_ours(&sock));
	unlink(path);
	cr_assert(not(uapi_socket_is_ours(&sock)));
}

Test(uapi_socket, a_given_socket_is_watched_by_its_name)
{
	char command[128];
	snprintf(command, sizeof(command), "mkdir -p %s", dir);
	cr_assert(eq(int, system(command), 0));
	cr_assert(eq(int, uapi_socket_adopt(&sock, dir, "wg0"), -ENOENT));
	cr_assert(uapi_socket_is_ours(&sock), "there is nothing to lose");
	uapi_socket_remove(&sock);
	fd = foreign(path, 4);
	cr_assert(eq(int, uapi_socket_adopt(&sock, dir, "wg0"), 0));
	cr_assert(uapi_socket_is_ours(&sock));
	uapi_socket_remove(&sock);
	cr_assert(not(exists(path)));
}

Test(uapi_socket, long_names_are_refused)
{
	char deep[200] = "/tmp/";
	memset(deep + 5, 'd', 150);
	deep[155] = '\0';
	cr_assert(eq(int, uapi_socket_listen(&sock, deep, "wg0", &fd), -ENAMETOOLONG));
	cr_assert(not(exists(deep)));
}

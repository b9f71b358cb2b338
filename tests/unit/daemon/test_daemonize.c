/* SPDX-License-Identifier: MPL-2.0 */
/* Going to the background, signals, and the note to the service manager. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "daemon/daemonize.h"
#include "daemon/sd_notify.h"
#include "daemon/signals.h"

static char reason[64];

/* Runs @child in the background process; returns what the parent would exit with. */
static int run_child(void (*child)(int report_fd))
{
	int report_fd = -1;
	int pid = daemonize_fork(&report_fd);
	cr_assert(pid >= 0);
	if (!pid) {
		child(report_fd);
		_exit(0);
	}
	int r = daemonize_wait(report_fd, pid, reason, sizeof(reason));
	close(report_fd);
	return r;
}

static void succeed(int report_fd)
{
	_exit(daemonize_report(report_fd, NULL) ? 0 : 1);
}

static void fail(int report_fd)
{
	(void)!daemonize_report(report_fd, "no such luck");
	_exit(1);
}

static void fail_at_length(int report_fd)
{
	char text[500];
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	(void)!daemonize_report(report_fd, text);
	_exit(1);
}

static void end_silently(int report_fd)
{
	_exit(0);
}

static void be_killed(int report_fd)
{
	raise(SIGKILL);
}

Test(daemonize, success_is_reported)
{
	cr_assert(eq(int, run_child(succeed), 0));
}

Test(daemonize, the_reason_reaches_the_parent)
{
	cr_assert(eq(int, run_child(fail), -1));
	cr_assert(eq(str, reason, (char *)"no such luck"));
	cr_assert(eq(int, run_child(fail_at_length), -1));
	cr_assert(eq(sz, strlen(reason), sizeof(reason) - 1));
}

Test(daemonize, a_death_is_a_failure)
{
	cr_assert(eq(int, run_child(end_silently), -1));
	cr_assert(strstr(reason, "ended") != NULL, "%s", reason);
	cr_assert(eq(int, run_child(be_killed), -1));
	cr_assert(strstr(reason, "illed") != NULL, "%s", reason);
}

Test(daemonize, a_parent_that_left_is_noticed)
{
	int fds[2];
	signal(SIGPIPE, SIG_IGN);
	cr_assert(eq(int, pipe(fds), 0));
	close(fds[0]);
	cr_assert(not(daemonize_report(fds[1], NULL)));
}

static int kept_a, kept_b, lost_a, lost_b;

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static bool is_null(int fd)
{
	struct stat st;
	struct stat null;
	return fstat(fd, &st) == 0 && stat("/dev/null", &null) == 0 && st.st_rdev == null.st_rdev;
}

/* Says what is wrong through the report itself. */
static void inspect(int report_fd, bool keep_output)
{
	const int keep[] = { kept_b, -1, report_fd, kept_a };
	char cwd[64] = "";
	const char *wrong = NULL;

	if (daemonize_detach(keep_output, keep, ARRAY_SIZE(keep)) != 0)
		wrong = "detach failed";
	else if (!is_open(kept_a) || !is_open(kept_b))
		wrong = "closed what should be kept";
	else if (is_open(lost_a) || is_open(lost_b))
		wrong = "kept what should be closed";
	else if (!is_null(0))
		wrong = "stdin";
	else if (is_null(1) == keep_output || is_null(2) == keep_output)
		wrong = "stdout or stderr";
	else if (getsid(0) != getpid())
		wrong = "session";
	else if (!getcwd(cwd, sizeof(cwd)) || strcmp(cwd, "/") != 0)
		wrong = "directory";
	_exit(daemonize_report(report_fd, wrong) ? 0 : 1);
}

static void inspect_quiet(int report_fd)
{
	inspect(report_fd, false);
}

static void inspect_loud(int report_fd)
{
	inspect(report_fd, true);
}

Test(daemonize, detaches_and_keeps_only_what_it_is_told)
{
	int file = open("/tmp", O_RDONLY | O_DIRECTORY);
	lost_a = dup(file);
	kept_a = dup(file);
	kept_b = fcntl(file, F_DUPFD, 100);
	lost_b = fcntl(file, F_DUPFD, 101);                  /* next to one that is kept */
	cr_assert(dup2(file, 1) == 1 && dup2(file, 2) == 2); /* not /dev/null */

	int r = run_child(inspect_quiet);
	cr_assert(eq(int, r, 0), "%s", reason);
	r = run_child(inspect_loud);
	cr_assert(eq(int, r, 0), "%s", reason);
}

Test(daemonize, closed_standard_descriptors_are_filled)
{
	int saved = dup(2);
	close(0);
	close(2);
	daemonize_fill_std_fds();
	bool good = is_null(0) && is_null(2);
	int next = open("/", O_RDONLY);
	dup2(saved, 2);
	cr_assert(good);
	cr_assert(next > 2);
}

Test(signals, term_and_int_are_read_the_others_ignored)
{
	int fd = -1;
	cr_assert(eq(int, signals_open(&fd), 0));
	cr_assert(eq(int, signals_take(fd), 0));
	raise(SIGHUP);
	raise(SIGPIPE);
	raise(SIGCHLD);
	cr_assert(eq(int, signals_take(fd), 0));
	raise(SIGTERM);
	cr_assert(eq(int, signals_take(fd), SIGTERM));
	raise(SIGINT);
	cr_assert(eq(int, signals_take(fd), SIGINT));
	cr_assert(eq(int, signals_take(fd), 0));
	close(fd);
}

/* Binds a datagram socket to @addr, of @len bytes, and returns what arrives on it. */
static void expect_note(const struct sockaddr_un *addr, size_t path_len, const char *variable)
{
	char buf[64];
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_len);
	cr_assert(eq(int, bind(fd, (const struct sockaddr *)addr, len), 0));
	setenv("NOTIFY_SOCKET", variable, 1);
	int to = sd_notify_open();
	cr_assert(to >= 0);
	sd_notify_send(to, "READY=1\nMAINPID=7");
	close(to);
	ssize_t n = recv(fd, buf, sizeof(buf) - 1, 0);
	cr_assert(n > 0);
	buf[n] = '\0';
	cr_assert(eq(str, buf, (char *)"READY=1\nMAINPID=7"));
	close(fd);
}

Test(sd_notify, reaches_paths_and_abstract_names)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char name[64];
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/test_sd_notify.%d", (int)getpid());
	expect_note(&addr, strlen(addr.sun_path), addr.sun_path);
	unlink(addr.sun_path);

	snprintf(name, sizeof(name), "@test_sd_notify.%d", (int)getpid());
	memcpy(addr.sun_path, name, sizeof(name));
	addr.sun_path[0] = '\0';
	expect_note(&addr, strlen(name), name);
}

Test(sd_notify, nonsense_is_harmless)
{
	char longer[300];
	memset(longer, '/', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	unsetenv("NOTIFY_SOCKET");
	cr_assert(eq(int, sd_notify_open(), -1));
	sd_notify_send(-1, "READY=1");
	static const char *const values[] = { "", "/", "@", "relative", "/nonexistent/notify" };
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		setenv("NOTIFY_SOCKET", values[i], 1);
		cr_assert(eq(int, sd_notify_open(), -1), "%s", values[i]);
	}
	setenv("NOTIFY_SOCKET", longer, 1);
	cr_assert(eq(int, sd_notify_open(), -1));
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Log sinks. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "daemon/log.h"

static struct log log_;
static char dir[] = "/tmp/test_log.XXXXXX";
static char path[64];

static void setup(void)
{
	cr_assert(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/log", dir);
	log_init(&log_, RINGTUN_LOG_DEBUG);
	log_set_name(&log_, "wg0");
}

static void teardown(void)
{
	char command[64];
	log_finish(&log_);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert(eq(int, system(command), 0));
}

TestSuite(log, .init = setup, .fini = teardown);

static const char *content(void)
{
	static char buf[8192];
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

Test(log, lines_look_like_those_of_wireguard_go)
{
	int y, mo, d, h, mi, s, end = 0;
	cr_assert(eq(int, log_to_file(&log_, path), 0));
	log_write(&log_, RINGTUN_LOG_DEBUG, "hello world");
	sscanf(content(), "DEBUG: (wg0) %4d/%2d/%2d %2d:%2d:%2d hello world\n%n", &y, &mo, &d, &h,
	       &mi, &s, &end);
	cr_assert(eq(sz, (size_t)end, strlen(content())), "%s", content());
	cr_assert(y >= 2024 && y < 2200);
}

Test(log, levels)
{
	static const struct {
		int level;
		unsigned n_lines;
	} table[] = { { -1, 0 },
		      { RINGTUN_LOG_ERROR, 1 },
		      { RINGTUN_LOG_INFO, 2 },
		      { RINGTUN_LOG_DEBUG, 3 } };
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		unlink(path);
		log_finish(&log_);
		log_init(&log_, table[i].level);
		cr_assert(eq(int, log_to_file(&log_, path), 0));
		log_write(&log_, RINGTUN_LOG_ERROR, "one");
		log_write(&log_, RINGTUN_LOG_INFO, "two");
		log_printf(&log_, RINGTUN_LOG_DEBUG, "%s", "three");
		unsigned n = 0;
		for (const char *c = content(); *c; c++)
			n += *c == '\n';
		cr_assert(eq(u32, n, table[i].n_lines), "level %d", table[i].level);
	}
}

Test(log, a_file_is_private_and_appended_to)
{
	struct stat st;
	umask(0);
	cr_assert(eq(int, log_to_file(&log_, path), 0));
	cr_assert(eq(int, stat(path, &st), 0));
	cr_assert(eq(u32, st.st_mode & 07777, 0600));
	log_write(&log_, RINGTUN_LOG_ERROR, "first");
	cr_assert(eq(int, log_to_file(&log_, path), 0));
	log_write(&log_, RINGTUN_LOG_ERROR, "second");
	cr_assert(strstr(content(), "first\n") && strstr(content(), "second\n"));
}

Test(log, no_link_is_followed)
{
	char other[80];
	snprintf(other, sizeof(other), "%s/other", dir);
	close(open(other, O_CREAT | O_WRONLY, 0600));
	cr_assert(eq(int, symlink(other, path), 0));
	cr_assert(eq(int, log_to_file(&log_, path), -ELOOP));
	unlink(path);
	cr_assert(eq(int, link(other, path), 0));
	cr_assert(eq(int, log_to_file(&log_, path), -EPERM), "a hard link to another's file");
}

Test(log, strange_files_are_refused)
{
	if (geteuid() == 0) {
		close(open(path, O_CREAT | O_WRONLY, 0666));
		cr_assert(eq(int, chown(path, 12345, 12345), 0));
		cr_assert(eq(int, log_to_file(&log_, path), -EPERM), "somebody else's");
		unlink(path);
	}
	cr_assert(eq(int, mkfifo(path, 0600), 0));
	cr_assert(eq(int, log_to_file(&log_, path), -ENXIO), "and it did not hang");
	cr_assert(eq(int, log_to_file(&log_, dir), -EISDIR));
	cr_assert(eq(int, log_to_file(&log_, "/nonexistent/log"), -ENOENT));
	cr_assert(eq(int, log_to_file(&log_, "/dev/null"), 0));
}

Test(log, long_lines_are_cut_and_control_characters_replaced)
{
	char line[5000];
	memset(line, 'a', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	cr_assert(eq(int, log_to_file(&log_, path), 0));
	log_write(&log_, RINGTUN_LOG_ERROR, line);
	cr_assert(strlen(content()) <= 1024);
	cr_assert(eq(int, content()[strlen(content()) - 1], '\n'));

	unlink(path);
	cr_assert(eq(int, log_to_file(&log_, path), 0));
	log_write(&log_, RINGTUN_LOG_ERROR, "a\x1b[31mb\nERROR: forged");
	cr_assert(strstr(content(), "a?[31mb?ERROR: forged\n") != NULL, "%s", content());
}

Test(log, a_full_pipe_is_not_waited_for, .timeout = 10)
{
	int fds[2];
	char junk[4096] = { 0 };
	cr_assert(eq(int, pipe(fds), 0));
	log_.fd = fds[1];
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	while (write(fds[1], junk, sizeof(junk)) > 0)
		;
	fcntl(fds[1], F_SETFL, 0); /* from here on a write would block for ever */
	for (unsigned i = 0; i < 7; i++)
		log_write(&log_, RINGTUN_LOG_ERROR, "lost");

	static char drained[1 << 20];
	ssize_t n = read(fds[0], drained, sizeof(drained));
	cr_assert(n > 0);
	log_write(&log_, RINGTUN_LOG_INFO, "back");
	n = read(fds[0], drained, sizeof(drained) - 1);
	drained[n] = '\0';
	cr_assert(strstr(drained, "7 lines were lost\n") != NULL, "%s", drained);
	cr_assert(strstr(drained, "back\n") != NULL);
	log_.fd = -1;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Command line and environment. Each test is a process, so setenv() harms nobody. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "daemon/options.h"

enum {
	MAX_ARGS = 32,
};

static struct options options;

/* Cuts @line at blanks; "''" is an empty argument. */
static int parse(const char *line)
{
	static char buf[1024];
	char *argv[MAX_ARGS + 1] = { (char *)"ringtun" };
	int argc = 1;
	snprintf(buf, sizeof(buf), "%s", line);
	for (char *word = strtok(buf, " "); word; word = strtok(NULL, " ")) {
		cr_assert(argc < MAX_ARGS);
		if (strcmp(word, "''") == 0)
			*word = '\0';
		argv[argc++] = word;
	}
	return options_parse(&options, argc, argv);
}

static void clear_variables(void)
{
	const char *flag, *variable;
	for (size_t i = 0; options_row(i, &flag, &variable); i++)
		if (variable)
			unsetenv(variable);
	cr_assert(freopen("/dev/null", "w", stderr) != NULL); /* usage errors are loud */
}

TestSuite(options, .init = clear_variables);

Test(options, defaults)
{
	cr_assert(eq(int, parse("wg0"), 0));
	cr_assert(eq(int, options.action, OPTIONS_RUN));
	cr_assert(eq(str, (char *)options.name, (char *)"wg0"));
	cr_assert(not(options.foreground));
	cr_assert(eq(int, options.tun_fd, -1));
	cr_assert(eq(int, options.uapi_fd, -1));
	cr_assert(eq(int, options.log_level, RINGTUN_LOG_ERROR));
	cr_assert(not(options.log_requested));
	cr_assert(zero(ptr, (void *)options.log_file));
	cr_assert(eq(int, options.n_workers, 0));
	cr_assert(eq(int, options.mtu, 0));
	cr_assert(eq(int, options.io, RINGTUN_IO_AUTO));
	cr_assert(eq(int, options.tun_tso, RINGTUN_AUTO));
	cr_assert(eq(int, options.multi_queue, RINGTUN_AUTO));
	cr_assert(eq(u32, options.n_notes, 0));
}

Test(options, every_flag)
{
	cr_assert(eq(int,
		     parse("-f -t 3 -v debug -l /x/y --tun-fd=7 --uapi-fd 8 --mtu 1380"
			   " --txqueuelen 500 --io poll wg1"),
		     0));
	cr_assert(options.foreground);
	cr_assert(eq(int, options.n_workers, 3));
	cr_assert(eq(int, options.log_level, RINGTUN_LOG_DEBUG));
	cr_assert(options.log_requested);
	cr_assert(eq(str, (char *)options.log_file, (char *)"/x/y"));
	cr_assert(eq(int, options.tun_fd, 7));
	cr_assert(eq(int, options.uapi_fd, 8));
	cr_assert(eq(int, options.mtu, 1380));
	cr_assert(eq(u32, options.txqueuelen, 500));
	cr_assert(eq(int, options.io, RINGTUN_IO_POLL));

	cr_assert(eq(int,
		     parse("--tun-tso=on --tun-uso=off --udp-gso=off --udp-gro=on"
			   " --multi-queue=on --steering=off --cpu-mask=avx2 wg1"),
		     0));
	cr_assert(eq(int, options.tun_tso, RINGTUN_ON));
	cr_assert(eq(int, options.tun_uso, RINGTUN_OFF));
	cr_assert(eq(int, options.udp_gso, RINGTUN_OFF));
	cr_assert(eq(int, options.udp_gro, RINGTUN_ON));
	cr_assert(eq(int, options.multi_queue, RINGTUN_ON));
	cr_assert(eq(int, options.steering, RINGTUN_OFF));
	cr_assert(eq(str, (char *)options.cpu_mask, (char *)"avx2"));
}

/* Each row: the variable alone, then against a flag that says otherwise. */
static const struct {
	const char *variable, *value, *flag;
	size_t offset, size;
	long from_variable, from_flag;
} precedence[] = {
#define ROW(v, val, flag, field, a, b)                                                     \
	{                                                                                  \
		v, val, flag, offsetof(struct options, field), sizeof(options.field), a, b \
	}
	ROW("WG_THREADS", "5", "-t 6", n_workers, 5, 6),
	ROW("WG_TUN_FD", "5", "--tun-fd=6", tun_fd, 5, 6),
	ROW("WG_UAPI_FD", "5", "--uapi-fd=-1", uapi_fd, 5, -1),
	ROW("WG_LOG_LEVEL", "info", "-v silent", log_level, RINGTUN_LOG_INFO, OPTIONS_SILENT),
	ROW("WG_LOG_LEVEL", "silent", "--verbose", log_level, OPTIONS_SILENT, RINGTUN_LOG_DEBUG),
	ROW("LOG_LEVEL", "verbose", "-v info", log_level, RINGTUN_LOG_DEBUG, RINGTUN_LOG_INFO),
	ROW("RINGTUN_MTU", "1300", "--mtu=1400", mtu, 1300, 1400),
	ROW("RINGTUN_GSO_MAX_SIZE", "20000", "--gso-max-size=2048", gso_max_size, 20000, 2048),
	ROW("RINGTUN_NICE", "-20", "--nice=-1", nice, -20, -1),
	ROW("RINGTUN_NICE", "-3", "--nice=0", nice, -3, 0),
	ROW("RINGTUN_TXQUEUELEN", "9", "--txqueuelen=8", txqueuelen, 9, 8),
	ROW("RINGTUN_IO", "uring", "--io=auto", io, RINGTUN_IO_URING, RINGTUN_IO_AUTO),
	ROW("RINGTUN_TUN_TSO", "off", "--tun-tso=on", tun_tso, RINGTUN_OFF, RINGTUN_ON),
	ROW("RINGTUN_TUN_USO", "off", "--tun-uso=on", tun_uso, RINGTUN_OFF, RINGTUN_ON),
	ROW("RINGTUN_UDP_GSO", "on", "--udp-gso=auto", udp_gso, RINGTUN_ON, RINGTUN_AUTO),
	ROW("RINGTUN_UDP_GRO", "on", "--udp-gro=off", udp_gro, RINGTUN_ON, RINGTUN_OFF),
	ROW("RINGTUN_MULTI_QUEUE", "on", "--disable-multi-queue", multi_queue, RINGTUN_ON,
	    RINGTUN_OFF),
	ROW("RINGTUN_STEERING", "off", "--steering=auto", steering, RINGTUN_OFF, RINGTUN_AUTO),
#undef ROW
};

static long field(size_t offset, size_t size)
{
	const char *at = (const char *)&options + offset;
	if (size == sizeof(uint16_t))
		return *(const uint16_t *)(const void *)at;
	return *(const int *)(const void *)at;
}

Test(options, a_flag_beats_its_variable)
{
	for (size_t i = 0; i < ARRAY_SIZE(precedence); i++) {
		char line[128];
		setenv(precedence[i].variable, precedence[i].value, 1);
		cr_assert(eq(int, parse("wg0"), 0));
		cr_assert(eq(long, field(precedence[i].offset, precedence[i].size),
			     precedence[i].from_variable),
			  "%s", precedence[i].variable);

		snprintf(line, sizeof(line), "%s wg0", precedence[i].flag);
		cr_assert(eq(int, parse(line), 0));
		cr_assert(eq(long, field(precedence[i].offset, precedence[i].size),
			     precedence[i].from_flag),
			  "%s over %s", precedence[i].flag, precedence[i].variable);
		unsetenv(precedence[i].variable);
	}
}

Test(options, string_variables)
{
	setenv("WG_LOG_FILE", "/from/variable", 1);
	setenv("RINGTUN_CPU_MASK", "none", 1);
	cr_assert(eq(int, parse("wg0"), 0));
	cr_assert(eq(str, (char *)options.log_file, (char *)"/from/variable"));
	cr_assert(eq(str, (char *)options.cpu_mask, (char *)"none"));
	cr_assert(eq(int, parse("--log /from/flag wg0"), 0));
	cr_assert(eq(str, (char *)options.log_file, (char *)"/from/flag"));
}

Test(options, empty_variables_count_as_unset)
{
	setenv("WG_THREADS", "", 1);
	setenv("WG_LOG_FILE", "", 1);
	setenv("LOG_LEVEL", "", 1);
	setenv("WG_SUDO", "", 1);
	cr_assert(eq(int, parse("wg0"), 0));
	cr_assert(zero(ptr, (void *)options.log_file));
	cr_assert(not(options.log_requested));
	cr_assert(eq(u32, options.n_notes, 0));
}

Test(options, foreground_variable_is_exactly_1)
{
	static const struct {
		const char *value;
		bool foreground;
	} table[] = {
		{ "1", true }, { "0", false }, { "", false }, { "yes", false }, { "11", false }
	};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		setenv("WG_PROCESS_FOREGROUND", table[i].value, 1);
		cr_assert(eq(int, parse("wg0"), 0));
		cr_assert(eq(int, options.foreground, table[i].foreground), "%s", table[i].value);
	}
}

Test(options, log_level_of_wireguard_go)
{
	static const struct {
		const char *value;
		int level;
		bool requested;
	} table[] = {
		{ "verbose", RINGTUN_LOG_DEBUG, true },  { "debug", RINGTUN_LOG_DEBUG, true },
		{ "error", RINGTUN_LOG_ERROR, true },    { "silent", OPTIONS_SILENT, false },
		{ "anything", RINGTUN_LOG_ERROR, true }, { "DEBUG", RINGTUN_LOG_ERROR, true },
	};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		setenv("LOG_LEVEL", table[i].value, 1);
		cr_assert(eq(int, parse("wg0"), 0));
		cr_assert(eq(int, options.log_level, table[i].level), "%s", table[i].value);
		cr_assert(eq(int, options.log_requested, table[i].requested));
	}
	setenv("WG_LOG_LEVEL", "info", 1);
	setenv("LOG_LEVEL", "debug", 1);
	cr_assert(eq(int, parse("wg0"), 0));
	cr_assert(eq(int, options.log_level, RINGTUN_LOG_INFO), "the more special one wins");
}

Test(options, sudo_takes_anything)
{
	static const struct {
		const char *value;
		bool keeps;
	} table[] = { { "1", true },      { "true", true },    { "yes", true },
		      { "on", true },     { "perhaps", true }, { "0", false },
		      { "FALSE", false }, { "no", false },     { "off", false } };
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		setenv("WG_SUDO", table[i].value, 1);
		cr_assert(eq(int, parse("wg0"), 0), "%s", table[i].value);
		cr_assert(eq(int, options.keep_privileges, table[i].keeps), "%s", table[i].value);
		cr_assert(eq(int, options.login_user, !table[i].keeps), "%s", table[i].value);
	}
	unsetenv("WG_SUDO");
	cr_assert(eq(int, parse("wg0"), 0));
	cr_assert(not(options.keep_privileges));
	cr_assert(not(options.login_user));
}

Test(options, the_last_of_user_and_keeping_privileges_counts)
{
	cr_assert(eq(int, parse("--disable-drop-privileges --user=a wg0"), 0));
	cr_assert(eq(str, (char *)options.user, (char *)"a"));
	cr_assert(not(options.keep_privileges));
	cr_assert(eq(int, parse("--user=a --disable-drop-privileges wg0"), 0));
	cr_assert(zero(ptr, (void *)options.user));
	cr_assert(options.keep_privileges);
	setenv("RINGTUN_USER", "b", 1);
	cr_assert(eq(int, parse("--disable-drop-privileges wg0"), 0));
	cr_assert(zero(ptr, (void *)options.user));
	setenv("WG_SUDO", "1", 1); /* of two variables the one that names somebody */
	cr_assert(eq(int, parse("wg0"), 0));
	cr_assert(eq(str, (char *)options.user, (char *)"b"));
	cr_assert(eq(int, parse("--user= wg0"), -22));
}

Test(options, layers_of_the_sandbox)
{
	cr_assert(eq(int,
		     parse("--no-new-privs=on --drop-capabilities=off --landlock=on --seccomp=off"
			   " wg0"),
		     0));
	cr_assert(eq(int, options.no_new_privs, RINGTUN_ON));
	cr_assert(eq(int, options.capabilities, RINGTUN_OFF));
	cr_assert(eq(int, options.landlock, RINGTUN_ON));
	cr_assert(eq(int, options.seccomp, RINGTUN_OFF));
	setenv("RINGTUN_SECCOMP", "on", 1);
	setenv("RINGTUN_LANDLOCK", "off", 1);
	cr_assert(eq(int, parse("--seccomp=auto wg0"), 0));
	cr_assert(eq(int, options.seccomp, RINGTUN_AUTO));
	cr_assert(eq(int, options.landlock, RINGTUN_OFF));
	cr_assert(eq(int, parse("--landlock=yes wg0"), -22));
}

Test(options, options_without_meaning_are_noted_once)
{
	setenv("WG_TUN_NAME_FILE", "/nowhere", 1);
	cr_assert(eq(int,
		     parse("--disable-drop-privileges --disable-connected-udp"
			   " --disable-connected-udp --socket-buffer-size 9 wg0"),
		     0));
	cr_assert(eq(u32, options.n_notes, 3));
	cr_assert(eq(str, (char *)options.name, (char *)"wg0"));
}

Test(options, the_name_may_stand_anywhere)
{
	static const char *const lines[] = { "wg9 -f", "-f wg9", "-f -- wg9", "wg9 -ft2",
					     "-t2 wg9 -f" };
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		cr_assert(eq(int, parse(lines[i]), 0), "%s", lines[i]);
		cr_assert(eq(str, (char *)options.name, (char *)"wg9"));
		cr_assert(options.foreground);
	}
}

Test(options, a_tun_descriptor_brings_its_name)
{
	cr_assert(eq(int, parse("--tun-fd 5"), 0));
	cr_assert(zero(ptr, (void *)options.name));
	setenv("WG_TUN_FD", "5", 1);
	cr_assert(eq(int, parse(""), 0));
	cr_assert(eq(int, parse("--tun-fd=-1"), -22));
}

Test(options, other_actions)
{
	setenv("WG_THREADS", "garbage", 1);
	cr_assert(eq(int, parse("--help"), 0));
	cr_assert(eq(int, options.action, OPTIONS_HELP));
	cr_assert(eq(int, parse("-V"), 0));
	cr_assert(eq(int, options.action, OPTIONS_VERSION));
	unsetenv("WG_THREADS");
	cr_assert(eq(int, parse("--status wg0"), 0));
	cr_assert(eq(int, options.action, OPTIONS_STATUS));
	cr_assert(eq(str, (char *)options.name, (char *)"wg0"));
	cr_assert(not(options.json));
	cr_assert(eq(int, parse("--json --status wg0"), 0));
	cr_assert(options.json);
}

Test(options, usage_errors)
{
	static const char *const lines[] = {
		"",
		"-f",
		"one two",
		"-f one two",
		"--no-such-option wg0",
		"-Z wg0",
		"-t",
		"--threads",
		"-t '' wg0",
		"-t x wg0",
		"-t -1 wg0",
		"-t 257 wg0",
		"-t 0x1 wg0",
		"-t 1x wg0",
		"--threads=99999999999999999999 wg0",
		"-v loud wg0",
		"-v '' wg0",
		"--mtu 67 wg0",
		"--mtu 65536 wg0",
		"--txqueuelen -1 wg0",
		"--gso-max-size 2047 wg0",
		"--gso-max-size 65536 wg0",
		"--io magic wg0",
		"--io '' wg0",
		"--tun-tso 1 wg0",
		"--steering '' wg0",
		"--tun-fd x wg0",
		"--tun-fd 2 wg0",
		"--tun-fd -2 wg0",
		"--tun-fd 99999999999 wg0",
		"--uapi-fd 3.5 wg0",
		"--log '' wg0",
		"--foreground=1 wg0",
		"--status wg0 wg1",
		"--status",
		"--status a/b",
		"--cpu-mask '' wg0",
	};
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		cr_assert(eq(int, parse(lines[i]), -22), "'%s'", lines[i]);
}

Test(options, unusable_variables)
{
	static const struct {
		const char *variable, *value;
	} table[] = {
		{ "WG_THREADS", "many" },     { "WG_LOG_LEVEL", "loud" }, { "RINGTUN_IO", "magic" },
		{ "WG_TUN_FD", "4x" },        { "WG_UAPI_FD", "x" },      { "RINGTUN_MTU", "1" },
		{ "RINGTUN_TUN_TSO", "yes" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		setenv(table[i].variable, table[i].value, 1);
		cr_assert(eq(int, parse("wg0"), -22), "%s", table[i].variable);
		unsetenv(table[i].variable);
	}
}

Test(options, interface_names)
{
	static const struct {
		const char *name;
		bool usable;
	} table[] = {
		{ "wg0", true },
		{ "a", true },
		{ "exactly15bytes_", true },
		{ "wg%d", true },
		{ "%d", true },
		{ "-", true },
		{ "caf\xc3\xa9", true },
		{ "..x", true },
		{ "", false },
		{ "sixteen_bytes_xx", false },
		{ ".", false },
		{ "..", false },
		{ "a/b", false },
		{ "/", false },
		{ "a b", false },
		{ "a\tb", false },
		{ "a\nb", false },
		{ "a:b", false },
		{ "a\001", false },
		{ "wg%", false },
		{ "wg%s", false },
		{ "wg%d%d", false },
		{ "wg%%d", false },
	};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		cr_assert(eq(int, options_name_is_usable(table[i].name), table[i].usable), "'%s'",
			  table[i].name);
}

Test(options, descriptors_leave_the_environment)
{
	setenv("WG_TUN_FD", "5", 1);
	setenv("WG_UAPI_FD", "6", 1);
	setenv("WG_THREADS", "2", 1);
	options_clear_environment();
	cr_assert(zero(ptr, getenv("WG_TUN_FD")));
	cr_assert(zero(ptr, getenv("WG_UAPI_FD")));
	cr_assert(not(zero(ptr, getenv("WG_THREADS"))));
}

Test(options, help_names_what_it_should)
{
	static const char *const words[] = { "--foreground", "-f,",        "--status",  "--json",
					     "WG_THREADS",   "RINGTUN_IO", "--steering" };
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);
	options_print_help(to);
	fclose(to);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		cr_assert(strstr(text, words[i]) != NULL, "%s", words[i]);
	cr_assert(strstr(text, "disable-connected-udp") == NULL, "does nothing");
	free(text);
}

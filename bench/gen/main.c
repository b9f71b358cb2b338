/* SPDX-License-Identifier: MPL-2.0 */
/* ringtun-bench-gen: UDP load for measurements. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "gen.h"
#include "options.h"

enum { EXIT_USAGE = 2 };

/* The only thing that a signal handler may touch. */
static volatile sig_atomic_t is_stopped;

static void stop(int signal)
{
	is_stopped = 1;
}

bool gen_is_stopped(void)
{
	return is_stopped;
}

int gen_fail(const char *step)
{
	(void)fprintf(stderr, "ringtun-bench-gen: %s: %s\n", step, strerror(errno));
	return EXIT_FAILURE;
}

void gen_ready(void)
{
	(void)puts("READY");
	(void)fflush(stdout);
}

static void catch_signals(void)
{
	/* No SA_RESTART: who waits shall see the flag. */
	struct sigaction stop_action = { .sa_handler = stop };
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	(void)sigaction(SIGINT, &stop_action, NULL);
	(void)sigaction(SIGTERM, &stop_action, NULL);
	(void)sigaction(SIGPIPE, &ignore, NULL);
}

static bool pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) == 0;
}

int main(int argc, char **argv)
{
	static int (*const roles[])(const struct gen_options *) = { [GEN_SEND] = gen_send,
								    [GEN_RECV] = gen_recv,
								    [GEN_RTT] = gen_rtt,
								    [GEN_ECHO] = gen_echo };
	struct gen_options options;
	enum gen_role role;

	if (!options_parse(&options, &role, argc, argv))
		return EXIT_USAGE;
	if (role == GEN_HELP) {
		options_print_help();
		return EXIT_SUCCESS;
	}
	catch_signals();
	/* The default slack of 50 us would be added to every gap between datagrams. */
	(void)prctl(PR_SET_TIMERSLACK, 1);
	if (options.cpu >= 0 && !pin(options.cpu))
		return gen_fail("pinning to the CPU");
	return roles[role](&options);
}

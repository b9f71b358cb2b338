/* SPDX-License-Identifier: MPL-2.0 */
/* Runs the tests that criterion.h of this directory registered; prints a line for each. */
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

static struct cross_test *tests;
static struct cross_suite *suites;

void cross_add_test(struct cross_test *test)
{
	test->next = tests;
	tests = test;
}

void cross_add_suite(struct cross_suite *suite)
{
	suite->next = suites;
	suites = suite;
}

static const struct cross_options *suite_options(const struct cross_test *t)
{
	static const struct cross_options none;
	for (const struct cross_suite *s = suites; s; s = s->next)
		if (strcmp(s->name, t->suite) == 0)
			return &s->options;
	return &none;
}

static void run_here(const struct cross_test *t)
{
	const struct cross_options *suite = suite_options(t);
	if (suite->init)
		suite->init();
	if (t->options.init)
		t->options.init();
	t->run();
	if (t->options.fini)
		t->options.fini();
	if (suite->fini)
		suite->fini();
	exit(0);
}

/* Whether it ended as it should. */
static bool run(const struct cross_test *t)
{
	int status;
	(void)fflush(NULL);
	const pid_t pid = fork();
	if (pid == 0)
		run_here(t);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return false;
	if (t->options.signal)
		return WIFSIGNALED(status) && WTERMSIG(status) == t->options.signal;
	return WIFEXITED(status) &&
	       (WEXITSTATUS(status) == t->options.exit_code || WEXITSTATUS(status) == 77);
}

int main(void)
{
	int n_failed = 0;
	for (const struct cross_test *t = tests; t; t = t->next) {
		if (t->options.disabled || suite_options(t)->disabled) {
			(void)printf("skip %s::%s: not under an emulator\n", t->suite, t->name);
			continue;
		}
		const bool good = run(t);
		(void)printf("%s %s::%s\n", good ? "ok" : "not ok", t->suite, t->name);
		n_failed += !good;
	}
	return n_failed ? 1 : 0;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* As much of Criterion as the tests of crypto/ use, for targets on which Criterion does not run: a
 * process for each test, so that one that fails or has a signal coming disturbs no other. */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CRITERION_STAND_IN 1

struct cross_options {
	void (*init)(void);
	void (*fini)(void);
	int signal; /* by which the test has to end */
	int exit_code;
	double timeout;
	bool disabled;
	const char *description;
};

struct cross_test {
	const char *suite, *name;
	void (*run)(void);
	struct cross_options options;
	struct cross_test *next;
};

struct cross_suite {
	const char *name;
	struct cross_options options;
	struct cross_suite *next;
};

void cross_add_test(struct cross_test *test);
void cross_add_suite(struct cross_suite *suite);

#define TestSuite(s, ...)                                                                        \
	__attribute__((constructor)) static void cross_suite_##s(void)                           \
	{                                                                                        \
		static struct cross_suite suite = { .name = #s, .options = { __VA_ARGS__ } };    \
		cross_add_suite(&suite);                                                         \
	}                                                                                        \
	struct cross_suite

#define Test(s, n, ...)                                                                          \
	static void cross_run_##s##_##n(void);                                                   \
	__attribute__((constructor)) static void cross_add_##s##_##n(void)                       \
	{                                                                                        \
		static struct cross_test test = {                                                \
			.suite = #s, .name = #n, .run = cross_run_##s##_##n,                     \
			.options = { __VA_ARGS__ },                                              \
		};                                                                               \
		cross_add_test(&test);                                                           \
	}                                                                                        \
	static void cross_run_##s##_##n(void)

/* The message is optional. */
#define cr_assert(condition, ...)                                                                  \
	((condition) ? (void)0                                                                     \
		     : (fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition),            \
			fprintf(stderr, " " __VA_ARGS__), fputc('\n', stderr), exit(1)))

#define cr_assert_str_eq(a, b) cr_assert(strcmp(a, b) == 0)

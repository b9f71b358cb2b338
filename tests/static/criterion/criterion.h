/* SPDX-License-Identifier: MPL-2.0 */
/* What static.py shows the analyzers instead of Criterion, whose macros hide the tests from them: a test
 * is a function, and nothing goes on behind an assertion that fails. Nobody compiles or runs this. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test_options {
	void (*init)(void);
	void (*fini)(void);
	int signal, exit_code;
	double timeout;
	bool disabled;
	const char *description;
};

struct criterion_test_params {
	size_t size;
	void *params;
	size_t length;
};

#define TestSuite(s, ...) const struct test_options suite_##s = { __VA_ARGS__ }
#define Test(s, n, ...)                                                \
	const struct test_options options_##s##_##n = { __VA_ARGS__ }; \
	void test_##s##_##n(void);                                     \
	void test_##s##_##n(void)
#define ParameterizedTestParameters(s, n)                        \
	struct criterion_test_params parameters_##s##_##n(void); \
	struct criterion_test_params parameters_##s##_##n(void)
#define ParameterizedTest(param, s, n, ...) \
	void test_##s##_##n(param);         \
	void test_##s##_##n(param)
#define cr_make_param_array(type, array, n) \
	((struct criterion_test_params){ sizeof(type), (array), (n) })

#define cr_assert(condition, ...)          ((condition) ? (void)0 : abort())
#define cr_expect(condition, ...)          ((void)(condition))
#define cr_assert_str_eq(left, right, ...) cr_assert(strcmp(left, right) == 0)
#define cr_assert_fail(...)                (printf(__VA_ARGS__), abort())
#define cr_fatal(...)                      (printf(__VA_ARGS__), abort())
#define cr_fail(...)                       ((void)0)
#define cr_skip_test(...)                  exit(77)
#define cr_log_info(...)                   ((void)printf(__VA_ARGS__))

/* SPDX-License-Identifier: MPL-2.0 */
/* As much of Criterion as the AEAD tests use, for targets that have no Criterion: tests run one
 * after the other in one process, the first failure ends it. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#define TestSuite(suite, ...) struct cross_suite_##suite

#define Test(suite, name, ...)                                                                     \
	static void cross_##suite##_##name(void);                                                  \
	__attribute__((constructor)) static void cross_run_##suite##_##name(void)                  \
	{                                                                                          \
		cross_##suite##_##name();                                                          \
		printf("ok %s::%s\n", #suite, #name);                                              \
	}                                                                                          \
	static void cross_##suite##_##name(void)

/* The message is optional. */
#define cr_assert(condition, ...)                                                                  \
	((condition) ? (void)0                                                                     \
		     : (fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition),            \
			fprintf(stderr, " " __VA_ARGS__), fputc('\n', stderr), exit(1)))

#define cr_assert_str_eq(a, b) cr_assert(strcmp(a, b) == 0)

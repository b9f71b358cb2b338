/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/entropy.h"

/* Linked with --wrap=getrandom: what the next calls do. */
static int fail_with;          /* errno, once */
static size_t most = SIZE_MAX; /* bytes per call */
static unsigned n_calls;

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
	n_calls++;
	if (fail_with) {
		errno = fail_with;
		fail_with = 0;
		return -1;
	}
	if (len > most)
		len = most;
	memset(buf, 'r', len);
	return (ssize_t)len;
}

static int fill(char *buf, size_t size, size_t len)
{
	memset(buf, '-', size);
	return entropy_fill(buf, len);
}

Test(entropy, fills_exactly_what_was_asked)
{
	char buf[9] = "";

	cr_assert(zero(int, fill(buf, 8, 5)));
	cr_assert(eq(str, buf, (char *)"rrrrr---"));
}

Test(entropy, goes_on_after_a_short_read_and_a_signal)
{
	char buf[9] = "";

	most = 3;
	fail_with = EINTR;
	cr_assert(zero(int, fill(buf, 8, 8)));
	cr_assert(eq(str, buf, (char *)"rrrrrrrr"));
	cr_assert(eq(u32, n_calls, 4));
}

Test(entropy, reports_an_error)
{
	char buf[9] = "";

	fail_with = EPERM;
	cr_assert(eq(int, fill(buf, 8, 8), -EPERM));
}

Test(entropy, nothing_needs_no_call)
{
	char buf[9] = "";

	cr_assert(zero(int, fill(buf, 8, 0)));
	cr_assert(eq(u32, n_calls, 0));
}

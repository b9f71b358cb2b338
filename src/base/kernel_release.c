/* SPDX-License-Identifier: MPL-2.0 */
#include "base/kernel_release.h"

#include <stdio.h>

bool kernel_release_parse(struct kernel_release *ret, const char *text)
{
	struct kernel_release r = { 0 };

	if (sscanf(text, "%4u.%4u.%4u", &r.major, &r.minor, &r.patch) < 2)
		return false;
	*ret = r;
	return true;
}

static bool is_before(const struct kernel_release *a, const struct kernel_release *b)
{
	if (a->major != b->major)
		return a->major < b->major;
	if (a->minor != b->minor)
		return a->minor < b->minor;
	return a->patch < b->patch;
}

bool kernel_release_is_within(const struct kernel_release *r, const struct kernel_release *first,
			      const struct kernel_release *last)
{
	return !is_before(r, first) && !is_before(last, r);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Known-bad kernels. An entry may go when nobody runs such a kernel any more. */
#include "udp/gso_kernels.h"

#include <stddef.h>
#include <stdio.h>

#include "base/macro.h"

struct release {
	unsigned major, minor, patch;
};

/* From the first to the last release that has the fault. */
static const struct {
	struct release first, last;
} broken[] = {
	/* Broken by Linux commit b10b446, mended by 78effd8 and 5f17ae0 in 7.1.5. */
	{ { 7, 0, 0 }, { 7, 1, 4 } },
};

static bool is_before(const struct release *a, const struct release *b)
{
	if (a->major != b->major)
		return a->major < b->major;
	if (a->minor != b->minor)
		return a->minor < b->minor;
	return a->patch < b->patch;
}

bool udp_gso_is_broken(const char *release)
{
	struct release r = { 0 };

	/* "7.1" and "7.1-rc3" are patch level 0 */
	if (sscanf(release, "%4u.%4u.%4u", &r.major, &r.minor, &r.patch) < 2)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(broken); i++)
		if (!is_before(&r, &broken[i].first) && !is_before(&broken[i].last, &r))
			return true;
	return false;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Known-bad kernels. An entry may go when nobody runs such a kernel any more. */
#include "udp/gso_kernels.h"

#include <stddef.h>

#include "base/kernel_release.h"
#include "base/macro.h"

/* From the first to the last release that has the fault. */
static const struct {
	struct kernel_release first, last;
} broken[] = {
	/* Broken by Linux commit b10b446, mended by 78effd8 and 5f17ae0 in 7.1.5. */
	{ { 7, 0, 0 }, { 7, 1, 4 } },
};

bool udp_gso_is_broken(const char *release)
{
	struct kernel_release r;

	if (!kernel_release_parse(&r, release))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(broken); i++)
		if (kernel_release_is_within(&r, &broken[i].first, &broken[i].last))
			return true;
	return false;
}

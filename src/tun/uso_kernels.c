/* SPDX-License-Identifier: MPL-2.0 */
/* The entry may go when nobody runs such a kernel any more. */
#include "tun/uso_kernels.h"

#include "base/kernel_release.h"

bool tun_uso_is_broken(const char *release)
{
	/* A UDP super-packet that is handed to a tunnel's socket is taken for what the tunnel carries;
	 * mended in 6.8.5 (PITFALLS row 47). */
	static const struct kernel_release first = { 0, 0, 0 }, last = { 6, 8, 4 };
	struct kernel_release r;

	return kernel_release_parse(&r, release) && kernel_release_is_within(&r, &first, &last);
}

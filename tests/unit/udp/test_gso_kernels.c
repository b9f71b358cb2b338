/* SPDX-License-Identifier: MPL-2.0 */
/* Kernels on which UDP_SEGMENT stays off by itself (PITFALLS row 45). */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/macro.h"
#include "udp/gso_kernels.h"

Test(gso_kernels, knows_the_broken_releases_and_no_others)
{
	static const struct {
		const char *release;
		bool is_broken;
	} cases[] = {
		{ "6.18.44-fc", false },
		{ "6.1.0-40-amd64", false },
		{ "7.0.0", true },
		{ "7.0-rc1", true },
		{ "7.0.17-arch1", true },
		{ "7.1", true },
		{ "7.1.4-200.fc", true },
		{ "7.1.5", false },
		{ "7.2.0", false },
		{ "8.0.1", false },
		{ "", false },
		{ "mainline", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		cr_expect(eq(int, udp_gso_is_broken(cases[i].release), cases[i].is_broken), "%s",
			  cases[i].release);
}

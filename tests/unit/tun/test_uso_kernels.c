/* SPDX-License-Identifier: MPL-2.0 */
/* Kernels on which UDP super-packets stay off by themselves (PITFALLS row 47). */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/macro.h"
#include "tun/uso_kernels.h"

Test(uso_kernels, row47_off_up_to_6_8_4)
{
	static const struct {
		const char *release;
		bool is_broken;
	} cases[] = {
		{ "5.10.0-28-amd64", true },
		{ "6.1.0-40-amd64", true },
		{ "6.2.0", true },
		{ "6.8.0-31-generic", true },
		{ "6.8", true },
		{ "6.8.4", true },
		{ "6.8.5", false },
		{ "6.8.12-1-pve", false },
		{ "6.9-rc1", false },
		{ "6.18.44-fc", false },
		{ "7.0.0", false },
		{ "", false },
		{ "mainline", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		cr_expect(eq(int, tun_uso_is_broken(cases[i].release), cases[i].is_broken), "%s",
			  cases[i].release);
}

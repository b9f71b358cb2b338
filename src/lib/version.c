/* SPDX-License-Identifier: MPL-2.0 */
/* The version that meson.build names. */
#include <ringtun/version.h>

const char *ringtun_version(void)
{
	return RINGTUN_VERSION_STRING;
}

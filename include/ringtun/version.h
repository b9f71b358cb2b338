/* SPDX-License-Identifier: MPL-2.0 */
/** @file
 * The library's version. */
#ifndef RINGTUN_VERSION_H
#define RINGTUN_VERSION_H

#include <ringtun/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The version that is linked, e.g. "0.1.0". */
RINGTUN_API const char *ringtun_version(void);

#ifdef __cplusplus
}
#endif

#endif

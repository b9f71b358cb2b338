/* SPDX-License-Identifier: MPL-2.0 */
/** @file
 * Visibility of the library's symbols. */
#ifndef RINGTUN_EXPORT_H
#define RINGTUN_EXPORT_H

#define RINGTUN_API __attribute__((visibility("default")))

#endif

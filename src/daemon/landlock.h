/* SPDX-License-Identifier: MPL-2.0 */
/* Landlock(7): the calling thread, and all that it creates later, can not reach the file system any
 * more, but for removing names in one directory; nor TCP, abstract sockets and other processes,
 * where the kernel knows how to deny these. */
#pragma once

#include "base/macro.h"

/* Needs no_new_privs or CAP_SYS_ADMIN. @dir need not exist. 0 with the kernel's version of Landlock
 * in *@ret_abi; -ENOSYS, -EOPNOTSUPP (not in this kernel, or disabled), or -errno. */
MUST_CHECK int landlock_confine(const char *dir, int *ret_abi);

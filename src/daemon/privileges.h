/* SPDX-License-Identifier: MPL-2.0 */
/* Who the process is: user, groups, capabilities. Applies to the calling thread and those that it
 * creates later; call it before there are others. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/macro.h"

enum { PRIVILEGES_NAME_LEN = 64 };

/* Sets of capabilities, as bits. What a device needs for life: CAP_NET_ADMIN for SO_MARK, and so for
 * every later change of port or fwmark; CAP_NET_BIND_SERVICE for a later `listen_port` below 1024,
 * which is as usual as 443. CAP_SYS_NICE if the threads shall be raised and the limit of nice values
 * can not be. */
#define PRIVILEGES_NETWORK (UINT64_C(1) << 12 | UINT64_C(1) << 10)
#define PRIVILEGES_NICE    (UINT64_C(1) << 23)

struct privileges_user {
	uid_t uid;
	gid_t gid;
	char name[PRIVILEGES_NAME_LEN];
};

/* @name is a user's name, or a number, which need not have a name. 0, -ENOENT (no such user),
 * -EINVAL, or -errno. */
MUST_CHECK int privileges_find_user(struct privileges_user *ret, const char *name);

/* Who logged in before sudo or su made us root. 0 or -ENOENT: nobody, or not known. */
MUST_CHECK int privileges_find_login_user(struct privileges_user *ret);

/* Becomes @user for good, without any supplementary group; keeps what it has of the
 * capabilities @keep. 0; -ENOSYS when built without libcap-ng; or -errno. */
MUST_CHECK int privileges_become(const struct privileges_user *user, uint64_t keep);

/* Leaves all supplementary groups. 0 or -errno. */
MUST_CHECK int privileges_drop_groups(void);

/* Gives up all capabilities in all sets but @keep. The same errors as privileges_become(). */
MUST_CHECK int privileges_drop_capabilities(uint64_t keep);

/* Permits nice values from @nice on, which is below 0, by RLIMIT_NICE. False: not allowed. */
MUST_CHECK bool privileges_permit_nice(int nice);

/* "cap_net_admin,cap_net_bind_service", "none", or as a hexadecimal number: what is permitted
 * now. */
void privileges_describe(char *buf, size_t size);

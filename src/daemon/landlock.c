/* SPDX-License-Identifier: MPL-2.0 */
/* Landlock. The C library has no wrappers, and the kernel's header may be older than the kernel. */
#include "daemon/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#ifndef SYS_landlock_create_ruleset /* the same on all architectures */
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif

enum {
	GET_VERSION = 1,       /* LANDLOCK_CREATE_RULESET_VERSION */
	RULE_PATH_BENEATH = 1, /* LANDLOCK_RULE_PATH_BENEATH */
	ABI_NET = 4,
	ABI_SCOPE = 6,
};
#define FS_REMOVE_FILE UINT64_C(0x20)
#define NET_ALL        UINT64_C(3) /* bind and connect of TCP */
#define SCOPE_ALL      UINT64_C(3) /* abstract unix sockets, signals */

struct ruleset_attr {
	uint64_t handled_access_fs, handled_access_net, scoped;
};

struct path_beneath_attr {
	uint64_t allowed_access;
	int32_t parent_fd;
} __attribute__((packed));

/* All rights on files that the kernel of an ABI knows. */
static uint64_t file_rights(long abi)
{
	static const uint64_t rights[] = { 0, 0x1fff, 0x3fff, 0x7fff, 0x7fff, 0xffff };
	size_t last = ARRAY_SIZE(rights) - 1;
	return rights[MIN((size_t)abi, last)];
}

static int allow_removal(int ruleset_fd, const char *dir)
{
	int dir_fd CLEANUP(close_fdp) = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return 0; /* nothing is there that we could remove */

	struct path_beneath_attr rule = { .allowed_access = FS_REMOVE_FILE, .parent_fd = dir_fd };
	return syscall(SYS_landlock_add_rule, ruleset_fd, RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno
											   : 0;
}

int landlock_confine(const char *dir, int *ret_abi)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, GET_VERSION);
	if (abi < 1)
		return abi < 0 ? -errno : -EOPNOTSUPP;

	struct ruleset_attr attr = {
		.handled_access_fs = file_rights(abi),
		.handled_access_net = abi >= ABI_NET ? NET_ALL : 0,
		.scoped = abi >= ABI_SCOPE ? SCOPE_ALL : 0,
	};
	int fd CLEANUP(close_fdp) =
		(int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (fd < 0)
		return -errno;
	int r = allow_removal(fd, dir);
	if (r < 0)
		return r;
	if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return -errno;
	*ret_abi = (int)abi;
	return 0;
}

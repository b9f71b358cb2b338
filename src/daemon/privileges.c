/* SPDX-License-Identifier: MPL-2.0 */
/* User, groups, capabilities. */
#include "daemon/privileges.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef HAVE_CAPNG
#include <cap-ng.h>
#endif

#include "base/cleanup.h"

static bool parse_id(const char *text, unsigned long *ret)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret = strtoul(text, &end, 10);
	return !*end && !errno && *ret < UINT32_MAX; /* which means "leave it" to the kernel */
}

static int fill_user(struct privileges_user *ret, const struct passwd *pw)
{
	ret->uid = pw->pw_uid;
	ret->gid = pw->pw_gid;
	int len = snprintf(ret->name, sizeof(ret->name), "%s", pw->pw_name);
	return len < (int)sizeof(ret->name) ? 0 : -EINVAL;
}

int privileges_find_user(struct privileges_user *ret, const char *name)
{
	unsigned long id;
	bool is_number = parse_id(name, &id);

	errno = 0;
	/* Before there are threads, as all that only returns static memory. */
	/* NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const struct passwd *pw = is_number ? getpwuid((uid_t)id) : getpwnam(name);
	if (pw)
		return fill_user(ret, pw);
	if (!is_number)
		return -ENOENT;
	*ret = (struct privileges_user){ .uid = (uid_t)id, .gid = (gid_t)id };
	(void)snprintf(ret->name, sizeof(ret->name), "%lu", id);
	return 0;
}

static bool read_login_uid(char *buf, size_t size)
{
	FILE *f = fopen("/proc/self/loginuid", "re");
	if (!f)
		return false;
	bool ok = fgets(buf, (int)size, f) != NULL;
	(void)fclose(f);
	buf[strcspn(buf, "\n")] = '\0';
	return ok;
}

int privileges_find_login_user(struct privileges_user *ret)
{
	char login_uid[32];
	unsigned long id;
	const char *sudo = getenv("SUDO_UID"); /* NOLINT(concurrency-mt-unsafe) */

	if (sudo && parse_id(sudo, &id))
		return privileges_find_user(ret, sudo);
	/* UINT32_MAX, which parse_id() refuses, is "nobody logged in". */
	if (read_login_uid(login_uid, sizeof(login_uid)) && parse_id(login_uid, &id))
		return privileges_find_user(ret, login_uid);
	return -ENOENT;
}

int privileges_drop_groups(void)
{
	return setgroups(0, NULL) < 0 ? -errno : 0;
}

bool privileges_permit_nice(int nice)
{
	struct rlimit limit;
	rlim_t want = (rlim_t)(20 - nice); /* see getrlimit(2) */

	if (getrlimit(RLIMIT_NICE, &limit) < 0)
		return false;
	if (limit.rlim_cur >= want)
		return true;
	limit = (struct rlimit){ want, MAX(want, limit.rlim_max) };
	return setrlimit(RLIMIT_NICE, &limit) == 0;
}

#ifdef HAVE_CAPNG

/* Needs CAP_SETPCAP, and matters only without no_new_privs. */
static void drop_bounding_set(void)
{
	if (capng_get_caps_process() < 0)
		return;
	capng_clear(CAPNG_SELECT_BOUNDS);
	(void)capng_apply(CAPNG_SELECT_BOUNDS);
}

int privileges_drop_capabilities(uint64_t keep)
{
	uint64_t had = 0;

	drop_bounding_set();
	if (capng_get_caps_process() < 0)
		return -EIO;
	for (unsigned i = 0; i <= CAP_LAST_CAP; i++)
		if (capng_have_capability(CAPNG_PERMITTED, i))
			had |= UINT64_C(1) << i;
	capng_clear(CAPNG_SELECT_ALL);
	for (unsigned i = 0; i <= CAP_LAST_CAP; i++)
		if (had & keep & UINT64_C(1) << i)
			(void)capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, i);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return -EPERM;
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return 0;
}

int privileges_become(const struct privileges_user *user, uint64_t keep)
{
	int r = privileges_drop_groups();
	if (r < 0)
		return r;
	drop_bounding_set(); /* which takes a capability that goes with the user */
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 ||
	    setresgid(user->gid, user->gid, user->gid) < 0 ||
	    setresuid(user->uid, user->uid, user->uid) < 0)
		return -errno;
	r = privileges_drop_capabilities(keep);
	(void)prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
	/* There is no way back, or something is very wrong. */
	if (r == 0 && user->uid != 0 && setresuid(0, 0, 0) == 0)
		return -EPERM;
	return r;
}

#else

int privileges_drop_capabilities(uint64_t keep)
{
	(void)keep;
	return -ENOSYS;
}

int privileges_become(const struct privileges_user *user, uint64_t keep)
{
	(void)user;
	(void)keep;
	return -ENOSYS;
}

#endif

void privileges_describe(char *buf, size_t size)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 0 } };
	const uint64_t admin = UINT64_C(1) << CAP_NET_ADMIN;
	const uint64_t low_ports = UINT64_C(1) << CAP_NET_BIND_SERVICE;

	(void)syscall(SYS_capget, &head, data);
	uint64_t set = data[0].permitted | (uint64_t)data[1].permitted << 32;
	if (set & ~(admin | low_ports))
		(void)snprintf(buf, size, "0x%llx", (unsigned long long)set);
	else
		(void)snprintf(buf, size, "%s%s%s", set & admin ? "cap_net_admin" : "",
			       set == (admin | low_ports) ? "," : "",
			       set & low_ports ? "cap_net_bind_service"
			       : set           ? ""
					       : "none");
}

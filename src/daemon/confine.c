/* SPDX-License-Identifier: MPL-2.0 */
/* The layers of the sandbox, in the order in which one does not stand in the way of the next. */
#include "daemon/confine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "daemon/landlock.h"
#include "daemon/syscall_filter.h"

/* A sanitizer traces its own threads, starts a symbolizer and writes files when the end is near. */
#ifdef RINGTUN_SANITIZED
enum { AUTO_MEANS_OFF = true };
#else
enum { AUTO_MEANS_OFF = false };
#endif

static const char *const layer_names[CONFINE_N_LAYERS] = {
	[CONFINE_GROUPS] = "groups",
	[CONFINE_NO_NEW_PRIVS] = "no_new_privs",
	[CONFINE_CAPABILITIES] = "capabilities",
	[CONFINE_LANDLOCK] = "landlock",
	[CONFINE_SECCOMP] = "seccomp",
};

const char *confine_layer_name(enum confine_layer layer)
{
	return layer_names[layer];
}

static int find_user(struct confine *c, const struct options *options)
{
	int r;

	if (options->user) {
		r = privileges_find_user(&c->user, options->user);
	} else if (options->login_user && geteuid() == 0) {
		r = privileges_find_login_user(&c->user);
		if (r == -ENOENT) {
			log_write(c->log, RINGTUN_LOG_INFO,
				  "WG_SUDO: nobody is logged in, the user is not changed");
			return 0;
		}
	} else {
		return 0;
	}
	if (r < 0)
		return r;
	c->changes_user = c->user.uid != geteuid();
	return c->changes_user && geteuid() != 0 ? -EPERM : 0;
}

int confine_init(struct confine *c, const struct options *options, struct log *log)
{
	*c = (struct confine){ .log = log,
			       .user.uid = geteuid(),
			       .nice = options->nice,
			       .wanted = {
				       [CONFINE_NO_NEW_PRIVS] = options->no_new_privs,
				       [CONFINE_CAPABILITIES] = options->capabilities,
				       [CONFINE_LANDLOCK] = options->landlock,
				       [CONFINE_SECCOMP] = options->seccomp,
			       } };
	bool keep = options->keep_privileges && !options->user;
	if (keep)
		c->wanted[CONFINE_GROUPS] = RINGTUN_OFF;
	if (c->wanted[CONFINE_CAPABILITIES] == RINGTUN_AUTO && (keep || AUTO_MEANS_OFF))
		c->wanted[CONFINE_CAPABILITIES] = RINGTUN_OFF;
	if (c->wanted[CONFINE_LANDLOCK] == RINGTUN_AUTO && AUTO_MEANS_OFF)
		c->wanted[CONFINE_LANDLOCK] = RINGTUN_OFF;
	if (c->wanted[CONFINE_SECCOMP] == RINGTUN_AUTO && AUTO_MEANS_OFF)
		c->wanted[CONFINE_SECCOMP] = RINGTUN_OFF;
	return find_user(c, options);
}

/* Notes how a layer went. 0, or @r if that ends the start. */
static int note(struct confine *c, enum confine_layer layer, int r)
{
	c->done[layer] = r >= 0;
	c->error[layer] = r < 0 ? r : 0;
	if (r >= 0)
		return 0;
	c->failed = layer;
	if (c->wanted[layer] == RINGTUN_ON)
		return r;
	log_printf(c->log, RINGTUN_LOG_INFO, "sandbox: %s is not to be had here: %s",
		   layer_names[layer],
		   r == -ENOSYS ? "the kernel or this build does not know it" : strerror(-r));
	return 0;
}

static uint64_t needed_capabilities(const struct confine *c)
{
	bool must_keep_nice = c->nice < 0 && !privileges_permit_nice(c->nice);
	return PRIVILEGES_NETWORK | (must_keep_nice ? PRIVILEGES_NICE : 0);
}

static int change_user(struct confine *c)
{
	int r = privileges_become(&c->user, needed_capabilities(c));
	c->failed = CONFINE_CAPABILITIES;
	if (r < 0)
		return r;
	c->done[CONFINE_GROUPS] = true;
	c->done[CONFINE_CAPABILITIES] = true;
	log_printf(c->log, RINGTUN_LOG_INFO, "became user %s", c->user.name);
	return 0;
}

/* An ordinary user can not, and without any it does not matter. */
static int drop_groups(void)
{
	int r = privileges_drop_groups();
	return r < 0 && getgroups(0, NULL) == 0 ? 0 : r;
}

static int drop_privileges(struct confine *c)
{
	int r = 0;

	if (c->changes_user)
		return change_user(c);
	if (c->wanted[CONFINE_GROUPS] != RINGTUN_OFF)
		r = note(c, CONFINE_GROUPS, drop_groups());
	if (r == 0 && c->wanted[CONFINE_CAPABILITIES] != RINGTUN_OFF)
		r = note(c, CONFINE_CAPABILITIES,
			 privileges_drop_capabilities(needed_capabilities(c)));
	return r;
}

int confine_before_threads(struct confine *c, const char *dir)
{
	int r = 0;
	int abi = 0;

	tzset(); /* reads /etc/localtime, for the log */
	if (c->wanted[CONFINE_NO_NEW_PRIVS] != RINGTUN_OFF)
		r = note(c, CONFINE_NO_NEW_PRIVS,
			 prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0);
	/* Before the capability goes that it needs without no_new_privs. */
	if (r == 0 && c->wanted[CONFINE_LANDLOCK] != RINGTUN_OFF)
		r = note(c, CONFINE_LANDLOCK, landlock_confine(dir, &abi));
	if (r == 0)
		r = drop_privileges(c);
	(void)prctl(PR_SET_DUMPABLE, 0); /* a change of credentials resets it */
	privileges_describe(c->capabilities, sizeof(c->capabilities));
	return r;
}

int confine_threads(struct confine *c, enum ringtun_io io)
{
	if (c->wanted[CONFINE_SECCOMP] == RINGTUN_OFF)
		return 0;
	return note(c, CONFINE_SECCOMP, seccomp_confine_device(io == RINGTUN_IO_URING));
}

void confine_report(const struct confine *c, struct ringtun_device *device)
{
	char key[64];
	char value[64];

	for (unsigned i = 0; i < CONFINE_N_LAYERS; i++) {
		(void)snprintf(key, sizeof(key), "sandbox.%s", layer_names[i]);
		(void)snprintf(value, sizeof(value), "%s%s",
			       c->done[i]    ? "on"
			       : c->error[i] ? "refused: "
					     : "off",
			       c->error[i] ? strerror(-c->error[i]) : "");
		(void)!ringtun_device_add_status(device, key, value);
	}
	(void)!ringtun_device_add_status(device, "sandbox.held_capabilities", c->capabilities);
	(void)snprintf(value, sizeof(value), "%u", (unsigned)c->user.uid);
	(void)!ringtun_device_add_status(device, "sandbox.uid", value);
}

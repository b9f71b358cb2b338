/* SPDX-License-Identifier: MPL-2.0 */
/* The daemon gives up what it does not need any more, in layers, each with a switch: user, groups,
 * no_new_privs, capabilities, Landlock, seccomp. What the kernel lacks is done without (`auto`), with
 * a line in the log, or ends the start (`on`). Main thread only. */
#pragma once

#include <ringtun/device.h>

#include "base/macro.h"
#include "daemon/log.h"
#include "daemon/options.h"
#include "daemon/privileges.h"

enum confine_layer {
	CONFINE_GROUPS, /* always `auto`, unless privileges are to be kept */
	CONFINE_NO_NEW_PRIVS,
	CONFINE_CAPABILITIES,
	CONFINE_LANDLOCK,
	CONFINE_SECCOMP,
	CONFINE_N_LAYERS,
};

struct confine {
	struct log *log;
	enum ringtun_switch wanted[CONFINE_N_LAYERS];
	bool done[CONFINE_N_LAYERS];
	int error[CONFINE_N_LAYERS]; /* -errno of what was tried in vain */
	int nice;                    /* that threads will want, not above 0 */
	bool changes_user;
	struct privileges_user user;            /* only the number unless changes_user */
	char capabilities[PRIVILEGES_NAME_LEN]; /* what we hold in the end */
	enum confine_layer failed; /* which layer the last error of a function below is about */
};

/* Decides who we shall be, while nothing is made yet. 0; -ENOENT (no such user), -EPERM (only root
 * can become somebody else), -EINVAL. */
MUST_CHECK int confine_init(struct confine *c, const struct options *options, struct log *log);

/* Everything but seccomp: what a thread hands on to those that it creates. Call it before they are
 * there, with the control socket's directory. 0, or -errno about c->failed; the process may have lost
 * a part of its privileges then. */
MUST_CHECK int confine_before_threads(struct confine *c, const char *dir);

/* Seccomp, for all threads of @device at once, when all are there. The same errors. */
MUST_CHECK int confine_threads(struct confine *c, enum ringtun_io io);

const char *confine_layer_name(enum confine_layer layer);

/* Adds the layers' states to what `status=1` tells. */
void confine_report(const struct confine *c, struct ringtun_device *device);

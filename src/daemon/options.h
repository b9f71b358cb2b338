/* SPDX-License-Identifier: MPL-2.0 */
/* The command line and the environment: those of wireguard-go, BoringTun, NepTUN and GotaTun, and
 * ours. One table says everything about an option; a flag beats its variable. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <ringtun/device.h>
#include <ringtun/log.h>

#include "base/macro.h"

enum {
	OPTIONS_SILENT = -1, /* a log level below RINGTUN_LOG_ERROR */
	OPTIONS_MAX_NOTES = 16,
	OPTIONS_MAX_THREADS = 256,
};

enum options_action {
	OPTIONS_RUN,
	OPTIONS_HELP,
	OPTIONS_VERSION,
	OPTIONS_STATUS,
};

/* Strings point into argv and the environment. */
struct options {
	enum options_action action;
	const char *name; /* interface; NULL only with tun_fd, which knows it */
	bool foreground;
	bool json;             /* of OPTIONS_STATUS */
	int tun_fd, uapi_fd;   /* -1 = none */
	int log_level;         /* enum ringtun_log_level, or OPTIONS_SILENT */
	bool log_requested;    /* a level was given, and not silent: keep stdout (U-062) */
	const char *log_file;  /* NULL = none */
	uint32_t n_workers;    /* 0 = one per core */
	uint32_t mtu;          /* 0 = the library's default */
	uint32_t txqueuelen;   /* 0 = the library's default */
	uint32_t gso_max_size; /* 0 = by the MTU */
	int nice;              /* of the threads that carry traffic */
	enum ringtun_io io;
	enum ringtun_switch tun_tso, tun_uso, udp_gso, udp_gro, multi_queue, steering;
	const char *cpu_mask; /* NULL = all */
	const char *user;     /* name or number to become; NULL = see login_user */
	bool login_user;      /* WG_SUDO=0: become who logged in, if that is known */
	bool keep_privileges; /* --disable-drop-privileges, WG_SUDO=1; counts without user */
	enum ringtun_switch no_new_privs, capabilities, landlock, seccomp;
	/* Names of options that are accepted for compatibility and do nothing here. */
	const char *notes[OPTIONS_MAX_NOTES];
	unsigned n_notes;
};

/* Reads environment and arguments. 0; or -EINVAL after a message on stderr. Main thread, before any
 * other exists: getopt_long() keeps state of its own. */
MUST_CHECK int options_parse(struct options *options, int argc, char **argv);

/* Takes the variables that name descriptors out of the environment (U-063). */
void options_clear_environment(void);

/* Goes through the table, for those who want all of it: the long flag, without dashes, and the variable
 * of row @i, each NULL if there is none. False = there is no such row. */
bool options_row(size_t i, const char **ret_flag, const char **ret_variable);

/* May it be the name of an interface, or of its socket? "wg%d" is, once only. */
bool options_name_is_usable(const char *name);

void options_print_help(FILE *to);

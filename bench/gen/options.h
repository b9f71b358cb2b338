/* SPDX-License-Identifier: MPL-2.0 */
/* The command line of ringtun-bench-gen. */
#pragma once

#include "gen.h"

enum gen_role { GEN_SEND, GEN_RECV, GEN_RTT, GEN_ECHO, GEN_HELP, GEN_N_ROLES };

/* False for wrong usage: a line on stderr says what. */
MUST_CHECK bool options_parse(struct gen_options *ret_o, enum gen_role *ret_role, int argc,
			      char **argv);

void options_print_help(void);

/* SPDX-License-Identifier: MPL-2.0 */
/* Names of the drop reasons. */
#include "device/drops.h"

static const char *const names[DROP_N_REASONS] = {
#define X(id, name, help) [DROP_##id] = (name),
	DROP_REASONS(X)
#undef X
};

static const char *const helps[DROP_N_REASONS] = {
#define X(id, name, help) [DROP_##id] = (help),
	DROP_REASONS(X)
#undef X
};

const char *drop_reason_name(enum drop_reason why)
{
	return names[why];
}

const char *drop_reason_help(enum drop_reason why)
{
	return helps[why];
}

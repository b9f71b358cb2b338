/* SPDX-License-Identifier: MPL-2.0 */
/* Destructors for CLEANUP(). Control paths only, never per packet. */
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include "base/macro.h"

static inline void close_fdp(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

static inline void free_ptrp(void *pp)
{
	free(*(void **)pp);
}

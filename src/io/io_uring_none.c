/* SPDX-License-Identifier: MPL-2.0 */
/* In place of the io_uring engine where liburing is missing at build time. */
#include <errno.h>

#include "io/io.h"

int io_uring_create(struct io **ret_io, const struct io_params *params, struct io_stats *stats)
{
	return -ENOSYS;
}

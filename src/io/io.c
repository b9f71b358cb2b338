/* SPDX-License-Identifier: MPL-2.0 */
/* What is the same for every engine. */
#include "io/io.h"

void io_destroy(struct io *io)
{
	if (io)
		io->ops->destroy(io);
}

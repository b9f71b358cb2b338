/* SPDX-License-Identifier: MPL-2.0 */
/* getrandom(2) without its short reads. */
#include "base/entropy.h"

#include <errno.h>
#include <sys/random.h>

int entropy_fill(void *buf, size_t len)
{
	char *at = buf;

	while (len) {
		ssize_t n = getrandom(at, len, 0);
		if (n < 0 && errno == EINTR)
			continue; /* a signal; only possible before the pool is ready or beyond 256 bytes */
		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

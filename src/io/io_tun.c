/* SPDX-License-Identifier: MPL-2.0 */
#include "io/io_tun.h"

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

int io_tun_write(int fd, const struct io_write *w)
{
	size_t len;
	bool is_contiguous = io_write_is_contiguous(w, &len);
	for (int i = 0; i < IO_TUN_RETRIES; i++) {
		ssize_t r = is_contiguous ? write(fd, w->iov[0].iov_base, len)
					  : writev(fd, w->iov, (int)w->n_iov);
		if (r >= 0)
			return 0;
		if (errno != EINTR)
			break;
	}
	return -errno;
}

int io_tun_read(int fd, void *at, size_t len)
{
	for (int i = 0; i < IO_TUN_RETRIES; i++) {
		ssize_t r = read(fd, at, len);
		if (r >= 0)
			return (int)r;
		if (errno != EINTR)
			break;
	}
	return -errno;
}

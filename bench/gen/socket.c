/* SPDX-License-Identifier: MPL-2.0 */
/* Opens sockets, and asks them. */
#include "socket.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { SEND_BUFFER = 8 << 20 };

static socklen_t address_len(const struct gen_options *o)
{
	return o->address.sin6_family == AF_INET ? sizeof(struct sockaddr_in)
						 : sizeof(struct sockaddr_in6);
}

/* Beyond the sysctl's maximum where we may (root), else as much as it allows. */
static void set_buffer(int fd, int force_option, int option, uint32_t bytes)
{
	int value = (int)bytes;

	if (setsockopt(fd, SOL_SOCKET, force_option, &value, sizeof(value)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value));
}

void socket_set_sending(int fd)
{
	/* A call that waits looks at the clock and at signals ten times a second. */
	static const struct timeval slice = { .tv_usec = 100000 };

	set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, SEND_BUFFER);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &slice, sizeof(slice));
}

static int open_udp(const struct gen_options *o)
{
	int fd = socket(o->address.sin6_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	socket_set_sending(fd);
	return fd;
}

int socket_connect(const struct gen_options *o)
{
	int fd CLEANUP(close_fdp) = open_udp(o);

	if (fd < 0)
		return fd;
	if (connect(fd, (const struct sockaddr *)&o->address, address_len(o)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int socket_bind(const struct gen_options *o)
{
	int fd CLEANUP(close_fdp) = open_udp(o);

	if (fd < 0)
		return fd;
	set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, o->rcvbuf);
	if (bind(fd, (const struct sockaddr *)&o->address, address_len(o)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

uint32_t socket_rcvbuf(int fd)
{
	int value = 0;
	socklen_t len = sizeof(value);

	(void)getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, &len);
	return (uint32_t)value;
}

uint32_t socket_drops(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(info);

	(void)getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len);
	return info[SK_MEMINFO_DROPS];
}

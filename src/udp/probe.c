/* SPDX-License-Identifier: MPL-2.0 */
#include "udp/probe.h"

#include <errno.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "udp/steer.h"

static int try_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

void udp_probe(struct udp_abilities *ret)
{
	int fd CLEANUP(close_fdp) = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		*ret = (struct udp_abilities){ -errno, -errno, -errno };
		return;
	}
	ret->segment = try_option(fd, IPPROTO_UDP, UDP_SEGMENT, 1000);
	ret->gro = try_option(fd, IPPROTO_UDP, UDP_GRO, 1);
	ret->steering = try_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (ret->steering == 0)
		ret->steering = udp_steer_attach(fd, 1, 1);
}

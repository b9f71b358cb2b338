/* SPDX-License-Identifier: MPL-2.0 */
/* For tests with real sockets and a real TUN: a network namespace of their own, thrown away with the
 * test's process. Not root, or no namespaces: the test is skipped. */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>

#include "device/endpoint.h"

static inline void fixture_link_up(const char *name)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_flags = IFF_UP | IFF_RUNNING };
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	cr_assert(eq(int, ioctl(fd, SIOCSIFFLAGS, &ifr), 0), "%s up: %s", name, strerror(errno));
	close(fd);
}

static inline void fixture_link_down(const char *name)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { 0 };
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	cr_assert(eq(int, ioctl(fd, SIOCSIFFLAGS, &ifr), 0), "%s down: %s", name, strerror(errno));
	close(fd);
}

/* A namespace with lo up (127.0.0.1, ::1). */
static inline void fixture_enter_netns(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		cr_skip_test("needs root and network namespaces: %s", strerror(errno));
	fixture_link_up("lo");
}

/* Runs a command line of ip(8) and the like. */
static inline void fixture_run(const char *command)
{
	cr_assert(eq(int, system(command), 0), "%s", command);
}

static inline struct endpoint fixture_endpoint(int family, uint16_t port)
{
	struct endpoint e;
	memset(&e, 0, sizeof(e));
	if (family == AF_INET) {
		e.to.in4.sin_family = AF_INET;
		e.to.in4.sin_port = htons(port);
		e.to.in4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	} else {
		e.to.in6.sin6_family = AF_INET6;
		e.to.in6.sin6_port = htons(port);
		e.to.in6.sin6_addr = in6addr_loopback;
	}
	return e;
}

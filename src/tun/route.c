/* SPDX-License-Identifier: MPL-2.0 */
/* Any notification means "check again"; a check asks the kernel's own route lookup. */
#include "tun/route.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "tun/netlink.h"

enum {
	MAX_NOTIFICATIONS = 512,          /* of one route_monitor_read() */
	IPV6_RULE_GROUP = 1U << (19 - 1), /* RTNLGRP_IPV6_RULE has no RTMGRP_ name */
};

int route_monitor_open(struct route_monitor *ret)
{
	int query_fd CLEANUP(close_fdp) = nl_open(0);
	if (query_fd < 0)
		return query_fd;
	int fd = nl_open(RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
			 RTMGRP_IPV6_ROUTE | RTMGRP_IPV4_RULE | IPV6_RULE_GROUP);
	if (fd < 0)
		return fd;
	*ret = (struct route_monitor){ .fd = fd, .query_fd = TAKE_FD(query_fd) };
	return 0;
}

bool route_monitor_read(struct route_monitor *m)
{
	bool changed = false;
	for (int i = 0; i < MAX_NOTIFICATIONS; i++) {
		uint8_t byte; /* what exactly it was does not matter */
		if (recv(m->fd, &byte, sizeof(byte), MSG_DONTWAIT) < 0 && errno == EAGAIN)
			break;
		changed = true; /* also on ENOBUFS: something was lost */
	}
	return changed;
}

/* The kernel's route to @dst, from @src if not NULL. 0 and *@ret the route, or -errno. */
static int route4_get(int fd, const struct in_addr *dst, const struct in_addr *src, uint32_t fwmark,
		      struct nl_answer *ret)
{
	struct rtmsg rt = { .rtm_family = AF_INET, .rtm_dst_len = 32 };
	struct nl_request rq;
	if (src)
		rt.rtm_src_len = 32;
	nl_begin(&rq, RTM_GETROUTE, (struct bytes){ (const uint8_t *)&rt, sizeof(rt) });
	nl_put(&rq, RTA_DST, dst, sizeof(*dst));
	if (src)
		nl_put(&rq, RTA_SRC, src, sizeof(*src));
	if (fwmark != 0)
		nl_put_u32(&rq, RTA_MARK, fwmark);
	int r = nl_transact(fd, &rq, ret);
	return r == 0 && ret->body.len < sizeof(rt) ? -EPROTO : r;
}

static bool is_local4(int fd, const struct in_addr *addr)
{
	struct nl_answer answer;
	struct rtmsg rt;
	if (route4_get(fd, addr, NULL, 0, &answer) < 0)
		return false;
	memcpy(&rt, answer.body.data, sizeof(rt));
	return rt.rtm_type == RTN_LOCAL;
}

static bool source4_holds(int fd, const struct endpoint *e, uint32_t fwmark)
{
	struct nl_answer answer;
	int r = route4_get(fd, &e->to.in4.sin_addr, &e->from.in4, fwmark, &answer);
	if (r < 0) /* no route at all is no reason to forget a source that is still ours */
		return is_local4(fd, &e->from.in4);
	uint32_t oif = nl_find_u32(answer.body, sizeof(struct rtmsg), RTA_OIF, e->from_ifindex);
	return e->from_ifindex == 0 || oif == e->from_ifindex;
}

/* IPv6 keeps a source as long as the address exists, whatever the route. */
static bool source6_holds(int fd, const struct endpoint *e)
{
	bool is_scoped = IN6_IS_ADDR_LINKLOCAL(&e->from.in6);
	struct ifaddrmsg ifa = { .ifa_family = AF_INET6,
				 .ifa_index = is_scoped ? e->from_ifindex : 0 };
	struct nl_request rq;
	struct nl_answer answer;
	nl_begin(&rq, RTM_GETADDR, (struct bytes){ (const uint8_t *)&ifa, sizeof(ifa) });
	nl_put(&rq, IFA_ADDRESS, &e->from.in6, sizeof(e->from.in6));
	return nl_transact(fd, &rq, &answer) != -EADDRNOTAVAIL;
}

bool route_source_holds(struct route_monitor *m, const struct endpoint *e, uint32_t fwmark)
{
	if (!endpoint_has_source(e))
		return true;
	if (e->to.sa.sa_family == AF_INET)
		return source4_holds(m->query_fd, e, fwmark);
	return source6_holds(m->query_fd, e);
}

void route_monitor_close(struct route_monitor *m)
{
	close_fdp(&m->fd);
	close_fdp(&m->query_fd);
	m->fd = -1;
	m->query_fd = -1;
}

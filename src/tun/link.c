/* SPDX-License-Identifier: MPL-2.0 */
/* Notifications only say "look again" (and whether the interface was down meanwhile): the state comes
 * from a query, so that no order of events can mislead us. */
#include "tun/link.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/ip.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "tun/netlink.h"

enum {
	IFLA_GSO_IPV4_MAX_SIZE_ = 63, /* Linux 6.3; missing in older headers */
	ADDR_GEN_NONE = 1,            /* IN6_ADDR_GEN_MODE_NONE */
	SEND_REDIRECTS = 6,           /* IPV4_DEVCONF_SEND_REDIRECTS */
	MAX_UDP_RUN = 65507,          /* bytes of one UDP_SEGMENT send */
	MAX_UDP_SEGMENTS = 128,       /* of one UDP_SEGMENT send */
	DATA_OVERHEAD = 32,           /* bytes that a transport message adds to a full packet */
	TCP_HEADERS = 52,             /* bytes: IPv4, TCP, time stamps */
	MAX_NOTIFICATIONS = 512,      /* of one link_monitor_read() */
	NSID_NONE = -1,
};

static void link_request(struct nl_request *rq, uint16_t type, uint32_t ifindex)
{
	struct ifinfomsg ifi = { .ifi_family = AF_UNSPEC, .ifi_index = (int)ifindex };
	nl_begin(rq, type, (struct bytes){ (const uint8_t *)&ifi, sizeof(ifi) });
}

static int link_set_u32(int fd, uint32_t ifindex, uint16_t attr, uint32_t v)
{
	struct nl_request rq;
	link_request(&rq, RTM_SETLINK, ifindex);
	nl_put_u32(&rq, attr, v);
	return nl_transact(fd, &rq, NULL);
}

static int link_set_no_addr_gen(int fd, uint32_t ifindex)
{
	struct nl_request rq;
	link_request(&rq, RTM_SETLINK, ifindex);
	size_t spec = nl_nest_begin(&rq, IFLA_AF_SPEC);
	size_t inet6 = nl_nest_begin(&rq, AF_INET6);
	nl_put(&rq, IFLA_INET6_ADDR_GEN_MODE, &(uint8_t){ ADDR_GEN_NONE }, 1);
	nl_nest_end(&rq, inet6);
	nl_nest_end(&rq, spec);
	return nl_transact(fd, &rq, NULL);
}

static int link_set_no_redirects(int fd, uint32_t ifindex)
{
	struct nl_request rq;
	link_request(&rq, RTM_SETLINK, ifindex);
	size_t spec = nl_nest_begin(&rq, IFLA_AF_SPEC);
	size_t inet = nl_nest_begin(&rq, AF_INET);
	size_t conf = nl_nest_begin(&rq, IFLA_INET_CONF);
	nl_put_u32(&rq, SEND_REDIRECTS, 0);
	nl_nest_end(&rq, conf);
	nl_nest_end(&rq, inet);
	nl_nest_end(&rq, spec);
	return nl_transact(fd, &rq, NULL);
}

/* Since Linux 6.3 IPv4 has a limit of its own; before, it obeys the common one. */
static int link_set_gso(int fd, uint32_t ifindex, uint32_t size)
{
	int r = link_set_u32(fd, ifindex, IFLA_GSO_MAX_SIZE, size);
	if (r == 0)
		(void)link_set_u32(fd, ifindex, IFLA_GSO_IPV4_MAX_SIZE_, size);
	return r;
}

int link_setup(const char *name, const struct link_params *params, unsigned *ret_done)
{
	uint32_t ifindex = if_nametoindex(name);
	if (ifindex == 0)
		return -errno;
	int fd CLEANUP(close_fdp) = nl_open(0);
	if (fd < 0)
		return fd;
	if (params->mtu > 0) {
		int r = link_set_u32(fd, ifindex, IFLA_MTU, params->mtu);
		if (r < 0)
			return r;
	}

	unsigned done = 0;
	if (params->txqueuelen > 0 &&
	    link_set_u32(fd, ifindex, IFLA_TXQLEN, params->txqueuelen) == 0)
		done |= LINK_TXQUEUELEN;
	if (params->gso_max_size > 0 && link_set_gso(fd, ifindex, params->gso_max_size) == 0)
		done |= LINK_GSO_MAX_SIZE;
	if (link_set_no_addr_gen(fd, ifindex) == 0)
		done |= LINK_NO_ADDR_GEN;
	if (link_set_no_redirects(fd, ifindex) == 0)
		done |= LINK_NO_REDIRECTS;
	if (ret_done)
		*ret_done = done;
	return 0;
}

uint32_t link_gso_max_size(uint32_t mtu)
{
	mtu = MAX(mtu, 2U * TCP_HEADERS);
	uint32_t n_segments = MIN(MAX_UDP_RUN / (mtu + DATA_OVERHEAD), MAX_UDP_SEGMENTS);
	/* MTU 1420: 45 segments of 1452 bytes outside are 45 x 1368 + 52 inside. */
	return MIN(MAX(n_segments, 1U) * (mtu - TCP_HEADERS) + TCP_HEADERS, 65535U);
}

static bool same_namespace(int a, int b)
{
	struct stat sa, sb;
	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

/* The id by which this socket's namespace knows the one of @ns_fd; NSID_NONE if it has none. */
static int nsid_get(int nl_fd, int ns_fd)
{
	struct rtgenmsg gen = { .rtgen_family = AF_UNSPEC };
	struct nl_request rq;
	struct nl_answer answer;
	nl_begin(&rq, RTM_GETNSID, (struct bytes){ (const uint8_t *)&gen, sizeof(gen) });
	nl_put_u32(&rq, NETNSA_FD, (uint32_t)ns_fd);
	if (nl_transact(nl_fd, &rq, &answer) < 0)
		return NSID_NONE;
	return (int)nl_find_u32(answer.body, sizeof(gen), NETNSA_NSID, (uint32_t)NSID_NONE);
}

/* As nsid_get(), but has one made if there is none. */
static int nsid_make(int nl_fd, int ns_fd)
{
	int id = nsid_get(nl_fd, ns_fd);
	if (id >= 0)
		return id;

	struct rtgenmsg gen = { .rtgen_family = AF_UNSPEC };
	struct nl_request rq;
	nl_begin(&rq, RTM_NEWNSID, (struct bytes){ (const uint8_t *)&gen, sizeof(gen) });
	nl_put_u32(&rq, NETNSA_FD, (uint32_t)ns_fd);
	nl_put_u32(&rq, NETNSA_NSID, (uint32_t)NSID_NONE);
	if (nl_transact(nl_fd, &rq, NULL) < 0)
		return NSID_NONE;
	return nsid_get(nl_fd, ns_fd);
}

/* Of an ioctl of the TUN's descriptor that failed: -ENODEV, there is no interface any more, which nothing
 * but EBADFD and EBADF tells; or another -errno. */
static int tun_error(void)
{
	if (errno == EBADFD || errno == EBADF)
		return -ENODEV;
	return errno == ENODEV ? -EIO : -errno;
}

/* Finds the TUN's namespace. 0, -ENODEV: there is no TUN any more, or -EAGAIN: its namespace is being
 * torn down. */
static int monitor_locate(struct link_monitor *m)
{
	int there CLEANUP(close_fdp) = ioctl(m->tun_fd, TUNGETDEVNETNS);
	if (there < 0 && (errno == EPERM || errno == ENOTTY || errno == EINVAL)) {
		m->nsid = NSID_NONE; /* no permission, or a kernel before 5.9: assume ours */
		return errno == EINVAL ? -EAGAIN : 0;
	}
	if (there < 0)
		return tun_error();

	int here CLEANUP(close_fdp) = ioctl(m->query_fd, SIOCGSKNS);
	m->is_away = here >= 0 && !same_namespace(here, there);
	m->nsid = m->is_away ? nsid_make(m->query_fd, there) : nsid_get(m->query_fd, there);
	return 0;
}

static int monitor_query(struct link_monitor *m, struct link_state *state)
{
	struct ifreq ifr = { 0 };
	if (ioctl(m->tun_fd, TUNGETIFF, &ifr) < 0)
		return tun_error();
	ifr.ifr_name[IFNAMSIZ - 1] = '\0';

	struct nl_request rq;
	struct nl_answer answer;
	struct ifinfomsg ifi;
	link_request(&rq, RTM_GETLINK, 0);
	nl_put(&rq, IFLA_IFNAME, ifr.ifr_name, strlen(ifr.ifr_name) + 1);
	nl_put_u32(&rq, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	if (m->is_away)
		nl_put_u32(&rq, IFLA_TARGET_NETNSID, (uint32_t)m->nsid);
	int r = nl_transact(m->query_fd, &rq, &answer);
	if (r < 0)
		return r == -ENODEV ? -EAGAIN : r; /* renamed or moved this very moment */
	if (answer.body.len < sizeof(ifi))
		return -EPROTO;

	memcpy(&ifi, answer.body.data, sizeof(ifi));
	state->is_up = ifi.ifi_flags & IFF_UP;
	state->mtu = nl_find_u32(answer.body, sizeof(ifi), IFLA_MTU, state->mtu);
	state->ifindex = (uint32_t)ifi.ifi_index;
	memcpy(state->name, ifr.ifr_name, sizeof(state->name));
	return 0;
}

/* Namespace id of a notification; without the control message it is our own. */
static int notification_nsid(struct msghdr *msg)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	int nsid = NSID_NONE;
	if (c && c->cmsg_level == SOL_NETLINK && c->cmsg_type == NETLINK_LISTEN_ALL_NSID &&
	    c->cmsg_len >= CMSG_LEN(sizeof(nsid)))
		memcpy(&nsid, CMSG_DATA(c), sizeof(nsid));
	return nsid;
}

/* Empties the socket. Returns whether our interface was reported down. */
static bool monitor_drain(struct link_monitor *m)
{
	bool was_down = false;
	for (int i = 0; i < MAX_NOTIFICATIONS; i++) {
		struct {
			struct nlmsghdr h;
			struct ifinfomsg ifi;
		} got; /* the rest is cut off: the state comes from a query */
		union {
			struct cmsghdr align;
			uint8_t b[CMSG_SPACE(sizeof(int))];
		} control;
		struct iovec iov = { &got, sizeof(got) };
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = &control,
				      .msg_controllen = sizeof(control) };
		ssize_t n = recvmsg(m->fd, &msg, MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n == (ssize_t)sizeof(got) && got.h.nlmsg_type == RTM_NEWLINK &&
		    (uint32_t)got.ifi.ifi_index == m->ifindex &&
		    notification_nsid(&msg) == m->nsid && !(got.ifi.ifi_flags & IFF_UP))
			was_down = true;
	}
	return was_down;
}

int link_monitor_read(struct link_monitor *m, struct link_state *ret)
{
	bool was_down = monitor_drain(m);
	struct link_state state = { 0 };
	int r = monitor_locate(m);
	if (r == 0)
		r = monitor_query(m, &state);
	if (r == -EAGAIN) { /* it moved or was renamed between the two, or is about to vanish */
		r = monitor_locate(m);
		if (r == 0)
			r = monitor_query(m, &state);
	}
	m->was_down |= was_down;
	if (r < 0)
		return r;

	m->ifindex = state.ifindex;
	state.was_down = TAKE(m->was_down, false);
	state.must_poll = m->is_away && (!m->hears_all || m->nsid == NSID_NONE);
	*ret = state;
	return 0;
}

int link_monitor_set_gso(struct link_monitor *m, uint32_t size)
{
	/* RTM_SETLINK finds interfaces of the socket's own namespace only; IFLA_TARGET_NETNSID would
	 * move one. */
	return m->is_away ? -EOPNOTSUPP : link_set_gso(m->query_fd, m->ifindex, size);
}

int link_monitor_open(struct link_monitor *ret, int tun_fd)
{
	int query_fd CLEANUP(close_fdp) = nl_open(0);
	if (query_fd < 0)
		return query_fd;
	int fd CLEANUP(close_fdp) = nl_open(RTMGRP_LINK);
	if (fd < 0)
		return fd;
	struct link_monitor m = {
		.fd = fd, .query_fd = query_fd, .tun_fd = tun_fd, .nsid = NSID_NONE
	};
	m.hears_all =
		setsockopt(fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &(int){ 1 }, sizeof(int)) == 0;
	struct link_state state = { 0 };
	int r = link_monitor_read(&m, &state);
	if (r < 0)
		return r;
	fd = -1;
	query_fd = -1;
	*ret = m;
	return 0;
}

void link_monitor_close(struct link_monitor *m)
{
	close_fdp(&m->fd);
	close_fdp(&m->query_fd);
	m->fd = -1;
	m->query_fd = -1;
}

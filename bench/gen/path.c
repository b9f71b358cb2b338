/* SPDX-License-Identifier: MPL-2.0 */
/* By rtnetlink: route, link, neighbour. */
#include "path.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if_arp.h>
#include <string.h>

#include "base/cleanup.h"
#include "gen.h"
#include "tun/netlink.h"

#define NEIGHBOUR_TRIES  50
#define NEIGHBOUR_GAP_NS (20 * NSEC_PER_MSEC)

/* An IP address as netlink has it. */
struct hop {
	uint8_t family;
	uint8_t len;
	uint8_t address[sizeof(struct in6_addr)];
};

static struct hop hop_to(const struct sockaddr_in6 *to)
{
	struct hop h = { .family = (uint8_t)to->sin6_family, .len = sizeof(struct in6_addr) };

	if (h.family == AF_INET) {
		h.len = sizeof(struct in_addr);
		memcpy(h.address, &((const struct sockaddr_in *)(const void *)to)->sin_addr, h.len);
	} else {
		memcpy(h.address, &to->sin6_addr, h.len);
	}
	return h;
}

/* Puts the interface into @path and replaces *@hop by the gateway, if there is one. */
static const char *find_route(int fd, struct path *path, struct hop *hop)
{
	struct rtmsg m = { .rtm_family = hop->family, .rtm_dst_len = (uint8_t)(hop->len * 8) };
	struct nl_request rq;
	struct nl_answer answer;

	nl_begin(&rq, RTM_GETROUTE, (struct bytes){ (const uint8_t *)&m, sizeof(m) });
	nl_put(&rq, RTA_DST, hop->address, hop->len);
	if (nl_transact(fd, &rq, &answer) < 0 || answer.body.len < sizeof(m))
		return "there is no route";
	memcpy(&m, answer.body.data, sizeof(m));
	if (m.rtm_type != RTN_UNICAST)
		return "the address is no other host's";
	path->ifindex = (int)nl_find_u32(answer.body, sizeof(m), RTA_OIF, 0);
	if (nl_find(answer.body, sizeof(m), RTA_VIA).data)
		return "the gateway is of another family";
	struct bytes gateway = nl_find(answer.body, sizeof(m), RTA_GATEWAY);
	if (gateway.data && gateway.len == hop->len)
		memcpy(hop->address, gateway.data, hop->len);
	return NULL;
}

static const char *find_link(int fd, struct path *path)
{
	struct ifinfomsg m = { .ifi_family = AF_UNSPEC, .ifi_index = path->ifindex };
	struct nl_request rq;
	struct nl_answer answer;

	nl_begin(&rq, RTM_GETLINK, (struct bytes){ (const uint8_t *)&m, sizeof(m) });
	if (nl_transact(fd, &rq, &answer) < 0 || answer.body.len < sizeof(m))
		return "the interface has gone";
	memcpy(&m, answer.body.data, sizeof(m));
	if (m.ifi_type != ARPHRD_ETHER && m.ifi_type != ARPHRD_NONE)
		return "the interface is neither like Ethernet nor without link layer";
	path->is_ethernet = m.ifi_type == ARPHRD_ETHER;
	struct bytes mac = nl_find(answer.body, sizeof(m), IFLA_ADDRESS);
	if (path->is_ethernet && mac.data && mac.len == PATH_MAC_LEN)
		memcpy(path->mac, mac.data, PATH_MAC_LEN);
	path->mtu = nl_find_u32(answer.body, sizeof(m), IFLA_MTU, 0);
	return NULL;
}

static void begin_neighbour(struct nl_request *rq, uint16_t type, struct ndmsg m,
			    const struct hop *hop)
{
	m.ndm_family = hop->family;
	nl_begin(rq, type, (struct bytes){ (const uint8_t *)&m, sizeof(m) });
	nl_put(rq, NDA_DST, hop->address, hop->len);
}

static bool knows_neighbour(int fd, struct path *path, const struct hop *hop)
{
	struct ndmsg m = { .ndm_ifindex = path->ifindex };
	struct nl_request rq;
	struct nl_answer answer;

	begin_neighbour(&rq, RTM_GETNEIGH, m, hop);
	if (nl_transact(fd, &rq, &answer) < 0 || answer.body.len < sizeof(m))
		return false;
	memcpy(&m, answer.body.data, sizeof(m));
	struct bytes mac = nl_find(answer.body, sizeof(m), NDA_LLADDR);
	if ((m.ndm_state & (NUD_INCOMPLETE | NUD_FAILED | NUD_NONE)) || !mac.data ||
	    mac.len != PATH_MAC_LEN)
		return false;
	memcpy(path->next_mac, mac.data, PATH_MAC_LEN);
	return true;
}

/* The kernel asks as soon as somebody says that he uses the entry. */
static int use_neighbour(int fd, const struct path *path, const struct hop *hop)
{
	struct ndmsg m = { .ndm_ifindex = path->ifindex, .ndm_flags = NTF_USE };
	struct nl_request rq;

	begin_neighbour(&rq, RTM_NEWNEIGH, m, hop);
	((struct nlmsghdr *)(void *)rq.buf)->nlmsg_flags |= NLM_F_CREATE;
	return nl_transact(fd, &rq, NULL);
}

static const char *find_neighbour(int fd, struct path *path, const struct hop *hop)
{
	for (unsigned i = 0; i < NEIGHBOUR_TRIES && !gen_is_stopped(); i++) {
		if (knows_neighbour(fd, path, hop))
			return NULL;
		if (i == 0 && use_neighbour(fd, path, hop) < 0)
			break;
		gen_sleep_until(gen_now_ns() + NEIGHBOUR_GAP_NS);
	}
	return "the address of the next station is not to be had";
}

const char *path_find(struct path *ret_path, const struct sockaddr_in6 *to)
{
	struct path path = { 0 };
	struct hop hop = hop_to(to);
	int fd CLEANUP(close_fdp) = nl_open(0);

	if (fd < 0)
		return "there is no rtnetlink";
	const char *why = find_route(fd, &path, &hop);
	if (!why)
		why = find_link(fd, &path);
	if (!why && path.is_ethernet)
		why = find_neighbour(fd, &path, &hop);
	if (!why)
		*ret_path = path;
	return why;
}

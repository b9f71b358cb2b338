/* SPDX-License-Identifier: MPL-2.0 */
/* Control messages are copied in and out: nothing is assumed about alignment or about what the kernel
 * put there. */
#include "udp/cmsg.h"

#include <assert.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#include "base/macro.h"

static_assert(CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int)) +
			      CMSG_SPACE(sizeof(uint16_t)) <=
		      UDP_CMSG_SEND_LEN,
	      "source, traffic class and segment size must fit");
static_assert(CMSG_SPACE(sizeof(struct in6_pktinfo)) + 2 * CMSG_SPACE(sizeof(int)) <=
		      UDP_CMSG_RECV_LEN,
	      "destination, traffic class and segment size must fit");

/* Appends one message at @used; returns the new end. */
static size_t put(uint8_t *control, size_t used, int level, int type, struct bytes value)
{
	/* Not a struct cmsghdr of our own: it ends in a flexible array. */
	uint8_t *at = control + used;
	memset(at, 0, CMSG_SPACE(value.len));
	memcpy(at + offsetof(struct cmsghdr, cmsg_len), &(size_t){ CMSG_LEN(value.len) },
	       sizeof(size_t));
	memcpy(at + offsetof(struct cmsghdr, cmsg_level), &level, sizeof(level));
	memcpy(at + offsetof(struct cmsghdr, cmsg_type), &type, sizeof(type));
	memcpy(at + CMSG_LEN(0), value.data, value.len);
	return used + CMSG_SPACE(value.len);
}

#define PUT(control, used, level, type, value) \
	put(control, used, level, type, (struct bytes){ (const uint8_t *)&(value), sizeof(value) })

static size_t put_source(uint8_t *control, const struct endpoint *to)
{
	if (to->to.sa.sa_family == AF_INET) {
		struct in_pktinfo info = { .ipi_spec_dst = to->from.in4 };
		return PUT(control, 0, IPPROTO_IP, IP_PKTINFO, info);
	}
	/* Never the interface for global addresses: routing decides it (P-348). */
	struct in6_pktinfo info = { .ipi6_addr = to->from.in6 };
	if (IN6_IS_ADDR_LINKLOCAL(&to->to.in6.sin6_addr))
		info.ipi6_ifindex = to->to.in6.sin6_scope_id ? to->to.in6.sin6_scope_id
							     : to->from_ifindex;
	return PUT(control, 0, IPPROTO_IPV6, IPV6_PKTINFO, info);
}

size_t udp_cmsg_build(union udp_cmsg_send *control, const struct endpoint *to, uint8_t tos,
		      uint16_t segment_len)
{
	uint8_t *b = control->b;
	size_t used = 0;
	static_assert(sizeof(((struct cmsghdr *)0)->cmsg_len) == sizeof(size_t), "see put()");
	if (endpoint_has_source(to))
		used = put_source(b, to);
	if (tos != 0) {
		int value = tos;
		if (to->to.sa.sa_family == AF_INET)
			used = PUT(b, used, IPPROTO_IP, IP_TOS, value);
		else
			used = PUT(b, used, IPPROTO_IPV6, IPV6_TCLASS, value);
	}
	if (segment_len != 0)
		used = PUT(b, used, IPPROTO_UDP, UDP_SEGMENT, segment_len);
	return used;
}

/* Copies the value if it is all there. */
static bool get(void *value, size_t len, struct bytes from)
{
	if (from.len < len)
		return false;
	memcpy(value, from.data, len);
	return true;
}

static void parse_ip4(struct udp_received *ret, int type, struct bytes value)
{
	struct in_pktinfo info;
	if (type == IP_TOS && value.len > 0)
		ret->tos = value.data[0]; /* a byte, not an int */
	if (type == IP_PKTINFO && get(&info, sizeof(info), value)) {
		ret->from.from.in4 = info.ipi_spec_dst;
		ret->from.from_ifindex = (uint32_t)info.ipi_ifindex;
	}
}

static void parse_ip6(struct udp_received *ret, int type, struct bytes value)
{
	struct in6_pktinfo info;
	int tclass;
	if (type == IPV6_TCLASS && get(&tclass, sizeof(tclass), value))
		ret->tos = (uint8_t)tclass;
	if (type == IPV6_PKTINFO && get(&info, sizeof(info), value) &&
	    !IN6_IS_ADDR_MULTICAST(&info.ipi6_addr)) { /* that is nothing to answer from */
		ret->from.from.in6 = info.ipi6_addr;
		ret->from.from_ifindex = info.ipi6_ifindex;
	}
}

static void parse_one(struct udp_received *ret, const struct cmsghdr *head, struct bytes value)
{
	int family = ret->from.to.sa.sa_family;
	int segment_len;
	if (head->cmsg_level == IPPROTO_IP && family == AF_INET)
		parse_ip4(ret, head->cmsg_type, value);
	else if (head->cmsg_level == IPPROTO_IPV6 && family == AF_INET6)
		parse_ip6(ret, head->cmsg_type, value);
	else if (head->cmsg_level == IPPROTO_UDP && head->cmsg_type == UDP_GRO &&
		 get(&segment_len, sizeof(segment_len), value) && segment_len > 0)
		ret->segment_len = (uint32_t)segment_len;
}

static void parse_name(struct endpoint *e, struct bytes name)
{
	sa_family_t family;
	if (!get(&family, sizeof(family), name))
		return;
	if (family == AF_INET && get(&e->to.in4, sizeof(e->to.in4), name)) {
		memset(e->to.in4.sin_zero, 0, sizeof(e->to.in4.sin_zero));
	} else if (family == AF_INET6 && get(&e->to.in6, sizeof(e->to.in6), name)) {
		e->to.in6.sin6_flowinfo = 0;
		if (!IN6_IS_ADDR_LINKLOCAL(&e->to.in6.sin6_addr))
			e->to.in6.sin6_scope_id = 0;
	}
}

void udp_cmsg_parse(struct udp_received *ret, struct bytes name, struct bytes control)
{
	memset(ret, 0, sizeof(*ret)); /* endpoints are compared as bytes */
	parse_name(&ret->from, name);

	struct cmsghdr head;
	while (get(&head, sizeof(head), control)) {
		if (head.cmsg_len < CMSG_LEN(0) || head.cmsg_len > control.len)
			return;
		parse_one(
			ret, &head,
			(struct bytes){ control.data + CMSG_LEN(0), head.cmsg_len - CMSG_LEN(0) });
		size_t step = MIN(CMSG_ALIGN(head.cmsg_len), control.len);
		control.data += step;
		control.len -= step;
	}
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Control messages: what is built is what sendmsg takes, and no input confuses the parser
 * (PITFALLS 25). */
#include <linux/udp.h>
#include <netinet/in.h>
#include <stdlib.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "device/endpoint_of.h"
#include "udp/cmsg.h"

static const struct cmsghdr *find(union udp_cmsg_send *c, size_t len, int level, int type)
{
	struct msghdr m = { .msg_control = c, .msg_controllen = len };
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
		if (h->cmsg_level == level && h->cmsg_type == type)
			return h;
	return NULL;
}

Test(cmsg, builds_nothing_when_nothing_is_needed)
{
	union udp_cmsg_send c;
	struct endpoint e = endpoint_of("192.0.2.1", "0.0.0.0", 7);
	cr_assert(eq(sz, udp_cmsg_build(&c, &e, 0, 0), 0));
}

Test(cmsg, builds_ipv4_source_tos_and_segment)
{
	union udp_cmsg_send c;
	struct endpoint e = endpoint_of("192.0.2.1", "192.0.2.2", 7);
	size_t len = udp_cmsg_build(&c, &e, 0x88, 1452);
	cr_assert(eq(sz, len,
		     CMSG_SPACE(sizeof(struct in_pktinfo)) + CMSG_SPACE(sizeof(int)) +
			     CMSG_SPACE(sizeof(uint16_t))));

	const struct cmsghdr *h = find(&c, len, IPPROTO_IP, IP_PKTINFO);
	struct in_pktinfo info;
	cr_assert(ne(ptr, (void *)h, NULL));
	memcpy(&info, CMSG_DATA(h), sizeof(info));
	cr_assert(eq(u32, info.ipi_spec_dst.s_addr, e.from.in4.s_addr));
	cr_assert(eq(int, info.ipi_ifindex, 0), "P-348: routing chooses the interface");

	int tos;
	h = find(&c, len, IPPROTO_IP, IP_TOS);
	memcpy(&tos, CMSG_DATA(h), sizeof(tos));
	cr_assert(eq(int, tos, 0x88));
	uint16_t segment;
	h = find(&c, len, IPPROTO_UDP, UDP_SEGMENT);
	memcpy(&segment, CMSG_DATA(h), sizeof(segment));
	cr_assert(eq(u16, segment, 1452));
}

Test(cmsg, names_the_interface_only_for_link_local)
{
	union udp_cmsg_send c;
	struct in6_pktinfo info;
	struct endpoint e = endpoint_of("2001:db8::1", "2001:db8::2", 7);
	size_t len = udp_cmsg_build(&c, &e, 0, 0);
	memcpy(&info, CMSG_DATA(find(&c, len, IPPROTO_IPV6, IPV6_PKTINFO)), sizeof(info));
	cr_assert(eq(u32, info.ipi6_ifindex, 0));
	cr_assert(eq(int, memcmp(&info.ipi6_addr, &e.from.in6, 16), 0));

	e = endpoint_of("fe80::1", "fe80::2", 7);
	len = udp_cmsg_build(&c, &e, 0, 0);
	memcpy(&info, CMSG_DATA(find(&c, len, IPPROTO_IPV6, IPV6_PKTINFO)), sizeof(info));
	cr_assert(eq(u32, info.ipi6_ifindex, 7));
	e.to.in6.sin6_scope_id = 9;
	udp_cmsg_build(&c, &e, 0, 0);
	memcpy(&info, CMSG_DATA(find(&c, len, IPPROTO_IPV6, IPV6_PKTINFO)), sizeof(info));
	cr_assert(eq(u32, info.ipi6_ifindex, 9), "the configured scope wins");
}

/* A control buffer as the kernel would fill it. */
struct made {
	uint8_t b[256];
	size_t len;
};

static void add(struct made *m, int level, int type, const void *value, size_t len)
{
	struct msghdr msg = { .msg_control = m->b + m->len,
			      .msg_controllen = sizeof(m->b) - m->len };
	struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
	h->cmsg_level = level;
	h->cmsg_type = type;
	h->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(h), value, len);
	m->len += CMSG_SPACE(len);
}

static struct made make_ip6(void)
{
	_Alignas(struct cmsghdr) static struct made m;
	memset(&m, 0, sizeof(m));
	struct in6_pktinfo info = { .ipi6_addr = in6addr_loopback, .ipi6_ifindex = 3 };
	add(&m, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	add(&m, IPPROTO_IPV6, IPV6_TCLASS, &(int){ 0x8b }, sizeof(int));
	add(&m, IPPROTO_UDP, UDP_GRO, &(int){ 1452 }, sizeof(int));
	return m;
}

Test(cmsg, parses_ipv6_source_class_and_segment_together)
{
	struct sockaddr_in6 from = { .sin6_family = AF_INET6,
				     .sin6_port = htons(1),
				     .sin6_flowinfo = 5,
				     .sin6_addr = in6addr_loopback,
				     .sin6_scope_id = 4 };
	struct made m = make_ip6();
	struct udp_received got;
	udp_cmsg_parse(&got, (struct bytes){ (uint8_t *)&from, sizeof(from) },
		       (struct bytes){ m.b, m.len });
	cr_assert(eq(int, got.from.to.sa.sa_family, AF_INET6));
	cr_assert(eq(u16, got.from.to.in6.sin6_port, htons(1)));
	cr_assert(eq(u32, got.from.to.in6.sin6_flowinfo, 0));
	cr_assert(eq(u32, got.from.to.in6.sin6_scope_id, 0), "not link-local");
	cr_assert(eq(int, memcmp(&got.from.from.in6, &in6addr_loopback, 16), 0));
	cr_assert(eq(u32, got.from.from_ifindex, 3));
	cr_assert(eq(u8, got.tos, 0x8b));
	cr_assert(eq(u32, got.segment_len, 1452));
}

Test(cmsg, parses_a_tos_of_one_byte)
{
	struct sockaddr_in from = { .sin_family = AF_INET };
	_Alignas(struct cmsghdr) struct made m = { 0 };
	struct in_pktinfo info = { .ipi_ifindex = 2,
				   .ipi_spec_dst.s_addr = 5,
				   .ipi_addr.s_addr = 6 };
	add(&m, IPPROTO_IP, IP_TOS, &(uint8_t){ 0x03 }, 1);
	add(&m, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	struct udp_received got;
	udp_cmsg_parse(&got, (struct bytes){ (uint8_t *)&from, sizeof(from) },
		       (struct bytes){ m.b, m.len });
	cr_assert(eq(u8, got.tos, 3));
	cr_assert(eq(u32, got.from.from.in4.s_addr, 5), "spec_dst, not the destination");
	cr_assert(eq(u32, got.from.from_ifindex, 2));
	cr_assert(eq(u32, got.segment_len, 0));
}

Test(cmsg, has_no_source_for_a_multicast_destination)
{
	struct sockaddr_in6 from = { .sin6_family = AF_INET6 };
	_Alignas(struct cmsghdr) struct made m = { 0 };
	struct in6_pktinfo info = { .ipi6_ifindex = 2 };
	inet_pton(AF_INET6, "ff02::1", &info.ipi6_addr);
	add(&m, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	struct udp_received got;
	udp_cmsg_parse(&got, (struct bytes){ (uint8_t *)&from, sizeof(from) },
		       (struct bytes){ m.b, m.len });
	cr_assert(not(endpoint_has_source(&got.from)));
}

/* Every prefix at every alignment, in a heap block of exactly that size (ASan watches its end). */
Test(cmsg, survives_truncation_at_any_alignment)
{
	struct sockaddr_in6 from = { .sin6_family = AF_INET6 };
	struct made m = make_ip6();
	for (size_t shift = 0; shift < 8; shift++) {
		for (size_t len = 0; len <= m.len; len++) {
			uint8_t *copy = malloc(shift + len + 1);
			memcpy(copy + shift, m.b, len);
			struct udp_received got;
			udp_cmsg_parse(&got, (struct bytes){ (uint8_t *)&from, sizeof(from) },
				       (struct bytes){ copy + shift, len });
			bool all = len >= m.len - (CMSG_SPACE(4) - CMSG_LEN(4));
			cr_expect(eq(u32, got.segment_len, all ? 1452 : 0));
			cr_expect(eq(u8, got.tos, len >= CMSG_SPACE(20) + CMSG_LEN(4) ? 0x8b : 0));
			free(copy);
		}
	}
}

Test(cmsg, survives_random_bytes)
{
	srand(1);
	for (int i = 0; i < 200000; i++) {
		uint8_t name[28], control[128];
		for (size_t k = 0; k < sizeof(name); k++)
			name[k] = (uint8_t)(rand() % 12);
		for (size_t k = 0; k < sizeof(control); k++)
			control[k] = (uint8_t)(k % 8 < 2 ? rand() % 48 : rand() % 3);
		size_t n = (size_t)rand() % sizeof(control);
		struct udp_received got;
		udp_cmsg_parse(&got, (struct bytes){ name, (size_t)rand() % sizeof(name) },
			       (struct bytes){ control, n });
		int family = got.from.to.sa.sa_family;
		cr_assert(family == 0 || family == AF_INET || family == AF_INET6, "%d", family);
	}
}

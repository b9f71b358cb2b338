/* SPDX-License-Identifier: MPL-2.0 */
/* Headers are copied from a template; per datagram there are lengths, the id and two sums. */
#include "packet.h"

#include <errno.h>
#include <net/ethernet.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "packet/checksum.h"
#include "socket.h"

enum {
	VNET_LEN = sizeof(struct virtio_net_hdr),
	V4_LEN = 20,
	V6_LEN = 40,
	UDP_LEN = 8,
	UDP_CHECK_AT = 6,
	TTL = 64, /* the kernel's default */
	DONT_FRAGMENT = 0x4000,
};

uint32_t packet_overhead(bool is_v6)
{
	return (is_v6 ? V6_LEN : V4_LEN) + UDP_LEN;
}

int packet_open(struct sockaddr_ll *ret_to, const struct path *path, bool is_v6)
{
	/* Protocol 0: no packet is ever cloned for us. */
	int fd CLEANUP(close_fdp) = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	int on = 1;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) < 0)
		return -errno;
	socket_set_sending(fd);
	*ret_to =
		(struct sockaddr_ll){ .sll_family = AF_PACKET,
				      .sll_protocol = htons(is_v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IP),
				      .sll_ifindex = path->ifindex };
	return TAKE_FD(fd);
}

static void init_ethernet(uint8_t *ethernet, const struct path *path, bool is_v6)
{
	memcpy(ethernet, path->next_mac, PATH_MAC_LEN);
	memcpy(ethernet + PATH_MAC_LEN, path->mac, PATH_MAC_LEN);
	store_be16(ethernet + PATH_MAC_LEN + PATH_MAC_LEN, is_v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IP);
}

static void init_v4(uint8_t *ip, const struct sockaddr_in *from, const struct sockaddr_in *to)
{
	ip[0] = 0x45;
	store_be16(ip + 6, DONT_FRAGMENT);
	ip[8] = TTL;
	ip[9] = IPPROTO_UDP;
	memcpy(ip + 12, &from->sin_addr, 4);
	memcpy(ip + 16, &to->sin_addr, 4);
}

static void init_v6(uint8_t *ip, uint32_t flow_label, const struct sockaddr_in6 *from,
		    const struct sockaddr_in6 *to)
{
	store_be32(ip, UINT32_C(6) << 28 | (flow_label & 0xfffff));
	ip[6] = IPPROTO_UDP;
	ip[7] = TTL;
	memcpy(ip + 8, &from->sin6_addr, 16);
	memcpy(ip + 24, &to->sin6_addr, 16);
}

int packet_init_head(struct packet_head *ret_head, const struct path *path, int udp_fd)
{
	struct packet_head h = { 0 };
	struct sockaddr_in6 from, to; /* IPv4 is in there as sockaddr_in */
	socklen_t from_len = sizeof(from), to_len = sizeof(to);
	uint32_t random;

	if (getsockname(udp_fd, (struct sockaddr *)&from, &from_len) < 0 ||
	    getpeername(udp_fd, (struct sockaddr *)&to, &to_len) < 0 ||
	    getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -errno;
	h.is_v6 = to.sin6_family == AF_INET6;
	h.id = (uint16_t)random;
	h.ip_at = VNET_LEN;
	if (path->is_ethernet) {
		init_ethernet(h.bytes + VNET_LEN, path, h.is_v6);
		h.ip_at += ETHER_HDR_LEN;
	}
	uint8_t *ip = h.bytes + h.ip_at;
	uint8_t *udp = ip + (h.is_v6 ? V6_LEN : V4_LEN);
	if (h.is_v6)
		init_v6(ip, random, &from, &to);
	else
		init_v4(ip, (struct sockaddr_in *)(void *)&from, (struct sockaddr_in *)(void *)&to);
	memcpy(udp, &from.sin6_port, 2); /* at the same place in both families */
	memcpy(udp + 2, &to.sin6_port, 2);
	struct virtio_net_hdr vnet = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				       .csum_start = (uint16_t)(udp - h.bytes - VNET_LEN),
				       .csum_offset = UDP_CHECK_AT };
	memcpy(h.bytes, &vnet, sizeof(vnet));
	h.len = (uint32_t)(udp - h.bytes) + UDP_LEN;
	*ret_head = h;
	return 0;
}

void packet_write_head(struct packet_head *h, uint8_t *at, uint32_t payload_len)
{
	uint8_t *ip = at + h->ip_at;
	uint16_t udp_len = (uint16_t)(UDP_LEN + payload_len);
	uint16_t sum;

	memcpy(at, h->bytes, h->len);
	if (h->is_v6) {
		store_be16(ip + 4, udp_len);
		store_be16(ip + V6_LEN + 4, udp_len);
		sum = checksum_fold(checksum_pseudo_v6(ip + 8, IPPROTO_UDP, udp_len));
		memcpy(ip + V6_LEN + UDP_CHECK_AT, &sum, sizeof(sum));
		return;
	}
	store_be16(ip + 2, (uint16_t)(V4_LEN + udp_len));
	store_be16(ip + 4, h->id++);
	checksum_store(ip + 10, checksum_add(0, ip, V4_LEN));
	store_be16(ip + V4_LEN + 4, udp_len);
	sum = checksum_fold(checksum_pseudo_v4(ip + 12, IPPROTO_UDP, udp_len));
	memcpy(ip + V4_LEN + UDP_CHECK_AT, &sum, sizeof(sum));
}

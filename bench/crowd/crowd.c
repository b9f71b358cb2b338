/* SPDX-License-Identifier: MPL-2.0 */
/* Keys and socket of the crowd. One socket serves all peers: a control message names the source
 * address of each datagram, which the whole 198.18.0.0/15 being local allows. */
#include "crowd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "crypto/blake2s.h"

enum { SOCKET_BUFFER = 32 << 20 };

uint64_t crowd_now_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

void crowd_private_key(uint8_t key[NOISE_KEY_LEN], const char *seed, uint32_t peer)
{
	const le32_t number = le32(peer);
	const struct bytes part[] = {
		{ (const uint8_t *)seed, strlen(seed) },
		{ number.b, sizeof(number.b) },
	};
	blake2s_hash(key, part, ARRAY_SIZE(part));
}

static int open_socket(uint16_t port)
{
	const int size = SOCKET_BUFFER, on = 1;
	const struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	if (setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) < 0 ||
	    bind(fd, (const struct sockaddr *)&any, sizeof(any)) < 0) {
		int r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int crowd_init(struct crowd *c, const struct sockaddr_in *gateway, uint16_t port,
	       const uint8_t gateway_key[NOISE_KEY_LEN], const char *seed, uint32_t n_peers)
{
	*c = (struct crowd){ .fd = -1, .gateway = *gateway, .n_peers = n_peers };
	c->peer = calloc(n_peers, sizeof(*c->peer));
	if (!c->peer)
		return -ENOMEM;
	for (uint32_t i = 0; i < n_peers; i++) {
		uint8_t key[NOISE_KEY_LEN];

		crowd_private_key(key, seed, i);
		identity_set(&c->peer[i].identity, key);
		handshake_init(&c->peer[i].hs, gateway_key);
		if (!handshake_precompute(&c->peer[i].hs, &c->peer[i].identity))
			return -EKEYREJECTED;
	}
	c->fd = open_socket(port);
	return c->fd < 0 ? c->fd : 0;
}

void crowd_finish(struct crowd *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->peer);
}

int crowd_send_batch(const struct crowd *c, const uint32_t *peer, uint8_t *const *datagram,
		     const uint32_t *len, uint32_t n)
{
	struct mmsghdr msg[CROWD_BATCH];
	struct iovec iov[CROWD_BATCH];
	union {
		struct cmsghdr align;
		uint8_t data[CMSG_SPACE(sizeof(struct in_pktinfo))];
	} control[CROWD_BATCH];

	for (uint32_t i = 0; i < n; i++) {
		const struct in_pktinfo info = { .ipi_spec_dst.s_addr =
							 htonl(CROWD_OUTER_NET + peer[i]) };

		iov[i] = (struct iovec){ datagram[i], len[i] };
		control[i].align = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(sizeof(info)),
			.cmsg_level = IPPROTO_IP,
			.cmsg_type = IP_PKTINFO,
		};
		memcpy(CMSG_DATA(&control[i].align), &info, sizeof(info));
		msg[i] = (struct mmsghdr){ .msg_hdr = {
						   .msg_name = (void *)&c->gateway,
						   .msg_namelen = sizeof(c->gateway),
						   .msg_iov = &iov[i],
						   .msg_iovlen = 1,
						   .msg_control = &control[i],
						   .msg_controllen = CMSG_SPACE(sizeof(info)),
					   } };
	}
	int sent = sendmmsg(c->fd, msg, n, 0);
	return sent < 0 ? -errno : sent;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Sends datagrams at a steady rate for some seconds, for tests of what a flood does to others:
 *
 *     flood ADDRESS PORT RATE SECONDS spoof|plain <MESSAGES
 *
 * MESSAGES are datagrams, each behind its length in four bytes (host order), and are sent in turn.
 * spoof: each from another address of 10.0.0.0/8 and port; plain: from our own, and longer than the
 * MTU if they are. Prints how many it sent. */
#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { MAX_MESSAGES = 65536, BATCH = 64, HEADERS = 28 };

struct message {
	uint8_t *data; /* behind room for HEADERS */
	uint32_t len;
};

struct flood {
	int fd;
	bool is_spoofed;
	struct sockaddr_in to;
	struct message message[MAX_MESSAGES];
	uint32_t n_messages;
	uint64_t random;
};

static uint64_t now_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint32_t draw(struct flood *f)
{
	f->random = f->random * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)(f->random >> 33);
}

static bool read_messages(struct flood *f)
{
	uint32_t len;

	while (f->n_messages < MAX_MESSAGES && fread(&len, sizeof(len), 1, stdin) == 1) {
		struct message *m = &f->message[f->n_messages++];
		m->data = len > 65507 ? NULL : malloc(HEADERS + len);
		m->len = len;
		if (!m->data || fread(m->data + HEADERS, 1, len, stdin) != len)
			return false;
	}
	return f->n_messages > 0;
}

/* Headers in front of the message; the kernel fills in lengths and the IP checksum, UDP has none. */
static void spoof(struct flood *f, struct message *m)
{
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.ttl = 64,
		.protocol = IPPROTO_UDP,
		.saddr = htonl(0x0a000001 + draw(f) % 0xfffffe),
		.daddr = f->to.sin_addr.s_addr,
	};
	struct udphdr udp = {
		.source = htons((uint16_t)(1024 + draw(f) % 60000)),
		.dest = f->to.sin_port,
		.len = htons((uint16_t)(sizeof(udp) + m->len)),
	};

	memcpy(m->data, &ip, sizeof(ip));
	memcpy(m->data + sizeof(ip), &udp, sizeof(udp));
}

static uint32_t send_batch(struct flood *f, uint64_t first, uint32_t n)
{
	struct mmsghdr msg[BATCH];
	struct iovec iov[BATCH];

	for (uint32_t i = 0; i < n; i++) {
		struct message *m = &f->message[(first + i) % f->n_messages];
		uint32_t skip = f->is_spoofed ? 0 : HEADERS;
		if (f->is_spoofed)
			spoof(f, m);
		iov[i] = (struct iovec){ m->data + skip, HEADERS + m->len - skip };
		msg[i] = (struct mmsghdr){ .msg_hdr = { .msg_name = &f->to,
							.msg_namelen = sizeof(f->to),
							.msg_iov = &iov[i],
							.msg_iovlen = 1 } };
	}
	int sent = sendmmsg(f->fd, msg, n, 0);
	return sent < 0 ? 0 : (uint32_t)sent;
}

static uint64_t run(struct flood *f, double rate, double seconds)
{
	uint64_t start = now_ns(), n_due = 0, n_sent = 0;

	for (;;) {
		double elapsed = (double)(now_ns() - start) * 1e-9;
		if (elapsed >= seconds)
			return n_sent;
		uint64_t wanted = (uint64_t)(elapsed * rate);
		if (wanted == n_due) { /* a millisecond's worth at a time */
			struct timespec t = { 0, 1000000 };
			(void)nanosleep(&t, NULL);
			continue;
		}
		uint32_t n = wanted - n_due < BATCH ? (uint32_t)(wanted - n_due) : BATCH;
		n_sent += send_batch(f, n_due, n);
		n_due += n; /* what the kernel refuses is not sent again */
	}
}

int main(int argc, char **argv)
{
	static struct flood f;

	if (argc != 6) {
		fprintf(stderr, "usage: flood ADDRESS PORT RATE SECONDS spoof|plain <MESSAGES\n");
		return 2;
	}
	f.to.sin_family = AF_INET;
	f.to.sin_port = htons((uint16_t)atoi(argv[2]));
	f.is_spoofed = strcmp(argv[5], "spoof") == 0;
	f.random = now_ns();
	f.fd = f.is_spoofed ? socket(AF_INET, SOCK_RAW, IPPROTO_RAW)
			    : socket(AF_INET, SOCK_DGRAM, 0);
	if (inet_pton(AF_INET, argv[1], &f.to.sin_addr) != 1 || f.fd < 0 || !read_messages(&f)) {
		perror("flood");
		return 1;
	}
	double seconds = atof(argv[4]);
	printf("%ju\n", (uintmax_t)run(&f, atof(argv[3]), seconds));
	return 0;
}

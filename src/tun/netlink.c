/* SPDX-License-Identifier: MPL-2.0 */
/* Requests are built in place. One at a time: each reads its own answer to the end. */
#include "tun/netlink.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Answers to one request: the message and its acknowledgement, and what an earlier, interrupted
 * request may have left. */
enum { MAX_ANSWERS = 16, ACK_LEN = 1024, SEQUENCE = 1 };

/* The kernel's macros are signed. */
#define ATTR_HEAD_LEN sizeof(struct nlattr)
#define ATTR_SPACE(n) ROUND_UP((size_t)(n), (size_t)NLA_ALIGNTO)

int nl_open(uint32_t groups)
{
	int fd CLEANUP(close_fdp) =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (fd < 0)
		return -errno;

	struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = groups };
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	/* Acknowledgements without a copy of the request, errors of the kernel in full: best effort. */
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &(int){ 1 }, sizeof(int));
	return TAKE_FD(fd);
}

static struct nlmsghdr *request_head(struct nl_request *rq)
{
	return (struct nlmsghdr *)(void *)rq->buf;
}

void nl_begin(struct nl_request *rq, uint16_t type, struct bytes body)
{
	memset(rq, 0, sizeof(*rq));
	assert(NLMSG_SPACE(body.len) <= sizeof(rq->buf));
	struct nlmsghdr *h = request_head(rq);
	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	h->nlmsg_len = (uint32_t)NLMSG_SPACE(body.len);
	memcpy(rq->buf + NLMSG_HDRLEN, body.data, body.len);
}

void nl_put(struct nl_request *rq, uint16_t type, const void *data, size_t len)
{
	struct nlmsghdr *h = request_head(rq);
	struct nlattr a = { .nla_len = (uint16_t)(ATTR_HEAD_LEN + len), .nla_type = type };
	assert(h->nlmsg_len + ATTR_SPACE(a.nla_len) <= sizeof(rq->buf));
	memcpy(rq->buf + h->nlmsg_len, &a, sizeof(a));
	if (len > 0)
		memcpy(rq->buf + h->nlmsg_len + ATTR_HEAD_LEN, data, len);
	h->nlmsg_len += (uint32_t)ATTR_SPACE(a.nla_len);
}

void nl_put_u32(struct nl_request *rq, uint16_t type, uint32_t v)
{
	nl_put(rq, type, &v, sizeof(v));
}

size_t nl_nest_begin(struct nl_request *rq, uint16_t type)
{
	size_t nest = request_head(rq)->nlmsg_len;
	nl_put(rq, type | NLA_F_NESTED, NULL, 0);
	return nest;
}

void nl_nest_end(struct nl_request *rq, size_t nest)
{
	uint16_t len = (uint16_t)(request_head(rq)->nlmsg_len - nest);
	memcpy(rq->buf + nest + offsetof(struct nlattr, nla_len), &len, sizeof(len));
}

/* Looks at one received datagram; @body, if not NULL, gets the message that is not the
 * acknowledgement. 1: go on reading; 0: acknowledged; or -errno. */
static int answer_take(struct bytes got, struct bytes *body)
{
	struct nlmsghdr h;
	while (got.len >= sizeof(h)) {
		memcpy(&h, got.data, sizeof(h));
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > got.len)
			return -EPROTO;
		struct bytes b = { got.data + NLMSG_HDRLEN, h.nlmsg_len - NLMSG_HDRLEN };
		int error;
		if (h.nlmsg_type == NLMSG_ERROR && b.len >= sizeof(error)) {
			memcpy(&error, b.data, sizeof(error));
			return error;
		}
		if (h.nlmsg_type >= NLMSG_MIN_TYPE && body)
			*body = b;
		size_t step = MIN(NLMSG_ALIGN(h.nlmsg_len), got.len);
		got.data += step;
		got.len -= step;
	}
	return 1;
}

/* What an earlier request left unread, if it broke off. */
static void drain(int fd)
{
	uint8_t byte;
	for (int i = 0; i < MAX_ANSWERS && recv(fd, &byte, 1, MSG_DONTWAIT) >= 0; i++)
		;
}

int nl_transact(int fd, struct nl_request *rq, struct nl_answer *answer)
{
	alignas(struct nlmsghdr) uint8_t ack[ACK_LEN]; /* never overwrites the answer */
	struct nlmsghdr *h = request_head(rq);
	struct bytes body = { NULL, 0 };

	drain(fd);
	h->nlmsg_seq = SEQUENCE;
	if (send(fd, rq->buf, h->nlmsg_len, MSG_DONTWAIT) < 0)
		return -errno;
	for (int i = 0; i < MAX_ANSWERS; i++) {
		bool is_first = answer && !body.data;
		uint8_t *into = is_first ? answer->buf : ack;
		size_t room = is_first ? sizeof(answer->buf) : sizeof(ack);
		ssize_t n = recv(fd, into, room, MSG_DONTWAIT | MSG_TRUNC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -EPROTO : -errno;
		if ((size_t)n > room)
			return -EPROTO;
		int r = answer_take((struct bytes){ into, (size_t)n }, is_first ? &body : NULL);
		if (r > 0)
			continue;
		if (r == 0 && answer)
			answer->body = body;
		return r;
	}
	return -EPROTO;
}

struct bytes nl_find(struct bytes body, size_t skip, uint16_t type)
{
	skip = NLMSG_ALIGN(skip);
	struct nlattr a;
	while (skip < body.len && body.len - skip >= sizeof(a)) {
		memcpy(&a, body.data + skip, sizeof(a));
		if (a.nla_len < sizeof(a) || a.nla_len > body.len - skip)
			break;
		if ((a.nla_type & NLA_TYPE_MASK) == type)
			return (struct bytes){ body.data + skip + ATTR_HEAD_LEN,
					       a.nla_len - ATTR_HEAD_LEN };
		skip += ATTR_SPACE(a.nla_len);
	}
	return (struct bytes){ NULL, 0 };
}

uint32_t nl_find_u32(struct bytes body, size_t skip, uint16_t type, uint32_t otherwise)
{
	struct bytes b = nl_find(body, skip, type);
	uint32_t v;
	if (!b.data || b.len != sizeof(v))
		return otherwise;
	memcpy(&v, b.data, sizeof(v));
	return v;
}

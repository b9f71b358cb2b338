/* SPDX-License-Identifier: MPL-2.0 */
/* The crowd as the other side: a gateway that starts again connects to all of its peers. Each initiation
 * is answered at once, and a peer is connected when the first packet of its session opens. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "crowd.h"
#include "crypto/xaead.h"

struct answering {
	struct crowd *crowd;
	struct crowd_handshakes *result;
	uint8_t buffer[CROWD_BATCH][CROWD_DATAGRAM_MAX];
};

/* Which peer a datagram was sent to; n_peers: none. */
static uint32_t addressee(const struct crowd *c, struct msghdr *msg)
{
	for (struct cmsghdr *h = CMSG_FIRSTHDR(msg); h; h = CMSG_NXTHDR(msg, h)) {
		struct in_pktinfo info;

		if (h->cmsg_level != IPPROTO_IP || h->cmsg_type != IP_PKTINFO)
			continue;
		memcpy(&info, CMSG_DATA(h), sizeof(info));
		uint32_t i = ntohl(info.ipi_addr.s_addr) - CROWD_OUTER_NET;
		return i < c->n_peers ? i : c->n_peers;
	}
	return c->n_peers;
}

static bool make_response(struct crowd_peer *p, uint32_t index,
			  const struct message_initiation *msg, uint64_t now)
{
	struct handshake_entropy e = { .index = index };
	struct initiation_opened opened;

	return macs_check_mac1(&p->identity, (const uint8_t *)msg, sizeof(*msg)) &&
	       initiation_open(&opened, &p->identity, msg) &&
	       memcmp(opened.remote_static, p->hs.remote_static, NOISE_KEY_LEN) == 0 &&
	       handshake_consume_initiation(&p->hs, &p->identity, &opened, msg, now) ==
		       HANDSHAKE_OK &&
	       getrandom(e.ephemeral_private, sizeof(e.ephemeral_private), 0) ==
		       (ssize_t)sizeof(e.ephemeral_private) &&
	       handshake_create_response(&p->hs, &p->identity, &e, &p->response);
}

static int answer(struct answering *a, uint32_t index, const struct message_initiation *msg,
		  uint64_t now)
{
	struct crowd_peer *p = &a->crowd->peer[index];
	uint8_t *datagram = (uint8_t *)&p->response;
	const uint32_t len = sizeof(p->response);
	struct session_keys keys;

	a->result->n_sent++;
	if (!a->result->first_sent_ns)
		a->result->first_sent_ns = now;
	if (!make_response(p, index, msg, now))
		return 0; /* a repeated one, or not the gateway's */
	p->sent_ns = now;
	cookie_jar_add_macs(&p->jar, &p->hs, datagram, len, now);
	if (!handshake_begin_session(&p->hs, &keys))
		return -EPROTO;
	memcpy(p->receiving_key, keys.receiving, sizeof(p->receiving_key));
	int r = crowd_send_batch(a->crowd, &index, &datagram, &len, 1);
	return r == -ENOBUFS || r == -EAGAIN || r >= 0 ? 0 : r;
}

/* The keepalive that confirms a session. */
static void confirm(struct answering *a, uint32_t index, const uint8_t *data, uint32_t len,
		    uint64_t now)
{
	const struct message_transport *m = (const void *)data;
	struct crowd_peer *p = &a->crowd->peer[index];
	struct bytes box = { (const uint8_t *)(m + 1), len - sizeof(*m) };
	uint8_t nothing[CROWD_DATAGRAM_MAX];

	if (p->is_answered || !p->sent_ns || le32_get(m->receiver_index) != index ||
	    !chacha20poly1305_open(nothing, p->receiving_key, le64_get(m->counter), box,
				   (struct bytes){ NULL, 0 }))
		return;
	p->is_answered = true;
	a->result->latency_ns[a->result->n_done++] = now - p->sent_ns;
	a->result->last_answer_ns = now;
}

static int take(struct answering *a, struct mmsghdr *msg, const uint8_t *data)
{
	uint32_t index = addressee(a->crowd, &msg->msg_hdr);

	if (index == a->crowd->n_peers)
		return 0;
	switch (message_classify(data, msg->msg_len)) {
	case MESSAGE_INITIATION:
		return answer(a, index, (const void *)data, crowd_now_ns());
	case MESSAGE_TRANSPORT:
		confirm(a, index, data, msg->msg_len, crowd_now_ns());
		return 0;
	default:
		return 0;
	}
}

static int receive(struct answering *a)
{
	union {
		struct cmsghdr align;
		uint8_t data[CMSG_SPACE(sizeof(struct in_pktinfo))];
	} control[CROWD_BATCH];
	struct mmsghdr msg[CROWD_BATCH];
	struct iovec iov[CROWD_BATCH];
	struct pollfd fd = { .fd = a->crowd->fd, .events = POLLIN };
	int r = 0;

	if (poll(&fd, 1, 20) < 0 && errno != EINTR)
		return -errno;
	for (size_t i = 0; i < CROWD_BATCH; i++) {
		iov[i] = (struct iovec){ a->buffer[i], sizeof(a->buffer[i]) };
		msg[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &iov[i],
							.msg_iovlen = 1,
							.msg_control = &control[i],
							.msg_controllen = sizeof(control[i]) } };
	}
	int n = recvmmsg(a->crowd->fd, msg, CROWD_BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n && r == 0; i++)
		r = take(a, &msg[i], a->buffer[i]);
	return r;
}

int crowd_answer(struct crowd *c, double limit_sec, struct crowd_handshakes *ret)
{
	struct answering *a = calloc(1, sizeof(*a));
	const uint64_t end = crowd_now_ns() + (uint64_t)(limit_sec * 1e9);
	int r = 0;

	ret->latency_ns = calloc(c->n_peers, sizeof(*ret->latency_ns));
	if (!a || !ret->latency_ns) {
		free(a);
		return -ENOMEM;
	}
	a->crowd = c;
	a->result = ret;
	while (r == 0 && ret->n_done < c->n_peers && crowd_now_ns() < end)
		r = receive(a);
	crowd_sort_latencies(ret);
	free(a);
	return r;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Connecting the crowd. All Diffie-Hellman of ours happens before the clock starts or after it
 * stopped, so that what is measured is the gateway. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

#include "crowd.h"
#include "noise/tai64n.h"

/* One run of crowd_connect(). */
struct connecting {
	struct crowd *crowd;
	struct crowd_handshakes *result;
	uint32_t window;
	uint32_t n_open;    /* sent and not answered */
	uint32_t n_done;    /* answered */
	uint32_t next;      /* the first peer that has sent nothing yet */
	uint64_t rescan_ns; /* when to look for initiations to repeat */
	uint8_t buffer[CROWD_BATCH][CROWD_DATAGRAM_MAX];
};

static bool prepare_initiation(struct crowd_peer *p, uint32_t index)
{
	/* Another index for each attempt: a late answer to an older one is not taken for this one's. */
	struct handshake_entropy e = { .index = index + p->n_attempts++ * CROWD_PEERS_MAX };
	uint8_t stamp[TAI64N_LEN];
	struct timespec t;

	if (getrandom(e.ephemeral_private, sizeof(e.ephemeral_private), 0) !=
	    (ssize_t)sizeof(e.ephemeral_private))
		return false;
	(void)clock_gettime(CLOCK_REALTIME, &t);
	tai64n_now(stamp, (uint64_t)t.tv_sec, (uint32_t)t.tv_nsec);
	if (!handshake_create_initiation(&p->hs, &p->identity, &e, stamp, &p->initiation))
		return false;
	cookie_jar_add_macs(&p->jar, &p->hs, (uint8_t *)&p->initiation, sizeof(p->initiation),
			    crowd_now_ns());
	return true;
}

static int send_initiations(struct connecting *s, const uint32_t *peer, uint32_t n)
{
	uint8_t *datagram[CROWD_BATCH];
	uint32_t len[CROWD_BATCH];
	const uint64_t now = crowd_now_ns();

	for (uint32_t i = 0; i < n; i++) {
		datagram[i] = (uint8_t *)&s->crowd->peer[peer[i]].initiation;
		len[i] = sizeof(struct message_initiation);
		s->crowd->peer[peer[i]].sent_ns = now;
	}
	if (!s->result->first_sent_ns)
		s->result->first_sent_ns = now;
	s->result->n_sent += n;
	/* What the kernel refuses is as good as lost on the way: it is repeated after 5 s. */
	int r = crowd_send_batch(s->crowd, peer, datagram, len, n);
	return r == -ENOBUFS || r == -EAGAIN || r >= 0 ? 0 : r;
}

/* Peers that have not sent yet, as far as the window allows. */
static int send_first(struct connecting *s)
{
	uint32_t peer[CROWD_BATCH], n = 0;
	const uint32_t room = s->window ? s->window - MIN(s->window, s->n_open) : CROWD_BATCH;

	while (n < MIN(room, CROWD_BATCH) && s->next < s->crowd->n_peers)
		peer[n++] = s->next++;
	s->n_open += n;
	return n ? send_initiations(s, peer, n) : 0;
}

/* New initiations for those that waited for REKEY_TIMEOUT. */
static int send_again(struct connecting *s, uint64_t now)
{
	uint32_t peer[CROWD_BATCH], n = 0;
	int r = 0;

	for (uint32_t i = 0; i < s->next && r == 0; i++) {
		struct crowd_peer *p = &s->crowd->peer[i];

		if (p->is_answered || now < p->sent_ns + REKEY_TIMEOUT_NS)
			continue;
		if (!prepare_initiation(p, i))
			return -EIO;
		peer[n++] = i;
		if (n == CROWD_BATCH) {
			r = send_initiations(s, peer, n);
			n = 0;
		}
	}
	s->rescan_ns = crowd_now_ns() + 100 * NSEC_PER_MSEC;
	return n && r == 0 ? send_initiations(s, peer, n) : r;
}

/* Whose latest initiation an answer belongs to; NULL: nobody's. */
static struct crowd_peer *find_peer(const struct connecting *s, le32_t receiver_index)
{
	const uint32_t index = le32_get(receiver_index), i = index % CROWD_PEERS_MAX;

	if (i >= s->next || s->crowd->peer[i].hs.local_index != index)
		return NULL;
	return &s->crowd->peer[i];
}

static void take_response(struct connecting *s, const struct message_response *msg, uint64_t now)
{
	struct crowd_peer *p = find_peer(s, msg->receiver_index);

	if (!p || p->is_answered)
		return;
	p->response = *msg;
	p->is_answered = true;
	s->result->latency_ns[s->n_done++] = now - p->sent_ns;
	s->result->last_answer_ns = now;
	s->n_open--;
}

static void take_cookie(struct connecting *s, const struct message_cookie_reply *msg, uint64_t now)
{
	struct crowd_peer *p = find_peer(s, msg->receiver_index);

	if (p && cookie_jar_consume_reply(&p->jar, &p->hs, msg, now))
		s->result->n_cookies++; /* used by the next attempt, as peers do */
}

/* Takes what has arrived, waiting for at most @wait_ms. */
static int receive(struct connecting *s, int wait_ms)
{
	struct mmsghdr msg[CROWD_BATCH];
	struct iovec iov[CROWD_BATCH];
	struct pollfd fd = { .fd = s->crowd->fd, .events = POLLIN };

	if (poll(&fd, 1, wait_ms) < 0 && errno != EINTR)
		return -errno;
	for (size_t i = 0; i < CROWD_BATCH; i++) {
		iov[i] = (struct iovec){ s->buffer[i], sizeof(s->buffer[i]) };
		msg[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &iov[i], .msg_iovlen = 1 } };
	}
	int n = recvmmsg(s->crowd->fd, msg, CROWD_BATCH, MSG_DONTWAIT, NULL);
	const uint64_t now = crowd_now_ns();
	for (int i = 0; i < n; i++) {
		enum message_type type = message_classify(s->buffer[i], msg[i].msg_len);

		if (type == MESSAGE_RESPONSE)
			take_response(s, (const void *)s->buffer[i], now);
		else if (type == MESSAGE_COOKIE_REPLY)
			take_cookie(s, (const void *)s->buffer[i], now);
	}
	return 0;
}

static int run(struct connecting *s, double limit_sec)
{
	const uint64_t end = crowd_now_ns() + (uint64_t)(limit_sec * 1e9);
	int r = 0;

	while (r == 0 && s->n_done < s->crowd->n_peers) {
		const uint64_t now = crowd_now_ns();
		if (now >= end)
			break;
		r = send_first(s);
		const bool may_send = s->next < s->crowd->n_peers &&
				      (!s->window || s->n_open < s->window);
		if (r == 0)
			r = receive(s, may_send ? 0 : 20);
		if (r == 0 && now >= s->rescan_ns)
			r = send_again(s, now);
	}
	return r;
}

/* The session of an answered peer. */
static bool begin_session(struct crowd_peer *p)
{
	struct session_keys keys;

	if (!macs_check_mac1(&p->identity, (const uint8_t *)&p->response, sizeof(p->response)) ||
	    !handshake_consume_response(&p->hs, &p->identity, &p->response) ||
	    !handshake_begin_session(&p->hs, &keys))
		return false;
	memcpy(p->sending_key, keys.sending, sizeof(p->sending_key));
	p->remote_index = keys.remote_index;
	p->counter = 0;
	return true;
}

static int compare_times(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

void crowd_sort_latencies(struct crowd_handshakes *h)
{
	qsort(h->latency_ns, h->n_done, sizeof(*h->latency_ns), compare_times);
}

int crowd_connect(struct crowd *c, uint32_t window, double limit_sec, struct crowd_handshakes *ret)
{
	struct connecting s = { .crowd = c, .result = ret, .window = window };

	ret->latency_ns = calloc(c->n_peers, sizeof(*ret->latency_ns));
	if (!ret->latency_ns)
		return -ENOMEM;
	for (uint32_t i = 0; i < c->n_peers; i++)
		if (!prepare_initiation(&c->peer[i], i))
			return -EIO;
	int r = run(&s, limit_sec);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < c->n_peers; i++) {
		struct crowd_peer *p = &c->peer[i];

		if (p->is_answered && !begin_session(p))
			return -EPROTO; /* somebody answers who is not the gateway */
	}
	ret->n_done = s.n_done;
	crowd_sort_latencies(ret);
	return 0;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* recvmmsg with few buffers while large ones come, so that they stay in the cache, and with many for
 * small datagrams. No error ends anything (P-367, PITFALLS 22). */
#include "io/io_recv.h"

#include <errno.h>
#include <stdlib.h>

#include "io/io_stats.h"

enum {
	MAX_ERRORS = 16, /* skipped by one call and socket */
	/* An odd number of lines apart, so that the beginnings of the buffers, which is all that small
	 * datagrams touch, do not fall into one set of the cache. */
	STRIDE = IO_BUFFER_LEN + 3 * CACHELINE,
};

int io_receiver_init(struct io_receiver *r, uint32_t budget, struct io_stats *stats)
{
	r->stats = stats;
	r->budget = budget;
	r->slots = aligned_alloc(CACHELINE, (size_t)IO_RECV_SLOTS * STRIDE);
	return r->slots ? 0 : -ENOMEM;
}

size_t io_receiver_memory(void)
{
	return (size_t)IO_RECV_SLOTS * STRIDE;
}

void io_receiver_finish(struct io_receiver *r)
{
	free(r->slots);
	r->slots = NULL;
}

static void slot_prepare(struct io_receiver *r, uint32_t i)
{
	struct io_recv_meta *m = &r->meta[i];
	m->iov = (struct iovec){ r->slots + (size_t)i * STRIDE, IO_MAX_DATAGRAM };
	r->msg[i].msg_hdr = (struct msghdr){
		.msg_name = &m->name,
		.msg_namelen = sizeof(m->name),
		.msg_iov = &m->iov,
		.msg_iovlen = 1,
		.msg_control = &m->control,
		.msg_controllen = sizeof(m->control),
	};
}

/* False: it was cut off, or comes from nowhere. */
static bool slot_take(struct io_receiver *r, uint32_t i, struct io_datagram *d)
{
	const struct msghdr *h = &r->msg[i].msg_hdr;
	struct udp_received got;
	if (h->msg_flags & MSG_TRUNC)
		return false;
	udp_cmsg_parse(&got, (struct bytes){ (const uint8_t *)&r->meta[i].name, h->msg_namelen },
		       (struct bytes){ r->meta[i].control.b, h->msg_controllen });
	d->data = r->meta[i].iov.iov_base;
	d->len = r->msg[i].msg_len;
	d->segment_len = got.segment_len && got.segment_len < d->len ? got.segment_len : d->len;
	d->tos = got.tos;
	d->from = got.from;
	return endpoint_is_set(&d->from);
}

/* Fills slots from @first on; returns how many. */
static uint32_t slots_fill(struct io_receiver *r, int fd, uint32_t first, uint32_t n)
{
	for (uint32_t i = first; i < first + n; i++)
		slot_prepare(r, i);
	for (int i = 0; i < MAX_ERRORS; i++) {
		int got = recvmmsg(fd, r->msg + first, n, MSG_DONTWAIT, NULL);
		if (got >= 0)
			return (uint32_t)got;
		if (errno == EAGAIN)
			break;
		if (errno != EINTR)
			io_stat_add(&r->stats->recv_errors, 1);
	}
	return 0;
}

static uint32_t slots_wanted(const struct io_receiver *r)
{
	uint32_t n = r->budget / MAX(r->mean_len, 1U);
	return MIN(MAX(n, (uint32_t)IO_DEFAULT_BUFFERS), (uint32_t)IO_RECV_SLOTS);
}

uint32_t io_receiver_burst(struct io_receiver *r, const struct io_fds *fds, unsigned *ready,
			   struct io_datagram *d, uint32_t n)
{
	uint32_t used = 0, n_out = 0;
	n = MIN(n, slots_wanted(r));
	r->v6_first = !r->v6_first;
	for (int k = 0; k < 2; k++) {
		bool is_v6 = r->v6_first == (k == 0);
		unsigned bit = is_v6 ? IO_UDP6 : IO_UDP4;
		if (!(*ready & bit) || used == n)
			continue;
		uint32_t end = used + slots_fill(r, is_v6 ? fds->udp6 : fds->udp4, used, n - used);
		if (end < n)
			*ready &= ~bit; /* empty; if it was an error, epoll tells again */
		for (; used < end; used++) {
			r->mean_len = r->mean_len - r->mean_len / 8 + r->msg[used].msg_len / 8;
			if (slot_take(r, used, &d[n_out]))
				n_out++;
			else
				io_stat_add(&r->stats->recv_errors, 1);
		}
	}
	return n_out;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Multishot recvmsg: one request per socket that goes on as long as there are buffers. How many the
 * kernel has depends on the size of what comes. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "base/macro.h"
#include "io/io_stats.h"
#include "io/io_uring.h"

static_assert(sizeof(struct io_uring_recvmsg_out) == 16, "RECV_HEAD counts on it");

/* Where the kernel begins to write, so that the payload comes to lie on a cache line. */
static uint8_t *slot_start(const struct recv_side *r, uint16_t id)
{
	return r->mem + (size_t)id * RECV_STRIDE + (RECV_PAYLOAD - RECV_HEAD);
}

int recv_side_open(struct recv_side *r, struct uring *u, enum file_slot file)
{
	r->file = file;
	r->tag = file == FILE_UDP4 ? TAG_RECV4 : TAG_RECV6;
	r->shape.msg_namelen = sizeof(struct sockaddr_in6);
	r->shape.msg_controllen = UDP_CMSG_RECV_LEN;
	slots_init(&r->slots, N_RECVS);
	r->mem = aligned_alloc(CACHELINE, (size_t)N_RECVS * RECV_STRIDE);
	if (!r->mem)
		return -ENOMEM;
	return uring_bufring_open(u, &r->ring, (uint16_t)file, N_RECVS);
}

void recv_side_close(struct recv_side *r)
{
	uring_bufring_close(&r->ring);
	free(r->mem);
}

static void give_buffers(struct recv_side *r, uint32_t budget)
{
	uint32_t wanted = slots_wanted(budget, r->mean_len, N_RECVS);
	while (r->n_given < wanted && r->slots.n_free > 0) {
		uint16_t id = r->slots.free[--r->slots.n_free];
		uring_bufring_add(&r->ring, slot_start(r, id), RECV_HEAD + IO_MAX_DATAGRAM, id);
		r->n_given++;
	}
	uring_bufring_publish(&r->ring);
}

void recv_side_arm(struct recv_side *r, struct uring *u, uint32_t budget)
{
	if (!r->has_socket)
		return;
	give_buffers(r, budget);
	if (r->is_armed || r->n_given == 0)
		return;
	struct io_uring_sqe *sqe = uring_sqe(u, r->file);
	if (!sqe)
		return;
	sqe->opcode = IORING_OP_RECVMSG;
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->ioprio = IORING_RECV_MULTISHOT;
	sqe->buf_group = r->ring.group;
	sqe->addr = (uint64_t)(uintptr_t)&r->shape;
	sqe->len = 1;
	sqe->user_data = tagged_id(r->tag, 0);
	r->is_armed = true;
}

void recv_side_complete(struct recv_side *r, const struct io_uring_cqe *cqe, struct io_stats *stats)
{
	if (!(cqe->flags & IORING_CQE_F_MORE))
		r->is_armed = false;
	if (cqe->flags & IORING_CQE_F_BUFFER) {
		uint16_t id = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
		r->n_given--;
		slots_fill(&r->slots, id, cqe->res < 0 ? 0 : (uint32_t)cqe->res);
	}
	/* Out of buffers is part of the plan; anything else is an error of an earlier send. */
	if (cqe->res < 0 && cqe->res != -ENOBUFS && cqe->res != -ECANCELED)
		io_stat_add(&stats->recv_errors, 1);
}

/* False: cut off, or from nowhere. */
static bool take(struct recv_side *r, struct filled f, struct io_datagram *d)
{
	const uint8_t *at = slot_start(r, f.id);
	struct io_uring_recvmsg_out out;
	struct udp_received got;
	if (f.len < RECV_HEAD)
		return false;
	memcpy(&out, at, sizeof(out));
	if ((out.flags & MSG_TRUNC) || out.payloadlen > f.len - RECV_HEAD)
		return false;
	at += sizeof(out);
	udp_cmsg_parse(&got, (struct bytes){ at, MIN(out.namelen, r->shape.msg_namelen) },
		       (struct bytes){ at + r->shape.msg_namelen,
				       MIN(out.controllen, (uint32_t)UDP_CMSG_RECV_LEN) });
	d->data = r->mem + (size_t)f.id * RECV_STRIDE + RECV_PAYLOAD;
	d->len = out.payloadlen;
	d->segment_len = got.segment_len && got.segment_len < d->len ? got.segment_len : d->len;
	d->tos = got.tos;
	d->from = got.from;
	return endpoint_is_set(&d->from);
}

uint32_t recv_side_burst(struct recv_side *r, struct io_datagram *d, uint32_t n,
			 struct io_stats *stats)
{
	uint32_t n_out = 0;
	n = MIN(n, (uint32_t)MAX_RECVS);
	while (n_out < n && slots_n_ready(&r->slots) > 0) {
		struct filled f = slots_hand_out(&r->slots);
		mean_add(&r->mean_len, f.len);
		if (take(r, f, &d[n_out]))
			n_out++;
		else
			io_stat_add(&stats->recv_errors, 1);
	}
	return n_out;
}

void recv_side_forget(struct recv_side *r)
{
	while (slots_n_ready(&r->slots) > 0)
		(void)slots_hand_out(&r->slots);
}

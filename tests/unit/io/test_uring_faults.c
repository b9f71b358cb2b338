/* SPDX-License-Identifier: MPL-2.0 */
/* Every operation that the io_uring engine submits fails with every error that the kernel may give it.
 * What is queued becomes, just before it is handed over, an operation whose result the kernel lets us
 * choose (IORING_NOP_INJECT_RESULT, Linux 6.10). Nothing may be lost but what failed; when it is over,
 * everything passes again. */
#include <stdlib.h>

#include "io/engine_fixture.h"
#include "uring/uring.h"

enum { NOP_INJECT_RESULT = 1, ROUNDS = 40, FOR_EVER = 1 << 30 };

static struct {
	int opcode; /* -1 = none */
	int error;
	int times;
	int n_failed;
} fault = { .opcode = -1 };

int __wrap_uring_enter(struct uring *u);
int __real_uring_enter(struct uring *u);

/* The operation that takes the place of others is none of the engine's own. */
int __wrap_uring_restrict(struct uring *u, const uint8_t *opcodes, size_t n, uint8_t flags);
int __wrap_uring_restrict(struct uring *u, const uint8_t *opcodes, size_t n, uint8_t flags)
{
	return 0;
}

static void make_fail(struct io_uring_sqe *sqe)
{
	uint64_t user_data = sqe->user_data;
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_NOP;
	sqe->fd = -1;
	sqe->len = (uint32_t)-fault.error;
	sqe->rw_flags = NOP_INJECT_RESULT;
	sqe->user_data = user_data;
	fault.times--;
	fault.n_failed++;
}

int __wrap_uring_enter(struct uring *u)
{
	struct io_uring_sq *sq = &u->ring.sq;
	for (unsigned i = sq->sqe_head; i != sq->sqe_tail; i++) {
		struct io_uring_sqe *sqe = &sq->sqes[i & *sq->kring_mask];
		if (sqe->opcode == fault.opcode && fault.times > 0)
			make_fail(sqe);
	}
	return __real_uring_enter(u);
}

/* Whether the kernel knows the operation. */
static bool can_inject(void)
{
	struct io_uring ring;
	struct io_uring_cqe *cqe;
	if (io_uring_queue_init(2, &ring, 0) < 0)
		return false;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	io_uring_prep_nop(sqe);
	sqe->len = (uint32_t)-EIO;
	sqe->rw_flags = NOP_INJECT_RESULT;
	bool ok = io_uring_submit_and_wait(&ring, 1) == 1 && io_uring_peek_cqe(&ring, &cqe) == 0 &&
		  cqe->res == -EIO;
	io_uring_queue_exit(&ring);
	return ok;
}

static void app_send(uint32_t number)
{
	uint8_t b[100];
	struct sockaddr_in to = app_addr;
	to.sin_addr.s_addr = inet_addr("10.9.0.2");
	fill(b, sizeof(b), number);
	(void)!sendto(app, b, sizeof(b), 0, (struct sockaddr *)&to, sizeof(to));
}

static void peer_send(uint32_t number)
{
	uint8_t b[100];
	struct endpoint to = fixture_endpoint(AF_INET, PORT);
	fill(b, sizeof(b), number);
	(void)!sendto(peer, b, sizeof(b), 0, &to.to.sa, sizeof(to.to.in4));
}

/* A packet to the application: IPv4, UDP, a payload. Several in one entry, so that they go by the ring. */
static int write_packets(void)
{
	static uint8_t packet[3][128];
	static struct virtio_net_hdr none;
	struct iovec iov[3][2];
	struct io_write w[3];
	for (int i = 0; i < 3; i++) {
		uint8_t *p = packet[i];
		memset(p, 0, sizeof(packet[i]));
		p[0] = 0x45;
		store_be16(p + 2, 128);
		p[8] = 64;
		p[9] = IPPROTO_UDP;
		store_be32(p + 12, 0x0a090002);
		store_be32(p + 16, 0x0a090001);
		store_be16(p + 20, 9);
		store_be16(p + 22, APP_PORT);
		store_be16(p + 24, 108);
		uint32_t sum = 0;
		for (int k = 0; k < 20; k += 2)
			sum += load_be16(p + k);
		sum = (sum & 0xffff) + (sum >> 16);
		store_be16(p + 10, (uint16_t) ~((sum & 0xffff) + (sum >> 16)));
		iov[i][0] = (struct iovec){ &none, sizeof(none) };
		iov[i][1] = (struct iovec){ p, 128 };
		w[i] = (struct io_write){ .iov = iov[i], .n_iov = 2, .result = 1 };
	}
	io->ops->write_burst(io, w, 3);
	io->ops->submit(io);
	int n_ok = 0;
	for (int i = 0; i < 3; i++) {
		cr_assert(le(int, w[i].result, 0), "a result is final after submit()");
		n_ok += w[i].result == 0;
	}
	return n_ok;
}

static struct {
	int from_tun, from_udp, written;
} passed;

static void one_round(uint32_t number)
{
	struct io_packet p[8];
	struct io_datagram d[8];
	for (int i = 0; i < 4; i++) {
		app_send(number);
		peer_send(number);
	}
	int r = io->ops->wait(io, NSEC_PER_MSEC);
	cr_assert(r == 0 || fault.error == EBADFD, "%s", strerror(-r));
	uint32_t n = io->ops->read_burst(io, p, 8);
	for (uint32_t i = 0; i < n; i++)
		cr_assert(is_filled(p[i].data + 28, 100, load_be32(p[i].data + 28)));
	passed.from_tun += (int)n;
	n = io->ops->recv_burst(io, d, 8);
	for (uint32_t i = 0; i < n; i++)
		cr_assert(is_filled(d[i].data, 100, load_be32(d[i].data)));
	passed.from_udp += (int)n;
	passed.written += write_packets();
}

static void run(int opcode, int error, int times)
{
	memset(&passed, 0, sizeof(passed));
	fault.opcode = opcode;
	fault.error = error;
	fault.times = times;
	fault.n_failed = 0;
	uint64_t end = now_ns() + 5 * NSEC_PER_SEC;
	for (uint32_t i = 0; i < ROUNDS && fault.times > 0; i++)
		one_round(i);
	cr_assert(lt(u64, now_ns(), end), "slow under faults");
	int n_failed = fault.n_failed;
	fault.times = 0;
	fault.error = 0;
	if (opcode == IORING_OP_ASYNC_CANCEL) {
		fault.times = times;
		fault.error = error;
		int r = io->ops->set_fds(io, &fds); /* all receives are cancelled */
		n_failed = fault.n_failed;
		fault.times = 0;
		cr_assert(r == 0 || r == -EBUSY, "%s", strerror(-r));
		if (r < 0)
			cr_assert(eq(int, io->ops->set_fds(io, &fds), 0));
	}
	cr_assert(gt(int, n_failed, 0), "opcode %d is never used", opcode);

	memset(&passed, 0, sizeof(passed));
	for (uint32_t i = 0; i < ROUNDS; i++)
		one_round(i);
	cr_assert(ge(int, passed.from_tun, 4 * ROUNDS / 2), "opcode %d, %s: TUN reads stopped",
		  opcode, strerror(error));
	cr_assert(ge(int, passed.from_udp, 4 * ROUNDS / 2), "opcode %d, %s: receives stopped",
		  opcode, strerror(error));
	cr_assert(eq(int, passed.written, 3 * ROUNDS), "opcode %d, %s: writes stopped", opcode,
		  strerror(error));
}

static void run_all(int opcode, const int *errors, size_t n_errors)
{
	static const int times[] = { 1, 10, FOR_EVER };
	if (!can_inject())
		cr_skip_test("this kernel can not inject results");
	open_engine(1, true, true);
	for (size_t i = 0; i < n_errors; i++)
		for (size_t k = 0; k < ARRAY_SIZE(times); k++)
			run(opcode, errors[i], times[k]);
	close_engine();
}

Test(uring_faults, receives)
{
	static const int errors[] = { ENOBUFS, ENOMEM, EAGAIN,    EINTR,    ECONNREFUSED, EINVAL,
				      EBADF,   EFAULT, ECANCELED, ENETDOWN, EIO };
	run_all(IORING_OP_RECVMSG, errors, ARRAY_SIZE(errors));
}

/* EBADFD is not among them: it says that the TUN is gone. */
Test(uring_faults, tun_reads)
{
	static const int errors[] = { EAGAIN, EINTR, EIO, EINVAL, ENOMEM, EFAULT, EOPNOTSUPP };
	run_all(IORING_OP_READ, errors, ARRAY_SIZE(errors));
}

Test(uring_faults, tun_writes)
{
	static const int errors[] = { EIO, EINVAL, ENOMEM, ENOBUFS, EAGAIN, EINTR, EPERM, EFAULT };
	run_all(IORING_OP_WRITEV, errors, ARRAY_SIZE(errors));
}

Test(uring_faults, cancellations)
{
	static const int errors[] = { ENOENT, EALREADY, EINVAL, ENOMEM };
	run_all(IORING_OP_ASYNC_CANCEL, errors, ARRAY_SIZE(errors));
}

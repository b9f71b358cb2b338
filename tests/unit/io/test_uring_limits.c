/* SPDX-License-Identifier: MPL-2.0 */
/* The ring of the engine as the engine sets it up takes the engine's operations and no others, as no
 * list of system calls sees what goes through a ring. */
#include <sys/syscall.h>

#include "io/engine_fixture.h"
#include "io/io_uring.h"

static struct uring *uring;

static void open_ring(void)
{
	open_engine(1, true, true);
	if (io->restrict_error == -EINVAL)
		cr_skip_test("this kernel can not limit a ring");
	cr_assert(eq(int, io->restrict_error, 0), "%s", strerror(-io->restrict_error));
	cr_assert(eq(int, io->ops->wait(io, 0), 0)); /* enables it */
	uring = &container_of(io, struct io_uring_engine, io)->uring;
}

/* What the kernel says to an operation without sense. */
static int result_of(uint8_t opcode, uint8_t flags)
{
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe = uring_sqe(uring, N_FILES);
	int res = 1;
	cr_assert(sqe != NULL);
	sqe->opcode = opcode;
	sqe->flags = flags;
	sqe->user_data = UINT64_MAX; /* nothing of the engine's */
	for (int i = 0; i < 100 && res == 1; i++) {
		unsigned head, n = 0;
		cr_assert(eq(int, uring_enter(uring), 0));
		io_uring_for_each_cqe(&uring->ring, head, cqe)
		{
			n++;
			if (cqe->user_data == UINT64_MAX)
				res = cqe->res;
		}
		io_uring_cq_advance(&uring->ring, n);
	}
	cr_assert(ne(int, res, 1), "no result of operation %d", opcode);
	return res;
}

static bool is_ours(int opcode)
{
	return opcode == IORING_OP_READ || opcode == IORING_OP_WRITE ||
	       opcode == IORING_OP_WRITEV || opcode == IORING_OP_RECVMSG ||
	       opcode == IORING_OP_ASYNC_CANCEL;
}

Test(uring_limits, operations)
{
	open_ring();
	/* an opcode that the kernel does not know at all is EINVAL */
	for (int opcode = 0; opcode < IORING_OP_LAST; opcode++) {
		int res = result_of((uint8_t)opcode, IOSQE_FIXED_FILE);
		if (is_ours(opcode))
			cr_expect(ne(int, res, -EACCES), "operation %d of ours", opcode);
		else
			cr_expect(eq(int, res, -EACCES), "operation %d", opcode);
	}
	close_engine();
}

Test(uring_limits, flags)
{
	static const uint8_t others[] = { IOSQE_IO_DRAIN, IOSQE_IO_LINK, IOSQE_IO_HARDLINK,
					  IOSQE_ASYNC, IOSQE_CQE_SKIP_SUCCESS };
	open_ring();
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		cr_expect(eq(int, result_of(IORING_OP_READ, IOSQE_FIXED_FILE | others[i]), -EACCES),
			  "flags %#x", others[i]);
	close_engine();
}

static int register_with_ring(unsigned opcode)
{
	uint64_t none[64] = { 0 };
	long r = syscall(SYS_io_uring_register, uring->ring.ring_fd, opcode, none, 1);
	return r < 0 ? -errno : 0;
}

Test(uring_limits, registrations)
{
	open_ring();
	for (unsigned opcode = 0; opcode < IORING_REGISTER_LAST; opcode++) {
		bool is_used = opcode == IORING_REGISTER_FILES_UPDATE ||
			       opcode == IORING_REGISTER_RING_FDS ||
			       opcode == IORING_UNREGISTER_RING_FDS;
		if (!is_used)
			cr_expect(eq(int, register_with_ring(opcode), -EACCES), "registration %u",
				  opcode);
	}
	cr_expect(eq(int, uring_set_file(uring, FILE_UDP4, -1), 0));
	cr_expect(eq(int, uring_set_file(uring, FILE_UDP4, fds.udp4), 0));
	close_engine();
}

/* New sockets need cancellations and other files; those of a worker go through its own thread. */
Test(uring_limits, new_descriptors)
{
	open_ring();
	struct io_fds none = { -1, -1, -1, -1, false };
	cr_assert(eq(int, io->ops->set_fds(io, &none), 0));
	cr_assert(eq(int, io->ops->set_fds(io, &fds), 0));
	close_engine();
}

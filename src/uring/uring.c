/* SPDX-License-Identifier: MPL-2.0 */
/* Set-up and entry. DEFER_TASKRUN is required, not only wished for: with it completions are made where
 * we ask for them and nowhere else, and every kernel that has it (6.1) has all else that we use. */
#include "uring/uring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	COMPLETIONS_PER_ENTRY = 4,
	MAX_RESTRICTIONS = 32, /* the kernel's limit is one for each thing that can be forbidden */
};

/* What is registered with a ring in use: here, and by io_uring_queue_exit(). */
static const uint8_t registrations[] = { IORING_REGISTER_FILES_UPDATE, IORING_REGISTER_RING_FDS,
					 IORING_UNREGISTER_RING_FDS };

/* What the caller has to know of a refusal. */
static int open_error(int r)
{
	return r == -EPERM || r == -EACCES || r == -ENOMEM || r == -EMFILE ? r : -ENOSYS;
}

static int register_files(struct uring *u, unsigned n_files)
{
	int *none = malloc(n_files * sizeof(*none));
	if (!none)
		return -ENOMEM;
	for (unsigned i = 0; i < n_files; i++)
		none[i] = -1;
	int r = io_uring_register_files(&u->ring, none, n_files);
	free(none);
	return r;
}

/* What liburing 2.3 declares functions for, but does not export them. 0 or -errno. */
static int register_directly(struct uring *u, unsigned opcode, const void *arg, unsigned n)
{
	return syscall(SYS_io_uring_register, u->ring.ring_fd, opcode, arg, n) < 0 ? -errno : 0;
}

int uring_open(struct uring *u, unsigned n_entries, unsigned n_files)
{
	memset(u, 0, sizeof(*u));
	/* R_DISABLED: the thread that enables the ring is the one that it belongs to. */
	struct io_uring_params p = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED |
			 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
		.cq_entries = n_entries * COMPLETIONS_PER_ENTRY,
	};
	int r = io_uring_queue_init_params(n_entries, &u->ring, &p);
	if (r < 0)
		return open_error(r);
	u->is_open = true;
	r = register_files(u, n_files);
	if (r < 0)
		uring_close(u);
	return r < 0 ? open_error(r) : 0;
}

int uring_restrict(struct uring *u, const uint8_t *opcodes, size_t n, uint8_t flags)
{
	struct io_uring_restriction rules[MAX_RESTRICTIONS] = { { 0 } };
	unsigned n_rules = 0;
	if (n > MAX_RESTRICTIONS - ARRAY_SIZE(registrations) - 1)
		return -E2BIG;
	for (size_t i = 0; i < n; i++)
		rules[n_rules++] =
			(struct io_uring_restriction){ .opcode = IORING_RESTRICTION_SQE_OP,
						       .sqe_op = opcodes[i] };
	for (size_t i = 0; i < ARRAY_SIZE(registrations); i++)
		rules[n_rules++] =
			(struct io_uring_restriction){ .opcode = IORING_RESTRICTION_REGISTER_OP,
						       .register_op = registrations[i] };
	rules[n_rules++] =
		(struct io_uring_restriction){ .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
					       .sqe_flags = flags };
	/* They hold from IORING_REGISTER_ENABLE_RINGS on. */
	return register_directly(u, IORING_REGISTER_RESTRICTIONS, rules, n_rules);
}

void uring_close(struct uring *u)
{
	if (u->is_open)
		io_uring_queue_exit(&u->ring);
	u->is_open = false;
}

size_t uring_memory(const struct uring *u)
{
	return u->ring.sq.ring_sz + u->ring.sq.ring_entries * sizeof(struct io_uring_sqe);
}

int uring_set_file(struct uring *u, unsigned slot, int fd)
{
	int r = io_uring_register_files_update(&u->ring, slot, &fd, 1);
	return r < 0 ? r : 0;
}

/* The first use, by the thread that the ring will belong to. */
static int enable(struct uring *u)
{
	int r = register_directly(u, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	if (r < 0)
		return r;
	u->is_enabled = true;
	(void)io_uring_register_ring_fd(&u->ring); /* a little cheaper */
	return 0;
}

int uring_enter(struct uring *u)
{
	int r = u->is_enabled ? 0 : enable(u);
	if (r < 0)
		return r;
	r = io_uring_submit_and_get_events(&u->ring);
	switch (r < 0 ? -r : 0) {
	case 0:
	case EINTR:
	case EBUSY:  /* completions overflowed: the caller takes them and comes again */
	case EAGAIN: /* short of memory */
		return 0;
	default:
		return r;
	}
}

struct io_uring_sqe *uring_sqe(struct uring *u, unsigned slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
	if (!sqe && uring_enter(u) == 0)
		sqe = io_uring_get_sqe(&u->ring);
	if (sqe) {
		memset(sqe, 0, sizeof(*sqe));
		sqe->fd = (int)slot;
		sqe->flags = IOSQE_FIXED_FILE;
	}
	return sqe;
}

int uring_bufring_open(struct uring *u, struct uring_bufring *b, uint16_t group, uint16_t n_entries)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t len = ROUND_UP(n_entries * sizeof(struct io_uring_buf), page);
	memset(b, 0, sizeof(*b));
	b->br = aligned_alloc(page, len);
	if (!b->br)
		return -ENOMEM;
	memset(b->br, 0, len);
	b->n_entries = n_entries;
	b->group = group;
	struct io_uring_buf_reg reg = { .ring_addr = (uint64_t)(uintptr_t)b->br,
					.ring_entries = n_entries,
					.bgid = group };
	int r = io_uring_register_buf_ring(&u->ring, &reg, 0);
	if (r < 0)
		uring_bufring_close(b);
	return r < 0 ? open_error(r) : 0;
}

void uring_bufring_close(struct uring_bufring *b)
{
	free(b->br);
	b->br = NULL;
}

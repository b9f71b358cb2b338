/* SPDX-License-Identifier: MPL-2.0 */
/* Allow-lists of system calls. */
#include "daemon/syscall_filter.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#ifdef HAVE_SECCOMP

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/cleanup.h"

#ifndef TUNGETDEVNETNS
#define TUNGETDEVNETNS _IO('T', 227)
#endif

/* clang-format off */
/* Any thread, either engine. In groups: data, waiting and time, memory, descriptors, the control
 * socket's name, the end. A name that an architecture lacks is left out there. */
static const int device_calls[] = {
	SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(write), SCMP_SYS(writev),
	SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(recvmmsg), SCMP_SYS(sendto), SCMP_SYS(sendmsg),
	SCMP_SYS(sendmmsg),

	SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2), SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_create1), SCMP_SYS(eventfd2), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(futex),
	SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(setpriority), SCMP_SYS(nanosleep),
	SCMP_SYS(clock_nanosleep), SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time),
	SCMP_SYS(restart_syscall), SCMP_SYS(membarrier), SCMP_SYS(getrandom), SCMP_SYS(getcpu),

	SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(brk), SCMP_SYS(mlock),

	SCMP_SYS(bind), SCMP_SYS(setsockopt), SCMP_SYS(getsockopt), SCMP_SYS(getsockname),
	SCMP_SYS(getpeername), SCMP_SYS(accept4), SCMP_SYS(close), SCMP_SYS(fstat),

	SCMP_SYS(lstat), SCMP_SYS(newfstatat), SCMP_SYS(fstatat64), SCMP_SYS(lstat64),
	SCMP_SYS(unlink), SCMP_SYS(unlinkat),

	SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigaction), SCMP_SYS(sigaltstack), SCMP_SYS(getpid), SCMP_SYS(gettid),
	SCMP_SYS(tgkill), SCMP_SYS(set_robust_list), SCMP_SYS(rseq),
};

static const int uring_calls[] = { SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register) };

/* Nothing in here and no library that we use has any reason to try these. */
static const int deadly_calls[] = {
	SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev), SCMP_SYS(bpf), SCMP_SYS(mount), SCMP_SYS(init_module),
	SCMP_SYS(finit_module), SCMP_SYS(kexec_load), SCMP_SYS(keyctl), SCMP_SYS(userfaultfd),
};

/* No more threads or processes. Said like this, liburcu does by itself what it wanted to spread over
 * helpers, when one of its tables grows beyond thousands of entries. */
static const int again_calls[] = { SCMP_SYS(clone), SCMP_SYS(clone3) };

static const int sweeper_calls[] = {
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(close), SCMP_SYS(lstat), SCMP_SYS(newfstatat),
	SCMP_SYS(lstat64), SCMP_SYS(fstatat64), SCMP_SYS(unlink), SCMP_SYS(unlinkat),
	SCMP_SYS(exit_group), SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigreturn), SCMP_SYS(munmap),
};

/* Calls that are allowed with one value of one argument. Kernel and C library differ in whether the
 * upper half of an int is clean, so only the lower one is looked at. */
static const struct {
	int call;
	unsigned arg;
	uint32_t mask, value;
} device_cases[] = {
	{ SCMP_SYS(socket), 0, UINT32_MAX, AF_INET },
	{ SCMP_SYS(socket), 0, UINT32_MAX, AF_INET6 },
	{ SCMP_SYS(socket), 0, UINT32_MAX, AF_NETLINK },
	{ SCMP_SYS(socket), 0, UINT32_MAX, AF_UNIX }, /* if_nametoindex() asks on one */
	{ SCMP_SYS(mmap), 2, PROT_EXEC, 0 },
	{ SCMP_SYS(mmap2), 2, PROT_EXEC, 0 },
	{ SCMP_SYS(mprotect), 2, PROT_EXEC, 0 },
	{ SCMP_SYS(fcntl), 1, UINT32_MAX, F_GETFD },
	{ SCMP_SYS(fcntl), 1, UINT32_MAX, F_SETFD },
	{ SCMP_SYS(fcntl), 1, UINT32_MAX, F_GETFL },
	{ SCMP_SYS(fcntl), 1, UINT32_MAX, F_SETFL },
	{ SCMP_SYS(fcntl), 1, UINT32_MAX, F_DUPFD_CLOEXEC },
	{ SCMP_SYS(fcntl64), 1, UINT32_MAX, F_GETFL },
	{ SCMP_SYS(fcntl64), 1, UINT32_MAX, F_SETFL },
	{ SCMP_SYS(fcntl64), 1, UINT32_MAX, F_DUPFD_CLOEXEC },
	{ SCMP_SYS(ioctl), 1, UINT32_MAX, (uint32_t)TUNGETIFF },
	{ SCMP_SYS(ioctl), 1, UINT32_MAX, TUNGETDEVNETNS },
	{ SCMP_SYS(ioctl), 1, UINT32_MAX, SIOCGSKNS },
	{ SCMP_SYS(ioctl), 1, UINT32_MAX, SIOCGIFINDEX },
	{ SCMP_SYS(ioctl), 1, UINT32_MAX, SIOCGIFNAME },
	{ SCMP_SYS(prctl), 0, UINT32_MAX, PR_SET_NAME }, /* of a thread that just starts */
};

/* clang-format on */

static void release(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}

static int add_calls(scmp_filter_ctx ctx, uint32_t action, const int *calls, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int r = seccomp_rule_add(ctx, action, calls[i], 0);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_cases(scmp_filter_ctx ctx)
{
	for (size_t i = 0; i < ARRAY_SIZE(device_cases); i++) {
		int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, device_cases[i].call, 1,
					 SCMP_CMP(device_cases[i].arg, SCMP_CMP_MASKED_EQ,
						  device_cases[i].mask, device_cases[i].value));
		if (r < 0)
			return r;
	}
	return 0;
}

static int set_attributes(scmp_filter_ctx ctx)
{
	/* no_new_privs is a layer of its own, with a switch of its own. */
	int r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
	if (r == 0)
		r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	/* Nobody else's code runs in this process: old kernels shall not slow it down for what one
	 * part could read of another. Newer ones do not by themselves. */
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_SSB, 1);
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	return r;
}

int seccomp_confine_device(bool with_uring)
{
	scmp_filter_ctx ctx CLEANUP(release) = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (!ctx)
		return -ENOMEM;

	int r = set_attributes(ctx);
	if (r == 0)
		r = add_calls(ctx, SCMP_ACT_ALLOW, device_calls, ARRAY_SIZE(device_calls));
	if (r == 0 && with_uring)
		r = add_calls(ctx, SCMP_ACT_ALLOW, uring_calls, ARRAY_SIZE(uring_calls));
	if (r == 0)
		r = add_calls(ctx, SCMP_ACT_KILL_PROCESS, deadly_calls, ARRAY_SIZE(deadly_calls));
	if (r == 0)
		r = add_calls(ctx, SCMP_ACT_ERRNO(EAGAIN), again_calls, ARRAY_SIZE(again_calls));
	if (r == 0)
		r = add_cases(ctx);
	return r == 0 ? seccomp_load(ctx) : r;
}

int seccomp_confine_sweeper(void)
{
	scmp_filter_ctx ctx CLEANUP(release) = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (!ctx)
		return -ENOMEM;

	int r = set_attributes(ctx);
	if (r == 0)
		r = add_calls(ctx, SCMP_ACT_ALLOW, sweeper_calls, ARRAY_SIZE(sweeper_calls));
	return r == 0 ? seccomp_load(ctx) : r;
}

#else

int seccomp_confine_device(bool with_uring)
{
	(void)with_uring;
	return -ENOSYS;
}

int seccomp_confine_sweeper(void)
{
	return -ENOSYS;
}

#endif

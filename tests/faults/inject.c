/* SPDX-License-Identifier: MPL-2.0 */
/* inject PLAN COMMAND...: runs a command whose system calls fail as the plan says (fault_plan.h), also
 * those of its threads and children, raw ones included: seccomp hands each call to a second process,
 * which lets it go on or answers it. The command keeps our process id.
 * inject --names: the system calls that can be named, a line `name number` each.
 * Exits with 77 where the kernel can not do that. */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fault_plan.h"

enum { EXIT_SKIP = 77, MAX_SHORT = 65536, START_MSEC = 5000 };

static struct fault_plan *plan;

static int pidfd_open_(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int pidfd_getfd_(int pidfd, int fd)
{
	return (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
}

/* -- the second process -------------------------------------------------------------------------- */

/* The process that a thread belongs to. */
static pid_t process_of(pid_t tid)
{
	char path[64], line[256];
	int pid = tid;
	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	FILE *f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Tgid: %d", &pid) == 1)
			break;
	if (f)
		(void)fclose(f);
	return pid;
}

static bool opens_null(const struct seccomp_notif *n)
{
	char path[16] = "";
	struct iovec here = { path, 10 };
	struct iovec there = { (void *)(uintptr_t)n->data.args[1], 10 };
	return n->data.nr == SYS_openat &&
	       process_vm_readv((pid_t)n->pid, &here, 1, &there, 1, 0) == 10 &&
	       strcmp(path, "/dev/null") == 0;
}

/* Does half of what a call was asked to, in place of the caller. False: not such a call. */
static bool do_half(const struct seccomp_notif *n, struct seccomp_notif_resp *resp)
{
	static uint8_t buf[MAX_SHORT];
	const size_t len = n->data.args[2] / 2 < MAX_SHORT ? n->data.args[2] / 2 : MAX_SHORT;
	const int nr = n->data.nr;
	struct iovec here = { buf, len }, there = { (void *)(uintptr_t)n->data.args[1], len };
	const bool is_out = nr == SYS_write || nr == SYS_sendto;

	if (len == 0 || (!is_out && nr != SYS_read && nr != SYS_recvfrom))
		return false;
	int pidfd = pidfd_open_(process_of((pid_t)n->pid));
	int fd = pidfd_getfd_(pidfd, (int)n->data.args[0]);
	int type = 0;
	socklen_t type_len = sizeof(type);
	(void)close(pidfd);
	bool ok = fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 &&
		  type == SOCK_STREAM; /* half of a datagram is a thing that does not happen */
	if (ok && is_out)
		ok = process_vm_readv((pid_t)n->pid, &here, 1, &there, 1, 0) == (ssize_t)len;
	if (ok) {
		ssize_t r = is_out ? send(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL)
				   : recv(fd, buf, len, MSG_DONTWAIT);
		here.iov_len = there.iov_len = r > 0 ? (size_t)r : 0;
		if (r > 0 && !is_out)
			(void)!process_vm_writev((pid_t)n->pid, &here, 1, &there, 1, 0);
		resp->val = r < 0 ? 0 : r;
		resp->error = r < 0 ? -errno : 0;
	}
	if (fd >= 0)
		(void)close(fd);
	return ok;
}

/* False = this call shall succeed. */
static bool shall_fail(int nr)
{
	return atomic_load(&plan->has_begun) && atomic_load(&plan->what) == nr &&
	       fault_plan_take(plan);
}

static void answer(int listener)
{
	struct seccomp_notif n;
	memset(&n, 0, sizeof(n));
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n) < 0)
		return;
	struct seccomp_notif_resp resp = { .id = n.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
	if (!atomic_load(&plan->has_begun) && opens_null(&n))
		atomic_store(&plan->has_begun, 1);
	if (atomic_load(&plan->has_begun) && n.data.nr >= 0 && n.data.nr < FAULT_MAX_SYSCALL)
		atomic_fetch_add(&plan->n_calls[n.data.nr], 1);
	if (shall_fail(n.data.nr)) {
		int error = atomic_load(&plan->error);
		if (error != FAULT_SHORT) {
			resp.flags = 0;
			resp.error = -error;
			atomic_fetch_add(&plan->n_failed, 1);
		} else if (do_half(&n, &resp)) {
			resp.flags = 0;
			atomic_fetch_add(&plan->n_failed, 1);
		}
	}
	(void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &resp);
}

/* The descriptor appears in @pid once it has installed its filter. */
static int take_listener(int pidfd, int number)
{
	for (int i = 0; i < START_MSEC; i++) {
		int fd = pidfd_getfd_(pidfd, number);
		if (fd >= 0)
			return fd;
		(void)usleep(1000);
	}
	return -1;
}

static void serve(pid_t pid, int number)
{
	int pidfd = pidfd_open_(pid);
	int listener = take_listener(pidfd, number);
	struct pollfd p = { .fd = listener, .events = POLLIN };

	while (listener >= 0 && poll(&p, 1, -1) >= 0) {
		if (p.revents & POLLIN)
			answer(listener);
		else if (p.revents & (POLLHUP | POLLERR))
			break; /* the last process is gone */
	}
}

/* -- the first ----------------------------------------------------------------------------------- */

/* All calls but those by which a thread waits, locks or ends, and those that can not fail: there the
 * C library gives up by itself, or has no way to tell its caller. */
static int install_filter(void)
{
	static const struct sock_filter code[] = {
#define LET(nr) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		LET(SYS_futex),
		LET(SYS_exit),
		LET(SYS_exit_group),
		LET(SYS_rt_sigreturn),
		LET(SYS_restart_syscall),
		LET(SYS_gettid),
		LET(SYS_getpid),
		LET(SYS_sched_yield),
		LET(SYS_execve),
		LET(SYS_rt_sigprocmask),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
#undef LET
	};
	struct sock_fprog prog = { .len = sizeof(code) / sizeof(code[0]),
				   .filter = (struct sock_filter *)(uintptr_t)code };
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			    &prog);
}

/* A process of its own, so that nobody waits for it. */
static void start_server(pid_t pid, int number)
{
	pid_t child = fork();
	if (child != 0)
		return;
	(void)setsid();
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; i <= STDERR_FILENO; i++)
		(void)dup2(null_fd, i);
	(void)signal(SIGTERM, SIG_IGN); /* for the command; we end with it */
	(void)signal(SIGINT, SIG_IGN);
	serve(pid, number);
	_exit(0);
}

/* Names for the numbers, which differ between architectures. */
static const struct {
	const char *name;
	int nr;
} names[] = {
#ifdef SYS_read
	{ "read", SYS_read },
#endif
#ifdef SYS_write
	{ "write", SYS_write },
#endif
#ifdef SYS_readv
	{ "readv", SYS_readv },
#endif
#ifdef SYS_writev
	{ "writev", SYS_writev },
#endif
#ifdef SYS_openat
	{ "openat", SYS_openat },
#endif
#ifdef SYS_close
	{ "close", SYS_close },
#endif
#ifdef SYS_poll
	{ "poll", SYS_poll },
#endif
#ifdef SYS_mmap
	{ "mmap", SYS_mmap },
#endif
#ifdef SYS_mprotect
	{ "mprotect", SYS_mprotect },
#endif
#ifdef SYS_munmap
	{ "munmap", SYS_munmap },
#endif
#ifdef SYS_rt_sigaction
	{ "rt_sigaction", SYS_rt_sigaction },
#endif
#ifdef SYS_ioctl
	{ "ioctl", SYS_ioctl },
#endif
#ifdef SYS_access
	{ "access", SYS_access },
#endif
#ifdef SYS_socket
	{ "socket", SYS_socket },
#endif
#ifdef SYS_connect
	{ "connect", SYS_connect },
#endif
#ifdef SYS_accept
	{ "accept", SYS_accept },
#endif
#ifdef SYS_accept4
	{ "accept4", SYS_accept4 },
#endif
#ifdef SYS_sendto
	{ "sendto", SYS_sendto },
#endif
#ifdef SYS_sendmsg
	{ "sendmsg", SYS_sendmsg },
#endif
#ifdef SYS_sendmmsg
	{ "sendmmsg", SYS_sendmmsg },
#endif
#ifdef SYS_recvfrom
	{ "recvfrom", SYS_recvfrom },
#endif
#ifdef SYS_recvmsg
	{ "recvmsg", SYS_recvmsg },
#endif
#ifdef SYS_recvmmsg
	{ "recvmmsg", SYS_recvmmsg },
#endif
#ifdef SYS_bind
	{ "bind", SYS_bind },
#endif
#ifdef SYS_listen
	{ "listen", SYS_listen },
#endif
#ifdef SYS_setsockopt
	{ "setsockopt", SYS_setsockopt },
#endif
#ifdef SYS_getsockopt
	{ "getsockopt", SYS_getsockopt },
#endif
#ifdef SYS_getsockname
	{ "getsockname", SYS_getsockname },
#endif
#ifdef SYS_uname
	{ "uname", SYS_uname },
#endif
#ifdef SYS_fcntl
	{ "fcntl", SYS_fcntl },
#endif
#ifdef SYS_mkdir
	{ "mkdir", SYS_mkdir },
#endif
#ifdef SYS_mkdirat
	{ "mkdirat", SYS_mkdirat },
#endif
#ifdef SYS_unlink
	{ "unlink", SYS_unlink },
#endif
#ifdef SYS_unlinkat
	{ "unlinkat", SYS_unlinkat },
#endif
#ifdef SYS_readlink
	{ "readlink", SYS_readlink },
#endif
#ifdef SYS_readlinkat
	{ "readlinkat", SYS_readlinkat },
#endif
#ifdef SYS_chmod
	{ "chmod", SYS_chmod },
#endif
#ifdef SYS_fchmodat
	{ "fchmodat", SYS_fchmodat },
#endif
#ifdef SYS_mlock
	{ "mlock", SYS_mlock },
#endif
#ifdef SYS_mlock2
	{ "mlock2", SYS_mlock2 },
#endif
#ifdef SYS_madvise
	{ "madvise", SYS_madvise },
#endif
#ifdef SYS_prctl
	{ "prctl", SYS_prctl },
#endif
#ifdef SYS_sched_getaffinity
	{ "sched_getaffinity", SYS_sched_getaffinity },
#endif
#ifdef SYS_epoll_wait
	{ "epoll_wait", SYS_epoll_wait },
#endif
#ifdef SYS_epoll_pwait
	{ "epoll_pwait", SYS_epoll_pwait },
#endif
#ifdef SYS_epoll_pwait2
	{ "epoll_pwait2", SYS_epoll_pwait2 },
#endif
#ifdef SYS_epoll_ctl
	{ "epoll_ctl", SYS_epoll_ctl },
#endif
#ifdef SYS_epoll_create1
	{ "epoll_create1", SYS_epoll_create1 },
#endif
#ifdef SYS_eventfd2
	{ "eventfd2", SYS_eventfd2 },
#endif
#ifdef SYS_signalfd4
	{ "signalfd4", SYS_signalfd4 },
#endif
#ifdef SYS_inotify_init1
	{ "inotify_init1", SYS_inotify_init1 },
#endif
#ifdef SYS_inotify_add_watch
	{ "inotify_add_watch", SYS_inotify_add_watch },
#endif
#ifdef SYS_newfstatat
	{ "newfstatat", SYS_newfstatat },
#endif
#ifdef SYS_lstat
	{ "lstat", SYS_lstat },
#endif
#ifdef SYS_fstat
	{ "fstat", SYS_fstat },
#endif
#ifdef SYS_statx
	{ "statx", SYS_statx },
#endif
#ifdef SYS_renameat2
	{ "renameat2", SYS_renameat2 },
#endif
#ifdef SYS_link
	{ "link", SYS_link },
#endif
#ifdef SYS_linkat
	{ "linkat", SYS_linkat },
#endif
#ifdef SYS_getrandom
	{ "getrandom", SYS_getrandom },
#endif
#ifdef SYS_prlimit64
	{ "prlimit64", SYS_prlimit64 },
#endif
#ifdef SYS_io_uring_setup
	{ "io_uring_setup", SYS_io_uring_setup },
#endif
#ifdef SYS_io_uring_register
	{ "io_uring_register", SYS_io_uring_register },
#endif
#ifdef SYS_io_uring_enter
	{ "io_uring_enter", SYS_io_uring_enter },
#endif
#ifdef SYS_clone
	{ "clone", SYS_clone },
#endif
#ifdef SYS_clone3
	{ "clone3", SYS_clone3 },
#endif
#ifdef SYS_fork
	{ "fork", SYS_fork },
#endif
#ifdef SYS_vfork
	{ "vfork", SYS_vfork },
#endif
#ifdef SYS_setsid
	{ "setsid", SYS_setsid },
#endif
#ifdef SYS_chdir
	{ "chdir", SYS_chdir },
#endif
#ifdef SYS_dup2
	{ "dup2", SYS_dup2 },
#endif
#ifdef SYS_dup3
	{ "dup3", SYS_dup3 },
#endif
#ifdef SYS_close_range
	{ "close_range", SYS_close_range },
#endif
#ifdef SYS_pipe2
	{ "pipe2", SYS_pipe2 },
#endif
#ifdef SYS_wait4
	{ "wait4", SYS_wait4 },
#endif
#ifdef SYS_nanosleep
	{ "nanosleep", SYS_nanosleep },
#endif
#ifdef SYS_clock_nanosleep
	{ "clock_nanosleep", SYS_clock_nanosleep },
#endif
#ifdef SYS_seccomp
	{ "seccomp", SYS_seccomp },
#endif
#ifdef SYS_capget
	{ "capget", SYS_capget },
#endif
#ifdef SYS_capset
	{ "capset", SYS_capset },
#endif
#ifdef SYS_setuid
	{ "setuid", SYS_setuid },
#endif
#ifdef SYS_setgid
	{ "setgid", SYS_setgid },
#endif
#ifdef SYS_setgroups
	{ "setgroups", SYS_setgroups },
#endif
#ifdef SYS_setresuid
	{ "setresuid", SYS_setresuid },
#endif
#ifdef SYS_setresgid
	{ "setresgid", SYS_setresgid },
#endif
#ifdef SYS_landlock_create_ruleset
	{ "landlock_create_ruleset", SYS_landlock_create_ruleset },
#endif
#ifdef SYS_landlock_add_rule
	{ "landlock_add_rule", SYS_landlock_add_rule },
#endif
#ifdef SYS_landlock_restrict_self
	{ "landlock_restrict_self", SYS_landlock_restrict_self },
#endif
#ifdef SYS_memfd_create
	{ "memfd_create", SYS_memfd_create },
#endif
#ifdef SYS_memfd_secret
	{ "memfd_secret", SYS_memfd_secret },
#endif
#ifdef SYS_getdents64
	{ "getdents64", SYS_getdents64 },
#endif
#ifdef SYS_ppoll
	{ "ppoll", SYS_ppoll },
#endif
#ifdef SYS_pread64
	{ "pread64", SYS_pread64 },
#endif
#ifdef SYS_lseek
	{ "lseek", SYS_lseek },
#endif
#ifdef SYS_umask
	{ "umask", SYS_umask },
#endif
};

static int print_names(void)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)printf("%s %d\n", names[i].name, names[i].nr);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--names") == 0)
		return print_names();
	if (argc < 3) {
		(void)fprintf(stderr, "Usage: inject PLAN COMMAND...\n");
		return 2;
	}
	int fd = open(argv[1], O_RDWR | O_CLOEXEC);
	plan = fd < 0 ? MAP_FAILED
		      : mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (plan == MAP_FAILED) {
		(void)fprintf(stderr, "inject: %s: %s\n", argv[1], strerror(errno));
		return 2;
	}
	int number = fcntl(fd, F_DUPFD_CLOEXEC, 3); /* where the next descriptor will be */
	(void)close(number);
	(void)signal(SIGCHLD, SIG_IGN);
	start_server(getpid(), number);
	(void)signal(SIGCHLD, SIG_DFL);
	int listener = install_filter();
	if (listener < 0)
		return EXIT_SKIP;
	(void)getppid(); /* is answered once the other one has the listener, which closes with exec */
	(void)execv(argv[2], argv + 2);
	return 127;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* ringtun: runs one WireGuard device as a process. Everything that a device does is in the library;
 * here are its name in the file system, its signals, its log and its exit status. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <ringtun/device.h>
#include <ringtun/version.h>

#include "base/cleanup.h"
#include "daemon/confine.h"
#include "daemon/daemonize.h"
#include "daemon/last_words.h"
#include "daemon/log.h"
#include "daemon/options.h"
#include "daemon/sd_notify.h"
#include "daemon/signals.h"
#include "daemon/status.h"
#include "daemon/uapi_socket.h"

enum {
	LOOK_MSEC = 1000, /* between looks at the socket's name where inotify is not to be had */
	REASON_SIZE = 256,
	MAX_FAILURES = 100,
	PAUSE_MSEC = 10, /* after a failure, so that 100 take a second */
};

/* What the process holds. */
struct daemon {
	const struct options *options;
	struct log log;
	struct uapi_socket sock;
	struct ringtun_device *device;
	struct confine confine;
	int signal_fd;
	int notify_fd;       /* to the service manager; -1 = none */
	int control_fd;      /* the control socket until the device has it; -1 = none */
	unsigned n_failures; /* to read signals, in a row */
	bool has_failed;
	char reason[REASON_SIZE]; /* why the set-up failed */
};

static void daemon_init(struct daemon *d, const struct options *options)
{
	*d = (struct daemon){
		.options = options, .signal_fd = -1, .notify_fd = -1, .control_fd = -1
	};
	log_init(&d->log, options->log_level);
	log_set_name(&d->log, options->name ? options->name : "?");
	uapi_socket_init(&d->sock);
}

/* The order matters: while the name exists, somebody may connect (U-003, U-070, U-071). */
static void daemon_finish(struct daemon *d)
{
	uapi_socket_remove(&d->sock);
	ringtun_device_destroy(d->device);
	uapi_socket_finish(&d->sock);
	close_fdp(&d->control_fd);
	close_fdp(&d->signal_fd);
	close_fdp(&d->notify_fd);
	log_finish(&d->log);
}

/* Notes what failed for whoever started us. Returns @error, -errno. */
static int daemon_fail(struct daemon *d, const char *what, int error)
{
	(void)snprintf(d->reason, sizeof(d->reason), "%s: %s", what, strerror(-error));
	return error;
}

static bool socket_is(int fd, int option)
{
	int value = 0;
	socklen_t len = sizeof(value);
	return getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0 && value;
}

/* Descriptors that were handed over must be open (U-063). */
static int check_fds(struct daemon *d)
{
	const struct options *o = d->options;
	if (o->tun_fd >= 0 && fcntl(o->tun_fd, F_SETFD, FD_CLOEXEC) < 0)
		return daemon_fail(d, "the TUN descriptor", -errno);
	if (o->uapi_fd >= 0 && fcntl(o->uapi_fd, F_SETFD, FD_CLOEXEC) < 0)
		return daemon_fail(d, "the control socket descriptor", -errno);
	return 0;
}

static const char *explain_create_error(const struct options *options, int error)
{
	if (options->tun_fd >= 0)
		return "the TUN descriptor can not be used";
	switch (error) {
	case -ENOSYS:
	case -EOPNOTSUPP:
		return options->io == RINGTUN_IO_URING
			       ? "io_uring, which was asked for, is not to be had"
			       : "something that was switched on is not to be had";
	case -EBUSY:
		return "the interface exists already, or is in use";
	case -EPERM:
	case -EACCES:
		return "creating an interface needs the capability CAP_NET_ADMIN";
	case -ENOENT:
	case -ENODEV:
		return "no /dev/net/tun: the kernel's module 'tun' is not loaded, or the container "
		       "has "
		       "no access to the device";
	default:
		return "the interface can not be created";
	}
}

/* The control socket: ours, or one that was handed over. A handed-over listener has the standard
 * name if it has one at all; a connected stream has none. */
static int open_control(struct daemon *d, const char *name)
{
	int fd = d->options->uapi_fd;

	if (fd < 0) {
		int r = uapi_socket_listen(&d->sock, UAPI_SOCKET_DIR, name, &d->control_fd);
		if (r == -EADDRINUSE)
			return daemon_fail(d, "another daemon serves this interface's socket", r);
		if (r < 0)
			return daemon_fail(d, "the control socket in " UAPI_SOCKET_DIR, r);
		return 0;
	}
	if (socket_is(fd, SO_ACCEPTCONN) &&
	    uapi_socket_adopt(&d->sock, UAPI_SOCKET_DIR, name) < 0) {
		log_write(&d->log, RINGTUN_LOG_INFO,
			  "the control socket has no name of ours, which is thus not watched");
	}
	d->control_fd = fd;
	return 0;
}

static int serve_control(struct daemon *d)
{
	int r = ringtun_device_serve_uapi(d->device, d->control_fd);
	if (r < 0)
		return daemon_fail(d, "the control socket", r);
	d->control_fd = -1; /* the device's */
	return 0;
}

static int fail_layer(struct daemon *d, int r)
{
	char what[64];
	if (d->confine.changes_user && d->confine.failed == CONFINE_CAPABILITIES)
		(void)snprintf(what, sizeof(what), "becoming user %.32s", d->confine.user.name);
	else
		(void)snprintf(what, sizeof(what), "the sandbox layer %s",
			       confine_layer_name(d->confine.failed));
	return daemon_fail(d, what, r);
}

/* The last that we do with all our privileges, and then they go. */
static int before_threads(void *ctx, struct ringtun_device *device)
{
	struct daemon *d = ctx;
	int r = open_control(d, ringtun_device_name(device));
	if (r < 0)
		return r;
	if (d->confine.changes_user && d->options->uapi_fd < 0) {
		r = uapi_socket_leave_to_sweeper(&d->sock, UAPI_SOCKET_DIR);
		if (r < 0)
			return daemon_fail(d, "a process to remove the control socket", r);
	}
	r = confine_before_threads(&d->confine, UAPI_SOCKET_DIR);
	return r < 0 ? fail_layer(d, r) : 0;
}

static int create_device(struct daemon *d)
{
	const struct options *o = d->options;
	struct ringtun_device_params params;
	ringtun_device_params_init(&params);
	params.name = o->name;
	params.tun_fd = o->tun_fd;
	params.n_workers = (uint16_t)o->n_workers;
	if (o->mtu)
		params.mtu = (uint16_t)o->mtu;
	params.txqueuelen = o->txqueuelen;
	params.gso_max_size = o->gso_max_size;
	params.nice = o->nice;
	params.io = o->io;
	params.tun_tso = o->tun_tso;
	params.tun_uso = o->tun_uso;
	params.udp_gso = o->udp_gso;
	params.udp_gro = o->udp_gro;
	params.multi_queue = o->multi_queue;
	params.steering = o->steering;
	params.cpu_mask = o->cpu_mask;
	params.log = log_write;
	params.log_ctx = &d->log;
	params.before_threads = before_threads;
	params.before_threads_ctx = d;

	int r = ringtun_device_create(&d->device, &params);
	return r < 0 && !d->reason[0] ? daemon_fail(d, explain_create_error(o, r), r) : r;
}

static int set_up(struct daemon *d)
{
	const struct options *o = d->options;
	for (unsigned i = 0; i < o->n_notes; i++)
		log_printf(&d->log, RINGTUN_LOG_INFO, "option %s has no effect here", o->notes[i]);

	int r = confine_init(&d->confine, o, &d->log);
	if (r == -EPERM)
		return daemon_fail(d, "only root can become another user", r);
	if (r < 0)
		return daemon_fail(d, "the user to become", r);
	r = signals_open(&d->signal_fd); /* first: threads inherit the mask */
	if (r < 0)
		return daemon_fail(d, "signals", r);
	d->notify_fd = sd_notify_open();
	r = create_device(d);
	if (r < 0)
		return r;
	log_set_name(&d->log, ringtun_device_name(d->device));
	r = serve_control(d);
	if (r == 0) {
		r = confine_threads(&d->confine, ringtun_device_io(d->device));
		r = r < 0 ? fail_layer(d, r) : 0;
	}
	confine_report(&d->confine, d->device);
	return r;
}

/* True while the device shall run on. */
static bool is_wanted(struct daemon *d)
{
	int signal = signals_take(d->signal_fd);
	d->n_failures = signal < 0 ? d->n_failures + 1 : 0;
	if (d->n_failures > MAX_FAILURES) { /* nobody could end us but by SIGKILL */
		log_printf(&d->log, RINGTUN_LOG_ERROR, "can not read signals: %s",
			   strerror(-signal));
		d->has_failed = true;
		return false;
	}
	if (signal > 0) {
		log_printf(&d->log, RINGTUN_LOG_INFO, "ended by %s", strsignal(signal));
		return false;
	}
	if (!uapi_socket_is_ours(&d->sock)) {
		log_write(&d->log, RINGTUN_LOG_INFO, "ended: the control socket was removed");
		return false;
	}
	return ringtun_device_ended(d->device) == RINGTUN_RUNNING;
}

static void wait_for_end(struct daemon *d)
{
	struct pollfd fds[] = {
		{ .fd = d->signal_fd, .events = POLLIN },
		{ .fd = ringtun_device_event_fd(d->device), .events = POLLIN },
		{ .fd = d->sock.watch_fd, .events = POLLIN }, /* poll() skips -1 */
	};
	static const struct timespec pause = { .tv_nsec = PAUSE_MSEC * (long)NSEC_PER_MSEC };
	bool must_look = d->sock.path[0] && d->sock.watch_fd < 0;

	while (is_wanted(d)) {
		int r = poll(fds, ARRAY_SIZE(fds), must_look ? LOOK_MSEC : -1);
		if ((r < 0 && errno != EINTR) || d->n_failures)
			(void)nanosleep(&pause, NULL); /* then we look without being told */
	}
}

static int exit_status(const struct daemon *d)
{
	/* Looked at before the device is destroyed. */
	return d->has_failed || ringtun_device_ended(d->device) == RINGTUN_FAILED ? EXIT_FAILURE
										  : EXIT_SUCCESS;
}

/* Keys shall not reach a core file or swap space (P-462, P-464): as much memory may be locked as we
 * are allowed to ask for, which later, without capabilities, we are not. */
static void protect_keys(void)
{
	static const struct rlimit none = { 0, 0 };
	static const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	struct rlimit limit;

	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0);
	if (setrlimit(RLIMIT_MEMLOCK, &all) == 0 || getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_MEMLOCK, &limit);
}

/* From here on this is the process that stays. @report_fd is -1 in the foreground. */
static int run(struct daemon *d, int report_fd)
{
	protect_keys();
	last_words_prepare(d->log.fd, report_fd, d->sock.path);
	options_clear_environment();
	int r = check_fds(d);
	if (r == 0)
		r = set_up(d);
	if (r < 0) {
		if (d->log.fd != STDOUT_FILENO) /* it is on stderr, once is enough */
			log_write(&d->log, RINGTUN_LOG_ERROR, d->reason);
		daemon_finish(d); /* before the report: nothing is left when the parent ends */
		if (report_fd >= 0)
			(void)!daemonize_report(report_fd, d->reason);
		else
			(void)fprintf(stderr, "ringtun: %s\n", d->reason);
		return EXIT_FAILURE;
	}

	if (report_fd >= 0 && !daemonize_report(report_fd, NULL)) {
		daemon_finish(d);
		return EXIT_FAILURE;
	}
	last_words_prepare(d->log.fd, -1, d->sock.path); /* nobody listens to the report any more */
	char ready[64];
	(void)snprintf(ready, sizeof(ready), "READY=1\nMAINPID=%d", (int)getpid());
	sd_notify_send(d->notify_fd, ready);
	log_printf(&d->log, RINGTUN_LOG_INFO, "ringtun %s is ready", ringtun_version());

	wait_for_end(d);
	sd_notify_send(d->notify_fd, "STOPPING=1");
	int status = exit_status(d);
	daemon_finish(d);
	return status;
}

static int run_in_background(struct daemon *d)
{
	int report_fd = -1;
	int child = daemonize_fork(&report_fd);
	if (child < 0) {
		(void)fprintf(stderr, "ringtun: fork: %s\n", strerror(-child));
		return EXIT_FAILURE;
	}
	if (child > 0) {
		if (daemonize_wait(report_fd, child, d->reason, sizeof(d->reason)) == 0)
			return EXIT_SUCCESS;
		(void)fprintf(stderr, "ringtun: %s\n", d->reason);
		return EXIT_FAILURE;
	}

	/* A held stdout would hang the caller's $(...): only who asked for a log has it. */
	bool has_file = d->options->log_file != NULL;
	bool keep_output = d->options->log_requested && !has_file;
	const int keep[] = { report_fd, d->options->tun_fd, d->options->uapi_fd,
			     has_file ? d->log.fd : -1 };
	int r = daemonize_detach(keep_output, keep, ARRAY_SIZE(keep));
	if (r < 0) {
		(void)!daemonize_report(report_fd, strerror(-r));
		return EXIT_FAILURE;
	}
	if (!keep_output && !has_file)
		log_to_syslog(&d->log);
	return run(d, report_fd);
}

static int run_daemon(const struct options *options)
{
	struct daemon d;
	daemon_init(&d, options);
	if (options->log_file) {
		int r = log_to_file(&d.log, options->log_file);
		if (r < 0) {
			(void)fprintf(stderr, "ringtun: %s: %s\n", options->log_file, strerror(-r));
			return EXIT_FAILURE;
		}
	}
	return options->foreground ? run(&d, -1) : run_in_background(&d);
}

static int print_status(const struct options *options)
{
	int r = status_ask(UAPI_SOCKET_DIR, options->name, options->json);
	if (r == 0)
		return EXIT_SUCCESS;
	(void)fprintf(stderr, "ringtun: %s: %s\n", options->name,
		      r == -EPROTO ? "its daemon knows no status" : strerror(-r));
	return EXIT_FAILURE;
}

static int print_version(void)
{
	struct utsname uts;
	(void)printf("ringtun v" RINGTUN_DAEMON_VERSION " (libringtun v%s, linux-%s)\n",
		     ringtun_version(), uname(&uts) == 0 ? uts.machine : "unknown");
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct options options;

	daemonize_fill_std_fds();
	if (options_parse(&options, argc, argv) < 0) {
		(void)fprintf(stderr,
			      "Usage: ringtun [-f] INTERFACE; 'ringtun --help' tells more\n");
		return EXIT_FAILURE;
	}
	switch (options.action) {
	case OPTIONS_HELP:
		options_print_help(stdout);
		return EXIT_SUCCESS;
	case OPTIONS_VERSION:
		return print_version();
	case OPTIONS_STATUS:
		return print_status(&options);
	case OPTIONS_RUN:
		return run_daemon(&options);
	}
	return EXIT_FAILURE;
}

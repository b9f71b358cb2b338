/* SPDX-License-Identifier: MPL-2.0 */
/* The control thread: epoll over its sockets, UAPI, netlink and the wake-up descriptor, driving
 * struct control in real time. Everything with a descriptor that is not a worker's is here. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "control/control.h"
#include "control/fd_handler.h"
#include "control/uapi_server.h"
#include "datapath/worker.h"
#include "tun/link.h"
#include "tun/route.h"
#include "tun/tun.h"
#include "udp/udp.h"

enum { LOOP_RECV_BUF_LEN = 65536 };

enum loop_end { LOOP_RUNNING, LOOP_INTERFACE_GONE, LOOP_STREAM_CLOSED, LOOP_FAILED };

/* Log levels as in ringtun/log.h, which is above us. */
enum loop_log_level { LOOP_LOG_ERROR, LOOP_LOG_INFO, LOOP_LOG_DEBUG };

struct loop_params {
	struct device *device;
	struct worker *workers; /* device->n_workers of them, not yet running */
	const struct tun *tun;
	const struct aead_impl *aead;
	int steering, udp_gro;                      /* < 0 off, 0 automatic, > 0 on */
	int tun_tso, tun_uso, multi_queue, udp_gso; /* the same; only for the status */
	/* Why the library put something off by itself; NULL = it did not. Constant text. */
	const char *tun_uso_why, *udp_gso_why, *udp_gro_why, *steering_why, *io_why;
	bool follows_mtu;            /* gso_max_size is ours to set whenever the MTU changes */
	int wake_fd;                 /* eventfd that device->wake_control() rings */
	struct link_monitor *link;   /* open; not owned, used by the loop alone */
	struct route_monitor *route; /* likewise */
	/* The interface ended, or something that can not be mended. Called once, by the loop's
	 * thread. */
	void (*ended)(void *ctx, enum loop_end why);
	void (*log)(void *ctx, enum loop_log_level level, const char *line);
	void (*status)(void *ctx, struct uapi_text *text); /* what only the host knows */
	void *ctx;
};

/* A worker's use of the CPU at the last look. */
struct loop_load {
	uint64_t at_ns, cpu_ns;
	uint32_t percent;
};

struct loop_fd {
	struct fd_handler handler; /* first: what epoll points to */
	struct loop *loop;
	int fd;
};

struct loop_uapi_request;

struct loop {
	/* constant after loop_init() */
	struct loop_params params;
	int epoll_fd;
	_Atomic bool stop;

	/* owner: the loop's thread */
	struct control control;
	struct udp_group *sockets; /* NULL while the interface is down */
	struct uapi_server *uapi;
	struct loop_fd wake_handler, link_handler, route_handler, udp4_handler, udp6_handler;
	bool told_gso_off, told_write_error, told_unlocked; /* run-time fallbacks, logged once */
	bool wants_up; /* the interface is up, whether we have sockets or not */
	bool link_must_poll;
	uint64_t retry_ns; /* when to read the link or open sockets again; UINT64_MAX = never */
	uint64_t checked_sources_ns;
	bool must_check_sources;
	bool has_ended;
	unsigned n_wait_failures; /* of epoll_wait(), in a row */
	uint8_t *recv_buf;        /* one datagram */
	struct loop_load load[DEVICE_MAX_WORKERS];

	/* any thread, under lock: descriptors for uapi that the loop has not taken yet; whoever brought
	 * them waits */
	pthread_mutex_t lock;
	pthread_cond_t uapi_taken;
	struct loop_uapi_request *pending_uapi[UAPI_MAX_ADDED];
	uint32_t n_pending_uapi;
	uint32_t n_uapi;
	bool takes_nothing; /* the thread has ended */
};

/* 0 or -errno. The interface exists; nothing runs yet. The caller is registered with RCU. */
int loop_init(struct loop *l, const struct loop_params *params);
/* The thread and the workers have ended. */
void loop_finish(struct loop *l);
/* The thread's function; registers with RCU. */
void loop_run(struct loop *l);
/* Whether all memory for keys could be locked so far, that for their text included. The loop's thread. */
bool loop_keys_are_locked(struct loop *l);
/* Any thread. */
void loop_stop(struct loop *l);
/* Any other thread; waits until it is served. 0, -EINVAL, -EBUSY, -ESHUTDOWN (the thread has ended), or
 * what the kernel said; on success the loop owns @fd. */
int loop_serve_uapi(struct loop *l, int fd);

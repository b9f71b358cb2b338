/* SPDX-License-Identifier: MPL-2.0 */
/* Serves UAPI on listening sockets and connected streams, as part of the caller's epoll loop: every
 * descriptor is registered there with a struct fd_handler. It never blocks and gives each
 * connection a bounded slice per event; it neither applies nor knows configuration (struct
 * uapi_handler does). Control thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"
#include "control/config.h"
#include "control/uapi_format.h"

enum {
	UAPI_MAX_CONNECTIONS = 64,           /* more are closed at once (U-008) */
	UAPI_SILENCE_MSEC = 1000,            /* who was silent for longer may have to make room */
	UAPI_MAX_ADDED = 8,                  /* descriptors given to uapi_server_add() */
	UAPI_WRITE_TIMEOUT_SEC = 10,         /* without any progress (U-007) */
	UAPI_MAX_PARSED = 256 * 1024 * 1024, /* bytes of all unfinished `set`s; beyond, ENOMEM */
	UAPI_MAX_UNSENT = 256 * 1024 * 1024, /* bytes of all replies; beyond, `get` is ENOMEM */
	UAPI_MAX_LOCKED =
		128 * 1024 * 1024, /* bytes of both in locked memory, if that much may be */
};

struct uapi_handler {
	/* Applies a well-formed transaction (U-029). 0, or the -errno to reply. -EAGAIN = there
	 * is more to do: it is called again with the same @set at the next uapi_server_tick(),
	 * and meanwhile no other transaction begins, so that a `get` sees all of it or nothing
	 * (P-395). */
	int (*set)(void *ctx, const struct config_set *set);
	/* Append the lines of a reply, without the errno line. 0, or -errno: the text is
	 * dropped. */
	int (*get)(void *ctx, struct uapi_text *text);
	int (*status)(void *ctx, struct uapi_text *text);
	/* A connected stream given to uapi_server_add() was closed by its other end. May be called
	 * from any function below that gets a time; must not destroy the server. */
	void (*stream_closed)(void *ctx);
	void *ctx;
};

struct uapi_server;

/* @epoll_fd stays the caller's and outlives the server; @handler is copied. 0 or -errno. */
MUST_CHECK int uapi_server_create(struct uapi_server **ret_server, int epoll_fd,
				  const struct uapi_handler *handler);

/* Closes all descriptors, also those that were added; discards what is not complete. NULL is fine.
 * Not from within a handler, and not before the current round of epoll events is over. */
void uapi_server_destroy(struct uapi_server *server);

/* Serves @fd from now on: a listening AF_UNIX stream socket, or a connected one (told apart by
 * SO_ACCEPTCONN). Owns it on success, and makes it non-blocking. 0, -EINVAL (neither), -EBUSY
 * (UAPI_MAX_ADDED are served), or what epoll_ctl said. */
MUST_CHECK int uapi_server_add(struct uapi_server *server, int fd);

/* Whether all text with keys was in locked memory so far. */
bool uapi_server_is_locked(struct uapi_server *server);

/* When to call uapi_server_tick() at the latest: UINT64_MAX = not needed, 0 = there is work left,
 * look at other descriptors first and then come back. Any clock, but the one of @now_ns. */
uint64_t uapi_server_next_deadline(const struct uapi_server *server);

/* Drops clients that do not read, continues work that was cut into slices. Once per loop. */
void uapi_server_tick(struct uapi_server *server, uint64_t now_ns);

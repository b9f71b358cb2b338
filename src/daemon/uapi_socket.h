/* SPDX-License-Identifier: MPL-2.0 */
/* The control socket's name in the file system. wg(8) deletes a name whose connections are refused,
 * so the name appears with a listening socket behind it and goes before that is closed; and whoever
 * removes or replaces it ends the daemon. Main thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "base/macro.h"

/* Where wg(8) looks (U-001). */
#define UAPI_SOCKET_DIR "/var/run/wireguard"

struct uapi_socket {
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)]; /* "" = none */
	dev_t dev; /* of the file, which our descriptor keeps from being given out again */
	ino_t ino;
	int watch_fd;   /* inotify on the directory; -1 = none, look once a second */
	int sweeper_fd; /* to who removes the name for us; -1 = we do */
};

void uapi_socket_init(struct uapi_socket *sock);

/* Makes @dir if it is missing, and a listening socket @dir/@name.sock in it (U-002..U-005). A dead
 * name is replaced; a live one is waited for, one second. The caller owns *@ret_fd. 0; -EADDRINUSE
 * (another daemon lives), -EEXIST (not a socket), or -errno. */
MUST_CHECK int uapi_socket_listen(struct uapi_socket *sock, const char *dir, const char *name,
				  int *ret_fd);

/* Watches the name of a socket that was made by somebody else (WG_UAPI_FD). 0, or -errno: there is
 * no such socket. */
MUST_CHECK int uapi_socket_adopt(struct uapi_socket *sock, const char *dir, const char *name);

/* Leaves the removal of the name in @dir to another process: we are about to become somebody who
 * may not. Before there are threads. 0 or -errno. */
MUST_CHECK int uapi_socket_leave_to_sweeper(struct uapi_socket *sock, const char *dir);

/* Reads the watch empty. False once the name was deleted or belongs to another file (U-072); true
 * if there never was one. */
bool uapi_socket_is_ours(struct uapi_socket *sock);

/* Removes the name if it is still ours (U-005). */
void uapi_socket_remove(struct uapi_socket *sock);

void uapi_socket_finish(struct uapi_socket *sock);

/* A connection to @dir/@name.sock. 0 or -errno. */
MUST_CHECK int uapi_socket_connect(const char *dir, const char *name, int *ret_fd);

/* SPDX-License-Identifier: MPL-2.0 */
/** @file
 * A WireGuard device: TUN interface, UDP sockets, worker threads and a control thread, configured
 * over the cross-platform userspace protocol (UAPI). */
#ifndef RINGTUN_DEVICE_H
#define RINGTUN_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ringtun/export.h>
#include <ringtun/log.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ringtun_device; /* opaque: the library owns its layout */

/** A switch that the library may decide by itself. */
enum ringtun_switch {
	RINGTUN_AUTO, /**< use it where the kernel can, fall back otherwise */
	RINGTUN_ON,   /**< creation fails where the kernel can not */
	RINGTUN_OFF,
};

/** How workers talk to the kernel. */
enum ringtun_io {
	RINGTUN_IO_AUTO,  /**< io_uring where it is allowed, else poll */
	RINGTUN_IO_URING, /**< creation fails where io_uring is refused; all by the ring */
	RINGTUN_IO_POLL,
};

/** Why a device ended. */
enum ringtun_end {
	RINGTUN_RUNNING,        /**< it has not */
	RINGTUN_INTERFACE_GONE, /**< the TUN interface or its network namespace was deleted */
	RINGTUN_CONTROL_CLOSED, /**< a connected UAPI stream given to serve_uapi was closed */
	RINGTUN_FAILED,         /**< an error it can not go on after; it was logged */
};

/** Start from ringtun_device_params_init(). Strings and descriptors stay the caller's. */
struct ringtun_device_params {
	const char *name;    /**< interface name or template ("wg%d"); unused with tun_fd */
	int tun_fd;          /**< an attached TUN descriptor to use, or -1; taken over on success */
	uint16_t n_workers;  /**< worker threads; 0 = one per usable core; at most 256 */
	uint16_t mtu;        /**< inner MTU set on a new interface; default 1420 */
	uint32_t txqueuelen; /**< of a new interface; 0 = the library's default */
	/** Of a new interface, in bytes; 0 = what makes one UDP_SEGMENT send of a TCP super-packet,
	 * computed anew when the MTU changes. */
	uint32_t gso_max_size;
	/** Nice value of the device's threads, -20 to -1; workers fall back to 0 under many small
	 * packets. 0 = leave threads alone, as happens where the system does not permit it. */
	int nice;
	enum ringtun_io io;
	enum ringtun_switch tun_tso, tun_uso, udp_gso, udp_gro, multi_queue, steering;
	const char *cpu_mask; /**< kernels to allow, "avx2,neon", "none", ...; NULL = all */
	ringtun_log_fn *log;  /**< NULL = silent; called from any of the device's threads */
	void *log_ctx;
	/** Called once, by the creating thread, when everything that needs privileges is open and
	 * before the first thread is made, so that they inherit what the host does to itself here:
	 * give up privileges, confine itself. Of @device it may call ringtun_device_name(),
	 * ringtun_device_io() and ringtun_device_add_status(). An error, -errno, fails the creation.
	 * NULL = nothing to do. */
	int (*before_threads)(void *ctx, struct ringtun_device *device);
	void *before_threads_ctx;
	uint64_t reserved[6]; /**< must be zero */
};

/** Fills @params with the defaults above. */
RINGTUN_API void ringtun_device_params_init(struct ringtun_device_params *params);

/**
 * Creates the interface (down, not persistent) or takes over params->tun_fd, and starts the
 * threads. On success the caller owns *@ret_device and ends it with ringtun_device_destroy(); on
 * failure *@ret_device is untouched and nothing is left behind.
 * @return 0; -EINVAL (bad @params, unusable name), -EBUSY (interface exists), -EPERM, -ENODEV or
 * -ENOENT (no /dev/net/tun), -ENOMEM, or what the kernel said. Any thread.
 */
RINGTUN_API int ringtun_device_create(struct ringtun_device **ret_device,
				      const struct ringtun_device_params *params);

/** Ends all threads, wipes all keys, closes the interface. NULL is fine. At most 1 s. */
RINGTUN_API void ringtun_device_destroy(struct ringtun_device *device);

/** The interface's real name at creation (a template is resolved). Lives as long as @device. */
RINGTUN_API const char *ringtun_device_name(const struct ringtun_device *device);

/**
 * Serves UAPI on @fd: a listening AF_UNIX stream socket (SO_ACCEPTCONN), or one connected stream,
 * whose end then ends the device with RINGTUN_CONTROL_CLOSED. It is served when this returns, and the
 * library owns @fd on success.
 * @return 0, -EINVAL (neither kind of socket), -EBUSY (eight are served already), or another -errno
 * of the kernel. Any thread, but not from within a callback of the device.
 */
RINGTUN_API int ringtun_device_serve_uapi(struct ringtun_device *device, int fd);

/** RINGTUN_IO_URING if any worker uses io_uring, else RINGTUN_IO_POLL. Any thread. */
RINGTUN_API enum ringtun_io ringtun_device_io(const struct ringtun_device *device);

/**
 * Adds "key=value" to what the UAPI operation `status=1` replies: what only the host knows. Both are
 * copied; neither may hold a newline, nor @key a '='.
 * @return 0, -EINVAL, -ENOSPC (there are 16 already, or one is too long). Any thread.
 */
RINGTUN_API int ringtun_device_add_status(struct ringtun_device *device, const char *key,
					  const char *value);

/** A descriptor that becomes readable when the device ended by itself. Owned by @device. */
RINGTUN_API int ringtun_device_event_fd(const struct ringtun_device *device);

/** RINGTUN_RUNNING, or why it ended. Any thread. */
RINGTUN_API enum ringtun_end ringtun_device_ended(const struct ringtun_device *device);

#ifdef __cplusplus
}
#endif

#endif

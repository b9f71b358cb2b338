/* SPDX-License-Identifier: MPL-2.0 */
/** @file
 * Log levels and the sink that a host hands to the library, which never prints by itself. */
#ifndef RINGTUN_LOG_H
#define RINGTUN_LOG_H

#ifdef __cplusplus
extern "C" {
#endif

enum ringtun_log_level {
	RINGTUN_LOG_ERROR, /**< something does not work and somebody should know */
	RINGTUN_LOG_INFO,  /**< state changes of the device: few, at start and reconfiguration */
	RINGTUN_LOG_DEBUG, /**< handshakes, fallbacks, configuration; rate-limited, never secrets */
};

/** One line without newline. Must not block and not call into the device. Any thread. */
typedef void ringtun_log_fn(void *ctx, enum ringtun_log_level level, const char *line);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: MPL-2.0 */
/* The text protocol, outbound: a growing text, and the lines of a `get` and a `status` reply
 * (U-040..U-043). Out of memory is sticky: append freely, ask uapi_text_failed() once at the end.
 * Texts hold keys: they are in secret pages (P-462) and are wiped chunk by chunk as they are taken
 * (P-461). Not thread-safe. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/macro.h"
#include "control/key_text.h"
#include "device/endpoint.h"

struct uapi_chunk;

struct uapi_text {
	struct uapi_chunk *first, *last;
	size_t len;                 /* bytes not taken yet */
	struct secret_pages *pages; /* that chunks come from; NULL = nobody counts them */
	bool failed;
};

void uapi_text_init(struct uapi_text *text);
void uapi_text_finish(struct uapi_text *text);

static inline bool uapi_text_failed(const struct uapi_text *text)
{
	return text->failed;
}

/* Takes the memory for a line of `errno` now. False: there is none. */
MUST_CHECK bool uapi_text_prepare(struct uapi_text *text);

void uapi_text_append(struct uapi_text *text, const char *data, size_t len);
void uapi_text_append_str(struct uapi_text *text, const char *str);

/* "key=value\n"; @key and @value have no newline (checked in the caller's tests, not here). */
void uapi_text_append_line(struct uapi_text *text, const char *key, const char *value);
void uapi_text_append_u64(struct uapi_text *text, const char *key, uint64_t value);
void uapi_text_append_key(struct uapi_text *text, const char *key, const uint8_t value[KEY_LEN]);

/* The contiguous bytes at the front (len 0 = empty), and their removal once they were sent: at most
 * as many as uapi_text_front() gave. */
struct bytes uapi_text_front(const struct uapi_text *text);
void uapi_text_take(struct uapi_text *text, size_t len);

/* The device's lines of `get`, in order (U-041). */
struct uapi_device_view {
	const uint8_t *private_key; /* 32 bytes, clamped (P-383); NULL = none */
	uint16_t listen_port;       /* 0 = none, no line */
	uint32_t fwmark;            /* 0 = none, no line */
};
void uapi_format_device(struct uapi_text *text, const struct uapi_device_view *view);

/* One peer's lines up to its allowed IPs, which follow (U-042). */
struct uapi_peer_view {
	const uint8_t *public_key;       /* 32 bytes */
	const uint8_t *psk;              /* 32 bytes; NULL = none, shown as zeros */
	const struct endpoint *endpoint; /* NULL or unset = not known, no line */
	uint64_t handshake_sec;          /* since the epoch; 0 = never */
	uint32_t handshake_nsec;
	uint64_t tx_bytes, rx_bytes;
	uint16_t keepalive_sec;
};
void uapi_format_peer(struct uapi_text *text, const struct uapi_peer_view *view);

/* "allowed_ip=addr/len\n"; @addr is 4 or 16 bytes and masked. */
void uapi_format_allowed_ip(struct uapi_text *text, const uint8_t *addr, uint8_t len, bool is_v6);

/* "errno=N\n\n", N printed as given: the caller chooses the sign (U-018). The server does this. */
void uapi_format_errno(struct uapi_text *text, int error);

enum {
	ENDPOINT_TEXT_LEN = 80, /* "[" 45 "%" 15 "]:" 5, NUL, and some air */
};
/* "1.2.3.4:5" or "[fe80::1%eth0]:5" into @buf, NUL-terminated; "" when unset. Also for the log. */
void endpoint_to_text(char buf[ENDPOINT_TEXT_LEN], const struct endpoint *endpoint);

/* SPDX-License-Identifier: MPL-2.0 */
/* The text protocol, outbound. A text is a list of chunks: a reply of many megabytes is never
 * copied to grow, and gives its memory back while the client reads. Lines are put together by hand,
 * as the table of a big gateway has most of a million of them. */
#include "control/uapi_format.h"

#include <assert.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"

enum {
	FIRST_CHUNK_SIZE = 4096, /* enough for a device and a handful of peers */
	CHUNK_SIZE = 65536,
	MAX_U64_DIGITS = 20,
	MAX_PEER_TEXT = 512, /* names 158, keys 128, numbers 75, endpoint 69 */
	MAX_ALLOWED_IP_TEXT = 80,
	MAX_PART = CHUNK_SIZE / 2,
	MAX_ERRNO_TEXT = 32,
};

struct uapi_chunk {
	struct uapi_chunk *next;
	size_t start, end; /* of what is not taken yet */
	size_t room;       /* bytes of data */
	char data[];
};

void uapi_text_init(struct uapi_text *text)
{
	memset(text, 0, sizeof(*text));
}

static void text_drop_front(struct uapi_text *text)
{
	struct uapi_chunk *chunk = text->first;
	text->first = chunk->next;
	if (!text->first)
		text->last = NULL;
	secret_pages_unmap(text->pages, chunk, sizeof(*chunk) + chunk->room,
			   sizeof(*chunk) + chunk->end);
}

void uapi_text_finish(struct uapi_text *text)
{
	struct secret_pages *pages = text->pages;
	while (text->first)
		text_drop_front(text);
	uapi_text_init(text);
	text->pages = pages;
}

/* Room for @len contiguous bytes, at most MAX_PART; NULL when out of memory. */
static char *text_reserve(struct uapi_text *text, size_t len)
{
	struct uapi_chunk *last = text->last;
	if (LIKELY(last && last->room - last->end >= len))
		return last->data + last->end;
	if (text->failed)
		return NULL;

	size_t size = last || len > FIRST_CHUNK_SIZE / 2 ? CHUNK_SIZE : FIRST_CHUNK_SIZE;
	struct uapi_chunk *chunk = secret_pages_map(text->pages, size);
	if (!chunk) {
		text->failed = true;
		return NULL;
	}
	chunk->next = NULL;
	chunk->start = 0;
	chunk->end = 0;
	chunk->room = size - sizeof(*chunk);
	if (last)
		last->next = chunk;
	else
		text->first = chunk;
	text->last = chunk;
	return chunk->data;
}

/* What was reserved is used up to @end. */
static void text_commit(struct uapi_text *text, const char *end)
{
	struct uapi_chunk *last = text->last;
	size_t new_end = (size_t)(end - last->data);
	assert(new_end <= last->room);
	text->len += new_end - last->end;
	last->end = new_end;
}

bool uapi_text_prepare(struct uapi_text *text)
{
	return text_reserve(text, MAX_ERRNO_TEXT) != NULL;
}

void uapi_text_append(struct uapi_text *text, const char *data, size_t len)
{
	while (len) {
		size_t part = MIN(len, (size_t)MAX_PART);
		char *to = text_reserve(text, part);
		if (!to)
			return;
		memcpy(to, data, part);
		text_commit(text, to + part);
		data += part;
		len -= part;
	}
}

struct bytes uapi_text_front(const struct uapi_text *text)
{
	const struct uapi_chunk *chunk = text->first;
	if (!chunk)
		return (struct bytes){ NULL, 0 };
	return (struct bytes){ (const uint8_t *)chunk->data + chunk->start,
			       chunk->end - chunk->start };
}

void uapi_text_take(struct uapi_text *text, size_t len)
{
	struct uapi_chunk *chunk = text->first;
	if (!len)
		return;
	assert(chunk && len <= chunk->end - chunk->start);
	chunk->start += len;
	text->len -= len;
	if (chunk->start == chunk->end)
		text_drop_front(text);
}

static char *put(char *to, const void *data, size_t len)
{
	memcpy(to, data, len);
	return to + len;
}

#define PUT_LITERAL(to, literal) put((to), "" literal, sizeof(literal) - 1)

static char *put_u64(char *to, uint64_t value)
{
	char digits[MAX_U64_DIGITS];
	size_t first = sizeof(digits);
	do {
		digits[--first] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	return put(to, digits + first, sizeof(digits) - first);
}

static char *put_key(char *to, const uint8_t key[KEY_LEN])
{
	key_to_hex(to, key);
	return to + KEY_HEX_LEN;
}

static char *put_ipv4(char *to, const uint8_t addr[4])
{
	for (unsigned i = 0; i < 4; i++) {
		if (i)
			*to++ = '.';
		to = put_u64(to, addr[i]);
	}
	return to;
}

static char *put_hex_group(char *to, uint32_t group)
{
	static const char digits[] = "0123456789abcdef"; /* addresses are no secret */
	for (unsigned shift = group > 0xfff  ? 12
			      : group > 0xff ? 8
			      : group > 0xf  ? 4
					     : 0;
	     ; shift -= 4) {
		*to++ = digits[group >> shift & 15U];
		if (!shift)
			return to;
	}
}

struct group_run {
	unsigned first, len;
};

/* The longest run of at least two zero groups, the first of equals; len 0 if there is none. */
static struct group_run longest_zero_run(const uint8_t addr[16])
{
	struct group_run best = { 0, 0 };
	struct group_run run = { 0, 0 };
	for (unsigned i = 0; i < 8; i++) {
		if (load_be16(addr + 2 * i)) {
			run.len = 0;
			continue;
		}
		if (!run.len++)
			run.first = i;
		if (run.len >= 2 && run.len > best.len)
			best = run;
	}
	return best;
}

/* As inet_ntop() writes it (U-043), with its dotted tail for ::a.b.c.d and ::ffff:a.b.c.d. */
static char *put_ipv6(char *to, const uint8_t addr[16])
{
	struct group_run zeros = longest_zero_run(addr);
	bool dotted = zeros.first == 0 &&
		      (zeros.len == 6 || (zeros.len == 5 && load_be16(addr + 10) == 0xffff));
	unsigned n_groups = dotted ? 6 : 8;

	for (unsigned i = 0; i < n_groups; i++) {
		if (zeros.len && i == zeros.first) {
			*to++ = ':';
			i += zeros.len - 1;
			continue;
		}
		if (i)
			*to++ = ':';
		to = put_hex_group(to, load_be16(addr + 2 * i));
	}
	if (dotted || zeros.first + zeros.len == n_groups)
		*to++ = ':';
	return dotted ? put_ipv4(to, addr + 12) : to;
}

static char *put_scope(char *to, uint32_t ifindex)
{
	char name[IF_NAMESIZE];
	*to++ = '%';
	if (if_indextoname(ifindex, name))
		return put(to, name, strlen(name));
	return put_u64(to, ifindex); /* the interface is gone */
}

static char *put_endpoint(char *to, const struct endpoint *endpoint)
{
	if (endpoint->to.sa.sa_family == AF_INET) {
		to = put_ipv4(to, (const uint8_t *)&endpoint->to.in4.sin_addr);
		*to++ = ':';
		return put_u64(to, ntohs(endpoint->to.in4.sin_port));
	}
	*to++ = '[';
	to = put_ipv6(to, endpoint->to.in6.sin6_addr.s6_addr);
	if (endpoint->to.in6.sin6_scope_id)
		to = put_scope(to, endpoint->to.in6.sin6_scope_id);
	to = PUT_LITERAL(to, "]:");
	return put_u64(to, ntohs(endpoint->to.in6.sin6_port));
}

void endpoint_to_text(char buf[ENDPOINT_TEXT_LEN], const struct endpoint *endpoint)
{
	char *end = endpoint_is_set(endpoint) ? put_endpoint(buf, endpoint) : buf;
	*end = '\0';
}

void uapi_text_append_str(struct uapi_text *text, const char *str)
{
	uapi_text_append(text, str, strlen(str));
}

void uapi_text_append_line(struct uapi_text *text, const char *key, const char *value)
{
	uapi_text_append_str(text, key);
	uapi_text_append(text, "=", 1);
	uapi_text_append_str(text, value);
	uapi_text_append(text, "\n", 1);
}

void uapi_text_append_u64(struct uapi_text *text, const char *key, uint64_t value)
{
	char digits[MAX_U64_DIGITS + 1];
	*put_u64(digits, value) = '\0';
	uapi_text_append_line(text, key, digits);
}

void uapi_text_append_key(struct uapi_text *text, const char *key, const uint8_t value[KEY_LEN])
{
	char hex[KEY_HEX_LEN + 1];
	*put_key(hex, value) = '\0';
	uapi_text_append_line(text, key, hex);
	explicit_bzero(hex, sizeof(hex));
}

void uapi_format_device(struct uapi_text *text, const struct uapi_device_view *view)
{
	if (view->private_key)
		uapi_text_append_key(text, "private_key", view->private_key);
	if (view->listen_port)
		uapi_text_append_u64(text, "listen_port", view->listen_port);
	if (view->fwmark)
		uapi_text_append_u64(text, "fwmark", view->fwmark);
}

void uapi_format_peer(struct uapi_text *text, const struct uapi_peer_view *view)
{
	static const uint8_t no_psk[KEY_LEN];
	char *to = text_reserve(text, MAX_PEER_TEXT);
	if (!to)
		return;

	to = PUT_LITERAL(to, "public_key=");
	to = put_key(to, view->public_key);
	to = PUT_LITERAL(to, "\npreshared_key=");
	to = put_key(to, view->psk ? view->psk : no_psk);
	to = PUT_LITERAL(to, "\nprotocol_version=1");
	if (view->endpoint && endpoint_is_set(view->endpoint)) {
		to = PUT_LITERAL(to, "\nendpoint=");
		to = put_endpoint(to, view->endpoint);
	}
	to = PUT_LITERAL(to, "\nlast_handshake_time_sec=");
	to = put_u64(to, view->handshake_sec);
	to = PUT_LITERAL(to, "\nlast_handshake_time_nsec=");
	to = put_u64(to, view->handshake_nsec);
	to = PUT_LITERAL(to, "\ntx_bytes=");
	to = put_u64(to, view->tx_bytes);
	to = PUT_LITERAL(to, "\nrx_bytes=");
	to = put_u64(to, view->rx_bytes);
	to = PUT_LITERAL(to, "\npersistent_keepalive_interval=");
	to = put_u64(to, view->keepalive_sec);
	to = PUT_LITERAL(to, "\n");
	text_commit(text, to);
}

void uapi_format_allowed_ip(struct uapi_text *text, const uint8_t *addr, uint8_t len, bool is_v6)
{
	char *to = text_reserve(text, MAX_ALLOWED_IP_TEXT);
	if (!to)
		return;

	to = PUT_LITERAL(to, "allowed_ip=");
	to = is_v6 ? put_ipv6(to, addr) : put_ipv4(to, addr);
	*to++ = '/';
	to = put_u64(to, len);
	*to++ = '\n';
	text_commit(text, to);
}

void uapi_format_errno(struct uapi_text *text, int error)
{
	char line[32];
	char *to = PUT_LITERAL(line, "errno=");
	if (error < 0)
		*to++ = '-';
	to = put_u64(to, (uint64_t)llabs((long long)error));
	to = PUT_LITERAL(to, "\n\n");
	uapi_text_append(text, line, (size_t)(to - line));
}

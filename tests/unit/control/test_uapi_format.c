/* SPDX-License-Identifier: MPL-2.0 */
/* The text protocol, outbound: U-040 to U-043. */
#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "control/uapi_format.h"
#include "control/uapi_parse.h"

static struct uapi_text text;

/* All of the text as a string, taken in pieces of up to @step. */
static char *take_all(size_t step)
{
	size_t len = text.len;
	char *all = malloc(len + 1);
	size_t at = 0;
	struct bytes front;
	while ((front = uapi_text_front(&text)).len) {
		size_t n = MIN(front.len, step);
		memcpy(all + at, front.data, n);
		at += n;
		uapi_text_take(&text, n);
	}
	cr_assert(eq(sz, at, len));
	cr_assert(eq(sz, text.len, 0));
	all[len] = '\0';
	return all;
}

static void expect(const char *expected)
{
	cr_assert(not(uapi_text_failed(&text)));
	char *all = take_all(SIZE_MAX);
	cr_assert(eq(str, all, (char *)expected));
	free(all);
}

static void setup(void)
{
	uapi_text_init(&text);
}

static void teardown(void)
{
	uapi_text_finish(&text);
}

TestSuite(uapi_format, .init = setup, .fini = teardown);

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B64 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define Z64 "0000000000000000000000000000000000000000000000000000000000000000"

static uint8_t key_a[KEY_LEN], key_b[KEY_LEN];

static void set_keys(void)
{
	memset(key_a, 0xaa, sizeof(key_a));
	memset(key_b, 0xbb, sizeof(key_b));
}

static struct endpoint endpoint_v4(const char *addr, uint16_t port)
{
	struct endpoint e = { .to.in4 = { .sin_family = AF_INET, .sin_port = htons(port) } };
	inet_pton(AF_INET, addr, &e.to.in4.sin_addr);
	return e;
}

static struct endpoint endpoint_v6(const char *addr, uint16_t port, uint32_t scope)
{
	struct endpoint e = { .to.in6 = { .sin6_family = AF_INET6,
					  .sin6_port = htons(port),
					  .sin6_scope_id = scope } };
	inet_pton(AF_INET6, addr, &e.to.in6.sin6_addr);
	return e;
}

Test(uapi_format, a_bare_device_has_no_lines)
{
	struct uapi_device_view view = { 0 };
	uapi_format_device(&text, &view);
	uapi_format_errno(&text, 0);
	expect("errno=0\n\n");
}

Test(uapi_format, device_lines_in_order)
{
	set_keys();
	struct uapi_device_view view = { key_a, 65535, UINT32_MAX };
	uapi_format_device(&text, &view);
	expect("private_key=" A64 "\nlisten_port=65535\nfwmark=4294967295\n");
}

Test(uapi_format, a_new_peer)
{
	set_keys();
	struct uapi_peer_view view = { .public_key = key_a };
	uapi_format_peer(&text, &view);
	expect("public_key=" A64 "\npreshared_key=" Z64 "\nprotocol_version=1\n"
	       "last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\n"
	       "persistent_keepalive_interval=0\n");
}

Test(uapi_format, a_peer_with_everything_at_its_longest)
{
	set_keys();
	struct endpoint endpoint =
		endpoint_v6("fe80:1111:2222:3333:4444:5555:6666:7777", 65535, UINT32_MAX);
	struct uapi_peer_view view = {
		.public_key = key_a,
		.psk = key_b,
		.endpoint = &endpoint,
		.handshake_sec = UINT64_MAX,
		.handshake_nsec = UINT32_MAX,
		.tx_bytes = UINT64_MAX,
		.rx_bytes = UINT64_MAX,
		.keepalive_sec = UINT16_MAX,
	};
	uapi_format_peer(&text, &view);
	expect("public_key=" A64 "\npreshared_key=" B64 "\nprotocol_version=1\n"
	       "endpoint=[fe80:1111:2222:3333:4444:5555:6666:7777%4294967295]:65535\n"
	       "last_handshake_time_sec=18446744073709551615\n"
	       "last_handshake_time_nsec=4294967295\n"
	       "tx_bytes=18446744073709551615\nrx_bytes=18446744073709551615\n"
	       "persistent_keepalive_interval=65535\n");
}

Test(uapi_format, endpoints)
{
	char buf[ENDPOINT_TEXT_LEN];
	struct endpoint none = { 0 };
	struct endpoint v4 = endpoint_v4("192.0.2.1", 51820);
	struct endpoint v6 = endpoint_v6("2001:db8::1", 0, 0);
	struct endpoint local = endpoint_v6("fe80::1", 5, if_nametoindex("lo"));

	endpoint_to_text(buf, &none);
	cr_assert(eq(str, buf, (char *)""));
	endpoint_to_text(buf, &v4);
	cr_assert(eq(str, buf, (char *)"192.0.2.1:51820"));
	endpoint_to_text(buf, &v6);
	cr_assert(eq(str, buf, (char *)"[2001:db8::1]:0"));
	endpoint_to_text(buf, &local);
	cr_assert(eq(str, buf, (char *)"[fe80::1%lo]:5"));
}

Test(uapi_format, allowed_ips)
{
	static const uint8_t v4[4] = { 10, 0, 200, 0 };
	static const uint8_t v6[16] = { 0xfd };
	uapi_format_allowed_ip(&text, v4, 24, false);
	uapi_format_allowed_ip(&text, v6, 8, true);
	uapi_format_allowed_ip(&text, (const uint8_t[16]){ 0 }, 0, true);
	uapi_format_allowed_ip(&text, (const uint8_t[4]){ 0 }, 0, false);
	expect("allowed_ip=10.0.200.0/24\nallowed_ip=fd00::/8\nallowed_ip=::/0\n"
	       "allowed_ip=0.0.0.0/0\n");
}

Test(uapi_format, errno_lines)
{
	uapi_format_errno(&text, 0);
	uapi_format_errno(&text, 22);
	uapi_format_errno(&text, -98);
	uapi_format_errno(&text, INT32_MIN);
	expect("errno=0\n\nerrno=22\n\nerrno=-98\n\nerrno=-2147483648\n\n");
}

/* Groups are drawn from few values, so that runs of zeros and dotted tails occur all the time. */
Test(uapi_format, ipv6_text_is_that_of_inet_ntop)
{
	static const uint16_t groups[] = { 0, 0, 0, 0xffff, 1, 0x10, 0x100, 0x1000, 0xabcd };
	srand(4291);
	for (unsigned round = 0; round < 300000; round++) {
		uint8_t addr[16];
		char expected[INET6_ADDRSTRLEN];
		char line[96];
		for (unsigned i = 0; i < 8; i++)
			store_be16(addr + 2 * i, groups[(size_t)rand() % ARRAY_SIZE(groups)]);
		if (round % 4 == 0)
			memset(addr, 0, 10);
		if (round % 8 == 0)
			memset(addr + 10, round % 16 ? 0 : 0xff, 2);
		inet_ntop(AF_INET6, addr, expected, sizeof(expected));
		snprintf(line, sizeof(line), "allowed_ip=%s/128\n", expected);

		uapi_format_allowed_ip(&text, addr, 128, true);
		struct bytes front = uapi_text_front(&text);
		cr_assert(front.len == strlen(line) && memcmp(front.data, line, front.len) == 0,
			  "expected %s got %.*s", line, (int)front.len, (const char *)front.data);
		uapi_text_take(&text, front.len);
	}
}

Test(uapi_format, ipv4_text_is_that_of_inet_ntop)
{
	for (unsigned i = 0; i < 256; i++) {
		uint8_t addr[4] = { (uint8_t)i, (uint8_t)(255 - i), (uint8_t)(i * 7), 0 };
		char expected[INET_ADDRSTRLEN];
		char line[64];
		inet_ntop(AF_INET, addr, expected, sizeof(expected));
		snprintf(line, sizeof(line), "allowed_ip=%s/%u\n", expected, i % 33);
		uapi_format_allowed_ip(&text, addr, (uint8_t)(i % 33), false);
		expect(line);
	}
}

Test(uapi_format, long_texts_come_back_whole)
{
	size_t len = 1000000;
	char *data = malloc(len);
	for (size_t i = 0; i < len; i++)
		data[i] = (char)('a' + i % 26 + i / 1000 % 3);

	for (size_t at = 0, piece = 1; at < len; at += piece, piece = piece * 3 % 70001) {
		piece = MIN(piece, len - at);
		uapi_text_append(&text, data + at, piece);
	}
	cr_assert(eq(sz, text.len, len));
	char *all = take_all(777);
	cr_assert(memcmp(all, data, len) == 0);
	free(all);

	uapi_text_append(&text, data, len); /* usable again, and larger than a chunk at once */
	all = take_all(SIZE_MAX);
	cr_assert(memcmp(all, data, len) == 0);
	free(all);
	free(data);
}

Test(uapi_format, what_is_formatted_can_be_parsed)
{
	set_keys();
	struct endpoint endpoint = endpoint_v6("fe80::5", 7, if_nametoindex("lo"));
	struct uapi_device_view device = { key_b, 51820, 9 };
	uapi_text_append_str(&text, "set=1\n");
	uapi_format_device(&text, &device);
	uapi_text_append_key(&text, "public_key", key_a);
	char buf[ENDPOINT_TEXT_LEN];
	endpoint_to_text(buf, &endpoint);
	uapi_text_append_line(&text, "endpoint", buf);
	uapi_text_append_u64(&text, "persistent_keepalive_interval", 25);
	uapi_format_allowed_ip(&text, (const uint8_t[16]){ 0xfe, 0x80 }, 10, true);
	uapi_text_append_str(&text, "\n");

	struct uapi_parser parser;
	uapi_parser_init(&parser);
	size_t len = text.len;
	char *all = take_all(SIZE_MAX);
	cr_assert(eq(sz, uapi_parser_feed(&parser, all, len), len));
	free(all);
	cr_assert(parser.complete);
	cr_assert(eq(int, parser.request.error, 0));
	const struct config_set *set = &parser.request.set;
	cr_assert(memcmp(set->private_key, key_b, KEY_LEN) == 0);
	cr_assert(eq(u16, set->listen_port, 51820));
	cr_assert(eq(u32, set->fwmark, 9));
	cr_assert(memcmp(set->peers[0].public_key, key_a, KEY_LEN) == 0);
	cr_assert(endpoint_equal(&set->peers[0].endpoint, &endpoint));
	cr_assert(eq(u16, set->peers[0].keepalive_sec, 25));
	cr_assert(eq(int, set->allowed_ips[0].len, 10));
	uapi_parser_finish(&parser);
}

Test(uapi_format, a_full_table_is_quick)
{
	set_keys();
	struct endpoint endpoint = endpoint_v4("198.51.100.77", 51820);
	struct timespec start, end;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
	for (unsigned peer = 0; peer < 65536; peer++) {
		struct uapi_peer_view view = { .public_key = key_a,
					       .psk = key_b,
					       .endpoint = &endpoint,
					       .handshake_sec = 1700000000,
					       .handshake_nsec = 123456789,
					       .tx_bytes = 123456789012,
					       .rx_bytes = 98765432101,
					       .keepalive_sec = 25 };
		uapi_format_peer(&text, &view);
		for (unsigned i = 0; i < 10; i++) {
			uint8_t addr[16] = { 0xfd, 0, (uint8_t)(peer >> 8),
					     (uint8_t)peer, [15] = (uint8_t)i };
			uapi_format_allowed_ip(&text, addr, i % 2 ? 128 : 32, i % 2);
		}
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
	double cpu_sec =
		(double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) * 1e-9;
	cr_log_info("65536 peers, %zu bytes formatted in %.3f s", text.len, cpu_sec);
	cr_assert(cpu_sec < 1, "%.3f s; 0.06 s is normal, a sanitizer costs some", cpu_sec);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* A parsed `set` as data: limits and size. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "control/config.h"
#include "control/uapi_parse.h"

static const uint8_t key[KEY_LEN] = { 1, 2, 3 };
static const struct config_allowed_ip ip = { .addr = { 10 }, .len = 8 };

Test(config, sections_are_limited)
{
	struct config_set set;
	config_set_init(&set);
	for (size_t i = 0; i < CONFIG_MAX_SECTIONS; i++)
		cr_assert(eq(int, config_set_add_peer(&set, key), 0));
	cr_assert(eq(int, config_set_add_peer(&set, key), -ENOMEM));
	cr_assert(eq(sz, set.n_peers, CONFIG_MAX_SECTIONS));
	config_set_finish(&set);
}

Test(config, allowed_ips_are_limited)
{
	struct config_set set;
	config_set_init(&set);
	cr_assert(eq(int, config_set_add_peer(&set, key), 0));
	for (size_t i = 0; i < CONFIG_MAX_ALLOWED_IPS; i++)
		if (config_set_add_allowed_ip(&set, &ip) != 0)
			cr_fail("entry %zu", i);
	cr_assert(eq(int, config_set_add_allowed_ip(&set, &ip), -ENOMEM));
	config_set_finish(&set);
}

Test(config, memory_limit_is_kept)
{
	struct config_set set;
	config_set_init(&set);
	set.memory_limit = 100000;
	int r = 0;
	for (unsigned i = 0; i < 100000 && r == 0; i++) {
		r = config_set_add_peer(&set, key);
		for (unsigned j = 0; j < 3 && r == 0; j++)
			r = config_set_add_allowed_ip(&set, &ip);
		cr_assert(config_set_memory(&set) <= 100000);
	}
	cr_assert(eq(int, r, -ENOMEM));
	cr_assert(set.n_peers > 100, "a good part of the room can be used");
	config_set_finish(&set);
	cr_assert(eq(sz, config_set_memory(&set), 0));
}

Test(config, growing_keeps_everything)
{
	struct config_set set;
	config_set_init(&set);
	for (unsigned i = 0; i < 1000; i++) {
		uint8_t own[KEY_LEN] = { (uint8_t)i, (uint8_t)(i >> 8) };
		cr_assert(eq(int, config_set_add_peer(&set, own), 0));
		set.peers[i].keepalive_sec = (uint16_t)i;
		for (unsigned j = 0; j < i % 4; j++)
			cr_assert(eq(int, config_set_add_allowed_ip(&set, &ip), 0));
	}
	uint32_t first = 0;
	for (unsigned i = 0; i < 1000; i++) {
		const struct config_peer *peer = &set.peers[i];
		cr_assert(eq(int, peer->public_key[0] | peer->public_key[1] << 8, (int)i));
		cr_assert(eq(u16, peer->keepalive_sec, i));
		cr_assert(eq(u32, peer->n_allowed_ips, i % 4));
		cr_assert(eq(u32, peer->first_allowed_ip, first));
		first += i % 4;
	}
	config_set_finish(&set);
}

static size_t put_section(char *to, unsigned peer)
{
	static const char digits[] = "0123456789abcdef";
	char *at = to;
	memcpy(at, "public_key=", 11);
	at += 11;
	memset(at, '0', KEY_HEX_LEN);
	for (unsigned i = 0; i < 4; i++)
		at[i] = digits[peer >> (4 * i) & 15];
	at += KEY_HEX_LEN;
	*at++ = '\n';
	for (unsigned i = 0; i < 10; i++)
		at += sprintf(at, "allowed_ip=10.%u.%u.%u/32\n", peer >> 8, peer & 255, i);
	return (size_t)(at - to);
}

/* U-016: 65536 peers with ten allowed IPs each; about 23 MB of text, fed as they would arrive. */
Test(config, a_full_table_is_quick)
{
	static char section[1024];
	struct uapi_parser parser;
	struct timespec start, end;
	double cpu_sec = 0;

	uapi_parser_init(&parser);
	cr_assert(eq(sz, uapi_parser_feed(&parser, "set=1\n", 6), 6));
	for (unsigned peer = 0; peer < 65536; peer++) {
		size_t len = put_section(section, peer);
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
		size_t taken = uapi_parser_feed(&parser, section, len);
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
		cpu_sec += (double)(end.tv_sec - start.tv_sec) +
			   (double)(end.tv_nsec - start.tv_nsec) * 1e-9;
		cr_assert(eq(sz, taken, len));
	}
	cr_assert(eq(sz, uapi_parser_feed(&parser, "\n", 1), 1));
	cr_assert(parser.complete);
	cr_assert(eq(int, parser.request.error, 0));
	cr_assert(eq(sz, parser.request.set.n_peers, 65536));
	cr_assert(eq(sz, parser.request.set.n_allowed_ips, 655360));
	cr_assert(config_set_memory(&parser.request.set) < 32 * 1024 * 1024);
	cr_log_info("65536 peers parsed in %.3f s", cpu_sec);
	cr_assert(cpu_sec < 3, "%.3f s; 0.15 s is normal, a sanitizer costs some", cpu_sec);
	uapi_parser_finish(&parser);
}

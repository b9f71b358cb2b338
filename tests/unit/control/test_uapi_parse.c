/* SPDX-License-Identifier: MPL-2.0 */
/* The text protocol, inbound: U-010 to U-028, one table row per rule. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "control/uapi_parse.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "BbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBb"
#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"
#define PEER  "public_key=" HEX_A "\n"
#define SET   "set=1\n"
#define END   "\n"

static struct uapi_parser parser;

/* Feeds @len bytes in pieces of @step until a transaction is complete; returns the bytes taken. */
static size_t feed(const char *data, size_t len, size_t step)
{
	size_t taken = 0;
	while (taken < len && !parser.complete) {
		size_t piece = MIN(step, len - taken);
		char *copy = malloc(piece); /* a read past the piece is seen by ASan */
		memcpy(copy, data + taken, piece);
		size_t n = uapi_parser_feed(&parser, copy, piece);
		free(copy);
		cr_assert(n == piece || parser.complete);
		taken += n;
	}
	return taken;
}

/* One transaction that takes all of @text. */
static const struct uapi_request *parse(const char *text)
{
	uapi_parser_init(&parser);
	cr_assert(eq(sz, feed(text, strlen(text), SIZE_MAX), strlen(text)), "%s", text);
	cr_assert(parser.complete, "not complete: %s", text);
	return &parser.request;
}

static const struct config_peer *parse_peer(const char *lines)
{
	char text[8192];
	snprintf(text, sizeof(text), SET PEER "%s" END, lines);
	const struct uapi_request *request = parse(text);
	cr_assert(eq(int, request->error, 0), "%s", lines);
	cr_assert(eq(sz, request->set.n_peers, 1));
	return &request->set.peers[0];
}

static void teardown(void)
{
	uapi_parser_finish(&parser);
}

TestSuite(uapi_parse, .fini = teardown);

static const struct {
	const char *lines; /* behind set=1, before the empty line */
	int error;
} set_table[] = {
	{ "", 0 }, /* U-028 */
	/* device keys, their ranges */
	{ "private_key=" HEX_A "\n", 0 },
	{ "private_key=" HEX_B "\n", 0 },
	{ "private_key=" ZEROS "\n", 0 },
	{ "private_key=\n", EINVAL },
	{ "private_key=" HEX_A "a\n", EINVAL },
	{ "private_key= " HEX_A "\n", EINVAL },
	{ "private_key=g" ZEROS "\n", EINVAL },
	{ "private_key=YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=\n", EINVAL },
	{ "listen_port=0\n", 0 },
	{ "listen_port=65535\n", 0 },
	{ "listen_port=65536\n", EINVAL },
	{ "listen_port=00000000000000000000065535\n", 0 },
	{ "listen_port=18446744073709551616\n", EINVAL },
	{ "listen_port=18446744073709551617\n", EINVAL },
	{ "listen_port=-1\n", EINVAL },
	{ "listen_port=+1\n", EINVAL },
	{ "listen_port=0x10\n", EINVAL },
	{ "listen_port= 1\n", EINVAL },
	{ "listen_port=1 \n", EINVAL },
	{ "listen_port=1\r\n", EINVAL },
	{ "listen_port=\n", EINVAL },
	{ "listen_port=off\n", EINVAL },
	{ "fwmark=0\n", 0 },
	{ "fwmark=4294967295\n", 0 },
	{ "fwmark=4294967296\n", EINVAL },
	{ "fwmark=off\n", EINVAL },
	{ "fwmark=0xca6c\n", EINVAL },
	{ "replace_peers=true\n", 0 },
	{ "replace_peers=false\n", EINVAL },
	{ "replace_peers=True\n", EINVAL },
	{ "replace_peers=\n", EINVAL },
	{ "protocol_version=1\n", 0 },
	{ "protocol_version=2\n", EINVAL },
	{ "protocol_version=01\n", EINVAL },
	{ "protocol_version=\n", EINVAL },
	/* structure of a line: U-012, U-022, U-023 */
	{ "listen_port\n", EPROTO },
	{ " \n", EPROTO },
	{ "\r\n", EPROTO },
	{ "=\n", EINVAL },
	{ "=1\n", EINVAL },
	{ "Listen_port=1\n", EINVAL },
	{ "listen_port =1\n", EINVAL },
	{ " listen_port=1\n", EINVAL },
	{ "listen_port==1\n", EINVAL },
	{ "listen_por=1\n", EINVAL },
	{ "listen_portt=1\n", EINVAL },
	{ "no_such_key=1\n", EINVAL },
	{ "get=1\n", EINVAL },
	{ "set=1\n", EINVAL },
	{ "errno=0\n", EINVAL },
	/* peer keys before the first section */
	{ "preshared_key=" HEX_A "\n", EINVAL },
	{ "endpoint=1.2.3.4:5\n", EINVAL },
	{ "persistent_keepalive_interval=1\n", EINVAL },
	{ "replace_allowed_ips=true\n", EINVAL },
	{ "allowed_ip=10.0.0.0/8\n", EINVAL },
	{ "remove=true\n", EINVAL },
	{ "update_only=true\n", EINVAL },
	/* device keys after one */
	{ PEER "private_key=" HEX_A "\n", EINVAL },
	{ PEER "listen_port=1\n", EINVAL },
	{ PEER "fwmark=1\n", EINVAL },
	{ PEER "replace_peers=true\n", EINVAL },
	{ PEER "protocol_version=1\n", 0 },
	{ PEER "protocol_version=0\n", EINVAL },
	/* sections */
	{ PEER, 0 },
	{ PEER PEER, 0 },
	{ "public_key=" ZEROS "\n", 0 },
	{ "public_key=" HEX_A "0\n", EINVAL },
	{ "public_key=\n", EINVAL },
	{ PEER "public_key=1\n", EINVAL },
	{ PEER "remove=true\n", 0 },
	{ PEER "remove=1\n", EINVAL },
	{ PEER "remove=false\n", EINVAL },
	{ PEER "update_only=true\n", 0 },
	{ PEER "update_only=\n", EINVAL },
	{ PEER "replace_allowed_ips=true\n", 0 },
	{ PEER "replace_allowed_ips=TRUE\n", EINVAL },
	{ PEER "preshared_key=" HEX_B "\n", 0 },
	{ PEER "preshared_key=" ZEROS "\n", 0 },
	{ PEER "preshared_key=00\n", EINVAL },
	{ PEER "persistent_keepalive_interval=0\n", 0 },
	{ PEER "persistent_keepalive_interval=65535\n", 0 },
	{ PEER "persistent_keepalive_interval=65536\n", EINVAL },
	{ PEER "persistent_keepalive_interval=off\n", EINVAL },
	/* a removed peer's section must still be well-formed (U-027 in spirit) */
	{ PEER "remove=true\npersistent_keepalive_interval=x\n", EINVAL },
	/* endpoint */
	{ PEER "endpoint=1.2.3.4:0\n", 0 },
	{ PEER "endpoint=255.255.255.255:65535\n", 0 },
	{ PEER "endpoint=[::1]:51820\n", 0 },
	{ PEER "endpoint=[fe80::1]:51820\n", 0 },
	{ PEER "endpoint=[fe80::1%lo]:51820\n", 0 },
	{ PEER "endpoint=[fe80::1%1]:51820\n", 0 },
	{ PEER "endpoint=[::ffff:1.2.3.4]:51820\n", 0 },
	{ PEER "endpoint=\n", EINVAL },
	{ PEER "endpoint=1.2.3.4\n", EINVAL },
	{ PEER "endpoint=1.2.3.4:\n", EINVAL },
	{ PEER "endpoint=1.2.3.4:65536\n", EINVAL },
	{ PEER "endpoint=1.2.3.4:-1\n", EINVAL },
	{ PEER "endpoint=1.2.3.4:+1\n", EINVAL },
	{ PEER "endpoint=1.2.3.4:1x\n", EINVAL },
	{ PEER "endpoint=1.2.3:1\n", EINVAL },
	{ PEER "endpoint=1.2.3.256:1\n", EINVAL },
	{ PEER "endpoint=1.2.3.04:1\n", EINVAL },
	{ PEER "endpoint=0x1.2.3.4:1\n", EINVAL },
	{ PEER "endpoint= 1.2.3.4:1\n", EINVAL },
	{ PEER "endpoint=:1\n", EINVAL },
	{ PEER "endpoint=[]:1\n", EINVAL },
	{ PEER "endpoint=[1.2.3.4]:1\n", EINVAL },
	{ PEER "endpoint=example.com:1\n", EINVAL },
	{ PEER "endpoint=localhost:1\n", EINVAL },
	{ PEER "endpoint=::1:1\n", EINVAL },
	{ PEER "endpoint=2001:db8::1\n", EINVAL },
	{ PEER "endpoint=[::1]\n", EINVAL },
	{ PEER "endpoint=[::1]51820\n", EINVAL },
	{ PEER "endpoint=[::1]:\n", EINVAL },
	{ PEER "endpoint=[::1:1\n", EINVAL },
	{ PEER "endpoint=::1]:1\n", EINVAL },
	{ PEER "endpoint=[:::1]:1\n", EINVAL },
	{ PEER "endpoint=[fe80::1%]:1\n", EINVAL },
	{ PEER "endpoint=[fe80::1%0]:1\n", EINVAL },
	{ PEER "endpoint=[fe80::1%no_such_if]:1\n", EINVAL },
	{ PEER "endpoint=[fe80::1%no_such_interface_as_it_is_long]:1\n", EINVAL },
	{ PEER "endpoint=[fe80::1%4294967296]:1\n", EINVAL },
	{ PEER "endpoint=[2001:db8::1%no_such_if]:1\n", EINVAL },
	{ PEER "endpoint=1.2.3.4%lo:1\n", EINVAL },
	/* allowed_ip */
	{ PEER "allowed_ip=0.0.0.0/0\n", 0 },
	{ PEER "allowed_ip=10.1.2.3/32\n", 0 },
	{ PEER "allowed_ip=-10.1.2.3/32\n", 0 },
	{ PEER "allowed_ip=::/0\n", 0 },
	{ PEER "allowed_ip=-2001:db8::/32\n", 0 },
	{ PEER "allowed_ip=2001:DB8:ffff:ffff:ffff:ffff:255.255.255.255/128\n", 0 },
	{ PEER "allowed_ip=10.0.0.0/33\n", EINVAL },
	{ PEER "allowed_ip=::/129\n", EINVAL },
	{ PEER "allowed_ip=10.0.0.0\n", EINVAL },
	{ PEER "allowed_ip=10.0.0.0/\n", EINVAL },
	{ PEER "allowed_ip=10.0.0.0/08\n", EINVAL },
	{ PEER "allowed_ip=10.0.0.0/00\n", EINVAL },
	{ PEER "allowed_ip=10.0.0.0/-8\n", EINVAL },
	{ PEER "allowed_ip=10.0.0.0/8 \n", EINVAL },
	{ PEER "allowed_ip=10.0.0.0/8/8\n", EINVAL },
	{ PEER "allowed_ip=10.0.0.0/255.0.0.0\n", EINVAL },
	{ PEER "allowed_ip=10.0.0/8\n", EINVAL },
	{ PEER "allowed_ip=10.0.0.0/8,11.0.0.0/8\n", EINVAL },
	{ PEER "allowed_ip=--10.0.0.0/8\n", EINVAL },
	{ PEER "allowed_ip=+10.0.0.0/8\n", EINVAL },
	{ PEER "allowed_ip=-\n", EINVAL },
	{ PEER "allowed_ip=\n", EINVAL },
	{ PEER "allowed_ip=/0\n", EINVAL },
	{ PEER "allowed_ip=[::]/0\n", EINVAL },
	{ PEER "allowed_ip=fe80::1%lo/128\n", EINVAL },
	/* the first error counts, what follows is only read */
	{ "listen_port\nno_such_key=1\n", EPROTO },
	{ "no_such_key=1\nlisten_port\n", EINVAL },
	{ "no_such_key=1\nlisten_port=1\n" PEER, EINVAL },
};

Test(uapi_parse, set_lines_and_their_errors)
{
	for (size_t i = 0; i < ARRAY_SIZE(set_table); i++) {
		char text[1024];
		snprintf(text, sizeof(text), SET "%s" END, set_table[i].lines);
		const struct uapi_request *request = parse(text);
		cr_assert(eq(int, request->op, UAPI_OP_SET));
		cr_assert(eq(int, request->error, set_table[i].error), "%s", text);
		cr_assert(not(request->close));
		if (request->error) {
			cr_assert(zero(ptr, request->set.peers));
			cr_assert(not(request->set.has_listen_port));
		}
		uapi_parser_finish(&parser);
	}
}

Test(uapi_parse, an_embedded_nul_hides_nothing)
{
	static const char *const lines[] = {
		PEER "endpoint=1.2.3.4@:1\n",
		PEER "endpoint=[::1@]:1\n",
		PEER "endpoint=[fe80::1%lo@]:1\n",
		PEER "endpoint=1.2.3.4:1@\n",
		PEER "allowed_ip=1.2.3.4@/32\n",
		PEER "allowed_ip=1.2.3.4/32@\n",
		"replace_peers=true@\n",
		"listen_port@=1\n",
		"listen_port=1@2\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		char text[256];
		int len = snprintf(text, sizeof(text), SET "%s" END, lines[i]);
		*strchr(text, '@') = '\0';
		uapi_parser_init(&parser);
		cr_assert(eq(sz, feed(text, (size_t)len, SIZE_MAX), (size_t)len));
		cr_assert(parser.complete);
		cr_assert(eq(int, parser.request.error, EINVAL), "%s", lines[i]);
		uapi_parser_finish(&parser);
	}
}

Test(uapi_parse, operation_lines)
{
	static const struct {
		const char *text;
		enum uapi_op op;
		int error;
		bool close;
	} table[] = {
		{ "get=1\n\n", UAPI_OP_GET, 0, false },
		{ "set=1\n\n", UAPI_OP_SET, 0, false },
		{ "status=1\n\n", UAPI_OP_STATUS, 0, false },
		{ "get=1\nx=1\n\n", UAPI_OP_GET, EINVAL, false }, /* U-014 */
		{ "get=1\nno equals\nx=1\n\n", UAPI_OP_GET, EINVAL, false },
		{ "status=1\nx=1\n\n", UAPI_OP_STATUS, EINVAL, false },
		/* U-013: complete with the line, nothing after it is looked at */
		{ "get=2\n", UAPI_OP_NONE, EPROTO, true },
		{ "set=0\n", UAPI_OP_NONE, EPROTO, true },
		{ "set=1 \n", UAPI_OP_NONE, EPROTO, true },
		{ "SET=1\n", UAPI_OP_NONE, EPROTO, true },
		{ "get=1\r\n", UAPI_OP_NONE, EPROTO, true },
		{ "\n", UAPI_OP_NONE, EPROTO, true },
		{ "\r\n", UAPI_OP_NONE, EPROTO, true },
		{ "GET / HTTP/1.1\n", UAPI_OP_NONE, EPROTO, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const struct uapi_request *request = parse(table[i].text);
		cr_assert(eq(int, request->op, table[i].op), "%s", table[i].text);
		cr_assert(eq(int, request->error, table[i].error), "%s", table[i].text);
		cr_assert(eq(int, request->close, table[i].close), "%s", table[i].text);
		uapi_parser_finish(&parser);
	}
}

Test(uapi_parse, device_values)
{
	const struct config_set *set = &parse(SET "private_key=" HEX_B "\nlisten_port=51820\n"
						  "fwmark=4294967295\nreplace_peers=true\n" END)
						->set;

	cr_assert(set->has_private_key && set->has_listen_port && set->has_fwmark);
	cr_assert(eq(int, set->private_key[0], 0xbb));
	cr_assert(eq(int, set->private_key[31], 0xbb));
	cr_assert(eq(u16, set->listen_port, 51820));
	cr_assert(eq(u32, set->fwmark, UINT32_MAX));
	cr_assert(set->replace_peers);
	cr_assert(eq(sz, set->n_peers, 0));
}

Test(uapi_parse, absent_keys_are_absent)
{
	const struct config_set *set = &parse(SET PEER END)->set;

	cr_assert(not(set->has_private_key || set->has_listen_port || set->has_fwmark));
	cr_assert(not(set->replace_peers));
	const struct config_peer *peer = &set->peers[0];
	cr_assert(not(peer->remove || peer->update_only || peer->replace_allowed_ips));
	cr_assert(not(peer->has_psk || peer->has_endpoint || peer->has_keepalive));
	cr_assert(eq(u32, peer->n_allowed_ips, 0));
	cr_assert(zero(ptr, (void *)config_peer_allowed_ips(set, peer)));
}

Test(uapi_parse, the_last_of_repeated_keys_wins)
{
	const struct config_peer *peer = parse_peer(
		"persistent_keepalive_interval=1\nendpoint=[fe80::1%1]:1\npreshared_key=" ZEROS
		"\npersistent_keepalive_interval=25\nendpoint=1.2.3.4:5\npreshared_key=" HEX_B
		"\n");
	struct endpoint expected = { .to.in4 = { .sin_family = AF_INET, .sin_port = htons(5) } };
	inet_pton(AF_INET, "1.2.3.4", &expected.to.in4.sin_addr);

	cr_assert(eq(u16, peer->keepalive_sec, 25));
	cr_assert(endpoint_equal(&peer->endpoint, &expected), "nothing of the first may remain");
	cr_assert(eq(int, peer->psk[7], 0xbb));
}

Test(uapi_parse, flags_hold_wherever_they_stand)
{
	const struct config_peer *peer =
		parse_peer("allowed_ip=1.0.0.0/8\nupdate_only=true\nreplace_allowed_ips=true\n"
			   "allowed_ip=2.0.0.0/8\nremove=true\n");

	cr_assert(peer->update_only && peer->replace_allowed_ips && peer->remove);
	cr_assert(eq(u32, peer->n_allowed_ips, 2));
}

Test(uapi_parse, endpoint_v6_keeps_the_scope_of_link_local_only)
{
	const struct config_peer *peer = parse_peer("endpoint=[fe80::1%lo]:51820\n");
	cr_assert(eq(int, peer->endpoint.to.in6.sin6_family, AF_INET6));
	cr_assert(eq(u32, peer->endpoint.to.in6.sin6_scope_id, if_nametoindex("lo")));
	cr_assert(eq(int, ntohs(peer->endpoint.to.in6.sin6_port), 51820));
	cr_assert(eq(int, peer->endpoint.to.in6.sin6_addr.s6_addr[15], 1));
	uapi_parser_finish(&parser);

	peer = parse_peer("endpoint=[2001:db8::1%lo]:1\n");
	cr_assert(eq(u32, peer->endpoint.to.in6.sin6_scope_id, 0));
}

Test(uapi_parse, allowed_ips_are_masked_and_belong_to_their_section)
{
	const struct config_set *set =
		&parse(SET PEER "allowed_ip=10.255.255.255/9\nallowed_ip=-ffff::ffff/65\n"
				"public_key=" HEX_B "\nallowed_ip=255.255.255.255/0\n"
				"allowed_ip=1:2:3:4:5:6:7:8/128\nallowed_ip=9.9.9.9/32\n" END)
			 ->set;
	static const struct config_allowed_ip expected[] = {
		{ .addr = { 10, 128 }, .len = 9 },
		{ .addr = { 0xff, 0xff }, .len = 65, .is_v6 = true, .remove = true },
		{ .len = 0 },
		{ .addr = { 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8 },
		  .len = 128,
		  .is_v6 = true },
		{ .addr = { 9, 9, 9, 9 }, .len = 32 },
	};

	cr_assert(eq(sz, set->n_peers, 2));
	cr_assert(eq(u32, set->peers[0].n_allowed_ips, 2));
	cr_assert(eq(u32, set->peers[1].n_allowed_ips, 3));
	cr_assert(config_peer_allowed_ips(set, &set->peers[1]) == set->allowed_ips + 2);
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		const struct config_allowed_ip *ip = &set->allowed_ips[i];
		cr_assert(memcmp(ip->addr, expected[i].addr, 16) == 0, "address %zu", i);
		cr_assert(eq(int, ip->len, expected[i].len));
		cr_assert(eq(int, ip->is_v6, expected[i].is_v6));
		cr_assert(eq(int, ip->remove, expected[i].remove));
	}
}

Test(uapi_parse, sections_of_one_key_stay_in_order)
{
	const struct config_set *set =
		&parse(SET PEER "remove=true\n" PEER "persistent_keepalive_interval=7\n" END)->set;

	cr_assert(eq(sz, set->n_peers, 2));
	cr_assert(set->peers[0].remove && !set->peers[1].remove);
	cr_assert(eq(u16, set->peers[1].keepalive_sec, 7));
}

/* What three pipelined transactions and their errors look like, in pieces of @step. */
static void check_pipeline(size_t step)
{
	static const char text[] = "set=1\nlisten_port=1\n\nget=1\n\nset=1\nbad=1\n\n"
				   "set=1\nfwmark=2\n" PEER "allowed_ip=10.0.0.0/8\n\nget=2\n";
	size_t len = strlen(text);
	size_t taken = 0;
	static const struct {
		enum uapi_op op;
		int error;
	} expected[] = { { UAPI_OP_SET, 0 },
			 { UAPI_OP_GET, 0 },
			 { UAPI_OP_SET, EINVAL },
			 { UAPI_OP_SET, 0 },
			 { UAPI_OP_NONE, EPROTO } };

	uapi_parser_init(&parser);
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		taken += feed(text + taken, len - taken, step);
		cr_assert(parser.complete, "transaction %zu, step %zu", i, step);
		cr_assert(eq(int, parser.request.op, expected[i].op));
		cr_assert(eq(int, parser.request.error, expected[i].error));
		if (i == 3) {
			cr_assert(not(parser.request.set.has_listen_port), "from the first one");
			cr_assert(eq(u32, parser.request.set.fwmark, 2));
			cr_assert(eq(sz, parser.request.set.n_allowed_ips, 1));
		}
		uapi_parser_next(&parser);
	}
	cr_assert(eq(sz, taken, len));
	uapi_parser_finish(&parser);
}

Test(uapi_parse, pipelined_transactions_in_pieces_of_any_size)
{
	for (size_t step = 1; step < 300; step++)
		check_pipeline(step);
}

Test(uapi_parse, takes_nothing_behind_a_complete_transaction)
{
	uapi_parser_init(&parser);
	cr_assert(eq(sz, uapi_parser_feed(&parser, "get=1\n\nset=1\n", 13), 7));
	cr_assert(parser.complete);
	cr_assert(eq(sz, uapi_parser_feed(&parser, "set=1\n", 6), 0));
}

/* A line of @len bytes as the second one of a `set`, in pieces of @step. */
static int error_of_line(size_t len, size_t step)
{
	size_t total = 6 + len + 2;
	char *text = malloc(total);
	memcpy(text, SET, 6);
	memset(text + 6, '0', len);
	memcpy(text + 6, "listen_port=", 12); /* of zeros: leading ones are allowed */
	memcpy(text + 6 + len, "\n\n", 2);

	uapi_parser_init(&parser);
	size_t taken = feed(text, total, step);
	free(text);
	cr_assert(eq(sz, taken, total), "%zu bytes in pieces of %zu", len, step);
	cr_assert(parser.complete);
	int error = parser.request.error;
	uapi_parser_finish(&parser);
	return error;
}

Test(uapi_parse, line_limit)
{
	static const size_t steps[] = { 1, 100, 4095, 4096, 4097, 8192, SIZE_MAX };
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		cr_assert(eq(int, error_of_line(UAPI_MAX_LINE - 1, steps[i]), 0));
		cr_assert(eq(int, error_of_line(UAPI_MAX_LINE, steps[i]), 0));
		cr_assert(eq(int, error_of_line(UAPI_MAX_LINE + 1, steps[i]), EPROTO));
		cr_assert(eq(int, error_of_line(3 * UAPI_MAX_LINE, steps[i]), EPROTO));
	}
	cr_assert(eq(int, error_of_line(10 * 1024 * 1024, 65536), EPROTO));
}

Test(uapi_parse, an_over_long_line_is_not_an_empty_one)
{
	char junk[UAPI_MAX_LINE + 1];
	memset(junk, 'x', sizeof(junk));
	uapi_parser_init(&parser);
	cr_assert(eq(sz, uapi_parser_feed(&parser, SET, 6), 6));
	cr_assert(eq(sz, uapi_parser_feed(&parser, junk, sizeof(junk)), sizeof(junk)));
	cr_assert(eq(sz, uapi_parser_feed(&parser, "\n", 1), 1));
	cr_assert(not(parser.complete), "the newline ends the long line");
	cr_assert(eq(sz, uapi_parser_feed(&parser, "\n", 1), 1));
	cr_assert(parser.complete);
	cr_assert(eq(int, parser.request.error, EPROTO));
	cr_assert(not(parser.request.close));
}

Test(uapi_parse, an_over_long_operation_ends_the_connection_at_once)
{
	char junk[2 * UAPI_MAX_LINE];
	memset(junk, 'x', sizeof(junk));
	uapi_parser_init(&parser);
	(void)feed(junk, sizeof(junk), 1000);
	cr_assert(parser.complete && parser.request.close);
	cr_assert(eq(int, parser.request.error, EPROTO));
}

Test(uapi_parse, an_error_frees_what_was_parsed)
{
	uapi_parser_init(&parser);
	static const char text[] = SET PEER "allowed_ip=1.2.3.4/32\npreshared_key=" HEX_B "\n";
	(void)feed(text, strlen(text), SIZE_MAX);
	cr_assert(eq(sz, parser.request.set.n_peers, 1));
	cr_assert(config_set_memory(&parser.request.set) > 0);
	(void)feed("bad\n", 4, SIZE_MAX);
	cr_assert(eq(sz, config_set_memory(&parser.request.set), 0));
	cr_assert(not(parser.complete));
}

Test(uapi_parse, line_buffer_is_wiped)
{
	static const char text[] = SET "private_key=" HEX_A;
	uapi_parser_init(&parser);
	(void)feed(text, strlen(text), 1);
	cr_assert(memmem(parser.line, sizeof(parser.line), "aaaa", 4) != NULL);
	(void)feed("\n", 1, 1);
	for (size_t i = 0; i < 12 + KEY_HEX_LEN; i++)
		cr_assert(eq(int, parser.line[i], 0), "byte %zu", i);
	(void)feed("\n", 1, 1);
	cr_assert(parser.complete);
	cr_assert(eq(int, parser.request.set.private_key[0], 0xaa));
	uapi_parser_next(&parser);
	cr_assert(eq(int, parser.request.set.private_key[0], 0));
}

/* Structured garbage: pieces of legal text and of nonsense. Whatever comes, the parser is in a legal
 * state, and cutting the text elsewhere changes nothing. */
struct outcome {
	unsigned n_transactions;
	unsigned errors; /* sum, as a fingerprint */
	size_t n_peers, n_allowed_ips;
};

static struct outcome digest(const char *text, size_t len, size_t step)
{
	struct outcome outcome = { 0 };
	size_t taken = 0;
	uapi_parser_init(&parser);
	while (taken < len) {
		taken += feed(text + taken, len - taken, step);
		if (!parser.complete)
			break;
		outcome.n_transactions++;
		outcome.errors = outcome.errors * 31 + (unsigned)parser.request.error;
		outcome.n_peers += parser.request.set.n_peers;
		outcome.n_allowed_ips += parser.request.set.n_allowed_ips;
		uapi_parser_next(&parser); /* as if it had not asked to close */
	}
	uapi_parser_finish(&parser);
	return outcome;
}

Test(uapi_parse, random_text_does_not_depend_on_its_pieces)
{
	static const char *const words[] = {
		"set=1\n",
		"set=1\n",
		"set=1\n",
		"get=1\n",
		"\n",
		"\n",
		PEER,
		PEER,
		"=",
		"\n\n",
		"allowed_ip=10.0.0.0/8\n",
		"allowed_ip=",
		"-::/0",
		"/",
		"endpoint=[",
		"::1",
		"]:1\n",
		"endpoint=1.2.3.4:1\n",
		"remove=true\n",
		"private_key=",
		HEX_B,
		"fwmark=",
		"\r",
		"7",
	};
	unsigned n_good = 0;

	srand(20240229);
	for (unsigned round = 0; round < 2000; round++) {
		char text[4096];
		size_t len = round % 2 ? (size_t)sprintf(text, SET PEER) : 0;
		unsigned n_words = (unsigned)rand() % 30;
		for (unsigned i = 0; i < n_words; i++) {
			const char *word = words[(size_t)rand() % ARRAY_SIZE(words)];
			memcpy(text + len, word, strlen(word));
			len += strlen(word);
			if (rand() % 64 == 0)
				text[len++] = (char)rand();
		}
		struct outcome whole = digest(text, len, SIZE_MAX);
		struct outcome bytes = digest(text, len, 1);
		struct outcome pieces = digest(text, len, 1 + (size_t)rand() % 40);
		cr_assert(memcmp(&whole, &bytes, sizeof(whole)) == 0, "round %u", round);
		cr_assert(memcmp(&whole, &pieces, sizeof(whole)) == 0, "round %u", round);
		n_good += whole.n_peers > 0;
	}
	cr_assert(n_good > 50, "the generator must reach the parsers: %u", n_good);
}

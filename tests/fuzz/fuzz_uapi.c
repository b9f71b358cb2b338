/* SPDX-License-Identifier: MPL-2.0 */
/* Fuzz target: the text protocol. The first byte says how the rest is cut into pieces. Whatever it
 * is, cutting must not change what is understood, what is understood must survive printing, and a
 * device that it was applied to must be told from `get` alone. */
#include <errno.h>

#include "base/rcu.h"
#include "control/report.h"
#include "control/uapi_format.h"
#include "control/uapi_parse.h"
#include "fuzz/fuzz.h"
#include "protocol/sim.h"

/* FNV-1a: a fingerprint of everything that was parsed. */
static uint64_t mix(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *bytes = data;
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static uint64_t mix_u64(uint64_t hash, uint64_t value)
{
	return mix(hash, &value, sizeof(value));
}

static uint64_t digest_set(uint64_t hash, const struct config_set *set)
{
	uint32_t next_allowed_ip = 0;

	hash = mix(hash, set->private_key, KEY_LEN);
	hash = mix_u64(hash, set->has_private_key | set->has_listen_port << 1 |
				     set->has_fwmark << 2 | set->replace_peers << 3);
	hash = mix_u64(hash, (uint64_t)set->listen_port << 32 | set->fwmark);
	for (size_t i = 0; i < set->n_peers; i++) {
		const struct config_peer *peer = &set->peers[i];
		require(peer->first_allowed_ip == next_allowed_ip, "sections share allowed IPs");
		next_allowed_ip += peer->n_allowed_ips;
		hash = mix(hash, peer, sizeof(*peer));
	}
	require(next_allowed_ip == set->n_allowed_ips, "an allowed IP without section");
	for (size_t i = 0; i < set->n_allowed_ips; i++) {
		const struct config_allowed_ip *ip = &set->allowed_ips[i];
		require(ip->len <= (ip->is_v6 ? 128 : 32), "prefix length");
		hash = mix(hash, ip, sizeof(*ip));
	}
	return hash;
}

static void text_to_parser(struct uapi_text *text, struct uapi_parser *parser)
{
	struct bytes front;
	while ((front = uapi_text_front(text)).len) {
		size_t n = uapi_parser_feed(parser, (const char *)front.data, front.len);
		require(n == front.len, "printed text is one transaction");
		uapi_text_take(text, n);
	}
}

/* Prints a `set` as text again and parses that. */
static void check_round_trip(const struct config_set *set)
{
	struct uapi_text text;
	struct uapi_parser parser;
	char endpoint[ENDPOINT_TEXT_LEN];

	uapi_text_init(&text);
	uapi_text_append_str(&text, "set=1\n");
	for (size_t i = 0; i < set->n_peers; i++) {
		const struct config_peer *peer = &set->peers[i];
		const struct config_allowed_ip *ips = config_peer_allowed_ips(set, peer);
		uapi_text_append_key(&text, "public_key", peer->public_key);
		if (peer->has_endpoint) {
			endpoint_to_text(endpoint, &peer->endpoint);
			uapi_text_append_line(&text, "endpoint", endpoint);
		}
		for (uint32_t j = 0; j < peer->n_allowed_ips; j++)
			uapi_format_allowed_ip(&text, ips[j].addr, ips[j].len, ips[j].is_v6);
	}
	uapi_text_append_str(&text, "\n");
	require(!uapi_text_failed(&text), "out of memory");

	uapi_parser_init(&parser);
	text_to_parser(&text, &parser);
	require(parser.complete && !parser.request.error, "printed text is well-formed");
	const struct config_set *again = &parser.request.set;
	require(again->n_peers == set->n_peers, "number of peers");
	require(again->n_allowed_ips == set->n_allowed_ips, "number of allowed IPs");
	for (size_t i = 0; i < set->n_peers; i++)
		require(endpoint_equal(&again->peers[i].endpoint, &set->peers[i].endpoint),
			"endpoint");
	for (size_t i = 0; i < set->n_allowed_ips; i++)
		require(memcmp(again->allowed_ips[i].addr, set->allowed_ips[i].addr, 16) == 0 &&
				again->allowed_ips[i].len == set->allowed_ips[i].len,
			"allowed IP");
	uapi_parser_finish(&parser);
	uapi_text_finish(&text);
}

static struct sim sim;   /* one device, which is down: configuration is all that happens to it */
static bool was_applied; /* since it was as it is in the beginning */

static void apply(const struct config_set *set)
{
	int r;

	was_applied = true;
	do {
		r = control_apply(&sim.node[0].control, set, sim.now_ns);
	} while (r == -EAGAIN);
	require(r == 0, "not applied");
}

static void reset_device(void)
{
	const struct config_set nothing = { .has_private_key = true,
					    .has_listen_port = true,
					    .has_fwmark = true,
					    .replace_peers = true };
	if (sim.n_nodes == 0) {
		sim_init(&sim, 1, 1);
		sim_set_up(&sim, 0, false);
	}
	apply(&nothing);
}

/* What `get` says of the state, which nobody can set. */
static bool is_state(const char *line)
{
	static const char *const keys[] = { "protocol_version=", "last_handshake_time_sec=",
					    "last_handshake_time_nsec=", "tx_bytes=", "rx_bytes=" };
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (strncmp(line, keys[i], strlen(keys[i])) == 0)
			return true;
	return false;
}

/* All that can be set, of the device itself, in whatever order. */
static uint64_t digest_device(void)
{
	const struct control *c = &sim.node[0].control;
	const struct identity *id = c->device->identity;
	uint64_t sum = mix_u64(c->listen_port, c->fwmark);

	if (id->has_private_key)
		sum = mix(sum, id->private_key, KEY_LEN);
	list_for_each (it, &c->device->peers) {
		const struct peer *p = list_entry(it, const struct peer, link);
		uint64_t peer = mix(0, p->handshake.remote_static, KEY_LEN);
		struct endpoint e;
		struct allowedips_prefix prefix;
		const struct list *cursor = NULL;

		endpoint_cell_get(&p->endpoint, &e);
		sum += mix(peer, p->handshake.preshared_key, KEY_LEN);
		sum += mix_u64(mix(peer, &e.to, sizeof(e.to)), p->keepalive_sec);
		while (allowedips_next(&p->allowed, &cursor, &prefix))
			sum += mix_u64(mix(peer, prefix.addr, sizeof(prefix.addr)),
				       (uint64_t)prefix.len << 1 | prefix.is_v6);
	}
	return sum;
}

/* What `get` says, as a `set`. */
static void get_as_set(struct uapi_text *ret)
{
	struct uapi_text text;

	uapi_text_init(&text);
	control_report(&sim.node[0].control, &text);
	require(!uapi_text_failed(&text), "out of memory");
	char *all = (char *)allocate(text.len + 1), *end = all;
	for (struct bytes front; (front = uapi_text_front(&text)).len;) {
		memcpy(end, front.data, front.len);
		end += front.len;
		uapi_text_take(&text, front.len);
	}
	*end = '\0';
	uapi_text_append_str(ret, "set=1\n");
	for (char *line = all, *next; (next = strchr(line, '\n')) != NULL; line = next + 1)
		if (!is_state(line))
			uapi_text_append(ret, line, (size_t)(next - line) + 1);
	uapi_text_append_str(ret, "\n");
	require(!uapi_text_failed(ret), "out of memory");
	free(all);
	uapi_text_finish(&text);
}

/* A device that is given what `get` said becomes the same. */
static void check_applied(const struct config_set *set)
{
	struct uapi_text text;
	struct uapi_parser parser;

	if (!was_applied)
		reset_device();
	apply(set);
	uapi_text_init(&text);
	uapi_parser_init(&parser);
	uint64_t before = digest_device();
	get_as_set(&text);
	text_to_parser(&text, &parser);
	require(parser.complete && !parser.request.error, "get is well-formed");
	reset_device();
	apply(&parser.request.set);
	require(digest_device() == before, "get says less than was set");
	uapi_text_finish(&text);
	uapi_parser_finish(&parser);
}

static uint64_t digest(const uint8_t *data, size_t len, size_t step)
{
	struct uapi_parser parser;
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	size_t taken = 0;

	uapi_parser_init(&parser);
	while (taken < len) {
		size_t piece = MIN(step, len - taken);
		size_t n = uapi_parser_feed(&parser, (const char *)data + taken, piece);
		taken += n;
		require(n == piece || parser.complete, "stopped without a transaction");
		require(n > 0, "no progress");
		if (!parser.complete)
			continue;
		if (!parser.request.close) /* an over-long line is refused before its end */
			hash = mix_u64(hash, taken);
		hash = mix_u64(hash, (uint64_t)parser.request.op << 32 |
					     (uint64_t)parser.request.error << 1 |
					     parser.request.close);
		if (parser.request.error)
			require(config_set_memory(&parser.request.set) == 0, "kept after an error");
		hash = digest_set(hash, &parser.request.set);
		if (step == SIZE_MAX && parser.request.op == UAPI_OP_SET && !parser.request.error) {
			check_round_trip(&parser.request.set);
			check_applied(&parser.request.set);
		}
		if (parser.request.close)
			break;
		uapi_parser_next(&parser);
	}
	uapi_parser_finish(&parser);
	return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!len)
		return 0;
	size_t step = data[0] ? data[0] : 4097;
	uint64_t whole = digest(data + 1, len - 1, SIZE_MAX);
	if (was_applied) {
		reset_device();
		rcu_flush(); /* waits */
		sim_run(&sim, 0);
		was_applied = false;
	}
	require(whole == digest(data + 1, len - 1, step), "pieces change the meaning");
	return 0;
}

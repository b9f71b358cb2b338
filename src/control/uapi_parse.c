/* SPDX-License-Identifier: MPL-2.0 */
/* The text protocol, inbound. Lines that arrive whole are parsed where they lie; only the piece of
 * a line at the end of a read is kept, and wiped when it was used. */
#include "control/uapi_parse.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>

/* A value as it stands in the line: any bytes but '\n', not terminated. */
struct text {
	const char *data;
	size_t len;
};

static bool text_equal(struct text text, const char *literal)
{
	return text.len == strlen(literal) && memcmp(text.data, literal, text.len) == 0;
}

/* Digits only, at least one, up to @max (U-021). */
static bool parse_decimal(struct text text, uint32_t max, uint32_t *ret)
{
	if (!text.len)
		return false;

	uint64_t value = 0;
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
		value = 10 * value + (uint64_t)(text.data[i] - '0');
		if (value > max)
			return false;
	}
	*ret = (uint32_t)value;
	return true;
}

/* For the functions of libc that want a terminated string. A NUL inside would hide what follows. */
static bool text_to_str(char *buf, size_t room, struct text text)
{
	if (text.len >= room || memchr(text.data, '\0', text.len))
		return false;
	memcpy(buf, text.data, text.len);
	buf[text.len] = '\0';
	return true;
}

static bool parse_addr(struct text text, int family, void *ret_addr)
{
	char buf[INET6_ADDRSTRLEN];
	return text_to_str(buf, sizeof(buf), text) && inet_pton(family, buf, ret_addr) == 1;
}

static int parse_private_key(struct config_set *set, struct text value)
{
	if (!key_from_hex(set->private_key, value.data, value.len))
		return -EINVAL;
	set->has_private_key = true;
	return 0;
}

static int parse_listen_port(struct config_set *set, struct text value)
{
	uint32_t port;
	if (!parse_decimal(value, UINT16_MAX, &port))
		return -EINVAL;
	set->listen_port = (uint16_t)port;
	set->has_listen_port = true;
	return 0;
}

static int parse_fwmark(struct config_set *set, struct text value)
{
	if (!parse_decimal(value, UINT32_MAX, &set->fwmark))
		return -EINVAL;
	set->has_fwmark = true;
	return 0;
}

static int parse_true(struct text value, bool *ret)
{
	if (!text_equal(value, "true"))
		return -EINVAL;
	*ret = true;
	return 0;
}

static int parse_replace_peers(struct config_set *set, struct text value)
{
	return parse_true(value, &set->replace_peers);
}

static int parse_protocol_version(struct config_set *set, struct text value)
{
	return text_equal(value, "1") ? 0 : -EINVAL;
}

static int parse_public_key(struct config_set *set, struct text value)
{
	uint8_t key[KEY_LEN];
	if (!key_from_hex(key, value.data, value.len))
		return -EINVAL;
	return config_set_add_peer(set, key);
}

static struct config_peer *current_peer(struct config_set *set)
{
	assert(set->n_peers > 0); /* PEER keys are refused before the first section */
	return &set->peers[set->n_peers - 1];
}

static int parse_remove(struct config_set *set, struct text value)
{
	return parse_true(value, &current_peer(set)->remove);
}

static int parse_update_only(struct config_set *set, struct text value)
{
	return parse_true(value, &current_peer(set)->update_only);
}

static int parse_replace_allowed_ips(struct config_set *set, struct text value)
{
	return parse_true(value, &current_peer(set)->replace_allowed_ips);
}

static int parse_psk(struct config_set *set, struct text value)
{
	struct config_peer *peer = current_peer(set);
	if (!key_from_hex(peer->psk, value.data, value.len))
		return -EINVAL;
	peer->has_psk = true;
	return 0;
}

static int parse_keepalive(struct config_set *set, struct text value)
{
	uint32_t sec;
	if (!parse_decimal(value, UINT16_MAX, &sec))
		return -EINVAL;
	current_peer(set)->keepalive_sec = (uint16_t)sec;
	current_peer(set)->has_keepalive = true;
	return 0;
}

/* Interface name, else index: an interface may be called "7". */
static bool parse_scope(struct text text, uint32_t *ret_ifindex)
{
	char name[IF_NAMESIZE];
	uint32_t ifindex = 0;
	if (text_to_str(name, sizeof(name), text) && *name)
		ifindex = if_nametoindex(name);
	if (!ifindex && !parse_decimal(text, INT32_MAX, &ifindex))
		return false;
	*ret_ifindex = ifindex;
	return ifindex != 0;
}

/* The inside of the brackets: address, and perhaps '%' and a scope. */
static bool parse_scoped_addr(struct text text, struct sockaddr_in6 *to)
{
	uint32_t scope = 0;
	const char *percent = memchr(text.data, '%', text.len);
	if (percent) {
		size_t addr_len = (size_t)(percent - text.data);
		struct text scope_text = { percent + 1, text.len - addr_len - 1 };
		if (!parse_scope(scope_text, &scope))
			return false;
		text.len = addr_len;
	}
	if (!parse_addr(text, AF_INET6, &to->sin6_addr))
		return false;
	/* Elsewhere it has no meaning, and would make one endpoint look like two (P-344). */
	if (IN6_IS_ADDR_LINKLOCAL(&to->sin6_addr))
		to->sin6_scope_id = scope;
	return true;
}

static bool parse_host(struct text host, struct endpoint *endpoint, in_port_t port)
{
	if (host.len >= 2 && host.data[0] == '[' && host.data[host.len - 1] == ']') {
		struct text inside = { host.data + 1, host.len - 2 };
		endpoint->to.in6.sin6_family = AF_INET6;
		endpoint->to.in6.sin6_port = port;
		return parse_scoped_addr(inside, &endpoint->to.in6);
	}
	endpoint->to.in4.sin_family = AF_INET;
	endpoint->to.in4.sin_port = port;
	return parse_addr(host, AF_INET, &endpoint->to.in4.sin_addr);
}

static int parse_endpoint(struct config_set *set, struct text value)
{
	const char *colon = memrchr(value.data, ':', value.len);
	if (!colon)
		return -EINVAL;

	size_t host_len = (size_t)(colon - value.data);
	struct text host = { value.data, host_len };
	struct text port_text = { colon + 1, value.len - host_len - 1 };
	uint32_t port;
	if (!parse_decimal(port_text, UINT16_MAX, &port))
		return -EINVAL;

	struct config_peer *peer = current_peer(set);
	memset(&peer->endpoint, 0, sizeof(peer->endpoint)); /* a repeated key replaces */
	if (!parse_host(host, &peer->endpoint, htons((uint16_t)port)))
		return -EINVAL;
	peer->has_endpoint = true;
	return 0;
}

/* Prefixes are written unmasked by users (U-050), and compared masked. */
static void mask_host_bits(uint8_t addr[16], unsigned len)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned bits = len > 8 * i ? MIN(len - 8 * i, 8U) : 0;
		addr[i] &= (uint8_t)(0xff00U >> bits);
	}
}

static int parse_allowed_ip(struct config_set *set, struct text value)
{
	struct config_allowed_ip ip = { 0 };
	if (value.len && value.data[0] == '-') {
		ip.remove = true;
		value.data++;
		value.len--;
	}

	const char *slash = memchr(value.data, '/', value.len);
	if (!slash)
		return -EINVAL;
	size_t addr_len = (size_t)(slash - value.data);
	struct text addr = { value.data, addr_len };
	struct text prefix = { slash + 1, value.len - addr_len - 1 };

	ip.is_v6 = memchr(addr.data, ':', addr.len) != NULL;
	uint32_t len;
	if (!parse_addr(addr, ip.is_v6 ? AF_INET6 : AF_INET, ip.addr) ||
	    !parse_decimal(prefix, ip.is_v6 ? 128 : 32, &len))
		return -EINVAL;
	if (prefix.len > 1 && prefix.data[0] == '0') /* U-021: only here */
		return -EINVAL;
	ip.len = (uint8_t)len;
	mask_host_bits(ip.addr, len);
	return config_set_add_allowed_ip(set, &ip);
}

enum {
	DEVICE = BIT(0), /* legal before the first public_key */
	PEER = BIT(1),   /* legal after it */
};

/* Most frequent first: a big configuration consists of allowed IPs. */
static const struct {
	const char *name;
	unsigned where;
	int (*parse)(struct config_set *set, struct text value);
} keys[] = {
	{ "allowed_ip", PEER, parse_allowed_ip },
	{ "public_key", DEVICE | PEER, parse_public_key },
	{ "preshared_key", PEER, parse_psk },
	{ "endpoint", PEER, parse_endpoint },
	{ "persistent_keepalive_interval", PEER, parse_keepalive },
	{ "replace_allowed_ips", PEER, parse_replace_allowed_ips },
	{ "remove", PEER, parse_remove },
	{ "update_only", PEER, parse_update_only },
	{ "protocol_version", DEVICE | PEER, parse_protocol_version },
	{ "private_key", DEVICE, parse_private_key },
	{ "listen_port", DEVICE, parse_listen_port },
	{ "fwmark", DEVICE, parse_fwmark },
	{ "replace_peers", DEVICE, parse_replace_peers },
};

/* One `key=value` line of a `set`. 0 or -errno (U-022..U-024). */
static int parse_pair(struct config_set *set, struct text line)
{
	const char *equals = memchr(line.data, '=', line.len);
	if (!equals)
		return -EPROTO;

	struct text key = { line.data, (size_t)(equals - line.data) };
	struct text value = { equals + 1, line.len - key.len - 1 };
	unsigned where = set->n_peers ? PEER : DEVICE;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (text_equal(key, keys[i].name))
			return keys[i].where & where ? keys[i].parse(set, value) : -EINVAL;
	return -EINVAL;
}

static void parser_fail(struct uapi_parser *parser, int error)
{
	struct uapi_request *request = &parser->request;
	if (request->error)
		return; /* the first one counts */
	request->error = error;
	config_set_finish(&request->set);
}

/* U-013: after this nobody knows where the next transaction would begin. */
static void parser_refuse(struct uapi_parser *parser)
{
	parser->request.op = UAPI_OP_NONE;
	parser->request.close = true;
	parser_fail(parser, EPROTO);
	parser->complete = true;
}

static void parser_begin(struct uapi_parser *parser, struct text line)
{
	static const char *const names[UAPI_N_OPS] = {
		[UAPI_OP_GET] = "get=1",
		[UAPI_OP_SET] = "set=1",
		[UAPI_OP_STATUS] = "status=1",
	};

	for (size_t op = 0; op < UAPI_N_OPS; op++) {
		if (names[op] && text_equal(line, names[op])) {
			parser->request.op = (enum uapi_op)op;
			parser->in_transaction = true;
			return;
		}
	}
	parser_refuse(parser);
}

static void parser_line(struct uapi_parser *parser, struct text line)
{
	struct uapi_request *request = &parser->request;
	if (!parser->in_transaction) {
		parser_begin(parser, line);
		return;
	}
	if (!line.len) {
		parser->complete = true;
		return;
	}
	if (request->error)
		return; /* read on to the empty line (U-017) */

	int r = request->op == UAPI_OP_SET ? parse_pair(&request->set, line) : -EINVAL;
	if (r < 0)
		parser_fail(parser, -r);
}

static void parser_drop_line(struct uapi_parser *parser)
{
	explicit_bzero(parser->line, parser->line_len);
	parser->line_len = 0;
}

/* One piece of a line, which ends there if @ends. */
static void parser_piece(struct uapi_parser *parser, struct text piece, bool ends)
{
	if (parser->skipping) {
		parser->skipping = !ends;
		return;
	}
	if (parser->line_len + piece.len > UAPI_MAX_LINE) {
		parser_drop_line(parser);
		parser->skipping = !ends;
		if (parser->in_transaction)
			parser_fail(parser, EPROTO);
		else
			parser_refuse(parser);
		return;
	}
	if (ends && !parser->line_len) {
		parser_line(parser, piece);
		return;
	}
	memcpy(parser->line + parser->line_len, piece.data, piece.len);
	parser->line_len = (uint16_t)(parser->line_len + piece.len);
	if (ends) {
		struct text line = { parser->line, parser->line_len };
		parser_line(parser, line);
		parser_drop_line(parser);
	}
}

size_t uapi_parser_feed(struct uapi_parser *parser, const char *data, size_t len)
{
	size_t taken = 0;
	while (taken < len && !parser->complete) {
		struct text piece = { data + taken, len - taken };
		const char *newline = memchr(piece.data, '\n', piece.len);
		if (newline)
			piece.len = (size_t)(newline - piece.data);
		taken += piece.len + (newline != NULL);
		parser_piece(parser, piece, newline != NULL);
	}
	return taken;
}

void uapi_parser_init(struct uapi_parser *parser)
{
	memset(parser, 0, offsetof(struct uapi_parser, line));
	config_set_init(&parser->request.set);
}

void uapi_parser_next(struct uapi_parser *parser)
{
	config_set_finish(&parser->request.set);
	memset(&parser->request, 0, sizeof(parser->request));
	parser->complete = false;
	parser->in_transaction = false;
}

void uapi_parser_finish(struct uapi_parser *parser)
{
	config_set_finish(&parser->request.set);
	explicit_bzero(parser, sizeof(*parser));
}

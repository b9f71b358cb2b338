/* SPDX-License-Identifier: MPL-2.0 */
/* Configuring and reading a gateway of 10000 peers: the text that `wg` sends is parsed and applied
 * to a device in memory, and the reply is written. The edges do nothing; there is no socket. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rcu.h"
#include "control/apply.h"
#include "control/control.h"
#include "control/report.h"
#include "control/uapi_parse.h"
#include "crypto/secret.h"
#include "micro.h"

enum {
	N_PEERS = 10000,
	PEER_TEXT_MAX = 320,
	N_CHANGES = 100,
	CHANGE_TEXT_MAX = 192,
	PIECE_LEN = 65536, /* what one read from the socket may bring */
};

struct gateway {
	struct device device;
	struct control control;
	struct uapi_parser parser;
	char *text; /* of the whole configuration */
	size_t text_len;
	char change[N_CHANGES][CHANGE_TEXT_MAX]; /* of one peer each */
	uint64_t now_ns;
	uint64_t n_changes;
};

static int send_nowhere(void *ctx, const struct endpoint *to, uint8_t tos, struct bytes datagram)
{
	return 0;
}

static int open_nothing(void *ctx, uint16_t port, uint32_t fwmark, uint16_t *ret_port)
{
	*ret_port = port ? port : 51820;
	return 0;
}

static void close_nothing(void *ctx)
{
}

static int mark_nothing(void *ctx, uint32_t fwmark)
{
	return 0;
}

static void tell_time(void *ctx, uint64_t *ret_sec, uint32_t *ret_nsec)
{
	*ret_sec = 1700000000;
	*ret_nsec = 0;
}

PRINTF_LIKE(2, 3) static void say_nothing(void *ctx, const char *format, ...)
{
}

static void wake_nobody(void *ctx)
{
}

static void wake_no_worker(void *ctx, uint32_t worker)
{
}

static const struct control_ops no_edges = { .send = send_nowhere,
					     .open_sockets = open_nothing,
					     .close_sockets = close_nothing,
					     .set_mark = mark_nothing,
					     .realtime = tell_time,
					     .debug = say_nothing };

static void open_device(struct gateway *g)
{
	struct device_params dp = { .n_workers = 1,
				    .wake_control = wake_nobody,
				    .wake_worker = wake_no_worker };
	struct control_params cp = { .device = &g->device,
				     .aead = aead_select(0),
				     .ops = &no_edges,
				     .ops_ctx = g,
				     .now_ns = g->now_ns };

	micro_must(device_init(&g->device, &dp) == 0 && control_init(&g->control, &cp) == 0,
		   "no device");
}

static void close_device(struct gateway *g)
{
	control_finish(&g->control);
	device_finish(&g->device);
}

static size_t put_key(char *at, const char *name, uint64_t *random)
{
	int n = sprintf(at, "%s=", name);

	for (unsigned i = 0; i < 4; i++)
		n += sprintf(at + n, "%016llx", (unsigned long long)micro_random(random));
	at[n] = '\n';
	return (size_t)n + 1;
}

static void write_changes(struct gateway *g)
{
	uint64_t random = 1;

	(void)put_key(g->change[0], "private_key", &random); /* as in the whole text */
	for (unsigned i = 0; i < N_CHANGES; i++) {
		char *at = g->change[i];
		at += sprintf(at, "set=1\n");
		at += put_key(at, "public_key", &random);
		(void)sprintf(at, "update_only=true\npersistent_keepalive_interval=%u\n\n",
			      26 + i % 100);
	}
}

/* What `wg setconf` sends: key, endpoint, keepalive and two allowed IPs for each peer. */
static void write_text(struct gateway *g)
{
	uint64_t random = 1;
	char *at = micro_alloc((N_PEERS + 1) * PEER_TEXT_MAX);

	g->text = at;
	at += sprintf(at, "set=1\n");
	at += put_key(at, "private_key", &random);
	at += sprintf(at, "listen_port=51820\nreplace_peers=true\n");
	for (unsigned i = 0; i < N_PEERS; i++) {
		at += put_key(at, "public_key", &random);
		at += sprintf(at,
			      "endpoint=192.0.2.%u:%u\npersistent_keepalive_interval=25\n"
			      "replace_allowed_ips=true\nallowed_ip=10.%u.%u.%u/32\n"
			      "allowed_ip=fd00::%x/128\n",
			      i % 250 + 1, 1024 + i, i >> 16, i >> 8 & 255, i & 255, i);
	}
	at += sprintf(at, "\n");
	write_changes(g);
	g->text_len = (size_t)(at - g->text);
}

static const struct config_set *parse(struct gateway *g, const char *text, size_t len)
{
	for (size_t at = 0; at < len;)
		at += uapi_parser_feed(&g->parser, text + at, MIN(len - at, (size_t)PIECE_LEN));
	micro_must(g->parser.complete && !g->parser.request.error, "the text was refused");
	return &g->parser.request.set;
}

static void apply(struct gateway *g, const struct config_set *set)
{
	int r;

	do
		r = control_apply(&g->control, set, g->now_ns);
	while (r == -EAGAIN);
	micro_must(r == 0, "the configuration was refused");
	/* As the control thread would after it: timers, attention. */
	(void)control_step(&g->control, 0, g->now_ns);
}

static void parse_burst(void *ctx)
{
	struct gateway *g = ctx;

	micro_must(parse(g, g->text, g->text_len)->n_peers == N_PEERS, "peers are missing");
	uapi_parser_next(&g->parser);
}

static uint64_t set_burst(void *ctx)
{
	struct gateway *g = ctx;

	open_device(g);
	uint64_t start = micro_cpu_ns();
	apply(g, parse(g, g->text, g->text_len));
	uapi_parser_next(&g->parser);
	uint64_t took = micro_cpu_ns() - start;
	micro_must(g->device.n_peers == N_PEERS, "peers are missing");
	close_device(g);
	return took;
}

/* The same again: replaces all allowed IPs by the same ones. */
static void set_again_burst(void *ctx)
{
	struct gateway *g = ctx;

	apply(g, parse(g, g->text, g->text_len));
	uapi_parser_next(&g->parser);
	micro_must(g->device.n_peers == N_PEERS, "peers are missing");
}

/* Each time another peer's keepalive: what a management service does all day. */
static void change_burst(void *ctx)
{
	struct gateway *g = ctx;
	const char *text = g->change[g->n_changes++ % N_CHANGES];

	apply(g, parse(g, text, strlen(text)));
	uapi_parser_next(&g->parser);
	micro_must(g->device.n_peers == N_PEERS, "peers are missing");
}

/* A change that names nobody would be cheaper. */
static void check_change(struct gateway *g)
{
	const struct config_set *set = parse(g, g->change[0], strlen(g->change[0]));
	const struct peer *p = device_find_peer(&g->device, set->peers[0].public_key);

	micro_must(p != NULL && p->keepalive_sec == 25, "the peer to change is missing");
	apply(g, set);
	micro_must(p->keepalive_sec == 26, "the peer was not changed");
	uapi_parser_next(&g->parser);
}

static void get_burst(void *ctx)
{
	struct gateway *g = ctx;
	struct uapi_text text;

	uapi_text_init(&text);
	control_report(&g->control, &text);
	micro_must(!uapi_text_failed(&text) && text.len > N_PEERS * 200, "the reply is too short");
	for (size_t n; (n = uapi_text_front(&text).len) > 0;) /* as if it was sent */
		uapi_text_take(&text, n);
	uapi_text_finish(&text);
}

static void run_case(struct micro *m, struct gateway *g, const struct micro_case *c)
{
	struct micro_case full = *c;

	full.group = "UAPI, 10000 peers";
	full.ctx = g;
	full.is_long = full.n_ops > 1;
	full.parameter = "peers";
	full.parameter_value = N_PEERS;
	micro_run(m, &full);
}

void micro_uapi(struct micro *m)
{
	if (!micro_is_wanted(m, "uapi-"))
		return;
	struct gateway *g = micro_alloc(sizeof(*g));
	g->now_ns = 1000 * NSEC_PER_SEC;
	rcu_thread_register();
	micro_must(crypto_init() == 0, "libsodium does not start");
	uapi_parser_init(&g->parser);
	write_text(g);

	static const struct micro_case empty[] = {
		{ .name = "uapi-parse",
		  .label = "parsing a set of 10000 peers",
		  .op = "peer",
		  .n_ops = N_PEERS,
		  .burst = parse_burst },
		{ .name = "uapi-set",
		  .label = "parsing and applying it to an empty device",
		  .op = "peer",
		  .n_ops = N_PEERS,
		  .timed_burst = set_burst },
	};
	static const struct micro_case full[] = {
		{ .name = "uapi-set-again",
		  .label = "the same to a device that has it",
		  .op = "peer",
		  .n_ops = N_PEERS,
		  .burst = set_again_burst },
		{ .name = "uapi-change",
		  .label = "changing one of 10000 peers",
		  .op = "set",
		  .n_ops = 1,
		  .burst = change_burst },
		{ .name = "uapi-get",
		  .label = "the reply to a get of 10000 peers",
		  .op = "peer",
		  .n_ops = N_PEERS,
		  .burst = get_burst },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(empty); i++)
		run_case(m, g, &empty[i]);
	open_device(g);
	set_again_burst(g);
	check_change(g);
	for (unsigned i = 0; i < ARRAY_SIZE(full); i++)
		run_case(m, g, &full[i]);
	close_device(g);
	uapi_parser_finish(&g->parser);
	rcu_thread_unregister();
	free(g->text);
	free(g);
}

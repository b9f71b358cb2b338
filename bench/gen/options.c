/* SPDX-License-Identifier: MPL-2.0 */
/* One table says which option belongs to which role, of what kind it is and within which bounds. */
#include "options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

enum option_kind {
	OPTION_FLAG,
	OPTION_U32,
	OPTION_INT,
	OPTION_SECONDS,
	OPTION_USEC,
	OPTION_DOUBLE,
	OPTION_OTHER
};

struct option_spec {
	const char *name;
	unsigned roles; /* bits */
	enum option_kind kind;
	size_t offset; /* into struct gen_options */
	double min, max;
};

enum { S = BIT(GEN_SEND), R = BIT(GEN_RECV), T = BIT(GEN_RTT), E = BIT(GEN_ECHO) };

#define AT(field) offsetof(struct gen_options, field)
#define DAY_SEC   86400.0

/* clang-format off */
static const struct option_spec specs[] = {
	{ "to",         S | T,         OPTION_OTHER,   0, 0, 0 },
	{ "bind",       R | E,         OPTION_OTHER,   0, 0, 0 },
	{ "port",       S | R | T | E, OPTION_OTHER,   0, 1, 65535 },
	{ "size",       S | T,         OPTION_OTHER,   0, 0, 0 },
	{ "timestamps", R,             OPTION_OTHER,   0, 0, 0 },
	{ "via",        S,             OPTION_OTHER,   0, 0, 0 },
	{ "rate",       S | T,         OPTION_DOUBLE,  AT(rate), 0, 1e9 },
	{ "duration",   S | T,         OPTION_SECONDS, AT(duration_ns), 0.001, DAY_SEC },
	{ "warm-up",    S | T,         OPTION_SECONDS, AT(warm_up_ns), 0, DAY_SEC },
	{ "timeout",    T,             OPTION_SECONDS, AT(timeout_ns), 0.001, 600 },
	{ "limit",      R | E,         OPTION_SECONDS, AT(limit_ns), 0.001, 10 * DAY_SEC },
	{ "linger",     R,             OPTION_SECONDS, AT(linger_ns), 0, 600 },
	{ "idle",       R,             OPTION_SECONDS, AT(idle_ns), 0, DAY_SEC },
	{ "spin",       S,             OPTION_USEC,    AT(spin_ns), 0, 1e6 },
	{ "segments",   S,             OPTION_U32,     AT(segments), 1, GEN_MAX_SEGMENTS },
	{ "flows",      S,             OPTION_U32,     AT(flows), 1, WIRE_MAX_FLOWS },
	{ "batch",      S,             OPTION_U32,     AT(batch), 1, GEN_MAX_BATCH },
	{ "rcvbuf",     R | E,         OPTION_U32,     AT(rcvbuf), 4096, 1 << 30 },
	{ "cpu",        S | R | T | E, OPTION_INT,     AT(cpu), 0, 1023 },
	{ "gro",        R,             OPTION_FLAG,    AT(gro), 0, 0 },
	{ "per-flow",   R,             OPTION_FLAG,    AT(per_flow), 0, 0 },
};
/* clang-format on */

static const char *const role_names[] = { "send", "recv", "rtt", "echo" };

static bool refuse(const char *option, const char *value, const char *why)
{
	(void)fprintf(stderr, "ringtun-bench-gen: --%s %s: %s\n", option, value, why);
	return false;
}

static bool parse_number(double *ret_value, const char *text, double min, double max)
{
	char *end;

	errno = 0;
	double v = strtod(text, &end);
	if (errno || end == text || *end || !isfinite(v) || v < min || v > max)
		return false;
	*ret_value = v;
	return true;
}

static bool parse_address(struct gen_options *o, const char *text)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };

	if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
		memcpy(&o->address, &in, sizeof(in));
	else if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
		o->address = in6;
	else
		return false;
	return true;
}

struct size_share {
	uint16_t size;
	uint32_t weight;
};

/* Spreads the sizes evenly over the cycle: whose share lags most is next. */
static bool spread_sizes(struct gen_options *o, const struct size_share *share, unsigned n_shares)
{
	uint32_t total = 0, used[GEN_MAX_SIZES] = { 0 };

	for (unsigned i = 0; i < n_shares; i++)
		total += share[i].weight;
	if (total > GEN_MAX_CYCLE)
		return false;
	for (uint32_t at = 0; at < total; at++) {
		unsigned best = 0;
		double best_lag = -1e9;
		for (unsigned i = 0; i < n_shares; i++) {
			double lag = (double)((at + 1) * share[i].weight) / total - used[i];
			if (lag > best_lag) {
				best = i;
				best_lag = lag;
			}
		}
		used[best]++;
		o->size[at] = share[best].size;
	}
	o->n_sizes = total;
	return true;
}

/* N, or N:WEIGHT,N:WEIGHT... */
static bool parse_sizes(struct gen_options *o, const char *text)
{
	struct size_share share[GEN_MAX_SIZES];
	unsigned n = 0;

	if (strcmp(text, "imix") == 0)
		text = "64:7,548:4,1372:1";
	while (n < GEN_MAX_SIZES) {
		unsigned size, weight = 1;
		int used = 0;
		if (sscanf(text, "%5u%n", &size, &used) != 1 || size < WIRE_LEN ||
		    size > WIRE_MAX_DATAGRAM)
			return false;
		text += used;
		if (*text == ':') {
			if (sscanf(text, ":%2u%n", &weight, &used) != 1 || !weight)
				return false;
			text += used;
		}
		share[n++] = (struct size_share){ (uint16_t)size, weight };
		if (!*text)
			return spread_sizes(o, share, n);
		if (*text++ != ',')
			return false;
	}
	return false;
}

static bool parse_via(struct gen_options *o, const char *text)
{
	static const char *const names[GEN_VIA_N] = {
		[GEN_VIA_AUTO] = "auto", [GEN_VIA_SOCKET] = "socket", [GEN_VIA_PACKET] = "packet"
	};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(text, names[i]) == 0) {
			o->via = (enum gen_via)i;
			return true;
		}
	}
	return false;
}

static bool parse_other(struct gen_options *o, uint16_t *port, const char *name, const char *value)
{
	double v;

	if (strcmp(name, "to") == 0 || strcmp(name, "bind") == 0)
		return parse_address(o, value) ||
		       refuse(name, value, "a numeric address is wanted");
	if (strcmp(name, "size") == 0)
		return parse_sizes(o, value) ||
		       refuse(name, value,
			      "sizes are 32 - 65507, imix, or SIZE:WEIGHT,... whose "
			      "weights add up to at most 64");
	if (strcmp(name, "timestamps") == 0) {
		o->kernel_timestamps = strcmp(value, "kernel") == 0;
		return o->kernel_timestamps || strcmp(value, "user") == 0 ||
		       refuse(name, value, "neither kernel nor user");
	}
	if (strcmp(name, "via") == 0)
		return parse_via(o, value) || refuse(name, value, "not auto, socket or packet");
	if (!parse_number(&v, value, 1, 65535) || v != floor(v))
		return refuse(name, value, "a port is 1 - 65535");
	*port = (uint16_t)v;
	return true;
}

static bool parse_bounded(struct gen_options *o, const struct option_spec *s, const char *value)
{
	void *field = (char *)o + s->offset;
	char why[80];
	double v;

	if (!parse_number(&v, value, s->min, s->max) ||
	    ((s->kind == OPTION_U32 || s->kind == OPTION_INT) && v != floor(v))) {
		(void)snprintf(why, sizeof(why), "must be from %g to %.10g", s->min, s->max);
		return refuse(s->name, value, why);
	}
	if (s->kind == OPTION_U32)
		*(uint32_t *)field = (uint32_t)v;
	else if (s->kind == OPTION_INT)
		*(int *)field = (int)v;
	else if (s->kind == OPTION_DOUBLE)
		*(double *)field = v;
	else
		*(uint64_t *)field = (uint64_t)llround(v * (s->kind == OPTION_SECONDS ? 1e9 : 1e3));
	return true;
}

/* What only all options together show. */
static bool check(const struct gen_options *o, enum gen_role role)
{
	const char *why = NULL;

	if ((role == GEN_SEND || role == GEN_RTT) && !o->address.sin6_family)
		why = "--to is missing";
	else if (role == GEN_RTT && o->n_sizes > 1)
		why = "rtt takes one size";
	else if (o->segments > 1 && o->n_sizes > 1)
		why = "--segments needs datagrams of one size";
	else if (o->segments * o->size[0] > WIRE_MAX_DATAGRAM)
		why = "--segments times --size is more than 65507 bytes";
	else if (o->segments > 1 && o->via == GEN_VIA_PACKET)
		why = "--segments is for UDP sockets";
	if (why)
		(void)fprintf(stderr, "ringtun-bench-gen: %s\n", why);
	return !why;
}

static void set_defaults(struct gen_options *o, enum gen_role role)
{
	*o = (struct gen_options){ .duration_ns = 5 * NSEC_PER_SEC,
				   .warm_up_ns = 200 * NSEC_PER_MSEC,
				   .limit_ns = 60 * NSEC_PER_SEC,
				   .linger_ns = 300 * NSEC_PER_MSEC,
				   .idle_ns = 3 * NSEC_PER_SEC,
				   .timeout_ns = NSEC_PER_SEC,
				   .spin_ns = 50 * NSEC_PER_USEC,
				   .size = { 64 },
				   .n_sizes = 1,
				   .segments = 1,
				   .flows = 1,
				   .rcvbuf = 32 << 20,
				   .cpu = -1,
				   .kernel_timestamps = true };
	if (role == GEN_RECV || role == GEN_ECHO)
		(void)parse_address(o, "0.0.0.0");
}

static bool find_role(enum gen_role *ret_role, const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(role_names); i++) {
		if (name && strcmp(name, role_names[i]) == 0) {
			*ret_role = (enum gen_role)i;
			return true;
		}
	}
	*ret_role = GEN_HELP;
	return name && (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0);
}

static unsigned list_options(struct option *ret_long, enum gen_role role)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(specs); i++)
		if (specs[i].roles & BIT(role))
			ret_long[n++] = (struct option){ specs[i].name,
							 specs[i].kind == OPTION_FLAG
								 ? no_argument
								 : required_argument,
							 NULL, (int)i };
	return n;
}

static bool parse_one(struct gen_options *o, uint16_t *port, const struct option_spec *s,
		      const char *value)
{
	if (s->kind == OPTION_OTHER)
		return parse_other(o, port, s->name, value);
	if (s->kind != OPTION_FLAG)
		return parse_bounded(o, s, value);
	*(bool *)((char *)o + s->offset) = true;
	return true;
}

bool options_parse(struct gen_options *ret_o, enum gen_role *ret_role, int argc, char **argv)
{
	struct option long_options[ARRAY_SIZE(specs) + 1] = { 0 };
	uint16_t port = WIRE_DEFAULT_PORT;
	int i;

	if (!find_role(ret_role, argc > 1 ? argv[1] : NULL)) {
		(void)fprintf(stderr,
			      "ringtun-bench-gen: the first word is send, recv, rtt or echo; "
			      "--help tells more\n");
		return false;
	}
	if (*ret_role == GEN_HELP)
		return true;
	set_defaults(ret_o, *ret_role);
	(void)list_options(long_options, *ret_role);
	optind = 2;
	while ((i = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		if (i == '?' || !parse_one(ret_o, &port, &specs[i], optarg))
			return false;
	if (optind < argc) {
		(void)fprintf(stderr, "ringtun-bench-gen: what is %s?\n", argv[optind]);
		return false;
	}
	ret_o->address.sin6_port = htons(port); /* at the same place in both families */
	return check(ret_o, *ret_role);
}

void options_print_help(void)
{
	(void)printf("Usage: ringtun-bench-gen ROLE [OPTION...]\n"
		     "UDP load for measurements. Roles: send and recv; rtt and echo.\n");
	for (unsigned role = 0; role < ARRAY_SIZE(role_names); role++) {
		(void)printf("\n%s:", role_names[role]);
		for (unsigned i = 0; i < ARRAY_SIZE(specs); i++)
			if (specs[i].roles & BIT(role))
				(void)printf(" --%s", specs[i].name);
	}
	(void)printf("\n\nbench/gen/PROTOCOL.md describes the options and the output.\n");
}

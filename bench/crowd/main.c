/* SPDX-License-Identifier: MPL-2.0 */
/* ringtun-bench-crowd: many WireGuard peers against one gateway, for connection set-up and for load
 * from many sessions. Prints JSON. The harness makes namespaces and addresses. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "crowd.h"
#include "crypto/x25519.h"

enum { BASE64_SIZE = 45 };

struct options {
	bool is_config, is_answer;
	uint32_t n_peers, window;
	const char *seed;
	struct sockaddr_in gateway;
	uint8_t gateway_key[NOISE_KEY_LEN];
	bool has_gateway, has_key, has_load;
	double limit_sec;
	struct crowd_load load;
};

static void usage(FILE *f)
{
	fputs("usage: ringtun-bench-crowd config --peers N [--seed TEXT]\n"
	      "       ringtun-bench-crowd run --peers N --gateway ADDRESS:PORT --key BASE64 "
	      "[--seed TEXT]\n"
	      "           [--window N] [--limit SEC]\n"
	      "           [--to ADDRESS:PORT [--rate PPS] [--size N] [--warm-up SEC] [--duration "
	      "SEC]]\n"
	      "       ringtun-bench-crowd answer --peers N --gateway ADDRESS:PORT --key BASE64 "
	      "[--limit SEC]\n"
	      "config prints the peers' sections for wg(8). run connects them, at most --window "
	      "unanswered\n"
	      "at a time (0 = all at once), and with --to sends datagrams from all of them in "
	      "turn.\n"
	      "answer waits at the gateway's port number for it to connect to them.\n",
	      f);
}

static bool parse_address(struct sockaddr_in *ret, const char *text)
{
	char address[INET_ADDRSTRLEN];
	const char *colon = strrchr(text, ':');
	char *end;

	if (!colon || (size_t)(colon - text) >= sizeof(address))
		return false;
	memcpy(address, text, (size_t)(colon - text));
	address[colon - text] = '\0';
	unsigned long port = strtoul(colon + 1, &end, 10);
	*ret = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	return *end == '\0' && port > 0 && port < 65536 &&
	       inet_pton(AF_INET, address, &ret->sin_addr) == 1;
}

static bool parse_key(uint8_t key[NOISE_KEY_LEN], const char *text)
{
	size_t len;
	return sodium_base642bin(key, NOISE_KEY_LEN, text, strlen(text), NULL, &len, NULL,
				 sodium_base64_VARIANT_ORIGINAL) == 0 &&
	       len == NOISE_KEY_LEN;
}

static bool parse_number(double *ret, const char *text, double low, double high)
{
	char *end;
	*ret = strtod(text, &end);
	return end != text && *end == '\0' && *ret >= low && *ret <= high;
}

static bool parse_option(struct options *o, int option, const char *text)
{
	double number;
	bool ok = true;

	switch (option) {
	case 'n':
		ok = parse_number(&number, text, 1, CROWD_PEERS_MAX);
		o->n_peers = (uint32_t)number;
		return ok;
	case 'e':
		o->seed = text;
		return true;
	case 'g':
		return o->has_gateway = parse_address(&o->gateway, text);
	case 'k':
		return o->has_key = parse_key(o->gateway_key, text);
	case 'w':
		ok = parse_number(&number, text, 0, CROWD_PEERS_MAX);
		o->window = (uint32_t)number;
		return ok;
	case 'l':
		return parse_number(&o->limit_sec, text, 0.1, 3600);
	case 't':
		return o->has_load = parse_address(&o->load.to, text);
	case 'r':
		return parse_number(&o->load.rate, text, 0, 1e9);
	case 's':
		ok = parse_number(&number, text, 32, 1392);
		o->load.size = (uint32_t)number;
		return ok;
	case 'u':
		return parse_number(&o->load.warm_up_sec, text, 0, 60);
	case 'd':
		return parse_number(&o->load.duration_sec, text, 0.01, 3600);
	default:
		return false;
	}
}

static bool parse_options(struct options *o, int argc, char **argv)
{
	static const struct option names[] = {
		{ "peers", required_argument, NULL, 'n' },
		{ "seed", required_argument, NULL, 'e' },
		{ "gateway", required_argument, NULL, 'g' },
		{ "key", required_argument, NULL, 'k' },
		{ "window", required_argument, NULL, 'w' },
		{ "limit", required_argument, NULL, 'l' },
		{ "to", required_argument, NULL, 't' },
		{ "rate", required_argument, NULL, 'r' },
		{ "size", required_argument, NULL, 's' },
		{ "warm-up", required_argument, NULL, 'u' },
		{ "duration", required_argument, NULL, 'd' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	if (argc < 2)
		return false;
	o->is_config = strcmp(argv[1], "config") == 0;
	o->is_answer = strcmp(argv[1], "answer") == 0;
	if (!o->is_config && !o->is_answer && strcmp(argv[1], "run") != 0)
		return false;
	while ((option = getopt_long(argc - 1, argv + 1, "", names, NULL)) != -1) {
		if (option == '?')
			return false;
		if (!parse_option(o, option, optarg)) {
			fprintf(stderr, "ringtun-bench-crowd: bad value: %s\n", optarg);
			return false;
		}
	}
	return optind == argc - 1 && o->n_peers && (o->is_config || (o->has_gateway && o->has_key));
}

static void print_config(const struct options *o)
{
	for (uint32_t i = 0; i < o->n_peers; i++) {
		uint8_t key[NOISE_KEY_LEN];
		char text[BASE64_SIZE];
		char address[INET_ADDRSTRLEN];
		const struct in_addr inner = { htonl(CROWD_INNER_NET + i) };

		crowd_private_key(key, o->seed, i);
		x25519_public(key, key);
		sodium_bin2base64(text, sizeof(text), key, sizeof(key),
				  sodium_base64_VARIANT_ORIGINAL);
		inet_ntop(AF_INET, &inner, address, sizeof(address));
		printf("[Peer]\nPublicKey = %s\nAllowedIPs = %s/32\n", text, address);
	}
}

static double percentile_us(const struct crowd_handshakes *h, double p)
{
	uint32_t i = (uint32_t)((h->n_done - 1) * p / 100 + 0.5);
	return (double)h->latency_ns[i] / 1e3;
}

static void print_handshakes(const struct options *o, const struct crowd_handshakes *h)
{
	const double seconds = h->n_done ? (double)(h->last_answer_ns - h->first_sent_ns) * 1e-9
					 : 0;

	printf("{\"version\": 1, \"peers\": %u, \"handshakes\": %u, \"initiations\": %u, "
	       "\"cookies\": %u, "
	       "\"handshake_seconds\": %.6f, \"handshakes_per_s\": %.1f",
	       o->n_peers, h->n_done, h->n_sent, h->n_cookies, seconds,
	       seconds > 0 ? h->n_done / seconds : 0);
	if (h->n_done)
		printf(", \"latency_us\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p100\": "
		       "%.1f}",
		       percentile_us(h, 50), percentile_us(h, 90), percentile_us(h, 99),
		       percentile_us(h, 100));
}

static int fail(const char *step, int r)
{
	fprintf(stderr, "ringtun-bench-crowd: %s: %s\n", step, strerror(-r));
	return 1;
}

static int run(const struct options *o)
{
	struct crowd crowd;
	struct crowd_handshakes handshakes = { 0 };
	struct crowd_sent sent = { 0 };
	int status = 0;

	int r = crowd_init(&crowd, &o->gateway, 0, o->gateway_key, o->seed, o->n_peers);
	if (r < 0)
		status = fail("preparing the peers", r);
	if (r == 0 && (r = crowd_connect(&crowd, o->window, o->limit_sec, &handshakes)) < 0)
		status = fail("connecting", r);
	if (r == 0 && o->has_load && handshakes.n_done) {
		puts("CONNECTED"); /* who meters the load alone begins here */
		fflush(stdout);
		r = crowd_send(&crowd, &o->load, &sent);
		if (r < 0)
			status = fail("sending", r);
	}
	if (r == 0) {
		print_handshakes(o, &handshakes);
		if (o->has_load)
			printf(", \"sent\": %llu, \"warm_up_sent\": %llu, \"send_errors\": %llu, "
			       "\"seconds\": %.6f",
			       (unsigned long long)sent.n, (unsigned long long)sent.n_warm_up,
			       (unsigned long long)sent.n_errors, sent.seconds);
		puts("}");
	}
	free(handshakes.latency_ns);
	crowd_finish(&crowd);
	return status;
}

static int answer(const struct options *o)
{
	struct crowd crowd;
	struct crowd_handshakes handshakes = { 0 };
	int status = 0;

	int r = crowd_init(&crowd, &o->gateway, ntohs(o->gateway.sin_port), o->gateway_key, o->seed,
			   o->n_peers);
	if (r < 0)
		status = fail("preparing the peers", r);
	if (r == 0) {
		puts("READY");
		fflush(stdout);
		r = crowd_answer(&crowd, o->limit_sec, &handshakes);
		if (r < 0)
			status = fail("answering", r);
	}
	if (r == 0) {
		print_handshakes(o, &handshakes);
		puts("}");
	}
	free(handshakes.latency_ns);
	crowd_finish(&crowd);
	return status;
}

int main(int argc, char **argv)
{
	struct options o = {
		.seed = "ringtun-bench",
		.limit_sec = 60,
		.load = { .size = 256, .warm_up_sec = 0.2, .duration_sec = 5 },
	};

	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		usage(stdout);
		return 0;
	}
	if (sodium_init() < 0)
		return fail("starting libsodium", -EIO);
	if (!parse_options(&o, argc, argv)) {
		usage(stderr);
		return 2;
	}
	if (o.is_config) {
		print_config(&o);
		return 0;
	}
	return o.is_answer ? answer(&o) : run(&o);
}

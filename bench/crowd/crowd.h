/* SPDX-License-Identifier: MPL-2.0 */
/* Many WireGuard peers inside of one thread, for load on one gateway: peer i has a static key of its
 * own, the outer address 198.18.0.0 + i and the inner address 10.128.0.0 + i. They connect and send, or
 * wait for a gateway that connects. Keys come from a public seed: never use them elsewhere. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macro.h"
#include "noise/cookie.h"
#include "noise/handshake.h"

enum {
	CROWD_PEERS_MAX = 65536,
	CROWD_OUTER_NET = 0xc6120000, /* 198.18.0.0/15, the benchmarking addresses of RFC 2544 */
	CROWD_INNER_NET = 0x0a800000, /* 10.128.0.0/9 */
	CROWD_BATCH = 32,             /* datagrams per system call */
	CROWD_DATAGRAM_MAX = 2048,
};

struct crowd_peer {
	struct identity identity;
	struct handshake hs;
	struct cookie_jar jar;
	struct message_initiation initiation; /* ready to be sent */
	struct message_response response;     /* as it came; consumed when the clock is stopped */
	uint64_t sent_ns;                     /* the initiation last sent; 0 = none yet */
	uint32_t n_attempts;
	bool is_answered;
	uint64_t counter; /* of the next transport message */
	uint8_t sending_key[NOISE_KEY_LEN];
	uint8_t receiving_key[NOISE_KEY_LEN]; /* of a session that the gateway began */
	uint32_t remote_index;
};

struct crowd {
	int fd;
	struct sockaddr_in gateway;
	uint32_t n_peers;
	struct crowd_peer *peer;
};

/* What the handshakes came to. */
struct crowd_handshakes {
	uint32_t n_done, n_sent, n_cookies;
	uint64_t first_sent_ns, last_answer_ns;
	uint64_t *latency_ns; /* [n_done], ascending: from the initiation that was answered */
};

struct crowd_load {
	struct sockaddr_in to; /* inner */
	double rate;           /* datagrams per second; 0 = as fast as possible */
	double warm_up_sec, duration_sec;
	uint32_t size; /* bytes of inner UDP payload */
};

struct crowd_sent {
	uint64_t n, n_warm_up, n_errors;
	double seconds;
};

uint64_t crowd_now_ns(void);

/* Private and public key of a peer. */
void crowd_private_key(uint8_t key[NOISE_KEY_LEN], const char *seed, uint32_t peer);

/* Opens the socket, on @port or any (0), and computes all keys. 0 or -errno. */
int crowd_init(struct crowd *c, const struct sockaddr_in *gateway, uint16_t port,
	       const uint8_t gateway_key[NOISE_KEY_LEN], const char *seed, uint32_t n_peers);
void crowd_finish(struct crowd *c);

/* Connects all peers, at most @window unanswered at a time (0 = all at once), and gives up after
 * @limit_sec. An initiation without answer is repeated after 5 s, as peers do. 0 or -errno. */
int crowd_connect(struct crowd *c, uint32_t window, double limit_sec, struct crowd_handshakes *ret);

/* Answers initiations until all peers are connected, or for @limit_sec. What is "sent" then is
 * received, and a latency lasts from the response to the first packet of the session. 0 or -errno. */
int crowd_answer(struct crowd *c, double limit_sec, struct crowd_handshakes *ret);

void crowd_sort_latencies(struct crowd_handshakes *h);

/* Sends datagrams of the load generator's format from all connected peers in turn. 0 or -errno. */
int crowd_send(struct crowd *c, const struct crowd_load *load, struct crowd_sent *ret);

/* Sends @n datagrams (at most CROWD_BATCH), each from the outer address of its peer. Returns how
 * many the kernel took, or -errno. */
int crowd_send_batch(const struct crowd *c, const uint32_t *peer, uint8_t *const *datagram,
		     const uint32_t *len, uint32_t n);

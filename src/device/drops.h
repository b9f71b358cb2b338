/* SPDX-License-Identifier: MPL-2.0 */
/* Why packets die. Every drop on the data path counts one of these, for the device (a table per
 * thread, gathered on demand) and, where the peer is known, for the peer. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define DROP_REASONS(X)                                                                          \
	X(TX_MALFORMED, "tx_malformed", "not an IP packet, or offload data that make no sense")  \
	X(TX_NO_PEER, "tx_no_peer", "no peer has the destination among its allowed IPs")         \
	X(TX_NO_ENDPOINT, "tx_no_endpoint", "the peer's address is not known yet")               \
	X(TX_STAGED_FULL, "tx_staged_full", "too many packets wait for a session")               \
	X(TX_GAVE_UP, "tx_gave_up", "no session within the attempt time, or interface down")     \
	X(TX_SEND_FAILED, "tx_send_failed", "the kernel refused the datagram")                   \
	X(TX_SOCKET_FULL, "tx_socket_full", "the socket's send buffer was full")                 \
	X(RX_MALFORMED, "rx_malformed", "not a WireGuard message (P-034)")                       \
	X(RX_UNKNOWN_INDEX, "rx_unknown_index", "no session has this receiver index")            \
	X(RX_EXPIRED, "rx_expired", "the session is too old (P-176)")                            \
	X(RX_BAD_TAG, "rx_bad_tag", "forged or damaged (AEAD)")                                  \
	X(RX_REPLAY, "rx_replay", "counter seen before or too old (P-144)")                      \
	X(RX_BAD_INNER, "rx_bad_inner", "the inner packet is malformed (P-262)")                 \
	X(RX_NOT_ALLOWED, "rx_not_allowed", "inner source not among the peer's allowed IPs")     \
	X(RX_TUN_FAILED, "rx_tun_failed", "the interface took no packet")                        \
	X(RX_FORWARD_FULL, "rx_forward_full", "ring to the session's worker was full")           \
	X(HS_BAD_MAC1, "handshake_bad_mac1", "mac1 is not for our key")                          \
	X(HS_COOKIE_SENT, "handshake_cookie_sent", "under load: answered with a cookie (P-122)") \
	X(HS_RATE_LIMITED, "handshake_rate_limited", "under load: source over its rate (P-123)") \
	X(HS_QUEUE_FULL, "handshake_queue_full", "handshake backlog full (P-126)")               \
	X(HS_INVALID, "handshake_invalid", "a handshake message that did not verify")            \
	X(HS_UNKNOWN_PEER, "handshake_unknown_peer", "no peer has this public key")              \
	X(HS_REPLAY, "handshake_replay", "timestamp not newer than the last one (P-055)")        \
	X(HS_FLOOD, "handshake_flood", "less than 20 ms after the last one (P-056)")

enum drop_reason {
#define X(id, name, help) DROP_##id,
	DROP_REASONS(X)
#undef X
		DROP_N_REASONS,
};

struct drop_counters {
	_Atomic uint64_t n[DROP_N_REASONS];
};

/* Several threads may count into a peer's table; a thread's own table has one writer. */
static inline void drop_count(struct drop_counters *c, enum drop_reason why, uint64_t n)
{
	atomic_fetch_add_explicit(&c->n[why], n, memory_order_relaxed);
}

/* Name as shown in status, and a sentence on it; constant strings. */
const char *drop_reason_name(enum drop_reason why);
const char *drop_reason_help(enum drop_reason why);

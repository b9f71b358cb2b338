/* SPDX-License-Identifier: MPL-2.0 */
/* A `set` transaction as data: complete and well-formed, not yet applied (U-019). It is built by
 * control/uapi_parse.h and read by whoever applies it, in the order of U-029.
 * Not thread-safe. It holds keys: config_set_finish() wipes them (P-461). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"
#include "control/key_text.h"
#include "device/endpoint.h"

enum {
	/* A transaction may name a peer more than once: `syncconf` from one full table of 65536
	 * peers to another takes two sections for each. More is -ENOMEM (U-024). */
	CONFIG_MAX_SECTIONS = 2 * 65536,
	CONFIG_MAX_ALLOWED_IPS = 2 * 1024 * 1024,
};

/* One `allowed_ip` line. */
struct config_allowed_ip {
	uint8_t addr[16]; /* host bits are zero already; IPv4 in the first four, the rest zero */
	uint8_t len;      /* prefix bits: 0..32 or 0..128 */
	bool is_v6;
	bool remove; /* had a leading '-' (P-393) */
};

/* One peer section. Sections come in the order of the text and the same key may come twice (U-025);
 * one that names our own public key is in here too and is the applier's to ignore (U-027). */
struct config_peer {
	uint8_t public_key[KEY_LEN];
	uint8_t psk[KEY_LEN];     /* if has_psk; all zero = remove it */
	struct endpoint endpoint; /* if has_endpoint; without a sticky source */
	uint16_t keepalive_sec;   /* if has_keepalive; 0 = off */
	bool remove;              /* nothing else of the section counts */
	bool update_only;
	bool replace_allowed_ips; /* before those below, wherever the line stood (U-026) */
	bool has_psk;
	bool has_endpoint;
	bool has_keepalive;
	uint32_t first_allowed_ip; /* index into config_set.allowed_ips */
	uint32_t n_allowed_ips;
};

struct config_set {
	bool has_private_key;
	bool has_listen_port;
	bool has_fwmark;
	bool replace_peers;
	uint16_t listen_port;
	uint32_t fwmark;
	uint8_t private_key[KEY_LEN]; /* as written, not clamped; all zero = remove it */

	struct config_peer *peers;
	size_t n_peers;
	struct config_allowed_ip *allowed_ips; /* of all sections */
	size_t n_allowed_ips;

	size_t peers_room, allowed_ips_room; /* allocated entries */
	struct secret_pages *pages; /* that sections come from; NULL = nobody counts them */
	size_t memory_limit; /* bytes that both arrays may take together; 0 = no limit of its own */
};

void config_set_init(struct config_set *set);

/* Wipes and frees; leaves it as after config_set_init(). */
void config_set_finish(struct config_set *set);

/* Bytes that its arrays take. */
size_t config_set_memory(const struct config_set *set);

/* Appends an empty section and makes it the current one (the last). 0 or -ENOMEM. */
MUST_CHECK int config_set_add_peer(struct config_set *set, const uint8_t public_key[KEY_LEN]);

/* Appends to the current section; there is one. 0 or -ENOMEM. */
MUST_CHECK int config_set_add_allowed_ip(struct config_set *set,
					 const struct config_allowed_ip *allowed_ip);

/* The allowed IPs of one section: peer->n_allowed_ips entries. */
static inline const struct config_allowed_ip *
config_peer_allowed_ips(const struct config_set *set, const struct config_peer *peer)
{
	return peer->n_allowed_ips ? set->allowed_ips + peer->first_allowed_ip : NULL;
}

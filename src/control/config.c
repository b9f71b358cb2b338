/* SPDX-License-Identifier: MPL-2.0 */
/* A `set` transaction as data. Its arrays grow by doubling, into fresh memory: realloc() would leave
 * keys behind. */
#include "control/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"

enum { PEERS_STEP = 4096 }; /* bytes */

void config_set_init(struct config_set *set)
{
	memset(set, 0, sizeof(*set));
}

/* Sections hold pre-shared keys. */
static size_t peers_bytes(size_t room)
{
	return ROUND_UP(room * sizeof(struct config_peer), PEERS_STEP);
}

static void free_peers(struct config_set *set)
{
	secret_pages_unmap(set->pages, set->peers, peers_bytes(set->peers_room),
			   set->n_peers * sizeof(*set->peers));
}

void config_set_finish(struct config_set *set)
{
	free_peers(set);
	free(set->allowed_ips); /* no secrets */
	explicit_bzero(set, sizeof(*set));
}

size_t config_set_memory(const struct config_set *set)
{
	return set->peers_room * sizeof(*set->peers) +
	       set->allowed_ips_room * sizeof(*set->allowed_ips);
}

static bool may_grow(const struct config_set *set, size_t more_bytes)
{
	return !set->memory_limit || config_set_memory(set) + more_bytes <= set->memory_limit;
}

int config_set_add_peer(struct config_set *set, const uint8_t public_key[KEY_LEN])
{
	if (set->n_peers == CONFIG_MAX_SECTIONS)
		return -ENOMEM;

	if (set->n_peers == set->peers_room) {
		size_t room = MAX(2 * set->peers_room, PEERS_STEP / sizeof(struct config_peer));
		if (!may_grow(set, (room - set->peers_room) * sizeof(struct config_peer)))
			return -ENOMEM;
		struct config_peer *peers = secret_pages_map(set->pages, peers_bytes(room));
		if (!peers)
			return -ENOMEM;
		if (set->n_peers)
			memcpy(peers, set->peers, set->n_peers * sizeof(*peers));
		free_peers(set);
		set->peers = peers;
		set->peers_room = room;
	}

	struct config_peer *peer = &set->peers[set->n_peers++];
	memset(peer, 0, sizeof(*peer)); /* padding of the endpoint too: it is compared by memcmp */
	memcpy(peer->public_key, public_key, KEY_LEN);
	peer->first_allowed_ip = (uint32_t)set->n_allowed_ips;
	return 0;
}

int config_set_add_allowed_ip(struct config_set *set, const struct config_allowed_ip *allowed_ip)
{
	if (set->n_allowed_ips == CONFIG_MAX_ALLOWED_IPS)
		return -ENOMEM;

	if (set->n_allowed_ips == set->allowed_ips_room) {
		size_t room = MAX(2 * set->allowed_ips_room, (size_t)16);
		if (!may_grow(set, (room - set->allowed_ips_room) * sizeof(*allowed_ip)))
			return -ENOMEM;
		struct config_allowed_ip *grown = realloc(set->allowed_ips, room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		set->allowed_ips = grown;
		set->allowed_ips_room = room;
	}

	set->allowed_ips[set->n_allowed_ips++] = *allowed_ip;
	set->peers[set->n_peers - 1].n_allowed_ips++;
	return 0;
}

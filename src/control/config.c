/* SPDX-License-Identifier: MPL-2.0 */
/* A `set` transaction as data. Its arrays grow by doubling, into fresh memory: realloc() would leave
 * keys behind. */
#include "control/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void config_set_init(struct config_set *set)
{
	memset(set, 0, sizeof(*set));
}

static void wipe_and_free(void *memory, size_t len)
{
	if (!memory)
		return;
	explicit_bzero(memory, len);
	free(memory);
}

void config_set_finish(struct config_set *set)
{
	wipe_and_free(set->peers, set->n_peers * sizeof(*set->peers));
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
		size_t room = MAX(2 * set->peers_room, (size_t)4);
		if (!may_grow(set, (room - set->peers_room) * sizeof(struct config_peer)))
			return -ENOMEM;
		struct config_peer *peers = malloc(room * sizeof(*peers));
		if (!peers)
			return -ENOMEM;
		size_t used = set->n_peers * sizeof(*peers);
		if (used)
			memcpy(peers, set->peers, used);
		wipe_and_free(set->peers, used);
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

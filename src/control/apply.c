/* SPDX-License-Identifier: MPL-2.0 */
/* Configuration changes, in the order of U-029. */
#include "control/apply.h"

#include <errno.h>
#include <string.h>

#include "control/answer.h"
#include "control/peer_events.h"
#include "control/send.h"
#include "control/sessions.h"
#include "crypto/secret.h"
#include "crypto/x25519.h"

enum { SECTIONS_PER_SLICE = 1024 }; /* some ms */

/* P-346: after a change of port or mark the old source says nothing. */
static void clear_sources(struct control *c)
{
	list_for_each (it, &c->device->peers) {
		struct peer *p = list_entry(it, struct peer, link);
		struct endpoint e;
		endpoint_cell_get(&p->endpoint, &e);
		endpoint_cell_clear_source(&p->endpoint, &e);
	}
}

static void send_all_staged(struct control *c, uint64_t now_ns)
{
	list_for_each (it, &c->device->peers) {
		struct peer *p = list_entry(it, struct peer, link);
		send_staged(c, p, now_ns);
		peer_plan(c, p);
	}
}

/* P-380 to P-382. */
static void set_private_key(struct control *c, const uint8_t key[NOISE_KEY_LEN], uint64_t now_ns)
{
	struct device *d = c->device;
	struct identity *id = d->identity;
	uint8_t clamped[NOISE_KEY_LEN];

	memcpy(clamped, key, sizeof(clamped));
	if (!secret_is_zero(clamped, sizeof(clamped)))
		x25519_clamp(clamped);
	bool is_same = secret_equal(clamped, id->private_key, sizeof(clamped));
	secret_wipe(clamped, sizeof(clamped));
	if (is_same)
		return;

	bool had_key = id->has_private_key;
	identity_set(id, key);
	answers_abandon(c);
	struct peer *self = id->has_private_key ? device_find_peer(d, id->public_key) : NULL;
	if (self)
		peer_remove(c, self);
	list_for_each (it, &d->peers) {
		struct peer *p = list_entry(it, struct peer, link);
		forget_handshake_index(c, p);
		handshake_identity_changed(&p->handshake);
		timers_allow_initiation(&p->timers);
		sessions_disable_sending(p);
	}
	if (!had_key && id->has_private_key && c->has_sockets) /* P-382 */
		send_all_staged(c, now_ns);
}

/* P-365. */
static int set_fwmark(struct control *c, uint32_t fwmark)
{
	if (fwmark == c->fwmark)
		return 0;
	int r = c->has_sockets ? c->ops->set_mark(c->ops_ctx, fwmark) : 0;
	if (r < 0)
		return r;
	c->fwmark = fwmark;
	clear_sources(c);
	return 0;
}

/* P-361 to P-364. */
static int set_listen_port(struct control *c, uint16_t port)
{
	if (port == c->listen_port && port != 0)
		return 0;
	if (c->has_sockets) {
		int r = c->ops->open_sockets(c->ops_ctx, port, c->fwmark, &port);
		if (r < 0)
			return r;
	}
	c->listen_port = port;
	clear_sources(c);
	return 0;
}

static int change_allowed_ip(struct allowedips *a, struct peer *p,
			     const struct config_allowed_ip *ip)
{
	struct allowedips_prefix prefix = { .len = ip->len, .is_v6 = ip->is_v6 };

	memcpy(prefix.addr, ip->addr, sizeof(prefix.addr));
	if (!ip->remove)
		return allowedips_insert(a, &prefix, &p->allowed); /* P-392 */
	allowedips_remove(a, &prefix, &p->allowed);                /* P-393 */
	return 0;
}

/* A reload (`wg syncconf`) replaces each peer's prefixes by the same ones, under traffic. */
static int set_allowed_ips(struct control *c, struct peer *p, const struct config_set *set,
			   const struct config_peer *section)
{
	struct allowedips *a = &c->device->allowedips;
	const struct config_allowed_ip *ip = config_peer_allowed_ips(set, section);
	struct list old;
	int r = 0;

	list_init(&old);
	if (section->replace_allowed_ips)
		allowedips_set_aside(&p->allowed, &old);
	for (uint32_t i = 0; r == 0 && i < section->n_allowed_ips; i++)
		r = change_allowed_ip(a, p, &ip[i]);
	allowedips_remove_aside(a, &old);
	return r;
}

/* Everything of a section but whether the peer exists. */
static int change_peer(struct control *c, struct peer *p, const struct config_set *set,
		       const struct config_peer *section, uint64_t now_ns)
{
	bool starts_keepalive = section->has_keepalive && section->keepalive_sec &&
				p->keepalive_sec == 0;

	if (section->has_psk)
		handshake_set_psk(&p->handshake, section->psk); /* P-391 */
	if (section->has_endpoint)
		endpoint_cell_set(&p->endpoint, &section->endpoint); /* P-343 */
	int r = set_allowed_ips(c, p, set, section);
	if (r < 0)
		return r;
	if (section->has_keepalive) {
		p->keepalive_sec = section->keepalive_sec;
		timers_set_persistent(&p->timers, section->keepalive_sec);
	}
	if (!c->has_sockets)
		return 0;
	if (starts_keepalive) /* P-245, P-394 */
		send_keepalive(c, p, now_ns);
	send_staged(c, p, now_ns);
	peer_plan(c, p);
	return 0;
}

static int apply_section(struct control *c, const struct config_set *set,
			 const struct config_peer *section, uint64_t now_ns)
{
	struct device *d = c->device;

	if (d->identity->has_private_key &&
	    memcmp(section->public_key, d->identity->public_key, NOISE_KEY_LEN) == 0)
		return 0; /* P-384, U-027 */
	struct peer *p = device_find_peer(d, section->public_key);
	if (section->remove) {
		if (p)
			peer_remove(c, p);
		return 0;
	}
	if (!p && section->update_only)
		return 0; /* P-389 */
	if (!p)
		p = device_add_peer(d, section->public_key);
	if (!p)
		return -ENOMEM; /* U-024 */
	return change_peer(c, p, set, section, now_ns);
}

static int apply_device(struct control *c, const struct config_set *set, uint64_t now_ns)
{
	int r = 0;

	if (set->has_private_key)
		set_private_key(c, set->private_key, now_ns);
	if (set->has_fwmark)
		r = set_fwmark(c, set->fwmark);
	if (r == 0 && set->has_listen_port)
		r = set_listen_port(c, set->listen_port);
	if (r < 0)
		return r;
	if (set->replace_peers) { /* P-388 */
		list_for_each_safe (it, nxt, &c->device->peers)
			peer_remove(c, list_entry(it, struct peer, link));
	}
	return 0;
}

/* Takes beforehand all memory that the sections need, so that none stops halfway. */
static int reserve(struct control *c, const struct config_set *set)
{
	struct device *d = c->device;
	size_t n_new = 0, n_allowed_ips = 0;

	for (size_t i = 0; i < set->n_peers; i++) {
		const struct config_peer *section = &set->peers[i];
		n_new += !section->remove && !section->update_only &&
			 !device_find_peer(d, section->public_key);
	}
	for (size_t i = 0; i < set->n_allowed_ips; i++)
		n_allowed_ips += !set->allowed_ips[i].remove;
	return device_reserve(d, n_new, n_allowed_ips);
}

int control_apply(struct control *c, const struct config_set *set, uint64_t now_ns)
{
	size_t first = c->n_applied_sections;
	size_t end = MIN(set->n_peers, first + SECTIONS_PER_SLICE);
	int r = first == 0 ? reserve(c, set) : 0;

	if (r == 0 && first == 0)
		r = apply_device(c, set, now_ns);
	c->n_applied_sections = 0;
	for (size_t i = first; r == 0 && i < end; i++)
		r = apply_section(c, set, &set->peers[i], now_ns);
	if (r < 0 || end == set->n_peers) {
		device_end_reservation(c->device);
		return r;
	}
	c->n_applied_sections = end;
	return -EAGAIN;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Reading the state out. */
#include "control/report.h"

#include <stdio.h>

#include "control/key_text.h"

static void report_peer(const struct peer *p, struct uapi_text *text)
{
	struct endpoint e;
	struct allowedips_prefix prefix;
	const struct list *cursor = NULL;

	endpoint_cell_get(&p->endpoint, &e);
	uapi_format_peer(
		text, &(struct uapi_peer_view){
			      .public_key = p->handshake.remote_static,
			      .psk = p->handshake.preshared_key,
			      .endpoint = &e,
			      .handshake_sec = p->handshake_sec,
			      .handshake_nsec = p->handshake_nsec,
			      .tx_bytes = atomic_load_explicit(&p->tx_bytes, memory_order_relaxed),
			      .rx_bytes = atomic_load_explicit(&p->rx_bytes, memory_order_relaxed),
			      .keepalive_sec = p->keepalive_sec,
		      });
	while (allowedips_next(&p->allowed, &cursor, &prefix))
		uapi_format_allowed_ip(text, prefix.addr, prefix.len, prefix.is_v6);
}

void control_report(const struct control *c, struct uapi_text *text)
{
	const struct identity *id = c->device->identity;

	uapi_format_device(text,
			   &(struct uapi_device_view){
				   .private_key = id->has_private_key ? id->private_key : NULL,
				   .listen_port = c->listen_port,
				   .fwmark = c->fwmark,
			   });
	list_for_each (it, &c->device->peers)
		report_peer(list_entry(it, const struct peer, link), text);
}

static uint64_t drops_of_device(const struct device *d, enum drop_reason why)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i <= d->n_workers; i++)
		n += atomic_load_explicit(&d->drops[i].n[why], memory_order_relaxed);
	return n;
}

static void report_drop(struct uapi_text *text, const char *prefix, enum drop_reason why,
			uint64_t n)
{
	char key[64];

	(void)snprintf(key, sizeof(key), "%s%s", prefix, drop_reason_name(why));
	uapi_text_append_u64(text, key, n);
}

static void report_drops_of_peer(const struct peer *p, struct uapi_text *text)
{
	bool has_any = false;

	for (unsigned i = 0; i < DROP_N_REASONS; i++) {
		uint64_t n = atomic_load_explicit(&p->drops.n[i], memory_order_relaxed);
		if (n == 0)
			continue;
		if (!has_any)
			uapi_text_append_key(text, "public_key", p->handshake.remote_static);
		has_any = true;
		report_drop(text, "drop_", (enum drop_reason)i, n);
	}
}

void control_report_drops(const struct control *c, struct uapi_text *text)
{
	for (unsigned i = 0; i < DROP_N_REASONS; i++)
		report_drop(text, "drop_", (enum drop_reason)i,
			    drops_of_device(c->device, (enum drop_reason)i));
}

void control_report_peer_drops(const struct control *c, struct uapi_text *text)
{
	list_for_each (it, &c->device->peers)
		report_drops_of_peer(list_entry(it, const struct peer, link), text);
}

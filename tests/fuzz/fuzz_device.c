/* SPDX-License-Identifier: MPL-2.0 */
/* Whole devices under a sequence of events: inner packets, datagrams from anywhere (also sealed with
 * the right key and then changed), time that passes or jumps, configuration, interface down and up,
 * links that fail. Whatever comes, nothing may crash or be left over, no packet may arrive twice, and
 * once the link is good and both are configured they must find each other again. */
#include <errno.h>

#include "base/rcu.h"
#include "fuzz/fuzz.h"
#include "noise/message.h"
#include "protocol/sim.h"

enum { MAX_EVENTS = 300, N_IDS = 4096 };

static struct sim sim;
static uint32_t next_id;

/* Up to @max bytes, as many as the next byte says. */
static struct input take_bytes(struct input *in, size_t max)
{
	size_t n = take8(in); /* MIN() would take it twice */
	return take_part(in, MIN(n, max));
}

static struct peer *peer_at(uint32_t of)
{
	return sim_peer(&sim, of, 1 - of);
}

static struct session *session_at(uint32_t of)
{
	struct peer *p = peer_at(of);
	return p ? rcu_peek(&p->current) : NULL;
}

static struct endpoint source(struct input *in, uint32_t from)
{
	struct endpoint e = sim.node[from].address;
	uint8_t how = take8(in);

	if (how & 1)
		e.to.in4.sin_port ^= 0x0101;
	sim.is_misdirected = how & 2;
	return e;
}

/* A datagram of any bytes. */
static void inject_raw(struct input *in, uint32_t to)
{
	struct endpoint from = source(in, 1 - to);
	struct input d = take_bytes(in, 255);

	sim_inject(&sim, to, &from, d.data, (uint32_t)d.len);
}

enum { ID_AT = 20 }; /* in an inner packet: where the simulation looks for its number */

/* What is the fuzzer's own shall not look like one of ours: then it may well arrive twice. */
static uint32_t take_plain(struct input *in, uint8_t ret[255])
{
	struct input p = take_bytes(in, 255);

	memcpy(ret, p.data, p.len);
	if (p.len > ID_AT)
		ret[ID_AT] |= 0x80;
	return (uint32_t)p.len;
}

/* A handshake message of any content but with a valid mac1: everybody who knows a public key can make
 * that. */
static void inject_forged(struct input *in, uint32_t to, enum message_type type)
{
	const struct peer *from_peer = peer_at(1 - to), *to_peer = peer_at(to);
	struct endpoint from = source(in, 1 - to);
	union {
		uint8_t bytes[sizeof(struct message_initiation)];
		struct message_response response;
	} d = { .bytes = { (uint8_t)type } };
	uint32_t len = type == MESSAGE_INITIATION ? sizeof(d) : sizeof(d.response);
	struct input body = take_bytes(in, len - sizeof(struct message_macs) - 4);
	struct cookie_jar jar = { 0 };

	if (!from_peer || !to_peer)
		return;
	if (body.len > 0)
		memcpy(d.bytes + 4, body.data, body.len);
	if (type == MESSAGE_RESPONSE)
		d.response.receiver_index = le32(to_peer->handshake.local_index);
	cookie_jar_add_macs(&jar, &from_peer->handshake, d.bytes, len, sim.now_ns);
	sim_inject(&sim, to, &from, d.bytes, len);
}

/* Any plaintext under any counter, sealed with the other side's key; a byte is changed if the input
 * says so. */
static void inject_sealed(struct input *in, uint32_t to)
{
	struct session *x = session_at(1 - to);
	uint8_t datagram[512];
	struct endpoint from = source(in, 1 - to);
	/* not the counters that the peer itself uses next: those packets would be lost for it */
	uint64_t counter = UINT64_C(1) << 62 | (uint64_t)take16(in) << 3;
	uint16_t change = take16(in);
	uint8_t plain[255];
	uint32_t len = take_plain(in, plain);

	if (!x)
		return;
	uint32_t n = sim_seal(x, counter, plain, len, datagram);
	if (change)
		datagram[change % n] ^= (uint8_t)(change >> 8 | 1);
	sim_inject(&sim, to, &from, datagram, n);
}

/* Something that was once sent, perhaps changed, and perhaps with mac1 made right again. */
static void inject_replay(struct input *in, uint32_t to, bool fix_mac1)
{
	const struct sim_node *n = &sim.node[1 - to];
	struct endpoint from = source(in, 1 - to);
	uint8_t which = take8(in);
	uint16_t change = take16(in);
	uint8_t datagram[148];

	if (n->n_sent == 0)
		return;
	const struct sim_sent *x = &n->sent[(n->n_sent - 1 - which % MIN(n->n_sent, 64)) % 1024];
	uint32_t len = MIN(x->len, (uint32_t)sizeof(datagram));
	memcpy(datagram, x->data, len);
	if (change)
		datagram[change % len] ^= (uint8_t)(change >> 8 | 1);
	enum message_type type = message_classify(datagram, len);
	const struct peer *from_peer = peer_at(1 - to);
	if (fix_mac1 && from_peer && (type == MESSAGE_INITIATION || type == MESSAGE_RESPONSE)) {
		struct cookie_jar jar = { 0 };
		cookie_jar_add_macs(&jar, &from_peer->handshake, datagram, len, sim.now_ns);
	}
	sim_inject(&sim, to, &from, datagram, len);
}

static void send_inner(struct input *in, uint32_t from)
{
	uint8_t n = take8(in) % 8;

	for (uint8_t i = 0; i < n && next_id < N_IDS; i++)
		sim_send_len(&sim, from, 1 - from, next_id++, 28 + take8(in));
}

/* Anything from the TUN, as a super-packet too. */
static void send_raw(struct input *in, uint32_t from, bool has_vnet)
{
	struct virtio_net_hdr vnet = { 0 };
	uint8_t packet[255];

	if (has_vnet) {
		struct input header = take_part(in, sizeof(vnet));
		if (header.len > 0)
			memcpy(&vnet, header.data, header.len);
	}
	uint32_t len = take_plain(in, packet);
	if (has_vnet) {
		if (len > ID_AT + 2) /* a checksum is two bytes: one of both marks stays */
			packet[ID_AT + 2] |= 0x80;
		sim_send_vnet(&sim, from, &vnet, packet, len);
		return;
	}
	sim_send_raw(&sim, from, packet, len);
}

static void configure(struct input *in, uint32_t of)
{
	uint8_t what = take8(in), value = take8(in);
	struct config_allowed_ip ips[2] = {
		{ .addr = { 10, 0, 0, (uint8_t)(1 - of) }, .len = 32, .remove = what >> 6 & 1 },
		{ .addr = { value }, .len = value % 33, .is_v6 = what >> 7, .remove = value >> 7 },
	};
	struct config_peer section = {
		.remove = (what & 15) == 15,
		.update_only = value & 1,
		.replace_allowed_ips = what & 16,
		.has_psk = (what & 3) == 1,
		.has_endpoint = (what & 3) == 2,
		.endpoint = sim.node[1 - of].address,
		.has_keepalive = (what & 3) == 3,
		.keepalive_sec = value,
		.n_allowed_ips = what >> 5 & 1 ? 2 : 0,
	};
	struct config_set set = {
		.peers = &section, .n_peers = 1, .allowed_ips = ips, .n_allowed_ips = 2
	};

	section.psk[0] = value & 1;
	memcpy(section.public_key, sim.node[value & 4 ? of : 1 - of].public_key, 32);
	CHECK(control_apply(&sim.node[of].control, &set, sim.now_ns) == 0);
}

static void configure_device(struct input *in, uint32_t of)
{
	uint8_t what = take8(in);
	struct config_set set = {
		.has_private_key = (what & 3) == 1,
		.has_listen_port = (what & 3) == 2,
		.has_fwmark = (what & 3) == 3,
		.replace_peers = (what & 28) == 28,
		.listen_port = what,
		.fwmark = what,
	};

	memcpy(set.private_key, sim.node[of].private_key, 32);
	set.private_key[4] ^= what & 32;
	if (what & 64)
		memset(set.private_key, 0, 32);
	CHECK(control_apply(&sim.node[of].control, &set, sim.now_ns) == 0);
}

/* Few messages are left until the session must be renewed, or may not send any more. */
static void wear(struct input *in, uint32_t of)
{
	struct session *x = session_at(of);
	uint8_t left = take8(in);
	uint64_t limit = left & 1 ? REJECT_AFTER_MESSAGES : REKEY_AFTER_MESSAGES;

	if (x)
		atomic_store(&x->keypair.send_counter, limit - left / 2);
}

static bool holds_no_source(void *ctx, const struct endpoint *e)
{
	return false;
}

/* Whether @of learns where it is reached, and whether it may still send from there. */
static void lose_sources(uint32_t of, bool learns, bool is_gone)
{
	sim.node[of].local.s_addr = learns ? sim.node[of].address.to.in4.sin_addr.s_addr : 0;
	sim.node[of].source_error = is_gone ? -EADDRNOTAVAIL : 0;
	if (learns && is_gone)
		control_check_sources(&sim.node[of].control, holds_no_source, NULL);
}

static void event(struct input *in)
{
	uint8_t what = take8(in);
	uint32_t node = what >> 7;

	switch (what & 15) {
	case 0 ... 1:
		send_inner(in, node);
		break;
	case 2:
		send_raw(in, node, what & 16);
		break;
	case 3:
		if (what & 16)
			inject_forged(in, node, what & 32 ? MESSAGE_RESPONSE : MESSAGE_INITIATION);
		else
			inject_raw(in, node);
		break;
	case 4 ... 5:
		sim.injected_tos = what >> 4 & 3;
		inject_sealed(in, node);
		break;
	case 6:
		inject_replay(in, node, what & 16);
		break;
	case 7 ... 8:
		sim_run(&sim, take16(in) * NSEC_PER_MSEC);
		break;
	case 9:
		sim_run(&sim, take8(in) * NSEC_PER_SEC);
		break;
	case 10:
		sim_jump(&sim, (uint64_t)take16(in) * NSEC_PER_SEC);
		sim.node[node].realtime_offset_ns +=
			(int64_t)((int8_t)take8(in)) * (int64_t)NSEC_PER_SEC;
		break;
	case 11:
		configure(in, node);
		break;
	case 12:
		configure_device(in, node);
		break;
	case 13:
		if (what & 32)
			wear(in, node);
		else
			sim_set_up(&sim, node, what & 16);
		break;
	case 14:
		sim.link.loss = take8(in) * 4U;
		sim.link.duplication = take8(in) * 2U;
		sim.link.jitter_ns = take8(in) * NSEC_PER_MSEC;
		sim.link.is_cut = what & 16;
		lose_sources(node, what & 32, what & 64);
		break;
	default:
		sim.node[node].send_error = what & 16 ? -1 : 0;
		sim.node[node].control.under_load_until_ns =
			what & 32 ? sim.now_ns + (what & 64 ? 30 : 1) * NSEC_PER_SEC : 0;
		break;
	}
}

static void check_delivered(void)
{
	for (uint32_t i = 0; i < 2; i++) {
		static uint8_t seen[UINT16_MAX + 1];
		memset(seen, 0, sizeof(seen));
		for (uint32_t k = 0; k < sim.node[i].n_delivered; k++) {
			uint32_t id = sim.node[i].delivered[k];
			if (id < N_IDS) /* others are the fuzzer's own */
				CHECK(seen[id]++ == 0);
		}
	}
}

/* Makes everything well again: then they must find each other. */
static void recover(void)
{
	sim.link = (struct sim_link){ .delay_ns = 10 * NSEC_PER_MSEC };
	for (uint32_t i = 0; i < 2; i++) {
		struct sim_node *n = &sim.node[i];
		struct config_allowed_ip ip = { .addr = { 10, 0, 0, (uint8_t)(1 - i) }, .len = 32 };
		struct config_peer section = { .has_endpoint = true,
					       .endpoint = sim.node[1 - i].address,
					       .has_psk = true,
					       .has_keepalive = true,
					       .n_allowed_ips = 1 };
		struct config_set set = { .has_private_key = true,
					  .replace_peers = true, /* time may have gone back */
					  .peers = &section,
					  .n_peers = 1,
					  .allowed_ips = &ip,
					  .n_allowed_ips = 1 };
		n->send_error = 0;
		n->source_error = 0;
		n->control.under_load_until_ns = 0;
		memcpy(set.private_key, n->private_key, 32);
		memcpy(section.public_key, sim.node[1 - i].public_key, 32);
		CHECK(control_apply(&n->control, &set, sim.now_ns) == 0);
		sim_set_up(&sim, i, true);
	}
	sim_run_sec(&sim, 1);
	for (uint32_t i = 0; i < 2; i++)
		sim.node[i].n_delivered = 0;
	sim_send(&sim, 0, 1, N_IDS + 1);
	sim_run_sec(&sim, 12);
	sim_send(&sim, 1, 0, N_IDS + 2);
	sim_run_sec(&sim, 1);
	CHECK(sim.node[1].n_delivered >= 1);
	CHECK(sim.node[0].n_delivered >= 1);
	CHECK(sim.node[1].delivered[sim.node[1].n_delivered - 1] == N_IDS + 1);
	CHECK(sim.node[0].delivered[sim.node[0].n_delivered - 1] == N_IDS + 2);
}

static void check_nothing_left(void)
{
	for (uint32_t i = 0; i < 2; i++)
		sim_configure(&sim, i, 1 - i, (struct config_peer){ .remove = true });
	rcu_flush();
	sim_run(&sim, 0);
	for (uint32_t i = 0; i < 2; i++) {
		const struct device *d = &sim.node[i].device;
		CHECK(atomic_load(&d->staged.used) == 0);
		CHECK(d->session_pool.n_in_use == 0);
		CHECK(d->peer_pool.n_in_use == 0);
		CHECK(d->allowedips.n_nodes == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };

	next_id = 0;
	sim_init(&sim, 2, 1);
	for (uint32_t i = 0; i < MAX_EVENTS && in.len > 0; i++) {
		event(&in);
		if (i % 4 == 0)
			sim_run(&sim, 0);
	}
	sim_run_sec(&sim, 1);
	check_delivered();
	recover();
	check_nothing_left();
	sim_finish(&sim);
	return 0;
}

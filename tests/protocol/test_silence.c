/* SPDX-License-Identifier: MPL-2.0 */
/* Datagrams that deserve no answer and change nothing (section 21). */
#include "check.h"
#include "noise/cookie.h"

static struct sim sim;

static void init(void)
{
	sim_init(&sim, 2, 8);
}

static void fini(void)
{
	sim_finish(&sim);
}

TestSuite(silence, .init = init, .fini = fini);

/* All that a datagram could change about node 1's peer. */
struct state {
	uint64_t n_sent, rx, tx, at[TIMER_N_KINDS], handshake_sec;
	struct endpoint endpoint;
	struct session *current, *previous, *next;
	struct handshake handshake;
	struct cookie_jar jar;
};

static struct state state_now(void)
{
	struct peer *p = sim_peer(&sim, 1, 0);
	struct state s;

	memset(&s, 0, sizeof(s));
	s.n_sent = sim.node[1].n_sent;
	s.rx = rx_bytes(&sim, 1);
	s.tx = tx_bytes(&sim, 1);
	for (unsigned i = 0; i < TIMER_N_KINDS; i++)
		s.at[i] = atomic_load(&p->timers.at[i]);
	s.handshake_sec = p->handshake_sec;
	endpoint_cell_get(&p->endpoint, &s.endpoint);
	s.current = rcu_peek(&p->current);
	s.previous = p->previous;
	s.next = p->next;
	memcpy(&s.handshake, &p->handshake, sizeof(s.handshake));
	memcpy(&s.jar, &p->cookie_jar, sizeof(s.jar));
	return s;
}

static struct state before;

/* @data comes to node 1 from another place; nothing may follow. */
static void check_ignored(const uint8_t *data, uint32_t len)
{
	struct endpoint from = sim.node[0].address;

	from.to.in4.sin_port = 99;
	before = state_now();
	sim_inject(&sim, 1, &from, data, len);
	sim_run(&sim, 0);
	struct state after = state_now();
	cr_assert(memcmp(&before, &after, sizeof(before)) == 0);
}

Test(silence, p440_p034_row41_wrong_types_and_lengths)
{
	uint8_t datagram[256];

	bring_up(&sim);
	for (uint32_t type = 0; type < 8; type++) {
		for (uint32_t len = 0; len <= 200; len++) {
			for (uint32_t i = 0; i < len; i++)
				datagram[i] = (uint8_t)sim_random(&sim);
			if (len >= 4)
				store_le32(datagram, type);
			check_ignored(datagram, len);
		}
	}
}

Test(silence, p034_reserved_bytes)
{
	uint8_t datagram[64];

	bring_up(&sim);
	for (unsigned i = 1; i < 4; i++) {
		uint32_t n = sim_seal(session_of(&sim, 0), 500 + i, NULL, 0, datagram);
		datagram[i] = 1;
		check_ignored(datagram, n);
	}
	struct sim_sent x = *sim_last_sent(&sim.node[0], 1, 0);
	x.data[3] = 0x80;
	check_ignored(x.data, x.len);
}

Test(silence, p440_bad_mac1)
{
	bring_up(&sim);
	for (uint32_t i = 0; i < 2; i++) {
		struct sim_sent x = *sim_last_sent(&sim.node[i], (uint8_t)(1 + i), 0);
		x.data[x.len - 17] ^= 1;
		check_ignored(x.data, x.len);
	}
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_BAD_MAC1), 2));
}

Test(silence, p053_p440_unknown_peer)
{
	sim_configure(&sim, 1, 0, (struct config_peer){ .remove = true });
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 100);
	cr_assert(eq(u64, sim.node[1].n_sent, 0));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_UNKNOWN_PEER), sim_n_initiations(&sim, 0)));
}

Test(silence, p440_p441_damaged_initiation)
{
	struct handshake hs;
	struct cookie_jar jar = { 0 };

	bring_up(&sim);
	handshake_init(&hs, sim.node[1].public_key);
	for (uint32_t i = 8; i < 116; i++) { /* ephemeral, static, timestamp */
		struct sim_sent x = *sim_last_sent(&sim.node[0], 1, 0);
		x.data[i] ^= 0x10;
		cookie_jar_add_macs(&jar, &hs, x.data, x.len, 0);
		check_ignored(x.data, x.len);
	}
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_INVALID), 108));
}

Test(silence, p440_p441_damaged_replayed_and_unknown_transport)
{
	uint8_t datagram[64], inner[28];

	bring_up(&sim);
	sim_inner(inner, 0, 1, 1, sizeof(inner));
	for (uint32_t i = 4; i < 60; i++) { /* index, counter, ciphertext, tag */
		uint32_t n = sim_seal(session_of(&sim, 0), 500, inner, sizeof(inner), datagram);
		datagram[i] ^= 2;
		check_ignored(datagram, n);
	}
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_RX_UNKNOWN_INDEX), 4));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_RX_BAD_TAG), 52));
	const struct sim_sent *x = sim_last_sent(&sim.node[0], 4, 0);
	check_ignored(x->data, x->len);
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_RX_REPLAY), 1));
}

Test(silence, p440_cookie_reply_out_of_nowhere)
{
	uint8_t datagram[64] = { 3 };

	bring_up(&sim);
	check_ignored(datagram, sizeof(datagram));
	store_le32(datagram + 4, session_of(&sim, 1)->keypair.local_index);
	check_ignored(datagram, sizeof(datagram));
}

/* Row 75: empty datagrams from anybody, alone and in between. */
Test(silence, row75_empty_datagrams)
{
	bring_up(&sim);
	for (uint32_t i = 0; i < 3000; i++) {
		check_ignored((const uint8_t *)"", 0);
		if (i % 100 == 0)
			sim_send(&sim, 0, 1, i);
	}
	sim_run_sec(&sim, 1);
	cr_assert(eq(u32, sim.node[1].n_delivered, 31));
}

Test(silence, p442_nothing_is_sent_without_a_reason)
{
	sim_run_sec(&sim, 36000);
	cr_assert(eq(u64, sim.node[0].n_sent + sim.node[1].n_sent, 0));
	bring_up_idle(&sim);
	uint64_t n = sim.node[0].n_sent + sim.node[1].n_sent;
	sim_run_sec(&sim, 36000);
	cr_assert(eq(u64, sim.node[0].n_sent + sim.node[1].n_sent, n));
}

Test(silence, row4_datagrams_before_any_configuration)
{
	static const uint8_t none[32];
	struct config_set set = { .has_private_key = true, .replace_peers = true };
	uint8_t datagram[200];

	memcpy(set.private_key, none, 32);
	cr_assert(eq(int, control_apply(&sim.node[1].control, &set, sim.now_ns), 0));
	for (uint32_t type = 0; type < 6; type++) {
		for (uint32_t len = 0; len < 200; len++) {
			memset(datagram, (int)len, sizeof(datagram));
			store_le32(datagram, type);
			arrive(&sim, 0, 1, datagram, len);
		}
	}
	cr_assert(eq(u64, sim.node[1].n_sent, 0));
	memcpy(set.private_key, sim.node[1].private_key, 32);
	cr_assert(eq(int, control_apply(&sim.node[1].control, &set, sim.now_ns), 0));
	sim_configure(&sim, 1, 0, (struct config_peer){ 0 });
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 1);
	cr_assert(sim_has_session(&sim, 0, 1));
}

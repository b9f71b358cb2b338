/* SPDX-License-Identifier: MPL-2.0 */
/* Configuration under way, the interface up and down, statistics (sections 18 to 20). */
#include "check.h"
#include "control/peer_events.h"
#include "control/send.h"
#include "crypto/x25519.h"

static struct sim sim;

static void init(void)
{
	sim_init(&sim, 3, 6);
}

static void fini(void)
{
	sim_finish(&sim);
}

TestSuite(configuration, .init = init, .fini = fini);

static void apply(uint32_t of, struct config_set set)
{
	cr_assert(eq(int, control_apply(&sim.node[of].control, &set, sim.now_ns), 0));
}

static void set_private_key(uint32_t of, const uint8_t key[32])
{
	struct config_set set = { .has_private_key = true };

	memcpy(set.private_key, key, 32);
	apply(of, set);
}

/* One allowed IP 10.@b.0.0/@len, on node 0, for the peer that is node @about. */
static void set_allowed_ip(uint32_t about, uint8_t b, uint8_t len, bool remove, bool replace)
{
	struct config_allowed_ip ip = { .addr = { 10, b }, .len = len, .remove = remove };
	struct config_peer section = { .n_allowed_ips = 1, .replace_allowed_ips = replace };
	struct config_set set = {
		.peers = &section, .n_peers = 1, .allowed_ips = &ip, .n_allowed_ips = 1
	};
	memcpy(section.public_key, sim.node[about].public_key, 32);
	apply(0, set);
}

static struct peer *owner_of(uint8_t b, uint8_t d)
{
	const uint8_t addr[4] = { 10, b, 0, d };
	struct allowedips_owner *o = allowedips_lookup4(&sim.node[0].device.allowedips, addr);
	return o ? peer_of_prefixes(o) : NULL;
}

static const uint8_t other_key[32] = { [0] = 8, [5] = 99, [31] = 64 }; /* clamped already */

/* --- private key --- */

Test(configuration, p380_same_key_changes_nothing)
{
	uint8_t key[32];

	bring_up(&sim);
	memcpy(key, sim.node[0].private_key, 32);
	key[0] |= 7; /* the same when clamped */
	set_private_key(0, key);
	cr_assert(sim_has_session(&sim, 0, 1));
	cr_assert(memcmp(sim.node[0].device.identity->private_key, sim.node[0].private_key, 32) ==
		  0); /* P-383 */
}

Test(configuration, p380_row13_other_key_ends_sending_and_handshake_not_receiving)
{
	bring_up(&sim);
	sim.link.is_cut = true;
	timers_allow_initiation(timers_of(&sim, 0));
	send_first_initiation(&sim.node[0].control, sim_peer(&sim, 0, 1), sim.now_ns);
	uint32_t index = sim_peer(&sim, 0, 1)->handshake_entry->index;
	sim.link.is_cut = false;
	set_private_key(0, other_key);
	cr_assert(index_table_lookup(&sim.node[0].device.indices, index) == NULL);
	cr_assert(eq(int, sim_peer(&sim, 0, 1)->handshake.state, HS_ZEROED));
	cr_assert(not(sim_has_session(&sim, 0, 1)));

	uint64_t rx = rx_bytes(&sim, 0);
	sim_send(&sim, 1, 0, 7); /* on the session of before */
	sim_run_sec(&sim, 1);
	cr_assert(eq(u32, sim.node[0].n_delivered, 1));
	cr_assert(eq(u64, rx_bytes(&sim, 0), rx + 64));

	uint64_t n = sim.node[0].n_sent_of_type[4];
	uint64_t n_initiations = sim_n_initiations(&sim, 0);
	sim_send(&sim, 0, 1, 8);
	sim_run(&sim, 0);
	cr_assert(eq(u64, sim.node[0].n_sent_of_type[4], n));
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), n_initiations + 1)); /* at once */
}

Test(configuration, p380_row13_next_session_can_not_send_either)
{
	sim.node[1].is_mute = true;
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 0.1);
	struct peer *p = sim_peer(&sim, 1, 0);
	cr_assert(p->next != NULL);
	set_private_key(1, other_key);
	cr_assert(not(keypair_may_send(&p->next->keypair, sim.now_ns)));
	cr_assert(keypair_may_receive(&p->next->keypair, sim.now_ns));
}

Test(configuration, p380_peer_with_our_own_new_key_is_removed)
{
	bring_up(&sim);
	set_private_key(0, sim.node[1].private_key);
	cr_assert(sim_peer(&sim, 0, 1) == NULL);
	cr_assert(sim_peer(&sim, 0, 2) != NULL);
	cr_assert(owner_of(0, 1) == NULL);
}

Test(configuration, p380_p110_handshakes_use_the_new_key)
{
	bring_up(&sim);
	set_private_key(0, other_key);
	struct config_peer section = { .has_endpoint = true, .endpoint = sim.node[0].address };
	struct config_allowed_ip ip = { .addr = { 10, 0, 0, 0 }, .len = 32 };
	section.n_allowed_ips = 1;
	x25519_public(section.public_key, other_key);
	apply(1, (struct config_set){
			 .peers = &section, .n_peers = 1, .allowed_ips = &ip, .n_allowed_ips = 1 });
	sim_send(&sim, 1, 0, 5); /* to the new peer: 10.0.0.0 has moved */
	sim_run_sec(&sim, 1);
	cr_assert(eq(u32, sim.node[0].n_delivered, 1));
	cr_assert(sim_has_session(&sim, 0, 1));
}

Test(configuration, p381_p050_row4_without_a_key_nothing_is_sent_or_accepted)
{
	static const uint8_t none[32];

	bring_up(&sim);
	uint64_t n = sim.node[0].n_sent;
	set_private_key(0, none);
	sim.node[0].control.under_load_until_ns = UINT64_MAX; /* no cookie replies either */
	sim_set_keepalive(&sim, 0, 1, 1);
	sim_run_sec(&sim, 200);
	sim_send(&sim, 0, 1, 2);
	sim_send(&sim, 1, 0, 3);
	sim_run_sec(&sim, 30);
	cr_assert(eq(u64, sim.node[0].n_sent, n));
	cr_assert(ge(u64, sim_n_initiations(&sim, 1), 3));
	cr_assert(ge(u64, sim_drops(&sim, 0, DROP_HS_BAD_MAC1), 3));
}

Test(configuration, p382_row3_key_after_the_peers_flushes_staged_packets)
{
	static const uint8_t none[32];

	set_private_key(0, none);
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 50);
	cr_assert(eq(u64, sim.node[0].n_sent, 0));
	set_private_key(0, sim.node[0].private_key);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 1));
	sim_run_sec(&sim, 1);
	cr_assert(eq(u32, sim.node[1].n_delivered, 1));
}

Test(configuration, p384_own_key_as_peer_is_ignored)
{
	uint32_t n = sim.node[0].device.n_peers;
	sim_configure(&sim, 0, 0, (struct config_peer){ .has_keepalive = true });
	cr_assert(eq(u32, sim.node[0].device.n_peers, n));
}

/* --- peers --- */

Test(configuration, p386_p387_removed_peer_starts_from_nothing)
{
	struct config_peer section = { .has_psk = true, .psk = { 1 } };

	bring_up(&sim);
	sim_set_keepalive(&sim, 0, 1, 25);
	sim_configure(&sim, 0, 1, section);
	uint32_t index = session_of(&sim, 0)->keypair.local_index;
	sim_configure(&sim, 0, 1, (struct config_peer){ .remove = true });
	cr_assert(sim_peer(&sim, 0, 1) == NULL);
	cr_assert(index_table_lookup(&sim.node[0].device.indices, index) == NULL);
	cr_assert(owner_of(0, 1) == NULL);
	uint64_t n = sim.node[0].n_sent;
	sim_run_sec(&sim, 60);
	cr_assert(eq(u64, sim.node[0].n_sent, n));

	sim_configure(&sim, 0, 1, (struct config_peer){ 0 });
	struct peer *p = sim_peer(&sim, 0, 1);
	static const uint8_t zero[32];
	struct endpoint e;
	endpoint_cell_get(&p->endpoint, &e);
	cr_assert(not(endpoint_is_set(&e)));
	cr_assert(eq(u64, rx_bytes(&sim, 0), 0));
	cr_assert(eq(u64, tx_bytes(&sim, 0), 0));
	cr_assert(eq(u64, p->handshake_sec, 0));
	cr_assert(eq(u16, p->keepalive_sec, 0));
	cr_assert(memcmp(p->handshake.preshared_key, zero, 32) == 0);
	cr_assert(session_of(&sim, 0) == NULL);
	cr_assert(list_is_empty(&p->allowed.prefixes));
}

Test(configuration, p387_packets_on_their_way_to_the_control_thread)
{
	struct sim_node *n = &sim.node[0];

	for (unsigned i = 0; i < 10; i++)
		sim_send(&sim, 0, 1, i);
	cr_assert(gt(u32, worker_step(n->worker, sim.now_ns), 0)); /* they lie in the mailbox */
	sim_configure(&sim, 0, 1, (struct config_peer){ .remove = true });
	sim_configure(&sim, 0, 1, (struct config_peer){ 0 });
	rcu_flush(); /* the old one may be freed now, but for those packets */
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, atomic_load(&n->device.staged.used), 0));
	cr_assert(eq(u64, sim_drops(&sim, 0, DROP_TX_GAVE_UP), 10));
	cr_assert(eq(u64, n->n_sent, 0));
	cr_assert(eq(sz, n->device.peer_pool.n_in_use, 2));
}

Test(configuration, p388_replace_peers_removes_all_before)
{
	struct config_peer section = { .has_keepalive = true };

	memcpy(section.public_key, sim.node[2].public_key, 32);
	bring_up(&sim);
	apply(0, (struct config_set){ .replace_peers = true, .peers = &section, .n_peers = 1 });
	cr_assert(sim_peer(&sim, 0, 1) == NULL);
	cr_assert(sim_peer(&sim, 0, 2) != NULL);
	cr_assert(owner_of(0, 2) == NULL);
	cr_assert(eq(u32, sim.node[0].device.n_peers, 1));
}

Test(configuration, p389_row15_update_only_and_remove_of_unknown_peers)
{
	static const uint8_t unknown[32] = { 77 };
	struct config_allowed_ip ip = { .addr = { 10, 0, 0, 1 }, .len = 32 };
	struct config_peer section = { .update_only = true, .n_allowed_ips = 1 };

	memcpy(section.public_key, unknown, 32);
	struct config_set set = {
		.peers = &section, .n_peers = 1, .allowed_ips = &ip, .n_allowed_ips = 1
	};
	apply(0, set);
	cr_assert(device_find_peer(&sim.node[0].device, unknown) == NULL);
	cr_assert(eq(ptr, owner_of(0, 1), sim_peer(&sim, 0, 1))); /* nothing was stolen */
	section.remove = true;
	section.update_only = false;
	apply(0, set);
	cr_assert(device_find_peer(&sim.node[0].device, unknown) == NULL);
	cr_assert(eq(ptr, owner_of(0, 1), sim_peer(&sim, 0, 1)));
}

/* Rows 1 and 2: `set` on an existing peer is no reason to start over. */
Test(configuration, p390_row1_row2_changing_a_peer_leaves_its_session_alone)
{
	static const uint8_t psk[32] = { 5 };

	bring_up(&sim);
	struct session *x = session_of(&sim, 0);
	uint64_t tx = tx_bytes(&sim, 0), sec = sim_peer(&sim, 0, 1)->handshake_sec;
	for (unsigned i = 0; i < 1000; i++) {
		struct config_allowed_ip ip = { .addr = { 10, 0, 0, 1 }, .len = 32 };
		struct config_peer section = { .has_endpoint = true,
					       .endpoint = sim.node[1].address,
					       .has_keepalive = true,
					       .has_psk = true,
					       .replace_allowed_ips = true,
					       .update_only = i % 2,
					       .n_allowed_ips = 1 };
		memcpy(section.psk, psk, 32);
		memcpy(section.public_key, sim.node[1].public_key, 32);
		apply(0, (struct config_set){ .peers = &section,
					      .n_peers = 1,
					      .allowed_ips = &ip,
					      .n_allowed_ips = 1 });
	}
	cr_assert(eq(ptr, session_of(&sim, 0), x));
	cr_assert(eq(u64, tx_bytes(&sim, 0), tx));
	cr_assert(eq(u64, sim_peer(&sim, 0, 1)->handshake_sec, sec));
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u32, sim.node[1].n_delivered, 2));
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 1));
}

Test(configuration, p391_row14_psk_is_used_by_the_next_handshake_only)
{
	struct config_peer section = { .has_psk = true, .psk = { 5 } };

	bring_up(&sim);
	sim_configure(&sim, 0, 1, section);
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u32, sim.node[1].n_delivered, 2)); /* the session lives */
	sim_run_sec(&sim, 200);
	sim_send(&sim, 0, 1, 3);
	sim_run_sec(&sim, 20);
	cr_assert(eq(u32, sim.node[1].n_delivered, 2)); /* the other side has none */
	sim_configure(&sim, 1, 0, section);
	sim_run_sec(&sim, 6);
	cr_assert(eq(u32, sim.node[1].n_delivered, 3));
}

Test(configuration, p392_row16_prefixes_move_between_peers)
{
	set_allowed_ip(1, 7, 16, false, false);
	cr_assert(eq(ptr, owner_of(7, 1), sim_peer(&sim, 0, 1)));
	set_allowed_ip(2, 7, 16, false, false);
	cr_assert(eq(ptr, owner_of(7, 1), sim_peer(&sim, 0, 2)));
	set_allowed_ip(2, 8, 16, false, true); /* replaces all of 2's */
	cr_assert(owner_of(7, 1) == NULL);
	cr_assert(owner_of(0, 2) == NULL);
	cr_assert(eq(ptr, owner_of(8, 1), sim_peer(&sim, 0, 2)));
	cr_assert(eq(ptr, owner_of(0, 1), sim_peer(&sim, 0, 1)));
}

Test(configuration, p393_row9_incremental_removal)
{
	set_allowed_ip(1, 7, 16, false, false);
	set_allowed_ip(2, 7, 16, true, false); /* not its own */
	cr_assert(eq(ptr, owner_of(7, 1), sim_peer(&sim, 0, 1)));
	set_allowed_ip(1, 7, 17, true, false); /* not exactly this */
	cr_assert(eq(ptr, owner_of(7, 1), sim_peer(&sim, 0, 1)));
	set_allowed_ip(1, 7, 16, true, false);
	cr_assert(owner_of(7, 1) == NULL);
	cr_assert(eq(ptr, owner_of(0, 1), sim_peer(&sim, 0, 1)));
}

Test(configuration, p282_row16_longer_prefix_of_another_peer_wins_inbound)
{
	uint8_t inner[28];

	bring_up(&sim);
	set_allowed_ip(1, 0, 8, false, false); /* 10/8 is 1's, 10.0.0.2 is 2's */
	sim_inner(inner, 2, 0, 66, sizeof(inner));
	arrive_sealed(&sim, 1, 500, inner, sizeof(inner));
	cr_assert(eq(u32, sim.node[0].n_delivered, 0));
	sim_inner(inner, 3, 0, 67, sizeof(inner));
	arrive_sealed(&sim, 1, 501, inner, sizeof(inner));
	cr_assert(eq(u32, sim.node[0].n_delivered, 1));
	sim_configure(&sim, 0, 2, (struct config_peer){ .remove = true });
	sim_inner(inner, 2, 0, 68, sizeof(inner));
	arrive_sealed(&sim, 1, 502, inner, sizeof(inner));
	cr_assert(eq(u32, sim.node[0].n_delivered, 2));
}

Test(configuration, p394_section_flushes_staged_packets)
{
	sim.node[0].send_error = -1;
	struct config_peer nowhere = { .has_endpoint = true, .endpoint = sim.node[1].address };
	nowhere.endpoint.to.in4.sin_port = 1;
	sim_configure(&sim, 0, 1, nowhere);
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 10);
	sim.node[0].send_error = 0;
	sim_run_sec(&sim, 0.6);
	uint64_t n = sim_n_initiations(&sim, 0);
	timers_allow_initiation(timers_of(&sim, 0));
	sim_configure(
		&sim, 0, 1,
		(struct config_peer){ .has_endpoint = true, .endpoint = sim.node[1].address });
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), n + 1));
	sim_run_sec(&sim, 1);
	cr_assert(eq(u32, sim.node[1].n_delivered, 1));
}

Test(configuration, row78_same_key_twice_in_one_set)
{
	static const uint8_t key[32] = { 9, 9, 9 };
	struct config_allowed_ip ips[] = { { .addr = { 10, 20 }, .len = 16 },
					   { .addr = { 10, 21 }, .len = 16 } };
	struct config_peer sections[] = {
		{ .has_keepalive = true, .keepalive_sec = 7, .n_allowed_ips = 1 },
		{ .n_allowed_ips = 1, .first_allowed_ip = 1 },
	};

	memcpy(sections[0].public_key, key, 32);
	memcpy(sections[1].public_key, key, 32);
	apply(0, (struct config_set){
			 .peers = sections, .n_peers = 2, .allowed_ips = ips, .n_allowed_ips = 2 });
	struct peer *p = device_find_peer(&sim.node[0].device, key);
	cr_assert(p != NULL);
	cr_assert(eq(u16, p->keepalive_sec, 7));
	cr_assert(eq(ptr, owner_of(20, 1), p));
	cr_assert(eq(ptr, owner_of(21, 1), p));
	cr_assert(eq(u32, sim.node[0].device.n_peers, 3));
	sections[1].remove = true;
	apply(0, (struct config_set){
			 .peers = sections, .n_peers = 2, .allowed_ips = ips, .n_allowed_ips = 2 });
	cr_assert(device_find_peer(&sim.node[0].device, key) == NULL);
	cr_assert(owner_of(20, 1) == NULL && owner_of(21, 1) == NULL);
}

Test(configuration, row39_peers_come_and_go_and_nothing_runs_out)
{
	struct config_peer section = { .has_endpoint = true, .endpoint = sim.node[1].address };

	for (uint32_t i = 0; i < 3000; i++) {
		section.remove = false;
		store_le32(section.public_key, 1000 + i);
		apply(0, (struct config_set){ .peers = &section, .n_peers = 1 });
		section.remove = true;
		apply(0, (struct config_set){ .peers = &section, .n_peers = 1 });
		if (i % 512 == 0) {
			rcu_flush();
			sim_run(&sim, 0);
		}
	}
	rcu_flush();
	sim_run_sec(&sim, 0.1);
	cr_assert(eq(sz, sim.node[0].device.peer_pool.n_in_use, 2));
	cr_assert(eq(u32, sim.node[0].device.n_peers, 2));
}

/* --- up and down --- */

Test(configuration, p400_down_clears_what_runs_and_keeps_what_is_known)
{
	bring_up(&sim);
	sim_set_keepalive(&sim, 0, 1, 25);
	struct peer *p = sim_peer(&sim, 0, 1);
	uint32_t index = session_of(&sim, 0)->keypair.local_index;
	uint16_t port = sim.node[0].control.listen_port;
	uint64_t tx = tx_bytes(&sim, 0), rx = rx_bytes(&sim, 0), sec = p->handshake_sec;
	struct endpoint e;
	p->cookie_jar.has_cookie = true;

	sim_set_up(&sim, 0, false);
	cr_assert(session_of(&sim, 0) == NULL);
	cr_assert(p->previous == NULL && p->next == NULL);
	cr_assert(index_table_lookup(&sim.node[0].device.indices, index) == NULL);
	for (unsigned i = 0; i < TIMER_N_KINDS; i++)
		cr_assert(eq(u64, atomic_load(&p->timers.at[i]), 0));
	cr_assert(timers_may_initiate(&p->timers, sim.now_ns));
	endpoint_cell_get(&p->endpoint, &e);
	cr_assert(endpoint_is_set(&e));
	cr_assert(p->cookie_jar.has_cookie);
	cr_assert(eq(u16, sim.node[0].control.listen_port, port));
	cr_assert(eq(u64, p->handshake_sec, sec));
	cr_assert(eq(u64, tx_bytes(&sim, 0), tx)); /* P-424 */
	cr_assert(eq(u64, rx_bytes(&sim, 0), rx));
	uint64_t n = sim.node[0].n_sent;
	sim_run_sec(&sim, 100);
	cr_assert(eq(u64, sim.node[0].n_sent, n));
}

Test(configuration, p400_timer_that_a_worker_armed_too_late_starts_nothing)
{
	bring_up(&sim);
	sim_set_up(&sim, 0, false);
	/* a worker was just handling a data packet */
	(void)timers_data_received(timers_of(&sim, 0), sim.now_ns);
	(void)timers_data_sent(timers_of(&sim, 0), sim.now_ns, 0);
	device_call_attention(&sim.node[0].device, sim_peer(&sim, 0, 1), ATTENTION_TIMER);
	uint64_t n = sim.node[0].n_sent;
	sim_run_sec(&sim, 30);
	cr_assert(eq(u64, sim.node[0].n_sent, n));
	cr_assert(eq(u32, sim_peer(&sim, 0, 1)->staged.n, 0));
	sim_set_up(&sim, 0, true);
	sim_run_sec(&sim, 30);
	cr_assert(eq(u64, sim.node[0].n_sent, n)); /* P-442 */
}

Test(configuration, p401_row62_up_again_and_again)
{
	for (uint32_t i = 0; i < 200; i++) {
		sim_send(&sim, 0, 1, i);
		sim_send(&sim, 1, 0, i);
		sim_run_sec(&sim, 0.01 * (sim_random(&sim) % 10));
		sim_set_up(&sim, 0, false);
		sim_run_sec(&sim, 0.01 * (sim_random(&sim) % 10));
		sim_set_up(&sim, 0, true);
	}
	sim_run_sec(&sim, 20); /* the other side finds out */
	uint32_t n = sim.node[1].n_delivered;
	sim_send(&sim, 0, 1, 1000);
	sim_run_sec(&sim, 6);
	cr_assert(gt(u32, sim.node[1].n_delivered, n));
	cr_assert(eq(u32, sim.node[1].delivered[sim.node[1].n_delivered - 1], 1000));
}

Test(configuration, p361_p362_port_is_kept_across_down_and_stored_while_down)
{
	sim_set_up(&sim, 0, false);
	apply(0, (struct config_set){ .has_listen_port = true, .listen_port = 4444 });
	cr_assert(eq(u16, sim.node[0].control.listen_port, 4444));
	sim_set_up(&sim, 0, true);
	cr_assert(eq(u16, sim.node[0].control.listen_port, 4444));
}

/* --- statistics --- */

Test(configuration, p422_example_of_the_specification)
{
	sim_set_keepalive(&sim, 0, 1, 0);
	/* node 0 has nothing to say but the confirmation */
	send_first_initiation(&sim.node[0].control, sim_peer(&sim, 0, 1), sim.now_ns);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, rx_bytes(&sim, 1), 180));
	cr_assert(eq(u64, tx_bytes(&sim, 1), 92));
	sim_send_len(&sim, 0, 1, 1, 36);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, rx_bytes(&sim, 1), 260));
	cr_assert(eq(u64, tx_bytes(&sim, 0), 260)); /* row 12: both sides agree */
	cr_assert(eq(u64, rx_bytes(&sim, 0), 92));
}

Test(configuration, p420_each_kind_received)
{
	static const uint8_t runt[32] = { 0x45 };
	uint8_t inner[100];

	bring_up_idle(&sim);
	uint64_t rx = rx_bytes(&sim, 1);
	arrive_sealed(&sim, 0, 100, NULL, 0);
	cr_assert(eq(u64, rx_bytes(&sim, 1), rx += 32));
	memset(inner, 0, sizeof(inner));
	sim_inner(inner, 0, 1, 7, 28);
	arrive_sealed(&sim, 0, 101, inner, 100); /* before it is cut to 28 */
	cr_assert(eq(u64, rx_bytes(&sim, 1), rx += 132));
	arrive_sealed(&sim, 0, 102, runt, sizeof(runt)); /* P-262 */
	sim_inner(inner, 9, 1, 7, 28);
	arrive_sealed(&sim, 0, 103, inner, 28); /* P-282 */
	arrive_sealed(&sim, 0, 103, inner, 28); /* replayed */
	cr_assert(eq(u64, rx_bytes(&sim, 1), rx));
	cr_assert(eq(u32, sim.node[1].n_delivered, 2));
}

Test(configuration, p421_only_what_was_sent_counts)
{
	bring_up_idle(&sim);
	uint64_t tx = tx_bytes(&sim, 0);
	sim_send(&sim, 0, 1, 2);
	sim_run(&sim, 0);
	cr_assert(eq(u64, tx_bytes(&sim, 0), tx += 64));
	sim.node[0].send_error = -1;
	sim_send(&sim, 0, 1, 3);
	sim_run(&sim, 0);
	timers_allow_initiation(timers_of(&sim, 0));
	send_first_initiation(&sim.node[0].control, sim_peer(&sim, 0, 1), sim.now_ns);
	peer_plan(&sim.node[0].control, sim_peer(&sim, 0, 1));
	cr_assert(eq(u64, tx_bytes(&sim, 0), tx));
	sim.node[0].send_error = 0;
	sim_run_sec(&sim, 6);
	cr_assert(eq(u64, tx_bytes(&sim, 0), tx + 148 + 32));
}

Test(configuration, p260_padding_as_it_leaves)
{
	static const struct {
		uint32_t mtu, len, sent;
	} cases[] = { { 1420, 28, 32 },     { 1420, 32, 32 },     { 1420, 33, 48 },
		      { 1420, 1420, 1420 }, { 1420, 1419, 1420 }, { 1420, 1409, 1420 },
		      { 1300, 1299, 1300 }, { 0, 45, 48 } };

	bring_up(&sim);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) { /* row 42, P-261 */
		atomic_store(&sim.node[0].device.mtu, cases[i].mtu);
		sim_send_len(&sim, 0, 1, 1, cases[i].len);
		sim_run_sec(&sim, 0.1);
		cr_assert(eq(u32, sim_last_sent(&sim.node[0], 4, 0)->len, cases[i].sent + 32));
	}
	cr_assert(eq(u32, sim.node[1].n_delivered, 1 + ARRAY_SIZE(cases)));
}

Test(configuration, p300_p301_outer_tos)
{
	bring_up_idle(&sim);
	cr_assert(eq(u8, sim_last_sent(&sim.node[0], 1, 0)->tos, 0x88));
	cr_assert(eq(u8, sim_last_sent(&sim.node[1], 2, 0)->tos, 0x88));
	cr_assert(eq(u8, sim_last_sent(&sim.node[1], 4, 0)->tos, 0)); /* keepalive */
}

Test(configuration, p424_counters_survive_rekeying)
{
	bring_up(&sim);
	uint64_t tx = tx_bytes(&sim, 0);
	sim_run_sec(&sim, 300);
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 1);
	/* keepalives of P-201 are node 1's; node 0 sent an initiation and a packet */
	cr_assert(eq(u64, tx_bytes(&sim, 0), tx + 148 + 64));
}

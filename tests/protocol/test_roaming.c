/* SPDX-License-Identifier: MPL-2.0 */
/* Where packets go to and leave from (section 16). Node 0 is the initiator. */
#include <errno.h>

#include "check.h"
#include "control/send.h"

static struct sim sim;

static void init(void)
{
	sim_init(&sim, 2, 4);
}

static void fini(void)
{
	sim_finish(&sim);
}

TestSuite(roaming, .init = init, .fini = fini);

/* Node @i changes its port, as behind a NAT. */
static void move(uint32_t i)
{
	sim.node[i].address.to.in4.sin_port++;
}

static struct endpoint endpoint_of(uint32_t of)
{
	struct endpoint e;
	endpoint_cell_get(&sim_peer(&sim, of, 1 - of)->endpoint, &e);
	return e;
}

static bool knows_address(uint32_t of)
{
	struct endpoint e = endpoint_of(of);
	return e.to.in4.sin_port == sim.node[1 - of].address.to.in4.sin_port;
}

static void arrive_from_elsewhere(uint32_t to, const uint8_t *data, uint32_t len)
{
	struct endpoint from = sim.node[1 - to].address;
	from.to.in4.sin_port = 9;
	sim_inject(&sim, to, &from, data, len);
	sim_run(&sim, 0);
}

/* --- P-340 --- */

Test(roaming, p340_p342_accepted_initiation_moves_the_endpoint_of_its_response)
{
	move(0);
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 0.015);
	cr_assert(knows_address(1));
	cr_assert(eq(u16, sim_last_sent(&sim.node[1], 2, 0)->to.to.in4.sin_port,
		     sim.node[0].address.to.in4.sin_port));
}

Test(roaming, p340_p342_accepted_response_moves_the_endpoint)
{
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 0.005);
	struct sim_node *n = &sim.node[1];
	n->address.to.in4.sin_port++; /* the initiation is on its way all the same */
	sim_run_sec(&sim, 1);
	cr_assert(knows_address(0));
	cr_assert(eq(u32, n->n_delivered, 1)); /* the data went to the new place */
}

Test(roaming, p340_data_and_keepalives_move_the_endpoint_at_once)
{
	bring_up(&sim);
	move(0);
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 0.1);
	cr_assert(knows_address(1));
	sim_send(&sim, 1, 0, 3);
	sim_run_sec(&sim, 0.1);
	cr_assert(eq(u32, sim.node[0].n_delivered, 1));
	move(0);
	arrive_sealed(&sim, 0, 500, NULL, 0);
	cr_assert(knows_address(1));
}

Test(roaming, p340_p265_refused_inner_packets_move_it_as_well)
{
	static const uint8_t runt[16] = { 0x45 };
	uint8_t spoofed[28];

	bring_up(&sim);
	move(0);
	arrive_sealed(&sim, 0, 500, runt, sizeof(runt));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_RX_BAD_INNER), 1));
	cr_assert(knows_address(1));
	move(0);
	sim_inner(spoofed, 77, 1, 1, sizeof(spoofed));
	arrive_sealed(&sim, 0, 501, spoofed, sizeof(spoofed));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_RX_NOT_ALLOWED), 1));
	cr_assert(knows_address(1));
}

Test(roaming, staged_packets_follow_the_message_that_releases_them)
{
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 0.015); /* node 1 has answered, the session is not confirmed */
	for (unsigned i = 0; i < 5; i++)
		sim_send(&sim, 1, 0, 10 + i);
	sim_run(&sim, 0);
	cr_assert(eq(u32, sim_peer(&sim, 1, 0)->staged.n, 5));
	sim_run_sec(&sim, 0.006); /* the initiator has the response, its data are on their way */
	struct sim_flight *none = sim.flights;
	cr_assert(none != NULL);
	move(0);
	arrive_sealed(&sim, 0, 500, NULL, 0); /* comes first, from the new place */
	sim_run_sec(&sim, 0.1);
	cr_assert(eq(u32, sim.node[0].n_delivered, 5));
}

/* --- P-341 --- */

Test(roaming, p341_row30_replayed_and_forged_transport_does_not)
{
	uint8_t datagram[32];

	bring_up(&sim);
	uint32_t n = sim_seal(session_of(&sim, 0), 500, NULL, 0, datagram);
	arrive(&sim, 0, 1, datagram, n);
	arrive_from_elsewhere(1, datagram, n); /* replayed */
	cr_assert(knows_address(1));
	n = sim_seal(session_of(&sim, 0), 501, NULL, 0, datagram);
	datagram[20] ^= 1;
	arrive_from_elsewhere(1, datagram, n);
	cr_assert(knows_address(1));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_RX_REPLAY), 1));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_RX_BAD_TAG), 1));
}

Test(roaming, p341_replayed_and_flooding_initiations_do_not)
{
	bring_up(&sim);
	struct sim_sent old = *sim_last_sent(&sim.node[0], 1, 0);
	arrive_from_elsewhere(1, old.data, old.len);
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_REPLAY), 1));
	cr_assert(knows_address(1));

	sim.link.is_cut = true;
	for (unsigned i = 0; i < 2; i++) {
		sim.node[0].realtime_offset_ns += (int64_t)NSEC_PER_SEC;
		timers_allow_initiation(timers_of(&sim, 0));
		send_first_initiation(&sim.node[0].control, sim_peer(&sim, 0, 1), sim.now_ns);
	}
	arrive(&sim, 0, 1, sim_last_sent(&sim.node[0], 1, 1)->data, 148);
	arrive_from_elsewhere(1, sim_last_sent(&sim.node[0], 1, 0)->data, 148);
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_FLOOD), 1));
	cr_assert(knows_address(1));
}

static struct sim_sent cookie_reply;

static bool keep_cookie_reply(struct sim *s, struct sim_node *from, uint8_t *data, uint32_t len)
{
	if (data[0] != 3)
		return true;
	cookie_reply.len = len;
	memcpy(cookie_reply.data, data, len);
	return false;
}

Test(roaming, p341_p109_row30_cookie_reply_moves_nothing)
{
	sim.on_send = keep_cookie_reply;
	sim.node[1].control.under_load_until_ns = UINT64_MAX;
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 0.1);
	cr_assert(eq(u32, cookie_reply.len, 64));
	arrive_from_elsewhere(0, cookie_reply.data, cookie_reply.len);
	cr_assert(sim_peer(&sim, 0, 1)->cookie_jar.has_cookie);
	cr_assert(knows_address(0));
}

/* --- P-343 --- */

Test(roaming, p343_configured_endpoint_replaces_forgets_the_source_and_is_quiet)
{
	sim.node[0].local.s_addr = 0x0100000a;
	bring_up_idle(&sim);
	struct endpoint e = endpoint_of(0);
	cr_assert(endpoint_has_source(&e));
	uint64_t n = sim.node[0].n_sent;
	move(1);
	sim_configure(
		&sim, 0, 1,
		(struct config_peer){ .has_endpoint = true, .endpoint = sim.node[1].address });
	sim_run_sec(&sim, 60);
	cr_assert(eq(u64, sim.node[0].n_sent, n));
	e = endpoint_of(0);
	cr_assert(not(endpoint_has_source(&e)));
	cr_assert(knows_address(0));
}

/* --- P-345 to P-348: sticky source --- */

static bool left_with_source(uint32_t node, uint8_t type)
{
	return endpoint_has_source(&sim_last_sent(&sim.node[node], type, 0)->to);
}

Test(roaming, p345_replies_leave_from_the_address_that_was_used)
{
	sim.node[1].local.s_addr = 0x0100000a;
	bring_up(&sim);
	cr_assert(left_with_source(1, 2));
	sim_send(&sim, 1, 0, 2);
	sim_run_sec(&sim, 0.1);
	cr_assert(left_with_source(1, 4));
	cr_assert(eq(u32, sim_last_sent(&sim.node[1], 4, 0)->to.from.in4.s_addr, 0x0100000a));
	sim.node[1].local.s_addr = 0x0200000a; /* the peer uses our other address now */
	sim_send(&sim, 0, 1, 3);
	sim_run_sec(&sim, 0.1);
	sim_send(&sim, 1, 0, 4);
	sim_run_sec(&sim, 0.1);
	cr_assert(eq(u32, sim_last_sent(&sim.node[1], 4, 0)->to.from.in4.s_addr, 0x0200000a));
}

static void bring_up_sticky(void)
{
	sim.node[0].local.s_addr = 0x0100000a;
	bring_up_idle(&sim);
	struct endpoint e = endpoint_of(0);
	cr_assert(endpoint_has_source(&e));
}

static void check_source_forgotten(void)
{
	struct endpoint e = endpoint_of(0);
	cr_assert(not(endpoint_has_source(&e)));
	cr_assert(eq(u32, e.from_ifindex, 0));
	cr_assert(knows_address(0)); /* that stays */
}

Test(roaming, p346_cleared_by_retransmission)
{
	bring_up_sticky();
	sim_run_sec(&sim, 200);
	sim.link.is_cut = true;
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 1);
	cr_assert(left_with_source(0, 1));
	sim_run_sec(&sim, 5);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 3));
	cr_assert(not(left_with_source(0, 1)));
	check_source_forgotten();
}

Test(roaming, p346_cleared_by_new_handshake_expiry)
{
	bring_up_sticky();
	sim.node[1].is_mute = true;
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 16);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 2));
	cr_assert(not(left_with_source(0, 1)));
	check_source_forgotten();
}

Test(roaming, p346_cleared_by_fwmark_and_port_change)
{
	bring_up_sticky();
	struct config_set set = { .has_fwmark = true, .fwmark = 5 };
	cr_assert(eq(int, control_apply(&sim.node[0].control, &set, sim.now_ns), 0));
	check_source_forgotten();
	sim_send(&sim, 1, 0, 9);
	sim_run_sec(&sim, 1);
	struct endpoint e = endpoint_of(0);
	cr_assert(endpoint_has_source(&e));
	set = (struct config_set){ .has_listen_port = true, .listen_port = 7777 };
	cr_assert(eq(int, control_apply(&sim.node[0].control, &set, sim.now_ns), 0));
	check_source_forgotten();
	cr_assert(sim_has_session(&sim, 0, 1)); /* P-364 */
}

Test(roaming, p346_same_port_and_mark_change_nothing)
{
	bring_up_sticky();
	struct config_set set = { .has_fwmark = true,
				  .has_listen_port = true,
				  .listen_port = sim.node[0].control.listen_port };
	cr_assert(eq(int, control_apply(&sim.node[0].control, &set, sim.now_ns), 0));
	struct endpoint e = endpoint_of(0);
	cr_assert(endpoint_has_source(&e));
}

Test(roaming, p347_row66_unusable_source_is_dropped_and_the_packet_sent_again)
{
	static const int errors[] = { -EINVAL, -EADDRNOTAVAIL, -ENODEV, -ENETUNREACH,
				      -EHOSTUNREACH };

	bring_up_sticky();
	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
		sim_send(&sim, 1, 0, 9);
		sim_run_sec(&sim, 1);
		sim.node[0].source_error = errors[i];
		uint64_t tx = tx_bytes(&sim, 0);
		uint64_t n_errors = sim.node[0].n_send_errors;
		uint32_t n = sim.node[1].n_delivered;
		sim_send(&sim, 0, 1, 50 + i); /* by the worker */
		sim_run_sec(&sim, 1);
		cr_assert(eq(u32, sim.node[1].n_delivered, n + 1));
		cr_assert(eq(u64, sim.node[0].n_send_errors, n_errors + 1));
		cr_assert(eq(u64, tx_bytes(&sim, 0), tx + 64));
		check_source_forgotten();
		sim.node[0].source_error = 0;
	}
}

Test(roaming, p347_in_the_control_thread_too)
{
	bring_up_sticky();
	sim_run_sec(&sim, 200);
	sim.node[0].local.s_addr = 0;
	sim.node[0].source_error = -ENETUNREACH;
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim.node[0].n_send_errors, 1));
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 2));
	cr_assert(eq(u32, sim.node[1].n_delivered, 2));
}

Test(roaming, p347_other_errors_keep_the_source_and_lose_the_packet)
{
	bring_up_sticky();
	sim.node[0].source_error = -EPERM;
	uint64_t tx = tx_bytes(&sim, 0);
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim.node[0].n_send_errors, 1));
	cr_assert(eq(u64, sim_drops(&sim, 0, DROP_TX_SEND_FAILED), 1));
	cr_assert(eq(u64, tx_bytes(&sim, 0), tx));
	struct endpoint e = endpoint_of(0);
	cr_assert(endpoint_has_source(&e));
}

static bool holds_nothing(void *ctx, const struct endpoint *e)
{
	++*(unsigned *)ctx;
	return false;
}

static bool holds_everything(void *ctx, const struct endpoint *e)
{
	return true;
}

Test(roaming, p348_row85_sources_are_checked_again_on_request)
{
	unsigned n_asked = 0;

	bring_up_sticky();
	control_check_sources(&sim.node[0].control, holds_everything, NULL);
	struct endpoint e = endpoint_of(0);
	cr_assert(endpoint_has_source(&e));
	control_check_sources(&sim.node[0].control, holds_nothing, &n_asked);
	cr_assert(eq(uint, n_asked, 1));
	check_source_forgotten();
	control_check_sources(&sim.node[0].control, holds_nothing, &n_asked);
	cr_assert(eq(uint, n_asked, 1)); /* there is none to ask for */
}

Test(roaming, p320_no_endpoint_no_packet_and_an_answer)
{
	struct sim_node *n = &sim.node[0];

	sim_configure(&sim, 0, 1, (struct config_peer){ .remove = true });
	struct config_allowed_ip ip = { .addr = { 10, 0, 0, 1 }, .len = 32 };
	struct config_peer section = { .n_allowed_ips = 1 };
	struct config_set set = {
		.peers = &section, .n_peers = 1, .allowed_ips = &ip, .n_allowed_ips = 1
	};
	memcpy(section.public_key, sim.node[1].public_key, 32);
	cr_assert(eq(int, control_apply(&n->control, &set, sim.now_ns), 0));
	sim_send_len(&sim, 0, 1, 1, 40);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim_drops(&sim, 0, DROP_TX_NO_ENDPOINT), 1));
	cr_assert(eq(u64, n->n_icmp, 1));
	cr_assert(eq(u64, n->n_sent, 0));
	sim_send(&sim, 0, 9, 1); /* nobody's address */
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim_drops(&sim, 0, DROP_TX_NO_PEER), 1));
	cr_assert(eq(u64, n->n_icmp, 2));
	sim_send(&sim, 1, 0, 5); /* the peer comes by itself: learned from its initiation */
	sim_run_sec(&sim, 1);
	sim_send(&sim, 0, 1, 6);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u32, sim.node[1].n_delivered, 1));
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Floods of handshake messages, and cookies end to end (sections 6 and 7). Node 1 is flooded. */
#include <arpa/inet.h>

#include "check.h"
#include "control/receive.h"
#include "control/send.h"
#include "crypto/blake2s.h"
#include "noise/cookie.h"

static struct sim sim;

static void init(void)
{
	sim_init(&sim, 2, 7);
}

static void fini(void)
{
	sim_finish(&sim);
}

TestSuite(load, .init = init, .fini = fini);

static struct endpoint stranger(uint32_t addr, uint16_t port)
{
	struct endpoint e = { 0 };

	e.to.in4.sin_family = AF_INET;
	e.to.in4.sin_addr.s_addr = htonl(addr);
	e.to.in4.sin_port = htons(port);
	return e;
}

/* An initiation with nothing right but mac1. */
static void make_garbage(struct message_initiation *msg)
{
	static struct handshake hs;
	struct cookie_jar jar = { 0 };
	uint8_t *b = (uint8_t *)msg;

	if (hs.mac1_key[0] == 0)
		handshake_init(&hs, sim.node[1].public_key);
	for (size_t i = 0; i < sizeof(*msg); i++)
		b[i] = (uint8_t)sim_random(&sim);
	msg->type = le32(MESSAGE_INITIATION);
	cookie_jar_add_macs(&jar, &hs, b, sizeof(*msg), 0);
}

/* @n messages at once, each from an address of its own. */
static void flood(uint32_t n)
{
	struct message_initiation msg;

	make_garbage(&msg);
	for (uint32_t i = 0; i < n; i++) {
		struct endpoint from = stranger(sim_random(&sim), 1000);
		sim_inject(&sim, 1, &from, (const uint8_t *)&msg, sizeof(msg));
	}
}

/* The hook that P-121 advises. */
static void force_load(uint32_t of, bool on)
{
	sim.node[of].control.under_load_until_ns = on ? UINT64_MAX : 0;
}

/* mac2 by the secret that node 1 has now, which is drawn if need be. */
static void add_mac2(struct message_initiation *msg, const struct endpoint *from)
{
	struct cookie_checker *c = &sim.node[1].control.cookies;
	uint8_t source[COOKIE_SOURCE_MAX_LEN], cookie[COOKIE_LEN];
	size_t n = endpoint_source_bytes(source, from);

	if (!c->has_secret) {
		uint8_t secret[COOKIE_SECRET_LEN] = { 1, 2, 3 };
		cookie_checker_renew(c, secret, sim.now_ns);
	}
	blake2s_mac(cookie, (struct bytes){ c->secret, sizeof(c->secret) },
		    (struct bytes){ source, n });
	blake2s_mac(msg->macs.mac2, (struct bytes){ cookie, sizeof(cookie) },
		    (struct bytes){ (uint8_t *)msg, 132 });
}

static void arrive_from(const struct endpoint *from, const struct message_initiation *msg)
{
	sim_inject(&sim, 1, from, (const uint8_t *)msg, sizeof(*msg));
	sim_run(&sim, 0);
}

static uint64_t n_cookies(uint32_t of)
{
	return sim.node[of].n_sent_of_type[3];
}

/* --- when is load --- */

Test(load, p121_row28_100_initiations_per_second_are_no_load)
{
	bring_up(&sim);
	for (unsigned i = 0; i < 2000; i++) {
		timers_allow_initiation(timers_of(&sim, 0));
		sim.node[0].realtime_offset_ns += 20 * (int64_t)NSEC_PER_MSEC;
		send_first_initiation(&sim.node[0].control, sim_peer(&sim, 0, 1), sim.now_ns);
		sim_run(&sim, 20 * NSEC_PER_MSEC);
		struct message_initiation msg;
		make_garbage(&msg);
		struct endpoint from = stranger(sim_random(&sim), 1000);
		sim_inject(&sim, 1, &from, (const uint8_t *)&msg, sizeof(msg));
	}
	cr_assert(eq(u64, n_cookies(1), 0));
	cr_assert(ge(u64, sim.node[1].n_sent_of_type[2], 1990));
}

Test(load, p120_p121_row27_flood_triggers_cookies_whoever_sends)
{
	flood(2500);
	cr_assert(gt(u64, n_cookies(1), 100));
	cr_assert(le(u32, sim.node[1].control.queue.n, 2100));
	cr_assert(receive_is_under_load(&sim.node[1].control, sim.now_ns));
	sim_run_sec(&sim, 0.5);
	uint64_t n = n_cookies(1);
	flood(10); /* row 29: each one gets its answer, and a smaller one */
	cr_assert(eq(u64, n_cookies(1), n + 10));
	const struct sim_sent *x = sim_last_sent(&sim.node[1], 3, 0);
	cr_assert(eq(u32, x->len, 64));
	cr_assert(eq(u8, x->tos, 0)); /* P-106 */
}

Test(load, p120_p121c_ends_one_second_after_the_last_observation)
{
	struct endpoint from = stranger(0x01020304, 5);
	struct message_initiation msg;

	make_garbage(&msg);
	flood(2500);
	sim_run(&sim, NSEC_PER_SEC - 1);
	arrive_from(&from, &msg);
	uint64_t n = n_cookies(1);
	cr_assert(receive_is_under_load(&sim.node[1].control, sim.now_ns));
	sim_run(&sim, 1);
	arrive_from(&from, &msg);
	cr_assert(eq(u64, n_cookies(1), n));
	cr_assert(not(receive_is_under_load(&sim.node[1].control, sim.now_ns)));
}

Test(load, row76_device_without_peers_recovers_too)
{
	struct config_set set = { .replace_peers = true };

	cr_assert(eq(int, control_apply(&sim.node[1].control, &set, sim.now_ns), 0));
	for (unsigned i = 0; i < 3; i++) {
		flood(2500);
		sim_run_sec(&sim, 0.3);
	}
	cr_assert(eq(u32, sim.node[1].control.queue.n, 0));
	sim_run_sec(&sim, 1);
	cr_assert(not(receive_is_under_load(&sim.node[1].control, sim.now_ns)));
}

Test(load, p126_backlog_is_bounded)
{
	struct message_initiation msg;

	make_garbage(&msg);
	force_load(1, true);
	for (uint32_t i = 0; i < HANDSHAKE_QUEUE_LEN + 50; i++) {
		struct endpoint from = stranger(0x0b000000 + i, 9);
		add_mac2(&msg, &from);
		sim_inject(&sim, 1, &from, (const uint8_t *)&msg, sizeof(msg));
	}
	cr_assert(eq(u32, sim.node[1].control.queue.n, HANDSHAKE_QUEUE_LEN));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_QUEUE_FULL), 50));
	cr_assert(eq(u64, n_cookies(1), 0));
}

Test(load, p127_sessions_flow_during_a_flood)
{
	bring_up(&sim);
	for (unsigned i = 0; i < 20; i++) {
		flood(2200);
		sim_send(&sim, 0, 1, i);
		sim_send(&sim, 1, 0, i);
		sim_run_sec(&sim, 0.1);
	}
	cr_assert(eq(u32, sim.node[1].n_delivered, 21));
	cr_assert(eq(u32, sim.node[0].n_delivered, 20));
}

/* --- honest peers --- */

Test(load, p102_p109_p122_row27_honest_initiator_gets_in_with_a_cookie)
{
	static const uint8_t zero[16];

	force_load(1, true);
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 0.5);
	cr_assert(eq(u64, n_cookies(1), 1));
	const struct sim_sent *x = sim_last_sent(&sim.node[0], 1, 0);
	cr_assert(memcmp(x->data + 132, zero, 16) == 0);
	cr_assert(sim_peer(&sim, 0, 1)->cookie_jar.has_cookie);
	cr_assert(eq(u64, sim.node[0].n_sent, 1)); /* the cookie reply made it send nothing */
	cr_assert(eq(u64, rx_bytes(&sim, 0), 0));  /* nor is it counted, */
	cr_assert(eq(u64, tx_bytes(&sim, 1), 0));  /* on either side */
	sim_run_sec(&sim, 5.5);                    /* the regular retransmission */
	x = sim_last_sent(&sim.node[0], 1, 0);
	cr_assert(memcmp(x->data + 132, zero, 16) != 0);
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 2));
	cr_assert(sim_has_session(&sim, 0, 1) && sim_has_session(&sim, 1, 0));
	cr_assert(eq(u32, sim.node[1].n_delivered, 1));
}

Test(load, p122_responses_need_a_cookie_as_well)
{
	force_load(0, true);
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 0.5);
	cr_assert(eq(u64, n_cookies(0), 1));
	cr_assert(sim_peer(&sim, 1, 0)->cookie_jar.has_cookie);
	cr_assert(not(sim_has_session(&sim, 0, 1)));
	sim_run_sec(&sim, 6); /* the next response has mac2 */
	cr_assert(eq(u64, n_cookies(0), 1));
	cr_assert(sim_has_session(&sim, 0, 1) && sim_has_session(&sim, 1, 0));
}

Test(load, p122_both_sides_under_load)
{
	force_load(0, true);
	force_load(1, true);
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 12);
	cr_assert(sim_has_session(&sim, 0, 1) && sim_has_session(&sim, 1, 0));
	cr_assert(eq(u32, sim.node[1].n_delivered, 1));
}

Test(load, p107_second_reply_to_one_mac1_is_ignored)
{
	struct cookie_jar before;

	force_load(1, true);
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 0.5);
	memcpy(&before, &sim_peer(&sim, 0, 1)->cookie_jar, sizeof(before));
	sim_run_sec(&sim, 0.5);
	arrive(&sim, 1, 0, sim_last_sent(&sim.node[1], 3, 0)->data, 64);
	cr_assert(memcmp(&before, &sim_peer(&sim, 0, 1)->cookie_jar, sizeof(before)) == 0);
	cr_assert(eq(u64, sim_drops(&sim, 0, DROP_HS_INVALID), 1));
}

Test(load, p107_reply_is_found_by_the_index_of_a_session_too)
{
	bring_up(&sim);
	/* the response's mac1 was node 1's last; its index is that of the session now */
	struct message_cookie_reply reply;
	struct cookie_checker checker = { .has_secret = true, .secret = { 7 } };
	struct sim_sent response = *sim_last_sent(&sim.node[1], 2, 0);
	uint8_t nonce[24] = { 1 };
	cookie_create_reply(&reply, &checker, sim.node[0].device.identity, response.data, 92,
			    (struct bytes){ nonce, 6 }, nonce);
	arrive(&sim, 0, 1, (uint8_t *)&reply, sizeof(reply));
	cr_assert(sim_peer(&sim, 1, 0)->cookie_jar.has_cookie);
}

static bool last_has_mac2(void)
{
	static const uint8_t zero[16];
	return memcmp(sim_last_sent(&sim.node[0], 1, 0)->data + 132, zero, 16) != 0;
}

Test(load, p108_cookie_is_used_for_115_s)
{
	struct peer *p = sim_peer(&sim, 0, 1);

	force_load(1, true);
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 0.5);
	sim.link.is_cut = true;
	uint64_t end = p->cookie_jar.received_ns + 115 * NSEC_PER_SEC;
	sim_run(&sim, end - 1 - sim.now_ns);
	timers_allow_initiation(&p->timers);
	send_first_initiation(&sim.node[0].control, p, sim.now_ns);
	cr_assert(last_has_mac2());
	sim_run(&sim, 1);
	timers_allow_initiation(&p->timers);
	send_first_initiation(&sim.node[0].control, p, sim.now_ns);
	cr_assert(not(last_has_mac2()));
}

/* --- the refusing side --- */

Test(load, p103_mac2_is_not_looked_at_without_load)
{
	struct message_initiation msg;
	struct endpoint from = stranger(0x01020304, 5);

	make_garbage(&msg);
	memset(msg.macs.mac2, 0x5a, sizeof(msg.macs.mac2));
	sim_inject(&sim, 1, &from, (const uint8_t *)&msg, sizeof(msg));
	cr_assert(eq(u32, sim.node[1].control.queue.n, 1));
	cr_assert(eq(u64, n_cookies(1), 0));
}

Test(load, p104_row26_cookie_is_bound_to_address_and_port)
{
	struct message_initiation msg;
	struct endpoint from = stranger(0x01020304, 5);
	struct endpoint other_port = stranger(0x01020304, 6);
	struct endpoint other_address = stranger(0x01020305, 5);

	make_garbage(&msg);
	force_load(1, true);
	add_mac2(&msg, &from);
	arrive_from(&from, &msg);
	cr_assert(eq(u64, n_cookies(1), 0));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_INVALID), 1));
	arrive_from(&other_port, &msg);
	cr_assert(eq(u64, n_cookies(1), 1));
	arrive_from(&other_address, &msg);
	cr_assert(eq(u64, n_cookies(1), 2));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_INVALID), 1));
}

Test(load, p105_secret_is_replaced_when_it_is_120_s_old)
{
	struct message_initiation msg;
	struct endpoint from = stranger(0x01020304, 5);

	make_garbage(&msg);
	force_load(1, true);
	add_mac2(&msg, &from);
	sim_run_sec(&sim, 119.999);
	arrive_from(&from, &msg);
	cr_assert(eq(u64, n_cookies(1), 0));
	sim_run_sec(&sim, 0.001);
	arrive_from(&from, &msg);
	cr_assert(eq(u64, n_cookies(1), 1));
}

/* How many of @n messages at once get past the token bucket. */
static uint64_t n_passing(const struct endpoint *from, const struct message_initiation *msg,
			  unsigned n)
{
	uint64_t before = sim_drops(&sim, 1, DROP_HS_INVALID);
	for (unsigned i = 0; i < n; i++)
		arrive_from(from, msg);
	return sim_drops(&sim, 1, DROP_HS_INVALID) - before;
}

Test(load, p123_token_bucket_per_source_under_load)
{
	struct message_initiation msg;
	struct endpoint from = stranger(0x01020304, 5);
	struct endpoint other = stranger(0x01020305, 5);

	make_garbage(&msg);
	force_load(1, true);
	add_mac2(&msg, &from);
	cr_assert(eq(u64, n_passing(&from, &msg, 6), 5));
	sim_run(&sim, 50 * NSEC_PER_MSEC);
	cr_assert(eq(u64, n_passing(&from, &msg, 2), 1));
	sim_run(&sim, 100 * NSEC_PER_MSEC);
	cr_assert(eq(u64, n_passing(&from, &msg, 3), 2));
	cr_assert(eq(u64, n_cookies(1), 0)); /* refused silently */
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_RATE_LIMITED), 3));
	add_mac2(&msg, &other);
	cr_assert(eq(u64, n_passing(&other, &msg, 6), 5));
}

Test(load, p125_no_limit_per_source_without_load)
{
	struct message_initiation msg;
	struct endpoint from = stranger(0x01020304, 5);

	make_garbage(&msg);
	cr_assert(eq(u64, n_passing(&from, &msg, 300), 300));
}

Test(load, p106_no_peer_state_is_touched)
{
	struct peer *p = sim_peer(&sim, 1, 0);
	struct handshake hs;

	force_load(1, true);
	memcpy(&hs, &p->handshake, sizeof(hs));
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, n_cookies(1), 1));
	cr_assert(memcmp(&hs, &p->handshake, sizeof(hs)) == 0);
	cr_assert(eq(u32, load_le32(sim_last_sent(&sim.node[1], 3, 0)->data + 4),
		     load_le32(sim_last_sent(&sim.node[0], 1, 0)->data + 4)));
}

/* SPDX-License-Identifier: MPL-2.0 */
/* How sessions come to be, are renewed and end (sections 4, 5 and 9). Node 0 initiates first. */
#include "check.h"
#include "control/send.h"
#include "noise/cookie.h"

enum { MAX_CAPTURED = 16 };

static struct sim sim;

/* Messages that the link kept for itself. */
static struct {
	uint8_t data[148];
	uint32_t len;
} captured[MAX_CAPTURED];
static uint32_t n_captured;
static uint8_t captured_type; /* only this one */

static bool capture(struct sim *s, struct sim_node *from, uint8_t *data, uint32_t len)
{
	if (data[0] != captured_type)
		return true;
	cr_assert(n_captured < MAX_CAPTURED && len <= sizeof(captured[0].data));
	memcpy(captured[n_captured].data, data, len);
	captured[n_captured++].len = len;
	return false;
}

static void capture_type(uint8_t type)
{
	captured_type = type;
	sim.on_send = capture;
}

static void arrive_captured(uint32_t from, uint32_t to, uint32_t i)
{
	arrive(&sim, from, to, captured[i].data, captured[i].len);
}

/* mac1 of a message that was changed on its way to node @to. */
static void fix_mac1(uint32_t to, uint32_t i)
{
	struct handshake hs;
	struct cookie_jar jar = { 0 };

	handshake_init(&hs, sim.node[to].public_key);
	cookie_jar_add_macs(&jar, &hs, captured[i].data, captured[i].len, 0);
}

/* Node @of starts a handshake now, whatever the timers say. The clock moves on, so that the message
 * is newer than the one before. */
static void initiate(uint32_t of)
{
	struct peer *p = sim_peer(&sim, of, 1 - of);

	sim_run_sec(&sim, 0.1);
	timers_allow_initiation(&p->timers);
	send_first_initiation(&sim.node[of].control, p, sim.now_ns);
}

static void init(void)
{
	sim_init(&sim, 2, 1);
}

static void fini(void)
{
	sim_finish(&sim);
}

TestSuite(session, .init = init, .fini = fini);

Test(session, first_packet_brings_up_a_session_both_ways)
{
	sim_send(&sim, 0, 1, 7);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u32, sim.node[1].n_delivered, 1));
	cr_assert(eq(u32, sim.node[1].delivered[0], 7));
	sim_send(&sim, 1, 0, 8);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u32, sim.node[0].n_delivered, 1));
	cr_assert(eq(u64, sim.node[0].n_sent_of_type[1], 1));
	cr_assert(eq(u64, sim.node[1].n_sent_of_type[2], 1));
	cr_assert(sim_has_session(&sim, 0, 1));
	cr_assert(sim_has_session(&sim, 1, 0));
}

/* --- replay and flood of initiations --- */

Test(session, p055_row34_replayed_initiation_is_dropped)
{
	capture_type(1);
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 1);
	sim.on_send = NULL;
	arrive_captured(0, 1, 0);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u64, sim.node[1].n_sent_of_type[2], 1));
	arrive_captured(0, 1, 0);
	cr_assert(eq(u64, sim.node[1].n_sent_of_type[2], 1));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_REPLAY), 1));
}

Test(session, p056_row34_at_most_50_initiations_per_second)
{
	uint64_t n = 0;

	bring_up(&sim);
	n = sim.node[1].n_sent_of_type[2];
	for (unsigned i = 0; i < 1000; i++) { /* one per ms; time of day runs faster */
		sim.node[0].realtime_offset_ns += (int64_t)NSEC_PER_SEC;
		timers_allow_initiation(timers_of(&sim, 0));
		send_first_initiation(&sim.node[0].control, sim_peer(&sim, 0, 1), sim.now_ns);
		sim_run(&sim, NSEC_PER_MSEC);
	}
	sim_run_sec(&sim, 0.02);
	n = sim.node[1].n_sent_of_type[2] - n;
	cr_assert(eq(u64, n, 50));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_FLOOD), 950));
}

Test(session, p056_timestamp_of_a_flooding_initiation_is_not_stored)
{
	bring_up(&sim);
	capture_type(1);
	initiate(0);
	sim_run(&sim, 0);
	sim.node[0].realtime_offset_ns += (int64_t)NSEC_PER_SEC;
	timers_allow_initiation(timers_of(&sim, 0));
	send_first_initiation(&sim.node[0].control, sim_peer(&sim, 0, 1), sim.now_ns);
	sim.on_send = NULL;
	cr_assert(eq(u32, n_captured, 2));
	arrive_captured(0, 1, 0);
	sim_run(&sim, 19 * NSEC_PER_MSEC);
	arrive_captured(0, 1, 1);
	cr_assert(eq(u64, sim.node[1].n_sent_of_type[2], 2));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_FLOOD), 1));
	sim_run(&sim, NSEC_PER_MSEC);
	arrive_captured(0, 1, 1);
	cr_assert(eq(u64, sim.node[1].n_sent_of_type[2], 3));
}

static void check_still_refused(void)
{
	uint64_t n = sim_drops(&sim, 1, DROP_HS_REPLAY);
	arrive_captured(0, 1, 0);
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_REPLAY), n + 1));
}

Test(session, p058_greatest_timestamp_survives_all_but_removal)
{
	struct config_set set = { .has_private_key = true };

	capture_type(1);
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 1);
	arrive_captured(0, 1, 0);
	sim.on_send = NULL;
	sim_run_sec(&sim, 10);
	check_still_refused();
	sim_set_up(&sim, 1, false);
	sim_set_up(&sim, 1, true);
	check_still_refused();
	sim_configure(&sim, 1, 0, (struct config_peer){ .has_keepalive = true });
	check_still_refused();
	set.private_key[3] = 77;
	cr_assert(eq(int, control_apply(&sim.node[1].control, &set, sim.now_ns), 0));
	memcpy(set.private_key, sim.node[1].private_key, 32);
	cr_assert(eq(int, control_apply(&sim.node[1].control, &set, sim.now_ns), 0));
	check_still_refused();
	sim_set_up(&sim, 0, false);
	sim_run_sec(&sim, 600); /* all sessions are gone */
	check_still_refused();

	sim_configure(&sim, 1, 0, (struct config_peer){ .remove = true });
	sim_configure(&sim, 1, 0, (struct config_peer){ 0 });
	uint64_t n = sim.node[1].n_sent_of_type[2];
	arrive_captured(0, 1, 0);
	cr_assert(eq(u64, sim.node[1].n_sent_of_type[2], n + 1));
}

/* --- responses --- */

static bool next_exists_when_sending(struct sim *s, struct sim_node *from, uint8_t *data,
				     uint32_t len)
{
	if (data[0] == 2)
		cr_assert(sim_peer(s, 1, 0)->next != NULL);
	return true;
}

Test(session, p065_responder_derives_before_it_answers)
{
	sim.on_send = next_exists_when_sending;
	bring_up(&sim);
	cr_assert(eq(u64, sim.node[1].n_sent_of_type[2], 1));
}

Test(session, p067_p068_pending_initiation_survives_bad_responses)
{
	static const uint8_t wrong_psk[32] = { 1 };
	struct config_peer psk = { .has_psk = true };

	capture_type(2);
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 0.1);
	sim.on_send = NULL;
	captured[1] = captured[0];
	captured[1].data[60] ^= 1; /* mac1 */
	arrive_captured(1, 0, 1);
	cr_assert(eq(u64, sim_drops(&sim, 0, DROP_HS_BAD_MAC1), 1));

	captured[1] = captured[0];
	captured[1].data[8] ^= 1; /* receiver index */
	fix_mac1(0, 1);
	arrive_captured(1, 0, 1);
	captured[1] = captured[0];
	captured[1].data[44] ^= 1; /* tag */
	fix_mac1(0, 1);
	arrive_captured(1, 0, 1);
	memcpy(psk.psk, wrong_psk, 32);
	sim_configure(&sim, 0, 1, psk); /* the key of now counts */
	arrive_captured(1, 0, 0);
	cr_assert(eq(u64, sim_drops(&sim, 0, DROP_HS_INVALID), 3));
	cr_assert(not(sim_has_session(&sim, 0, 1)));

	memset(psk.psk, 0, 32);
	sim_configure(&sim, 0, 1, psk);
	arrive_captured(1, 0, 0);
	cr_assert(sim_has_session(&sim, 0, 1));
}

Test(session, p069_only_the_newest_initiation_can_be_answered)
{
	capture_type(2);
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 6);
	cr_assert(eq(u32, n_captured, 2));
	sim.on_send = NULL;
	arrive_captured(1, 0, 0);
	cr_assert(not(sim_has_session(&sim, 0, 1)));
	arrive_captured(1, 0, 1);
	cr_assert(sim_has_session(&sim, 0, 1));
}

Test(session, p071_second_response_is_dropped)
{
	capture_type(2);
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 0.1);
	arrive_captured(1, 0, 0);
	struct session *x = session_of(&sim, 0);
	uint64_t rx = rx_bytes(&sim, 0);
	cr_assert(x != NULL);
	arrive_captured(1, 0, 0);
	cr_assert(eq(ptr, session_of(&sim, 0), x));
	cr_assert(eq(u64, rx_bytes(&sim, 0), rx));
}

Test(session, p073_simultaneous_initiations_lead_to_a_session)
{
	const uint64_t period = REKEY_TIMEOUT_NS + JITTER_NS + LATE_NS;
	uint32_t n_at_once = 0;

	for (uint64_t seed = 1; seed <= 10; seed++) {
		sim_finish(&sim);
		sim_init(&sim, 2, seed);
		sim_send(&sim, 0, 1, 1);
		sim_send(&sim, 1, 0, 2);
		sim_run(&sim, period + 4 * sim.link.delay_ns);
		n_at_once += sim.node[0].n_delivered == 1 && sim.node[1].n_delivered == 1;
		/* They collide again if both drew nearly the same jitter. */
		sim_run(&sim, 4 * period);
		cr_assert(eq(u32, sim.node[0].n_delivered, 1));
		cr_assert(eq(u32, sim.node[1].n_delivered, 1));
		cr_assert(sim_has_session(&sim, 0, 1) && sim_has_session(&sim, 1, 0));
	}
	cr_assert(ge(u32, n_at_once, 8));
}

Test(session, p073_simultaneous_while_both_keep_sending)
{
	sim_send(&sim, 0, 1, 0);
	sim_send(&sim, 1, 0, 0);
	for (unsigned i = 1; i < 60; i++) { /* not in step: or they meet again and again */
		sim_run_sec(&sim, 0.063);
		sim_send(&sim, 0, 1, i);
		sim_run_sec(&sim, 0.037);
		sim_send(&sim, 1, 0, i);
	}
	sim_run_sec(&sim, 1);
	/* everything arrives, the staged packets too */
	cr_assert(eq(u32, sim.node[0].n_delivered, 60));
	cr_assert(eq(u32, sim.node[1].n_delivered, 60));
}

/* Seconds until packets come through both ways, when both ends begin at once and keep sending at the
 * same moments. With @is_stubborn node 1 is due again after 5 s whatever happens. */
static double time_of_crossing(double one_way_sec, uint64_t seed, bool is_stubborn)
{
	sim_finish(&sim);
	sim_init(&sim, 2, seed);
	sim.link.delay_ns = (uint64_t)(one_way_sec * 1e9);
	uint64_t start = sim.now_ns, seen_ns = 0;
	while (!sim.node[0].n_delivered || !sim.node[1].n_delivered) {
		sim_send(&sim, 0, 1, 1);
		sim_send(&sim, 1, 0, 2);
		sim_run_sec(&sim, 0.05);
		const struct sim_sent *answer = sim_last_sent(&sim.node[1], 2, 0);
		if (is_stubborn && answer && answer->at_ns != seen_ns &&
		    sim.now_ns >= answer->at_ns + REKEY_TIMEOUT_NS) {
			seen_ns = answer->at_ns;
			timers_allow_initiation(timers_of(&sim, 1));
		}
		cr_assert(lt(u64, sim.now_ns - start, 300 * NSEC_PER_SEC), "never");
	}
	return (double)(sim.now_ns - start) / 1e9;
}

Test(session, p073_crossing_in_step_ends_with_the_next_attempt)
{
	static const double one_way_sec[] = { 0.01, 0.1, 0.3, 0.6 };

	for (size_t i = 0; i < ARRAY_SIZE(one_way_sec); i++)
		for (uint64_t seed = 1; seed <= 10; seed++) {
			double took = time_of_crossing(one_way_sec[i], seed, false);
			/* the answer to the first, 5 s, a round trip and a first packet */
			cr_assert(lt(dbl, took, 5.4 + 5 * one_way_sec[i]), "%.1f s: %.1f",
				  one_way_sec[i], took);
		}
}

Test(session, p073_crossing_with_an_end_that_never_waits)
{
	static const double one_way_sec[] = { 0.01, 0.1, 0.3, 0.6 };
	double sum = 0;

	for (size_t i = 0; i < ARRAY_SIZE(one_way_sec); i++)
		for (uint64_t seed = 1; seed <= 10; seed++)
			sum += time_of_crossing(one_way_sec[i], seed, true);
	cr_assert(lt(dbl, sum / 40, 15.0), "mean %.1f s", sum / 40);
}

/* --- indices --- */

Test(session, p090_p091_row38_indices_are_random_and_fresh)
{
	enum { N = 40 };
	uint32_t index[N];
	uint32_t all_or = 0, all_and = UINT32_MAX;

	bring_up(&sim);
	for (unsigned i = 0; i < N; i++) {
		initiate(0);
		index[i] = load_le32(sim_last_sent(&sim.node[0], 1, 0)->data + 4);
		cr_assert(eq(u32, index[i], sim_peer(&sim, 0, 1)->handshake_entry->index));
		sim_run_sec(&sim, 0.1);
		cr_assert(eq(u32, session_of(&sim, 0)->keypair.local_index, index[i])); /* P-091 */
		cr_assert(sim_peer(&sim, 0, 1)->handshake_entry == NULL);
		for (unsigned k = 0; k < i; k++)
			cr_assert(ne(u32, index[k], index[i]));
		all_or |= index[i];
		all_and &= index[i];
	}
	cr_assert(eq(u32, all_or, UINT32_MAX));
	cr_assert(eq(u32, all_and, 0));
}

Test(session, p092_transport_to_a_handshake_and_response_to_a_session)
{
	uint8_t datagram[64];

	bring_up(&sim);
	capture_type(1);
	initiate(0);
	uint32_t handshake_index = sim_peer(&sim, 0, 1)->handshake_entry->index;
	uint32_t n = sim_seal(session_of(&sim, 1), 100, NULL, 0, datagram);
	store_le32(datagram + 4, handshake_index);
	arrive(&sim, 1, 0, datagram, n);
	cr_assert(eq(u64, sim_drops(&sim, 0, DROP_RX_UNKNOWN_INDEX), 1));

	uint32_t session_index = session_of(&sim, 0)->keypair.local_index;
	capture_type(2);
	arrive_captured(0, 1, 0);
	cr_assert(eq(u32, n_captured, 2));
	sim.on_send = NULL;
	captured[2] = captured[1];
	store_le32(captured[2].data + 8, session_index);
	fix_mac1(0, 2);
	arrive_captured(1, 0, 2);
	cr_assert(eq(u64, sim_drops(&sim, 0, DROP_HS_INVALID), 1));
	arrive_captured(1, 0, 1); /* the real one still is good */
	cr_assert(ne(u32, session_of(&sim, 0)->keypair.local_index, session_index));
}

Test(session, p093_superseded_handshake_index_is_free_at_once)
{
	sim.link.is_cut = true;
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 1);
	uint32_t index = sim_peer(&sim, 0, 1)->handshake_entry->index;
	cr_assert(index_table_lookup(&sim.node[0].device.indices, index) != NULL);
	sim_run_sec(&sim, 5);
	cr_assert(index_table_lookup(&sim.node[0].device.indices, index) == NULL);
}

/* --- slots --- */

Test(session, p170_p174_previous_receives_but_never_sends_again)
{
	static struct session old;
	uint8_t inner[28], datagram[64];

	bring_up(&sim);
	memcpy(&old, session_of(&sim, 1), sizeof(old));
	initiate(0);
	sim_run_sec(&sim, 1);
	struct session *x = session_of(&sim, 0);
	cr_assert(ne(u32, x->keypair.local_index, old.keypair.remote_index));
	cr_assert(eq(u32, sim_peer(&sim, 0, 1)->previous->keypair.local_index,
		     old.keypair.remote_index));
	sim_inner(inner, 1, 0, 55, sizeof(inner));
	arrive(&sim, 1, 0, datagram, sim_seal(&old, 500, inner, sizeof(inner), datagram));
	cr_assert(eq(u32, sim.node[0].n_delivered, 1));
	cr_assert(eq(ptr, session_of(&sim, 0), x));
	sim_send(&sim, 0, 1, 3);
	sim_run(&sim, 0);
	cr_assert(eq(u32, load_le32(sim_last_sent(&sim.node[0], 4, 0)->data + 4),
		     x->keypair.remote_index));
}

Test(session, p171_initiator_moves_current_to_previous)
{
	bring_up(&sim);
	struct peer *p = sim_peer(&sim, 0, 1);
	struct session *first = session_of(&sim, 0);
	initiate(0);
	sim_run_sec(&sim, 0.1);
	struct session *second = session_of(&sim, 0);
	cr_assert(eq(ptr, p->previous, first));
	cr_assert(p->next == NULL);
	uint32_t first_index = first->keypair.local_index;
	initiate(0);
	sim_run_sec(&sim, 0.1);
	cr_assert(eq(ptr, p->previous, second));
	cr_assert(index_table_lookup(&sim.node[0].device.indices, first_index) == NULL);
}

Test(session, p171_initiator_with_a_next_moves_that_to_previous)
{
	bring_up(&sim);
	struct peer *p = sim_peer(&sim, 0, 1);
	uint32_t first_index = session_of(&sim, 0)->keypair.local_index;
	capture_type(2); /* node 1 never hears the answer: next stays unconfirmed */
	initiate(1);
	sim_run_sec(&sim, 0.05);
	struct session *next = p->next;
	cr_assert(next != NULL);
	sim.on_send = NULL;
	initiate(0);
	sim_run_sec(&sim, 0.05);
	cr_assert(eq(ptr, p->previous, next));
	cr_assert(p->next == NULL);
	cr_assert(session_of(&sim, 0)->keypair.is_initiator);
	cr_assert(index_table_lookup(&sim.node[0].device.indices, first_index) == NULL);
}

Test(session, p172_responder_destroys_previous_and_keeps_sending_with_current)
{
	bring_up(&sim);
	initiate(0);
	sim_run_sec(&sim, 0.1);
	struct peer *p = sim_peer(&sim, 1, 0);
	cr_assert(p->previous != NULL);
	uint32_t previous_index = p->previous->keypair.local_index;
	struct session *current = session_of(&sim, 1);

	capture_type(2);
	initiate(0);
	sim_run_sec(&sim, 0.05);
	cr_assert(p->next != NULL);
	cr_assert(p->previous == NULL);
	cr_assert(index_table_lookup(&sim.node[1].device.indices, previous_index) == NULL);
	cr_assert(eq(ptr, session_of(&sim, 1), current));
	sim_send(&sim, 1, 0, 9);
	sim_run(&sim, 0);
	cr_assert(eq(u32, load_le32(sim_last_sent(&sim.node[1], 4, 0)->data + 4),
		     current->keypair.remote_index));

	uint32_t next_index = p->next->keypair.local_index;
	initiate(0);
	sim_run_sec(&sim, 0.05);
	cr_assert(ne(u32, p->next->keypair.local_index, next_index));
	cr_assert(index_table_lookup(&sim.node[1].device.indices, next_index) == NULL);
}

Test(session, p173_row36_first_message_on_next_confirms_a_keepalive_too)
{
	bring_up(&sim);
	struct peer *p = sim_peer(&sim, 1, 0);
	struct session *old = session_of(&sim, 1);
	capture_type(4);
	initiate(0);
	sim_run_sec(&sim, 0.1);
	struct session *next = p->next;
	cr_assert(next != NULL && session_of(&sim, 1) == old);
	cr_assert(eq(u32, captured[0].len, 32));
	sim.on_send = NULL;
	arrive_captured(0, 1, 0);
	cr_assert(eq(ptr, session_of(&sim, 1), next));
	cr_assert(eq(ptr, p->previous, old));
	cr_assert(p->next == NULL);
}

Test(session, p173_message_on_current_does_not_confirm_next)
{
	bring_up(&sim);
	static struct session old;
	uint8_t datagram[64];
	memcpy(&old, session_of(&sim, 0), sizeof(old));
	capture_type(4);
	initiate(0);
	sim_run_sec(&sim, 0.1);
	struct session *current = session_of(&sim, 1);
	arrive(&sim, 0, 1, datagram, sim_seal(&old, 900, NULL, 0, datagram));
	cr_assert(eq(ptr, session_of(&sim, 1), current));
	cr_assert(sim_peer(&sim, 1, 0)->next != NULL);
}

Test(session, p175_unconfirmed_next_sends_nothing)
{
	sim.node[1].is_mute = true;
	sim_send(&sim, 0, 1, 1);
	sim_run_sec(&sim, 0.1);
	cr_assert(sim_peer(&sim, 1, 0)->next != NULL);
	sim_set_up(&sim, 0, false);
	sim_send(&sim, 1, 0, 2);
	sim_run_sec(&sim, 4.9);
	cr_assert(eq(u64, sim.node[1].n_sent_of_type[4], 0));
	cr_assert(eq(u64, sim_n_initiations(&sim, 1), 0)); /* P-221 */
	cr_assert(eq(u32, sim_peer(&sim, 1, 0)->staged.n, 1));
	sim_send(&sim, 1, 0, 3);
	sim_run_sec(&sim, 0.2);
	sim_send(&sim, 1, 0, 4);
	sim_run(&sim, 0);
	cr_assert(eq(u64, sim_n_initiations(&sim, 1), 1));
}

Test(session, p176_no_sending_from_180_s_on)
{
	bring_up(&sim);
	uint64_t birth = session_of(&sim, 1)->keypair.birth_ns; /* never rekeys by itself */
	sim_run(&sim, birth + REJECT_AFTER_TIME_NS - 1 - sim.now_ns);
	uint64_t n = sim.node[1].n_sent_of_type[4];
	sim_send(&sim, 1, 0, 2);
	sim_run(&sim, 0);
	cr_assert(eq(u64, sim.node[1].n_sent_of_type[4], n + 1));
	sim_run(&sim, 1);
	sim_send(&sim, 1, 0, 3);
	sim_run(&sim, 0);
	cr_assert(eq(u64, sim.node[1].n_sent_of_type[4], n + 1));
	cr_assert(eq(u64, sim_n_initiations(&sim, 1), 1));
}

Test(session, p176_p142_no_receiving_from_180_s_on)
{
	bring_up(&sim);
	sim.link.is_cut = true;
	uint64_t birth = session_of(&sim, 1)->keypair.birth_ns;
	uint64_t rx = rx_bytes(&sim, 1);
	sim_run(&sim, birth + REJECT_AFTER_TIME_NS - 1 - sim.now_ns);
	arrive_sealed(&sim, 0, 700, NULL, 0);
	cr_assert(eq(u64, rx_bytes(&sim, 1), rx + 32));
	sim_run(&sim, 1);
	arrive_sealed(&sim, 0, 701, NULL, 0);
	cr_assert(eq(u64, rx_bytes(&sim, 1), rx + 32));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_RX_EXPIRED), 1));
}

Test(session, p177_destroyed_keys_are_zeroed)
{
	static const uint8_t zero[32];

	bring_up(&sim);
	struct session *x = session_of(&sim, 0);
	sim_set_up(&sim, 0, false);
	rcu_flush();
	/* the pool keeps its memory; its link lies in the first bytes */
	cr_assert(memcmp(x->keypair.sending_key + 8, zero, 24) == 0);
	cr_assert(memcmp(x->keypair.receiving_key, zero, 32) == 0);
}

/* --- messages near the limits --- */

Test(session, p141_p244_row32_no_counter_reaches_the_limit)
{
	bring_up(&sim);
	sim_run_sec(&sim, 6);
	sim.link.is_cut = true;
	atomic_store(&session_of(&sim, 0)->keypair.send_counter, REJECT_AFTER_MESSAGES - 2);
	uint64_t n = sim.node[0].n_sent_of_type[4];
	for (unsigned i = 0; i < 4; i++) {
		sim_send(&sim, 0, 1, 10 + i);
		sim_run(&sim, 0);
	}
	cr_assert(eq(u64, sim.node[0].n_sent_of_type[4], n + 2));
	cr_assert(eq(u64, sim_last_sent(&sim.node[0], 4, 0)->counter, REJECT_AFTER_MESSAGES - 1));
	cr_assert(eq(u32, sim_peer(&sim, 0, 1)->staged.n, 2));
	cr_assert(not(sim_has_session(&sim, 0, 1)));
	sim.link.is_cut = false;
	sim_run_sec(&sim, 6);
	cr_assert(eq(u32, sim.node[1].delivered[sim.node[1].n_delivered - 2], 12));
	cr_assert(eq(u32, sim.node[1].delivered[sim.node[1].n_delivered - 1], 13));
}

Test(session, p244_packets_released_together_all_stay_when_one_is_too_many)
{
	bring_up(&sim);
	sim_run_sec(&sim, 6);
	sim.link.is_cut = true;
	struct session *x = session_of(&sim, 0);
	struct peer *p = sim_peer(&sim, 0, 1);
	struct staged_budget *b = &sim.node[0].device.staged;
	uint64_t n = sim.node[0].n_sent_of_type[4];
	atomic_store(&x->keypair.send_counter, REJECT_AFTER_MESSAGES - 2);
	for (unsigned i = 0; i < 3; i++)
		(void)staged_queue_push(&p->staged, b, staged_packet_create(b, p, 28));
	send_staged(&sim.node[0].control, p, sim.now_ns);
	cr_assert(eq(u64, sim.node[0].n_sent_of_type[4], n));
	cr_assert(eq(u32, p->staged.n, 3));
	cr_assert(not(keypair_may_send(&x->keypair, sim.now_ns)));
	cr_assert(eq(u64, sim_n_initiations(&sim, 0), 2));
}

Test(session, p144_row32_received_counter_at_the_limit_is_refused)
{
	bring_up(&sim);
	uint64_t rx = rx_bytes(&sim, 1);
	arrive_sealed(&sim, 0, REJECT_AFTER_MESSAGES, NULL, 0);
	cr_assert(eq(u64, rx_bytes(&sim, 1), rx));
	arrive_sealed(&sim, 0, REJECT_AFTER_MESSAGES - 1, NULL, 0);
	cr_assert(eq(u64, rx_bytes(&sim, 1), rx + 32));
	arrive_sealed(&sim, 0, REJECT_AFTER_MESSAGES - 1, NULL, 0);
	cr_assert(eq(u64, rx_bytes(&sim, 1), rx + 32));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_RX_REPLAY), 2));
}

Test(session, row33_high_sending_counter_does_not_block_receiving)
{
	bring_up(&sim);
	sim.node[0].is_mute = true;
	atomic_store(&session_of(&sim, 0)->keypair.send_counter, REJECT_AFTER_MESSAGES);
	sim_send(&sim, 0, 1, 2);
	sim_run_sec(&sim, 1);
	cr_assert(not(sim_has_session(&sim, 0, 1)));
	sim_send(&sim, 1, 0, 3);
	sim_run_sec(&sim, 1);
	cr_assert(eq(u32, sim.node[0].n_delivered, 1));
}

Test(session, row31_reordering_by_8000_and_what_is_beyond)
{
	bring_up(&sim);
	uint64_t rx = rx_bytes(&sim, 1);
	arrive_sealed(&sim, 0, 20000, NULL, 0);
	arrive_sealed(&sim, 0, 12000, NULL, 0);
	arrive_sealed(&sim, 0, 20000 - 8128, NULL, 0);
	cr_assert(eq(u64, rx_bytes(&sim, 1), rx + 3 * 32));
	arrive_sealed(&sim, 0, 20000 - 8129, NULL, 0);
	arrive_sealed(&sim, 0, 12000, NULL, 0);
	cr_assert(eq(u64, rx_bytes(&sim, 1), rx + 3 * 32));
	/* a forged high counter moves nothing */
	uint8_t datagram[32];
	uint32_t n = sim_seal(session_of(&sim, 0), 50000, NULL, 0, datagram);
	datagram[n - 1] ^= 1;
	arrive(&sim, 0, 1, datagram, n);
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_RX_BAD_TAG), 1));
	arrive_sealed(&sim, 0, 12001, NULL, 0);
	cr_assert(eq(u64, rx_bytes(&sim, 1), rx + 4 * 32));
}

Test(session, row35_p385_low_order_keys_are_configuration_but_no_peer)
{
	static const uint8_t zero_key[32], one_key[32] = { 1 };
	const uint8_t *key[] = { zero_key, one_key };
	struct config_allowed_ip ip = { .addr = { 10, 9, 9, 9 }, .len = 32 };

	for (unsigned i = 0; i < 2; i++) {
		struct config_peer section = { .has_endpoint = true,
					       .endpoint = sim.node[1].address,
					       .has_keepalive = true,
					       .keepalive_sec = 1,
					       .n_allowed_ips = 1 };
		struct config_set set = {
			.peers = &section, .n_peers = 1, .allowed_ips = &ip, .n_allowed_ips = 1
		};
		memcpy(section.public_key, key[i], 32);
		cr_assert(eq(int, control_apply(&sim.node[0].control, &set, sim.now_ns), 0));
		cr_assert(device_find_peer(&sim.node[0].device, key[i]) != NULL);
	}
	sim_run_sec(&sim, 30);
	cr_assert(eq(u64, sim.node[0].n_sent, 0));
	bring_up(&sim); /* and the others do not suffer */
}

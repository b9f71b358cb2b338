/* SPDX-License-Identifier: MPL-2.0 */
/* An initiation whose Diffie-Hellman steps a worker takes, and what may happen in between. Node 1
 * answers; it takes no step itself unless a test says so, and nothing passes the link by itself. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "check.h"
#include "control/answer.h"
#include "control/send.h"
#include "control/sessions.h"

static struct sim sim;
static struct control *c; /* of node 1 */
static struct dh_pool *pool;

static void init(void)
{
	sim_init(&sim, 2, 11);
	sim.link.is_cut = true;
	c = &sim.node[1].control;
	pool = sim.node[1].device.dh_pool;
}

static void fini(void)
{
	cr_assert(eq(u32, c->n_answers, 0));
	cr_assert(eq(sz, c->answer_pool.n_in_use, 0));
	sim_finish(&sim);
}

TestSuite(answer, .init = init, .fini = fini);

/* A fresh initiation of node 0. */
static struct sim_sent initiate(void)
{
	sim.now_ns += 30 * NSEC_PER_MSEC;
	timers_allow_initiation(timers_of(&sim, 0));
	send_first_initiation(&sim.node[0].control, sim_peer(&sim, 0, 1), sim.now_ns);
	return *sim_last_sent(&sim.node[0], 1, 0);
}

/* It reaches node 1, which does all that needs no Diffie-Hellman. */
static void receive(const struct sim_sent *x)
{
	control_receive(c, (struct bytes){ x->data, x->len }, &sim.node[0].address, 0, sim.now_ns);
	(void)control_step(c, 0, sim.now_ns);
}

static bool serve(void)
{
	bool ok = worker_serve_dh(sim.node[1].worker);

	(void)control_step(c, 0, sim.now_ns);
	rcu_quiescent();
	return ok;
}

static void finish(void)
{
	for (unsigned i = 0; i < 4 && c->n_answers > 0; i++)
		(void)serve();
	cr_assert(eq(u32, c->n_answers, 0));
}

static uint64_t n_responses(void)
{
	return sim.node[1].n_sent_of_type[2];
}

static struct handshake *handshake_of_node_1(void)
{
	return &sim_peer(&sim, 1, 0)->handshake;
}

/* The latest response of node 1 brings node 0 a session. */
static void check_answer_is_good(void)
{
	const struct sim_sent *x = sim_last_sent(&sim.node[1], 2, 0);

	arrive(&sim, 1, 0, x->data, x->len);
	cr_assert(sim_has_session(&sim, 0, 1));
	cr_assert(eq(u32, session_of(&sim, 0)->keypair.remote_index, load_le32(x->data + 4)));
	cr_assert(memcmp(session_of(&sim, 0)->keypair.sending_key,
			 sim_peer(&sim, 1, 0)->next->keypair.receiving_key, 32) == 0);
}

static void set_private_key(uint8_t fill)
{
	struct config_set set = { .has_private_key = true };

	memset(set.private_key, fill, sizeof(set.private_key));
	cr_assert(eq(int, control_apply(c, &set, sim.now_ns), 0));
}

static void restore_private_key(void)
{
	struct config_set set = { .has_private_key = true };

	memcpy(set.private_key, sim.node[1].private_key, sizeof(set.private_key));
	cr_assert(eq(int, control_apply(c, &set, sim.now_ns), 0));
}

Test(answer, worker_takes_all_steps)
{
	struct sim_sent x = initiate();

	receive(&x);
	for (unsigned i = 1; i <= 3; i++) { /* es; ss, once per peer; e, ee, se */
		cr_assert(eq(u32, control_backlog(c), 1));
		cr_assert(eq(u64, n_responses(), 0));
		cr_assert(serve());
		cr_assert(eq(u64, atomic_load(&sim.node[1].worker->n_dh_steps), i));
		cr_assert(eq(int, handshake_of_node_1()->has_static_static, i >= 2));
	}
	cr_assert(not(serve()));
	cr_assert(eq(u64, n_responses(), 1));
	check_answer_is_good();

	x = initiate(); /* now DH(static, static) is known */
	receive(&x);
	cr_assert(serve() && serve() && !serve());
	cr_assert(eq(u64, n_responses(), 2));
	check_answer_is_good();
	cr_assert(eq(u64, c->n_handled, 2));
}

Test(answer, control_thread_takes_steps_that_nobody_else_takes)
{
	struct sim_sent x = initiate();

	receive(&x);
	cr_assert(serve());
	cr_assert(eq(u64, control_next_deadline(c, sim.now_ns), sim.now_ns));
	cr_assert(eq(u32, control_step(c, 1, sim.now_ns), 1));
	cr_assert(eq(u64, n_responses(), 0));
	cr_assert(eq(u32, control_step(c, 9, sim.now_ns), 1));
	check_answer_is_good();
}

Test(answer, control_thread_sleeps_while_a_worker_computes)
{
	struct sim_sent x = initiate();

	receive(&x);
	struct dh_job *job = dh_pool_take(pool);
	cr_assert(eq(u32, control_step(c, 9, sim.now_ns), 0));
	cr_assert(gt(u64, control_next_deadline(c, sim.now_ns), sim.now_ns));
	cr_assert(dh_pool_run(pool, job)); /* wakes it */
	cr_assert(eq(u64, control_next_deadline(c, sim.now_ns), sim.now_ns));
	cr_assert(eq(u32, control_step(c, 9, sim.now_ns), 2));
	check_answer_is_good();
}

Test(answer, p055_older_initiation_that_is_done_later_is_a_replay)
{
	struct sim_sent a = initiate(), b = initiate();

	cr_assert(handshake_precompute(handshake_of_node_1(), sim.node[1].device.identity));
	receive(&a);
	receive(&b);
	struct dh_job *first = dh_pool_take(pool), *second = dh_pool_take(pool);
	(void)dh_pool_run(pool, second);
	(void)control_step(c, 0, sim.now_ns);
	(void)dh_pool_run(pool, first);
	(void)control_step(c, 0, sim.now_ns);
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_REPLAY), 1));
	cr_assert(serve() && !serve());
	cr_assert(eq(u64, n_responses(), 1));
	check_answer_is_good(); /* b is what node 0 waits for */
}

Test(answer, p057_initiation_that_was_overtaken_gets_no_answer)
{
	struct sim_sent a = initiate(), b;

	receive(&a);
	cr_assert(serve() && serve());
	struct dh_job *slow = dh_pool_take(pool); /* a's answer */
	cr_assert(eq(int, slow->dh.step, DH_RESPOND));
	b = initiate();
	receive(&b);
	cr_assert(serve()); /* accepted, it takes a's place */
	(void)dh_pool_run(pool, slow);
	(void)control_step(c, 0, sim.now_ns);
	cr_assert(eq(u64, n_responses(), 0));
	cr_assert(serve() && !serve());
	cr_assert(eq(u64, n_responses(), 1));
	check_answer_is_good();
}

Test(answer, p056_flood_rule_counts_from_acceptance)
{
	struct sim_sent a = initiate(), b = initiate();

	receive(&a);
	receive(&b);
	while (serve())
		;
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_FLOOD), 1)); /* both accepted at one time */
	cr_assert(eq(u64, n_responses(), 1));
}

Test(answer, own_initiation_in_between_takes_its_place)
{
	struct sim_sent x = initiate();
	struct peer *p = sim_peer(&sim, 1, 0);

	receive(&x);
	cr_assert(serve() && serve());
	timers_allow_initiation(&p->timers);
	send_first_initiation(c, p, sim.now_ns);
	struct index_entry *entry = p->handshake_entry;
	cr_assert(serve() && !serve());
	cr_assert(eq(u64, n_responses(), 0));
	cr_assert(eq(int, p->handshake.state, HS_CREATED_INITIATION));
	cr_assert(eq(ptr, p->handshake_entry, entry));
	const struct sim_sent *own = sim_last_sent(&sim.node[1], 1, 0);
	arrive(&sim, 1, 0, own->data, own->len);
	const struct sim_sent *response = sim_last_sent(&sim.node[0], 2, 0);
	arrive(&sim, 0, 1, response->data, response->len);
	cr_assert(sim_has_session(&sim, 1, 0));
}

/* What happens to an answer after each number of steps that a worker took; a step may also lie in its
 * hands meanwhile. */
struct moment {
	unsigned n_steps;
	bool in_hand;
};

ParameterizedTestParameters(answer, gone)
{
	static struct moment moments[] = { { 0, false }, { 0, true },  { 1, false },
					   { 1, true },  { 2, false }, { 2, true } };

	return cr_make_param_array(struct moment, moments, ARRAY_SIZE(moments));
}

/* 0: peer removed, 1: removed and added again, 2: private key changed, 3: taken away, 4: interface
 * down, 5: down and up, 6: key changed and changed back, 7: all peers replaced */
enum { N_EVENTS = 8 };

static void add_peer_again(void)
{
	sim_configure(
		&sim, 1, 0,
		(struct config_peer){ .has_endpoint = true, .endpoint = sim.node[0].address });
}

static void happen(unsigned event)
{
	switch (event) {
	case 0:
	case 1:
		sim_configure(&sim, 1, 0, (struct config_peer){ .remove = true });
		if (event == 1)
			add_peer_again();
		return;
	case 2:
		set_private_key(0x42);
		return;
	case 3:
		set_private_key(0);
		return;
	case 4:
	case 5:
		sim_set_up(&sim, 1, false);
		if (event == 5)
			sim_set_up(&sim, 1, true);
		return;
	case 6:
		set_private_key(0x42);
		restore_private_key();
		return;
	default:
		cr_assert(eq(
			int,
			control_apply(c, &(struct config_set){ .replace_peers = true }, sim.now_ns),
			0));
	}
}

/* Everything back to how it was, as far as the configuration goes. */
static void recover(void)
{
	restore_private_key();
	add_peer_again();
	sim_set_up(&sim, 1, true);
	cr_assert(handshake_of_node_1()->state == HS_ZEROED ||
		  handshake_of_node_1()->state == HS_CREATED_INITIATION);
}

ParameterizedTest(struct moment *m, answer, gone)
{
	for (unsigned event = 0; event < N_EVENTS; event++) {
		uint64_t before = n_responses();
		struct sim_sent x = initiate();
		/* A peer that was not there before: it has no DH(static, static). */
		sim_configure(&sim, 1, 0, (struct config_peer){ .remove = true });
		add_peer_again();
		receive(&x);
		for (unsigned i = 0; i < m->n_steps; i++)
			cr_assert(serve());
		struct dh_job *job = m->in_hand ? dh_pool_take(pool) : NULL;
		cr_assert(eq(int, job != NULL, m->in_hand));
		happen(event);
		if (job)
			(void)dh_pool_run(pool, job);
		finish();
		/* Before it was accepted, a peer that came back is as good as the old one. */
		bool may_answer = event == 1 && m->n_steps < 2;
		cr_assert(eq(u64, n_responses(), before + may_answer), "event %u", event);

		recover();
		x = initiate();
		receive(&x);
		while (serve())
			;
		cr_assert(eq(u64, n_responses(), before + may_answer + 1), "event %u", event);
		check_answer_is_good();
	}
}

Test(answer, p067_p391_psk_of_the_moment_counts)
{
	struct config_peer section = { .has_psk = true };
	struct sim_sent x = initiate();

	receive(&x);
	cr_assert(serve() && serve());
	memset(section.psk, 9, sizeof(section.psk));
	sim_configure(&sim, 1, 0, section);
	sim_configure(&sim, 0, 1, section);
	cr_assert(serve());
	check_answer_is_good();
}

Test(answer, p385_low_order_keys_get_no_answer)
{
	struct sim_sent x = initiate();

	memset(x.data + 8, 0, 32); /* ephemeral key; mac1 again */
	struct handshake hs;
	struct cookie_jar jar = { 0 };
	handshake_init(&hs, sim.node[1].public_key);
	cookie_jar_add_macs(&jar, &hs, x.data, x.len, 0);
	receive(&x);
	cr_assert(serve() && !serve());
	cr_assert(eq(u64, n_responses(), 0));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_INVALID), 1));
}

Test(answer, p126_jobs_are_bounded_and_count_as_backlog)
{
	struct sim_sent x = initiate();
	unsigned n = DH_POOL_SLOTS + 40;

	for (unsigned i = 0; i < n; i++)
		control_receive(c, (struct bytes){ x.data, x.len }, &sim.node[0].address, 0,
				sim.now_ns);
	(void)control_step(c, 0, sim.now_ns);
	cr_assert(eq(u32, c->n_answers, DH_POOL_SLOTS));
	cr_assert(eq(u32, c->queue.n, 40));
	cr_assert(eq(u32, control_backlog(c), n));
	while (serve())
		;
	cr_assert(eq(u64, n_responses(), 1));
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_REPLAY), n - 1));
	cr_assert(eq(u32, c->n_answers, 0));
}

Test(answer, p053_peer_that_goes_after_it_was_found_is_unknown)
{
	struct sim_sent x = initiate();

	receive(&x);
	cr_assert(serve()); /* es: it is known who that is */
	sim_configure(&sim, 1, 0, (struct config_peer){ .remove = true });
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_UNKNOWN_PEER), 0));
	cr_assert(serve()); /* ss, for nobody */
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_UNKNOWN_PEER), 1));
	cr_assert(not(serve()));
	cr_assert(eq(u64, n_responses(), 0));
}

/* The worker's steps are bounded, so initiations wait in the queue, too, and their mac1 was for the key
 * of then. */
Test(answer, p381_key_taken_away_while_initiations_wait_in_the_queue)
{
	struct sim_sent x = initiate();

	for (unsigned i = 0; i < DH_POOL_SLOTS + 5; i++)
		receive(&x);
	cr_assert(eq(u32, c->queue.n, 5));
	set_private_key(0);
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_INVALID), 0));
	cr_assert(serve()); /* one ends, and makes room for those in the queue */
	cr_assert(eq(u32, c->queue.n, 0));
	cr_assert(eq(u32, c->n_answers, DH_POOL_SLOTS - 1)); /* of the queue none was begun */
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_INVALID), 1 + 5));
	while (serve())
		;
	cr_assert(eq(u64, sim_drops(&sim, 1, DROP_HS_INVALID), DH_POOL_SLOTS + 5));
	cr_assert(eq(u64, n_responses(), 0));

	recover();
	x = initiate();
	receive(&x);
	while (serve())
		;
	check_answer_is_good();
}

Test(answer, response_is_a_job)
{
	struct sim_sent x = initiate();
	struct peer *p = sim_peer(&sim, 1, 0);

	sim.now_ns += NSEC_PER_SEC;
	timers_allow_initiation(&p->timers);
	send_first_initiation(c, p, sim.now_ns);
	const struct sim_sent *own = sim_last_sent(&sim.node[1], 1, 0);
	arrive(&sim, 1, 0, own->data, own->len);
	const struct sim_sent *response = sim_last_sent(&sim.node[0], 2, 0);
	control_receive(c, (struct bytes){ response->data, response->len }, &sim.node[0].address, 0,
			sim.now_ns);
	receive(&x);
	cr_assert(eq(u32, c->n_answers, 2));
	cr_assert(not(sim_has_session(&sim, 1, 0)));
	cr_assert(serve()); /* ee, se: the oldest */
	cr_assert(sim_has_session(&sim, 1, 0));
	while (serve())
		;
}

Test(answer, device_ends_with_work_everywhere)
{
	struct sim_sent x = initiate();

	for (unsigned i = 0; i < DH_POOL_SLOTS + 5; i++)
		receive(&x);
	(void)worker_serve_dh(sim.node[1].worker); /* done and not collected; all others offered */
	cr_assert(dh_pool_has_done(pool));
	cr_assert(eq(u32, c->n_answers, DH_POOL_SLOTS));
	control_finish(c);
	cr_assert(eq(u32, c->n_answers, 0));
	cr_assert(not(dh_pool_has_done(pool)));
	cr_assert(eq(u32, dh_pool_n_waiting(pool), 0));
}

/* --- load is time (P-121) --- */

Test(answer, p121_cost_is_what_the_backlog_took_with_all_help)
{
	uint64_t t = sim.now_ns, before = c->handshake_cost_ns;

	/* 40 us each: nothing waits for long when two cores serve */
	c->queue.n = 1; /* something waits all the time */
	for (unsigned i = 0; i < 2000; i++, t += 40 * NSEC_PER_USEC) {
		c->n_handled++;
		control_learn_cost(c, t, t + 40 * NSEC_PER_USEC);
	}
	cr_assert(lt(u64, c->handshake_cost_ns, before / 2));
	check_between(c->handshake_cost_ns, 38 * NSEC_PER_USEC, 52 * NSEC_PER_USEC);
	/* others need the cores: 1 ms each, the same messages are a longer wait */
	for (unsigned i = 0; i < 4000; i++, t += NSEC_PER_MSEC) {
		c->n_handled++;
		control_learn_cost(c, t, t + 10 * NSEC_PER_USEC);
	}
	check_between(c->handshake_cost_ns, 900 * NSEC_PER_USEC, 1100 * NSEC_PER_USEC);
	/* time in which nothing waits does not count */
	c->queue.n = 0;
	for (unsigned i = 0; i < 4000; i++, t += NSEC_PER_SEC) {
		c->n_handled++;
		control_learn_cost(c, t, t + 50 * NSEC_PER_USEC);
	}
	check_between(c->handshake_cost_ns, 45 * NSEC_PER_USEC, 60 * NSEC_PER_USEC);
}

Test(answer, p120_jobs_under_way_are_load_too)
{
	struct sim_sent x = initiate();

	c->handshake_cost_ns = 10 * NSEC_PER_MSEC;
	for (unsigned i = 0; i < 29; i++)
		receive(&x);
	cr_assert(eq(u32, c->queue.n, 0));
	control_receive(c, (struct bytes){ x.data, x.len }, &sim.node[0].address, 0, sim.now_ns);
	cr_assert(eq(u64, sim.node[1].n_sent_of_type[3], 0));
	control_receive(c, (struct bytes){ x.data, x.len }, &sim.node[0].address, 0, sim.now_ns);
	cr_assert(eq(u64, sim.node[1].n_sent_of_type[3], 1)); /* 300 ms wait: a cookie */
	while (serve())
		;
}

/* --- initiations of node 1's own, many at once, as after a restart with persistent keepalives --- */

enum { N_PEERS = 200 };

static void configure_crowd(void)
{
	struct config_set set;
	uint8_t key[32] = { 1 };

	config_set_init(&set);
	for (uint32_t i = 0; i < N_PEERS; i++) {
		store_le32(key, 1000 + i);
		cr_assert(eq(int, config_set_add_peer(&set, key), 0));
		struct config_peer *section = &set.peers[set.n_peers - 1];
		section->has_endpoint = true;
		section->endpoint = sim.node[0].address;
		section->has_keepalive = true;
		section->keepalive_sec = 25;
	}
	cr_assert(eq(int, control_apply(c, &set, sim.now_ns), 0));
	config_set_finish(&set);
}

static uint64_t n_initiations(void)
{
	return sim.node[1].n_sent_of_type[1];
}

static uint32_t n_that_wait(void)
{
	uint32_t n = 0;
	list_for_each (it, &c->to_initiate)
		n++;
	return n;
}

Test(answer, storm_of_own_initiations_is_jobs)
{
	configure_crowd();
	uint64_t n_at_once = n_initiations();
	cr_assert(le(u64, n_at_once, 4), "%ju", (uintmax_t)n_at_once);
	cr_assert(eq(u32, n_that_wait(), N_PEERS - (uint32_t)n_at_once));

	/* As many as may be are under way, and there is room for initiations of others. */
	(void)control_step(c, 0, sim.now_ns);
	cr_assert(eq(u32, c->n_initiating, DH_POOL_SLOTS / 2));
	struct sim_sent x = initiate();
	receive(&x);
	cr_assert(eq(u32, c->n_answers, DH_POOL_SLOTS / 2 + 1));

	uint64_t n = 0;
	while (serve()) {
		uint64_t before = n;
		n = n_initiations() - n_at_once;
		cr_assert(le(u64, n - before, 1), "one at a time");
	}
	cr_assert(eq(u64, n_initiations(), N_PEERS));
	cr_assert(eq(u32, c->n_initiating, 0));
	cr_assert(eq(u64, n_responses(), 1));
	check_answer_is_good();
	list_for_each (it, &sim.node[1].device.peers) {
		struct peer *p = list_entry(it, struct peer, link);
		if (p != sim_peer(&sim, 1, 0))
			cr_assert(eq(int, p->handshake.state, HS_CREATED_INITIATION));
	}
}

Test(answer, own_initiations_end_with_their_peers)
{
	struct config_set set = { .replace_peers = true };

	configure_crowd();
	(void)control_step(c, 0, sim.now_ns);
	(void)serve();
	uint64_t n = n_initiations();
	cr_assert(eq(int, control_apply(c, &set, sim.now_ns), 0));
	cr_assert(eq(u32, n_that_wait(), 0));
	while (serve())
		;
	cr_assert(eq(u64, n_initiations(), n));
	cr_assert(eq(u32, c->n_initiating, 0));
}

/* The last step of a job finds a peer of that key that is another one. */
Test(answer, own_initiations_do_not_become_those_of_peers_that_came_back)
{
	struct config_set set = { .replace_peers = true };

	configure_crowd();
	(void)control_step(c, 0, sim.now_ns);
	for (unsigned i = 0; i < DH_POOL_SLOTS / 2; i++) /* ss is known, es under way */
		(void)serve();
	uint64_t n = n_initiations();
	cr_assert(gt(u32, c->n_initiating, 0));
	cr_assert(eq(int, control_apply(c, &set, sim.now_ns), 0));
	configure_crowd();
	while (serve())
		;
	cr_assert(eq(u32, c->n_initiating, 0));
	cr_assert(ge(u64, n_initiations(), n + N_PEERS), "%ju", (uintmax_t)(n_initiations() - n));
}

/* Their timers do not run yet, so nobody else would try again. */
Test(answer, own_initiations_survive_a_change_of_key)
{
	configure_crowd();
	(void)control_step(c, 0, sim.now_ns);
	for (unsigned i = 0; i < 10; i++)
		(void)serve();
	set_private_key(7);
	while (serve())
		;
	list_for_each (it, &sim.node[1].device.peers) {
		struct peer *p = list_entry(it, struct peer, link);
		cr_assert(p == sim_peer(&sim, 1, 0) ||
			  atomic_load(&p->timers.at[TIMER_RETRANSMIT_HANDSHAKE]) != 0);
	}
	cr_assert(ge(u64, n_initiations(), N_PEERS));
}

Test(answer, own_initiations_and_the_interface)
{
	configure_crowd();
	(void)control_step(c, 0, sim.now_ns);
	(void)serve();
	cr_assert(eq(int, control_set_up(c, false, sim.now_ns), 0));
	cr_assert(eq(u32, n_that_wait(), 0));
	uint64_t n = n_initiations();
	while (serve())
		;
	cr_assert(eq(u64, n_initiations(), n));
	sim.now_ns += 6 * NSEC_PER_SEC;
	cr_assert(eq(int, control_set_up(c, true, sim.now_ns), 0));
	(void)control_step(c, 0, sim.now_ns);
	while (serve())
		;
	cr_assert(eq(u64, n_initiations(), n + N_PEERS));
}

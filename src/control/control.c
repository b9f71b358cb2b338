/* SPDX-License-Identifier: MPL-2.0 */
/* Life of the control state, its steps, and the interface going up and down. */
#include "control/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/entropy.h"
#include "control/answer.h"
#include "control/peer_events.h"
#include "control/receive.h"
#include "control/send.h"
#include "control/sessions.h"

enum {
	INITIAL_HANDSHAKE_COST_US = 150,
	LEARN_FROM = 64, /* messages to take a mean of: a moment without a core is not load */
	LEARN_WEIGHT = 4,
};

int control_init(struct control *c, const struct control_params *params)
{
	memset(c, 0, sizeof(*c));
	c->device = params->device;
	c->aead = params->aead;
	c->ops = params->ops;
	c->ops_ctx = params->ops_ctx;
	c->drops = &params->device->drops[params->device->n_workers];
	c->handshake_cost_ns = INITIAL_HANDSHAKE_COST_US * NSEC_PER_USEC;
	timer_wheel_init(&c->wheel, params->now_ns);
	list_init(&c->to_initiate);

	int r = entropy_fill(&c->jitter_state, sizeof(c->jitter_state));
	if (r == 0)
		r = answers_init(c);
	if (r < 0)
		return r;
	r = handshake_queue_init(&c->queue);
	c->out = r == 0 ? malloc(CONTROL_OUT_LEN) : NULL;
	if (!c->out) {
		handshake_queue_finish(&c->queue);
		answers_finish(c);
		return -ENOMEM;
	}
	c->jitter_state |= 1;
	return r;
}

/* Lets removed peers come back from RCU and frees them. */
static void reap_peers(struct control *c)
{
	rcu_flush();
	peers_attend(c, 0);
}

void control_finish(struct control *c)
{
	if (!c->out)
		return;
	c->has_sockets = false;
	list_for_each_safe (it, nxt, &c->device->peers)
		peer_remove(c, list_entry(it, struct peer, link));
	reap_peers(c);
	answers_finish(c);
	handshake_queue_finish(&c->queue);
	cookie_checker_finish(&c->cookies);
	free(TAKE_PTR(c->ratelimit_entries));
	free(TAKE_PTR(c->out));
}

uint32_t control_step(struct control *c, uint32_t max_steps, uint64_t now_ns)
{
	c->n_initiated = 0;
	peers_attend(c, now_ns);
	for (struct timer_node *t; (t = timer_wheel_pop(&c->wheel, now_ns));)
		peer_timers_due(c, container_of(t, struct peer, timer), now_ns);
	return answers_step(c, max_steps, now_ns);
}

uint64_t control_next_deadline(const struct control *c, uint64_t now_ns)
{
	return answers_wait(c) ? now_ns : timer_wheel_next(&c->wheel);
}

void control_learn_cost(struct control *c, uint64_t before_ns, uint64_t after_ns)
{
	uint64_t n_handled = c->n_handled - c->n_handled_learned;

	/* Since the last call, if something waited all the time. */
	c->learned_ns += after_ns - (c->learned_until_ns ? c->learned_until_ns : before_ns);
	c->learned_n += n_handled;
	c->n_handled_learned = c->n_handled;
	c->learned_until_ns = control_backlog(c) > 0 ? after_ns : 0;
	if (c->learned_n < LEARN_FROM)
		return;
	c->handshake_cost_ns -= c->handshake_cost_ns / LEARN_WEIGHT;
	c->handshake_cost_ns += c->learned_ns / c->learned_n / LEARN_WEIGHT;
	c->learned_ns = 0;
	c->learned_n = 0;
}

static int go_up(struct control *c, uint64_t now_ns)
{
	uint16_t port;
	int r = c->ops->open_sockets(c->ops_ctx, c->listen_port, c->fwmark, &port);
	if (r < 0)
		return r;
	c->listen_port = port; /* P-361: kept from now on */
	c->has_sockets = true;
	list_for_each (it, &c->device->peers) {
		struct peer *p = list_entry(it, struct peer, link);
		if (p->keepalive_sec) /* P-246 */
			send_keepalive(c, p, now_ns);
		send_staged(c, p, now_ns);
		peer_plan(c, p);
	}
	return 0;
}

static void go_down(struct control *c)
{
	c->has_sockets = false;
	c->ops->close_sockets(c->ops_ctx);
	while (handshake_queue_pop(&c->queue))
		;
	answers_abandon(c);
	list_for_each (it, &c->device->peers)
		peer_stop(c, list_entry(it, struct peer, link));
}

int control_set_up(struct control *c, bool up, uint64_t now_ns)
{
	if (up == c->has_sockets)
		return 0;
	if (up)
		return go_up(c, now_ns);
	go_down(c);
	return 0;
}

void control_check_sources(struct control *c, bool (*holds)(void *ctx, const struct endpoint *e),
			   void *ctx)
{
	list_for_each (it, &c->device->peers) {
		struct peer *p = list_entry(it, struct peer, link);
		struct endpoint e;
		endpoint_cell_get(&p->endpoint, &e);
		if (endpoint_is_set(&e) && endpoint_has_source(&e) && !holds(ctx, &e))
			endpoint_cell_clear_source(&p->endpoint, &e);
	}
}

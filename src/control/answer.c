/* SPDX-License-Identifier: MPL-2.0 */
/* Jobs from the queue to the answer. */
#include "control/answer.h"

#include <string.h>

#include "base/entropy.h"
#include "control/peer_events.h"
#include "control/receive.h"
#include "control/send.h"
#include "crypto/secret.h"
#include "device/dh_pool.h"

enum {
	MAX_JOBS = DH_POOL_SLOTS,
	MAX_OWN_JOBS = MAX_JOBS / 2, /* initiations of ours leave room to answer those of others */
};

struct answer_job {
	struct dh_job dh; /* the taker's between offer and return; all else is ours */
	struct endpoint from;
	struct message_initiation msg;
	struct message_response response; /* what DH_FINISH is about, instead of msg */
	struct initiation_opened opened;  /* after DH_OPEN; of an own initiation: whom it is for */
	uint32_t epoch;                   /* of the device when it began */
	bool is_own;                      /* an initiation that we make */
};

static struct dh_pool *pool_of(struct control *c)
{
	return c->device->dh_pool;
}

int answers_init(struct control *c)
{
	return secret_pool_init(&c->answer_pool, sizeof(struct answer_job), _Alignof(max_align_t),
				MAX_JOBS);
}

size_t answers_memory(void)
{
	return MAX_JOBS * sizeof(struct answer_job);
}

static void begin_job(struct control *c, struct answer_job *job)
{
	c->n_answers++;
	job->epoch = c->answer_epoch;
}

static void end_job(struct control *c, struct answer_job *job)
{
	if (job->is_own) {
		struct peer *p = device_find_peer(c->device, job->opened.remote_static);
		c->n_initiating--;
		if (p)
			p->initiation_under_way = false;
	}
	secret_pool_put(&c->answer_pool, job); /* wipes */
	c->n_answers--;
	c->n_handled++;
}

static struct answer_job *job_of(struct dh_job *dh)
{
	return container_of(dh, struct answer_job, dh);
}

void answers_finish(struct control *c)
{
	struct dh_pool *pool = pool_of(c);

	for (struct dh_job *dh; (dh = dh_pool_take(pool));)
		end_job(c, job_of(dh));
	for (struct dh_job *dh = dh_pool_take_done(pool), *next; dh; dh = next) {
		next = dh->next;
		end_job(c, job_of(dh));
	}
	secret_pool_finish(&c->answer_pool);
}

void answers_abandon(struct control *c)
{
	c->answer_epoch++;
}

/* Is there an initiation of ours to begin with? */
static bool wants_own(const struct control *c)
{
	return !list_is_empty(&c->to_initiate) && c->n_initiating < MAX_OWN_JOBS;
}

bool answers_wait(const struct control *c)
{
	return c->queue.n > 0 || wants_own(c) || dh_pool_n_waiting(c->device->dh_pool) > 0 ||
	       dh_pool_has_done(c->device->dh_pool);
}

static void drop_job(struct control *c, struct answer_job *job, struct peer *p,
		     enum drop_reason why)
{
	drop_count(c->drops, why, 1);
	if (p)
		drop_count(&p->drops, why, 1);
	end_job(c, job);
}

/* P-054 to P-059; then the answer is only a matter of computing. */
static void accept_initiation(struct control *c, struct answer_job *job, struct peer *p,
			      uint64_t now_ns)
{
	static const enum drop_reason why[] = {
		[HANDSHAKE_BAD] = DROP_HS_INVALID,
		[HANDSHAKE_REPLAY] = DROP_HS_REPLAY,
		[HANDSHAKE_FLOOD] = DROP_HS_FLOOD,
	};
	uint8_t ephemeral[NOISE_KEY_LEN];
	bool is_crossed = p->handshake.state == HS_CREATED_INITIATION &&
			  timers_initiation_is_young(&p->timers, now_ns);
	enum handshake_verdict v = handshake_consume_initiation(&p->handshake, c->device->identity,
								&job->opened, &job->msg, now_ns);

	if (v != HANDSHAKE_OK) {
		drop_job(c, job, p, why[v]);
		return;
	}
	p->is_crossed = is_crossed;
	receive_note_accepted(p, &job->from, sizeof(job->msg), now_ns);
	peer_plan(c, p);
	if (entropy_fill(ephemeral, sizeof(ephemeral)) < 0) {
		end_job(c, job);
		return;
	}
	handshake_response_dh(&job->dh.dh, &p->handshake, ephemeral);
	secret_wipe(ephemeral, sizeof(ephemeral));
	dh_pool_offer(pool_of(c), &job->dh);
}

/* With whom it claims to be from: DH(static, static) once per peer, then the rest. */
static void go_on_with_peer(struct control *c, struct answer_job *job, struct peer *p,
			    uint64_t now_ns)
{
	if (p->handshake.has_static_static) {
		accept_initiation(c, job, p, now_ns);
		return;
	}
	handshake_static_dh(&job->dh.dh, &p->handshake, c->device->identity);
	dh_pool_offer(pool_of(c), &job->dh);
}

static void open_done(struct control *c, struct answer_job *job, uint64_t now_ns)
{
	struct device *d = c->device;

	if (!initiation_open_with(&job->opened, d->identity, &job->msg, &job->dh.dh)) {
		drop_job(c, job, NULL, DROP_HS_INVALID);
		return;
	}
	struct peer *p = device_find_peer(d, job->opened.remote_static);
	if (!p) { /* P-053 */
		drop_job(c, job, NULL, DROP_HS_UNKNOWN_PEER);
		return;
	}
	go_on_with_peer(c, job, p, now_ns);
}

/* The last step of an initiation of ours. */
static void offer_own(struct control *c, struct answer_job *job, struct peer *p)
{
	uint8_t ephemeral[NOISE_KEY_LEN];

	if (p->handshake.static_static_is_zero || entropy_fill(ephemeral, sizeof(ephemeral)) < 0) {
		end_job(c, job);
		return;
	}
	handshake_initiation_dh(&job->dh.dh, &p->handshake, ephemeral);
	secret_wipe(ephemeral, sizeof(ephemeral));
	dh_pool_offer(pool_of(c), &job->dh);
}

static void static_done(struct control *c, struct answer_job *job, uint64_t now_ns)
{
	struct peer *p = device_find_peer(c->device, job->opened.remote_static);

	if (!p && job->is_own) { /* removed meanwhile */
		end_job(c, job);
		return;
	}
	if (!p) {
		drop_job(c, job, NULL, DROP_HS_UNKNOWN_PEER);
		return;
	}
	handshake_set_static_static(&p->handshake, &job->dh.dh);
	if (job->is_own)
		offer_own(c, job, p);
	else
		accept_initiation(c, job, p, now_ns);
}

static void own_done(struct control *c, struct answer_job *job, uint64_t now_ns)
{
	struct peer *p = device_find_peer(c->device, job->opened.remote_static);

	/* without ss it is not the one that the job began for: removed, and added again */
	if (p && p->handshake.has_static_static) {
		send_initiation_with(c, p, &job->dh.dh, now_ns);
		peer_plan(c, p);
	}
	end_job(c, job);
}

static void finish_done(struct control *c, struct answer_job *job, uint64_t now_ns)
{
	receive_response(c, &job->response, &job->dh.dh, &job->from, now_ns);
	end_job(c, job);
}

/* It was for a key or an interface that is gone. An initiation is wanted all the same: its sender has
 * no timer that would try again. */
static void outdated(struct control *c, struct answer_job *job, uint64_t now_ns)
{
	struct peer *p = device_find_peer(c->device, job->opened.remote_static);
	bool is_own = job->is_own;

	if (!is_own) {
		drop_job(c, job, NULL, DROP_HS_INVALID);
		return;
	}
	end_job(c, job);
	if (p)
		send_initiation(c, p, now_ns);
}

/* The peer may have been removed, or removed and added again; its handshake may be another one by
 * now, and its endpoint elsewhere: the handshake itself tells. */
static void respond_done(struct control *c, struct answer_job *job, uint64_t now_ns)
{
	struct peer *p = device_find_peer(c->device, job->opened.remote_static);

	if (p) {
		send_response(c, p, &job->dh.dh, now_ns);
		peer_plan(c, p);
	}
	end_job(c, job);
}

static void step_done(struct control *c, struct answer_job *job, uint64_t now_ns)
{
	if (job->epoch != c->answer_epoch) {
		outdated(c, job, now_ns);
		return;
	}
	switch (job->dh.dh.step) {
	case DH_OPEN:
		open_done(c, job, now_ns);
		return;
	case DH_STATIC:
		static_done(c, job, now_ns);
		return;
	case DH_RESPOND:
		respond_done(c, job, now_ns);
		return;
	case DH_INITIATE:
		own_done(c, job, now_ns);
		return;
	case DH_FINISH:
		finish_done(c, job, now_ns);
		return;
	}
}

static void collect(struct control *c, uint64_t now_ns)
{
	for (struct dh_job *dh = dh_pool_take_done(pool_of(c)), *next; dh; dh = next) {
		next = dh->next; /* it may be offered again at once */
		step_done(c, job_of(dh), now_ns);
	}
}

static void begin_response(struct control *c, struct answer_job *job,
			   const struct queued_handshake *q)
{
	struct device *d = c->device;

	memcpy(&job->response, q->data, sizeof(job->response));
	struct index_entry *e =
		index_table_lookup(&d->indices, le32_get(job->response.receiver_index));
	if (!e || e->session ||
	    !handshake_finish_dh(&job->dh.dh, &e->peer->handshake, d->identity, &job->response))
		drop_job(c, job, NULL, DROP_HS_INVALID);
	else
		dh_pool_offer(pool_of(c), &job->dh);
}

static void begin(struct control *c, struct answer_job *job, const struct queued_handshake *q)
{
	begin_job(c, job);
	job->from = q->from;
	if (q->len == sizeof(job->response)) {
		begin_response(c, job, q);
		return;
	}
	memcpy(&job->msg, q->data, sizeof(job->msg));
	if (!c->device->identity->has_private_key) { /* taken away since its mac1 was checked */
		drop_job(c, job, NULL, DROP_HS_INVALID);
		return;
	}
	initiation_dh(&job->dh.dh, c->device->identity, &job->msg);
	dh_pool_offer(pool_of(c), &job->dh);
}

static void begin_own(struct control *c, struct answer_job *job, struct peer *p)
{
	begin_job(c, job);
	job->is_own = true;
	memcpy(job->opened.remote_static, p->handshake.remote_static, NOISE_KEY_LEN);
	c->n_initiating++;
	p->initiation_under_way = true;
	if (p->handshake.has_static_static) {
		offer_own(c, job, p);
		return;
	}
	handshake_static_dh(&job->dh.dh, &p->handshake, c->device->identity);
	dh_pool_offer(pool_of(c), &job->dh);
}

/* Initiations of ours, in the order in which they were wanted. */
static void fill_own(struct control *c, uint64_t now_ns)
{
	struct answer_job *job = NULL;

	while (wants_own(c)) {
		if (!job)
			job = secret_pool_get(&c->answer_pool);
		struct list *first = job ? list_pop_front(&c->to_initiate) : NULL;
		if (!first)
			break;
		struct peer *p = list_entry(first, struct peer, to_initiate);
		if (!p->initiation_under_way && may_send_initiation(c, p, now_ns))
			begin_own(c, TAKE_PTR(job), p);
	}
	secret_pool_put(&c->answer_pool, job);
}

/* Received messages, oldest first. */
static void fill(struct control *c)
{
	while (c->queue.n > 0) {
		struct answer_job *job = secret_pool_get(&c->answer_pool);
		if (!job)
			return; /* enough under way, or no memory: they wait */
		begin(c, job, handshake_queue_pop(&c->queue));
	}
}

/* One idle worker for each job, but for those that we take at once. */
static void wake_workers(struct control *c, uint32_t n_ours)
{
	struct device *d = c->device;
	uint32_t n = dh_pool_n_waiting(pool_of(c));

	for (; n > n_ours; n--) {
		int worker = idle_set_claim(&d->dh_pool->idle);
		if (worker < 0)
			return;
		d->wake_worker(d->wake_ctx, (uint32_t)worker);
	}
}

static bool take_one(struct control *c)
{
	struct dh_job *dh = dh_pool_take(pool_of(c));
	if (!dh)
		return false;
	(void)dh_pool_run(pool_of(c), dh);
	return true;
}

uint32_t answers_step(struct control *c, uint32_t max, uint64_t now_ns)
{
	for (uint32_t n = 0;; n++) {
		collect(c, now_ns);
		fill_own(c, now_ns);
		fill(c);
		wake_workers(c, max > 0 ? 1 : 0);
		if (n == max || !take_one(c))
			return n;
	}
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Handshakes between two ends in memory, with macs but without cookies; the replay window. */
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "micro.h"
#include "noise/cookie.h"
#include "noise/handshake.h"
#include "noise/replay.h"
#include "noise/tai64n.h"

enum {
	N_COUNTERS = 1024, /* of a burst */
	N_SLOTS = 64,      /* packets that arrive in any order */
};

struct end {
	struct identity id;
	struct handshake hs;
	struct cookie_jar jar;
};

struct pair {
	struct end initiator, responder;
	uint64_t random, now_ns;
	uint64_t initiator_ns, responder_ns; /* of the last handshake */
};

static void random_key(uint64_t *random, uint8_t key[NOISE_KEY_LEN])
{
	for (unsigned i = 0; i < NOISE_KEY_LEN; i++)
		key[i] = (uint8_t)micro_random(random);
}

static struct handshake_entropy entropy(struct pair *p)
{
	struct handshake_entropy e = { .index = (uint32_t)micro_random(&p->random) };

	random_key(&p->random, e.ephemeral_private);
	return e;
}

static void pair_init(struct pair *p)
{
	uint8_t key[NOISE_KEY_LEN];

	*p = (struct pair){ .random = 1, .now_ns = NSEC_PER_SEC };
	random_key(&p->random, key);
	identity_set(&p->initiator.id, key);
	random_key(&p->random, key);
	identity_set(&p->responder.id, key);
	handshake_init(&p->initiator.hs, p->responder.id.public_key);
	handshake_init(&p->responder.hs, p->initiator.id.public_key);
	micro_must(handshake_precompute(&p->initiator.hs, &p->initiator.id) &&
			   handshake_precompute(&p->responder.hs, &p->responder.id),
		   "no static-static DH");
}

static void initiate(struct pair *p, struct message_initiation *msg)
{
	struct handshake_entropy e = entropy(p);
	uint8_t timestamp[TAI64N_LEN];

	p->now_ns += NSEC_PER_SEC; /* neither replay nor flood */
	tai64n_now(timestamp, p->now_ns / NSEC_PER_SEC, 0);
	micro_must(
		handshake_create_initiation(&p->initiator.hs, &p->initiator.id, &e, timestamp, msg),
		"no initiation");
	cookie_jar_add_macs(&p->initiator.jar, &p->initiator.hs, (uint8_t *)msg, sizeof(*msg),
			    p->now_ns);
}

static void respond(struct pair *p, const struct message_initiation *in,
		    struct message_response *out)
{
	struct end *r = &p->responder;
	struct handshake_entropy e = entropy(p);
	struct initiation_opened o;
	struct session_keys keys;

	micro_must(macs_check_mac1(&r->id, (const uint8_t *)in, sizeof(*in)) &&
			   initiation_open(&o, &r->id, in) &&
			   handshake_consume_initiation(&r->hs, &r->id, &o, in, p->now_ns) ==
				   HANDSHAKE_OK &&
			   handshake_create_response(&r->hs, &r->id, &e, out),
		   "the initiation was refused");
	initiation_opened_wipe(&o);
	cookie_jar_add_macs(&r->jar, &r->hs, (uint8_t *)out, sizeof(*out), p->now_ns);
	micro_must(handshake_begin_session(&r->hs, &keys), "no session");
	secret_wipe(&keys, sizeof(keys));
}

static void conclude(struct pair *p, const struct message_response *msg)
{
	struct end *i = &p->initiator;
	struct session_keys keys;

	micro_must(macs_check_mac1(&i->id, (const uint8_t *)msg, sizeof(*msg)) &&
			   handshake_consume_response(&i->hs, &i->id, msg) &&
			   handshake_begin_session(&i->hs, &keys),
		   "the response was refused");
	secret_wipe(&keys, sizeof(keys));
}

static void shake_hands(struct pair *p)
{
	struct message_initiation initiation;
	struct message_response response;

	uint64_t t0 = micro_cpu_ns();
	initiate(p, &initiation);
	uint64_t t1 = micro_cpu_ns();
	respond(p, &initiation, &response);
	uint64_t t2 = micro_cpu_ns();
	conclude(p, &response);
	p->initiator_ns = t1 - t0 + micro_cpu_ns() - t2;
	p->responder_ns = t2 - t1;
}

static uint64_t initiator_burst(void *ctx)
{
	struct pair *p = ctx;

	shake_hands(p);
	return p->initiator_ns;
}

static uint64_t responder_burst(void *ctx)
{
	struct pair *p = ctx;

	shake_hands(p);
	return p->responder_ns;
}

static uint64_t both_burst(void *ctx)
{
	struct pair *p = ctx;

	shake_hands(p);
	return p->initiator_ns + p->responder_ns;
}

/* What a flood costs: a valid mac1 and nothing else, as anybody can make who knows our key. */
static uint64_t forged_burst(void *ctx)
{
	struct pair *p = ctx;
	struct message_initiation m = { 0 };
	struct initiation_opened o;

	m.type = le32(MESSAGE_INITIATION);
	random_key(&p->random, m.ephemeral);
	cookie_jar_add_macs(&p->initiator.jar, &p->initiator.hs, (uint8_t *)&m, sizeof(m),
			    p->now_ns);
	uint64_t start = micro_cpu_ns();
	bool is_taken = macs_check_mac1(&p->responder.id, (const uint8_t *)&m, sizeof(m)) &&
			initiation_open(&o, &p->responder.id, &m);
	uint64_t took = micro_cpu_ns() - start;
	micro_must(!is_taken, "a forged initiation was taken");
	return took;
}

static void handshakes(struct micro *m)
{
	struct pair *p = micro_alloc(sizeof(*p));

	pair_init(p);
	micro_run(m, &(struct micro_case){ .name = "handshake-both",
					   .group = "handshake",
					   .label = "initiation and response, work of both ends",
					   .op = "handshake",
					   .n_ops = 1,
					   .timed_burst = both_burst,
					   .ctx = p });
	micro_run(m, &(struct micro_case){ .name = "handshake-initiator",
					   .group = "handshake",
					   .label = "initiation and response, the initiator",
					   .op = "handshake",
					   .n_ops = 1,
					   .timed_burst = initiator_burst,
					   .ctx = p });
	micro_run(m, &(struct micro_case){ .name = "handshake-responder",
					   .group = "handshake",
					   .label = "initiation and response, the responder",
					   .op = "handshake",
					   .n_ops = 1,
					   .timed_burst = responder_burst,
					   .ctx = p });
	micro_run(m, &(struct micro_case){ .name = "handshake-forged",
					   .group = "handshake",
					   .label = "refusing an initiation with a right mac1",
					   .op = "message",
					   .n_ops = 1,
					   .timed_burst = forged_burst,
					   .ctx = p });
	secret_wipe(p, sizeof(*p));
	free(p);
}

/* --- Replay window ---------------------------------------------------------------------------- */

struct window {
	struct replay replay;
	uint64_t base;
	uint8_t order[N_SLOTS];
};

static void in_order(void *ctx)
{
	struct window *w = ctx;
	uint64_t n = 0;

	for (unsigned i = 0; i < N_COUNTERS; i++)
		n += replay_accept(&w->replay, w->base + i);
	micro_must(n == N_COUNTERS, "the replay window refused a new packet");
	w->base += N_COUNTERS;
}

static void shuffled(void *ctx)
{
	struct window *w = ctx;
	uint64_t n = 0;

	for (unsigned i = 0; i < N_COUNTERS; i++)
		n += replay_accept(&w->replay,
				   w->base + i / N_SLOTS * N_SLOTS + w->order[i % N_SLOTS]);
	micro_must(n == N_COUNTERS, "the replay window refused a late packet");
	w->base += N_COUNTERS;
}

static void duplicates(void *ctx)
{
	struct window *w = ctx;
	uint64_t n = 0;

	for (unsigned i = 0; i < N_COUNTERS; i++)
		n += replay_accept(&w->replay, w->base - 1 - i);
	micro_must(n == 0, "the replay window took a packet twice");
}

static void replay_window(struct micro *m)
{
	struct window *w = micro_alloc(sizeof(*w));
	uint64_t random = 1;

	replay_init(&w->replay);
	for (unsigned i = 0; i < N_SLOTS; i++) { /* a permutation */
		unsigned at = (unsigned)(micro_random(&random) % (i + 1));
		w->order[i] = w->order[at];
		w->order[at] = (uint8_t)i;
	}
	in_order(w);
	static const struct {
		const char *name, *label;
		void (*burst)(void *);
	} cases[] = { { "replay-in-order", "packets in order", in_order },
		      { "replay-shuffled", "packets out of order within 64", shuffled },
		      { "replay-duplicate", "packets seen before", duplicates } };
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		micro_run(m, &(struct micro_case){ .name = cases[i].name,
						   .group = "replay window",
						   .label = cases[i].label,
						   .op = "packet",
						   .n_ops = N_COUNTERS,
						   .burst = cases[i].burst,
						   .ctx = w });
	free(w);
}

void micro_noise(struct micro *m)
{
	micro_must(crypto_init() == 0, "libsodium does not start");
	if (micro_is_wanted(m, "handshake-"))
		handshakes(m);
	if (micro_is_wanted(m, "replay-"))
		replay_window(m);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Datagrams against a peer with an initiation in flight. The first byte says how the rest becomes a
 * datagram: as it is, or as changes to an authentic message, so that what lies behind the macs and
 * the AEADs is reached too. Whatever is refused must leave no trace, and nothing may be accepted
 * whose authenticated bytes were changed. */
#include "crypto/secret.h"
#include "fuzz/fuzz.h"
#include "noise/cookie.h"
#include "noise/handshake.h"
#include "noise/replay.h"
#include "noise/tai64n.h"

/* Bits of the first byte. */
enum {
	MODE_TYPE = 3,     /* enum message_type - 1 of the authentic message */
	MODE_CHANGE = 4,   /* the rest is XORed over it */
	MODE_FIX_MAC1 = 8, /* mac1 is made valid afterwards */
	MODE_PSK = 16,     /* both have a preshared key */
};

#define NOW_NS (1000 * NSEC_PER_SEC)

struct end {
	struct identity id;
	struct handshake hs;
	struct cookie_jar jar;
};

union datagram {
	struct message_initiation initiation;
	struct message_response response;
	struct message_cookie_reply cookie_reply;
	struct message_transport transport;
	uint8_t bytes[2048];
};

static struct end we, peer;
static struct cookie_checker checker;
static struct message_initiation sent; /* our initiation in flight */
static const uint8_t source[] = { 192, 0, 2, 1, 0xca, 0x6c };

/* Byte by byte, padding included: one is a copy of the other. */
static bool is_same(const void *a, const void *b, size_t len)
{
	return memcmp(a, b, len) == 0;
}

static struct handshake_entropy entropy(uint8_t seed)
{
	struct handshake_entropy e = { .index = seed * 0x01010101U };
	memset(e.ephemeral_private, seed, sizeof(e.ephemeral_private));
	return e;
}

static void set_up(void)
{
	uint8_t key[NOISE_KEY_LEN];
	uint8_t timestamp[TAI64N_LEN];
	struct handshake_entropy e = entropy(3);
	CHECK(crypto_init() == 0);
	memset(key, 1, sizeof(key));
	identity_set(&we.id, key);
	memset(key, 2, sizeof(key));
	identity_set(&peer.id, key);
	handshake_init(&we.hs, peer.id.public_key);
	handshake_init(&peer.hs, we.id.public_key);
	CHECK(handshake_precompute(&we.hs, &we.id));
	CHECK(handshake_precompute(&peer.hs, &peer.id));
	cookie_checker_renew(&checker, key, NOW_NS);
	tai64n_now(timestamp, 1700000000, 0);
	CHECK(handshake_create_initiation(&we.hs, &we.id, &e, timestamp, &sent));
	cookie_jar_add_macs(&we.jar, &we.hs, (uint8_t *)&sent, sizeof(sent), NOW_NS);
}

/* What the peer would send; returns its length. @p is a copy of the peer. */
static size_t make_authentic(union datagram *d, struct end *p, enum message_type type)
{
	struct handshake_entropy e = entropy(4);
	struct initiation_opened o;
	uint8_t timestamp[TAI64N_LEN];
	static const uint8_t nonce[COOKIE_NONCE_LEN];

	switch (type) {
	case MESSAGE_INITIATION:
		tai64n_now(timestamp, 1700000001, 0);
		CHECK(handshake_create_initiation(&p->hs, &p->id, &e, timestamp, &d->initiation));
		return sizeof(d->initiation);
	case MESSAGE_RESPONSE:
		CHECK(initiation_open(&o, &p->id, &sent));
		CHECK(handshake_consume_initiation(&p->hs, &p->id, &o, &sent, NOW_NS) ==
		      HANDSHAKE_OK);
		CHECK(handshake_create_response(&p->hs, &p->id, &e, &d->response));
		return sizeof(d->response);
	case MESSAGE_COOKIE_REPLY:
		cookie_create_reply(&d->cookie_reply, &checker, &p->id, (const uint8_t *)&sent,
				    sizeof(sent), (struct bytes){ source, sizeof(source) }, nonce);
		return sizeof(d->cookie_reply);
	default:
		d->transport.type = le32(MESSAGE_TRANSPORT);
		return sizeof(d->transport) + NOISE_TAG_LEN;
	}
}

/* Were bytes changed that somebody has to notice? @from to @to of @len changes. */
static bool is_changed(const uint8_t *change, size_t len, size_t from, size_t to)
{
	for (size_t i = from; i < to && i < len; i++)
		if (change[i])
			return true;
	return false;
}

static void check_same_session(struct end *initiator, struct end *responder)
{
	struct session_keys i, r;
	CHECK(handshake_begin_session(&initiator->hs, &i));
	CHECK(handshake_begin_session(&responder->hs, &r));
	CHECK(memcmp(i.sending, r.receiving, NOISE_KEY_LEN) == 0);
	CHECK(memcmp(i.receiving, r.sending, NOISE_KEY_LEN) == 0);
}

/* Each feeds one datagram to a copy of us and returns whether it was accepted. */
static bool feed_initiation(struct end *us, const struct message_initiation *msg,
			    struct message_response *ret_response)
{
	struct handshake_entropy e = entropy(5);
	struct initiation_opened o;
	if (!macs_check_mac1(&us->id, (const uint8_t *)msg, sizeof(*msg)) ||
	    !initiation_open(&o, &us->id, msg))
		return false;
	if (memcmp(o.remote_static, us->hs.remote_static, NOISE_KEY_LEN) != 0 ||
	    handshake_consume_initiation(&us->hs, &us->id, &o, msg, NOW_NS) != HANDSHAKE_OK)
		return false;
	struct end again = *us; /* its like is refused, the same and a later one too soon after */
	CHECK(handshake_consume_initiation(&again.hs, &again.id, &o, msg, NOW_NS) ==
	      HANDSHAKE_REPLAY);
	memset(again.hs.latest_timestamp, 0, TAI64N_LEN);
	CHECK(handshake_consume_initiation(&again.hs, &again.id, &o, msg, NOW_NS + 1) ==
	      HANDSHAKE_FLOOD);
	CHECK(handshake_create_response(&us->hs, &us->id, &e, ret_response));
	return true;
}

static bool feed_response(struct end *us, const struct message_response *msg)
{
	return macs_check_mac1(&us->id, (const uint8_t *)msg, sizeof(*msg)) &&
	       handshake_consume_response(&us->hs, &us->id, msg);
}

static bool feed_transport(const struct message_transport *msg)
{
	struct replay window;
	uint64_t counter = le64_get(msg->counter);
	replay_init(&window);
	CHECK(replay_accept(&window, 100));
	bool may = replay_may_accept(&window, counter);
	CHECK(replay_accept(&window, counter) == may);
	CHECK(!replay_accept(&window, counter));
	return may;
}

/* A cookie that came lets us pass, from the source that it was made for, until it is too old. */
static bool feed_cookie_reply(struct end *us, const struct message_cookie_reply *reply)
{
	struct message_initiation again = sent;
	uint8_t *msg = (uint8_t *)&again;
	struct bytes from = { source, sizeof(source) };
	struct bytes other = { source + 1, sizeof(source) - 1 };

	if (!cookie_jar_consume_reply(&us->jar, &us->hs, reply, NOW_NS))
		return false;
	cookie_jar_add_macs(&us->jar, &us->hs, msg, sizeof(again), NOW_NS + NSEC_PER_SEC);
	CHECK(macs_check_mac1(&peer.id, msg, sizeof(again)));
	CHECK(cookie_check_mac2(&checker, msg, sizeof(again), from));
	CHECK(!cookie_check_mac2(&checker, msg, sizeof(again), other));
	cookie_jar_add_macs(&us->jar, &us->hs, msg, sizeof(again),
			    NOW_NS + COOKIE_SECRET_MAX_AGE_NS);
	CHECK(!us->jar.has_cookie && !cookie_check_mac2(&checker, msg, sizeof(again), from));
	return true;
}

/* Under load: the answer must be a well-formed message to whoever asked. */
static void refuse(const union datagram *d, size_t len)
{
	struct message_cookie_reply reply;
	uint8_t nonce[COOKIE_NONCE_LEN] = { 1 };
	struct bytes from = { source, sizeof(source) };
	CHECK(!cookie_check_mac2(&checker, d->bytes, len, from) || len == sizeof(d->initiation) ||
	      len == sizeof(d->response));
	cookie_create_reply(&reply, &checker, &we.id, d->bytes, len, from, nonce);
	CHECK(message_classify((const uint8_t *)&reply, sizeof(reply)) == MESSAGE_COOKIE_REPLY);
	CHECK(memcmp(&reply.receiver_index, &d->initiation.sender_index, 4) == 0);
}

static bool feed(struct end *us, const union datagram *d, size_t len,
		 struct message_response *ret_response)
{
	switch (message_classify(d->bytes, len)) {
	case MESSAGE_INITIATION:
		refuse(d, len);
		return feed_initiation(us, &d->initiation, ret_response);
	case MESSAGE_RESPONSE:
		refuse(d, len);
		return feed_response(us, &d->response);
	case MESSAGE_COOKIE_REPLY:
		return feed_cookie_reply(us, &d->cookie_reply);
	case MESSAGE_TRANSPORT:
		return feed_transport(&d->transport);
	default:
		return false;
	}
}

/* Is every authenticated byte of the peer's message as it was? */
static bool is_genuine(enum message_type type, const uint8_t *change, size_t len)
{
	switch (type) {
	case MESSAGE_INITIATION:
		return !is_changed(change, len, offsetof(struct message_initiation, ephemeral),
				   offsetof(struct message_initiation, macs));
	case MESSAGE_RESPONSE:
		return !is_changed(change, len, offsetof(struct message_response, receiver_index),
				   offsetof(struct message_response, macs));
	default: /* the receiver index of a cookie reply was looked at before */
		return !is_changed(change, len, offsetof(struct message_cookie_reply, nonce),
				   sizeof(struct message_cookie_reply));
	}
}

/* @change is laid over an authentic message of @type, and what comes of it is judged. */
static void fuzz_changed(enum message_type type, bool fix_mac1, const uint8_t *change, size_t len)
{
	union datagram d = { 0 };
	struct message_response response;
	struct end us;
	memcpy(&us, &we, sizeof(us));
	struct end p = peer;
	size_t d_len = make_authentic(&d, &p, type);
	bool has_macs = type == MESSAGE_INITIATION || type == MESSAGE_RESPONSE;
	if (has_macs && !fix_mac1)
		cookie_jar_add_macs(&p.jar, &p.hs, d.bytes, d_len, NOW_NS);
	for (size_t i = 0; i < len && i < d_len; i++)
		d.bytes[i] ^= change[i];
	if (has_macs && fix_mac1)
		cookie_jar_add_macs(&p.jar, &p.hs, d.bytes, d_len, NOW_NS);

	bool ok = feed(&us, &d, d_len, &response);
	if (!ok)
		CHECK(is_same(&us, &we, sizeof(us)));
	if (type == MESSAGE_TRANSPORT || message_classify(d.bytes, d_len) != type)
		return; /* anybody can make a transport message look acceptable to the window */
	bool genuine = is_genuine(type, change, MIN(len, d_len));
	CHECK(!ok || genuine);
	CHECK(ok || !genuine || (has_macs && !fix_mac1));
	if (!ok || is_changed(change, len, 0, d_len))
		return;
	/* Nothing was changed at all: the handshake completes. */
	if (type == MESSAGE_INITIATION) {
		CHECK(handshake_consume_response(&p.hs, &p.id, &response));
		check_same_session(&p, &us);
	} else if (type == MESSAGE_RESPONSE) {
		check_same_session(&us, &p);
	}
}

static void fuzz_raw(bool fix_mac1, const uint8_t *data, size_t len)
{
	union datagram d;
	struct message_response response;
	struct end us;
	memcpy(&us, &we, sizeof(us));
	len = MIN(len, sizeof(d));
	memcpy(d.bytes, data, len);
	enum message_type type = message_classify(d.bytes, len);
	if (fix_mac1 && (type == MESSAGE_INITIATION || type == MESSAGE_RESPONSE)) {
		struct cookie_jar jar = { 0 };
		cookie_jar_add_macs(&jar, &peer.hs, d.bytes, len, NOW_NS);
	}
	if (!feed(&us, &d, len, &response))
		CHECK(is_same(&us, &we, sizeof(us)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!we.id.has_private_key)
		set_up();
	if (len == 0)
		return 0;
	uint8_t mode = data[0];
	uint8_t psk[NOISE_KEY_LEN] = { mode & MODE_PSK };
	handshake_set_psk(&we.hs, psk);
	handshake_set_psk(&peer.hs, psk);
	bool fix_mac1 = mode & MODE_FIX_MAC1;
	if (mode & MODE_CHANGE)
		fuzz_changed((enum message_type)((mode & MODE_TYPE) + 1), fix_mac1, data + 1,
			     len - 1);
	else
		fuzz_raw(fix_mac1, data + 1, len - 1);
	return 0;
}

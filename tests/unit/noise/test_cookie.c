/* SPDX-License-Identifier: MPL-2.0 */
/* mac1, mac2 and cookies: who accepts what from whom, for how long, and what must be ignored. */
#include "fixture.h"

static struct end a; /* sends */
static struct end b; /* is under load */
static struct cookie_checker checker;
static uint8_t secret[COOKIE_SECRET_LEN] = { 5, 5, 5 };
static uint8_t nonce[COOKIE_NONCE_LEN] = { 6 };
static uint8_t source_v4[6] = { 192, 0, 2, 1, 0xca, 0x6c };
static uint8_t source_v6[18] = { 0x20, 1, 0xd, 0xb8, [15] = 1, 0xca, 0x6c };

static const struct bytes from_v4 = { source_v4, sizeof(source_v4) };
static const struct bytes from_v6 = { source_v6, sizeof(source_v6) };

static void init(void)
{
	ends_init(&a, &b);
	cookie_checker_renew(&checker, secret, T0_NS);
}

TestSuite(cookie, .init = init);

/* An initiation of a's with its macs. */
static struct message_initiation send_at(uint64_t now_ns)
{
	struct message_initiation msg = initiate(&a);
	cookie_jar_add_macs(&a.jar, &a.hs, (uint8_t *)&msg, sizeof(msg), now_ns);
	return msg;
}

static bool has_mac2(const struct message_initiation *msg, struct bytes source)
{
	return cookie_check_mac2(&checker, (const uint8_t *)msg, sizeof(*msg), source);
}

static struct message_cookie_reply refuse(const struct message_initiation *msg, struct bytes source)
{
	struct message_cookie_reply reply;
	nonce[0]++;
	cookie_create_reply(&reply, &checker, &b.id, (const uint8_t *)msg, sizeof(*msg), source,
			    nonce);
	return reply;
}

/* a was refused and knows its cookie for @source since @now_ns. */
static void give_cookie(struct bytes source, uint64_t now_ns)
{
	struct message_initiation msg = send_at(now_ns);
	struct message_cookie_reply reply = refuse(&msg, source);
	cr_assert(cookie_jar_consume_reply(&a.jar, &a.hs, &reply, now_ns));
}

Test(cookie, mac1_is_for_one_receiver)
{
	struct message_initiation msg = send_at(T0_NS);
	cr_assert(macs_check_mac1(&b.id, (uint8_t *)&msg, sizeof(msg)));
	cr_assert(!macs_check_mac1(&a.id, (uint8_t *)&msg, sizeof(msg)));
}

Test(cookie, mac1_covers_every_bit_before_it)
{
	struct message_initiation msg = send_at(T0_NS);
	uint8_t *p = (uint8_t *)&msg;
	for (size_t bit = 0; bit < 8 * 132; bit++) {
		p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert(!macs_check_mac1(&b.id, p, sizeof(msg)), "bit %zu", bit);
		p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	p[140] ^= 1; /* but not mac2 (P-103) */
	cr_assert(macs_check_mac1(&b.id, p, sizeof(msg)));
}

Test(cookie, mac1_of_a_response)
{
	struct message_initiation msg = initiate(&a);
	cr_assert(consume_initiation(&b, &msg, T0_NS) == HANDSHAKE_OK);
	struct message_response response = respond(&b);
	cookie_jar_add_macs(&b.jar, &b.hs, (uint8_t *)&response, sizeof(response), T0_NS);
	cr_assert(macs_check_mac1(&a.id, (uint8_t *)&response, sizeof(response)));
	cr_assert(secret_is_zero(response.macs.mac2, MAC_LEN));
	response.receiver_index.b[0] ^= 1;
	cr_assert(!macs_check_mac1(&a.id, (uint8_t *)&response, sizeof(response)));
}

Test(cookie, nothing_is_accepted_without_a_private_key)
{
	static const uint8_t zero[NOISE_KEY_LEN];
	static struct identity none;
	uint8_t msg[sizeof(struct message_initiation)] = { 1 };
	identity_set(&none, zero);
	/* A mac1 under the key that the zeroed identity holds. */
	struct handshake forged = { 0 };
	cookie_jar_add_macs(&a.jar, &forged, msg, sizeof(msg), T0_NS);
	cr_assert(!macs_check_mac1(&none, msg, sizeof(msg)));
}

Test(cookie, mac2_is_zero_without_a_cookie)
{
	struct message_initiation msg = send_at(T0_NS);
	cr_assert(secret_is_zero(msg.macs.mac2, MAC_LEN));
	cr_assert(!has_mac2(&msg, from_v4));
}

Test(cookie, a_cookie_makes_mac2)
{
	give_cookie(from_v4, T0_NS);
	struct message_initiation msg = send_at(T0_NS);
	cr_assert(has_mac2(&msg, from_v4));
	cr_assert(macs_check_mac1(&b.id, (uint8_t *)&msg, sizeof(msg)));

	uint8_t *p = (uint8_t *)&msg;
	for (size_t bit = 0; bit < 8 * sizeof(msg); bit++) { /* mac1 included (P-102) */
		p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert(!has_mac2(&msg, from_v4), "bit %zu", bit);
		p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

Test(cookie, binds_the_whole_source)
{
	struct bytes sources[] = { from_v4, from_v6 };
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		give_cookie(sources[i], T0_NS);
		struct message_initiation msg = send_at(T0_NS);
		cr_assert(has_mac2(&msg, sources[i]));
		cr_assert(!has_mac2(&msg, sources[!i]));
		uint8_t other[COOKIE_SOURCE_MAX_LEN];
		memcpy(other, sources[i].data, sources[i].len);
		for (size_t byte = 0; byte < sources[i].len; byte++) { /* the port too */
			other[byte] ^= 0x10;
			cr_assert(!has_mac2(&msg, (struct bytes){ other, sources[i].len }));
			other[byte] ^= 0x10;
		}
	}
}

Test(cookie, only_the_current_secret_counts)
{
	give_cookie(from_v4, T0_NS);
	struct message_initiation msg = send_at(T0_NS);
	cr_assert(has_mac2(&msg, from_v4));
	secret[31] ^= 1;
	cookie_checker_renew(&checker, secret, T0_NS);
	cr_assert(!has_mac2(&msg, from_v4));
}

/* Before its first renewal the checker holds 32 zeros, which everybody knows. */
Test(cookie, no_secret_accepts_nothing)
{
	static const uint8_t zero[COOKIE_SECRET_LEN];
	static const struct cookie_checker fresh;
	cookie_checker_renew(&checker, zero, T0_NS);
	give_cookie(from_v4, T0_NS);
	struct message_initiation msg = send_at(T0_NS);
	cr_assert(has_mac2(&msg, from_v4));
	cr_assert(!cookie_check_mac2(&fresh, (uint8_t *)&msg, sizeof(msg), from_v4));
}

Test(cookie, secret_lives_120_seconds)
{
	struct cookie_checker fresh = { 0 };
	cr_assert(cookie_checker_is_stale(&fresh, 0));
	cr_assert(!cookie_checker_is_stale(&checker, T0_NS));
	cr_assert(!cookie_checker_is_stale(&checker, T0_NS + 120 * NSEC_PER_SEC - 1));
	cr_assert(cookie_checker_is_stale(&checker, T0_NS + 120 * NSEC_PER_SEC));
	cookie_checker_renew(&checker, secret, T0_NS + 120 * NSEC_PER_SEC);
	cr_assert(!cookie_checker_is_stale(&checker, T0_NS + 120 * NSEC_PER_SEC));
	cookie_checker_finish(&checker);
	cr_assert(secret_is_zero(&checker, sizeof(checker)));
}

Test(cookie, reply_is_for_the_refused_message_alone)
{
	struct message_initiation msg = send_at(T0_NS);
	struct message_cookie_reply reply = refuse(&msg, from_v4);
	cr_assert(message_classify((uint8_t *)&reply, sizeof(reply)) == MESSAGE_COOKIE_REPLY);
	cr_assert(le32_get(reply.receiver_index) == a.hs.local_index);

	struct cookie_jar before;
	(void)send_at(T0_NS); /* another mac1 was sent since */
	before = a.jar;
	cr_assert(!cookie_jar_consume_reply(&a.jar, &a.hs, &reply, T0_NS));
	cr_assert(memcmp(&before, &a.jar, sizeof(before)) == 0);
}

Test(cookie, reply_from_somebody_else_is_ignored)
{
	struct end c, unused;
	struct message_cookie_reply reply;
	ends_init(&c, &unused);
	struct message_initiation msg = send_at(T0_NS);
	cookie_create_reply(&reply, &checker, &c.id, (uint8_t *)&msg, sizeof(msg), from_v4, nonce);
	cr_assert(!cookie_jar_consume_reply(&a.jar, &a.hs, &reply, T0_NS));
	cr_assert(!a.jar.has_cookie);
}

Test(cookie, damaged_replies_are_ignored)
{
	struct message_initiation msg = send_at(T0_NS);
	struct message_cookie_reply reply = refuse(&msg, from_v4);
	struct cookie_jar before = a.jar;
	uint8_t *p = (uint8_t *)&reply;
	for (size_t bit = 8 * offsetof(struct message_cookie_reply, nonce); bit < 8 * sizeof(reply);
	     bit++) {
		p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert(!cookie_jar_consume_reply(&a.jar, &a.hs, &reply, T0_NS), "bit %zu", bit);
		cr_assert(memcmp(&before, &a.jar, sizeof(before)) == 0);
		p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	cr_assert(cookie_jar_consume_reply(&a.jar, &a.hs, &reply, T0_NS)); /* the real one */
}

Test(cookie, second_reply_to_one_mac1_is_ignored)
{
	struct message_initiation msg = send_at(T0_NS);
	struct message_cookie_reply first = refuse(&msg, from_v4);
	struct message_cookie_reply second = refuse(&msg, from_v6);
	cr_assert(cookie_jar_consume_reply(&a.jar, &a.hs, &first, T0_NS));
	cr_assert(!cookie_jar_consume_reply(&a.jar, &a.hs, &second, T0_NS));
	cr_assert(!cookie_jar_consume_reply(&a.jar, &a.hs, &first, T0_NS + NSEC_PER_SEC));
	cr_assert(a.jar.received_ns == T0_NS);
	msg = send_at(T0_NS);
	cr_assert(has_mac2(&msg, from_v4));
}

Test(cookie, unasked_reply_is_ignored)
{
	struct message_initiation msg = send_at(T0_NS);
	struct message_cookie_reply reply = refuse(&msg, from_v4);
	struct cookie_jar empty = { 0 };
	cr_assert(!cookie_jar_consume_reply(&empty, &a.hs, &reply, T0_NS));
	cr_assert(secret_is_zero(&empty, sizeof(empty)));
}

Test(cookie, is_used_for_115_seconds)
{
	give_cookie(from_v4, T0_NS);
	struct message_initiation msg = send_at(T0_NS + 115 * NSEC_PER_SEC - 1);
	cr_assert(has_mac2(&msg, from_v4));
	msg = send_at(T0_NS + 115 * NSEC_PER_SEC);
	cr_assert(secret_is_zero(msg.macs.mac2, MAC_LEN));
	cr_assert(secret_is_zero(a.jar.cookie, COOKIE_LEN)); /* not kept for nothing */

	give_cookie(from_v4, T0_NS + 116 * NSEC_PER_SEC);
	msg = send_at(T0_NS + 116 * NSEC_PER_SEC);
	cr_assert(has_mac2(&msg, from_v4));
	cookie_jar_finish(&a.jar);
	cr_assert(secret_is_zero(&a.jar, sizeof(a.jar)));
}

/* A response can be refused like an initiation. */
Test(cookie, reply_to_a_response)
{
	struct message_cookie_reply reply;
	struct message_initiation msg = initiate(&a);
	cr_assert(consume_initiation(&b, &msg, T0_NS) == HANDSHAKE_OK);
	struct message_response response = respond(&b);
	cookie_jar_add_macs(&b.jar, &b.hs, (uint8_t *)&response, sizeof(response), T0_NS);
	cookie_create_reply(&reply, &checker, &a.id, (uint8_t *)&response, sizeof(response),
			    from_v6, nonce);
	cr_assert(le32_get(reply.receiver_index) == b.hs.local_index);
	cr_assert(cookie_jar_consume_reply(&b.jar, &b.hs, &reply, T0_NS));

	cookie_jar_add_macs(&b.jar, &b.hs, (uint8_t *)&response, sizeof(response), T0_NS);
	cr_assert(cookie_check_mac2(&checker, (uint8_t *)&response, sizeof(response), from_v6));
}

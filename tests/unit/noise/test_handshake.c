/* SPDX-License-Identifier: MPL-2.0 */
/* The handshake as a state machine: what completes, what is refused, and that whatever is refused
 * changes nothing. Bit-exact transcripts are in test_handshake_vectors.c. */
#include "fixture.h"

static struct end a; /* initiator, if not said otherwise */
static struct end b;

static void init(void)
{
	ends_init(&a, &b);
}

TestSuite(handshake, .init = init);

/* a: initiation in flight; b: has answered it, session not begun. */
static struct message_response half_way(void)
{
	struct message_initiation msg = initiate(&a);
	cr_assert(consume_initiation(&b, &msg, T0_NS) == HANDSHAKE_OK);
	return respond(&b);
}

/* Refused, and @e's handshake is what it was. */
static void check_response_refused(struct end *e, const struct message_response *msg,
				   const char *why)
{
	struct handshake before = e->hs;
	cr_assert(!handshake_consume_response(&e->hs, &e->id, msg), "%s", why);
	cr_assert(memcmp(&before, &e->hs, sizeof(before)) == 0, "%s", why);
}

static void check_initiation(struct end *e, const struct message_initiation *msg, uint64_t now_ns,
			     enum handshake_verdict want)
{
	(void)!handshake_precompute(&e->hs, &e->id); /* the one thing that may change */
	struct handshake before = e->hs;
	enum handshake_verdict got = consume_initiation(e, msg, now_ns);
	cr_assert(got == want, "verdict %d, not %d", got, want);
	if (want != HANDSHAKE_OK)
		cr_assert(memcmp(&before, &e->hs, sizeof(before)) == 0);
}

static bool holds(const void *object, size_t size, const uint8_t needle[32])
{
	for (size_t i = 0; i + 32 <= size; i++)
		if (memcmp((const uint8_t *)object + i, needle, 32) == 0)
			return true;
	return false;
}

Test(handshake, completes)
{
	for (int i = 0; i < 20; i++) { /* again and again with the same objects */
		struct message_initiation msg = initiate(&a);
		cr_assert(a.hs.state == HS_CREATED_INITIATION);
		check_initiation(&b, &msg, T0_NS + i * NSEC_PER_SEC, HANDSHAKE_OK);
		cr_assert(b.hs.state == HS_CONSUMED_INITIATION);
		struct message_response response = respond(&b);
		cr_assert(b.hs.state == HS_CREATED_RESPONSE);
		cr_assert(handshake_consume_response(&a.hs, &a.id, &response));
		cr_assert(a.hs.state == HS_CONSUMED_RESPONSE);
		check_session(&a, &b);
		cr_assert(a.hs.state == HS_ZEROED && b.hs.state == HS_ZEROED);
	}
}

Test(handshake, completes_with_a_preshared_key)
{
	uint8_t psk[NOISE_KEY_LEN];
	random_bytes(psk, sizeof(psk));
	handshake_set_psk(&a.hs, psk);
	handshake_set_psk(&b.hs, psk);
	struct message_response response = half_way();
	cr_assert(handshake_consume_response(&a.hs, &a.id, &response));
	check_session(&a, &b);
}

Test(handshake, messages_are_well_formed)
{
	struct message_initiation msg = initiate(&a);
	cr_assert(message_classify((uint8_t *)&msg, sizeof(msg)) == MESSAGE_INITIATION);
	cr_assert(le32_get(msg.sender_index) == a.hs.local_index);
	cr_assert(secret_is_zero(&msg.macs, sizeof(msg.macs)));
	check_initiation(&b, &msg, T0_NS, HANDSHAKE_OK);
	struct message_response response = respond(&b);
	cr_assert(message_classify((uint8_t *)&response, sizeof(response)) == MESSAGE_RESPONSE);
	cr_assert(le32_get(response.sender_index) == b.hs.local_index);
	cr_assert(le32_get(response.receiver_index) == a.hs.local_index);
	cr_assert(secret_is_zero(&response.macs, sizeof(response.macs)));
}

Test(handshake, loading_a_peer_costs_no_dh)
{
	cr_assert(!a.hs.has_static_static);
	cr_assert(handshake_precompute(&a.hs, &a.id));
	cr_assert(a.hs.has_static_static && handshake_precompute(&b.hs, &b.id));
	cr_assert(memcmp(a.hs.static_static, b.hs.static_static, NOISE_KEY_LEN) == 0);
}

Test(handshake, clamps_the_ephemeral_key)
{
	uint8_t timestamp[TAI64N_LEN];
	struct message_initiation raw, clamped;
	struct handshake_entropy e = random_entropy();
	e.ephemeral_private[0] |= 7;
	e.ephemeral_private[31] |= 0x80;
	next_timestamp(timestamp);
	cr_assert(handshake_create_initiation(&a.hs, &a.id, &e, timestamp, &raw));
	e.ephemeral_private[0] &= 0xf8;
	e.ephemeral_private[31] = (uint8_t)((e.ephemeral_private[31] & 0x7f) | 0x40);
	cr_assert(memcmp(a.hs.ephemeral_private, e.ephemeral_private, NOISE_KEY_LEN) == 0);
	cr_assert(handshake_create_initiation(&a.hs, &a.id, &e, timestamp, &clamped));
	cr_assert(memcmp(&raw, &clamped, sizeof(raw)) == 0);
}

/* --- initiations that must be refused --- */

Test(handshake, initiation_for_somebody_else)
{
	struct end c, d;
	ends_init(&c, &d);
	struct message_initiation msg = initiate(&a);
	check_initiation(&c, &msg, T0_NS, HANDSHAKE_BAD);
}

Test(handshake, initiation_with_any_bit_changed)
{
	struct message_initiation msg = initiate(&a);
	uint8_t *p = (uint8_t *)&msg;
	for (size_t i = offsetof(struct message_initiation, ephemeral);
	     i < offsetof(struct message_initiation, macs); i++) {
		/* Bit 255 of a point is ignored by DH but hashed all the same. */
		uint8_t bit = (uint8_t)(1 << (i % 4 == 3 ? 7 : i % 8));
		p[i] ^= bit;
		check_initiation(&b, &msg, T0_NS, HANDSHAKE_BAD);
		p[i] ^= bit;
	}
	check_initiation(&b, &msg, T0_NS, HANDSHAKE_OK);
}

Test(handshake, initiation_replayed)
{
	uint8_t early[TAI64N_LEN], late[TAI64N_LEN], later[TAI64N_LEN];
	tai64n_now(early, 1700000000, 0);
	tai64n_now(late, 1700000000, 999999999);
	tai64n_now(later, 1700000001, 0);
	struct message_initiation first = initiate_at(&a, late);
	check_initiation(&b, &first, T0_NS, HANDSHAKE_OK);

	uint64_t now_ns = T0_NS + 3600 * NSEC_PER_SEC;
	check_initiation(&b, &first, now_ns, HANDSHAKE_REPLAY);
	struct message_initiation other = initiate_at(&a, late); /* fresh, but not later */
	check_initiation(&b, &other, now_ns, HANDSHAKE_REPLAY);
	other = initiate_at(&a, early);
	check_initiation(&b, &other, now_ns, HANDSHAKE_REPLAY);

	/* What ends a session does not forget it (P-058). */
	handshake_clear(&b.hs);
	check_initiation(&b, &first, now_ns, HANDSHAKE_REPLAY);
	handshake_identity_changed(&b.hs);
	check_initiation(&b, &first, now_ns, HANDSHAKE_REPLAY);
	other = initiate_at(&a, later);
	check_initiation(&b, &other, now_ns, HANDSHAKE_OK);
}

Test(handshake, timestamps_compare_as_big_endian_numbers)
{
	/* Each differs from the one before in a more significant byte and is smaller below it. */
	uint8_t timestamp[TAI64N_LEN];
	memset(timestamp, 0, sizeof(timestamp));
	for (size_t i = TAI64N_LEN; i-- > 0;) {
		memset(timestamp, 0, sizeof(timestamp));
		timestamp[i] = 0x80;
		struct message_initiation msg = initiate_at(&a, timestamp);
		check_initiation(&b, &msg, T0_NS + (TAI64N_LEN - i) * NSEC_PER_SEC, HANDSHAKE_OK);
		timestamp[i] = 0x7f;
		msg = initiate_at(&a, timestamp);
		check_initiation(&b, &msg, T0_NS + 3600 * NSEC_PER_SEC, HANDSHAKE_REPLAY);
	}
}

Test(handshake, initiations_20_ms_apart)
{
	struct message_initiation first = initiate(&a);
	struct message_initiation second = initiate(&a);
	struct message_initiation third = initiate(&a);
	check_initiation(&b, &first, T0_NS, HANDSHAKE_OK);
	check_initiation(&b, &second, T0_NS, HANDSHAKE_FLOOD);
	check_initiation(&b, &second, T0_NS + 19999999, HANDSHAKE_FLOOD);
	check_initiation(&b, &second, T0_NS - 1, HANDSHAKE_FLOOD); /* read on another thread */
	check_initiation(&b, &first, T0_NS + 1, HANDSHAKE_REPLAY);
	/* Its timestamp was not stored, and the refusals did not move the 20 ms. */
	check_initiation(&b, &second, T0_NS + 20000000, HANDSHAKE_OK);
	check_initiation(&b, &third, T0_NS + 20000001, HANDSHAKE_FLOOD);
	check_initiation(&b, &third, T0_NS + 40000000, HANDSHAKE_OK);
}

Test(handshake, first_initiation_right_after_boot)
{
	struct message_initiation msg = initiate(&a);
	check_initiation(&b, &msg, 0, HANDSHAKE_OK);
	msg = initiate(&a);
	check_initiation(&b, &msg, 1, HANDSHAKE_FLOOD);
}

/* --- responses that must be refused --- */

Test(handshake, response_with_any_bit_changed)
{
	struct message_response msg = half_way();
	uint8_t *p = (uint8_t *)&msg;
	for (size_t i = offsetof(struct message_response, receiver_index);
	     i < offsetof(struct message_response, macs); i++) {
		uint8_t bit = (uint8_t)(1 << (i % 4 == 3 ? 7 : i % 8));
		p[i] ^= bit;
		check_response_refused(&a, &msg, "bit flipped");
		p[i] ^= bit;
	}
	cr_assert(handshake_consume_response(&a.hs, &a.id, &msg)); /* P-068 */
	check_session(&a, &b);
}

Test(handshake, response_with_another_psk)
{
	uint8_t psk[NOISE_KEY_LEN] = { 1 };
	handshake_set_psk(&b.hs, psk);
	struct message_response wrong = half_way();
	check_response_refused(&a, &wrong, "psk at the responder only");

	/* The key configured now counts (P-067): the initiation in flight stays usable. */
	handshake_set_psk(&a.hs, psk);
	cr_assert(handshake_consume_response(&a.hs, &a.id, &wrong));
	check_session(&a, &b);
}

Test(handshake, response_when_none_is_awaited)
{
	struct message_response msg = half_way();
	struct handshake in_flight = a.hs;

	cr_assert(handshake_consume_response(&a.hs, &a.id, &msg));
	check_response_refused(&a, &msg, "consumed already (P-071)");
	check_session(&a, &b);
	msg.receiver_index = le32(0); /* what a cleared handshake has */
	check_response_refused(&a, &msg, "zeroed");
	msg.receiver_index = le32(in_flight.local_index);
	check_response_refused(&a, &msg, "zeroed");

	/* as a responder itself */
	struct message_initiation from_b = initiate(&b);
	a.hs = in_flight;
	check_initiation(&a, &from_b, T0_NS, HANDSHAKE_OK);
	check_response_refused(&a, &msg, "consumed an initiation since");
	(void)respond(&a);
	msg.receiver_index = le32(a.hs.local_index);
	check_response_refused(&a, &msg, "created a response since");
}

Test(handshake, response_to_a_superseded_initiation)
{
	struct message_initiation first = initiate(&a);
	uint32_t first_index = a.hs.local_index;
	check_initiation(&b, &first, T0_NS, HANDSHAKE_OK);
	struct message_response late = respond(&b);
	struct message_initiation second = initiate(&a);
	cr_assert(a.hs.local_index != first_index);
	check_response_refused(&a, &late, "superseded (P-069)");
	late.receiver_index = le32(a.hs.local_index); /* not even with the right index */
	check_response_refused(&a, &late, "superseded, index forged");

	check_initiation(&b, &second, T0_NS + NSEC_PER_SEC, HANDSHAKE_OK);
	struct message_response msg = respond(&b);
	cr_assert(handshake_consume_response(&a.hs, &a.id, &msg));
	check_session(&a, &b);
}

Test(handshake, response_from_somebody_else)
{
	struct end c, d;
	struct message_initiation msg = initiate(&a);
	ends_init(&c, &d);
	check_initiation(&b, &msg, T0_NS, HANDSHAKE_OK);
	/* c answers in b's place with all that was on the wire */
	struct handshake stolen = b.hs;
	struct handshake_entropy e = random_entropy();
	struct message_response forged;
	memcpy(stolen.remote_static, c.hs.remote_static, NOISE_KEY_LEN); /* se differs */
	cr_assert(handshake_create_response(&stolen, &c.id, &e, &forged));
	check_response_refused(&a, &forged, "without b's view of a");
}

/* --- keys with which nothing works --- */

static const uint8_t low_order[][NOISE_KEY_LEN] = {
	{ 0 },
	{ 1 },
	{ 0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3,
	  0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32,
	  0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00 },
	{ 0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1,
	  0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c,
	  0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57 },
	{ 0xec, [1 ... 30] = 0xff, [31] = 0x7f }, /* p - 1 */
	{ 0xed, [1 ... 30] = 0xff, [31] = 0x7f }, /* p */
	{ 0xee, [1 ... 30] = 0xff, [31] = 0x7f }, /* p + 1 */
};

Test(handshake, low_order_peer_is_never_sent_to)
{
	for (size_t i = 0; i < 2 * ARRAY_SIZE(low_order); i++) {
		uint8_t timestamp[TAI64N_LEN], point[NOISE_KEY_LEN];
		struct message_initiation msg, untouched;
		struct handshake_entropy e = random_entropy();
		memcpy(point, low_order[i / 2], sizeof(point));
		point[31] |= i % 2 ? 0x80 : 0;
		next_timestamp(timestamp);
		memset(&msg, 0x55, sizeof(msg));
		untouched = msg;
		handshake_init(&a.hs, point);
		cr_assert(!handshake_create_initiation(&a.hs, &a.id, &e, timestamp, &msg));
		cr_assert(memcmp(&msg, &untouched, sizeof(msg)) == 0);
		cr_assert(a.hs.state == HS_ZEROED && a.hs.static_static_is_zero);
		cr_assert(!handshake_create_initiation(&a.hs, &a.id, &e, timestamp, &msg));
	}
}

/* Somebody who knows only our public key can claim a low-order static key: then ss is zero, known to
 * everybody, and must not authenticate the peer that is configured with it. */
Test(handshake, low_order_peer_is_not_accepted)
{
	for (size_t i = 0; i < ARRAY_SIZE(low_order); i++) {
		struct end forger = a;
		memcpy(forger.id.public_key, low_order[i], NOISE_KEY_LEN);
		memset(forger.hs.static_static, 0, NOISE_KEY_LEN);
		forger.hs.has_static_static = true;
		struct message_initiation msg = initiate(&forger);
		struct initiation_opened o;
		cr_assert(initiation_open(&o, &b.id, &msg));
		cr_assert(memcmp(o.remote_static, low_order[i], NOISE_KEY_LEN) == 0);
		handshake_init(&b.hs, low_order[i]);
		check_initiation(&b, &msg, T0_NS, HANDSHAKE_BAD);
	}
}

Test(handshake, low_order_ephemeral_keys)
{
	struct message_response response = half_way();
	for (size_t i = 0; i < ARRAY_SIZE(low_order); i++) {
		struct initiation_opened o;
		struct message_initiation msg = { .type = le32(MESSAGE_INITIATION) };
		struct message_response forged = response;
		memcpy(msg.ephemeral, low_order[i], NOISE_KEY_LEN);
		cr_assert(!initiation_open(&o, &b.id, &msg));
		memcpy(forged.ephemeral, low_order[i], NOISE_KEY_LEN);
		check_response_refused(&a, &forged, "low-order ephemeral");
	}
	cr_assert(handshake_consume_response(&a.hs, &a.id, &response));
}

Test(handshake, low_order_point_in_a_state_that_should_not_have_it)
{
	struct message_response msg;
	struct handshake_entropy e = random_entropy();
	struct message_initiation initiation = initiate(&a);
	check_initiation(&b, &initiation, T0_NS, HANDSHAKE_OK);
	memcpy(b.hs.remote_ephemeral, low_order[1], NOISE_KEY_LEN);
	struct handshake before = b.hs;
	cr_assert(!handshake_create_response(&b.hs, &b.id, &e, &msg));
	cr_assert(memcmp(&before, &b.hs, sizeof(before)) == 0);
}

Test(handshake, nothing_without_a_private_key)
{
	static const uint8_t zero[NOISE_KEY_LEN];
	uint8_t timestamp[TAI64N_LEN];
	struct message_initiation msg;
	struct message_response response;
	struct initiation_opened o;
	struct handshake_entropy e = random_entropy();
	next_timestamp(timestamp);

	struct identity none;
	identity_set(&none, zero);
	cr_assert(!handshake_precompute(&a.hs, &none));
	cr_assert(!handshake_create_initiation(&a.hs, &none, &e, timestamp, &msg));
	response = half_way();
	cr_assert(!handshake_consume_response(&a.hs, &none, &response));
	msg = initiate(&a);
	cr_assert(!initiation_open(&o, &none, &msg));
	cr_assert(initiation_open(&o, &b.id, &msg)); /* the key vanishes in between */
	cr_assert(handshake_consume_initiation(&b.hs, &none, &o, &msg, T0_NS + NSEC_PER_SEC) ==
		  HANDSHAKE_BAD);
	check_initiation(&b, &msg, T0_NS + NSEC_PER_SEC, HANDSHAKE_OK);
	cr_assert(!handshake_create_response(&b.hs, &none, &e, &response));
}

/* --- changes under way --- */

Test(handshake, own_key_changes)
{
	struct message_response late = half_way();
	random_identity(&a.id);
	handshake_identity_changed(&a.hs);
	cr_assert(a.hs.state == HS_ZEROED && !a.hs.has_static_static);
	cr_assert(secret_is_zero(a.hs.static_static, NOISE_KEY_LEN));
	check_response_refused(&a, &late, "identity changed");

	struct message_initiation msg = initiate(&a);
	struct initiation_opened o;
	cr_assert(initiation_open(&o, &b.id, &msg));
	cr_assert(memcmp(o.remote_static, a.id.public_key, NOISE_KEY_LEN) == 0);
	handshake_init(&b.hs, a.id.public_key);
	check_initiation(&b, &msg, T0_NS, HANDSHAKE_OK);
	struct message_response response = respond(&b);
	cr_assert(handshake_consume_response(&a.hs, &a.id, &response));
	check_session(&a, &b);
}

Test(handshake, both_initiate_at_once)
{
	struct message_initiation from_a = initiate(&a);
	struct message_initiation from_b = initiate(&b);
	check_initiation(&a, &from_b, T0_NS, HANDSHAKE_OK);
	check_initiation(&b, &from_a, T0_NS, HANDSHAKE_OK);
	struct message_response to_b = respond(&a);
	struct message_response to_a = respond(&b);
	check_response_refused(&a, &to_a, "own initiation was overwritten (P-073)");
	check_response_refused(&b, &to_b, "own initiation was overwritten (P-073)");

	/* No deadlock: the next attempt completes. */
	handshake_clear(&b.hs);
	from_a = initiate(&a);
	check_initiation(&b, &from_a, T0_NS + 5 * NSEC_PER_SEC, HANDSHAKE_OK);
	to_a = respond(&b);
	cr_assert(handshake_consume_response(&a.hs, &a.id, &to_a));
	check_session(&a, &b);
}

Test(handshake, later_initiation_replaces_the_one_consumed)
{
	struct message_initiation first = initiate(&a);
	struct message_initiation second = initiate(&a);
	check_initiation(&b, &first, T0_NS, HANDSHAKE_OK);
	check_initiation(&b, &second, T0_NS + NSEC_PER_SEC, HANDSHAKE_OK);
	struct message_response msg = respond(&b);
	cr_assert(handshake_consume_response(&a.hs, &a.id, &msg));
	check_session(&a, &b);
}

Test(handshake, runs_on_copies)
{
	/* A worker computes on copies while the original stays as it was; its outcome is whole. */
	struct message_response msg = half_way();
	struct end copy = a;
	struct handshake before = a.hs;
	cr_assert(handshake_consume_response(&copy.hs, &copy.id, &msg));
	cr_assert(memcmp(&before, &a.hs, sizeof(before)) == 0);
	check_session(&copy, &b);
}

/* --- states and secrets --- */

Test(handshake, only_the_right_state_does_it)
{
	struct session_keys k;
	struct message_response response;
	struct handshake_entropy e = random_entropy();

	cr_assert(!handshake_begin_session(&a.hs, &k)); /* zeroed */
	cr_assert(!handshake_create_response(&a.hs, &a.id, &e, &response));
	struct message_initiation msg = initiate(&a);
	cr_assert(!handshake_begin_session(&a.hs, &k)); /* created initiation */
	cr_assert(!handshake_create_response(&a.hs, &a.id, &e, &response));
	check_initiation(&b, &msg, T0_NS, HANDSHAKE_OK);
	cr_assert(!handshake_begin_session(&b.hs, &k)); /* consumed initiation */
	response = respond(&b);
	struct message_response again;
	cr_assert(!handshake_create_response(&b.hs, &b.id, &e, &again)); /* created response */
	cr_assert(handshake_consume_response(&a.hs, &a.id, &response));
	cr_assert(!handshake_create_response(&a.hs, &a.id, &e, &again)); /* consumed response */
	check_session(&a, &b);
	cr_assert(!handshake_begin_session(&a.hs, &k)); /* once only */
	cr_assert(!handshake_begin_session(&b.hs, &k));
}

/* Even if the keys were still there. */
Test(handshake, the_state_alone_decides)
{
	struct message_initiation msg = initiate(&a);
	check_initiation(&b, &msg, T0_NS, HANDSHAKE_OK);
	struct end initiator = a;
	struct end responder = b;
	struct message_response response = respond(&b);
	for (int i = 0; i < HS_N_STATES; i++) {
		struct message_response unused;
		struct handshake_entropy e = random_entropy();
		initiator.hs.state = responder.hs.state = (enum handshake_state)i;
		if (i != HS_CREATED_INITIATION)
			check_response_refused(&initiator, &response, handshake_state_name(i));
		if (i != HS_CONSUMED_INITIATION)
			cr_assert(!handshake_create_response(&responder.hs, &responder.id, &e,
							     &unused));
	}
}

Test(handshake, restarts_from_every_state)
{
	struct message_initiation msg;
	struct message_response response;
	uint64_t now_ns = T0_NS;

	(void)initiate(&a);
	(void)initiate(&a); /* created initiation */
	msg = initiate(&b);
	check_initiation(&a, &msg, now_ns, HANDSHAKE_OK);
	(void)initiate(&a); /* consumed initiation */
	msg = initiate(&b);
	check_initiation(&a, &msg, now_ns += NSEC_PER_SEC, HANDSHAKE_OK);
	(void)respond(&a);
	(void)initiate(&a); /* created response */
	msg = initiate(&b);
	check_initiation(&a, &msg, now_ns += NSEC_PER_SEC, HANDSHAKE_OK);
	response = respond(&a);
	cr_assert(handshake_consume_response(&b.hs, &b.id, &response));
	msg = initiate(&b);                                               /* consumed response */
	check_initiation(&a, &msg, now_ns += NSEC_PER_SEC, HANDSHAKE_OK); /* and created response */
	response = respond(&a);
	cr_assert(handshake_consume_response(&b.hs, &b.id, &response));
	check_session(&b, &a);
}

Test(handshake, secrets_go_when_the_session_begins)
{
	struct message_initiation msg = initiate(&a);
	struct handshake initiator = a.hs;
	cr_assert(holds(&a.hs, sizeof(a.hs), initiator.ephemeral_private));
	check_initiation(&b, &msg, T0_NS, HANDSHAKE_OK);
	struct message_response response = respond(&b);
	cr_assert(secret_is_zero(b.hs.remote_ephemeral, NOISE_KEY_LEN));
	cr_assert(handshake_consume_response(&a.hs, &a.id, &response));
	cr_assert(!holds(&a.hs, sizeof(a.hs), initiator.ephemeral_private));
	struct handshake done = a.hs;
	check_session(&a, &b);
	for (struct end *e = &a; e; e = e == &a ? &b : NULL) {
		cr_assert(!holds(&e->hs, sizeof(e->hs), done.chaining_key));
		cr_assert(!holds(&e->hs, sizeof(e->hs), done.hash));
		cr_assert(!holds(&e->hs, sizeof(e->hs), initiator.chaining_key));
		cr_assert(e->hs.local_index == 0 && e->hs.remote_index == 0);
	}
}

Test(handshake, overwriting_forgets_the_own_ephemeral_key)
{
	(void)initiate(&a);
	struct handshake before = a.hs;
	struct message_initiation msg = initiate(&b);
	check_initiation(&a, &msg, T0_NS, HANDSHAKE_OK);
	cr_assert(!holds(&a.hs, sizeof(a.hs), before.ephemeral_private));
	cr_assert(a.hs.local_index == before.local_index); /* still the caller's to free */
}

Test(handshake, clear_keeps_what_the_peer_needs)
{
	uint8_t psk[NOISE_KEY_LEN] = { 9 };
	struct message_initiation msg = initiate(&a);
	handshake_set_psk(&b.hs, psk);
	check_initiation(&b, &msg, T0_NS, HANDSHAKE_OK);
	struct handshake before = b.hs;
	handshake_clear(&b.hs);
	cr_assert(b.hs.state == HS_ZEROED && b.hs.has_static_static && b.hs.has_consumed);
	cr_assert(b.hs.last_consumed_ns == T0_NS);
	cr_assert(memcmp(b.hs.latest_timestamp, before.latest_timestamp, TAI64N_LEN) == 0);
	cr_assert(memcmp(b.hs.preshared_key, psk, sizeof(psk)) == 0);
	cr_assert(memcmp(b.hs.mac1_key, before.mac1_key, NOISE_HASH_LEN) == 0);
	handshake_clear(&b.hs); /* again does no harm */
	handshake_finish(&b.hs);
	cr_assert(secret_is_zero(&b.hs, sizeof(b.hs)));
}

Test(handshake, states_have_names)
{
	for (int i = 0; i < HS_N_STATES; i++)
		cr_assert(strlen(handshake_state_name((enum handshake_state)i)) > 0);
	cr_assert(strcmp(handshake_state_name(HS_CREATED_RESPONSE), "created-response") == 0);
}

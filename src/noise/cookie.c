/* SPDX-License-Identifier: MPL-2.0 */
/* mac1, mac2 and cookie replies. */
#include "noise/cookie.h"

#include <assert.h>
#include <string.h>

#include "crypto/blake2s.h"
#include "crypto/secret.h"
#include "crypto/xaead.h"

/* 115 s: the peer's secret may be replaced while our message is under way (P-108). */
#define COOKIE_USABLE_NS (COOKIE_SECRET_MAX_AGE_NS - COOKIE_SECRET_LATENCY_NS)

/* What precedes mac1; mac2 covers MAC_LEN bytes more. */
static size_t len_before_macs(size_t len)
{
	assert(len > sizeof(struct message_macs));
	return len - sizeof(struct message_macs);
}

bool macs_check_mac1(const struct identity *id, const uint8_t *msg, size_t len)
{
	if (!id->has_private_key)
		return false;

	size_t n = len_before_macs(len);
	uint8_t mac1[MAC_LEN];
	blake2s_mac(mac1, (struct bytes){ id->mac1_key, sizeof(id->mac1_key) },
		    (struct bytes){ msg, n });
	return secret_equal(mac1, msg + n, MAC_LEN);
}

bool cookie_checker_is_stale(const struct cookie_checker *c, uint64_t now_ns)
{
	return !c->has_secret || now_ns - c->birth_ns >= COOKIE_SECRET_MAX_AGE_NS;
}

void cookie_checker_renew(struct cookie_checker *c, const uint8_t fresh[COOKIE_SECRET_LEN],
			  uint64_t now_ns)
{
	memcpy(c->secret, fresh, COOKIE_SECRET_LEN);
	c->birth_ns = now_ns;
	c->has_secret = true;
}

void cookie_checker_finish(struct cookie_checker *c)
{
	secret_wipe(c, sizeof(*c));
}

static void make_cookie(uint8_t cookie[COOKIE_LEN], const struct cookie_checker *c,
			struct bytes source)
{
	blake2s_mac(cookie, (struct bytes){ c->secret, sizeof(c->secret) }, source);
}

bool cookie_check_mac2(const struct cookie_checker *c, const uint8_t *msg, size_t len,
		       struct bytes source)
{
	if (!c->has_secret)
		return false;

	size_t n = len_before_macs(len) + MAC_LEN;
	uint8_t cookie[COOKIE_LEN];
	uint8_t mac2[MAC_LEN];
	make_cookie(cookie, c, source);
	blake2s_mac(mac2, (struct bytes){ cookie, sizeof(cookie) }, (struct bytes){ msg, n });
	bool ok = secret_equal(mac2, msg + n, MAC_LEN);
	secret_wipe(cookie, sizeof(cookie));
	secret_wipe(mac2, sizeof(mac2)); /* the right one, which the sender may not know */
	return ok;
}

void cookie_create_reply(struct message_cookie_reply *ret, const struct cookie_checker *c,
			 const struct identity *id, const uint8_t *msg, size_t len,
			 struct bytes source, const uint8_t nonce[COOKIE_NONCE_LEN])
{
	assert(c->has_secret && id->has_private_key);
	uint8_t cookie[COOKIE_LEN];
	make_cookie(cookie, c, source);

	ret->type = le32(MESSAGE_COOKIE_REPLY);
	/* Initiation and response both have the sender index here. */
	memcpy(&ret->receiver_index, msg + offsetof(struct message_initiation, sender_index),
	       sizeof(ret->receiver_index));
	memcpy(ret->nonce, nonce, COOKIE_NONCE_LEN);
	xchacha20poly1305_seal(ret->encrypted_cookie, id->cookie_key, nonce,
			       (struct bytes){ cookie, sizeof(cookie) },
			       (struct bytes){ msg + len_before_macs(len), MAC_LEN });
	secret_wipe(cookie, sizeof(cookie));
}

void cookie_jar_add_macs(struct cookie_jar *jar, const struct handshake *hs, uint8_t *msg,
			 size_t len, uint64_t now_ns)
{
	size_t n = len_before_macs(len);
	uint8_t *mac1 = msg + n;
	uint8_t *mac2 = mac1 + MAC_LEN;
	blake2s_mac(mac1, (struct bytes){ hs->mac1_key, sizeof(hs->mac1_key) },
		    (struct bytes){ msg, n });
	memcpy(jar->last_mac1, mac1, MAC_LEN);
	jar->has_last_mac1 = true;

	if (jar->has_cookie && now_ns - jar->received_ns >= COOKIE_USABLE_NS) {
		jar->has_cookie = false;
		secret_wipe(jar->cookie, sizeof(jar->cookie));
	}
	if (jar->has_cookie)
		blake2s_mac(mac2, (struct bytes){ jar->cookie, sizeof(jar->cookie) },
			    (struct bytes){ msg, n + MAC_LEN });
	else
		memset(mac2, 0, MAC_LEN);
}

bool cookie_jar_consume_reply(struct cookie_jar *jar, const struct handshake *hs,
			      const struct message_cookie_reply *msg, uint64_t now_ns)
{
	if (!jar->has_last_mac1)
		return false;

	uint8_t cookie[COOKIE_LEN];
	if (!xchacha20poly1305_open(
		    cookie, hs->cookie_key, msg->nonce,
		    (struct bytes){ msg->encrypted_cookie, sizeof(msg->encrypted_cookie) },
		    (struct bytes){ jar->last_mac1, sizeof(jar->last_mac1) }))
		return false;

	memcpy(jar->cookie, cookie, COOKIE_LEN);
	jar->received_ns = now_ns;
	jar->has_cookie = true;
	jar->has_last_mac1 = false;
	secret_wipe(cookie, sizeof(cookie));
	return true;
}

void cookie_jar_finish(struct cookie_jar *jar)
{
	secret_wipe(jar, sizeof(*jar));
}

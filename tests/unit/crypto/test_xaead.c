/* SPDX-License-Identifier: MPL-2.0 */
/* The one-shot AEADs against published vectors; no single bit may change unnoticed. */
#include <string.h>

#include <criterion/criterion.h>

#include "base/macro.h"
#include "crypto/secret.h"
#include "crypto/xaead.h"
#include "crypto_vectors.h"

enum { BOX_MAX = 2400 };

/* One entry of either table. */
struct box {
	struct bytes key, nonce, ad, pt, box;
};

static void init(void)
{
	cr_assert(crypto_init() == 0);
}

TestSuite(xaead, .init = init);

static void seal(uint8_t *out, const struct box *b)
{
	if (b->nonce.len == XAEAD_NONCE_LEN)
		xchacha20poly1305_seal(out, b->key.data, b->nonce.data, b->pt, b->ad);
	else
		chacha20poly1305_seal(out, b->key.data, load_le64(b->nonce.data + 4), b->pt, b->ad);
}

static bool open(uint8_t *out, const struct box *b)
{
	if (b->nonce.len == XAEAD_NONCE_LEN)
		return xchacha20poly1305_open(out, b->key.data, b->nonce.data, b->box, b->ad);
	return chacha20poly1305_open(out, b->key.data, load_le64(b->nonce.data + 4), b->box, b->ad);
}

/* Opening fails and what was to be written is zero. */
static void check_refused(const struct box *b)
{
	static const uint8_t zero[BOX_MAX];
	uint8_t out[BOX_MAX];
	memset(out, 0x55, sizeof(out));
	cr_assert(!open(out, b));
	cr_assert(memcmp(out, zero, b->pt.len) == 0 && out[b->pt.len] == 0x55);
}

/* Every bit of the member at @offset in turn. */
static void check_flips(const struct box *b, size_t offset)
{
	uint8_t forged[BOX_MAX];
	struct box f = *b;
	struct bytes *member = (void *)((char *)&f + offset);
	memcpy(forged, member->data, member->len);
	member->data = forged;
	for (size_t bit = 0; bit < 8 * member->len; bit++) {
		forged[bit / 8] ^= (uint8_t)(1 << bit % 8);
		check_refused(&f);
		forged[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void check_box(const struct box *b)
{
	uint8_t out[BOX_MAX];
	cr_assert(b->box.len <= sizeof(out) && b->box.len == b->pt.len + XAEAD_TAG_LEN);
	seal(out, b);
	cr_assert(memcmp(out, b->box.data, b->box.len) == 0);
	memset(out, 0, sizeof(out));
	cr_assert(open(out, b));
	cr_assert(memcmp(out, b->pt.data, b->pt.len) == 0);

	/* in place, both ways */
	struct box in_place = *b;
	memcpy(out, b->pt.data, b->pt.len);
	in_place.pt.data = out;
	seal(out, &in_place);
	cr_assert(memcmp(out, b->box.data, b->box.len) == 0);
	in_place.box.data = out;
	cr_assert(open(out, &in_place));
	cr_assert(memcmp(out, b->pt.data, b->pt.len) == 0);

	check_flips(b, offsetof(struct box, box));
	check_flips(b, offsetof(struct box, ad));
}

Test(xaead, chacha20poly1305_vectors)
{
	static const uint8_t no_prefix[4];
	size_t n_checked = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vectors_chacha20poly1305); i++) {
		const struct vector_chacha20poly1305 *v = &vectors_chacha20poly1305[i];
		/* Ours has no way to say a nonce that WireGuard never uses. */
		if (memcmp(v->nonce.data, no_prefix, sizeof(no_prefix)) != 0)
			continue;
		check_box(&(struct box){ v->key, v->nonce, v->ad, v->pt, v->box });
		n_checked++;
	}
	cr_assert(n_checked >= 42);
}

Test(xaead, xchacha20poly1305_vectors)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors_xchacha20poly1305); i++) {
		const struct vector_xchacha20poly1305 *v = &vectors_xchacha20poly1305[i];
		struct box b = { v->key, v->nonce, v->ad, v->pt, v->box };
		check_box(&b);
		check_flips(&b, offsetof(struct box, nonce));
		check_flips(&b, offsetof(struct box, key));
	}
}

Test(xaead, shorter_than_a_tag)
{
	static const uint8_t key[XAEAD_KEY_LEN];
	static const uint8_t nonce[XAEAD_NONCE_LEN];
	uint8_t out[1] = { 0x55 };
	for (size_t len = 0; len < XAEAD_TAG_LEN; len++) {
		struct bytes box = { key, len };
		cr_assert(!chacha20poly1305_open(out, key, 0, box, (struct bytes){ NULL, 0 }));
		cr_assert(!xchacha20poly1305_open(out, key, nonce, box, (struct bytes){ NULL, 0 }));
	}
	cr_assert(out[0] == 0x55);
}

Test(xaead, verifies_without_output)
{
	static const uint8_t key[XAEAD_KEY_LEN] = { 1 };
	struct bytes ad = { key, sizeof(key) };
	uint8_t tag[XAEAD_TAG_LEN];
	chacha20poly1305_seal(tag, key, 5, (struct bytes){ NULL, 0 }, ad);
	struct bytes box = { tag, sizeof(tag) };
	cr_assert(chacha20poly1305_open(NULL, key, 5, box, ad));
	cr_assert(!chacha20poly1305_open(NULL, key, 6, box, ad));
	tag[15] ^= 0x80;
	cr_assert(!chacha20poly1305_open(NULL, key, 5, box, ad));
}

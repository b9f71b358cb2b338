/* SPDX-License-Identifier: MPL-2.0 */
/* X25519 against RFC 7748, low-order and non-canonical points. */
#include <string.h>

#include <criterion/criterion.h>

#include "base/macro.h"
#include "crypto/secret.h"
#include "crypto/x25519.h"
#include "crypto_vectors.h"

static void init(void)
{
	cr_assert(crypto_init() == 0);
}

TestSuite(x25519, .init = init);

Test(x25519, vectors)
{
	size_t n_zero = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vectors_x25519); i++) {
		const struct vector_x25519 *v = &vectors_x25519[i];
		uint8_t out[X25519_LEN];
		memset(out, 0x55, sizeof(out));
		bool ok = x25519(out, v->scalar.data, v->u.data);
		cr_assert(ok == !v->all_zero, "entry %zu: %s", i, v->note ? v->note : v->source);
		cr_assert(memcmp(out, v->out.data, sizeof(out)) == 0, "entry %zu: %s", i,
			  v->note ? v->note : v->source);
		n_zero += v->all_zero;
	}
	cr_assert(n_zero == 14); /* seven low-order points, with and without the top bit */
}

Test(x25519, iterated)
{
	const struct vector_x25519_iterated *v = &vectors_x25519_iterated[0];
	uint8_t k[X25519_LEN];
	uint8_t u[X25519_LEN];
	memcpy(k, v->start.data, sizeof(k));
	memcpy(u, v->start.data, sizeof(u));
	for (uint64_t i = 0; i < v->iterations; i++) {
		uint8_t old[X25519_LEN];
		memcpy(old, k, sizeof(old));
		cr_assert(x25519(k, k, u));
		memcpy(u, old, sizeof(u));
	}
	cr_assert(memcmp(k, v->out.data, sizeof(k)) == 0);
}

Test(x25519, output_may_be_either_input)
{
	const struct vector_x25519 *v = &vectors_x25519[0];
	uint8_t out[X25519_LEN];
	memcpy(out, v->scalar.data, sizeof(out));
	cr_assert(x25519(out, out, v->u.data));
	cr_assert(memcmp(out, v->out.data, sizeof(out)) == 0);
	memcpy(out, v->u.data, sizeof(out));
	cr_assert(x25519(out, v->scalar.data, out));
	cr_assert(memcmp(out, v->out.data, sizeof(out)) == 0);
}

Test(x25519, public_key_is_the_product_with_nine)
{
	static const uint8_t nine[X25519_LEN] = { 9 };
	for (size_t i = 0; i < ARRAY_SIZE(vectors_x25519); i++) {
		uint8_t want[X25519_LEN];
		uint8_t got[X25519_LEN];
		cr_assert(x25519(want, vectors_x25519[i].scalar.data, nine));
		memcpy(got, vectors_x25519[i].scalar.data, sizeof(got));
		x25519_public(got, got);
		cr_assert(memcmp(got, want, sizeof(got)) == 0);
	}
}

Test(x25519, clamp)
{
	uint8_t scalar[X25519_LEN];
	memset(scalar, 0xff, sizeof(scalar));
	x25519_clamp(scalar);
	cr_assert(scalar[0] == 0xf8 && scalar[1] == 0xff && scalar[31] == 0x7f);
	memset(scalar, 0, sizeof(scalar));
	x25519_clamp(scalar);
	cr_assert(scalar[0] == 0 && scalar[31] == 0x40);

	/* DH does it by itself: nothing but the clamped bits matters. */
	uint8_t raw[X25519_LEN];
	uint8_t clamped[X25519_LEN];
	static const uint8_t nine[X25519_LEN] = { 9 };
	memset(scalar, 0xa5, sizeof(scalar));
	cr_assert(x25519(raw, scalar, nine));
	x25519_clamp(scalar);
	cr_assert(x25519(clamped, scalar, nine));
	cr_assert(memcmp(raw, clamped, sizeof(raw)) == 0);
}

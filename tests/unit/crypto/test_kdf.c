/* SPDX-License-Identifier: MPL-2.0 */
/* KDF1 to KDF3, and that outputs may overwrite the chaining key. */
#include <string.h>

#include <criterion/criterion.h>

#include "base/macro.h"
#include "crypto/kdf.h"
#include "crypto_vectors.h"

/* KDFn by number; the chaining key is t[0] itself, as in the handshake. */
static void kdf_in_place(uint8_t t[3][KDF_LEN], const struct vector_kdf *v)
{
	memcpy(t[0], v->chaining_key.data, KDF_LEN);
	if (v->n == 1)
		kdf1(t[0], t[0], v->in);
	else if (v->n == 2)
		kdf2(t[0], t[1], t[0], v->in);
	else
		kdf3(t[0], t[1], t[2], t[0], v->in);
}

Test(kdf, vectors)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors_kdf); i++) {
		const struct vector_kdf *v = &vectors_kdf[i];
		uint8_t t[3][KDF_LEN];
		cr_assert(v->n >= 1 && v->n <= 3);
		kdf_in_place(t, v);
		for (size_t j = 0; j < v->n; j++)
			cr_assert(memcmp(t[j], v->out[j].data, KDF_LEN) == 0, "entry %zu, t%zu", i,
				  j + 1);
	}
}

Test(kdf, input_may_be_overwritten)
{
	const struct vector_kdf *v = &vectors_kdf[0];
	uint8_t in[KDF_LEN];
	cr_assert(v->n == 1 && v->in.len == sizeof(in));
	memcpy(in, v->in.data, sizeof(in));
	kdf1(in, v->chaining_key.data, (struct bytes){ in, sizeof(in) });
	cr_assert(memcmp(in, v->out[0].data, KDF_LEN) == 0);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* TAI64N against derived values, and its order. */
#include <string.h>

#include <criterion/criterion.h>

#include "base/macro.h"
#include "crypto_vectors.h"
#include "noise/tai64n.h"

Test(tai64n, vectors)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors_tai64n); i++) {
		const struct vector_tai64n *v = &vectors_tai64n[i];
		uint8_t out[TAI64N_LEN];
		tai64n_now(out, v->sec, (uint32_t)v->nsec);
		cr_assert(v->out.len == sizeof(out));
		cr_assert(memcmp(out, v->out.data, sizeof(out)) == 0, "entry %zu", i);
	}
}

Test(tai64n, later_is_greater)
{
	uint8_t last[TAI64N_LEN];
	uint8_t next[TAI64N_LEN];
	tai64n_now(last, 255, 0);
	for (uint32_t i = 1; i < 600; i++) { /* in steps of 2^24 ns, over carries of both parts */
		uint64_t ns = i * UINT64_C(0x1000000);
		tai64n_now(next, 255 + ns / NSEC_PER_SEC, (uint32_t)(ns % NSEC_PER_SEC));
		cr_assert(memcmp(next, last, sizeof(next)) >= 0);
		memcpy(last, next, sizeof(last));
	}
	tai64n_now(last, 255, 999999999);
	tai64n_now(next, 256, 0);
	cr_assert(memcmp(next, last, sizeof(next)) > 0);
}

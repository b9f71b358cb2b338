/* SPDX-License-Identifier: MPL-2.0 */
/* What the AEAD kernels share: their declarations, wiping, and comparing tags. Private to the
 * aead*.c files and their tests. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/aead.h"

extern const struct aead_impl aead_ref;
extern const struct aead_impl aead_avx2;
extern const struct aead_impl aead_avx512;
extern const struct aead_impl aead_avx512ifma;
extern const struct aead_impl aead_neon;
extern const struct aead_impl aead_null; /* no encryption: benchmarks only */

/* Tests replace one-time Poly1305 keys to reach values of r and s that no known ChaCha20 key
 * gives; everywhere else this is nothing. */
#ifdef AEAD_TEST_ONE_TIME_KEY
void aead_test_one_time_key(const uint8_t one_time_key[32]);
#else
static inline void aead_test_one_time_key(const uint8_t one_time_key[32])
{
}
#endif

/* Checks of constant time are told that the verdict on a tag is public; everywhere else this is
 * nothing. */
#ifdef AEAD_TEST_DECLASSIFY
void aead_test_declassify(void *p, size_t len);
#else
static inline void aead_test_declassify(void *p, size_t len)
{
}
#endif

/* Zeroes memory that is dead afterwards: the compiler must assume that someone looks. */
static inline void aead_wipe(void *p, size_t len)
{
	memset(p, 0, len);
	__asm__ volatile("" : : "r"(p) : "memory");
}

/* Zeroes what functions that have returned left below the caller's frame, and the registers that
 * hold no caller's value. */
void aead_wipe_below(void);
void aead_wipe_far_below(void); /* if lanes of Poly1305 were at work */

/* Constant time; the result is public. */
static inline bool aead_tag_is_equal(const uint8_t a[AEAD_TAG_LEN], const uint8_t b[AEAD_TAG_LEN])
{
	uint64_t diff = (load_le64(a) ^ load_le64(b)) | (load_le64(a + 8) ^ load_le64(b + 8));
	bool is_equal = diff == 0;
	aead_test_declassify(&is_equal, sizeof(is_equal));
	return is_equal;
}

/* SPDX-License-Identifier: MPL-2.0 */
#include "leaky.h"

#include <string.h>

#include "base/bytes.h"
#include "crypto/aead_impl.h"

static const uint8_t table[256] = { 1, 2, 3, 5, 7, 11 };

/* What the compiler may not see through, so that it can not mend a leak. */
static inline uint64_t opaque(uint64_t x)
{
	__asm__ volatile("" : "+r"(x));
	return x;
}

static inline void touch(void)
{
	__asm__ volatile("" ::: "memory");
}

static void open_nothing(struct aead_open_job *job, size_t n)
{
	for (size_t i = 0; i < n; i++)
		job[i].ok = true;
}

static void seal_branch(const struct aead_seal_job *job, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (opaque(job[i].key[7]) & 1) {
			touch();
			job[i].out[0] = 1;
		}
}

static void seal_index(const struct aead_seal_job *job, size_t n)
{
	for (size_t i = 0; i < n; i++)
		job[i].out[0] = table[opaque(job[i].key[3])];
}

/* Through a spilled register and an addition, as a carry of Poly1305 would come. */
static void seal_carry(const struct aead_seal_job *job, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		volatile uint64_t spilled = load_le64(job[i].key);
		uint64_t sum;
		if (__builtin_add_overflow(opaque(spilled), UINT64_MAX - 1, &sum)) {
			touch();
			sum++;
		}
		store_le64(job[i].out, sum);
	}
}

/* Through vector registers: are the first 16 bytes of the key zeros? */
static void seal_vector(const struct aead_seal_job *job, size_t n)
{
	typedef uint32_t vec __attribute__((vector_size(16)));
	for (size_t i = 0; i < n; i++) {
		vec v;
		memcpy(&v, job[i].key, sizeof(v));
		v ^= (vec){ 1, 2, 3, 4 };
		v += __builtin_shufflevector(v, v, 2, 3, 0, 1);
		if (opaque(v[0] | v[1]) == 0) {
			touch();
			job[i].out[0] = 1;
		}
	}
}

static void seal_division(const struct aead_seal_job *job, size_t n)
{
	for (size_t i = 0; i < n; i++)
		job[i].out[0] = (uint8_t)(opaque(load_le64(job[i].key)) / opaque(n + 2));
}

/* Text decides, not the key. */
static void seal_text(const struct aead_seal_job *job, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (job[i].in_len[0] && opaque(job[i].in[0][0]) == 0) {
			touch();
			job[i].out[0] = 1;
		}
}

/* Branches on lengths, uses secrets as data: nothing to find. */
static void seal_clean(const struct aead_seal_job *job, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t mix[4], carry = 0;
		memcpy(mix, job[i].key, sizeof(mix));
		for (uint32_t k = 0; k < job[i].in_len[0]; k++) {
			mix[k % 4] += job[i].in[0][k] + (carry >> 63);
			carry = mix[k % 4] ^ opaque(mix[(k + 1) % 4]);
			job[i].out[k] = (uint8_t)((0 - (carry & 1)) ^ (carry >> 9));
		}
		aead_wipe(mix, sizeof(mix));
	}
}

__attribute__((noinline)) bool leaky_tag_is_equal(const uint8_t *a, const uint8_t *b)
{
	for (size_t i = 0; i < AEAD_TAG_LEN; i++)
		if (opaque(a[i]) != b[i])
			return false;
	return true;
}

/* The key stands for the tag that was computed. */
static void open_memcmp(struct aead_open_job *job, size_t n)
{
	for (size_t i = 0; i < n; i++)
		job[i].ok = leaky_tag_is_equal(job[i].key, job[i].in);
}

static void seal_nothing(const struct aead_seal_job *job, size_t n)
{
}

#define LEAKY(n, what, s, o)                                                                       \
	{                                                                                          \
		.name = n, .finds = what, .impl = { .name = n, .seal_burst = s, .open_burst = o }, \
	}

const struct leaky leaky[] = {
	LEAKY("leaky-branch", "branch", seal_branch, open_nothing),
	LEAKY("leaky-index", "address", seal_index, open_nothing),
	LEAKY("leaky-carry", "branch", seal_carry, open_nothing),
	LEAKY("leaky-vector", "branch", seal_vector, open_nothing),
	LEAKY("leaky-division", "time", seal_division, open_nothing),
	LEAKY("leaky-text", "branch", seal_text, open_nothing),
	LEAKY("leaky-compare", "branch", seal_nothing, open_memcmp),
	LEAKY("leaky-not", "none", seal_clean, open_nothing),
	{ .name = NULL },
};

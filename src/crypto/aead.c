/* SPDX-License-Identifier: MPL-2.0 */
/* The table of AEAD kernels and the choice among them. */
#include "crypto/aead.h"

#include "crypto/aead_impl.h"

#ifdef RINGTUN_NULL_CIPHER
const struct aead_impl *const aead_impls[] = { &aead_null, NULL };

const struct aead_impl *aead_select(unsigned cpu)
{
	return &aead_null;
}
#else
const struct aead_impl *const aead_impls[] = {
#ifdef HAVE_AVX512IFMA
	&aead_avx512ifma,
#endif
#ifdef HAVE_AVX512
	&aead_avx512,
#endif
#ifdef HAVE_AVX2
	&aead_avx2,
#endif
#ifdef HAVE_NEON
	&aead_neon,
#endif
	&aead_ref,        NULL,
};

const struct aead_impl *aead_select(unsigned cpu)
{
	for (size_t i = 0; aead_impls[i]; i++)
		if (!(aead_impls[i]->cpu & ~cpu))
			return aead_impls[i];
	return &aead_ref;
}
#endif

enum {
	/* Deeper than the frames of ChaCha20, and of Poly1305 in lanes with its powers of r, as
	 * -fstack-usage says; test_aead_wipe.c looks for what is left. */
	WIPE_LEN = 3072,
	WIPE_DEEP_LEN = 7168,
};

/* Integer registers that a function may leave dirty, and the vector registers that any compiler
 * uses without asking. Kernels for wider registers clear the rest. */
static inline void wipe_registers(void)
{
#if defined(__x86_64__)
	__asm__ volatile("xor %%eax, %%eax; xor %%ecx, %%ecx; xor %%edx, %%edx; xor %%esi, %%esi;"
			 "xor %%edi, %%edi; xor %%r8d, %%r8d; xor %%r9d, %%r9d; xor %%r10d, %%r10d;"
			 "xor %%r11d, %%r11d" ::
				 : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11",
				   "cc");
	__asm__ volatile("pxor %%xmm0, %%xmm0; pxor %%xmm1, %%xmm1; pxor %%xmm2, %%xmm2;"
			 "pxor %%xmm3, %%xmm3; pxor %%xmm4, %%xmm4; pxor %%xmm5, %%xmm5;"
			 "pxor %%xmm6, %%xmm6; pxor %%xmm7, %%xmm7; pxor %%xmm8, %%xmm8;"
			 "pxor %%xmm9, %%xmm9; pxor %%xmm10, %%xmm10; pxor %%xmm11, %%xmm11;"
			 "pxor %%xmm12, %%xmm12; pxor %%xmm13, %%xmm13; pxor %%xmm14, %%xmm14;"
			 "pxor %%xmm15, %%xmm15" ::
				 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
				   "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
				   "xmm15");
#elif defined(__aarch64__)
	__asm__ volatile("mov x0, xzr; mov x1, xzr; mov x2, xzr; mov x3, xzr; mov x4, xzr;"
			 "mov x5, xzr; mov x6, xzr; mov x7, xzr; mov x8, xzr; mov x9, xzr;"
			 "mov x10, xzr; mov x11, xzr; mov x12, xzr; mov x13, xzr; mov x14, xzr;"
			 "mov x15, xzr" ::
				 : "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9",
				   "x10", "x11", "x12", "x13", "x14", "x15");
	__asm__ volatile("movi v0.2d, #0; movi v1.2d, #0; movi v2.2d, #0; movi v3.2d, #0;"
			 "movi v4.2d, #0; movi v5.2d, #0; movi v6.2d, #0; movi v7.2d, #0;"
			 "movi v8.2d, #0; movi v9.2d, #0; movi v10.2d, #0; movi v11.2d, #0;"
			 "movi v12.2d, #0; movi v13.2d, #0; movi v14.2d, #0; movi v15.2d, #0;"
			 "movi v16.2d, #0; movi v17.2d, #0; movi v18.2d, #0; movi v19.2d, #0;"
			 "movi v20.2d, #0; movi v21.2d, #0; movi v22.2d, #0; movi v23.2d, #0;"
			 "movi v24.2d, #0; movi v25.2d, #0; movi v26.2d, #0; movi v27.2d, #0;"
			 "movi v28.2d, #0; movi v29.2d, #0; movi v30.2d, #0; movi v31.2d, #0" ::
				 : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9",
				   "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18",
				   "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27",
				   "v28", "v29", "v30", "v31");
#endif
}

__attribute__((noinline)) void aead_wipe_below(void)
{
	uint8_t below[WIPE_LEN];
	aead_wipe(below, sizeof(below));
	wipe_registers();
}

__attribute__((noinline)) void aead_wipe_far_below(void)
{
	uint8_t below[WIPE_DEEP_LEN];
	aead_wipe(below, sizeof(below));
	wipe_registers();
}

/* SPDX-License-Identifier: MPL-2.0 */
/* CPU features that the vector kernels need, as the CPU and the operating system both offer them
 * (CPUID with XGETBV on x86, HWCAP on aarch64). Reads no environment: the caller masks. */
#pragma once

#include <stdint.h>

enum cpu_feature {
	CPU_AVX2 = 1U << 0,
	CPU_AVX512 = 1U << 1, /* F, BW, VL, DQ and zmm state enabled */
	CPU_AVX512_IFMA = 1U << 2,
	CPU_NEON = 1U << 3,
};

/* Bits of enum cpu_feature. Any thread; costs some CPUID calls, so keep the result. */
unsigned cpu_features(void);

/* Parses a mask as users write it: "avx2,neon", "none", "all" or a number (0x3); the result is what
 * may be used. 0, or -EINVAL with @ret_mask untouched. */
int cpu_mask_parse(const char *text, unsigned *ret_mask);

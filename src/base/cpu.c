/* SPDX-License-Identifier: MPL-2.0 */
/* CPU features: what the CPU has, cut down to what the operating system saves and restores. */
#include "base/cpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "base/macro.h"

#if defined(__x86_64__)

enum {
	XCR0_YMM = 0x06, /* xmm and the upper half of ymm */
	XCR0_ZMM = 0xe6, /* and mask registers, the upper half of zmm, zmm16 - 31 */
};

/* The vector state that the operating system switches: XGETBV with ecx = 0. */
static uint64_t xcr0(void)
{
	uint32_t lo, hi;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

unsigned cpu_features(void)
{
	unsigned eax, ebx, ecx, edx, features = 0;
	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE))
		return 0;
	if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
		return 0;

	/* kernels take BMI2 for granted where there is AVX2: every CPU has both or neither */
	uint64_t os = xcr0();
	const unsigned avx2 = bit_AVX2 | bit_BMI2;
	if ((os & XCR0_YMM) == XCR0_YMM && (ebx & avx2) == avx2)
		features |= CPU_AVX2;

	const unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
	if (features && (os & XCR0_ZMM) == XCR0_ZMM && (ebx & avx512) == avx512) {
		features |= CPU_AVX512;
		if (ebx & bit_AVX512IFMA)
			features |= CPU_AVX512_IFMA;
	}
	return features;
}

#elif defined(__aarch64__) && defined(__linux__)

unsigned cpu_features(void)
{
	const unsigned long hwcap_asimd = 1UL << 1; /* HWCAP_ASIMD */
	return getauxval(AT_HWCAP) & hwcap_asimd ? CPU_NEON : 0;
}

#elif defined(__aarch64__)

unsigned cpu_features(void)
{
	return CPU_NEON; /* Advanced SIMD is part of every ABI for aarch64 */
}

#else

unsigned cpu_features(void)
{
	return 0;
}

#endif

/* A name allows all that the kernel of this name needs. */
static const struct cpu_name {
	const char *name;
	unsigned bits;
} cpu_names[] = {
	{ "all", ~0U },
	{ "none", 0 },
	{ "ref", 0 },
	{ "avx2", CPU_AVX2 },
	{ "avx512", CPU_AVX512 },
	{ "avx512ifma", CPU_AVX512 | CPU_AVX512_IFMA },
	{ "neon", CPU_NEON },
};

static const struct cpu_name *cpu_name_find(const char *text, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(cpu_names); i++)
		if (strlen(cpu_names[i].name) == len && !memcmp(cpu_names[i].name, text, len))
			return &cpu_names[i];
	return NULL;
}

static int cpu_mask_parse_number(const char *text, unsigned *ret_mask)
{
	char *end;
	errno = 0;
	unsigned long v = strtoul(text, &end, 0);
	if (errno || *end || v > ~0U)
		return -EINVAL;
	*ret_mask = (unsigned)v;
	return 0;
}

int cpu_mask_parse(const char *text, unsigned *ret_mask)
{
	if (*text >= '0' && *text <= '9')
		return cpu_mask_parse_number(text, ret_mask);

	unsigned mask = 0;
	for (;;) {
		size_t len = strcspn(text, ",");
		const struct cpu_name *n = cpu_name_find(text, len);
		if (!n)
			return -EINVAL;
		mask |= n->bits;
		text += len;
		if (!*text)
			break;
		text++;
	}
	*ret_mask = mask;
	return 0;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* AEAD kernel for AVX-512 without IFMA: Poly1305 in 26-bit limbs, multiplied by vpmuludq. */
#include "crypto/aead_avx512.h"

#include "base/cpu.h"
#include "crypto/aead_impl.h"

typedef vec half;
#define half_set(a)         (a)
#define half_mla(acc, a, b) _mm512_add_epi64(acc, _mm512_mul_epu32(a, b))

#include "crypto/aead_fe26.h"
#include "crypto/aead_mac.h"

static void avx512_mac(struct mac *const *m, unsigned width)
{
	mac_run(m, width);
}

static void avx512_chacha(const struct chacha_lanes *lanes, unsigned n)
{
	chacha_any(lanes, n);
}

static void avx512_chacha_run(const struct chacha_run *run, size_t n)
{
	chacha_run_16(run, n);
}

const struct aead_kernel aead_avx512_kernel = {
	.n_lanes = 16,
	.lanes_granule = 4,
	.n_mac_lanes = 8,
	.mac_setup_cost = { 510, 580, 500, 510 },
	.mac_batch_cost = 190,
	.chacha = avx512_chacha,
	.chacha_run = avx512_chacha_run,
	.mac = avx512_mac,
	.wipe_registers = wipe_high_registers,
};

static void avx512_seal_burst(const struct aead_seal_job *job, size_t n)
{
	aead_burst_seal(&aead_avx512_kernel, job, n);
}

static void avx512_open_burst(struct aead_open_job *job, size_t n)
{
	aead_burst_open(&aead_avx512_kernel, job, n);
}

const struct aead_impl aead_avx512 = {
	.name = "avx512",
	.cpu = CPU_AVX512,
	.seal_burst = avx512_seal_burst,
	.open_burst = avx512_open_burst,
};

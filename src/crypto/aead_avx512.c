/* SPDX-License-Identifier: MPL-2.0 */
/* AEAD kernel for AVX-512 without IFMA: Poly1305 in 26-bit limbs, multiplied by vpmuludq. */
#include "base/cpu.h"
#include "crypto/aead_impl.h"
#include "crypto/aead_wide_avx512.h"

typedef vec half;
#define half_set(a)         (a)
#define half_mla(acc, a, b) _mm512_add_epi64(acc, _mm512_mul_epu32(a, b))

#include "crypto/aead_fe26.h"
#include "crypto/aead_mac.h"

static void f_mac_lanes(struct mac_lane *const *m)
{
	mac_run(m);
}

static void f_mac_spans(struct mac_cursor *cursor, const struct mac_span *last)
{
	mac_steps(cursor, last);
}

static void f_chacha(const struct chacha_lanes *lanes, unsigned n, struct aead_context *x)
{
	avx512_chacha(lanes, n, x);
}

static void f_chacha_run(const struct chacha_run *run, struct aead_context *x)
{
	avx512_chacha_run(run, x);
}

static void f_wipe_registers(void)
{
	avx512_wipe_registers();
}

const struct aead_kernel aead_avx512_kernel = {
	.n_lanes = 32,
	.lanes_granule = 4,
	.n_lanes_part = 20,
	.n_mac_lanes = LANES,
	.mac_lane_max_len = 320,
	.mac_lane_max_len_burst = 320,
	.mac_lanes_worth = LANES,
	.mac_room = 2 * CHACHA_DOUBLE_ROUNDS * MAC_STEP_LEN,
	.mac_setup_cost = 510,
	.mac_row_cost = 190,
	.chacha = f_chacha,
	.chacha_run = f_chacha_run,
	.mac_spans = f_mac_spans,
	.mac_lanes = f_mac_lanes,
	.wipe_registers = f_wipe_registers,
};

AEAD_BURST_IMPL(avx512, CPU_AVX512);

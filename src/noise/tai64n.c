/* SPDX-License-Identifier: MPL-2.0 */
/* TAI64N timestamps. */
#include "noise/tai64n.h"

/* TAI64 label of the Unix epoch: 2^62, and the 10 seconds that TAI was ahead in 1970. */
#define TAI64_EPOCH UINT64_C(0x400000000000000a)

#define NSEC_ROUNDING UINT32_C(0x1000000) /* about 1/60 s, below the 20 ms of P-056 */

void tai64n_now(uint8_t out[TAI64N_LEN], uint64_t realtime_sec, uint32_t nsec)
{
	store_be64(out, TAI64_EPOCH + realtime_sec);
	store_be32(out + 8, nsec & ~(NSEC_ROUNDING - 1));
}

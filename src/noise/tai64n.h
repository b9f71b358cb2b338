/* SPDX-License-Identifier: MPL-2.0 */
/* TAI64N timestamps of initiations (P-046). Compare them with memcmp(). */
#pragma once

#include <stdint.h>

#include "noise/message.h"

/* From CLOCK_REALTIME, read by the caller when the initiation is built. Nanoseconds are rounded down
 * to multiples of 2^24, so that the clock is not told too exactly. */
void tai64n_now(uint8_t out[TAI64N_LEN], uint64_t realtime_sec, uint32_t nsec);

/* SPDX-License-Identifier: MPL-2.0 */
/* When to send: a schedule fixed at its start, in which datagram i is due at start + i / rate. Who
 * falls behind catches up at no more than twice the rate, so that a hiccup of the sender does not
 * become a burst that overflows a queue; what is more than PACER_BEHIND_MAX_NS late is given up. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macro.h"

#define PACER_BEHIND_MAX_NS (50 * NSEC_PER_MSEC)

struct pacer {
	/* constant after init */
	uint64_t start_ns, end_ns;
	double rate; /* datagrams per second; 0 = no schedule */
	uint64_t spin_ns;
	uint32_t batch; /* datagrams per step */

	uint64_t n_given; /* datagrams of the schedule that are sent or given up */
	uint64_t not_before_ns;
	uint64_t late_max_ns;
	uint64_t skipped;
};

void pacer_init(struct pacer *p, uint64_t start_ns, uint64_t duration_ns);

/* Waits until the next batch is due. Returns how many datagrams to send now and the time in
 * @ret_now_ns, 0 at the end of the schedule, or when a signal came. */
uint32_t pacer_wait(struct pacer *p, uint64_t *ret_now_ns);

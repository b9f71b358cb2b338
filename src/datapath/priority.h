/* SPDX-License-Identifier: MPL-2.0 */
/* The scheduling priority of a worker. As the kernel's network stack runs before any program, so a
 * worker should run as soon as something comes: with the nice value of its neighbours it waits for
 * their time slices, packets queue up for milliseconds, and bulk transfers stall between two
 * machines' daemons. With very many packets that come one by one, not as super-packets, the same haste
 * costs more than it gains, as the worker is woken for each of them. Then it steps back, so that they come in bursts: what interrupt
 * moderation is to a network card. Owner: the worker. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

struct priority {
	int raised;      /* nice value of -20 to -1; 0 = leave the thread as it is */
	_Atomic int now; /* what is in force; written by the worker, read by anybody */
	uint64_t n,
		len; /* TUN packets and datagrams since, a super-packet being one, and their bytes */
	uint64_t since_ns;
};

/* In the worker's thread, before its first packet. Where the system does not permit @raised: 0. */
void priority_begin(struct priority *p, int raised, uint64_t now_ns);

/* What came in. */
static inline void priority_count(struct priority *p, uint32_t n, uint64_t len)
{
	p->n += n;
	p->len += len;
}

/* Draws the conclusion once in a while; once a round. */
void priority_update(struct priority *p, uint64_t now_ns);

/* Nice value for @n packets of @len bytes in all within @ns; remembers nothing. */
int priority_judge(const struct priority *p, uint64_t n, uint64_t len, uint64_t ns);

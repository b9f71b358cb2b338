/* SPDX-License-Identifier: MPL-2.0 */
/* ringtun-bench-gen: what its roles share. PROTOCOL.md is the contract of the program. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/macro.h"

enum {
	GEN_MAX_SIZES = 12,
	GEN_MAX_CYCLE = 64,     /* datagrams after which a mix of sizes repeats */
	GEN_MAX_SEGMENTS = 128, /* UDP_MAX_SEGMENTS of the kernel */
	GEN_MAX_BATCH = 64,
	GEN_N_MARKERS = 7, /* the gap between them doubles: 1.3 s in all */
};
#define GEN_MARKER_GAP_NS(i) ((20 * NSEC_PER_MSEC) << (i))

/* By what "send" hands its datagrams to the kernel. */
enum gen_via { GEN_VIA_AUTO, GEN_VIA_SOCKET, GEN_VIA_PACKET, GEN_VIA_N };

struct gen_options {
	struct sockaddr_in6 address; /* of the receiving side; IPv4 is in there as sockaddr_in */
	double rate;                 /* datagrams per second; 0 = no limit */
	uint64_t duration_ns, warm_up_ns, limit_ns, linger_ns, idle_ns, timeout_ns, spin_ns;
	uint16_t size[GEN_MAX_CYCLE]; /* of successive datagrams, over and over */
	uint32_t n_sizes;             /* used of size[] */
	uint32_t segments, flows;
	uint32_t batch; /* 0 = by rate */
	uint32_t rcvbuf;
	int cpu; /* -1 = any */
	bool gro, kernel_timestamps, per_flow;
	enum gen_via via;
};

/* Roles. They print their result and return an exit status. */
int gen_send(const struct gen_options *o);
int gen_recv(const struct gen_options *o);
int gen_rtt(const struct gen_options *o);
int gen_echo(const struct gen_options *o);

/* SIGINT or SIGTERM came. */
bool gen_is_stopped(void);

/* Prints what failed, with errno, and returns the exit status of a failure. */
int gen_fail(const char *step);

/* Prints READY for whoever started us. */
void gen_ready(void);

static inline uint64_t gen_clock_ns(clockid_t id)
{
	struct timespec t;

	(void)clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static inline uint64_t gen_now_ns(void)
{
	return gen_clock_ns(CLOCK_MONOTONIC);
}

/* Until then, or until a signal comes. */
static inline void gen_sleep_until(uint64_t ns)
{
	struct timespec t = { .tv_sec = (time_t)(ns / NSEC_PER_SEC),
			      .tv_nsec = (long)(ns % NSEC_PER_SEC) };

	(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static inline void gen_spin(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* SPDX-License-Identifier: MPL-2.0 */
/* The datagram of the load generator, as PROTOCOL.md shows it. Pure functions on bytes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"

#define WIRE_MAGIC UINT32_C(0x52544247) /* RTBG */

enum {
	WIRE_LEN = 32,
	WIRE_MAX_FLOWS = 1024,
	WIRE_DEFAULT_PORT = 5310,
	WIRE_MAX_DATAGRAM = 65507, /* of UDP over IPv4 */
};

enum wire_kind {
	WIRE_WARM_UP,
	WIRE_MEASURED,
	WIRE_END, /* seq = how many measured datagrams the flow sent */
	WIRE_N_KINDS,
};

struct wire {
	enum wire_kind kind;
	uint16_t n_flows;
	uint32_t run;
	uint32_t flow;
	uint64_t seq;
	uint64_t sent_ns; /* CLOCK_MONOTONIC */
};

static inline void wire_store(uint8_t *p, const struct wire *w)
{
	store_be32(p, WIRE_MAGIC);
	p[4] = (uint8_t)w->kind;
	p[5] = 0;
	store_be16(p + 6, w->n_flows);
	store_be32(p + 8, w->run);
	store_be32(p + 12, w->flow);
	store_be64(p + 16, w->seq);
	store_be64(p + 24, w->sent_ns);
}

/* False: not a datagram of ours. */
static inline bool wire_load(struct wire *ret_w, const uint8_t *p, size_t len)
{
	struct wire w;

	if (len < WIRE_LEN || load_be32(p) != WIRE_MAGIC || p[4] >= WIRE_N_KINDS || p[5])
		return false;
	w.kind = (enum wire_kind)p[4];
	w.n_flows = load_be16(p + 6);
	w.run = load_be32(p + 8);
	w.flow = load_be32(p + 12);
	w.seq = load_be64(p + 16);
	w.sent_ns = load_be64(p + 24);
	if (!w.n_flows || w.n_flows > WIRE_MAX_FLOWS || w.flow >= w.n_flows)
		return false;
	*ret_w = w;
	return true;
}

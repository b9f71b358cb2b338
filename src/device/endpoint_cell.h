/* SPDX-License-Identifier: MPL-2.0 */
/* A peer's endpoint as shared between threads: a sequence lock over relaxed words. Readers (every
 * sender) never write; writers are whoever authenticated a packet from a new place (P-340) and the
 * control thread, both rare. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "device/endpoint.h"

enum { ENDPOINT_WORDS = sizeof(struct endpoint) / sizeof(uint64_t) };
_Static_assert(sizeof(struct endpoint) % sizeof(uint64_t) == 0, "endpoint is whole words");

struct endpoint_cell {
	_Atomic uint32_t seq; /* odd while somebody writes */
	_Atomic uint64_t word[ENDPOINT_WORDS];
};

void endpoint_cell_init(struct endpoint_cell *c);
/* A consistent copy. Any thread. */
void endpoint_cell_get(const struct endpoint_cell *c, struct endpoint *ret);
/* Replaces all of it. Any thread. */
void endpoint_cell_set(struct endpoint_cell *c, const struct endpoint *e);
/* Stores @e unless it is there already; true if it was new. Any thread. */
bool endpoint_cell_update(struct endpoint_cell *c, const struct endpoint *e);
/* Forgets the sticky source (P-346), if it still is @seen's. Any thread. */
void endpoint_cell_clear_source(struct endpoint_cell *c, const struct endpoint *seen);

/* SPDX-License-Identifier: MPL-2.0 */
/* One side of the AEAD benchmark: our kernels and the libraries look alike to it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "crypto/aead.h"

struct contender {
	const char *name;
	void (*seal)(const struct aead_seal_job *job, size_t n);
	void (*open)(struct aead_open_job *job, size_t n);
	const char *(*version)(void); /* of a library; or NULL */
};

enum {
	RIVALS_MAX = 4,
};

/* Libraries take packets one by one and their input in one slice (in[0], no padding, no AD). */

/* libsodium as it is before sodium_init(): its portable code. */
extern const struct contender rival_sodium_portable;

/* Starts the libraries that were compiled in, libsodium with its best code. Returns how many. */
size_t rivals_start(const struct contender *ret_rivals[RIVALS_MAX]);
void rivals_stop(void);

/* SPDX-License-Identifier: MPL-2.0 */
/* What the targets share: reading the input from its front, memory that a sanitizer watches to the
 * byte, and checks that say what was wrong. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Past stderr, which a target may have put elsewhere. */
static inline void require(bool condition, const char *what)
{
	if (condition)
		return;
	(void)dprintf(2, "%s\n", what);
	abort();
}

#define FUZZ_TEXT_(x) #x
#define FUZZ_TEXT(x)  FUZZ_TEXT_(x)
#define CHECK(x)      require(x, __FILE__ ":" FUZZ_TEXT(__LINE__) ": " #x)

/* What is not there is zeros. */
struct input {
	const uint8_t *data;
	size_t len;
};

static inline uint8_t take8(struct input *in)
{
	if (in->len == 0)
		return 0;
	in->len--;
	return *in->data++;
}

static inline uint16_t take16(struct input *in)
{
	uint8_t high = take8(in);
	return (uint16_t)(high << 8 | take8(in));
}

/* The next bytes, up to @n. */
static inline struct input take_part(struct input *in, size_t n)
{
	struct input ret = { in->data, MIN(n, in->len) };

	in->data += ret.len;
	in->len -= ret.len;
	return ret;
}

/* Memory of exactly @len bytes, the caller's to free. */
static inline uint8_t *allocate(size_t len)
{
	uint8_t *p = malloc(len ? len : 1);

	CHECK(p != NULL);
	return p;
}

static inline uint8_t *copy_of(const uint8_t *data, size_t len)
{
	uint8_t *p = allocate(len);

	if (len > 0)
		memcpy(p, data, len);
	return p;
}

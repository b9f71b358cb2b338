/* SPDX-License-Identifier: MPL-2.0 */
/* The text protocol, inbound: bytes in pieces of any size become one transaction at a time
 * (U-010..U-028). No I/O but the look-up of interface names in endpoint scopes. Memory is bounded
 * by one line and the parsed configuration, never by the text. Not thread-safe. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control/config.h"

enum {
	UAPI_MAX_LINE = 4096, /* bytes before '\n' (U-016) */
};

enum uapi_op {
	UAPI_OP_NONE,   /* no known operation line: EPROTO and close (U-013) */
	UAPI_OP_GET,    /* get=1 */
	UAPI_OP_SET,    /* set=1 */
	UAPI_OP_STATUS, /* status=1, an extension of ours */
	UAPI_N_OPS,
};

/* One transaction, complete up to its empty line. */
struct uapi_request {
	enum uapi_op op;
	int error;             /* 0, or why it must not be carried out: EINVAL, EPROTO, ENOMEM */
	bool close;            /* close the connection after the reply (U-013) */
	struct config_set set; /* of a `set` without error; empty otherwise */
};

struct uapi_parser {
	struct uapi_request request; /* valid while complete */
	bool complete;               /* a transaction is ready; feed takes no more until next() */
	bool in_transaction;         /* the operation line was seen */
	bool skipping;               /* inside an over-long line, up to its end */
	uint16_t line_len;           /* bytes kept of an unfinished line */
	char line[UAPI_MAX_LINE];
};

void uapi_parser_init(struct uapi_parser *parser);

/* Takes bytes until a transaction is complete or @len is used up; returns how many were taken. */
MUST_CHECK size_t uapi_parser_feed(struct uapi_parser *parser, const char *data, size_t len);

/* Ends the complete transaction: wipes it and makes ready for the one behind it. */
void uapi_parser_next(struct uapi_parser *parser);

/* Wipes everything. What was not complete is thereby discarded (U-015). */
void uapi_parser_finish(struct uapi_parser *parser);

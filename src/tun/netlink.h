/* SPDX-License-Identifier: MPL-2.0 */
/* Just enough rtnetlink: requests with attributes, one answer, and listening sockets. Never blocks:
 * rtnetlink answers within the system call that asks. Control thread only. */
#pragma once

#include <linux/netlink.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/macro.h"

enum {
	NL_REQUEST_LEN = 512,  /* bytes; ours are below 200 */
	NL_ANSWER_LEN = 16384, /* bytes; an RTM_NEWLINK without VFs is below 4 KB */
};

struct nl_request {
	alignas(struct nlmsghdr) uint8_t buf[NL_REQUEST_LEN];
};

struct nl_answer {
	alignas(struct nlmsghdr) uint8_t buf[NL_ANSWER_LEN];
	struct bytes body; /* of the answer; empty: there was only an acknowledgement */
};

/* A non-blocking NETLINK_ROUTE socket that listens to @groups (RTMGRP_*). The descriptor or -errno. */
int nl_open(uint32_t groups);

/* Starts a request: @body is the fixed part that follows the header. */
void nl_begin(struct nl_request *rq, uint16_t type, struct bytes body);
void nl_put(struct nl_request *rq, uint16_t type, const void *data, size_t len);
void nl_put_u32(struct nl_request *rq, uint16_t type, uint32_t v);
/* Opens a nested attribute; what nl_put() adds until nl_nest_end() goes into it. */
size_t nl_nest_begin(struct nl_request *rq, uint16_t type);
void nl_nest_end(struct nl_request *rq, size_t nest);

/* Sends @rq and waits for the answer, if @answer is not NULL, and the acknowledgement. 0 or -errno as
 * the kernel gave it; -EPROTO: no sense in the answer. */
MUST_CHECK int nl_transact(int fd, struct nl_request *rq, struct nl_answer *answer);

/* The payload of the first attribute of @type after @skip bytes of @body; .data NULL if there is
 * none. Safe on any bytes. */
struct bytes nl_find(struct bytes body, size_t skip, uint16_t type);
/* The same as a number; @otherwise when there is none of that size. */
uint32_t nl_find_u32(struct bytes body, size_t skip, uint16_t type, uint32_t otherwise);

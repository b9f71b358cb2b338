/* SPDX-License-Identifier: MPL-2.0 */
/* Answering initiations and responses, and making initiations when many are wanted at once. What is
 * cheap, and whatever touches a peer, happens here in the control thread; the Diffie-Hellman steps in
 * between are offered to idle workers. Until its last step came back each message is a job: it holds copies and no pointer, so a peer, a key or the interface may go
 * meanwhile, which is found out by looking again. */
#pragma once

#include "control/control.h"

struct answer_job;

/* 0 or -errno. */
int answers_init(struct control *c);
/* The workers have ended. Wipes what is under way. */
void answers_finish(struct control *c);

/* Begins with what waits, as far as jobs are free: peers that want an initiation, and queued messages,
 * oldest first. Goes on with jobs whose step is done; takes up to @max steps itself. Returns how
 * many. */
uint32_t answers_step(struct control *c, uint32_t max, uint64_t now_ns);
/* Bytes that all jobs together take at most. */
size_t answers_memory(void);

/* What is under way now is for a key or an interface that is gone: it ends without an answer. */
void answers_abandon(struct control *c);
/* Is there something to do for answers_step(), if it may take steps itself? */
bool answers_wait(const struct control *c);

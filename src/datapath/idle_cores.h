/* SPDX-License-Identifier: MPL-2.0 */
/* Whether CPUs that we may run on have nothing to do. A worker that sleeps is no proof of it: on a
 * gateway whose cores are busy with other things, waking it costs two context switches and gains
 * nothing. So cipher work is shared only while /proc/stat says that cores idle. */
#pragma once

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct idle_cores {
	int fd;           /* /proc/stat; -1: not known, taken for idle */
	uint64_t tick_ns; /* its unit */
	_Atomic bool any; /* the verdict of the last look */
	/* UINT64_MAX while somebody looks; who put that there owns what is below */
	_Atomic uint64_t next_look_ns;
	uint64_t last_ns, last_idle_ns;
};

/* Without a source: idle_cores_any() is true for ever. */
void idle_cores_init(struct idle_cores *c);
/* Looks from now on, at first without an idle core. False: there is no /proc/stat; nothing changed. */
bool idle_cores_open(struct idle_cores *c);
void idle_cores_close(struct idle_cores *c);

/* Any worker. Looks at the system once in a while, else costs two loads. */
bool idle_cores_any(struct idle_cores *c, uint64_t now_ns);

/* Sum of the idle ticks of the CPUs in @allowed since the system began, of the text of /proc/stat (may
 * be cut off anywhere). */
uint64_t idle_cores_parse(const char *text, const cpu_set_t *allowed);

/* The verdict: @idle_ns of CPU time were idle in @ns. Once there is one it stays until much less is
 * left, as our own help uses it up. */
bool idle_cores_judge(bool before, uint64_t idle_ns, uint64_t ns);

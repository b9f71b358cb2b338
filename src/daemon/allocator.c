/* SPDX-License-Identifier: MPL-2.0 */
/* How jemalloc shall work, where the daemon has it: it looks for this name when the process starts. */

extern const char *malloc_conf;

/* One arena, made before main(). jemalloc 5.3 gives each thread another one when it first allocates, and
 * crashes if the kernel has no memory for that. Workers do not allocate per packet, so that nobody waits
 * for another.
 *
 * No decay: what a large configuration took goes back to the system at once. By default that takes time
 * and further allocations, and a daemon at rest makes none. */
__attribute__((visibility("default")))
const char *malloc_conf = "narenas:1,dirty_decay_ms:0,muzzy_decay_ms:0";

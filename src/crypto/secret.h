/* SPDX-License-Identifier: MPL-2.0 */
/* Handling of secrets: wiping, constant-time comparison, and memory for objects that hold keys.
 * The pool's memory is locked, left out of core dumps and empty in a forked child (P-462, P-464). */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/macro.h"

/* Once per process before anything else in crypto/; more often does no harm. 0 or -EIO. */
MUST_CHECK int crypto_init(void);

/* Zeroes with stores that the compiler can not remove (P-461). */
void secret_wipe(void *p, size_t len);

/* Zeroes the stack below the caller, where libraries that it called left what they computed. */
void secret_wipe_below(void);

/* Constant time in the contents (P-460). */
MUST_CHECK bool secret_equal(const void *a, const void *b, size_t len);
MUST_CHECK bool secret_is_zero(const void *p, size_t len);

/* Fixed-size objects in chunks of locked memory, mapped on demand. A chunk that is empty goes while
 * others have as much room. All functions but init and finish may be called by any thread. */
struct secret_pool {
	/* constant after init */
	size_t slot_size;       /* bytes: object size rounded up to the alignment */
	size_t chunk_size;      /* bytes, whole pages */
	size_t slots_per_chunk; /* count */
	size_t max_objects;     /* count */
	/* under @lock */
	pthread_mutex_t lock;
	struct secret_chunk *chunks; /* by address */
	size_t n_chunks, max_chunks; /* of the array */
	size_t with_room;            /* all chunks before this one are full */
	size_t n_in_use;             /* objects of all chunks */
	size_t n_reserved;           /* objects that there must be room for */
	size_t n_unlocked_chunks;    /* count */
};

/* @align is a power of two up to the page size. 0 or -EINVAL. Maps nothing yet. */
MUST_CHECK int secret_pool_init(struct secret_pool *pool, size_t object_size, size_t align,
				size_t max_objects);

/* Wipes and unmaps everything; every object must have been put back or is lost. */
void secret_pool_finish(struct secret_pool *pool);

/* A zeroed object, or NULL: max_objects are out, or no memory. */
MUST_CHECK void *secret_pool_get(struct secret_pool *pool);

/* Makes the next @n calls of secret_pool_get() succeed, and no longer what was reserved before. False:
 * that would be more than max_objects, or there is no memory. 0 always succeeds. */
MUST_CHECK bool secret_pool_reserve(struct secret_pool *pool, size_t n);

/* Wipes @object, which must come from this pool; NULL is fine. */
void secret_pool_put(struct secret_pool *pool, void *object);

/* Bytes that are mapped. Any thread. */
size_t secret_pool_memory(struct secret_pool *pool);

/* True if every chunk could be locked. */
bool secret_pool_is_locked(struct secret_pool *pool);

/* Pages of such memory for texts and tables that hold keys, of any size. Not thread-safe. */
struct secret_pages {
	size_t max_locked; /* bytes: with more than that mapped, what is mapped next is not locked */
	size_t mapped;     /* bytes */
	bool was_unlocked; /* once at least, for that or because mlock() refused */
};

/* Leaves half of RLIMIT_MEMLOCK to the keys themselves. */
void secret_pages_init(struct secret_pages *pages, size_t max_locked);

/* @len zeroed bytes, which take whole pages, or NULL. @pages may be NULL here and below: then nobody counts. */
MUST_CHECK void *secret_pages_map(struct secret_pages *pages, size_t len);

/* Wipes the first @used of @len bytes and unmaps them; NULL is fine. */
void secret_pages_unmap(struct secret_pages *pages, void *p, size_t len, size_t used);

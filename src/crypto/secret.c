/* SPDX-License-Identifier: MPL-2.0 */
/* Secret memory. The pool maps a chunk when the last one is full, carves slots off it in order, and
 * links what comes back into a list through the slots themselves. */
#include "crypto/secret.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <sodium/core.h>
#include <sodium/utils.h>

/* Every chunk is locked as a whole, so this is also the least that a pool costs of
 * RLIMIT_MEMLOCK. */
#define CHUNK_SIZE_AIM ((size_t)64 * 1024)

struct secret_chunk {
	struct secret_chunk *next;
};

struct secret_slot {
	struct secret_slot *next;
};

int crypto_init(void)
{
	return sodium_init() < 0 ? -EIO : 0;
}

void secret_wipe(void *p, size_t len)
{
	sodium_memzero(p, len);
}

__attribute__((noinline)) void secret_wipe_below(void)
{
	uint8_t below[8192]; /* libsodium's X25519 takes some 3 KB, libb2 less */
	sodium_memzero(below, sizeof(below));
}

bool secret_equal(const void *a, const void *b, size_t len)
{
	return sodium_memcmp(a, b, len) == 0;
}

bool secret_is_zero(const void *p, size_t len)
{
	return sodium_is_zero(p, len) == 1;
}

int secret_pool_init(struct secret_pool *pool, size_t object_size, size_t align, size_t max_objects)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	if (!object_size || object_size > SIZE_MAX / 4 || !align || (align & (align - 1)) ||
	    align > page)
		return -EINVAL;

	*pool = (struct secret_pool){ .max_objects = max_objects };
	align = MAX(align, _Alignof(struct secret_slot));
	pool->slot_size = ROUND_UP(MAX(object_size, sizeof(struct secret_slot)), align);
	pool->first_slot = ROUND_UP(sizeof(struct secret_chunk), align);
	pool->chunk_size = ROUND_UP(MAX(CHUNK_SIZE_AIM, pool->first_slot + pool->slot_size), page);
	pool->slots_per_chunk = (pool->chunk_size - pool->first_slot) / pool->slot_size;
	return -pthread_mutex_init(&pool->lock, NULL);
}

void secret_pool_finish(struct secret_pool *pool)
{
	for (struct secret_chunk *c = pool->chunks, *next; c; c = next) {
		next = c->next;
		secret_wipe(c, pool->chunk_size);
		(void)munmap(c, pool->chunk_size);
	}
	(void)pthread_mutex_destroy(&pool->lock);
	*pool = (struct secret_pool){ 0 };
}

/* All but the mapping itself is best effort: old kernels and small limits must not stop us. NULL, or
 * *@ret_is_locked tells whether it was to be locked and is. */
static void *map_secret(size_t len, bool wants_lock, bool *ret_is_locked)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;

	(void)madvise(p, len, MADV_DONTDUMP);
	/* A child sees zeros rather than a hole: it may still run our destructors. */
	if (madvise(p, len, MADV_WIPEONFORK) < 0)
		(void)madvise(p, len, MADV_DONTFORK);
	*ret_is_locked = wants_lock && mlock(p, len) == 0;
	return p;
}

void secret_pages_init(struct secret_pages *pages, size_t max_locked)
{
	struct rlimit limit;
	*pages = (struct secret_pages){ .max_locked = max_locked };
	if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		pages->max_locked = MIN(max_locked, (size_t)limit.rlim_cur / 2);
}

void *secret_pages_map(struct secret_pages *pages, size_t len)
{
	bool is_locked;
	void *p = map_secret(len, !pages || pages->mapped + len <= pages->max_locked, &is_locked);
	if (p && pages) {
		pages->mapped += len;
		pages->was_unlocked |= !is_locked;
	}
	return p;
}

void secret_pages_unmap(struct secret_pages *pages, void *p, size_t len, size_t used)
{
	if (!p)
		return;
	secret_wipe(p, used);
	(void)munmap(p, len);
	if (pages)
		pages->mapped -= len;
}

static bool pool_add_chunk_locked(struct secret_pool *pool)
{
	bool is_locked;
	void *p = map_secret(pool->chunk_size, true, &is_locked);
	if (!p)
		return false;
	if (!is_locked)
		pool->n_unlocked_chunks++;

	struct secret_chunk *chunk = p;
	chunk->next = pool->chunks;
	pool->chunks = chunk;
	return true;
}

static void *pool_carve_locked(struct secret_pool *pool)
{
	size_t i = pool->n_carved % pool->slots_per_chunk;
	if (i == 0 && !pool_add_chunk_locked(pool))
		return NULL;
	pool->n_carved++;
	return (char *)pool->chunks + pool->first_slot + i * pool->slot_size;
}

bool secret_pool_reserve(struct secret_pool *pool, size_t n)
{
	(void)pthread_mutex_lock(&pool->lock);
	bool ok = n <= pool->max_objects - pool->n_in_use;
	while (ok && pool->n_carved - pool->n_in_use < n) {
		struct secret_slot *slot = pool_carve_locked(pool);
		ok = slot != NULL;
		if (ok) {
			slot->next = pool->free_slots;
			pool->free_slots = slot;
		}
	}
	(void)pthread_mutex_unlock(&pool->lock);
	return ok;
}

void *secret_pool_get(struct secret_pool *pool)
{
	void *object = NULL;
	(void)pthread_mutex_lock(&pool->lock);
	if (pool->n_in_use < pool->max_objects) {
		struct secret_slot *slot = pool->free_slots;
		if (slot) {
			pool->free_slots = slot->next;
			slot->next = NULL;
			object = slot;
		} else {
			object = pool_carve_locked(pool); /* fresh memory is zero */
		}
	}
	if (object)
		pool->n_in_use++;
	(void)pthread_mutex_unlock(&pool->lock);
	return object;
}

void secret_pool_put(struct secret_pool *pool, void *object)
{
	if (!object)
		return;
	secret_wipe(object, pool->slot_size);
	struct secret_slot *slot = object;
	(void)pthread_mutex_lock(&pool->lock);
	assert(pool->n_in_use > 0);
	pool->n_in_use--;
	slot->next = pool->free_slots;
	pool->free_slots = slot;
	(void)pthread_mutex_unlock(&pool->lock);
}

size_t secret_pool_memory(struct secret_pool *pool)
{
	(void)pthread_mutex_lock(&pool->lock);
	size_t n_chunks = (pool->n_carved + pool->slots_per_chunk - 1) / pool->slots_per_chunk;
	(void)pthread_mutex_unlock(&pool->lock);
	return n_chunks * pool->chunk_size;
}

bool secret_pool_is_locked(struct secret_pool *pool)
{
	(void)pthread_mutex_lock(&pool->lock);
	bool is_locked = pool->n_unlocked_chunks == 0;
	(void)pthread_mutex_unlock(&pool->lock);
	return is_locked;
}

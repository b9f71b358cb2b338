/* SPDX-License-Identifier: MPL-2.0 */
/* Secret memory. The pool maps a chunk when all others are full, carves slots off it in order, and
 * links what comes back into the chunk's list through the slots themselves. What it knows about its
 * chunks lies outside of them, for they are empty in a forked child. */
#include "crypto/secret.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <sodium/core.h>
#include <sodium/utils.h>

/* Every chunk is locked as a whole, so this is also the least that a pool costs of
 * RLIMIT_MEMLOCK. */
#define CHUNK_SIZE_AIM ((size_t)64 * 1024)

struct secret_slot {
	struct secret_slot *next;
};

struct secret_chunk {
	char *memory;
	struct secret_slot *free_slots; /* wiped but for the link */
	size_t n_carved;                /* slots that were ever handed out */
	size_t n_in_use;                /* count */
	bool is_locked;                 /* mlock() may be refused, e.g. by RLIMIT_MEMLOCK */
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
	pool->chunk_size = ROUND_UP(MAX(CHUNK_SIZE_AIM, pool->slot_size), page);
	pool->slots_per_chunk = pool->chunk_size / pool->slot_size;
	return -pthread_mutex_init(&pool->lock, NULL);
}

void secret_pool_finish(struct secret_pool *pool)
{
	for (size_t i = 0; i < pool->n_chunks; i++) {
		secret_wipe(pool->chunks[i].memory, pool->chunk_size);
		(void)munmap(pool->chunks[i].memory, pool->chunk_size);
	}
	free(pool->chunks);
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

/* How many of the chunks begin at @object or below. */
static size_t chunks_up_to_locked(const struct secret_pool *pool, const void *object)
{
	size_t low = 0, high = pool->n_chunks;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if ((uintptr_t)pool->chunks[middle].memory <= (uintptr_t)object)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool make_room_for_chunk_locked(struct secret_pool *pool)
{
	if (pool->n_chunks < pool->max_chunks)
		return true;
	size_t n = pool->max_chunks ? 2 * pool->max_chunks : 4;
	struct secret_chunk *chunks = reallocarray(pool->chunks, n, sizeof(*chunks));
	if (!chunks)
		return false;
	pool->chunks = chunks;
	pool->max_chunks = n;
	return true;
}

static bool add_chunk_locked(struct secret_pool *pool)
{
	struct secret_chunk chunk = { 0 };

	if (!make_room_for_chunk_locked(pool))
		return false;
	chunk.memory = map_secret(pool->chunk_size, true, &chunk.is_locked);
	if (!chunk.memory)
		return false;

	size_t i = chunks_up_to_locked(pool, chunk.memory);
	memmove(pool->chunks + i + 1, pool->chunks + i,
		(pool->n_chunks - i) * sizeof(*pool->chunks));
	pool->chunks[i] = chunk;
	pool->n_chunks++;
	pool->n_unlocked_chunks += !chunk.is_locked;
	pool->with_room = MIN(pool->with_room, i);
	return true;
}

/* The memory of a chunk that is no longer the pool's, for munmap(). */
static char *take_chunk_out_locked(struct secret_pool *pool, size_t i)
{
	struct secret_chunk chunk = pool->chunks[i];

	pool->n_chunks--;
	memmove(pool->chunks + i, pool->chunks + i + 1,
		(pool->n_chunks - i) * sizeof(*pool->chunks));
	pool->n_unlocked_chunks -= !chunk.is_locked;
	pool->with_room = MIN(pool->with_room, i);
	return chunk.memory;
}

/* Is it empty, and are as many slots free in others as a chunk has? So a pool whose use swings by
 * less than that does not map and unmap all the time. */
static bool may_spare_locked(const struct secret_pool *pool, const struct secret_chunk *chunk)
{
	if (chunk->n_in_use)
		return false;
	size_t n_left = (pool->n_chunks - 1) * pool->slots_per_chunk - pool->n_in_use;
	return n_left >= MAX(pool->slots_per_chunk, pool->n_reserved);
}

static void reserve_locked(struct secret_pool *pool, size_t n)
{
	pool->n_reserved = n;
	for (size_t i = pool->n_chunks; i-- > 0;)
		if (may_spare_locked(pool, &pool->chunks[i]))
			(void)munmap(take_chunk_out_locked(pool, i), pool->chunk_size);
}

bool secret_pool_reserve(struct secret_pool *pool, size_t n)
{
	(void)pthread_mutex_lock(&pool->lock);
	bool ok = n <= pool->max_objects - pool->n_in_use;
	while (ok && pool->n_chunks * pool->slots_per_chunk - pool->n_in_use < n)
		ok = add_chunk_locked(pool);
	reserve_locked(pool, ok ? n : 0);
	(void)pthread_mutex_unlock(&pool->lock);
	return ok;
}

/* NULL only in a forked child, where the list is empty. */
static void *take_slot(const struct secret_pool *pool, struct secret_chunk *chunk)
{
	struct secret_slot *slot = chunk->free_slots;

	if (slot) {
		chunk->free_slots = slot->next;
		slot->next = NULL;
		return slot;
	}
	if (chunk->n_carved == pool->slots_per_chunk)
		return NULL;
	return chunk->memory + pool->slot_size * chunk->n_carved++; /* fresh memory is zero */
}

/* The lowest chunks first, so that the others become empty. */
static void *get_locked(struct secret_pool *pool)
{
	while (pool->with_room < pool->n_chunks &&
	       pool->chunks[pool->with_room].n_in_use == pool->slots_per_chunk)
		pool->with_room++;
	if (pool->with_room == pool->n_chunks && !add_chunk_locked(pool))
		return NULL;

	struct secret_chunk *chunk = &pool->chunks[pool->with_room];
	void *object = take_slot(pool, chunk);
	if (object) {
		chunk->n_in_use++;
		pool->n_in_use++;
		pool->n_reserved -= pool->n_reserved > 0;
	}
	return object;
}

void *secret_pool_get(struct secret_pool *pool)
{
	(void)pthread_mutex_lock(&pool->lock);
	void *object = pool->n_in_use < pool->max_objects ? get_locked(pool) : NULL;
	(void)pthread_mutex_unlock(&pool->lock);
	return object;
}

/* Memory to unmap, or NULL. */
static char *put_locked(struct secret_pool *pool, struct secret_slot *slot)
{
	size_t i = chunks_up_to_locked(pool, slot);
	assert(i > 0);
	struct secret_chunk *chunk = &pool->chunks[--i];
	assert(chunk->n_in_use > 0);

	slot->next = chunk->free_slots;
	chunk->free_slots = slot;
	chunk->n_in_use--;
	pool->n_in_use--;
	pool->with_room = MIN(pool->with_room, i);
	return may_spare_locked(pool, chunk) ? take_chunk_out_locked(pool, i) : NULL;
}

void secret_pool_put(struct secret_pool *pool, void *object)
{
	if (!object)
		return;
	secret_wipe(object, pool->slot_size);
	(void)pthread_mutex_lock(&pool->lock);
	char *spare = put_locked(pool, object);
	(void)pthread_mutex_unlock(&pool->lock);
	if (spare)
		(void)munmap(spare, pool->chunk_size);
}

size_t secret_pool_memory(struct secret_pool *pool)
{
	(void)pthread_mutex_lock(&pool->lock);
	size_t n_chunks = pool->n_chunks;
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

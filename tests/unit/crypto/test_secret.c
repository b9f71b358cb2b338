/* SPDX-License-Identifier: MPL-2.0 */
/* Wiping, comparison, and the pool: its limits, its memory's properties, its threads. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/macro.h"
#include "crypto/secret.h"

#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER 1
#endif
#endif
#ifndef ADDRESS_SANITIZER
#define ADDRESS_SANITIZER 0
#endif

#ifndef CRITERION_STAND_IN /* under qemu-user, which ignores madvise() */
#define CRITERION_STAND_IN 0
#endif

enum { OBJECT_SIZE = 200 };

static struct secret_pool pool; /* fresh in every test: each is its own process */

static void init(void)
{
	cr_assert(crypto_init() == 0);
	cr_assert(crypto_init() == 0); /* again does no harm */
}

TestSuite(secret, .init = init);

Test(secret, wipe_and_compare)
{
	uint8_t a[33];
	uint8_t b[33];
	memset(a, 7, sizeof(a));
	memset(b, 7, sizeof(b));
	cr_assert(secret_equal(a, b, sizeof(a)));
	cr_assert(!secret_is_zero(a, sizeof(a)));
	b[32] ^= 1;
	cr_assert(!secret_equal(a, b, sizeof(a)));
	cr_assert(secret_equal(a, b, 32));
	secret_wipe(a, 32);
	cr_assert(secret_is_zero(a, 32));
	cr_assert(a[32] == 7); /* not one byte more */
	cr_assert(!secret_is_zero(a, sizeof(a)));
}

Test(secret, pool_refuses_bad_parameters)
{
	cr_assert(secret_pool_init(&pool, 0, 8, 1) == -EINVAL);
	cr_assert(secret_pool_init(&pool, 8, 0, 1) == -EINVAL);
	cr_assert(secret_pool_init(&pool, 8, 24, 1) == -EINVAL);
	cr_assert(secret_pool_init(&pool, 8, 1 << 20, 1) == -EINVAL);
	cr_assert(secret_pool_init(&pool, SIZE_MAX, 8, 1) == -EINVAL);
}

Test(secret, pool_keeps_its_limit)
{
	void *object[1024]; /* four chunks, all full */
	cr_assert(secret_pool_init(&pool, OBJECT_SIZE, 64, ARRAY_SIZE(object)) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(object); i++) {
		object[i] = secret_pool_get(&pool);
		cr_assert(object[i] != NULL);
		cr_assert((uintptr_t)object[i] % 64 == 0);
		cr_assert(secret_is_zero(object[i], OBJECT_SIZE));
		memset(object[i], (int)i, OBJECT_SIZE);
	}
	cr_assert(secret_pool_get(&pool) == NULL);
	for (size_t i = 0; i < ARRAY_SIZE(object); i++) /* nobody wrote over anybody */
		for (size_t j = 0; j < OBJECT_SIZE; j++)
			cr_assert(((uint8_t *)object[i])[j] == (uint8_t)i);

	secret_pool_put(&pool, NULL);
	secret_pool_put(&pool, object[500]);
	void *again = secret_pool_get(&pool);
	cr_assert(again == object[500]);
	cr_assert(secret_is_zero(again, OBJECT_SIZE));
	cr_assert(secret_pool_get(&pool) == NULL);
	secret_pool_finish(&pool);
}

Test(secret, pool_wipes_what_comes_back)
{
	cr_assert(secret_pool_init(&pool, OBJECT_SIZE, 8, 2) == 0);
	uint8_t *object = secret_pool_get(&pool);
	cr_assert(object != NULL);
	memset(object, 0xee, OBJECT_SIZE);
	secret_pool_put(&pool, object);
	/* Still mapped: apart from the pool's own link nothing may be left. */
	cr_assert(secret_is_zero(object + sizeof(void *), OBJECT_SIZE - sizeof(void *)));
	secret_pool_finish(&pool);
}

Test(secret, pool_takes_an_object_larger_than_a_chunk)
{
	size_t size = 1000 * 1000;
	cr_assert(secret_pool_init(&pool, size, 4096, 2) == 0);
	uint8_t *a = secret_pool_get(&pool);
	uint8_t *b = secret_pool_get(&pool);
	cr_assert(a && b && secret_pool_get(&pool) == NULL);
	memset(a, 1, size);
	memset(b, 2, size);
	cr_assert(a[0] == 1 && a[size - 1] == 1);
	secret_pool_finish(&pool);
}

/* Is @flag among the VmFlags of the mapping that holds @p? */
static bool has_vm_flag(const void *p, const char *flag)
{
	char line[512];
	bool is_ours = false;
	bool found = false;
	FILE *f = fopen("/proc/self/smaps", "re");
	cr_assert(f != NULL);
	while (fgets(line, sizeof(line), f)) {
		uintptr_t start, end;
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) == 2)
			is_ours = start <= (uintptr_t)p && (uintptr_t)p < end;
		else if (is_ours && strncmp(line, "VmFlags:", 8) == 0)
			found = strstr(line, flag) != NULL;
	}
	fclose(f);
	return found;
}

Test(secret, pool_memory_is_locked_and_undumpable, .disabled = CRITERION_STAND_IN)
{
	cr_assert(secret_pool_init(&pool, OBJECT_SIZE, 8, 2) == 0);
	void *object = secret_pool_get(&pool);
	cr_assert(object != NULL);
	cr_assert(has_vm_flag(object, " dd"), "MADV_DONTDUMP");
	cr_assert(has_vm_flag(object, " wf"), "MADV_WIPEONFORK");
#if !ADDRESS_SANITIZER /* whose mlock() does nothing and succeeds */
	cr_assert(has_vm_flag(object, " lo") == secret_pool_is_locked(&pool));
#endif
	secret_pool_finish(&pool);
}

Test(secret, pages_are_locked_up_to_a_limit, .disabled = CRITERION_STAND_IN)
{
	enum { LEN = 100 * 1000 };
	struct secret_pages pages;
	secret_pages_init(&pages, 3 * LEN);
	cr_assert(pages.max_locked == 3 * LEN || pages.max_locked < 3 * LEN); /* RLIMIT_MEMLOCK */
	pages.max_locked = 2 * LEN;
	uint8_t *p[3];
	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = secret_pages_map(&pages, LEN);
		cr_assert(p[i] && secret_is_zero(p[i], LEN));
		memset(p[i], 0xee, LEN);
		cr_assert(has_vm_flag(p[i], " dd"), "MADV_DONTDUMP");
		cr_assert(has_vm_flag(p[i], " wf"), "MADV_WIPEONFORK");
#if !ADDRESS_SANITIZER
		cr_assert(has_vm_flag(p[i], " lo") == (i < 2));
#endif
		cr_assert(pages.was_unlocked == (i == 2));
	}
	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		secret_pages_unmap(&pages, p[i], LEN, LEN);
	cr_assert(pages.mapped == 0);
	secret_pages_unmap(&pages, NULL, LEN, LEN);
	secret_pages_unmap(NULL, secret_pages_map(NULL, LEN), LEN, 0); /* nobody counts */
}

Test(secret, pool_is_empty_in_a_child, .disabled = CRITERION_STAND_IN)
{
	cr_assert(secret_pool_init(&pool, OBJECT_SIZE, 8, 2) == 0);
	uint8_t *object = secret_pool_get(&pool);
	cr_assert(object != NULL);
	memset(object, 0xee, OBJECT_SIZE);
	pid_t pid = fork();
	cr_assert(pid >= 0);
	if (pid == 0) {
		bool is_zero = secret_is_zero(object, OBJECT_SIZE);
		secret_pool_put(&pool, object); /* destructors may run */
		_exit(is_zero ? 0 : 1);
	}
	int status;
	cr_assert(waitpid(pid, &status, 0) == pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	cr_assert(object[0] == 0xee);
	secret_pool_finish(&pool);
}

enum { N_THREADS = 4, N_ROUNDS = 5000, N_HELD = 8 };

struct churner {
	pthread_t thread;
	uint8_t tag;
	const char *complaint;
};

/* Takes and returns; no other thread may ever see or touch what this one holds. */
static const char *churn_as(uint8_t tag)
{
	uint8_t *held[N_HELD] = { NULL };
	for (size_t round = 0; round < N_ROUNDS; round++) {
		uint8_t **slot = &held[round * 7 % N_HELD];
		if (*slot) {
			for (size_t i = 0; i < OBJECT_SIZE; i++)
				if ((*slot)[i] != tag)
					return "overwritten";
			secret_pool_put(&pool, *slot);
		}
		*slot = secret_pool_get(&pool);
		if (!*slot)
			return "exhausted";
		if (!secret_is_zero(*slot, OBJECT_SIZE))
			return "not zero";
		memset(*slot, tag, OBJECT_SIZE);
	}
	for (size_t i = 0; i < N_HELD; i++)
		secret_pool_put(&pool, held[i]);
	return NULL;
}

static void *churn(void *arg)
{
	struct churner *c = arg;
	c->complaint = churn_as(c->tag);
	return NULL;
}

Test(secret, pool_serves_several_threads)
{
	struct churner churner[N_THREADS];
	cr_assert(secret_pool_init(&pool, OBJECT_SIZE, 8, N_THREADS * N_HELD) == 0);
	for (size_t i = 0; i < N_THREADS; i++) {
		churner[i].tag = (uint8_t)(i + 1);
		cr_assert(pthread_create(&churner[i].thread, NULL, churn, &churner[i]) == 0);
	}
	for (size_t i = 0; i < N_THREADS; i++) {
		cr_assert(pthread_join(churner[i].thread, NULL) == 0);
		cr_assert(churner[i].complaint == NULL, "%s", churner[i].complaint);
	}
	cr_assert(pool.n_in_use == 0);
	secret_pool_finish(&pool);
}

Test(secret, pool_keeps_what_was_reserved)
{
	void *objects[300];
	cr_assert(secret_pool_init(&pool, OBJECT_SIZE, 8, ARRAY_SIZE(objects)) == 0);
	cr_assert(!secret_pool_reserve(&pool, ARRAY_SIZE(objects) + 1));
	objects[0] = secret_pool_get(&pool);
	cr_assert(!secret_pool_reserve(&pool, ARRAY_SIZE(objects)), "one is out");
	cr_assert(secret_pool_reserve(&pool, ARRAY_SIZE(objects) - 1));
	size_t memory = secret_pool_memory(&pool);
	for (size_t i = 1; i < ARRAY_SIZE(objects); i++) {
		objects[i] = secret_pool_get(&pool);
		cr_assert(objects[i] != NULL);
		for (size_t k = 0; k < OBJECT_SIZE; k++)
			cr_assert(((uint8_t *)objects[i])[k] == 0, "not zero");
	}
	cr_assert(secret_pool_memory(&pool) == memory, "no more was mapped");
	for (size_t i = 0; i < ARRAY_SIZE(objects); i++)
		secret_pool_put(&pool, objects[i]);
	secret_pool_finish(&pool);
}

static void get_all(void **objects, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		objects[i] = secret_pool_get(&pool);
		cr_assert(objects[i] != NULL);
		cr_assert(secret_is_zero(objects[i], OBJECT_SIZE));
		memset(objects[i], 0xee, OBJECT_SIZE);
	}
}

Test(secret, pool_gives_back_what_is_empty)
{
	void *objects[2000];
	size_t n = ARRAY_SIZE(objects);
	cr_assert(secret_pool_init(&pool, OBJECT_SIZE, 8, n) == 0);
	for (size_t round = 0; round < 3; round++) {
		get_all(objects, n);
		cr_assert(secret_pool_memory(&pool) >= n * OBJECT_SIZE);
		for (size_t i = 0; i < n; i++) /* 7 and 2000 are coprime: all, scattered */
			secret_pool_put(&pool, objects[i * 7 % n]);
		cr_assert(pool.n_in_use == 0);
		cr_assert(secret_pool_memory(&pool) == pool.chunk_size, "one chunk stays");
	}
	secret_pool_finish(&pool);
}

Test(secret, pool_keeps_a_chunk_with_one_object)
{
	void *objects[2000];
	size_t n = ARRAY_SIZE(objects);
	cr_assert(secret_pool_init(&pool, OBJECT_SIZE, 8, n) == 0);
	get_all(objects, n);
	size_t memory = secret_pool_memory(&pool);
	for (size_t i = 0; i < n; i++)
		if (i % pool.slots_per_chunk != 1)
			secret_pool_put(&pool, objects[i]);
	cr_assert(secret_pool_memory(&pool) == memory);
	for (size_t i = 1; i < n; i += pool.slots_per_chunk)
		for (size_t k = 0; k < OBJECT_SIZE; k++)
			cr_assert(((uint8_t *)objects[i])[k] == 0xee);
	for (size_t i = 1; i < n; i += pool.slots_per_chunk)
		secret_pool_put(&pool, objects[i]);
	cr_assert(secret_pool_memory(&pool) == pool.chunk_size);
	secret_pool_finish(&pool);
}

Test(secret, pool_does_not_swing)
{
	void *objects[2000];
	cr_assert(secret_pool_init(&pool, OBJECT_SIZE, 8, ARRAY_SIZE(objects)) == 0);
	size_t n = pool.slots_per_chunk + 1; /* the last one opens a chunk */
	get_all(objects, n);
	size_t memory = secret_pool_memory(&pool);
	for (size_t i = 0; i < 10; i++) {
		secret_pool_put(&pool, objects[n - 1]);
		cr_assert(secret_pool_memory(&pool) == memory);
		get_all(&objects[n - 1], 1);
		cr_assert(secret_pool_memory(&pool) == memory);
	}
	for (size_t i = 0; i < n; i++)
		secret_pool_put(&pool, objects[i]);
	secret_pool_finish(&pool);
}

Test(secret, pool_gives_back_what_was_reserved_in_vain)
{
	void *objects[2000];
	size_t n = ARRAY_SIZE(objects);
	cr_assert(secret_pool_init(&pool, OBJECT_SIZE, 8, n) == 0);
	cr_assert(secret_pool_reserve(&pool, n));
	size_t memory = secret_pool_memory(&pool);
	get_all(objects, n / 2);
	for (size_t i = 0; i < n / 2; i++) /* what comes back meanwhile takes nothing away */
		secret_pool_put(&pool, objects[i]);
	cr_assert(secret_pool_memory(&pool) >= memory / 2);
	memory = secret_pool_memory(&pool);
	get_all(objects, n / 2);
	cr_assert(secret_pool_memory(&pool) == memory, "there was room");
	cr_assert(secret_pool_reserve(&pool, 0));
	for (size_t i = 0; i < n / 2; i++)
		secret_pool_put(&pool, objects[i]);
	cr_assert(secret_pool_memory(&pool) == pool.chunk_size);

	cr_assert(secret_pool_reserve(&pool, n));
	cr_assert(secret_pool_memory(&pool) > pool.chunk_size);
	cr_assert(secret_pool_reserve(&pool, 0));
	cr_assert(secret_pool_memory(&pool) == pool.chunk_size);
	secret_pool_finish(&pool);
}

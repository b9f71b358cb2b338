/* SPDX-License-Identifier: MPL-2.0 */
/* One thread that offers jobs and takes jobs itself, three that only take: each job comes back exactly
 * once and computed, again and again. The results are cheap to check: DH with a low-order key is
 * zero, with the base point a public key. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "crypto/x25519.h"
#include "device/dh_pool.h"

enum { N_TAKERS = 3, N_JOBS = 100, N_ROUNDS = 500 };

static struct dh_pool pool;
static struct dh_job job[N_JOBS];
static bool is_out[N_JOBS];
static atomic_bool stop;
static _Atomic uint64_t n_taken;

static void *taker(void *arg)
{
	(void)arg;
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		struct dh_job *j = dh_pool_take(&pool);
		if (!j) {
			(void)sched_yield();
			continue;
		}
		(void)dh_pool_run(&pool, j);
		atomic_fetch_add_explicit(&n_taken, 1, memory_order_relaxed);
	}
	return NULL;
}

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	printf("not ok: %s\n", what);
	exit(1);
}

static void offer(uint32_t i, uint32_t round)
{
	job[i].dh = (struct handshake_dh){ .step = DH_OPEN };
	memset(job[i].dh.private_key, (int)(round + i), 32);
	job[i].dh.remote_key[0][0] = i % 4 ? 0 : 9; /* mostly low order: quick to refuse */
	is_out[i] = true;
	dh_pool_offer(&pool, &job[i]);
}

static void check(const struct dh_job *j)
{
	uint32_t i = (uint32_t)(j - job);
	uint8_t want[32];

	must(i < N_JOBS && is_out[i], "a job that was not out");
	is_out[i] = false;
	must(j->dh.ok == (i % 4 == 0), "a job that was not run");
	if (!j->dh.ok)
		return;
	x25519_public(want, j->dh.private_key);
	must(memcmp(j->dh.shared[0], want, 32) == 0, "a wrong result");
}

static uint32_t collect(void)
{
	uint32_t n = 0;

	for (struct dh_job *j = dh_pool_take_done(&pool), *next; j; j = next, n++) {
		next = j->next;
		check(j);
	}
	return n;
}

int main(void)
{
	pthread_t thread[N_TAKERS];
	uint64_t n_ours = 0;

	must(crypto_init() == 0, "libsodium");
	for (uint32_t i = 0; i < N_TAKERS; i++)
		must(pthread_create(&thread[i], NULL, taker, NULL) == 0, "no thread");
	for (uint32_t round = 0; round < N_ROUNDS; round++) {
		uint32_t n = 1 + round % N_JOBS;
		for (uint32_t i = 0; i < n; i++)
			offer(i, round);
		while (n > 0) {
			struct dh_job *j = round % 2 ? dh_pool_take(&pool) : NULL;
			if (j) {
				(void)dh_pool_run(&pool, j);
				n_ours++;
			} else {
				(void)sched_yield();
			}
			n -= collect();
		}
		must(dh_pool_n_waiting(&pool) == 0, "something is left");
	}
	atomic_store(&stop, true);
	for (uint32_t i = 0; i < N_TAKERS; i++)
		must(pthread_join(thread[i], NULL) == 0, "no end");
	printf("%ju jobs by others, %ju by us\n", (uintmax_t)atomic_load(&n_taken),
	       (uintmax_t)n_ours);
	must(atomic_load(&n_taken) > 0, "nobody took anything");
	return 0;
}

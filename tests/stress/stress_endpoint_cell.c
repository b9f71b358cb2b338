/* SPDX-License-Identifier: MPL-2.0 */
/* One endpoint, several writers and readers. Every value ever stored repeats one number in all its
 * parts but the source, which may be zero: a torn read shows two. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "device/endpoint_cell.h"

enum { N_READERS = 2, N_WRITERS = 2, N_ROUNDS = 60000 };

static struct endpoint_cell cell;
static _Atomic uint32_t n_writers_left;
static _Atomic uint64_t n_reads, n_torn, n_cleared;

static struct endpoint make(uint32_t number)
{
	struct endpoint e;

	memset(&e, 0, sizeof(e));
	e.to.in6.sin6_family = AF_INET6;
	e.to.in6.sin6_port = (uint16_t)number;
	for (unsigned i = 0; i < 4; i++) {
		e.to.in6.sin6_addr.s6_addr32[i] = number;
		e.from.in6.s6_addr32[i] = number;
	}
	e.to.in6.sin6_scope_id = number;
	e.from_ifindex = number;
	return e;
}

static bool is_whole(const struct endpoint *e)
{
	struct endpoint full = make(e->to.in6.sin6_scope_id), bare = full;

	endpoint_clear_source(&bare);
	return endpoint_equal(e, &full) || endpoint_equal(e, &bare);
}

static void *reader_main(void *arg)
{
	uint64_t n = 0;

	do {
		struct endpoint e;
		endpoint_cell_get(&cell, &e);
		if (!is_whole(&e))
			atomic_fetch_add(&n_torn, 1);
		n++;
	} while (atomic_load(&n_writers_left) > 0);
	atomic_fetch_add(&n_reads, n);
	return arg;
}

static void *writer_main(void *arg)
{
	uint32_t base = (uint32_t)(uintptr_t)arg * 0x100000;

	for (uint32_t i = 1; i <= N_ROUNDS; i++) {
		struct endpoint e = make(base + i / 2); /* every second one is no news */
		if (i % 8 == 0) {
			endpoint_cell_get(&cell, &e);
			endpoint_cell_clear_source(&cell, &e);
			atomic_fetch_add(&n_cleared, 1);
		} else if (i % 8 == 1) {
			endpoint_cell_set(&cell, &e);
		} else {
			(void)endpoint_cell_update(&cell, &e);
		}
	}
	atomic_fetch_sub(&n_writers_left, 1);
	return NULL;
}

int main(void)
{
	pthread_t thread[N_READERS + N_WRITERS];
	struct endpoint e = make(1);

	endpoint_cell_init(&cell);
	endpoint_cell_set(&cell, &e);
	atomic_store(&n_writers_left, N_WRITERS);
	for (uintptr_t i = 0; i < ARRAY_SIZE(thread); i++)
		if (pthread_create(&thread[i], NULL, i < N_READERS ? reader_main : writer_main,
				   (void *)i))
			abort();
	for (size_t i = 0; i < ARRAY_SIZE(thread); i++)
		pthread_join(thread[i], NULL);
	bool ok = n_torn == 0 && n_reads > 0 && !(atomic_load(&cell.seq) & 1);
	printf("%s: %ju reads, %ju torn\n", ok ? "ok" : "not ok", (uintmax_t)n_reads,
	       (uintmax_t)n_torn);
	return ok ? 0 : 1;
}

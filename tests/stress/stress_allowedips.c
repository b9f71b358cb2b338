/* SPDX-License-Identifier: MPL-2.0 */
/* Lookups while one thread changes the table all the time. Every address that is looked up is always
 * covered by a prefix of one of its two rightful owners, through whatever sequence of changes; a
 * shorter prefix of a wrong owner lies around it and must never match. Peers come and go, so that
 * what a lookup returned is also checked to be alive. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/allowedips.h"

enum {
	N_READERS = 2,
	N_ROUNDS = 12000,
	ALIVE = 0x11223344,
	DEAD = 0x55667788,
};

struct peer {
	struct allowedips_owner allowed;
	uint32_t magic;
	struct rcu_item rcu;
};

static struct allowedips table;
static struct peer *wrong, *rightful[2];
static pthread_barrier_t ready; /* all readers and the writer */
static atomic_bool stop;
static _Atomic uint64_t n_lookups, n_nobody, n_wrong, n_dead;

static struct peer *peer_create(void)
{
	struct peer *p = malloc(sizeof(*p));
	if (!p)
		abort();
	allowedips_owner_init(&p->allowed);
	p->magic = ALIVE;
	return p;
}

static void peer_free_rcu(struct rcu_item *item)
{
	struct peer *p = container_of(item, struct peer, rcu);

	p->magic = DEAD;
	free(p);
}

static struct allowedips_prefix prefix(bool is_v6, uint32_t addr, unsigned len)
{
	struct allowedips_prefix p = { .is_v6 = is_v6, .len = (uint8_t)len };

	for (int i = 0; i < 4; i++)
		p.addr[i] = (uint8_t)(addr >> (24 - 8 * i));
	return p;
}

static void insert(bool is_v6, uint32_t addr, unsigned len, struct peer *p)
{
	struct allowedips_prefix x = prefix(is_v6, addr, len);
	if (allowedips_insert(&table, &x, &p->allowed) < 0)
		abort();
}

static void take(bool is_v6, uint32_t addr, unsigned len, const struct peer *p)
{
	struct allowedips_prefix x = prefix(is_v6, addr, len);
	allowedips_remove(&table, &x, &p->allowed);
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static struct peer *lookup(bool is_v6, uint32_t addr)
{
	struct allowedips_prefix x = prefix(is_v6, addr, 0);
	struct allowedips_owner *o = is_v6 ? allowedips_lookup6(&table, x.addr)
					   : allowedips_lookup4(&table, x.addr);
	if (!o)
		return NULL;

	struct peer *p = container_of(o, struct peer, allowed);
	if (p->magic != ALIVE)
		add(&n_dead, 1);
	return p;
}

static void *reader_main(void *arg)
{
	uint64_t n = 0;

	rcu_thread_register();
	pthread_barrier_wait(&ready);
	do {
		bool is_v6 = n % 2;
		struct peer *p = lookup(is_v6, 0x0a010203); /* 10.1.2.3 or 0a01:203:: */

		if (!p)
			add(&n_nobody, 1);
		else if (p != rightful[0] && p != rightful[1])
			add(&n_wrong, 1);
		lookup(is_v6, 0x0a010200 + (uint32_t)(n & 0xff)); /* also those who come and go */
		n++;
		rcu_quiescent();
	} while (!atomic_load_explicit(&stop, memory_order_relaxed));
	rcu_thread_unregister();
	add(&n_lookups, n);
	return NULL;
}

/* Joints appear and vanish all along the way to the address. */
static void make_noise(bool is_v6, uint32_t round, struct peer *visitor)
{
	for (unsigned len = 10; len <= 32; len += 1 + round % 3)
		insert(is_v6, 0x0a010203 ^ 1U << (32 - len), len, visitor);
}

static void change(bool is_v6, uint32_t round)
{
	struct peer *visitor = peer_create();

	make_noise(is_v6, round, visitor);
	/* A wrong owner's prefix comes and goes above the right one, then that one goes in favour of
	 * a shorter one. Who is still below the wrong one must not take it for the best match. */
	insert(is_v6, 0x0a010000, 17, wrong);
	take(is_v6, 0x0a010000, 17, wrong);
	insert(is_v6, 0x0a010000, 16, rightful[1]);
	take(is_v6, 0x0a010200, 24, rightful[0]);
	/* Back, and moved there and back (P-392). */
	insert(is_v6, 0x0a010200, 24, rightful[0]);
	take(is_v6, 0x0a010000, 16, rightful[1]);
	insert(is_v6, 0x0a010200, 24, rightful[1]);
	allowedips_remove_owner(&table, &visitor->allowed);
	insert(is_v6, 0x0a010200, 24, rightful[0]);
	/* The same without joints, protected by a longer prefix. */
	insert(is_v6, 0x0a010203, 32, rightful[1]);
	insert(is_v6, 0x0a010000, 17, wrong);
	take(is_v6, 0x0a010200, 24, rightful[0]);
	insert(is_v6, 0x0a010200, 24, rightful[0]);
	take(is_v6, 0x0a010000, 17, wrong);
	take(is_v6, 0x0a010203, 32, rightful[1]);
	rcu_defer(&visitor->rcu, peer_free_rcu);
}

int main(void)
{
	pthread_t readers[N_READERS];

	allowedips_init(&table);
	wrong = peer_create();
	rightful[0] = peer_create();
	rightful[1] = peer_create();
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		insert(is_v6, 0x0a000000, 8, wrong);
		insert(is_v6, 0x0a010200, 24, rightful[0]);
	}
	pthread_barrier_init(&ready, NULL, N_READERS + 1);
	for (int i = 0; i < N_READERS; i++)
		if (pthread_create(&readers[i], NULL, reader_main, NULL))
			abort();
	pthread_barrier_wait(&ready);
	for (uint32_t round = 0; round < N_ROUNDS; round++) {
		change(round % 2, round);
		if (round % 1024 == 0)
			rcu_flush(); /* bounds the memory of this test */
	}
	atomic_store(&stop, true);
	for (int i = 0; i < N_READERS; i++)
		pthread_join(readers[i], NULL);

	bool flat = table.n_prefixes == 4 && table.n_nodes == 4;
	allowedips_finish(&table);
	rcu_flush();
	free(wrong);
	free(rightful[0]);
	free(rightful[1]);

	bool ok = flat && !n_nobody && !n_wrong && !n_dead && n_lookups;
	printf("%s: %ju lookups: %ju matched nobody, %ju a wrong peer, %ju a dead one; %s\n",
	       ok ? "ok" : "not ok", (uintmax_t)n_lookups, (uintmax_t)n_nobody, (uintmax_t)n_wrong,
	       (uintmax_t)n_dead, flat ? "no node left over" : "nodes left over");
	return ok ? 0 : 1;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Longest-prefix match in tables of one to a million prefixes, and building them. Look-ups go to
 * random addresses that have an owner: large tables do not fit into the caches. */
#include "device/allowedips.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/rcu.h"
#include "micro.h"

enum {
	N_ADDRESSES = 65536,
	N_LOOKUPS = 1024, /* of a burst */
	MAX_PREFIXES = 1000000,
	MAX_PREFIXES_QUICK = 10000,
};

struct table {
	struct allowedips ips;
	struct allowedips_owner *owners; /* one per prefix */
	struct allowedips_prefix *prefixes;
	uint32_t n;
	bool is_v6;
	uint8_t (*address)[16]; /* N_ADDRESSES */
	uint32_t next;
};

static void fill_random(uint64_t *random, uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)micro_random(random);
}

/* A network and a host in it, in turns; networks are numbered by their leading 24 bits, in an order
 * that looks random (the factor is odd: no number comes twice). */
static void make_prefixes(struct table *t, uint64_t *random)
{
	for (uint32_t i = 0; i < t->n; i++) {
		struct allowedips_prefix *p = &t->prefixes[i];
		uint32_t network = i / 2 * UINT32_C(0x9e3779b1) & 0xffffff;

		fill_random(random, p->addr, t->is_v6 ? 16 : 4);
		store_be32(p->addr, network << 8 | p->addr[3]);
		if (t->is_v6) /* a /48, of which the last 24 bits are the same for all */
			memset(p->addr + 3, 0, 3);
		p->is_v6 = t->is_v6;
		p->len = t->is_v6 ? (i % 2 ? 128 : 48) : (i % 2 ? 32 : 24);
	}
}

static void make_addresses(struct table *t, uint64_t *random)
{
	for (uint32_t i = 0; i < N_ADDRESSES; i++) {
		const struct allowedips_prefix *p = &t->prefixes[micro_random(random) % t->n];
		uint8_t host[16];

		fill_random(random, host, sizeof(host));
		for (unsigned b = 0; b < (t->is_v6 ? 16U : 4U); b++) {
			unsigned kept = p->len > 8 * b ? p->len - 8 * b : 0;
			uint8_t mask = (uint8_t)(kept >= 8 ? 0xff : 0xff00 >> kept);
			t->address[i][b] = (uint8_t)((p->addr[b] & mask) | (host[b] & ~mask));
		}
	}
}

static void insert_all(struct table *t)
{
	for (uint32_t i = 0; i < t->n; i++)
		micro_must(allowedips_insert(&t->ips, &t->prefixes[i], &t->owners[i]) == 0,
			   "an allowed IP was refused");
}

static void table_init(struct table *t, uint32_t n, bool is_v6)
{
	uint64_t random = n + is_v6;

	*t = (struct table){ .n = n, .is_v6 = is_v6 };
	t->owners = micro_alloc(n * sizeof(*t->owners));
	t->prefixes = micro_alloc(n * sizeof(*t->prefixes));
	t->address = micro_alloc(N_ADDRESSES * sizeof(*t->address));
	for (uint32_t i = 0; i < n; i++)
		allowedips_owner_init(&t->owners[i]);
	make_prefixes(t, &random);
	make_addresses(t, &random);
	allowedips_init(&t->ips);
}

static void table_finish(struct table *t)
{
	allowedips_finish(&t->ips);
	free(t->owners);
	free(t->prefixes);
	free(t->address);
}

static void lookup(void *ctx)
{
	struct table *t = ctx;
	uint32_t n_found = 0;

	for (uint32_t i = 0; i < N_LOOKUPS; i++) {
		const uint8_t *a = t->address[t->next++ % N_ADDRESSES];
		n_found += (t->is_v6 ? allowedips_lookup6(&t->ips, a)
				     : allowedips_lookup4(&t->ips, a)) != NULL;
	}
	rcu_quiescent();
	micro_must(n_found == N_LOOKUPS, "an address has no owner");
}

static uint64_t build(void *ctx)
{
	struct table *t = ctx;

	allowedips_finish(&t->ips);
	allowedips_init(&t->ips);
	for (uint32_t i = 0; i < t->n; i++)
		allowedips_owner_init(&t->owners[i]);
	uint64_t start = micro_cpu_ns();
	insert_all(t);
	return micro_cpu_ns() - start;
}

static void run_table(struct micro *m, uint32_t n, bool is_v6)
{
	char name[48], label[64];
	struct table t;

	(void)snprintf(name, sizeof(name), "allowedips-%s-%u", is_v6 ? "v6" : "v4", n);
	if (!micro_is_wanted(m, name))
		return;
	table_init(&t, n, is_v6);
	insert_all(&t);
	(void)snprintf(label, sizeof(label), "look-up among %u IPv%c prefixes", n,
		       is_v6 ? '6' : '4');
	micro_run(m,
		  &(struct micro_case){ .name = name,
					.group = is_v6 ? "allowed IPs, IPv6" : "allowed IPs, IPv4",
					.label = label,
					.op = "look-up",
					.n_ops = N_LOOKUPS,
					.burst = lookup,
					.ctx = &t,
					.parameter = "prefixes",
					.parameter_value = n });
	if (n < 1000) { /* a few insertions are less than the clock costs */
		table_finish(&t);
		return;
	}
	(void)snprintf(name, sizeof(name), "allowedips-%s-%u-insert", is_v6 ? "v6" : "v4", n);
	(void)snprintf(label, sizeof(label), "inserting %u IPv%c prefixes", n, is_v6 ? '6' : '4');
	micro_run(m, &(struct micro_case){ .name = name,
					   .group = "allowed IPs, insertion",
					   .label = label,
					   .op = "prefix",
					   .n_ops = n,
					   .timed_burst = build,
					   .ctx = &t,
					   .is_long = n >= 100000,
					   .parameter = "prefixes",
					   .parameter_value = n });
	table_finish(&t);
}

void micro_allowedips(struct micro *m)
{
	uint32_t max = micro_is_quick(m) ? MAX_PREFIXES_QUICK : MAX_PREFIXES;

	rcu_thread_register();
	for (unsigned is_v6 = 0; is_v6 < 2; is_v6++)
		for (uint32_t n = 1; n <= max; n *= 10)
			run_table(m, n, is_v6);
	rcu_thread_unregister();
}

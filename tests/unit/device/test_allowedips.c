/* SPDX-License-Identifier: MPL-2.0 */
/* The trie against a list that is searched from end to end. Lookups during changes are in
 * tests/stress/stress_allowedips.c. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "device/allowedips.h"
#include "unit/base/random.h"

enum {
	N_OWNERS = 6,
};

static struct allowedips table;
static struct allowedips_owner owners[N_OWNERS];

/* Linked with --wrap=malloc: lets the nth allocation from now on fail. */
static unsigned malloc_fails_at;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	if (malloc_fails_at && --malloc_fails_at == 0)
		return NULL;
	return __real_malloc(size);
}

static void setup(void)
{
	allowedips_init(&table);
	for (size_t i = 0; i < N_OWNERS; i++)
		allowedips_owner_init(&owners[i]);
}

static void teardown(void)
{
	allowedips_finish(&table);
	rcu_flush();
}

TestSuite(allowedips, .init = setup, .fini = teardown);

static struct allowedips_prefix prefix(const char *text)
{
	struct allowedips_prefix p = { .is_v6 = strchr(text, ':') != NULL };
	char addr[INET6_ADDRSTRLEN];
	unsigned len;

	if (sscanf(text, "%45[^/]/%u", addr, &len) != 2 ||
	    inet_pton(p.is_v6 ? AF_INET6 : AF_INET, addr, p.addr) != 1)
		cr_fatal("bad prefix in the test: %s", text);
	p.len = (uint8_t)len;
	return p;
}

static void insert(const char *text, int owner)
{
	struct allowedips_prefix p = prefix(text);

	cr_assert(zero(int, allowedips_insert(&table, &p, &owners[owner])));
}

static void take(const char *text, int owner)
{
	struct allowedips_prefix p = prefix(text);

	allowedips_remove(&table, &p, &owners[owner]);
}

/* The owner's number, or -1. */
static int lookup(const char *text)
{
	uint8_t addr[16];
	struct allowedips_owner *o;

	if (inet_pton(AF_INET, text, addr) == 1)
		o = allowedips_lookup4(&table, addr);
	else if (inet_pton(AF_INET6, text, addr) == 1)
		o = allowedips_lookup6(&table, addr);
	else
		cr_fatal("bad address in the test: %s", text);
	return o ? (int)(o - owners) : -1;
}

static void expect_prefixes(int owner, const char *expected)
{
	char text[512] = "";
	const struct list *it = NULL;
	struct allowedips_prefix p;

	while (allowedips_next(&owners[owner], &it, &p)) {
		char addr[INET6_ADDRSTRLEN];
		size_t n = strlen(text);

		inet_ntop(p.is_v6 ? AF_INET6 : AF_INET, p.addr, addr, sizeof(addr));
		snprintf(text + n, sizeof(text) - n, "%s%s/%u", n ? " " : "", addr, p.len);
	}
	cr_assert(eq(str, text, (char *)expected));
}

Test(allowedips, matches_nothing_when_empty)
{
	cr_assert(eq(int, lookup("10.0.0.1"), -1));
	cr_assert(eq(int, lookup("fe80::1"), -1));
}

Test(allowedips, longest_prefix_wins)
{
	insert("10.0.0.0/8", 0);
	insert("10.1.0.0/16", 1);
	insert("10.1.2.3/32", 2);
	insert("0.0.0.0/0", 3);
	cr_assert(eq(int, lookup("10.2.0.1"), 0));
	cr_assert(eq(int, lookup("10.1.0.1"), 1));
	cr_assert(eq(int, lookup("10.1.2.3"), 2));
	cr_assert(eq(int, lookup("10.1.2.2"), 1));
	cr_assert(eq(int, lookup("11.0.0.1"), 3));
	cr_assert(eq(int, lookup("255.255.255.255"), 3));
	cr_assert(eq(int, lookup("::1"), -1), "families are apart");
}

Test(allowedips, ipv6_on_both_sides_of_64_bits)
{
	insert("::/0", 0);
	insert("2001:db8::/32", 1);
	insert("2001:db8:0:1::/64", 2);
	insert("2001:db8:0:1:8000::/65", 3);
	insert("2001:db8:0:1:8000::1/128", 4);
	cr_assert(eq(int, lookup("2001:db9::"), 0));
	cr_assert(eq(int, lookup("2001:db8:ffff::"), 1));
	cr_assert(eq(int, lookup("2001:db8:0:1:7fff::"), 2));
	cr_assert(eq(int, lookup("2001:db8:0:1:8000::2"), 3));
	cr_assert(eq(int, lookup("2001:db8:0:1:8000::1"), 4));
	cr_assert(eq(int, lookup("10.0.0.1"), -1), "families are apart");
}

Test(allowedips, stores_prefixes_masked_in_order_of_insertion)
{
	insert("192.168.77.5/20", 0);
	insert("10.1.2.3/32", 0);
	insert("2001:db8:ffff:ffff::1/33", 0);
	insert("1.2.3.4/0", 0);
	expect_prefixes(0, "192.168.64.0/20 10.1.2.3/32 2001:db8:8000::/33 0.0.0.0/0");
	insert("10.1.2.3/32", 0); /* again: now it is the last */
	expect_prefixes(0, "192.168.64.0/20 2001:db8:8000::/33 0.0.0.0/0 10.1.2.3/32");
	cr_assert(eq(sz, table.n_prefixes, 4));
}

/* P-392 */
Test(allowedips, insert_moves_a_prefix_from_its_owner)
{
	insert("10.0.0.0/8", 0);
	insert("10.1.0.0/16", 0);
	insert("10.0.0.0/8", 1);
	cr_assert(eq(int, lookup("10.2.0.0"), 1));
	cr_assert(eq(int, lookup("10.1.0.0"), 0));
	expect_prefixes(0, "10.1.0.0/16");
	expect_prefixes(1, "10.0.0.0/8");
}

/* P-393 */
Test(allowedips, remove_takes_exactly_that_prefix_of_that_owner)
{
	insert("10.0.0.0/8", 0);
	insert("10.1.0.0/16", 1);
	take("10.1.0.0/16", 0); /* another's */
	take("10.1.0.0/17", 1); /* not there */
	take("10.0.0.0/7", 0);
	take("10.1.0.0/33", 1); /* impossible */
	cr_assert(eq(int, lookup("10.1.0.0"), 1));
	take("10.1.255.255/16", 1); /* masked like an insertion */
	cr_assert(eq(int, lookup("10.1.0.0"), 0));
	take("10.0.0.0/8", 0);
	cr_assert(eq(int, lookup("10.1.0.0"), -1));
	cr_assert(eq(sz, table.n_nodes, 0));
}

Test(allowedips, remove_leaves_a_joint_that_becomes_a_prefix_again)
{
	insert("10.0.0.0/8", 0);
	insert("10.0.0.0/9", 1);
	insert("10.128.0.0/9", 2);
	take("10.0.0.0/8", 0);
	cr_assert(eq(sz, table.n_nodes, 3));
	cr_assert(eq(int, lookup("10.1.0.0"), 1));
	insert("10.0.0.0/8", 3);
	take("10.0.0.0/9", 1);
	cr_assert(eq(int, lookup("10.1.0.0"), 3));
	take("10.0.0.0/8", 3);
	cr_assert(eq(int, lookup("10.1.0.0"), -1));
	cr_assert(eq(int, lookup("10.129.0.0"), 2));
	cr_assert(eq(sz, table.n_nodes, 1));
}

Test(allowedips, remove_owner_leaves_the_others)
{
	insert("10.0.0.0/8", 0);
	insert("10.1.0.0/16", 1);
	insert("10.1.1.0/24", 0);
	insert("2001:db8::/32", 0);
	allowedips_remove_owner(&table, &owners[0]);
	expect_prefixes(0, "");
	cr_assert(eq(int, lookup("10.1.1.1"), 1));
	cr_assert(eq(int, lookup("10.2.1.1"), -1));
	cr_assert(eq(int, lookup("2001:db8::1"), -1));
	cr_assert(eq(sz, table.n_prefixes, 1));
	cr_assert(eq(sz, table.n_nodes, 1));
}

/* A reload names all prefixes again: no lookup in between may miss one that stays. */
Test(allowedips, replacing_never_uncovers_what_stays)
{
	struct list old;

	insert("10.0.0.0/8", 0);
	insert("10.1.0.0/16", 0);
	insert("10.2.0.0/16", 1);
	allowedips_set_aside(&owners[0], &old);
	cr_assert(eq(int, lookup("10.1.1.1"), 0));
	expect_prefixes(0, "");
	insert("10.1.0.0/16", 0);
	insert("10.3.0.0/16", 0);
	cr_assert(eq(int, lookup("10.9.0.0"), 0));
	allowedips_remove_aside(&table, &old);
	expect_prefixes(0, "10.1.0.0/16 10.3.0.0/16");
	cr_assert(eq(int, lookup("10.1.1.1"), 0));
	cr_assert(eq(int, lookup("10.9.0.0"), -1));
	cr_assert(eq(int, lookup("10.2.0.1"), 1));
	cr_assert(eq(sz, table.n_prefixes, 3));
}

Test(allowedips, refuses_a_length_beyond_the_address)
{
	struct allowedips_prefix p4 = { .len = 33 };
	struct allowedips_prefix p6 = { .len = 129, .is_v6 = true };

	cr_assert(eq(int, allowedips_insert(&table, &p4, &owners[0]), -EINVAL));
	cr_assert(eq(int, allowedips_insert(&table, &p6, &owners[0]), -EINVAL));
	cr_assert(eq(sz, table.n_prefixes, 0));
}

Test(allowedips, without_memory_nothing_changes)
{
	insert("10.0.0.0/8", 0);
	for (unsigned nth = 1; nth <= 2; nth++) { /* the leaf, then the joint */
		struct allowedips_prefix p = prefix("11.0.0.0/8");

		malloc_fails_at = nth;
		cr_assert(eq(int, allowedips_insert(&table, &p, &owners[1]), -ENOMEM));
		cr_assert(eq(int, lookup("11.0.0.1"), -1));
		cr_assert(eq(int, lookup("10.0.0.1"), 0));
		cr_assert(eq(sz, table.n_nodes, 1));
		expect_prefixes(1, "");
	}
	malloc_fails_at = 0;
	insert("11.0.0.0/8", 1);
	cr_assert(eq(int, lookup("11.0.0.1"), 1));
}

/* --- the model --- */

enum {
	MODEL_SIZE = 96, /* prefixes at once at most */
	N_OPS = 500000,  /* per family */
};

struct entry {
	uint8_t addr[16]; /* masked */
	unsigned len;
	int owner; /* -1: unused */
	uint64_t inserted;
};

static struct entry model[MODEL_SIZE];

static bool covers(const struct entry *e, const uint8_t *addr)
{
	for (unsigned i = 0; i < e->len; i++)
		if ((e->addr[i / 8] ^ addr[i / 8]) >> (7 - i % 8) & 1)
			return false;
	return true;
}

static int model_lookup(const uint8_t *addr)
{
	const struct entry *best = NULL;

	for (size_t i = 0; i < MODEL_SIZE; i++)
		if (model[i].owner >= 0 && covers(&model[i], addr) &&
		    (!best || model[i].len > best->len))
			best = &model[i];
	return best ? best->owner : -1;
}

/* The entry of this prefix, or an unused one, or NULL. */
static struct entry *model_find(const struct allowedips_prefix *p)
{
	struct entry *unused = NULL;

	for (size_t i = 0; i < MODEL_SIZE; i++) {
		if (model[i].owner < 0)
			unused = &model[i];
		else if (model[i].len == p->len && covers(&model[i], p->addr))
			return &model[i];
	}
	return unused;
}

static void model_set(struct entry *e, const struct allowedips_prefix *p, int owner)
{
	static uint64_t n_inserted;

	*e = (struct entry){ .len = p->len, .owner = owner, .inserted = n_inserted++ };
	for (unsigned i = 0; i < p->len; i++)
		e->addr[i / 8] |= p->addr[i / 8] & (0x80 >> i % 8);
}

static void model_remove_owner(int owner)
{
	for (size_t i = 0; i < MODEL_SIZE; i++)
		if (model[i].owner == owner)
			model[i].owner = -1;
}

/* Few distinct addresses, so that prefixes nest and collide: some bits at the front, some around
 * the middle, some at the end. */
static void random_addr(uint8_t *addr, bool is_v6)
{
	size_t n = is_v6 ? 16 : 4;

	memset(addr, 0, 16);
	addr[0] = random_below(4) << 6;
	addr[n / 2 - 1] = random_below(2);
	addr[n / 2] = random_below(2) << 7;
	addr[n - 1] = random_below(8);
}

static struct allowedips_prefix random_prefix(bool is_v6)
{
	struct allowedips_prefix p = { .is_v6 = is_v6 };
	unsigned max = is_v6 ? 128 : 32;
	const unsigned lens[] = {
		0, 1, 2, max / 2 - 1, max / 2, max / 2 + 1, max - 3, max - 1, max
	};

	random_addr(p.addr, is_v6);
	p.len = random_below(8) ? lens[random_below(ARRAY_SIZE(lens))] : random_below(max + 1);
	return p;
}

static void check_order(int owner)
{
	const struct list *it = NULL;
	struct allowedips_prefix p;
	size_t n = 0, n_expected = 0;
	uint64_t last = 0;

	for (size_t i = 0; i < MODEL_SIZE; i++)
		n_expected += model[i].owner == owner;
	for (; allowedips_next(&owners[owner], &it, &p); n++) {
		const struct entry *e = model_find(&p);

		if (!e || e->owner != owner || memcmp(e->addr, p.addr, 16) != 0 ||
		    e->inserted < last)
			cr_fatal("owner %d: wrong prefix or order", owner);
		last = e->inserted;
	}
	cr_assert(eq(sz, n, n_expected));
}

static void random_change(bool is_v6)
{
	struct allowedips_prefix p = random_prefix(is_v6);
	struct entry *e = model_find(&p);
	int owner = (int)random_below(N_OWNERS);

	switch (random_below(64)) {
	case 0:
		allowedips_remove_owner(&table, &owners[owner]);
		model_remove_owner(owner);
		break;
	case 1 ... 27:
		allowedips_remove(&table, &p, &owners[owner]);
		if (e && e->owner == owner)
			e->owner = -1;
		break;
	default:
		if (!e)
			break; /* the model is full */
		cr_assert(zero(int, allowedips_insert(&table, &p, &owners[owner])));
		model_set(e, &p, owner);
	}
}

static void compare_with_model(bool is_v6)
{
	for (size_t i = 0; i < MODEL_SIZE; i++)
		model[i].owner = -1;
	for (uint32_t op = 0; op < N_OPS; op++) {
		uint8_t addr[16];

		random_change(is_v6);
		random_addr(addr, is_v6);
		struct allowedips_owner *o = is_v6 ? allowedips_lookup6(&table, addr)
						   : allowedips_lookup4(&table, addr);
		if ((o ? (int)(o - owners) : -1) != model_lookup(addr))
			cr_fatal("operation %u: wrong owner", op);
		if (table.n_nodes > 2 * table.n_prefixes)
			cr_fatal("operation %u: stale nodes", op);
		if (op % 256 == 0)
			check_order((int)random_below(N_OWNERS));
		if (op % 65536 == 0)
			rcu_flush(); /* no reader holds it up; only bounds the test's memory */
	}
	for (size_t i = 0; i < N_OWNERS; i++)
		allowedips_remove_owner(&table, &owners[i]);
	cr_assert(eq(sz, table.n_prefixes, 0));
	cr_assert(eq(sz, table.n_nodes, 0));
}

Test(allowedips, ipv4_agrees_with_a_list_over_random_changes, .timeout = 60)
{
	compare_with_model(false);
}

Test(allowedips, ipv6_agrees_with_a_list_over_random_changes, .timeout = 60)
{
	compare_with_model(true);
}

/* A large gateway: 65536 peers with ten prefixes each. */
Test(allowedips, loads_many_peers_quickly, .timeout = 60)
{
	const uint32_t n_peers = 65536;
	struct allowedips_owner *peers = calloc(n_peers, sizeof(*peers));
	struct allowedips_prefix p = { .len = 32 };
	clock_t start = clock();

	for (uint32_t i = 0; i < n_peers; i++) {
		allowedips_owner_init(&peers[i]);
		for (uint32_t k = 0; k < 10; k++) {
			uint32_t addr = htonl(i * 2654435761U + (k << 12));

			memcpy(p.addr, &addr, 4);
			cr_assert(zero(int, allowedips_insert(&table, &p, &peers[i])));
		}
	}
	for (uint32_t i = 0; i < n_peers; i++)
		allowedips_remove_owner(&table, &peers[i]);
	cr_assert(eq(sz, table.n_nodes, 0));
	rcu_flush();
	/* Takes about a third of a second of CPU; far more means that something is not O(depth). */
	cr_assert(lt(dbl, (double)(clock() - start) / CLOCKS_PER_SEC, 20.0));
	free(peers);
}

Test(allowedips, insertions_that_were_reserved_need_no_memory)
{
	struct allowedips_prefix p[4] = { prefix("10.0.0.0/8"), prefix("10.1.0.0/16"),
					  prefix("11.0.0.0/24"), prefix("fd00::/8") };

	cr_assert(allowedips_reserve(&table, ARRAY_SIZE(p)) == 0);
	malloc_fails_at = 1; /* the next one, whenever that is */
	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		cr_assert(allowedips_insert(&table, &p[i], &owners[0]) == 0);
	allowedips_release(&table);
	cr_assert(malloc_fails_at == 1, "memory was asked for");
	malloc_fails_at = 5;
	cr_assert(allowedips_reserve(&table, 4) == -ENOMEM);
	cr_assert(table.spare == NULL, "kept after a failure");
	cr_assert(table.n_prefixes == ARRAY_SIZE(p));
}

/* SPDX-License-Identifier: MPL-2.0 */
/* A path-compressed binary trie per family. A node without an owner only joins two others. Readers
 * follow child pointers and owners, both of which change in place, one store at a time; whatever
 * left the trie is freed after a grace period. */
#include "device/allowedips.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"

/* An address of either family, left-aligned, in host order. IPv4 never touches @lo. */
struct key {
	uint64_t hi, lo;
};

struct allowedips_node {
	/* constant once published */
	struct key key; /* zero beyond @len */
	uint8_t len;    /* bits */
	bool is_v6;

	/* control publishes, lookups read */
	RCU_PTR(struct allowedips_node) child[2]; /* by the bit behind the prefix */
	RCU_PTR(struct allowedips_owner) owner;   /* NULL: joins two nodes */

	/* owner: control; @rcu once the node has left the trie */
	union {
		struct {
			struct list link; /* in owner->prefixes, if there is an owner */
			struct allowedips_node *parent; /* NULL: root */
		};
		struct rcu_item rcu;
	};
};

static unsigned key_bit(struct key k, unsigned i)
{
	uint64_t half = i < 64 ? k.hi : k.lo;

	return (half >> (63 - i % 64)) & 1;
}

/* Number of leading bits that are equal, up to 128. */
static unsigned key_common(struct key a, struct key b)
{
	if (a.hi != b.hi)
		return (unsigned)__builtin_clzll(a.hi ^ b.hi);
	if (a.lo != b.lo)
		return 64 + (unsigned)__builtin_clzll(a.lo ^ b.lo);
	return 128;
}

/* The first @len bits of @half; two shifts because one by 64 would be undefined. */
static uint64_t half_mask(uint64_t half, unsigned len)
{
	return len ? half & ~(~UINT64_C(0) >> 1 >> (len - 1)) : 0;
}

static struct key key_mask(struct key k, unsigned len)
{
	return (struct key){ half_mask(k.hi, MIN(len, 64)),
			     half_mask(k.lo, len > 64 ? len - 64 : 0) };
}

static struct key key_of_prefix(const struct allowedips_prefix *p)
{
	struct key k = { 0, 0 };

	if (p->is_v6)
		k = (struct key){ load_be64(p->addr), load_be64(p->addr + 8) };
	else
		k.hi = (uint64_t)load_be32(p->addr) << 32;
	return key_mask(k, p->len);
}

/* Does @n's prefix cover @k? */
static inline bool node_covers(const struct allowedips_node *n, struct key k, bool is_v6)
{
	if (is_v6 && n->len > 64)
		return n->key.hi == k.hi && (n->key.lo ^ k.lo) >> (128 - n->len) == 0;
	return n->len == 0 || (n->key.hi ^ k.hi) >> (64 - n->len) == 0;
}

/* --- lookup --- */

/* One store into the trie is seen as done or not done, and either is right. Two stores during one
 * walk could be seen the second without the first, for example the removal of a prefix but not the
 * insertion of a shorter one before it: the address would match nobody although it always had an
 * owner. So a walk counts only if no change began while it lasted. It never waits: to be repeated,
 * the writer must have got one change further.
 *
 * The writer raises @version before each store. Reading it first (acquire) shows all changes before
 * that one; every load of the walk is an acquire, so one that sees a later store makes the second
 * reading of @version see it as well. */
static inline struct allowedips_owner *lookup(const struct allowedips *a, struct key k, bool is_v6)
{
	struct allowedips_owner *best;
	uint32_t version;

	do {
		version = atomic_load_explicit(&a->version, memory_order_acquire);
		const struct allowedips_node *n = rcu_read(is_v6 ? &a->root6 : &a->root4);

		best = NULL;
		while (n && node_covers(n, k, is_v6)) {
			struct allowedips_owner *o = rcu_read(&n->owner);

			if (o)
				best = o;
			n = rcu_read(&n->child[key_bit(k, n->len)]);
		}
	} while (UNLIKELY(atomic_load_explicit(&a->version, memory_order_relaxed) != version));
	return best;
}

struct allowedips_owner *allowedips_lookup4(const struct allowedips *a, const uint8_t addr[4])
{
	struct key k = { (uint64_t)load_be32(addr) << 32, 0 };

	return lookup(a, k, false);
}

struct allowedips_owner *allowedips_lookup6(const struct allowedips *a, const uint8_t addr[16])
{
	struct key k = { load_be64(addr), load_be64(addr + 8) };

	return lookup(a, k, true);
}

/* --- changes --- */

/* Before every store that a lookup can see. */
static void begin_store(struct allowedips *a)
{
	uint32_t version = atomic_load_explicit(&a->version, memory_order_relaxed);

	/* release: not before the previous store; that store's own release keeps this before it */
	atomic_store_explicit(&a->version, version + 1, memory_order_release);
}

static void set_slot(struct allowedips *a, RCU_PTR(struct allowedips_node) * slot,
		     struct allowedips_node *n)
{
	begin_store(a);
	rcu_publish(slot, n);
}

static void set_owner(struct allowedips *a, struct allowedips_node *n, struct allowedips_owner *o)
{
	begin_store(a);
	rcu_publish(&n->owner, o);
}

static RCU_PTR(struct allowedips_node) * slot_of(struct allowedips *a, struct allowedips_node *n)
{
	if (n->parent)
		return &n->parent->child[key_bit(n->key, n->parent->len)];
	return n->is_v6 ? &a->root6 : &a->root4;
}

static struct allowedips_node *node_create(struct allowedips *a, struct key k, unsigned len,
					   bool is_v6, struct allowedips_owner *o)
{
	struct allowedips_node *n = a->spare;
	if (n)
		a->spare = n->parent;
	else
		n = malloc(sizeof(*n));
	if (!n)
		return NULL;

	n->key = key_mask(k, len);
	n->len = (uint8_t)len;
	n->is_v6 = is_v6;
	atomic_init(&n->child[0], NULL);
	atomic_init(&n->child[1], NULL);
	atomic_init(&n->owner, o);
	list_init(&n->link);
	n->parent = NULL;
	return n;
}

static void node_free_rcu(struct rcu_item *item)
{
	free(container_of(item, struct allowedips_node, rcu));
}

/* Links @child below @n, which is not published yet. */
static void node_adopt(struct allowedips_node *n, struct allowedips_node *child)
{
	atomic_store_explicit(&n->child[key_bit(child->key, n->len)], child, memory_order_relaxed);
	child->parent = n;
}

/* Where @k / @len is or would be: the slot that is empty, or whose node does not lead further. */
static RCU_PTR(struct allowedips_node) * find_slot(struct allowedips *a, struct key k, unsigned len,
						   bool is_v6, struct allowedips_node **ret_parent)
{
	RCU_PTR(struct allowedips_node) *slot = is_v6 ? &a->root6 : &a->root4;
	struct allowedips_node *n;

	*ret_parent = NULL;
	while ((n = rcu_peek(slot)) != NULL && n->len < len && node_covers(n, k, is_v6)) {
		*ret_parent = n;
		slot = &n->child[key_bit(k, n->len)];
	}
	return slot;
}

static bool node_is(const struct allowedips_node *n, struct key k, unsigned len)
{
	return n && n->len == len && n->key.hi == k.hi && n->key.lo == k.lo;
}

/* Gives the existing @n to @o. */
static void node_move(struct allowedips *a, struct allowedips_node *n, struct allowedips_owner *o)
{
	struct allowedips_owner *before = rcu_peek(&n->owner);

	if (before)
		list_remove(&n->link);
	else
		a->n_prefixes++;
	if (before != o)
		set_owner(a, n, o);
	list_push_back(&o->prefixes, &n->link);
}

/* Puts the new @n where @other is: above it, or beside it below a new joint. */
static int node_displace(struct allowedips *a, RCU_PTR(struct allowedips_node) * slot,
			 struct allowedips_node *n, struct allowedips_node *other)
{
	unsigned common = MIN(key_common(n->key, other->key), MIN(n->len, other->len));
	struct allowedips_node *top = n;

	if (common < n->len) {
		top = node_create(a, n->key, common, n->is_v6, NULL);
		if (!top)
			return -ENOMEM;
		a->n_nodes++;
		top->parent = other->parent;
		node_adopt(top, n);
	}
	node_adopt(top, other);
	set_slot(a, slot, top);
	return 0;
}

int allowedips_insert(struct allowedips *a, const struct allowedips_prefix *p,
		      struct allowedips_owner *o)
{
	if (p->len > (p->is_v6 ? 128 : 32))
		return -EINVAL;

	struct key k = key_of_prefix(p);
	struct allowedips_node *parent;
	RCU_PTR(struct allowedips_node) *slot = find_slot(a, k, p->len, p->is_v6, &parent);
	struct allowedips_node *here = rcu_peek(slot);

	if (node_is(here, k, p->len)) {
		node_move(a, here, o);
		return 0;
	}

	struct allowedips_node *n = node_create(a, k, p->len, p->is_v6, o);
	if (!n)
		return -ENOMEM;
	n->parent = parent;
	if (!here) {
		set_slot(a, slot, n);
	} else if (node_displace(a, slot, n, here) < 0) {
		free(n);
		return -ENOMEM;
	}
	list_push_back(&o->prefixes, &n->link);
	a->n_prefixes++;
	a->n_nodes++;
	return 0;
}

int allowedips_reserve(struct allowedips *a, size_t n)
{
	for (size_t i = 0; i < 2 * n; i++) { /* itself, and a joint */
		struct allowedips_node *spare = malloc(sizeof(*spare));
		if (!spare) {
			allowedips_release(a);
			return -ENOMEM;
		}
		spare->parent = a->spare;
		a->spare = spare;
	}
	return 0;
}

void allowedips_release(struct allowedips *a)
{
	for (struct allowedips_node *n = a->spare, *next; n; n = next) {
		next = n->parent;
		free(n);
	}
	a->spare = NULL;
}

/* Takes @n, which has at most one child, out of the trie. */
static void node_unlink(struct allowedips *a, struct allowedips_node *n)
{
	struct allowedips_node *child = rcu_peek(&n->child[0]);

	if (!child)
		child = rcu_peek(&n->child[1]);
	set_slot(a, slot_of(a, n), child);
	if (child)
		child->parent = n->parent;
	a->n_nodes--;
	rcu_defer(&n->rcu, node_free_rcu);
}

static bool node_has_two_children(const struct allowedips_node *n)
{
	return rcu_peek(&n->child[0]) && rcu_peek(&n->child[1]);
}

/* Ends the prefix of @n. */
static void node_remove(struct allowedips *a, struct allowedips_node *n)
{
	struct allowedips_node *parent = n->parent;

	list_remove(&n->link);
	a->n_prefixes--;
	if (node_has_two_children(n)) {
		set_owner(a, n, NULL); /* from now on it joins them */
		return;
	}
	node_unlink(a, n);
	if (parent && !rcu_peek(&parent->owner) && !node_has_two_children(parent))
		node_unlink(a, parent); /* it joined us and one other */
}

void allowedips_remove(struct allowedips *a, const struct allowedips_prefix *p,
		       const struct allowedips_owner *o)
{
	if (p->len > (p->is_v6 ? 128 : 32))
		return;

	struct key k = key_of_prefix(p);
	struct allowedips_node *parent;
	struct allowedips_node *n = rcu_peek(find_slot(a, k, p->len, p->is_v6, &parent));

	if (node_is(n, k, p->len) && rcu_peek(&n->owner) == o)
		node_remove(a, n);
}

void allowedips_remove_owner(struct allowedips *a, struct allowedips_owner *o)
{
	allowedips_remove_aside(a, &o->prefixes);
}

void allowedips_set_aside(struct allowedips_owner *o, struct list *old)
{
	list_init(old);
	list_push_back(&o->prefixes, old); /* the new head takes the old one's place */
	list_remove(&o->prefixes);
}

void allowedips_remove_aside(struct allowedips *a, struct list *old)
{
	while (!list_is_empty(old))
		node_remove(a, list_entry(old->next, struct allowedips_node, link));
}

bool allowedips_next(const struct allowedips_owner *o, const struct list **cursor,
		     struct allowedips_prefix *ret_prefix)
{
	const struct list *next = *cursor ? (*cursor)->next : o->prefixes.next;

	if (next == &o->prefixes)
		return false;

	const struct allowedips_node *n = list_entry(next, const struct allowedips_node, link);
	*ret_prefix = (struct allowedips_prefix){ .len = n->len, .is_v6 = n->is_v6 };
	if (n->is_v6) {
		store_be64(ret_prefix->addr, n->key.hi);
		store_be64(ret_prefix->addr + 8, n->key.lo);
	} else {
		store_be32(ret_prefix->addr, (uint32_t)(n->key.hi >> 32));
	}
	*cursor = next;
	return true;
}

/* --- life --- */

void allowedips_init(struct allowedips *a)
{
	atomic_init(&a->version, 0);
	atomic_init(&a->root4, NULL);
	atomic_init(&a->root6, NULL);
	a->n_prefixes = 0;
	a->n_nodes = 0;
	a->spare = NULL;
}

/* Children first; the way back is in the parent pointers. */
static void free_all(struct allowedips_node *n)
{
	while (n) {
		struct allowedips_node *parent = n->parent;
		struct allowedips_node *child = rcu_peek(&n->child[0]);
		unsigned side = child ? 0 : 1;

		if (!child)
			child = rcu_peek(&n->child[1]);
		if (child) {
			atomic_store_explicit(&n->child[side], NULL, memory_order_relaxed);
			n = child;
			continue;
		}
		free(n);
		n = parent;
	}
}

void allowedips_finish(struct allowedips *a)
{
	free_all(rcu_peek(&a->root4));
	free_all(rcu_peek(&a->root6));
	allowedips_release(a);
	allowedips_init(a);
}

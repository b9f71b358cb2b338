/* SPDX-License-Identifier: MPL-2.0 */
/* Longest-prefix match of IPv4 and IPv6 addresses to their owners: cryptokey routing.
 *
 * Lookups: any number of threads, registered with base/rcu.h (the control thread need not be); no
 * lock, never waiting for the writer.
 * Everything else: one thread, the control thread. Each change takes effect at one moment: a lookup
 * that runs meanwhile gives what was right before or after it, never a mixture of several changes.
 * An owner must be removed before a grace period that precedes the end of its memory. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/macro.h"
#include "base/rcu.h"

struct allowedips_node;

struct allowedips {
	_Atomic uint32_t version; /* of the latest change begun; see lookup() */
	RCU_PTR(struct allowedips_node) root4;
	RCU_PTR(struct allowedips_node) root6;
	size_t n_prefixes;             /* owner: control */
	size_t n_nodes;                /* likewise; at most two per prefix */
	struct allowedips_node *spare; /* by .parent; owner: control */
};

/* Embedded in a peer; a lookup yields it. */
struct allowedips_owner {
	struct list prefixes; /* its nodes in order of insertion (U-043) */
};

struct allowedips_prefix {
	uint8_t addr[16]; /* network order; IPv4 uses the first four */
	uint8_t len;      /* bits */
	bool is_v6;
};

/* Makes an empty table. */
void allowedips_init(struct allowedips *a);

/* Frees all nodes. No reader may be left; owners are not touched. */
void allowedips_finish(struct allowedips *a);

static inline void allowedips_owner_init(struct allowedips_owner *o)
{
	list_init(&o->prefixes);
}

/* Gives @p, masked to its length, to @o as its last; takes it from whoever has it (P-392). 0, -EINVAL
 * if the length exceeds the address, or -ENOMEM with nothing changed. */
MUST_CHECK int allowedips_insert(struct allowedips *a, const struct allowedips_prefix *p,
				 struct allowedips_owner *o);

/* Makes @n insertions succeed, from now to allowedips_release(), which gives back what they did not
 * need. 0 or -ENOMEM. */
MUST_CHECK int allowedips_reserve(struct allowedips *a, size_t n);
void allowedips_release(struct allowedips *a);

/* Removes exactly @p if it belongs to @o, else nothing (P-393). */
void allowedips_remove(struct allowedips *a, const struct allowedips_prefix *p,
		       const struct allowedips_owner *o);

/* Removes all prefixes of @o; costs nothing for those of others. */
void allowedips_remove_owner(struct allowedips *a, struct allowedips_owner *o);

/* Replacing all prefixes of @o without a moment in which one that stays matches nobody: set the old
 * ones aside in @old (they stay in force), insert the new ones, and remove what is left aside. */
void allowedips_set_aside(struct allowedips_owner *o, struct list *old);
void allowedips_remove_aside(struct allowedips *a, struct list *old);

/* Steps through the prefixes of @o in order of insertion: start with *@cursor = NULL. False at the
 * end. The table must not change meanwhile. */
bool allowedips_next(const struct allowedips_owner *o, const struct list **cursor,
		     struct allowedips_prefix *ret_prefix);

/* The owner of the longest prefix that covers @addr, or NULL. Any registered thread; the owner is
 * valid until that thread's next quiescent state. */
struct allowedips_owner *allowedips_lookup4(const struct allowedips *a, const uint8_t addr[4]);
struct allowedips_owner *allowedips_lookup6(const struct allowedips *a, const uint8_t addr[16]);

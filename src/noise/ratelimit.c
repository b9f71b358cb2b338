/* SPDX-License-Identifier: MPL-2.0 */
/* Token buckets. Entries are linked twice: into the hash chain of their source, and by the time they
 * were last seen, so that the oldest are found without a scan. */
#include "noise/ratelimit.h"

#include <assert.h>
#include <string.h>

#include "base/macro.h"

#define NONE        UINT32_MAX
#define COST_NS     ((uint32_t)(NSEC_PER_SEC / RATELIMIT_PER_SECOND))
#define FULL_NS     (RATELIMIT_BURST * COST_NS)
#define IDLE_MAX_NS NSEC_PER_SEC /* longer than a bucket takes to fill: forgetting it is harmless */

/* Each call adds one entry at most, so anything above 1 keeps up. */
enum { EXPIRE_PER_CALL = 8 };

void ratelimit_init(struct ratelimit *rl, struct ratelimit_entry *entries, size_t n_entries,
		    const uint8_t key[SIPHASH_KEY_LEN])
{
	assert(n_entries > 0 && n_entries < NONE);
	*rl = (struct ratelimit){ .entries = entries,
				  .n_entries = (uint32_t)n_entries,
				  .free = 0,
				  .newest = NONE,
				  .oldest = NONE };
	memcpy(rl->key, key, SIPHASH_KEY_LEN);
	for (uint32_t i = 0; i < rl->n_entries; i++)
		entries[i] = (struct ratelimit_entry){
			.chain = i + 1 < rl->n_entries ? i + 1 : NONE,
			.bucket = NONE,
		};
}

/* The link that leads to the chain of this source. Both families share the chains. */
static uint32_t *chain_of(struct ratelimit *rl, uint64_t source)
{
	uint8_t in[8];
	store_le64(in, source);
	uint64_t hash = siphash(rl->key, (struct bytes){ in, sizeof(in) });
	return &rl->entries[hash % rl->n_entries].bucket;
}

static void unlink_by_age(struct ratelimit *rl, const struct ratelimit_entry *e)
{
	*(e->newer != NONE ? &rl->entries[e->newer].older : &rl->newest) = e->older;
	*(e->older != NONE ? &rl->entries[e->older].newer : &rl->oldest) = e->newer;
}

static void link_as_newest(struct ratelimit *rl, uint32_t i)
{
	rl->entries[i].newer = NONE;
	rl->entries[i].older = rl->newest;
	*(rl->newest != NONE ? &rl->entries[rl->newest].newer : &rl->oldest) = i;
	rl->newest = i;
}

static void drop_oldest(struct ratelimit *rl)
{
	uint32_t i = rl->oldest;
	struct ratelimit_entry *e = &rl->entries[i];
	uint32_t *link = chain_of(rl, e->source);
	while (*link != i) /* it is there; with a secret key chains are short */
		link = &rl->entries[*link].chain;
	*link = e->chain;
	unlink_by_age(rl, e);
	e->chain = rl->free;
	rl->free = i;
	rl->n_in_use--;
}

static void expire(struct ratelimit *rl, uint64_t now_ns)
{
	for (int n = 0; n < EXPIRE_PER_CALL && rl->oldest != NONE; n++) {
		uint64_t last_ns = rl->entries[rl->oldest].last_ns;
		if (now_ns < last_ns || now_ns - last_ns <= IDLE_MAX_NS)
			break;
		drop_oldest(rl);
	}
}

/* A first message is paid at once; there is nothing to refuse. */
static bool add(struct ratelimit *rl, struct ratelimit_entry source, uint32_t *chain)
{
	uint32_t i = rl->free;
	if (i == NONE)
		return false;
	struct ratelimit_entry *e = &rl->entries[i];
	rl->free = e->chain;
	rl->n_in_use++;
	source.tokens = FULL_NS - COST_NS;
	source.chain = *chain;
	source.bucket = e->bucket;
	*e = source;
	*chain = i;
	link_as_newest(rl, i);
	return true;
}

static bool take(struct ratelimit *rl, uint32_t i, uint64_t now_ns)
{
	struct ratelimit_entry *e = &rl->entries[i];
	uint64_t elapsed_ns = now_ns > e->last_ns ? now_ns - e->last_ns : 0;
	uint64_t tokens = e->tokens + MIN(elapsed_ns, (uint64_t)FULL_NS);
	bool ok;
	tokens = MIN(tokens, (uint64_t)FULL_NS);
	ok = tokens >= COST_NS;
	e->tokens = (uint32_t)(ok ? tokens - COST_NS : tokens);
	e->last_ns += elapsed_ns;
	unlink_by_age(rl, e);
	link_as_newest(rl, i);
	return ok;
}

bool ratelimit_allow(struct ratelimit *rl, struct bytes source, uint64_t now_ns)
{
	assert(source.len == 4 || source.len == 16);
	struct ratelimit_entry key = {
		.source = source.len == 4 ? load_be32(source.data) : load_be64(source.data),
		.is_ipv6 = source.len == 16,
		.last_ns = now_ns,
	};
	expire(rl, now_ns);
	uint32_t *chain = chain_of(rl, key.source);
	for (uint32_t i = *chain; i != NONE; i = rl->entries[i].chain)
		if (rl->entries[i].source == key.source && rl->entries[i].is_ipv6 == key.is_ipv6)
			return take(rl, i, now_ns);
	return add(rl, key, chain);
}

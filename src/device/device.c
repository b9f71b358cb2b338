/* SPDX-License-Identifier: MPL-2.0 */
/* Shared state of a device. */
#include "device/device.h"

#include <errno.h>
#include <stdlib.h>
#include <urcu-qsbr.h>

#include "base/entropy.h"
#include "base/tsan.h"

enum {
	MAILBOX_SLOTS = 1024,    /* per pair of threads, */
	MAILBOX_SLOTS_MANY = 64, /* with many workers */
	KEY_TABLE_BUCKETS = 64,
};

static uint32_t mailbox_slots(const struct device *d)
{
	return d->n_workers <= 8 ? MAILBOX_SLOTS : MAILBOX_SLOTS_MANY;
}

static int init_threads(struct device *d)
{
	uint32_t n = d->n_workers + 1;
	uint32_t n_slots = mailbox_slots(d);

	d->drops = calloc(n, sizeof(*d->drops));
	d->mailbox = aligned_alloc(CACHELINE, ROUND_UP(n * sizeof(*d->mailbox), CACHELINE));
	if (d->mailbox) /* before anything can fail: device_finish() looks into it */
		memset(d->mailbox, 0, n * sizeof(*d->mailbox));
	d->dh_pool = aligned_alloc(CACHELINE, sizeof(*d->dh_pool));
	if (!d->drops || !d->mailbox || !d->dh_pool)
		return -ENOMEM;
	memset(d->dh_pool, 0, sizeof(*d->dh_pool));
	for (uint32_t i = 0; i < n; i++) {
		int r = mailbox_init(&d->mailbox[i], n, n_slots);
		if (r < 0)
			return r;
	}
	return 0;
}

size_t device_memory(const struct device *d)
{
	size_t n = d->n_workers + 1;
	return n * (sizeof(*d->drops) + sizeof(*d->mailbox) +
		    mailbox_memory((uint32_t)n, mailbox_slots(d)));
}

static int init_pools(struct device *d)
{
	int r = secret_pool_init(&d->identity_pool, sizeof(struct identity), CACHELINE, 1);
	if (r == 0)
		r = secret_pool_init(&d->peer_pool, sizeof(struct peer), CACHELINE,
				     DEVICE_MAX_PEERS);
	if (r == 0) /* previous, current, next, and as many waiting for their grace period */
		r = secret_pool_init(&d->session_pool, sizeof(struct session), CACHELINE,
				     (size_t)DEVICE_MAX_PEERS * 6);
	return r;
}

static int init_tables(struct device *d)
{
	int r = index_table_init(&d->indices);
	if (r < 0)
		return r;
	r = entropy_fill(d->hash_key, sizeof(d->hash_key));
	if (r < 0)
		return r;
	d->peers_by_key = cds_lfht_new_flavor(KEY_TABLE_BUCKETS, KEY_TABLE_BUCKETS, 0,
					      CDS_LFHT_AUTO_RESIZE, &urcu_qsbr_flavor, NULL);
	d->identity = secret_pool_get(&d->identity_pool);
	return d->peers_by_key && d->identity ? 0 : -ENOMEM;
}

int device_init(struct device *d, const struct device_params *params)
{
	memset(d, 0, sizeof(*d));
	d->n_workers = params->n_workers;
	d->wake_control = params->wake_control;
	d->wake_worker = params->wake_worker;
	d->wake_ctx = params->wake_ctx;
	atomic_init(&d->mtu, DEFAULT_MTU);
	list_init(&d->peers);
	allowedips_init(&d->allowedips);

	int r = init_pools(d);
	if (r == 0)
		r = init_threads(d);
	if (r == 0)
		r = init_tables(d);
	if (r < 0)
		device_finish(d);
	return r;
}

void device_finish(struct device *d)
{
	rcu_flush(); /* sessions on their way back to the pool */
	for (uint32_t i = 0; d->mailbox && i <= d->n_workers; i++)
		mailbox_finish(&d->mailbox[i]);
	free(TAKE_PTR(d->mailbox));
	free(TAKE_PTR(d->dh_pool));
	free(TAKE_PTR(d->drops));
	allowedips_finish(&d->allowedips);
	index_table_finish(&d->indices);
	TSAN_IGNORE_BEGIN(); /* the table's own thread frees what is allocated here, and below */
	if (d->peers_by_key)
		(void)cds_lfht_destroy(d->peers_by_key, NULL);
	TSAN_IGNORE_END();
	d->peers_by_key = NULL;
	if (d->identity)
		identity_finish(d->identity);
	secret_pool_put(&d->identity_pool, TAKE_PTR(d->identity));
	secret_pool_finish(&d->identity_pool);
	secret_pool_finish(&d->peer_pool);
	secret_pool_finish(&d->session_pool);
}

static unsigned long hash_key(const struct device *d, const uint8_t public_key[NOISE_KEY_LEN])
{
	return siphash(d->hash_key, (struct bytes){ public_key, NOISE_KEY_LEN });
}

static int match_key(struct cds_lfht_node *node, const void *key)
{
	const struct peer *p = container_of(node, struct peer, by_key);
	return memcmp(p->handshake.remote_static, key, NOISE_KEY_LEN) == 0;
}

struct peer *device_find_peer(const struct device *d, const uint8_t public_key[NOISE_KEY_LEN])
{
	struct cds_lfht_iter it;

	cds_lfht_lookup(d->peers_by_key, hash_key(d, public_key), match_key, public_key, &it);
	struct cds_lfht_node *node = cds_lfht_iter_get_node(&it);
	return node ? container_of(node, struct peer, by_key) : NULL;
}

int device_reserve(struct device *d, size_t n_peers, size_t n_allowed_ips)
{
	if (!secret_pool_reserve(&d->peer_pool, n_peers))
		return -ENOMEM;
	return allowedips_reserve(&d->allowedips, n_allowed_ips);
}

void device_end_reservation(struct device *d)
{
	bool is_given_back = secret_pool_reserve(&d->peer_pool, 0);
	(void)is_given_back; /* nothing is always there */
	allowedips_release(&d->allowedips);
}

struct peer *device_add_peer(struct device *d, const uint8_t public_key[NOISE_KEY_LEN])
{
	struct peer *p = d->n_peers < DEVICE_MAX_PEERS ? secret_pool_get(&d->peer_pool) : NULL;
	if (!p)
		return NULL;
	p->device = d;
	handshake_init(&p->handshake, public_key);
	endpoint_cell_init(&p->endpoint);
	timers_init(&p->timers);
	staged_queue_init(&p->staged);
	timer_node_init(&p->timer);
	list_init(&p->to_initiate);
	allowedips_owner_init(&p->allowed);
	list_push_back(&d->peers, &p->link);
	cds_lfht_node_init(&p->by_key);
	TSAN_IGNORE_BEGIN();
	cds_lfht_add(d->peers_by_key, hash_key(d, public_key), &p->by_key);
	TSAN_IGNORE_END();
	d->n_peers++;
	return p;
}

/* On RCU's thread: no worker holds the peer any more, but it may still lie in mailboxes and on the
 * attention stack, which only the control thread can know to be empty. */
static void grace_period_over(struct rcu_item *item)
{
	struct peer *p = container_of(item, struct peer, rcu);
	device_call_attention(p->device, p, ATTENTION_FREE);
}

void device_remove_peer(struct device *d, struct peer *p)
{
	allowedips_remove_owner(&d->allowedips, &p->allowed);
	TSAN_IGNORE_BEGIN();
	(void)cds_lfht_del(d->peers_by_key, &p->by_key);
	TSAN_IGNORE_END();
	list_remove(&p->link);
	d->n_peers--;
	p->is_dead = true;
	rcu_defer(&p->rcu, grace_period_over);
}

void device_free_peer(struct device *d, struct peer *p)
{
	handshake_finish(&p->handshake);
	cookie_jar_finish(&p->cookie_jar);
	secret_pool_put(&d->peer_pool, p);
}

void device_call_attention(struct device *d, struct peer *p, uint32_t reason)
{
	if (attention_call(&d->attention, &p->attention, reason))
		d->wake_control(d->wake_ctx);
}

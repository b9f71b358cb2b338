/* SPDX-License-Identifier: MPL-2.0 */
/* How peers come, are found, and go. */
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/rcu.h"
#include "device/device.h"

static struct device d;
static unsigned n_woken;

static void wake_control(void *ctx)
{
	cr_assert(eq(ptr, ctx, &d));
	n_woken++;
}

static void wake_worker(void *ctx, uint32_t worker)
{
	(void)ctx;
	(void)worker;
}

static void init(void)
{
	struct device_params params = { .n_workers = 2,
					.wake_control = wake_control,
					.wake_worker = wake_worker,
					.wake_ctx = &d };
	rcu_thread_register();
	cr_assert(eq(int, crypto_init(), 0));
	cr_assert(eq(int, device_init(&d, &params), 0));
}

static void fini(void)
{
	device_finish(&d);
	rcu_thread_unregister();
}

TestSuite(peer, .init = init, .fini = fini);

static const uint8_t *key(uint32_t i)
{
	static uint8_t k[NOISE_KEY_LEN];

	store_le32(k, i);
	return k;
}

/* Removes and waits until ATTENTION_FREE lies on the stack. */
static void remove_and_free(struct peer *p)
{
	device_remove_peer(&d, p);
	cr_assert(p->is_dead);
	rcu_flush();
	struct attention_link *l = attention_pop_all(&d.attention);
	cr_assert(eq(ptr, l, &p->attention));
	cr_assert(eq(u32, attention_take(l), ATTENTION_FREE));
	cr_assert(eq(ptr, peer_of_attention(l), p));
	device_free_peer(&d, p);
}

Test(peer, p386_new_peer_has_nothing)
{
	static const uint8_t zero[NOISE_KEY_LEN];
	struct endpoint e;
	struct peer *p = device_add_peer(&d, key(1));

	endpoint_cell_get(&p->endpoint, &e);
	cr_assert(not(endpoint_is_set(&e)));
	cr_assert(eq(u64, atomic_load(&p->tx_bytes), 0));
	cr_assert(eq(u64, atomic_load(&p->rx_bytes), 0));
	cr_assert(eq(u16, p->keepalive_sec, 0));
	cr_assert(eq(u64, p->handshake_sec, 0));
	cr_assert(memcmp(p->handshake.preshared_key, zero, sizeof(zero)) == 0);
	cr_assert(memcmp(p->handshake.remote_static, key(1), NOISE_KEY_LEN) == 0);
	cr_assert(rcu_peek(&p->current) == NULL);
	cr_assert(list_is_empty(&p->allowed.prefixes));
	remove_and_free(p);
}

Test(peer, is_found_by_its_key_until_removed)
{
	struct peer *a = device_add_peer(&d, key(1));
	struct peer *b = device_add_peer(&d, key(2));

	cr_assert(eq(ptr, device_find_peer(&d, key(1)), a));
	cr_assert(eq(ptr, device_find_peer(&d, key(2)), b));
	cr_assert(device_find_peer(&d, key(3)) == NULL);
	cr_assert(eq(u32, d.n_peers, 2));
	remove_and_free(a);
	cr_assert(device_find_peer(&d, key(1)) == NULL);
	cr_assert(eq(ptr, device_find_peer(&d, key(2)), b));
	cr_assert(eq(u32, d.n_peers, 1));
	remove_and_free(b);
}

Test(peer, u043_list_is_in_order_of_creation)
{
	struct peer *p[5];
	uint32_t i = 0;

	for (; i < 5; i++)
		p[i] = device_add_peer(&d, key(5 - i));
	remove_and_free(p[2]);
	p[2] = device_add_peer(&d, key(3));
	static const uint32_t order[] = { 0, 1, 3, 4, 2 };
	i = 0;
	list_for_each (it, &d.peers)
		cr_assert(eq(ptr, list_entry(it, struct peer, link), p[order[i++]]));
	for (i = 0; i < 5; i++)
		remove_and_free(p[i]);
}

Test(peer, p387_removal_takes_its_prefixes_along)
{
	struct allowedips_prefix prefix = { .addr = { 10 }, .len = 8 };
	const uint8_t addr[4] = { 10, 1, 1, 1 };
	struct peer *p = device_add_peer(&d, key(1));

	cr_assert(eq(int, allowedips_insert(&d.allowedips, &prefix, &p->allowed), 0));
	struct allowedips_owner *o = allowedips_lookup4(&d.allowedips, addr);
	cr_assert(eq(ptr, peer_of_prefixes(o), p));
	remove_and_free(p);
	cr_assert(allowedips_lookup4(&d.allowedips, addr) == NULL);
}

Test(peer, memory_is_wiped_and_used_again)
{
	static const uint8_t psk[NOISE_KEY_LEN] = { 1, 2, 3 }, zero[NOISE_KEY_LEN];
	struct peer *p = device_add_peer(&d, key(1));

	handshake_set_psk(&p->handshake, psk);
	remove_and_free(p);
	cr_assert(memcmp(p->handshake.preshared_key, zero, sizeof(zero)) == 0);
	struct peer *again = device_add_peer(&d, key(2));
	cr_assert(eq(ptr, again, p));
	remove_and_free(again);
}

Test(peer, attention_wakes_the_control_thread_once)
{
	struct peer *a = device_add_peer(&d, key(1));
	struct peer *b = device_add_peer(&d, key(2));

	device_call_attention(&d, a, ATTENTION_TIMER);
	device_call_attention(&d, b, ATTENTION_TIMER);
	device_call_attention(&d, a, ATTENTION_CONFIRMED);
	cr_assert(eq(uint, n_woken, 1));
	for (struct attention_link *l = attention_pop_all(&d.attention); l; l = l->next)
		(void)attention_take(l);
	remove_and_free(a);
	remove_and_free(b);
}

Test(peer, row10_row17_thousands_of_peers_and_flat_memory)
{
	enum { N = 20000 };

	for (uint32_t i = 0; i < N; i++)
		cr_assert(device_add_peer(&d, key(i)) != NULL);
	for (uint32_t i = 0; i < N; i += 37)
		cr_assert(memcmp(device_find_peer(&d, key(i))->handshake.remote_static, key(i),
				 NOISE_KEY_LEN) == 0);
	list_for_each_safe (it, nxt, &d.peers)
		device_remove_peer(&d, list_entry(it, struct peer, link));
	rcu_flush();
	uint32_t n = 0;
	for (struct attention_link *l = attention_pop_all(&d.attention); l; n++) {
		struct attention_link *next = l->next;
		device_free_peer(&d, peer_of_attention(l));
		l = next;
	}
	cr_assert(eq(u32, n, N));
	cr_assert(eq(sz, d.peer_pool.n_in_use, 0));
}

/* SPDX-License-Identifier: MPL-2.0 */
/* What `get` and `status` say about a device. */
#include <arpa/inet.h>

#include "control/report.h"
#include "control_fixture.h"

static char text[65536];

TestSuite(report, .init = fixture_init, .fini = fixture_finish);

static void collect(struct uapi_text *t)
{
	size_t used = 0;

	cr_assert(not(uapi_text_failed(t)));
	for (struct bytes b; (b = uapi_text_front(t)).len > 0;) {
		memcpy(text + used, b.data, b.len);
		used += b.len;
		uapi_text_take(t, b.len);
	}
	text[used] = 0;
	uapi_text_finish(t);
}

static const char *get(void)
{
	struct uapi_text t;

	uapi_text_init(&t);
	control_report(&control, &t);
	collect(&t);
	return text;
}

static const char *drops(void)
{
	struct uapi_text t;

	uapi_text_init(&t);
	control_report_drops(&control, &t);
	control_report_peer_drops(&control, &t);
	collect(&t);
	return text;
}

static void check_has(const char *where, const char *what)
{
	cr_assert(strstr(where, what) != NULL, "no %s in:\n%s", what, where);
}

static struct peer *add_peer(uint8_t number)
{
	uint8_t key[32] = { number };
	return device_add_peer(&device, key);
}

Test(report, u040_p381_empty_device)
{
	cr_assert(eq(sz, strlen(get()), 0));
}

Test(report, p383_clamped_key_port_and_mark)
{
	struct config_set set = { .has_private_key = true,
				  .has_listen_port = true,
				  .listen_port = 51820,
				  .has_fwmark = true,
				  .fwmark = 255 };

	memset(set.private_key, 0xff, sizeof(set.private_key));
	cr_assert(eq(int, control_apply(&control, &set, NOW_NS), 0));
	const char *t = get();
	check_has(t, "private_key=f8fffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
		     "f7f\n");
	check_has(t, "listen_port=51820\n");
	check_has(t, "fwmark=255\n");
}

Test(report, u043_peers_in_order_of_creation_with_all_they_have)
{
	struct peer *a = add_peer(9), *b = add_peer(1);
	struct allowedips_prefix v4 = { .addr = { 10, 1 }, .len = 16 };
	struct allowedips_prefix v6 = { .addr = { 0xfd }, .len = 8, .is_v6 = true };
	struct endpoint e = { 0 };
	static const uint8_t psk[32] = { 0xab };

	cr_assert(eq(int, allowedips_insert(&device.allowedips, &v4, &a->allowed), 0));
	cr_assert(eq(int, allowedips_insert(&device.allowedips, &v6, &a->allowed), 0));
	e.to.in4.sin_family = AF_INET;
	e.to.in4.sin_addr.s_addr = htonl(0xc0000205);
	e.to.in4.sin_port = htons(4242);
	endpoint_cell_set(&b->endpoint, &e);
	handshake_set_psk(&a->handshake, psk);
	a->handshake_sec = 1700000000;
	a->handshake_nsec = 5;
	atomic_store(&a->rx_bytes, UINT64_C(5000000000)); /* row 12: more than 32 bits */
	atomic_store(&a->tx_bytes, 7);
	b->keepalive_sec = 25;

	const char *t = get();
	const char *second = strstr(t, "public_key=01");
	cr_assert(strstr(t, "public_key=09") != NULL);
	cr_assert(second && strstr(t, "public_key=09") < second);
	check_has(t, "rx_bytes=5000000000\n");
	check_has(t, "tx_bytes=7\n");
	check_has(t, "last_handshake_time_sec=1700000000\n"); /* row 11: a time, not an age */
	check_has(t, "last_handshake_time_nsec=5\n");
	check_has(t, "allowed_ip=10.1.0.0/16\n");
	check_has(t, "allowed_ip=fd00::/8\n");
	check_has(t, "preshared_key=ab00");
	check_has(second, "endpoint=192.0.2.5:4242\n"); /* P-343 */
	check_has(second, "persistent_keepalive_interval=25\n");
	cr_assert(strstr(second, "allowed_ip") == NULL);
}

Test(report, drops_are_summed_over_threads_and_told_per_peer)
{
	struct peer *p = add_peer(9);

	(void)add_peer(1);
	drop_count(&device.drops[0], DROP_RX_REPLAY, 3);
	drop_count(&device.drops[1], DROP_RX_REPLAY, 4);
	drop_count(&device.drops[2], DROP_RX_REPLAY, 5); /* the control thread's */
	drop_count(&p->drops, DROP_RX_REPLAY, 2);
	const char *t = drops();
	check_has(t, "drop_rx_replay=12\n");
	check_has(t, "drop_rx_bad_tag=0\n");
	const char *peer = strstr(t, "public_key=09");
	cr_assert(peer != NULL);
	check_has(peer, "drop_rx_replay=2\n");
	cr_assert(strstr(peer, "drop_rx_bad_tag") == NULL); /* only what there is */
	cr_assert(strstr(t, "public_key=01") == NULL);
}

Test(report, every_drop_reason_has_a_name_and_a_sentence)
{
	for (unsigned i = 0; i < DROP_N_REASONS; i++) {
		cr_assert(gt(sz, strlen(drop_reason_name((enum drop_reason)i)), 3));
		cr_assert(gt(sz, strlen(drop_reason_help((enum drop_reason)i)), 10));
		for (unsigned k = 0; k < i; k++)
			cr_assert(ne(str, (char *)drop_reason_name((enum drop_reason)i),
				     (char *)drop_reason_name((enum drop_reason)k)));
	}
}

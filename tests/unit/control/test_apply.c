/* SPDX-License-Identifier: MPL-2.0 */
/* Applying a set: the edges it calls, what remains after an error, and slices. What follows for a
 * running tunnel is in tests/protocol/test_configuration.c. */
#include <errno.h>
#include <stdlib.h>

#include "control_fixture.h"

TestSuite(apply, .init = fixture_init, .fini = fixture_finish);

static int apply(struct config_set set)
{
	return control_apply(&control, &set, NOW_NS);
}

static void go_up(void)
{
	cr_assert(eq(int, control_set_up(&control, true, NOW_NS), 0));
}

Test(apply, p362_port_is_only_stored_while_down)
{
	cr_assert(eq(int,
		     apply((struct config_set){ .has_listen_port = true, .listen_port = 1111 }),
		     0));
	cr_assert(eq(u32, edges.n_opened, 0));
	go_up();
	cr_assert(eq(u16, edges.port_asked, 1111));
	cr_assert(eq(u16, control.listen_port, 1111));
}

Test(apply, p361_random_port_is_reported_and_kept)
{
	go_up();
	cr_assert(eq(u16, edges.port_asked, 0));
	cr_assert(eq(u16, control.listen_port, 40000));
	cr_assert(eq(int, control_set_up(&control, false, NOW_NS), 0));
	cr_assert(eq(u32, edges.n_closed, 1));
	edges.random_port = 41000;
	go_up();
	cr_assert(eq(u16, edges.port_asked, 40000));
}

Test(apply, p363_row80_same_port_opens_nothing)
{
	go_up();
	cr_assert(eq(int,
		     apply((struct config_set){ .has_listen_port = true, .listen_port = 40000 }),
		     0));
	cr_assert(eq(u32, edges.n_opened, 1));
}

Test(apply, p361_port_0_asks_for_another_random_one)
{
	go_up();
	edges.random_port = 41000;
	cr_assert(eq(int, apply((struct config_set){ .has_listen_port = true }), 0));
	cr_assert(eq(u32, edges.n_opened, 2));
	cr_assert(eq(u16, control.listen_port, 41000));
}

Test(apply, p363_row18_busy_port_leaves_the_old_one)
{
	go_up();
	edges.open_error = -EADDRINUSE;
	cr_assert(eq(int, apply((struct config_set){ .has_listen_port = true, .listen_port = 5 }),
		     -EADDRINUSE));
	cr_assert(eq(u16, control.listen_port, 40000));
	cr_assert(eq(u32, edges.n_closed, 0));
	cr_assert(control.has_sockets);
}

Test(apply, up_fails_with_its_error_and_can_be_repeated)
{
	edges.open_error = -EADDRINUSE;
	cr_assert(eq(int, control_set_up(&control, true, NOW_NS), -EADDRINUSE));
	cr_assert(not(control.has_sockets));
	edges.open_error = 0;
	go_up();
	cr_assert(control.has_sockets);
	go_up(); /* nothing to do */
	cr_assert(eq(u32, edges.n_opened, 2));
}

Test(apply, p365_mark_is_set_at_once_when_up_and_only_if_it_changes)
{
	struct config_set set = { .has_fwmark = true, .fwmark = 7 };

	cr_assert(eq(int, apply(set), 0));
	cr_assert(eq(u32, edges.n_marked, 0)); /* open_sockets() gets it */
	go_up();
	cr_assert(eq(int, apply(set), 0));
	cr_assert(eq(u32, edges.n_marked, 0));
	set.fwmark = 8;
	cr_assert(eq(int, apply(set), 0));
	cr_assert(eq(u32, edges.mark_asked, 8));
	edges.mark_error = -EPERM;
	set.fwmark = 9;
	cr_assert(eq(int, apply(set), -EPERM));
	cr_assert(eq(u32, control.fwmark, 8));
}

Test(apply, u019_error_stops_there_and_what_came_before_stays)
{
	struct config_peer peer = { .has_keepalive = true };
	struct config_set set = { .has_private_key = true,
				  .has_listen_port = true,
				  .listen_port = 5,
				  .peers = &peer,
				  .n_peers = 1 };

	memset(set.private_key, 0x40, sizeof(set.private_key));
	go_up();
	edges.open_error = -EADDRINUSE;
	cr_assert(eq(int, apply(set), -EADDRINUSE));
	cr_assert(device.identity->has_private_key);
	cr_assert(eq(u32, device.n_peers, 0));
	edges.open_error = 0;
	cr_assert(eq(int, apply(set), 0)); /* and the next set starts from its beginning */
	cr_assert(eq(u32, device.n_peers, 1));
}

/* More sections than one slice takes: between slices others get their turn. */
Test(apply, large_set_is_applied_in_slices)
{
	enum { N = 5000 };
	struct config_peer *peers = calloc(N, sizeof(*peers));
	struct config_set set = {
		.has_listen_port = true,
		.listen_port = 77,
		.replace_peers = true,
		.peers = peers,
		.n_peers = N,
	};
	uint32_t n_calls = 1, before = 0;
	int r;

	go_up();
	for (uint32_t i = 0; i < N; i++)
		store_le32(peers[i].public_key, i + 1);
	for (; (r = control_apply(&control, &set, NOW_NS)) == -EAGAIN; n_calls++) {
		cr_assert(gt(u32, device.n_peers, before)); /* replace_peers counts once */
		before = device.n_peers;
	}
	cr_assert(eq(int, r, 0));
	cr_assert(eq(u32, device.n_peers, N));
	cr_assert(eq(u32, n_calls, 5));
	cr_assert(eq(u32, edges.n_opened, 2)); /* the port too */
	set.n_peers = 1;
	cr_assert(eq(int, control_apply(&control, &set, NOW_NS), 0));
	cr_assert(eq(u32, device.n_peers, 1));
	free(peers);
}

Test(apply, bad_prefix_length_is_an_error_not_a_crash)
{
	struct config_allowed_ip ip = { .len = 33 };
	struct config_peer peer = { .n_allowed_ips = 1 };

	cr_assert(
		eq(int,
		   apply((struct config_set){
			   .peers = &peer, .n_peers = 1, .allowed_ips = &ip, .n_allowed_ips = 1 }),
		   -EINVAL));
}

Test(apply, p381_key_can_be_removed_and_set_again)
{
	struct config_set none = { .has_private_key = true };

	give_key();
	cr_assert(device.identity->has_private_key);
	cr_assert(eq(int, apply(none), 0));
	cr_assert(not(device.identity->has_private_key));
	give_key();
	cr_assert(device.identity->has_private_key);
}

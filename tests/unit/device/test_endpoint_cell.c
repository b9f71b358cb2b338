/* SPDX-License-Identifier: MPL-2.0 */
/* The shared endpoint, one thread; with threads it is tests/stress/stress_endpoint_cell.c. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "device/endpoint_cell.h"

static struct endpoint_cell c;

static void init(void)
{
	endpoint_cell_init(&c);
}

TestSuite(endpoint_cell, .init = init);

static struct endpoint make(uint16_t port, uint32_t source)
{
	struct endpoint e = { 0 };

	e.to.in4.sin_family = AF_INET;
	e.to.in4.sin_port = port;
	e.from.in4.s_addr = source;
	e.from_ifindex = source ? 3 : 0;
	return e;
}

static bool holds(const struct endpoint *e)
{
	struct endpoint now;
	endpoint_cell_get(&c, &now);
	return endpoint_equal(&now, e);
}

Test(endpoint_cell, starts_with_none)
{
	struct endpoint e;

	endpoint_cell_get(&c, &e);
	cr_assert(not(endpoint_is_set(&e)));
	cr_assert(not(endpoint_has_source(&e)));
}

Test(endpoint_cell, keeps_every_byte)
{
	struct endpoint e;

	for (size_t i = 0; i < sizeof(e); i++)
		((uint8_t *)&e)[i] = (uint8_t)(i + 1);
	endpoint_cell_set(&c, &e);
	cr_assert(holds(&e));
}

Test(endpoint_cell, update_says_whether_it_was_new)
{
	struct endpoint a = make(1, 7), b = make(1, 8);

	cr_assert(endpoint_cell_update(&c, &a));
	uint32_t seq = atomic_load(&c.seq);
	cr_assert(not(endpoint_cell_update(&c, &a)));
	cr_assert(eq(u32, atomic_load(&c.seq), seq)); /* not written at all */
	cr_assert(endpoint_cell_update(&c, &b));      /* the source counts as well */
	cr_assert(holds(&b));
}

Test(endpoint_cell, p346_clears_the_source_alone)
{
	struct endpoint a = make(1, 7), without = make(1, 0);

	endpoint_cell_set(&c, &a);
	endpoint_cell_clear_source(&c, &a);
	cr_assert(holds(&without));
}

Test(endpoint_cell, p347_newer_source_is_not_cleared_for_an_older_one)
{
	struct endpoint a = make(1, 7), b = make(1, 8);

	endpoint_cell_set(&c, &b);
	endpoint_cell_clear_source(&c, &a);
	cr_assert(holds(&b));
}

Test(endpoint_cell, clears_the_source_though_the_peer_moved)
{
	struct endpoint a = make(1, 7), moved = make(2, 7), without = make(2, 0);

	endpoint_cell_set(&c, &moved);
	endpoint_cell_clear_source(&c, &a);
	cr_assert(holds(&without));
}

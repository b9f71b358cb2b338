/* SPDX-License-Identifier: MPL-2.0 */
/* The ring against a queue that is too simple to be wrong. Threads: tests/stress/stress_spsc_ring.c. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/spsc_ring.h"
#include "unit/base/random.h"

enum {
	N_SLOTS = 16,
	MAX_BURST = 24, /* more than fits */
};

static struct spsc_ring ring;
static void *slot[N_SLOTS];

static void *item(uintptr_t n)
{
	return (void *)(n + 1); /* never NULL */
}

static void setup(void)
{
	spsc_ring_init(&ring, slot, N_SLOTS);
}

TestSuite(spsc_ring, .init = setup);

Test(spsc_ring, is_empty_after_init)
{
	cr_assert(eq(ptr, spsc_ring_pop(&ring), NULL));
	cr_assert(eq(u32, spsc_ring_count(&ring), 0));
}

Test(spsc_ring, uses_every_slot_and_refuses_one_more)
{
	for (uintptr_t i = 0; i < N_SLOTS; i++)
		cr_assert(spsc_ring_push(&ring, item(i)));
	cr_assert(not(spsc_ring_push(&ring, item(99))));
	cr_assert(eq(u32, spsc_ring_count(&ring), N_SLOTS));
	cr_assert(eq(ptr, spsc_ring_pop(&ring), item(0)));
	cr_assert(spsc_ring_push(&ring, item(N_SLOTS)));
}

Test(spsc_ring, works_with_a_single_slot)
{
	spsc_ring_init(&ring, slot, 1);
	for (uintptr_t i = 0; i < 5; i++) {
		cr_assert(spsc_ring_push(&ring, item(i)));
		cr_assert(not(spsc_ring_push(&ring, item(i))));
		cr_assert(eq(ptr, spsc_ring_pop(&ring), item(i)));
		cr_assert(eq(ptr, spsc_ring_pop(&ring), NULL));
	}
}

/* Bursts of random size against the model: @pushed and @popped are all there is to a queue of
 * consecutive numbers. */
static void compare_with_model(uint32_t n_rounds)
{
	uintptr_t pushed = 0;
	uintptr_t popped = 0;
	void *burst[MAX_BURST];

	for (uint32_t round = 0; round < n_rounds; round++) {
		uint32_t n = random_below(MAX_BURST + 1);
		uint32_t room = N_SLOTS - (uint32_t)(pushed - popped);

		for (uint32_t i = 0; i < n; i++)
			burst[i] = item(pushed + i);
		cr_assert(eq(u32, spsc_ring_push_burst(&ring, burst, n), MIN(n, room)));
		pushed += MIN(n, room);

		n = random_below(MAX_BURST + 1);
		uint32_t n_ready = (uint32_t)(pushed - popped);
		cr_assert(eq(u32, spsc_ring_pop_burst(&ring, burst, n), MIN(n, n_ready)));
		for (uint32_t i = 0; i < MIN(n, n_ready); i++)
			if (burst[i] != item(popped + i))
				cr_fatal("round %u: wrong item", round);
		popped += MIN(n, n_ready);
		cr_assert(eq(u32, spsc_ring_count(&ring), (uint32_t)(pushed - popped)));
	}
}

Test(spsc_ring, keeps_order_in_random_bursts)
{
	compare_with_model(50000);
}

Test(spsc_ring, survives_the_wrap_of_its_counters)
{
	atomic_store(&ring.head, UINT32_MAX - 100);
	atomic_store(&ring.tail, UINT32_MAX - 100);
	ring.head_seen = UINT32_MAX - 100;
	ring.tail_seen = UINT32_MAX - 100;
	compare_with_model(1000);
	cr_assert(lt(u32, atomic_load(&ring.head), 1U << 31), "the test must wrap");
}

/* SPDX-License-Identifier: MPL-2.0 */
/* A peer's staged packets and the budget of all of them. */
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "device/staged.h"
#include "noise/message.h"

static struct staged_budget b;
static struct staged_queue q;

static void init(void)
{
	staged_queue_init(&q);
}

static void fini(void)
{
	(void)staged_queue_clear(&q, &b);
	cr_assert(eq(u64, atomic_load(&b.used), 0));
}

TestSuite(staged, .init = init, .fini = fini);

static struct staged_packet *make(uint32_t number)
{
	struct staged_packet *p = staged_packet_create(&b, NULL, 4);
	memcpy(p->data, &number, 4);
	return p;
}

static void check_pop(uint32_t number)
{
	struct staged_packet *p = staged_queue_pop(&q);
	cr_assert(p != NULL);
	cr_assert(memcmp(p->data, &number, 4) == 0);
	staged_packet_destroy(&b, p);
}

Test(staged, p242_first_in_first_out)
{
	for (uint32_t i = 0; i < 5; i++)
		cr_assert(eq(u32, staged_queue_push(&q, &b, make(i)), 0));
	cr_assert(eq(u32, q.n, 5));
	for (uint32_t i = 0; i < 5; i++)
		check_pop(i);
	cr_assert(staged_queue_pop(&q) == NULL);
	cr_assert(eq(u32, q.n, 0));
}

Test(staged, p241_keeps_the_newest)
{
	uint32_t n_dropped = 0;

	for (uint32_t i = 0; i < 300; i++) {
		uint32_t n = staged_queue_push(&q, &b, make(i));
		cr_assert(eq(u32, n, i >= MAX_STAGED_PACKETS));
		n_dropped += n;
	}
	cr_assert(eq(u32, q.n, MAX_STAGED_PACKETS));
	cr_assert(eq(u32, n_dropped, 300 - MAX_STAGED_PACKETS));
	for (uint32_t i = 300 - MAX_STAGED_PACKETS; i < 300; i++)
		check_pop(i);
}

Test(staged, clear_counts)
{
	for (uint32_t i = 0; i < 7; i++)
		(void)staged_queue_push(&q, &b, make(i));
	cr_assert(eq(u32, staged_queue_clear(&q, &b), 7));
	cr_assert(eq(u32, staged_queue_clear(&q, &b), 0));
	cr_assert(eq(u32, q.n, 0));
}

Test(staged, p481_budget_is_never_exceeded_and_comes_back)
{
	static struct staged_packet *p[1000];
	uint32_t n = 0;

	while (n < ARRAY_SIZE(p) && (p[n] = staged_packet_create(&b, NULL, 65000)) != NULL)
		n++;
	cr_assert(eq(u32, n, STAGED_MAX_BYTES / (65000 + sizeof(struct staged_packet))));
	cr_assert(le(u64, atomic_load(&b.used), STAGED_MAX_BYTES));
	uint64_t used = atomic_load(&b.used);
	cr_assert(staged_packet_create(&b, NULL, 65000) == NULL);
	cr_assert(eq(u64, atomic_load(&b.used), used)); /* a refusal takes nothing */
	struct staged_packet *empty = staged_packet_create(&b, NULL, 0);
	cr_assert(empty != NULL); /* a keepalive always fits */
	staged_packet_destroy(&b, empty);
	staged_packet_destroy(&b, p[--n]);
	p[n] = staged_packet_create(&b, NULL, 65000);
	cr_assert(p[n++] != NULL);
	while (n > 0)
		staged_packet_destroy(&b, p[--n]);
	staged_packet_destroy(&b, NULL);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* The attention stack against a model: a set of links with their reasons. Threads: stress_device.c. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/macro.h"
#include "device/attention.h"
#include "unit/base/random.h"

enum { N_LINKS = 12 };

static struct attention a;
static struct attention_link l[N_LINKS];
static uint32_t model[N_LINKS]; /* reasons called since the last take */

Test(attention, empty_stack_gives_nothing)
{
	cr_assert(attention_pop_all(&a) == NULL);
	cr_assert(eq(u32, attention_take(&l[0]), 0));
}

Test(attention, only_the_first_call_on_an_empty_stack_wakes)
{
	cr_assert(attention_call(&a, &l[0], ATTENTION_TIMER));
	cr_assert(not(attention_call(&a, &l[0], ATTENTION_CONFIRMED)));
	cr_assert(not(attention_call(&a, &l[1], ATTENTION_TIMER)));
	cr_assert(attention_pop_all(&a) != NULL);
	cr_assert(attention_call(&a, &l[2], ATTENTION_TIMER));
}

Test(attention, reasons_add_up_until_taken)
{
	(void)attention_call(&a, &l[0], ATTENTION_TIMER);
	(void)attention_call(&a, &l[0], ATTENTION_REKEY_SENT);
	cr_assert(eq(ptr, attention_pop_all(&a), &l[0]));
	(void)attention_call(&a, &l[0], ATTENTION_CONFIRMED); /* popped, not yet taken */
	cr_assert(attention_pop_all(&a) == NULL);
	cr_assert(eq(u32, attention_take(&l[0]),
		     ATTENTION_TIMER | ATTENTION_REKEY_SENT | ATTENTION_CONFIRMED));
	cr_assert(eq(u32, attention_take(&l[0]), 0));
	cr_assert(attention_call(&a, &l[0], ATTENTION_FREE)); /* and again on the stack */
	cr_assert(eq(ptr, attention_pop_all(&a), &l[0]));
}

static void take_all(void)
{
	bool taken[N_LINKS] = { 0 };

	for (struct attention_link *x = attention_pop_all(&a); x;) {
		struct attention_link *next = x->next;
		size_t i = (size_t)(x - l);
		cr_assert(not(taken[i]));
		taken[i] = true;
		cr_assert(eq(u32, attention_take(x), model[i]));
		model[i] = 0;
		if (random_below(8) == 0) { /* a worker calls again meanwhile: next time */
			model[i] = ATTENTION_TIMER;
			(void)attention_call(&a, x, ATTENTION_TIMER);
		}
		x = next;
	}
	for (size_t i = 0; i < N_LINKS; i++)
		cr_assert(taken[i] || model[i] == 0);
}

Test(attention, random_calls_against_a_model)
{
	for (unsigned round = 0; round < 100000; round++) {
		uint32_t i = random_below(N_LINKS), reason = BIT(random_below(5));
		bool was_empty = atomic_load(&a.head) == NULL;
		bool woke = attention_call(&a, &l[i], reason);
		cr_assert(eq(int, woke, was_empty &&model[i] == 0));
		model[i] |= reason;
		if (random_below(10) == 0)
			take_all();
	}
}

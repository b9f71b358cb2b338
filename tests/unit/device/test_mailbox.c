/* SPDX-License-Identifier: MPL-2.0 */
/* Mailboxes against a model with one queue per producer. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "device/mailbox.h"
#include "unit/base/random.h"

enum { N_PRODUCERS = 3, N_SLOTS = 8 };

static struct mailbox m;
static struct staged_budget budget;

static void init(void)
{
	cr_assert(eq(int, mailbox_init(&m, N_PRODUCERS, N_SLOTS), 0));
}

static void fini(void)
{
	mailbox_finish(&m);
}

TestSuite(mailbox, .init = init, .fini = fini);

/* The number lies in the item itself. */
static struct forwarded_budget forwarded_budget;

static struct note make_note(uint32_t number)
{
	struct note n = { .kind = number % 2 ? NOTE_STAGED : NOTE_FORWARDED };

	if (n.kind == NOTE_STAGED) {
		n.staged = staged_packet_create(&budget, NULL, 4);
		memcpy(n.staged->data, &number, 4);
	} else {
		struct endpoint from = { 0 };
		n.forwarded = forwarded_create(&forwarded_budget, (uint8_t *)&number, 4, &from, 3);
	}
	return n;
}

static uint32_t number_of(struct note n)
{
	uint32_t number;

	memcpy(&number, n.kind == NOTE_STAGED ? n.staged->data : n.forwarded->data, 4);
	cr_assert(eq(int, n.kind, number % 2 ? NOTE_STAGED : NOTE_FORWARDED));
	if (n.kind == NOTE_STAGED)
		staged_packet_destroy(&budget, n.staged);
	else
		forwarded_destroy(n.forwarded);
	return number;
}

static bool push(uint32_t producer, uint32_t number)
{
	struct note n = make_note(number);

	if (mailbox_push(&m, producer, n))
		return true;
	cr_assert(eq(u32, number_of(n), number)); /* still ours */
	return false;
}

Test(mailbox, nothing_in_it)
{
	struct note n;

	cr_assert(not(mailbox_has_news(&m)));
	cr_assert(not(mailbox_pop(&m, &n)));
}

Test(mailbox, full_ring_refuses_and_others_do_not_mind)
{
	struct note n;

	for (uint32_t i = 0; i < N_SLOTS; i++)
		cr_assert(push(0, i));
	cr_assert(not(push(0, 99)));
	cr_assert(push(1, 100));
	for (uint32_t i = 0; i < N_SLOTS + 1; i++) {
		cr_assert(mailbox_pop(&m, &n));
		(void)number_of(n);
	}
	cr_assert(not(mailbox_pop(&m, &n)));
}

Test(mailbox, news_until_a_pop_found_nothing)
{
	struct note n;

	cr_assert(push(2, 1));
	cr_assert(mailbox_has_news(&m));
	cr_assert(mailbox_pop(&m, &n));
	(void)number_of(n);
	cr_assert(mailbox_has_news(&m)); /* there may be more */
	cr_assert(not(mailbox_pop(&m, &n)));
	cr_assert(not(mailbox_has_news(&m)));
}

Test(mailbox, pop_serves_producers_in_turn)
{
	uint32_t n_of[N_PRODUCERS] = { 0 };

	for (uint32_t p = 0; p < N_PRODUCERS; p++)
		for (uint32_t i = 0; i < 6; i++)
			cr_assert(push(p, p * 100 + i));
	for (uint32_t i = 0; i < 9; i++) {
		struct note n;
		cr_assert(mailbox_pop(&m, &n));
		n_of[number_of(n) / 100]++;
	}
	for (uint32_t p = 0; p < N_PRODUCERS; p++)
		cr_assert(eq(u32, n_of[p], 3));
	for (struct note n; mailbox_pop(&m, &n);)
		(void)number_of(n);
}

static uint32_t next_push[N_PRODUCERS], next_take[N_PRODUCERS], n_taken;
static bool push_while_draining;

static void take(void *ctx, struct note note)
{
	uint32_t number = number_of(note), p = number >> 24;

	cr_assert(eq(ptr, ctx, &m));
	cr_assert(eq(u32, number & 0xffffff, next_take[p]++)); /* each producer's in order */
	n_taken++;
	if (push_while_draining && push(p, p << 24 | next_push[p]))
		next_push[p]++;
}

Test(mailbox, drain_takes_what_was_there_and_ends)
{
	for (uint32_t p = 0; p < N_PRODUCERS; p++)
		for (uint32_t i = 0; i < 5; i++)
			cr_assert(push(p, p << 24 | next_push[p]++));
	push_while_draining = true;
	mailbox_drain(&m, take, &m);
	cr_assert(eq(u32, n_taken, 15));
	cr_assert(mailbox_has_news(&m)); /* what came meanwhile */
	push_while_draining = false;
	mailbox_drain(&m, take, &m);
	cr_assert(eq(u32, n_taken, 30));
	cr_assert(not(mailbox_has_news(&m)));
}

Test(mailbox, random_pushes_and_drains_against_a_model)
{
	for (unsigned i = 0; i < 50000; i++) {
		uint32_t p = random_below(N_PRODUCERS);
		uint32_t n_in_ring = next_push[p] - next_take[p];
		bool ok = push(p, p << 24 | next_push[p]);
		cr_assert(eq(int, ok, n_in_ring < N_SLOTS));
		next_push[p] += ok;
		if (random_below(12) == 0)
			mailbox_drain(&m, take, &m);
	}
	mailbox_drain(&m, take, &m);
	for (uint32_t p = 0; p < N_PRODUCERS; p++)
		cr_assert(eq(u32, next_push[p], next_take[p]));
	cr_assert(eq(u64, atomic_load(&budget.used), 0));
}

Test(mailbox, forwarded_datagram_is_a_copy_of_everything)
{
	struct endpoint from = { 0 };
	uint8_t data[100];

	from.to.in4.sin_port = 1234;
	memset(data, 7, sizeof(data));
	struct forwarded *f = forwarded_create(&forwarded_budget, data, sizeof(data), &from, 0x2a);
	memset(data, 0, sizeof(data));
	cr_assert(eq(u32, f->len, 100));
	cr_assert(eq(u8, f->tos, 0x2a));
	cr_assert(endpoint_equal(&f->from, &from));
	cr_assert(eq(u8, f->data[99], 7));
	forwarded_destroy(f);
}

Test(mailbox, forwarded_datagrams_have_a_budget)
{
	enum { LEN = 60000, N = FORWARDED_MAX_BYTES / LEN };
	static uint8_t data[LEN];
	struct forwarded *f[N + 1];
	struct endpoint from = { 0 };
	uint32_t n = 0;

	while (n <= N && (f[n] = forwarded_create(&forwarded_budget, data, LEN, &from, 0)))
		n++;
	cr_assert(gt(u32, n, N - 2));
	cr_assert(le(u64, forwarded_budget.used, FORWARDED_MAX_BYTES));
	cr_assert(le(u32, n, N), "more than the budget");
	forwarded_destroy(f[--n]);
	f[n] = forwarded_create(&forwarded_budget, data, LEN, &from, 0);
	cr_assert(f[n] != NULL, "what was given back can be used again");
	for (uint32_t i = 0; i <= n; i++)
		forwarded_destroy(f[i]);
	forwarded_destroy(NULL);
	cr_assert(eq(u64, forwarded_budget.used, 0));
}

/* SPDX-License-Identifier: MPL-2.0 */
/* Two threads and a ring. The items are objects that the producer writes before the push and
 * reuses once the consumer gave them back through a second ring: every missing barrier is a race on
 * their plain members. */
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/spsc_ring.h"

enum {
	N_SLOTS = 16, /* often full: its slots are reused before the objects come back */
	N_OBJECTS = 256,
	N_ITEMS = 2000000,
	BURST = 24,
};

struct object {
	uint64_t number; /* owner: whoever took it out of a ring last */
};

static struct spsc_ring there, back;
static void *there_slot[N_SLOTS], *back_slot[N_OBJECTS];
static struct object objects[N_OBJECTS];

/* Two cores and three sanitizers share this machine: do not spin a time slice away. */
static void wait_a_little(void)
{
	sched_yield();
}

static void *consumer_main(void *arg)
{
	uint64_t *ret_n_wrong = arg;
	uint64_t expected = 0;
	uint64_t n_wrong = 0;

	while (expected < N_ITEMS) {
		void *burst[BURST];
		uint32_t n = spsc_ring_pop_burst(&there, burst, 1 + expected % BURST);

		if (!n)
			wait_a_little();
		for (uint32_t i = 0; i < n; i++)
			n_wrong += ((struct object *)burst[i])->number != expected++;
		if (spsc_ring_push_burst(&back, burst, n) != n)
			n_wrong++; /* it has room for all that exist */
	}
	*ret_n_wrong = n_wrong;
	return NULL;
}

static void produce(void)
{
	void *free_object[N_OBJECTS];
	uint32_t n_free = 0;
	uint64_t number = 0;

	for (; n_free < N_OBJECTS; n_free++)
		free_object[n_free] = &objects[n_free];
	while (number < N_ITEMS) {
		uint32_t n = (uint32_t)MIN(MIN(1 + number % BURST, n_free), N_ITEMS - number);

		for (uint32_t i = 0; i < n; i++)
			((struct object *)free_object[n_free - 1 - i])->number = number + i;
		for (; n && spsc_ring_push(&there, free_object[n_free - 1]); n--) {
			n_free--;
			number++;
		}
		uint32_t n_back =
			spsc_ring_pop_burst(&back, &free_object[n_free], N_OBJECTS - n_free);
		n_free += n_back;
		if (!n_back)
			wait_a_little();
	}
}

int main(void)
{
	pthread_t consumer;
	uint64_t n_wrong;

	spsc_ring_init(&there, there_slot, N_SLOTS);
	spsc_ring_init(&back, back_slot, N_OBJECTS);
	if (pthread_create(&consumer, NULL, consumer_main, &n_wrong))
		abort();
	produce();
	pthread_join(consumer, NULL);
	printf("%s: %d items, %ju wrong\n", n_wrong ? "not ok" : "ok", N_ITEMS, (uintmax_t)n_wrong);
	return n_wrong ? 1 : 0;
}

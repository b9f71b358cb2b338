/* SPDX-License-Identifier: MPL-2.0 */
/* Life times and counters of one session. */
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "noise/keypair.h"
#include "noise/message.h"

#define BIRTH_NS (1000 * NSEC_PER_SEC)

static struct keypair kp;

static void begin(bool is_initiator)
{
	struct session_keys keys = { .local_index = 0x11223344,
				     .remote_index = 0x55667788,
				     .is_initiator = is_initiator };

	memset(keys.sending, 0xaa, sizeof(keys.sending));
	memset(keys.receiving, 0xbb, sizeof(keys.receiving));
	keypair_init(&kp, &keys, BIRTH_NS);
}

Test(keypair, p070_takes_over_the_keys_and_counts_from_0)
{
	uint64_t first;

	begin(true);
	cr_assert(eq(u8, kp.sending_key[0], 0xaa));
	cr_assert(eq(u8, kp.sending_key[31], 0xaa));
	cr_assert(eq(u8, kp.receiving_key[0], 0xbb));
	cr_assert(eq(u8, kp.receiving_key[31], 0xbb));
	cr_assert(eq(u32, kp.local_index, 0x11223344));
	cr_assert(eq(u32, kp.remote_index, 0x55667788));
	cr_assert(eq(u64, kp.birth_ns, BIRTH_NS));
	cr_assert(keypair_take_counters(&kp, 3, &first));
	cr_assert(eq(u64, first, 0));
	cr_assert(keypair_take_counters(&kp, 1, &first));
	cr_assert(eq(u64, first, 3));
	cr_assert(replay_accept(&kp.replay, 0));
}

Test(keypair, p173_only_the_responder_waits_for_confirmation)
{
	begin(true);
	cr_assert(not(atomic_load(&kp.is_unconfirmed)));
	begin(false);
	cr_assert(atomic_load(&kp.is_unconfirmed));
}

Test(keypair, p176_usable_for_180_s)
{
	begin(false);
	cr_assert(keypair_may_send(&kp, BIRTH_NS));
	cr_assert(keypair_may_send(&kp, BIRTH_NS + REJECT_AFTER_TIME_NS - 1));
	cr_assert(not(keypair_may_send(&kp, BIRTH_NS + REJECT_AFTER_TIME_NS)));
	cr_assert(keypair_may_receive(&kp, BIRTH_NS + REJECT_AFTER_TIME_NS - 1));
	cr_assert(not(keypair_may_receive(&kp, BIRTH_NS + REJECT_AFTER_TIME_NS)));
	cr_assert(not(keypair_may_receive(&kp, UINT64_MAX)));
}

Test(keypair, row58_clock_reading_from_before_its_birth_is_age_0)
{
	begin(true);
	cr_assert(eq(u64, keypair_age_ns(&kp, BIRTH_NS - 1), 0));
	cr_assert(eq(u64, keypair_age_ns(&kp, BIRTH_NS + 1), 1));
	cr_assert(keypair_may_send(&kp, BIRTH_NS - 1));
	cr_assert(keypair_may_receive(&kp, BIRTH_NS - 1));
	cr_assert(not(keypair_wants_rekey_after_send(&kp, BIRTH_NS - 1)));
	cr_assert(not(keypair_wants_rekey_after_receive(&kp, BIRTH_NS - 1)));
}

Test(keypair, disabled_for_sending_still_receives)
{
	begin(true);
	atomic_store(&kp.send_disabled, true);
	cr_assert(not(keypair_may_send(&kp, BIRTH_NS)));
	cr_assert(keypair_may_receive(&kp, BIRTH_NS));
}

Test(keypair, p141_last_counter_is_one_below_the_limit)
{
	uint64_t first;

	begin(true);
	atomic_store(&kp.send_counter, REJECT_AFTER_MESSAGES - 1);
	cr_assert(keypair_take_counters(&kp, 1, &first));
	cr_assert(eq(u64, first, UINT64_MAX - 8193)); /* 2^64 - 2^13 - 2 */
	cr_assert(keypair_may_send(&kp, BIRTH_NS));
	cr_assert(not(keypair_take_counters(&kp, 1, &first)));
	cr_assert(not(keypair_may_send(&kp, BIRTH_NS)));
	cr_assert(eq(u64, atomic_load(&kp.send_counter), REJECT_AFTER_MESSAGES));
	for (unsigned i = 0; i < 100; i++) /* row 32: it never wraps */
		cr_assert(not(keypair_take_counters(&kp, 4096, &first)));
	cr_assert(eq(u64, atomic_load(&kp.send_counter), REJECT_AFTER_MESSAGES));
}

Test(keypair, p244_several_counters_or_none)
{
	uint64_t first = 7;

	begin(true);
	atomic_store(&kp.send_counter, REJECT_AFTER_MESSAGES - 10);
	cr_assert(not(keypair_take_counters(&kp, 11, &first)));
	cr_assert(eq(u64, first, 7));
	cr_assert(eq(u64, atomic_load(&kp.send_counter), REJECT_AFTER_MESSAGES - 10));
	atomic_store(&kp.send_disabled, false);
	cr_assert(keypair_take_counters(&kp, 10, &first));
	cr_assert(eq(u64, first, REJECT_AFTER_MESSAGES - 10));
	cr_assert(not(atomic_load(&kp.send_disabled)));
}

Test(keypair, counters_are_exact_where_the_fast_path_ends)
{
	uint64_t at = REJECT_AFTER_MESSAGES - (UINT64_C(1) << 32), first;

	begin(true);
	for (int64_t d = -3; d <= 3; d++) {
		atomic_store(&kp.send_counter, at + (uint64_t)d);
		cr_assert(keypair_take_counters(&kp, 64, &first));
		cr_assert(eq(u64, first, at + (uint64_t)d));
		cr_assert(eq(u64, atomic_load(&kp.send_counter), at + (uint64_t)d + 64));
	}
}

Test(keypair, p220_initiator_rekeys_at_120_s)
{
	begin(true);
	cr_assert(not(keypair_wants_rekey_after_send(&kp, BIRTH_NS + REKEY_AFTER_TIME_NS - 1)));
	cr_assert(keypair_wants_rekey_after_send(&kp, BIRTH_NS + REKEY_AFTER_TIME_NS));
	begin(false);
	cr_assert(not(keypair_wants_rekey_after_send(&kp, BIRTH_NS + 170 * NSEC_PER_SEC)));
}

Test(keypair, p220_both_rekey_beyond_2_60_messages)
{
	for (unsigned i = 0; i < 2; i++) {
		begin(i);
		atomic_store(&kp.send_counter, UINT64_C(1) << 60);
		cr_assert(not(keypair_wants_rekey_after_send(&kp, BIRTH_NS)));
		atomic_store(&kp.send_counter, (UINT64_C(1) << 60) + 1);
		cr_assert(keypair_wants_rekey_after_send(&kp, BIRTH_NS));
	}
}

Test(keypair, p226_initiator_rekeys_on_receipt_at_165_s)
{
	begin(true);
	cr_assert(not(keypair_wants_rekey_after_receive(&kp, BIRTH_NS + 165 * NSEC_PER_SEC - 1)));
	cr_assert(keypair_wants_rekey_after_receive(&kp, BIRTH_NS + 165 * NSEC_PER_SEC));
	begin(false);
	cr_assert(not(keypair_wants_rekey_after_receive(&kp, BIRTH_NS + 170 * NSEC_PER_SEC)));
}

Test(keypair, p177_finish_wipes_everything)
{
	static const uint8_t zero[sizeof(struct keypair)];

	begin(true);
	cr_assert(replay_accept(&kp.replay, 9));
	keypair_finish(&kp);
	cr_assert(memcmp(&kp, zero, sizeof(kp)) == 0);
}

/* SPDX-License-Identifier: MPL-2.0 */
/* The fast checksum against the loop of RFC 1071. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/bytes.h"
#include "packet/checksum.h"
#include "unit/packet/build.h"

/* checksum_fold() in host order. */
static uint16_t folded(uint64_t sum)
{
	uint16_t v = checksum_fold(sum);
	return load_be16(&v);
}

/* 0 and 0xffff are the same number; folding gives 0 only for a sum of nothing but zeros. */
Test(checksum, every_length_and_alignment)
{
	uint8_t *mem = malloc(ROOM);
	struct rng r = { 1 };

	cr_assert(mem != NULL);
	for (uint32_t i = 0; i < ROOM; i++)
		mem[i] = (uint8_t)rng_next(&r);
	for (uint32_t align = 0; align < 16; align++)
		for (uint32_t len = 0; len < 400; len++)
			cr_assert(eq(u16, folded(checksum_add(0, mem + align, len)),
				     ref_sum(mem + align, len)),
				  "%u bytes at %u", len, align);
	for (uint32_t i = 0; i < 300; i++) {
		uint32_t align = rng_below(&r, 64), len = rng_below(&r, 65536);
		cr_assert(eq(u16, folded(checksum_add(0, mem + align, len)),
			     ref_sum(mem + align, len)),
			  "%u bytes at %u", len, align);
	}
	free(mem);
}

Test(checksum, carries)
{
	static uint8_t mem[65535];

	memset(mem, 0xff, sizeof(mem));
	for (uint32_t len = 2; len <= sizeof(mem); len += len < 600 ? 1 : 997)
		cr_assert(eq(u16, folded(checksum_add(0, mem, len)), ref_sum(mem, len)), "%u", len);
	memset(mem, 0, sizeof(mem));
	cr_assert(eq(u16, checksum_fold(checksum_add(0, mem, sizeof(mem))), 0));
}

Test(checksum, does_not_read_past_the_end)
{
	struct rng r = { 2 };

	for (uint32_t len = 1; len < 300; len++) {
		uint8_t *exact = malloc(len); /* a sanitizer watches its end */
		for (uint32_t i = 0; i < len; i++)
			exact[i] = (uint8_t)rng_next(&r);
		cr_assert(eq(u16, folded(checksum_add(0, exact, len)), ref_sum(exact, len)));
		free(exact);
	}
}

Test(checksum, pieces_add_up)
{
	uint8_t mem[500];
	struct rng r = { 3 };

	for (uint32_t round = 0; round < 2000; round++) {
		for (uint32_t i = 0; i < sizeof(mem); i++)
			mem[i] = (uint8_t)rng_next(&r);
		uint32_t cut = rng_below(&r, 250) * 2;
		uint64_t sum = checksum_add(0, mem, cut);
		uint16_t expected = ref_sum(mem, sizeof(mem));

		cr_assert(eq(u16, folded(checksum_add(sum, mem + cut, 500 - cut)), expected));
		uint64_t rest = checksum_add(0, mem + cut, 500 - cut);
		cr_assert(eq(u16, folded(checksum_merge(sum, rest)), expected));
	}
}

Test(checksum, a_huge_running_sum_keeps_its_carry)
{
	const uint8_t ones[2] = { 0, 1 };
	uint64_t sum = UINT64_MAX; /* = 0 modulo 0xffff */

	cr_expect(eq(u16, folded(checksum_add(sum, ones, 2)), 1));
	uint8_t block[64] = { 0 };
	block[63] = 7;
	cr_expect(eq(u16, folded(checksum_add(sum, block, 64)), 7));
	cr_expect(eq(u16, folded(checksum_merge(sum, UINT64_MAX)), 0xffff));
	cr_expect(eq(u16, folded(checksum_merge(sum, checksum_u16(0x1234))), 0x1234));
}

Test(checksum, pseudo_headers)
{
	struct rng r = { 4 };
	uint8_t pkt[64] = { 0 };

	for (unsigned i = 0; i < 2000; i++) {
		for (unsigned k = 1; k < 40; k++)
			pkt[k] = (uint8_t)rng_next(&r);
		uint8_t protocol = (uint8_t)rng_next(&r);
		uint32_t len = 20 + rng_below(&r, 65516);
		pkt[0] = 0x45;
		cr_assert(eq(u16, folded(checksum_pseudo_v4(pkt + 12, protocol, len - 20)),
			     ref_pseudo_sum(pkt, len, 20, protocol)));
		pkt[0] = 0x60;
		len = 40 + rng_below(&r, 1 << 20); /* a jumbogram: more than 16 bits */
		cr_assert(eq(u16, folded(checksum_pseudo_v6(pkt + 8, protocol, len - 40)),
			     ref_pseudo_sum(pkt, len, 40, protocol)));
	}
}

Test(checksum, store_completes_the_sum)
{
	uint8_t field[2];

	checksum_store(field, checksum_u16(0x1234));
	cr_expect(eq(u16, load_be16(field), 0xedcb));
	checksum_store(field, checksum_u16(0xffff));
	cr_expect(eq(u16, load_be16(field), 0));
	checksum_store_udp(field, checksum_u16(0x1234));
	cr_expect(eq(u16, load_be16(field), 0xedcb));
	checksum_store_udp(field, checksum_u16(0xffff));
	cr_expect(eq(u16, load_be16(field), 0xffff), "0 would mean that there is none");
}

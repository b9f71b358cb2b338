/* SPDX-License-Identifier: MPL-2.0 */
/* Two chains of scalar Poly1305 for x86-64 with BMI2, as instruction text: the AVX-512 kernels
 * weave it into the rounds of ChaCha20, the AVX2 kernel puts it between them. Compilers can do
 * neither: gcc 12 needs 60 % more time for a block than this, and none interleaves (figures in
 * adr/0002-aead-kernels.md).
 *
 * Registers: rsi = struct mac_span, rdi = offset in its texts, r9 - r11 and r12 - r14 = h of the
 * chains, rax, rbx, rcx, rdx, r8 = scratch. Branches and addresses depend on lengths only. */
#pragma once

#include <stddef.h>

#include "crypto/aead_burst.h"

/* Offsets in struct mac_span and struct poly1305, as the text below spells them. */
_Static_assert(offsetof(struct mac_span, state) == 48, "");
_Static_assert(offsetof(struct mac_span, text) == 64, "");
_Static_assert(offsetof(struct mac_span, len) == 80, "");
_Static_assert(offsetof(struct mac_span, next) == 88, "");
_Static_assert(offsetof(struct poly1305, h) == 16, "");

#define MAC_CLOBBERS \
	"rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "cc", "memory"

#define MAC_LOAD                                                                  \
	"mov 48(%%rsi), %%rax\n\t"                                                \
	"mov 16(%%rax), %%r9\n\tmov 24(%%rax), %%r10\n\tmov 32(%%rax), %%r11\n\t" \
	"mov 56(%%rsi), %%rax\n\t"                                                \
	"mov 16(%%rax), %%r12\n\tmov 24(%%rax), %%r13\n\tmov 32(%%rax), %%r14\n\t"

#define MAC_STORE                                                                 \
	"mov 48(%%rsi), %%rax\n\t"                                                \
	"mov %%r9, 16(%%rax)\n\tmov %%r10, 24(%%rax)\n\tmov %%r11, 32(%%rax)\n\t" \
	"mov 56(%%rsi), %%rax\n\t"                                                \
	"mov %%r12, 16(%%rax)\n\tmov %%r13, 24(%%rax)\n\tmov %%r14, 32(%%rax)\n\t"

/* One block, as poly1305_block() does it, in five parts. @h0 - @h2: registers; @t: offset of the
 * text pointer; @r, @r1, @s1: offsets of the multipliers. Carries never cross parts. */
#define MAC_1(h0, h1, h2, t) /* h += block + 2^128 */ \
	"mov " t "(%%rsi), %%rdx\n\t"                 \
	"add (%%rdx,%%rdi), " h0 "\n\tadc 8(%%rdx,%%rdi), " h1 "\n\tadc $1, " h2 "\n\t"
#define MAC_2(h0, h1, r, r1) /* d0 = h0 r0, d1 = h0 r1 */          \
	"mov " h0 ", %%rdx\n\tmulx " r "(%%rsi), %%rax, %%rbx\n\t" \
	"mulx " r1 "(%%rsi), %%rcx, %%r8\n\tmov " h1 ", %%rdx\n\t"
#define MAC_3(h0, h1, r, s1) /* d0 += h1 s1 */                                             \
	"mulx " s1 "(%%rsi), " h0 ", " h1 "\n\tadd " h0 ", %%rax\n\tadc " h1 ", %%rbx\n\t" \
	"mulx " r "(%%rsi), " h0 ", " h1 "\n\t"
#define MAC_4(h0, h1, h2, r, s1) /* d1 += h1 r0, then what h2 adds to d1 and d2 */ \
	"add " h0 ", %%rcx\n\tadc " h1 ", %%r8\n\tmov " h2 ", %%rdx\n\t"           \
	"imul " s1 "(%%rsi), %%rdx\n\timul " r "(%%rsi), " h2 "\n\t"
#define MAC_5(h0, h1, h2) /* carry up, and what is above 2^130 comes back times 5 */      \
	"add %%rdx, %%rcx\n\tadc " h2 ", %%r8\n\tadd %%rbx, %%rcx\n\tadc $0, %%r8\n\t"    \
	"mov %%r8, " h2 "\n\tmov %%r8, " h0 "\n\tand $3, " h2 "\n\tshr $2, " h0 "\n\t"    \
	"and $-4, %%r8\n\tadd %%r8, " h0 "\n\tadd %%rax, " h0 "\n\tmov %%rcx, " h1 "\n\t" \
	"adc $0, " h1 "\n\tadc $0, " h2 "\n\t"

#define MAC_A1 MAC_1("%%r9", "%%r10", "%%r11", "64")
#define MAC_A2 MAC_2("%%r9", "%%r10", "0", "8")
#define MAC_A3 MAC_3("%%r9", "%%r10", "0", "16")
#define MAC_A4 MAC_4("%%r9", "%%r10", "%%r11", "0", "16")
#define MAC_A5 MAC_5("%%r9", "%%r10", "%%r11")
#define MAC_B1 MAC_1("%%r12", "%%r13", "%%r14", "72")
#define MAC_B2 MAC_2("%%r12", "%%r13", "24", "32")
#define MAC_B3 MAC_3("%%r12", "%%r13", "24", "40")
#define MAC_B4 MAC_4("%%r12", "%%r13", "%%r14", "24", "40")
#define MAC_B5 MAC_5("%%r12", "%%r13", "%%r14") "lea 16(%%rdi), %%rdi\n\t"

#define MAC_PAIR MAC_A1 MAC_A2 MAC_A3 MAC_A4 MAC_A5 MAC_B1 MAC_B2 MAC_B3 MAC_B4 MAC_B5

/* A loop of rounds with a step in each iteration while there are spans. @ROUNDS(NO_MAC) and
 * @ROUNDS(WITH_MAC) are the body, @COUNT_DOWN sets the zero flag after the last one. */
#define NO_MAC(part)   ""
#define WITH_MAC(part) MAC_##part

/* clang-format off */
#define ROUNDS_WITH_MAC(ROUNDS, COUNT_DOWN)                                                        \
	MAC_LOAD                                                                                   \
	"1:\n\t" /* is anything left of this span, is there another one? */                        \
	"cmp 80(%%rsi), %%rdi\n\t"                                                                 \
	"jb 3f\n\t"                                                                                \
	"cmpq $0, 88(%%rsi)\n\t"                                                                   \
	"je 2f\n\t"                                                                                \
	MAC_STORE                                                                                  \
	"mov 88(%%rsi), %%rsi\n\t"                                                                 \
	"xor %%edi, %%edi\n\t"                                                                     \
	MAC_LOAD                                                                                   \
	"jmp 1b\n"                                                                                 \
	"2:\n\t" /* nothing */                                                                     \
	ROUNDS(NO_MAC)                                                                             \
	COUNT_DOWN                                                                                 \
	"jnz 2b\n\t"                                                                               \
	"jmp 4f\n"                                                                                 \
	"3:\n\t"                                                                                   \
	ROUNDS(WITH_MAC)                                                                           \
	COUNT_DOWN                                                                                 \
	"jnz 1b\n"                                                                                 \
	"4:\n\t"                                                                                   \
	MAC_STORE
/* clang-format on */

/* Whether anything is left to absorb; a span without a successor may be at its end. */
ALWAYS_INLINE bool mac_has_steps(const struct mac_cursor *c)
{
	return c->at < c->span->len || c->span->next;
}

/* One step, if there is any left. */
ALWAYS_INLINE void mac_step(struct mac_cursor *c)
{
	while (c->at == c->span->len) {
		if (!c->span->next)
			return;
		c->span = c->span->next;
		c->at = 0;
	}
	const struct mac_span *span = c->span;
	__asm__ volatile(MAC_LOAD MAC_PAIR MAC_PAIR MAC_PAIR MAC_STORE
			 : "+D"(c->at), "+S"(span)
			 :
			 : "rax", MAC_CLOBBERS);
}

/* All steps up to the end of @last. */
static inline void mac_steps(struct mac_cursor *c, const struct mac_span *last)
{
	while (c->span != last || c->at < last->len)
		mac_step(c);
}

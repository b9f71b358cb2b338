/* SPDX-License-Identifier: MPL-2.0 */
/* A burst leaves nothing behind: afterwards neither its stack nor the vector registers hold a key, a
 * one-time key, key stream or plaintext. It runs on a stack of its own, which is searched. */
#include <ucontext.h>

#include <criterion/criterion.h>

#include "aead_fixture.h"

/* AddressSanitizer keeps frames elsewhere and pads them; what is measured here is the real build. */
#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#ifndef HAS_ASAN
#define HAS_ASAN 0
#endif

enum {
	N = 20,
	LEN = 1420,
	STACK_LEN = 256 * 1024,
	/* vectors, then masks, then integers that a function may leave */
	REGISTERS_LEN = 32 * 64 + 8 * 8 + 16 * 8,
	N_SECRETS = N * (2 * LEN / 8 + 8) + 64,
};

static _Alignas(64) uint8_t stack[STACK_LEN];
static _Alignas(64) uint8_t registers[REGISTERS_LEN];
static uint8_t key[AEAD_KEY_LEN], text[N][LEN], box[N][LEN + AEAD_TAG_LEN], out[N][LEN];
static struct aead_seal_job seal_jobs[N];
static struct aead_open_job open_jobs[N];
static const struct aead_impl *kernel;
static bool is_open;
static size_t n_jobs;
static ucontext_t caller, callee;

/* The registers as they are, integers first, before this function needs them. */
static inline __attribute__((always_inline)) void registers_save(void)
{
#if defined(__x86_64__)
	__asm__ volatile("mov %%rcx, 2112+%0; mov %%rdx, 2120+%0; mov %%rsi, 2128+%0;"
			 "mov %%rdi, 2136+%0; mov %%r8, 2144+%0; mov %%r9, 2152+%0;"
			 "mov %%r10, 2160+%0; mov %%r11, 2168+%0; mov %%rax, 2176+%0"
			 : "=o"(registers));
	if (cpu_features() & CPU_AVX512)
		__asm__ volatile(".irp n,0,1,2,3,4,5,6,7\n\t"
				 "kmovq %%k\\n, 2048+8*\\n(%0)\n\t"
				 ".endr" ::"r"(registers)
				 : "memory");
	if (cpu_features() & CPU_AVX512) {
		__asm__ volatile(
			".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,"
			"25,26,27,28,29,30,31\n\t"
			"vmovdqu64 %%zmm\\n, 64*\\n(%0)\n\t"
			".endr" ::"r"(registers)
			: "memory");
	} else if (cpu_features() & CPU_AVX2) {
		__asm__ volatile(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
				 "vmovdqu %%ymm\\n, 32*\\n(%0)\n\t"
				 ".endr" ::"r"(registers)
				 : "memory");
	}
#elif defined(__aarch64__)
	__asm__ volatile("mov x16, %0; str x0, [x16, #512]; str x1, [x16, #520];"
			 "str x2, [x16, #528]; str x3, [x16, #536]; str x4, [x16, #544];"
			 "str x5, [x16, #552]; str x6, [x16, #560]; str x7, [x16, #568];"
			 "str x8, [x16, #576]; mov x17, #0;"
			 ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,"
			 "25,26,27,28,29,30,31\n\t"
			 "str q\\n, [x16, #16*\\n]\n\t"
			 ".endr" ::"r"(registers)
			 : "x16", "x17", "memory");
#endif
}

/* The test's own use of secrets must not show. */
static inline __attribute__((always_inline)) void registers_clear(void)
{
#if defined(__x86_64__)
	if (cpu_features() & CPU_AVX512)
		__asm__ volatile(
			".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,"
			"25,26,27,28,29,30,31\n\t"
			"vpxord %%zmm\\n, %%zmm\\n, %%zmm\\n\n\t"
			".endr" ::
				: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
				  "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
				  "xmm15");
#endif
}

static void run(void)
{
	registers_clear();
	if (is_open)
		kernel->open_burst(open_jobs, n_jobs);
	else
		kernel->seal_burst(seal_jobs, n_jobs);
	registers_save();
}

static int compare_words(const void *a, const void *b)
{
	const uint64_t x = load_le64(a), y = load_le64(b);
	return (x > y) - (x < y);
}

/* Eight bytes each: what must not be found. */
static uint64_t secrets[N_SECRETS];
static size_t n_secrets;

static void add_secret(const uint8_t *p)
{
	cr_assert(n_secrets < N_SECRETS);
	memcpy(&secrets[n_secrets++], p, 8);
}

static void collect_secrets(void)
{
	static const uint8_t zeros[LEN];
	static uint8_t stream[LEN];
	uint8_t nonce[12], one_time_key[32], twice[8];

	n_secrets = 0;
	for (size_t i = 0; i < AEAD_KEY_LEN; i += 8)
		add_secret(key + i);
	for (size_t i = 0; i < AEAD_KEY_LEN; i += 4) { /* as broadcast to all lanes */
		memcpy(twice, key + i, 4);
		memcpy(twice + 4, key + i, 4);
		add_secret(twice);
	}
	for (size_t i = 0; i < N; i++) {
		nonce_write(nonce, 0, i);
		crypto_stream_chacha20_ietf_xor_ic(one_time_key, zeros, 32, nonce, 0, key);
		crypto_stream_chacha20_ietf_xor_ic(stream, zeros, LEN, nonce, 1, key);
		for (size_t k = 0; k < 32; k += 8)
			add_secret(one_time_key + k);
		const uint64_t r[2] = { load_le64(one_time_key) & UINT64_C(0x0ffffffc0fffffff),
					load_le64(one_time_key + 8) &
						UINT64_C(0x0ffffffc0ffffffc) };
		add_secret((const uint8_t *)&r[0]);
		add_secret((const uint8_t *)&r[1]);
		for (size_t k = 0; k + 8 <= LEN; k += 8) {
			add_secret(stream + k);
			add_secret(text[i] + k);
		}
	}
	qsort(secrets, n_secrets, sizeof(secrets[0]), compare_words);
}

static size_t count_secrets(const uint8_t *p, size_t len)
{
	size_t n = 0;
	for (size_t i = 0; i + 8 <= len; i += 4)
		n += bsearch(p + i, secrets, n_secrets, sizeof(secrets[0]), compare_words) != NULL;
	return n;
}

static void run_on_own_stack(void)
{
	memset(stack, 0xee, sizeof(stack));
	memset(registers, 0, sizeof(registers));
	getcontext(&callee);
	callee.uc_stack.ss_sp = stack;
	callee.uc_stack.ss_size = sizeof(stack);
	callee.uc_link = &caller;
	makecontext(&callee, run, 0);
	swapcontext(&caller, &callee);
}

static void check(const struct aead_impl *k, size_t n, bool open)
{
	kernel = k;
	n_jobs = n;
	is_open = open;
	run_on_own_stack();
	const char *what = open ? "open" : "seal";
	cr_assert(count_secrets(stack, sizeof(stack)) == 0, "%s: %s %zu: %zu on the stack", k->name,
		  what, n, count_secrets(stack, sizeof(stack)));
	cr_assert(count_secrets(registers, sizeof(registers)) == 0, "%s: %s %zu: %zu in registers",
		  k->name, what, n, count_secrets(registers, sizeof(registers)));
}

static void jobs_init(uint32_t len)
{
	for (size_t i = 0; i < N; i++) {
		test_random_bytes(text[i], LEN);
		seal_jobs[i] = (struct aead_seal_job){ .key = key,
						       .counter = i,
						       .in = { text[i] },
						       .in_len = { len - len % 3 },
						       .pad_len = len % 3,
						       .out = box[i] };
		if (len > 100) { /* headers of their own: gathered */
			seal_jobs[i].in_len[0] = 40;
			seal_jobs[i].in[1] = text[i] + 40;
			seal_jobs[i].in_len[1] = len - 40;
			seal_jobs[i].pad_len = 0;
		}
		open_jobs[i] = (struct aead_open_job){ .key = key,
						       .counter = i,
						       .in = box[i],
						       .in_len = len + AEAD_TAG_LEN,
						       .out = out[i] };
	}
}

Test(aead_wipe, nothing_is_left, .disabled = HAS_ASAN)
{
	static const uint32_t lens[] = { 0, 10, 64, 130, 576, 1420 };
	static const size_t n[] = { 1, 2, 5, 8, N };

	test_random_bytes(key, sizeof(key));
	for_each_kernel(k)
	{
		for (size_t l = 0; l < ARRAY_SIZE(lens); l++) {
			jobs_init(lens[l]);
			collect_secrets();
			for (size_t i = 0; i < ARRAY_SIZE(n); i++) {
				check(k, n[i], false);
				check(k, n[i], true);
				cr_assert(open_jobs[0].ok);
				box[0][0] ^= 1; /* a forgery, too */
				check(k, n[i], true);
				cr_assert(open_jobs[0].ok == false);
				box[0][0] ^= 1;
			}
		}
	}
}

/* The search works: a function that wipes nothing is found out. */
static void careless(void)
{
	volatile uint8_t copy[64];
	for (size_t i = 0; i < sizeof(copy); i++)
		copy[i] = i < 32 ? key[i] : text[0][i];
}

Test(aead_wipe, the_search_finds, .disabled = HAS_ASAN)
{
	test_random_bytes(key, sizeof(key));
	jobs_init(64);
	collect_secrets();
	memset(stack, 0xee, sizeof(stack));
	getcontext(&callee);
	callee.uc_stack.ss_sp = stack;
	callee.uc_stack.ss_size = sizeof(stack);
	callee.uc_link = &caller;
	makecontext(&callee, careless, 0);
	swapcontext(&caller, &callee);
	cr_assert(count_secrets(stack, sizeof(stack)) > 0);
}

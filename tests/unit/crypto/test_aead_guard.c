/* SPDX-License-Identifier: MPL-2.0 */
/* No AEAD kernel touches a byte outside the buffers of its jobs: each one has a page without
 * access in front of it and one behind it, and lies directly at the one or at the other. */
#include <sys/mman.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "aead_fixture.h"

enum {
	N_MAX = 17,
	LEN_MAX = 4096 + 16,
};

/* Memory between two pages without access. */
struct fence {
	uint8_t *begin, *end;
};

static struct fence fence_create(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const size_t len = (LEN_MAX + page - 1) / page * page;
	uint8_t *p = mmap(NULL, len + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert(p != MAP_FAILED);
	cr_assert(mprotect(p + page, len, PROT_READ | PROT_WRITE) == 0);
	return (struct fence){ p + page, p + page + len };
}

/* @len bytes at one of the fences. */
static uint8_t *fence_place(const struct fence *f, size_t len, bool at_end)
{
	return at_end ? f->end - len : f->begin;
}

static struct fence keys[N_MAX], ads[N_MAX], ins[2][N_MAX], outs[N_MAX];
static struct aead_seal_job seal_jobs[N_MAX];
static struct aead_open_job open_jobs[N_MAX];

static void fences_create(void)
{
	for (size_t i = 0; i < N_MAX; i++) {
		keys[i] = fence_create();
		ads[i] = fence_create();
		ins[0][i] = fence_create();
		ins[1][i] = fence_create();
		outs[i] = fence_create();
		memset(ins[0][i].begin, 0x11, LEN_MAX);
		memset(ins[1][i].begin, 0x22, LEN_MAX);
	}
}

struct shape {
	size_t n;
	uint32_t len[2], pad_len, ad_len;
	bool is_mixed; /* lengths differ within the burst */
};

static void seal_and_open(const struct aead_impl *k, const struct shape *s, bool at_end)
{
	for (size_t i = 0; i < s->n; i++) {
		const uint32_t more = s->is_mixed ? (uint32_t)(i * 37 % 300) : 0;
		struct aead_seal_job *job = &seal_jobs[i];
		*job = (struct aead_seal_job){
			.key = fence_place(&keys[i], AEAD_KEY_LEN, at_end),
			.counter = i,
			.ad = fence_place(&ads[i], s->ad_len, at_end),
			.ad_len = s->ad_len,
			.in_len = { s->len[0], s->len[1] + more },
			.pad_len = s->pad_len,
		};
		for (int j = 0; j < 2; j++)
			job->in[j] = fence_place(&ins[j][i], job->in_len[j], at_end);
		job->out = fence_place(&outs[i], seal_text_len(job) + AEAD_TAG_LEN, at_end);
	}
	k->seal_burst(seal_jobs, s->n);
	for (size_t i = 0; i < s->n; i++) {
		const struct aead_seal_job *job = &seal_jobs[i];
		const uint32_t len = (uint32_t)seal_text_len(job);
		open_jobs[i] = (struct aead_open_job){
			.key = job->key,
			.counter = i,
			.ad = job->ad,
			.ad_len = job->ad_len,
			.in = job->out,
			.in_len = len + AEAD_TAG_LEN,
			.out = i % 2 ? job->out : fence_place(&ins[0][i], len, at_end),
		};
	}
	k->open_burst(open_jobs, s->n);
	for (size_t i = 0; i < s->n; i++)
		cr_assert(open_jobs[i].ok, "%s", k->name);
}

static void check(const struct shape *s)
{
	for_each_kernel(k)
	{
		seal_and_open(k, s, false);
		seal_and_open(k, s, true);
	}
}

TestSuite(aead_guard, .init = fences_create);

Test(aead_guard, one_slice)
{
	for (uint32_t len = 0; len <= 1500; len += len < 400 ? 1 : 13)
		check(&(struct shape){ .n = 1, .len = { len } });
	check(&(struct shape){ .n = 1, .len = { 4096 } });
}

Test(aead_guard, two_slices_and_padding)
{
	for (uint32_t len = 0; len <= 1400; len += len < 200 ? 3 : 29)
		check(&(struct shape){ .n = 1, .len = { len % 70, len }, .pad_len = len % 16 });
}

Test(aead_guard, associated_data)
{
	for (uint32_t len = 0; len <= 70; len++)
		check(&(struct shape){ .n = 2, .len = { 48 }, .ad_len = len });
}

Test(aead_guard, bursts)
{
	static const size_t n[] = { 2, 4, 7, 8, 9, 16, 17 };
	for (size_t i = 0; i < ARRAY_SIZE(n); i++)
		for (uint32_t len = 0; len <= 1420; len += len < 140 ? 4 : 71)
			check(&(struct shape){
				.n = n[i], .len = { 40, len }, .is_mixed = len & 4 });
}

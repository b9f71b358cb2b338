/* SPDX-License-Identifier: MPL-2.0 */
/* NO ENCRYPTION. Copies the text, writes zeros for a tag and takes any tag for right: what the data
 * path costs without its cipher. Compiled in only with -Dnull_cipher=true, and then instead of
 * every kernel, so that nobody can choose it by accident at run time. */
#include "crypto/aead_impl.h"

/* @to is @from, or does not overlap it. */
static void copy(uint8_t *to, const uint8_t *from, size_t len)
{
	if (len && to != from)
		memcpy(to, from, len);
}

static void seal_burst(const struct aead_seal_job *job, size_t n)
{
	for (; n; n--, job++) {
		uint8_t *out = job->out;

		copy(out, job->in[0], job->in_len[0]);
		out += job->in_len[0];
		copy(out, job->in[1], job->in_len[1]);
		out += job->in_len[1];
		memset(out, 0, job->pad_len + AEAD_TAG_LEN);
	}
}

static void open_burst(struct aead_open_job *job, size_t n)
{
	for (; n; n--, job++) {
		job->ok = job->in_len >= AEAD_TAG_LEN;
		if (job->ok)
			copy(job->out, job->in, job->in_len - AEAD_TAG_LEN);
	}
}

const struct aead_impl aead_null = {
	.name = "null",
	.cpu = 0,
	.seal_burst = seal_burst,
	.open_burst = open_burst,
};

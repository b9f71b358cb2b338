/* SPDX-License-Identifier: MPL-2.0 */
/* The libraries that the AEAD kernels are compared with: libsodium, OpenSSL 3 (EVP) and Intel's
 * ipsec-mb (job API), each used the way its documentation calls fast: contexts and managers live
 * as long as the process, only nonce and buffers change per packet. */
#include <stdio.h>
#include <stdlib.h>

#include <sodium.h>

#ifdef HAVE_OPENSSL
#include <openssl/crypto.h>
#include <openssl/evp.h>
#endif
#ifdef HAVE_IPSEC_MB
#include <intel-ipsec-mb.h>
#endif

#include "base/bytes.h"
#include "bench_aead.h"

static inline void nonce_write(uint8_t nonce[12], uint32_t prefix, uint64_t counter)
{
	store_le32(nonce, prefix);
	store_le64(nonce + 4, counter);
}

static void rival_sodium_seal(const struct aead_seal_job *job, size_t n)
{
	uint8_t nonce[12];
	for (; n; n--, job++) {
		nonce_write(nonce, job->nonce_prefix, job->counter);
		crypto_aead_chacha20poly1305_ietf_encrypt(
			job->out, NULL, job->in[0], job->in_len[0], NULL, 0, NULL, nonce, job->key);
	}
}

static void rival_sodium_open(struct aead_open_job *job, size_t n)
{
	uint8_t nonce[12];
	for (; n; n--, job++) {
		nonce_write(nonce, job->nonce_prefix, job->counter);
		job->ok = !crypto_aead_chacha20poly1305_ietf_decrypt(
			job->out, NULL, NULL, job->in, job->in_len, NULL, 0, nonce, job->key);
	}
}

const struct contender rival_sodium_portable = {
	.name = "sodium-portable",
	.seal = rival_sodium_seal,
	.open = rival_sodium_open,
	.version = sodium_version_string,
};

static const struct contender rival_sodium = {
	.name = "sodium",
	.seal = rival_sodium_seal,
	.open = rival_sodium_open,
	.version = sodium_version_string,
};

#ifdef HAVE_OPENSSL
static EVP_CIPHER_CTX *openssl_ctx;
static const uint8_t *openssl_key; /* set in the context: re-keying is not what we measure */

static void openssl_begin(const uint8_t *key, const uint8_t nonce[12], int is_seal)
{
	if (openssl_key != key) {
		EVP_CipherInit_ex(openssl_ctx, EVP_chacha20_poly1305(), NULL, key, NULL, is_seal);
		openssl_key = key;
	}
	EVP_CipherInit_ex(openssl_ctx, NULL, NULL, NULL, nonce, is_seal);
}

static void rival_openssl_seal(const struct aead_seal_job *job, size_t n)
{
	uint8_t nonce[12];
	int len;
	for (; n; n--, job++) {
		nonce_write(nonce, job->nonce_prefix, job->counter);
		openssl_begin(job->key, nonce, 1);
		EVP_CipherUpdate(openssl_ctx, job->out, &len, job->in[0], (int)job->in_len[0]);
		EVP_CipherFinal_ex(openssl_ctx, job->out + len, &len);
		EVP_CIPHER_CTX_ctrl(openssl_ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_LEN,
				    job->out + job->in_len[0]);
	}
}

static void rival_openssl_open(struct aead_open_job *job, size_t n)
{
	uint8_t nonce[12];
	int len;
	for (; n; n--, job++) {
		const uint32_t text_len = job->in_len - AEAD_TAG_LEN;
		nonce_write(nonce, job->nonce_prefix, job->counter);
		openssl_begin(job->key, nonce, 0);
		EVP_CIPHER_CTX_ctrl(openssl_ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_LEN,
				    (void *)(uintptr_t)(job->in + text_len));
		EVP_CipherUpdate(openssl_ctx, job->out, &len, job->in, (int)text_len);
		job->ok = EVP_CipherFinal_ex(openssl_ctx, job->out + len, &len) == 1;
	}
}

static const char *openssl_version(void)
{
	return OpenSSL_version(OPENSSL_VERSION_STRING);
}

static const struct contender rival_openssl = {
	.name = "openssl",
	.seal = rival_openssl_seal,
	.open = rival_openssl_open,
	.version = openssl_version,
};
#endif

#ifdef HAVE_IPSEC_MB
static IMB_MGR *ipsec_mgr;

static void ipsec_submit(const uint8_t *key, const uint8_t nonce[12], const uint8_t *in,
			 uint8_t *out, uint32_t len, uint8_t *tag, IMB_CIPHER_DIRECTION direction)
{
	IMB_JOB *job = IMB_GET_NEXT_JOB(ipsec_mgr);
	job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
	job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
	job->cipher_direction = direction;
	job->chain_order = direction == IMB_DIR_ENCRYPT ? IMB_ORDER_CIPHER_HASH
							: IMB_ORDER_HASH_CIPHER;
	job->enc_keys = key;
	job->dec_keys = key;
	job->key_len_in_bytes = 32;
	job->iv = nonce;
	job->iv_len_in_bytes = 12;
	job->u.CHACHA20_POLY1305.aad = NULL;
	job->u.CHACHA20_POLY1305.aad_len_in_bytes = 0;
	job->src = in;
	job->dst = out;
	job->cipher_start_src_offset_in_bytes = 0;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_cipher_in_bytes = len;
	job->msg_len_to_hash_in_bytes = len;
	job->auth_tag_output = tag;
	job->auth_tag_output_len_in_bytes = AEAD_TAG_LEN;
	/* this mode is computed at once: the job comes back here, nothing stays queued */
	IMB_SUBMIT_JOB_NOCHECK(ipsec_mgr);
}

static void rival_ipsec_seal(const struct aead_seal_job *job, size_t n)
{
	uint8_t nonce[12];
	for (; n; n--, job++) {
		nonce_write(nonce, job->nonce_prefix, job->counter);
		ipsec_submit(job->key, nonce, job->in[0], job->out, job->in_len[0],
			     job->out + job->in_len[0], IMB_DIR_ENCRYPT);
	}
}

static void rival_ipsec_open(struct aead_open_job *job, size_t n)
{
	uint8_t nonce[12], tag[AEAD_TAG_LEN];
	for (; n; n--, job++) {
		const uint32_t text_len = job->in_len - AEAD_TAG_LEN;
		nonce_write(nonce, job->nonce_prefix, job->counter);
		ipsec_submit(job->key, nonce, job->in, job->out, text_len, tag, IMB_DIR_DECRYPT);
		job->ok = !sodium_memcmp(tag, job->in + text_len, AEAD_TAG_LEN);
	}
}

static const struct contender rival_ipsec = {
	.name = "ipsec-mb",
	.seal = rival_ipsec_seal,
	.open = rival_ipsec_open,
	.version = imb_get_version_str,
};
#endif

size_t rivals_start(const struct contender *ret_rivals[RIVALS_MAX])
{
	size_t n = 0;
	if (sodium_init() >= 0)
		ret_rivals[n++] = &rival_sodium;
#ifdef HAVE_OPENSSL
	openssl_ctx = EVP_CIPHER_CTX_new();
	if (openssl_ctx)
		ret_rivals[n++] = &rival_openssl;
#endif
#ifdef HAVE_IPSEC_MB
	ipsec_mgr = alloc_mb_mgr(0);
	if (ipsec_mgr) {
		init_mb_mgr_auto(ipsec_mgr, NULL);
		ret_rivals[n++] = &rival_ipsec;
	}
#endif
	return n;
}

void rivals_stop(void)
{
#ifdef HAVE_OPENSSL
	EVP_CIPHER_CTX_free(openssl_ctx);
#endif
#ifdef HAVE_IPSEC_MB
	free_mb_mgr(ipsec_mgr);
#endif
}

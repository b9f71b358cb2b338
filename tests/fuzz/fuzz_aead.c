/* SPDX-License-Identifier: MPL-2.0 */
/* Differential fuzzing of the AEAD kernels: the input describes a burst, every kernel seals and
 * opens it, and all must do what libsodium does. Every buffer has exactly its size, so that
 * AddressSanitizer sees a byte too many. Some jobs are forged before they are opened. */
#include <sodium.h>

#include "base/bytes.h"
#include "base/cpu.h"
#include "base/macro.h"
#include "crypto/aead.h"
#include "fuzz/fuzz.h"

enum {
	N_MAX = 64,
	LEN_MAX = 4096,
	KEYS = 4,
};

struct packet {
	struct aead_seal_job seal;
	uint8_t *slice[2], *ad, *box, *opened;
	size_t text_len;
	uint32_t forged_at; /* which bit of AD, ciphertext and tag */
	bool is_forged, is_in_place, is_sealed_in_place;
	bool is_cut; /* forged: shorter than a tag */
};

static uint8_t keys[KEYS][AEAD_KEY_LEN];
static struct packet packets[N_MAX];
static size_t n_packets;

/* Content that depends on the input, cheaper than reading it from there. */
static uint8_t *make_bytes(size_t len, uint32_t seed)
{
	uint8_t *p = allocate(len);
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1664525 + 1013904223;
		p[i] = (uint8_t)(seed >> 24);
	}
	return p;
}

static void packet_init(struct packet *p, struct input *in, uint32_t usual_len)
{
	const uint32_t flags = take8(in);
	const uint32_t len = flags & 1 ? take16(in) % (LEN_MAX + 1) : usual_len;
	const uint32_t headers = flags & 2 ? take8(in) : len;
	const uint32_t split = MIN(headers, len);
	const uint32_t seed = flags & 4 ? take16(in) : flags;

	p->seal = (struct aead_seal_job){
		.key = keys[flags & 8 ? take8(in) % KEYS : 0],
		.counter = flags & 16 ? UINT64_MAX - take8(in) : seed,
		.nonce_prefix = flags & 16 ? seed : 0,
		.ad_len = flags & 32 ? take8(in) % 70 : 0,
		.in_len = { split, len - split },
		.pad_len = flags & 64 ? take8(in) % 80 : 0,
	};
	p->text_len = (size_t)len + p->seal.pad_len;
	for (int i = 0; i < 2; i++)
		p->seal.in[i] = p->slice[i] = make_bytes(p->seal.in_len[i], seed + (uint32_t)i);
	p->seal.ad = p->ad = make_bytes(p->seal.ad_len, seed + 2);
	p->seal.out = p->box = make_bytes(p->text_len + AEAD_TAG_LEN, 0);
	p->opened = make_bytes(p->text_len, 0);
	p->is_forged = flags & 128 && take8(in) & 1;
	p->is_in_place = flags & 128 && take8(in) & 1;
	p->is_sealed_in_place = p->seal.counter & 1;
	p->forged_at = p->is_forged ? take16(in) : 0;
	p->is_cut = p->forged_at >= UINT16_MAX - AEAD_TAG_LEN;
}

static void packet_finish(struct packet *p)
{
	free(p->slice[0]);
	free(p->slice[1]);
	free(p->ad);
	free(p->box);
	free(p->opened);
}

static void packet_plaintext(const struct packet *p, uint8_t *text)
{
	memcpy(text, p->slice[0], p->seal.in_len[0]);
	memcpy(text + p->seal.in_len[0], p->slice[1], p->seal.in_len[1]);
	memset(text + p->seal.in_len[0] + p->seal.in_len[1], 0, p->seal.pad_len);
}

static void check_sealed(const struct packet *p)
{
	static uint8_t text[LEN_MAX + 80], box[LEN_MAX + 80 + AEAD_TAG_LEN];
	uint8_t nonce[12];
	packet_plaintext(p, text);
	store_le32(nonce, p->seal.nonce_prefix);
	store_le64(nonce + 4, p->seal.counter);
	crypto_aead_chacha20poly1305_ietf_encrypt(box, NULL, text, p->text_len, p->ad,
						  p->seal.ad_len, NULL, nonce, p->seal.key);
	CHECK(memcmp(p->box, box, p->text_len + AEAD_TAG_LEN) == 0);
}

static void check_opened(const struct packet *p, const struct aead_open_job *job)
{
	static uint8_t text[LEN_MAX + 80];
	CHECK(job->ok == !p->is_forged);
	if (p->is_cut)
		return;
	if (p->is_forged)
		memset(text, 0, p->text_len);
	else
		packet_plaintext(p, text);
	CHECK(memcmp(job->out, text, p->text_len) == 0);
}

static void flip(struct packet *p)
{
	const size_t len = p->seal.ad_len + p->text_len + AEAD_TAG_LEN;
	const size_t bit = (p->forged_at * (size_t)97) % (8 * len), at = bit / 8;
	uint8_t *const byte = at < p->seal.ad_len ? p->ad + at : p->box + (at - p->seal.ad_len);
	*byte ^= (uint8_t)(1U << bit % 8);
}

static void run(const struct aead_impl *k)
{
	static struct aead_seal_job seal[N_MAX];
	static struct aead_open_job open[N_MAX];

	for (size_t i = 0; i < n_packets; i++) {
		struct packet *p = &packets[i];
		seal[i] = p->seal;
		if (p->is_sealed_in_place) { /* from where the ciphertext comes */
			memcpy(p->box, p->slice[0], p->seal.in_len[0]);
			memcpy(p->box + p->seal.in_len[0], p->slice[1], p->seal.in_len[1]);
			seal[i].in[0] = p->box;
			seal[i].in[1] = p->box + p->seal.in_len[0];
		}
	}
	k->seal_burst(seal, n_packets);
	for (size_t i = 0; i < n_packets; i++) {
		struct packet *p = &packets[i];
		check_sealed(p);
		if (p->is_forged)
			flip(p);
		open[i] = (struct aead_open_job){
			.key = p->seal.key,
			.counter = p->seal.counter,
			.nonce_prefix = p->seal.nonce_prefix,
			.ad_len = p->seal.ad_len,
			.ad = p->ad,
			.in = p->box,
			.out = p->is_in_place ? p->box : p->opened,
			.in_len = p->is_cut ? UINT16_MAX - p->forged_at
					    : (uint32_t)p->text_len + AEAD_TAG_LEN,
		};
	}
	k->open_burst(open, n_packets);
	for (size_t i = 0; i < n_packets; i++) {
		check_opened(&packets[i], &open[i]);
		if (packets[i].is_forged) /* the next kernel needs the AD as it was */
			flip(&packets[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };
	const unsigned cpu = cpu_features();

	n_packets = 1 + take8(&in) % N_MAX;
	const uint32_t usual_len = take16(&in) % (LEN_MAX + 1);
	for (size_t i = 0; i < sizeof(keys); i++)
		keys[i / AEAD_KEY_LEN][i % AEAD_KEY_LEN] = (uint8_t)(i * 37 + len);
	for (size_t i = 0; i < n_packets; i++)
		packet_init(&packets[i], &in, usual_len);
	for (size_t i = 0; aead_impls[i]; i++)
		if (!(aead_impls[i]->cpu & ~cpu))
			run(aead_impls[i]);
	for (size_t i = 0; i < n_packets; i++)
		packet_finish(&packets[i]);
	return 0;
}

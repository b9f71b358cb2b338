/* SPDX-License-Identifier: MPL-2.0 */
/* A burst of packets through coalescing, then through splitting: the same packets must come back, each
 * once, in order within a write. The input is a list of records: a packet as it is, or the one before
 * advanced to its successor, with some bytes changed; with or without right checksums. Otherwise
 * hardly any two packets would ever be merged. */
#include <netinet/in.h>

#include "base/bytes.h"
#include "fuzz/fuzz.h"
#include "packet/checksum.h"
#include "packet/gro.h"
#include "packet/gso.h"

enum {
	KIND_RAW = 1,      /* then length (2 bytes) and packet */
	FIX_CHECKSUMS = 2, /* else damaged if changed */
	N_PATCHES = 0x70,  /* then so many pairs: offset, byte to XOR */
	MAX_LEN = 4000,
};

struct fuzz_packet {
	uint8_t *original, *given;
	uint32_t len;
	bool is_back;
};

/* Offset of the TCP or UDP header, 0 = has none that this program can find. */
static uint32_t find_l4(const uint8_t *pkt, uint32_t len, uint8_t *ret_protocol)
{
	if (len < 60)
		return 0;
	bool is_v4 = pkt[0] >> 4 == 4;
	*ret_protocol = is_v4 ? pkt[9] : pkt[6];
	if (*ret_protocol != IPPROTO_TCP && *ret_protocol != IPPROTO_UDP)
		return 0;
	return is_v4 ? 20 : 40;
}

static void fix_checksums(uint8_t *pkt, uint32_t len)
{
	uint8_t protocol = 0;
	uint32_t off = find_l4(pkt, len, &protocol);
	if (off == 0)
		return;

	uint64_t sum;
	if (off == 20) {
		store_be16(pkt + 2, (uint16_t)len);
		memset(pkt + 10, 0, 2);
		checksum_store(pkt + 10, checksum_add(0, pkt, 20));
		sum = checksum_pseudo_v4(pkt + 12, protocol, len - off);
	} else {
		store_be16(pkt + 4, (uint16_t)(len - 40));
		sum = checksum_pseudo_v6(pkt + 8, protocol, len - off);
	}
	uint8_t *field = pkt + off + (protocol == IPPROTO_TCP ? 16 : 6);
	if (field + 2 > pkt + len)
		return;
	memset(field, 0, 2);
	sum = checksum_add(sum, pkt + off, len - off);
	if (protocol == IPPROTO_TCP)
		checksum_store(field, sum);
	else
		checksum_store_udp(field, sum);
}

/* Makes the packet the next one of its flow. */
static void advance(uint8_t *pkt, uint32_t len)
{
	uint8_t protocol = 0;
	uint32_t off = find_l4(pkt, len, &protocol);
	if (off == 0)
		return;
	if (off == 20)
		store_be16(pkt + 4, (uint16_t)(load_be16(pkt + 4) + 1));
	if (protocol == IPPROTO_TCP && len - off >= 20) {
		uint32_t payload_len = len - off - (pkt[off + 12] >> 4) * 4U;
		store_be32(pkt + off + 4, load_be32(pkt + off + 4) + payload_len);
	}
}

/* The next packet of the input in @pkt, which holds the one before; returns its length. */
static uint32_t next_packet(struct input *in, uint8_t *pkt, uint32_t len)
{
	uint8_t control = take8(in);

	if (control & KIND_RAW) {
		struct input raw = take_part(in, take16(in) % MAX_LEN + 1U);
		len = (uint32_t)raw.len;
		memcpy(pkt, raw.data, len);
	} else {
		advance(pkt, len);
	}
	for (unsigned n = (control & N_PATCHES) >> 4; n > 0 && len > 0; n--) {
		uint32_t at = take8(in) % len;
		pkt[at] ^= take8(in);
	}
	if (control & FIX_CHECKSUMS)
		fix_checksums(pkt, len);
	return len;
}

/* An id that stood still with DF comes back counting. */
static bool is_same(const uint8_t *a, const uint8_t *b, uint32_t len)
{
	if (memcmp(a, b, len) == 0)
		return true;
	return a[0] == 0x45 && (a[6] & 0x40) && memcmp(a, b, 4) == 0 &&
	       memcmp(a + 6, b + 6, 4) == 0 && memcmp(a + 12, b + 12, len - 12) == 0;
}

static struct fuzz_packet *find(struct fuzz_packet *p, uint32_t n, const uint8_t *memory)
{
	for (uint32_t i = 0; i < n; i++)
		if (memory >= p[i].given && memory < p[i].given + p[i].len)
			return &p[i];
	abort();
}

static void check_write(const struct gro_write *w, struct fuzz_packet *p, uint32_t n)
{
	static uint8_t super[70000], segment[70000];
	const struct fuzz_packet *previous = NULL;
	struct virtio_net_hdr vnet;
	struct gso_split s;
	uint32_t len = 0;

	memcpy(&vnet, w->iov[0].iov_base, sizeof(vnet));
	for (uint32_t i = 1; i < w->n_iov; i++) {
		CHECK(len + w->iov[i].iov_len <= GRO_MAX_LEN);
		memcpy(super + len, w->iov[i].iov_base, w->iov[i].iov_len);
		len += (uint32_t)w->iov[i].iov_len;
	}
	CHECK(w->len == len + sizeof(vnet) && w->n_segments == w->n_iov - 1);
	CHECK(gso_split_init(&s, &vnet, super, len) == 0 && s.n_segments == w->n_segments);
	for (uint32_t i = 0; i < s.n_segments; i++) {
		struct fuzz_packet *from = find(p, n, w->iov[i + 1].iov_base);
		struct gso_segment seg;

		gso_split_segment(&s, i, &seg, segment);
		memcpy(segment + s.hdr_len, seg.payload, seg.payload_len);
		CHECK(from->len == s.hdr_len + seg.payload_len);
		CHECK(is_same(from->original, segment, from->len));
		CHECK(!from->is_back && (!previous || previous < from));
		from->is_back = true;
		previous = from;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static uint8_t pkt[MAX_LEN + 1];
	static struct fuzz_packet p[GRO_MAX_PACKETS];
	static struct gro_write writes[GRO_MAX_PACKETS];
	static struct gro gro;
	struct input in = { data, len };
	uint32_t pkt_len = 0, n = 0;
	uint8_t switches = take8(&in);

	memset(pkt, 0, sizeof(pkt));
	gro_init(&gro, !(switches & 1), !(switches & 2));
	while (in.len > 0 && n < GRO_MAX_PACKETS) {
		pkt_len = next_packet(&in, pkt, pkt_len);
		if (pkt_len == 0)
			break;
		p[n] = (struct fuzz_packet){ copy_of(pkt, pkt_len), copy_of(pkt, pkt_len), pkt_len,
					     false };
		CHECK(gro_add(&gro, p[n].given, pkt_len));
		n++;
	}
	uint32_t n_writes = gro_finish(&gro, writes, GRO_MAX_PACKETS);
	for (uint32_t i = 0; i < n_writes; i++)
		check_write(&writes[i], p, n);
	for (uint32_t i = 0; i < n; i++) {
		CHECK(p[i].is_back);
		free(p[i].original);
		free(p[i].given);
	}
	return 0;
}

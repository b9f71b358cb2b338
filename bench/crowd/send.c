/* SPDX-License-Identifier: MPL-2.0 */
/* Load from the connected peers in turn: IPv4 and UDP headers, the load generator's datagram
 * (bench/gen/PROTOCOL.md) as one flow, sealed in bursts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/cpu.h"
#include "crowd.h"
#include "crypto/aead.h"

enum {
	IP_LEN = 20,
	UDP_LEN = 8,
	HEADERS_LEN = IP_LEN + UDP_LEN,
	FLOWS = 2, /* a receiver of one flow would take only the first sender's datagrams */
	MARKERS = 5,
	MARKER_GAP_MS = 20,
	SOURCE_PORT = 5311,
	PREFILL_LEN = HEADERS_LEN + 64,
};

enum kind { KIND_WARM_UP, KIND_MEASURED, KIND_END };

struct sender {
	struct crowd *crowd;
	const struct crowd_load *load;
	const struct aead_impl *aead;
	uint32_t run;
	uint32_t next_peer;
	uint64_t n_errors;
	uint8_t inner[CROWD_BATCH][CROWD_DATAGRAM_MAX];
	uint8_t outer[CROWD_BATCH][CROWD_DATAGRAM_MAX];
};

static uint16_t ip_checksum(const uint8_t *header)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < IP_LEN; i += 2)
		sum += load_be16(header + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Writes the datagram numbered @number, or the end marker of a flow after so many datagrams of
 * all flows: they take turns. A whole inner packet; a marker is as long as all others. */
static void write_packet(const struct sender *s, uint8_t *p, uint32_t peer, enum kind kind,
			 uint64_t number, uint64_t now)
{
	const uint32_t udp_len = UDP_LEN + s->load->size;
	uint8_t *udp = p + IP_LEN, *data = p + HEADERS_LEN;

	memset(p, 0, PREFILL_LEN);
	p[0] = 0x45;
	store_be16(p + 2, (uint16_t)(IP_LEN + udp_len));
	p[8] = 64;
	p[9] = IPPROTO_UDP;
	store_be32(p + 12, CROWD_INNER_NET + peer);
	memcpy(p + 16, &s->load->to.sin_addr, 4);
	store_be16(p + 10, ip_checksum(p));
	store_be16(udp, SOURCE_PORT);
	memcpy(udp + 2, &s->load->to.sin_port, 2);
	store_be16(udp + 4, (uint16_t)udp_len); /* checksum 0: none */
	memcpy(data, "RTBG", 4);
	data[4] = (uint8_t)kind;
	store_be16(data + 6, FLOWS);
	store_be32(data + 8, s->run);
	store_be32(data + 12, (uint32_t)(number % FLOWS));
	store_be64(data + 16, number / FLOWS);
	store_be64(data + 24, now);
}

/* The next peer that is connected; there is at least one. */
static uint32_t next_peer(struct sender *s)
{
	uint32_t i;

	do {
		i = s->next_peer;
		s->next_peer = (i + 1) % s->crowd->n_peers;
	} while (!s->crowd->peer[i].is_answered);
	return i;
}

/* Sends @n datagrams numbered from @first. Returns how many the kernel took, or -errno. */
static int send_burst(struct sender *s, enum kind kind, uint64_t first, uint32_t n)
{
	const uint32_t plain_len = HEADERS_LEN + s->load->size;
	const uint32_t pad_len = ROUND_UP(plain_len, PADDING_MULTIPLE) - plain_len;
	struct aead_seal_job job[CROWD_BATCH];
	uint32_t peer[CROWD_BATCH], len[CROWD_BATCH];
	uint8_t *datagram[CROWD_BATCH];
	const uint64_t now = crowd_now_ns();

	for (uint32_t i = 0; i < n; i++) {
		peer[i] = next_peer(s);
		struct crowd_peer *p = &s->crowd->peer[peer[i]];

		write_packet(s, s->inner[i], peer[i], kind, first + i, now);
		const struct message_transport header = { le32(MESSAGE_TRANSPORT),
							  le32(p->remote_index), le64(p->counter) };
		memcpy(s->outer[i], &header, sizeof(header));
		datagram[i] = s->outer[i];
		len[i] = (uint32_t)sizeof(header) + plain_len + pad_len + AEAD_TAG_LEN;
		job[i] = (struct aead_seal_job){
			.key = p->sending_key,
			.counter = p->counter++,
			.in = { s->inner[i] },
			.in_len = { plain_len },
			.pad_len = pad_len,
			.out = s->outer[i] + sizeof(header),
		};
	}
	s->aead->seal_burst(job, n);
	return crowd_send_batch(s->crowd, peer, datagram, len, n);
}

/* How many are due now, at most a batch; sleeps until the first of them is. */
static uint32_t wait_due(const struct sender *s, uint64_t start, uint64_t sent)
{
	if (s->load->rate <= 0)
		return CROWD_BATCH;
	const double due = (double)(crowd_now_ns() - start) * 1e-9 * s->load->rate + 1;
	if ((double)sent < due)
		return (uint32_t)MIN(due - (double)sent + 1, CROWD_BATCH);
	const double gap_ns = ((double)sent - due + 1) / s->load->rate * 1e9;
	const struct timespec t = { 0, (long)MIN(gap_ns, 1e6) };
	(void)nanosleep(&t, NULL);
	return 0;
}

/* One phase at the load's rate. 0 or -errno. */
static int send_phase(struct sender *s, enum kind kind, double seconds, uint64_t *ret_n,
		      double *ret_seconds)
{
	const uint64_t start = crowd_now_ns(), end = start + (uint64_t)(seconds * 1e9);
	uint64_t sent = 0;

	while (crowd_now_ns() < end) {
		const uint32_t n = wait_due(s, start, sent);
		if (!n)
			continue;
		int r = send_burst(s, kind, sent, n);
		if (r == -ENOBUFS || r == -EAGAIN || r == -ECONNREFUSED)
			s->n_errors++;
		else if (r < 0)
			return r;
		else
			sent += (uint64_t)r;
	}
	*ret_n = sent;
	*ret_seconds = (double)(crowd_now_ns() - start) * 1e-9;
	return 0;
}

/* The receiver ends by these. Flow f sent every datagram whose number is f modulo FLOWS, so the
 * next of those numbers, divided, is how many. */
static int send_markers(struct sender *s, uint64_t n_sent)
{
	const struct timespec gap = { 0, MARKER_GAP_MS * (long)NSEC_PER_MSEC };

	for (int i = 0; i < MARKERS; i++) {
		int r = send_burst(s, KIND_END, n_sent, FLOWS);
		if (r < 0 && r != -ENOBUFS)
			return r;
		(void)nanosleep(&gap, NULL);
	}
	return 0;
}

int crowd_send(struct crowd *c, const struct crowd_load *load, struct crowd_sent *ret)
{
	struct sender *s CLEANUP(free_ptrp) = calloc(1, sizeof(*s));
	double warm_up_seconds;

	if (!s)
		return -ENOMEM;
	s->crowd = c;
	s->load = load;
	s->aead = aead_select(cpu_features());
	if (getrandom(&s->run, sizeof(s->run), 0) != (ssize_t)sizeof(s->run))
		return -EIO;
	int r = send_phase(s, KIND_WARM_UP, load->warm_up_sec, &ret->n_warm_up, &warm_up_seconds);
	if (r == 0)
		r = send_phase(s, KIND_MEASURED, load->duration_sec, &ret->n, &ret->seconds);
	if (r == 0)
		r = send_markers(s, ret->n);
	ret->n_errors = s->n_errors;
	return r;
}

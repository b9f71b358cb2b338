/* SPDX-License-Identifier: MPL-2.0 */
/* The way of packets from the TUN to the network. Planning appends cipher jobs and lays the
 * datagrams out one behind the other, so that equal ones to one place leave in one send. */
#include "datapath/tx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "crypto/secret.h"
#include "datapath/worker.h"
#include "packet/flow.h"
#include "packet/ip.h"

int tx_init(struct tx *tx)
{
	tx->out = aligned_alloc(4096, TX_OUT_LEN);
	tx->header = malloc(sizeof(*tx->header) * TX_MAX_JOBS);
	tx->icmp = malloc(sizeof(*tx->icmp) * TX_MAX_ICMP);
	return tx->out && tx->header && tx->icmp ? 0 : -ENOMEM;
}

void tx_finish(struct tx *tx)
{
	if (tx->header) /* plaintext headers */
		secret_wipe(tx->header, sizeof(*tx->header) * TX_MAX_JOBS);
	free(TAKE_PTR(tx->out));
	free(TAKE_PTR(tx->header));
	free(TAKE_PTR(tx->icmp));
}

size_t tx_memory(void)
{
	struct tx *tx;
	return TX_OUT_LEN + sizeof(*tx->header) * TX_MAX_JOBS + sizeof(*tx->icmp) * TX_MAX_ICMP;
}

static void drop(struct worker *w, struct peer *peer, enum drop_reason why, uint64_t n)
{
	drop_count(w->drops, why, n);
	if (peer)
		drop_count(&peer->drops, why, n);
}

static bool is_source_error(int error)
{
	return error == -EINVAL || error == -EADDRNOTAVAIL || error == -ENODEV ||
	       error == -ENETUNREACH || error == -EHOSTUNREACH;
}

/* P-347: the sticky source may be what the kernel does not like; once more without it. */
static void retry_without_source(struct worker *w)
{
	struct tx *tx = &w->tx;
	uint32_t n = 0;

	for (uint32_t i = 0; i < tx->n_runs; i++) {
		struct io_send *s = &tx->send[i];
		if (!is_source_error(s->result) || !endpoint_has_source(&tx->run[i].to))
			continue;
		endpoint_cell_clear_source(&tx->run[i].peer->endpoint, &tx->run[i].to);
		endpoint_clear_source(&tx->run[i].to);
		uint32_t done = s->n_sent * s->segment_len;
		atomic_fetch_add_explicit(&tx->run[i].peer->tx_bytes, done, memory_order_relaxed);
		s->data += done;
		s->len -= done;
		s->segment_len = (uint16_t)MIN(s->segment_len, s->len);
		w->io->ops->send_burst(w->io, s, 1);
		n++;
	}
	if (n > 0)
		w->io->ops->submit(w->io);
}

static void account_run(struct worker *w, const struct tx_run *run, const struct io_send *s,
			uint64_t now_ns)
{
	struct peer *peer = run->peer;
	uint32_t n_all = (s->len + s->segment_len - 1) / s->segment_len;

	if (s->n_sent > 0) {
		uint64_t bytes = s->n_sent == n_all ? s->len : s->n_sent * s->segment_len;
		atomic_fetch_add_explicit(&peer->tx_bytes, bytes, memory_order_relaxed);
		if (timers_data_sent(&peer->timers, now_ns, worker_jitter_ns(w)))
			device_call_attention(w->device, peer, ATTENTION_TIMER);
	}
	if (s->n_sent < n_all)
		drop(w, peer,
		     s->result == -EAGAIN || s->result == -ENOBUFS ? DROP_TX_SOCKET_FULL
								   : DROP_TX_SEND_FAILED,
		     n_all - s->n_sent);
	/* P-220; control resets the attempts and starts a handshake unless one just was */
	if (keypair_wants_rekey_after_send(&run->session->keypair, now_ns) &&
	    timers_may_initiate(&peer->timers, now_ns))
		device_call_attention(w->device, peer, ATTENTION_REKEY_SENT);
}

/* What was planned since the last call. Under a backlog idle workers get it, and we go on planning. */
static void seal(struct worker *w)
{
	struct tx *tx = &w->tx;
	const struct aead_seal_job *job = tx->job + tx->n_sealed;
	uint32_t n = tx->n_jobs - tx->n_sealed;

	tx->n_sealed = tx->n_jobs;
	if (tx->has_backlog && n >= TX_SEAL_JOBS && tx->n_batches < TX_MAX_BATCHES) {
		struct crypto_batch *b = &tx->batch[tx->n_batches];
		b->aead = w->aead;
		b->seal = job;
		b->open = NULL;
		b->n = n;
		if (worker_share(w, b)) {
			tx->n_batches++;
			return;
		}
	}
	w->aead->seal_burst(job, n);
}

/* All that was planned is sealed after this, whoever did it. */
static void finish_sealing(struct worker *w)
{
	struct tx *tx = &w->tx;

	seal(w);
	for (uint32_t i = 0; i < tx->n_batches; i++)
		crypto_pool_wait(w->pool, &tx->batch[i]);
	tx->n_batches = 0;
}

/* Seals and sends all that was planned. */
static void flush(struct worker *w, uint64_t now_ns)
{
	struct tx *tx = &w->tx;

	finish_sealing(w);
	TRACE3(tx_flush, w->index, tx->n_jobs, tx->n_runs);
	for (uint32_t i = 0; i < tx->n_runs; i++) {
		if (timers_authenticated_sent(&tx->run[i].peer->timers, now_ns))
			device_call_attention(w->device, tx->run[i].peer, ATTENTION_TIMER);
	}
	if (tx->n_runs > 0)
		w->io->ops->send_burst(w->io, tx->send, tx->n_runs);
	if (tx->n_icmp > 0)
		w->io->ops->write_burst(w->io, tx->icmp_write, tx->n_icmp);
	if (tx->n_runs > 0 || tx->n_icmp > 0)
		w->io->ops->submit(w->io);
	retry_without_source(w);
	for (uint32_t i = 0; i < tx->n_runs; i++)
		account_run(w, &tx->run[i], &tx->send[i], now_ns);
	tx->n_jobs = 0;
	tx->n_sealed = 0;
	tx->n_runs = 0;
	tx->n_icmp = 0;
	tx->out_len = 0;
}

/* P-320 to P-322: the sender learns that there is no way. */
static void answer_unreachable(struct worker *w, const struct io_packet *p, uint64_t now_ns)
{
	struct tx *tx = &w->tx;
	static struct virtio_net_hdr no_offload; /* all zero */

	if (tx->n_icmp == TX_MAX_ICMP)
		return;
	uint32_t len = icmp_unreachable(tx->icmp[tx->n_icmp], p->data, p->len);
	if (len == 0 || !icmp_limit_take(&tx->icmp_limit, now_ns))
		return;
	struct iovec *iov = tx->icmp_iov[tx->n_icmp];
	iov[0] = (struct iovec){ &no_offload, sizeof(no_offload) };
	iov[1] = (struct iovec){ tx->icmp[tx->n_icmp], len };
	tx->icmp_write[tx->n_icmp++] = (struct io_write){
		.iov = w->vnet_hdr ? iov : iov + 1,
		.n_iov = w->vnet_hdr ? 2 : 1,
	};
}

/* Adds the next datagram, @len bytes at the end of out, to the last run or begins one. */
static void add_to_run(struct tx *tx, const struct tx_run *want, uint8_t tos, uint32_t len)
{
	if (tx->n_runs > 0) {
		struct tx_run *run = &tx->run[tx->n_runs - 1];
		struct io_send *s = &tx->send[tx->n_runs - 1];
		if (run->session == want->session && s->tos == tos && !run->is_closed &&
		    len <= s->segment_len && s->len + len <= TX_RUN_LEN &&
		    run->n_segments < TX_RUN_SEGMENTS) {
			run->is_closed = len < s->segment_len;
			run->n_segments++;
			s->len += len;
			return;
		}
	}
	struct tx_run *run = &tx->run[tx->n_runs];
	struct io_send *s = &tx->send[tx->n_runs++];
	*run = *want;
	run->n_segments = 1;
	run->is_closed = false;
	*s = (struct io_send){ .data = tx->out + tx->out_len,
			       .len = len,
			       .segment_len = (uint16_t)len,
			       .tos = tos,
			       .to = &run->to };
}

/* Appends one datagram: message header, cipher job, place in a run. */
static void plan_datagram(struct worker *w, const struct tx_run *to, uint8_t tos, uint64_t counter,
			  const struct aead_seal_job *payload)
{
	struct tx *tx = &w->tx;
	const struct keypair *kp = &to->session->keypair;
	uint32_t len =
		payload->in_len[0] + payload->in_len[1] + payload->pad_len + TRANSPORT_OVERHEAD;

	add_to_run(tx, to, tos, len);
	struct message_transport *m = (struct message_transport *)(tx->out + tx->out_len);
	m->type = le32(MESSAGE_TRANSPORT);
	m->receiver_index = le32(kp->remote_index);
	m->counter = le64(counter);

	struct aead_seal_job *job = &tx->job[tx->n_jobs++];
	*job = *payload;
	job->key = kp->sending_key;
	job->counter = counter;
	job->out = tx->out + tx->out_len + sizeof(*m);
	tx->out_len += len;
	if (tx->n_jobs - tx->n_sealed >= TX_SEAL_JOBS)
		seal(w);
}

/* Gives a segment to the control thread, which keeps it until there is a session (P-240). */
static void hand_over(struct worker *w, struct peer *peer, const struct aead_seal_job *payload)
{
	struct device *d = w->device;
	uint32_t len = payload->in_len[0] + payload->in_len[1];
	struct staged_packet *p = staged_packet_create(&d->staged, peer, len);
	if (!p) {
		drop(w, peer, DROP_TX_STAGED_FULL, 1);
		return;
	}
	if (payload->in_len[0])
		memcpy(p->data, payload->in[0], payload->in_len[0]);
	if (payload->in_len[1])
		memcpy(p->data + payload->in_len[0], payload->in[1], payload->in_len[1]);
	/* before the push: control counts down when it has dealt with the packet */
	atomic_fetch_add_explicit(&peer->n_handed_over, 1, memory_order_relaxed);
	struct note note = { .kind = NOTE_STAGED, .staged = p };
	if (!mailbox_push(device_control_mailbox(d), w->index, note)) {
		atomic_fetch_sub_explicit(&peer->n_handed_over, 1, memory_order_relaxed);
		staged_packet_destroy(&d->staged, p);
		drop(w, peer, DROP_TX_STAGED_FULL, 1);
		return;
	}
	w->tx.handed_over = true;
}

/* The session to send with now, or NULL: the packet goes to the control thread. Packets that were
 * handed over before must leave first, so this one has to queue behind them. */
static struct session *usable_session(struct peer *peer, uint64_t now_ns)
{
	struct session *s = rcu_read(&peer->current);
	if (UNLIKELY(!s || !keypair_may_send(&s->keypair, now_ns)))
		return NULL;
	if (UNLIKELY(atomic_load_explicit(&peer->n_handed_over, memory_order_relaxed) != 0 &&
		     now_ns < atomic_load_explicit(&peer->flush_until_ns, memory_order_relaxed)))
		return NULL;
	return s;
}

/* How many segments of at most @max_len bytes each still fit before a flush. */
static uint32_t room(const struct tx *tx, uint32_t max_len)
{
	uint32_t by_len = (TX_OUT_LEN - tx->out_len) / (max_len + 15 + TRANSPORT_OVERHEAD);
	return MIN(by_len, (uint32_t)TX_MAX_JOBS - tx->n_jobs);
}

/* Segment @i of @s as the plaintext of a cipher job; the header goes to the next job's place. */
static struct aead_seal_job segment_payload(struct worker *w, const struct gso_split *s, uint32_t i,
					    uint32_t mtu)
{
	struct gso_segment seg;
	uint8_t *hdr = w->tx.header[w->tx.n_jobs];

	gso_split_segment(s, i, &seg, hdr);
	uint32_t len = s->hdr_len + seg.payload_len;
	if (s->hdr_len == 0) /* nothing was rewritten: one slice */
		return (struct aead_seal_job){
			.in = { seg.payload, NULL },
			.in_len = { seg.payload_len, 0 },
			.pad_len = padding_len(len, mtu),
		};
	return (struct aead_seal_job){
		.in = { hdr, seg.payload },
		.in_len = { s->hdr_len, seg.payload_len },
		.pad_len = padding_len(len, mtu),
	};
}

static void send_segments(struct worker *w, struct tx_run *to, const struct gso_split *s,
			  uint8_t tos, uint64_t now_ns)
{
	uint32_t mtu = atomic_load_explicit(&w->device->mtu, memory_order_relaxed);
	uint32_t max_len = s->hdr_len + s->mss;

	for (uint32_t i = 0; i < s->n_segments;) {
		uint32_t n = MIN(room(&w->tx, max_len), s->n_segments - i);
		uint64_t counter;
		if (n == 0) {
			flush(w, now_ns);
			continue;
		}
		to->session = usable_session(to->peer, now_ns);
		if (!to->session || !keypair_take_counters(&to->session->keypair, n, &counter)) {
			for (; i < s->n_segments; i++) {
				struct aead_seal_job job = segment_payload(w, s, i, mtu);
				hand_over(w, to->peer, &job);
			}
			return;
		}
		for (uint32_t end = i + n; i < end; i++) {
			struct aead_seal_job job = segment_payload(w, s, i, mtu);
			plan_datagram(w, to, tos, counter++, &job);
		}
	}
}

/* The peer a packet is for; NULL: it was dropped. */
static struct peer *route(struct worker *w, const struct io_packet *p, struct ip_view *ret_ip,
			  uint64_t now_ns)
{
	if (!ip_view(ret_ip, p->data, p->len)) { /* P-267 */
		drop(w, NULL, DROP_TX_MALFORMED, 1);
		return NULL;
	}
	struct allowedips_owner *o =
		ret_ip->version == 4 ? allowedips_lookup4(&w->device->allowedips, ret_ip->dst)
				     : allowedips_lookup6(&w->device->allowedips, ret_ip->dst);
	if (!o) { /* P-281 */
		drop(w, NULL, DROP_TX_NO_PEER, 1);
		answer_unreachable(w, p, now_ns);
		return NULL;
	}
	return peer_of_prefixes(o);
}

static void send_packet(struct worker *w, struct io_packet *p, const struct tx_route *r,
			uint64_t now_ns)
{
	struct gso_split split;
	struct tx_run to = { .peer = r->peer };

	endpoint_cell_get(&to.peer->endpoint, &to.to);
	if (!endpoint_is_set(&to.to)) {
		drop(w, to.peer, DROP_TX_NO_ENDPOINT, 1);
		answer_unreachable(w, p, now_ns);
		return;
	}
	uint8_t tos = ip_ecn_encap(r->ds_field);
	if (gso_split_init(&split, &p->vnet, p->data, p->len) < 0) {
		drop(w, to.peer, DROP_TX_MALFORMED, 1);
		return;
	}
	uint32_t len = split.hdr_len + split.mss;
	uint32_t mtu = atomic_load_explicit(&w->device->mtu, memory_order_relaxed);
	if (len + padding_len(len, mtu) + TRANSPORT_OVERHEAD > TX_RUN_LEN) { /* no datagram */
		drop(w, to.peer, DROP_TX_SEND_FAILED, split.n_segments);
		return;
	}
	send_segments(w, &to, &split, tos, now_ns);
}

/* Finds the peers of a burst before the first packet is sent: with many peers each of them is a few
 * cache misses, which so overlap. */
static void route_burst(struct worker *w, uint32_t n, uint64_t now_ns)
{
	struct tx *tx = &w->tx;
	struct ip_view ip;

	for (uint32_t i = 0; i < n; i++) {
		struct peer *peer = route(w, &tx->packet[i], &ip, now_ns);
		tx->route[i].peer = peer;
		if (!peer)
			continue;
		tx->route[i].ds_field = ip.ds_field;
		__builtin_prefetch(&peer->current);
		__builtin_prefetch(&peer->endpoint);
	}
	for (uint32_t i = 0; n > 1 && i < n; i++) {
		struct session *s = tx->route[i].peer ? rcu_read(&tx->route[i].peer->current)
						      : NULL;
		if (!s)
			continue;
		__builtin_prefetch(&s->keypair.sending_key);
		__builtin_prefetch(&s->keypair.local_index);
		__builtin_prefetch(&s->keypair.send_counter);
		__builtin_prefetch(&tx->route[i].peer->timers);
	}
}

static bool is_bulk(const struct tx *tx, const uint32_t *flow, uint32_t n, uint32_t id)
{
	for (uint32_t i = 0; i < n; i++)
		if (flow[i] == id && tx->packet[i].vnet.gso_type != VIRTIO_NET_HDR_GSO_NONE)
			return true;
	return false;
}

/* Under a backlog, packets of flows that have no super-packet in this burst leave first: the reply to
 * a ping or an acknowledgement need not wait until some hundred thousand bytes are sealed. Within a
 * flow order stays; so where a packet's flow is not certain, everything keeps its place. */
static void send_sparse(struct worker *w, uint32_t n, uint64_t now_ns)
{
	struct tx *tx = &w->tx;
	uint32_t flow[TX_READ_BURST];
	bool has_sent = false;

	for (uint32_t i = 0; i < n; i++) {
		flow[i] = 1; /* dropped: nobody's */
		if (tx->route[i].peer)
			flow[i] = flow_id(tx->packet[i].data, tx->packet[i].len);
		if (flow[i] == 0)
			return;
	}
	for (uint32_t i = 0; i < n; i++) {
		if (!tx->route[i].peer || is_bulk(tx, flow, n, flow[i]))
			continue;
		send_packet(w, &tx->packet[i], &tx->route[i], now_ns);
		tx->route[i].peer = NULL;
		has_sent = true;
	}
	if (has_sent)
		flush(w, now_ns);
}

uint32_t tx_step(struct worker *w, uint64_t now_ns)
{
	struct tx *tx = &w->tx;
	uint32_t n = w->io->ops->read_burst(w->io, tx->packet, TX_READ_BURST);

	if (n == 0)
		return 0;
	uint64_t len = 0;
	for (uint32_t i = 0; i < n; i++)
		len += tx->packet[i].len;
	tx->has_backlog = len > TX_BACKLOG_LEN;
	priority_count(&w->priority, n, len);
	route_burst(w, n, now_ns);
	if (tx->has_backlog)
		send_sparse(w, n, now_ns);
	for (uint32_t i = 0; i < n; i++)
		if (tx->route[i].peer)
			send_packet(w, &tx->packet[i], &tx->route[i], now_ns);
	flush(w, now_ns);
	if (tx->handed_over) {
		tx->handed_over = false;
		w->device->wake_control(w->device->wake_ctx);
	}
	return n;
}

/* SPDX-License-Identifier: MPL-2.0 */
/* The way of messages from the network to the TUN. Messages are collected over a receive burst,
 * opened together, and then taken one by one in the order of their arrival (P-147, P-148). */
#include "datapath/rx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "crypto/secret.h"
#include "datapath/worker.h"
#include "io/io_stats.h"
#include "packet/gso.h"
#include "packet/ip.h"
#include "udp/udp.h"

enum { SCRATCH_LEN = 65536 };

int rx_init(struct rx *rx, bool gro_tcp, bool gro_udp)
{
	gro_init(&rx->gro, gro_tcp, gro_udp);
	rx->scratch = malloc(SCRATCH_LEN);
	return rx->scratch ? 0 : -ENOMEM;
}

void rx_finish(struct rx *rx)
{
	for (uint32_t i = 0; i < rx->n_forwarded; i++)
		forwarded_destroy(rx->forwarded[i]);
	if (rx->scratch)
		secret_wipe(rx->scratch, SCRATCH_LEN);
	free(TAKE_PTR(rx->scratch));
}

size_t rx_memory(void)
{
	return SCRATCH_LEN;
}

static void drop(struct worker *w, struct peer *peer, enum drop_reason why, uint64_t n)
{
	drop_count(w->drops, why, n);
	if (peer)
		drop_count(&peer->drops, why, n);
}

/* One packet to the TUN, complete and without offloads. */
static int write_single(struct worker *w, const uint8_t *hdr, uint32_t hdr_len,
			const struct gso_segment *seg)
{
	static struct virtio_net_hdr no_offload; /* all zero */
	struct iovec iov[3] = {
		{ &no_offload, sizeof(no_offload) },
		{ (void *)(uintptr_t)hdr, hdr_len },
		{ (void *)(uintptr_t)seg->payload, seg->payload_len },
	};
	struct iovec *first = hdr_len ? &iov[1] : &iov[2];
	if (w->vnet_hdr) {
		*--first = iov[0];
	}
	struct io_write wr = { .iov = first, .n_iov = (uint32_t)(&iov[3] - first) };

	w->io->ops->write_burst(w->io, &wr, 1);
	w->io->ops->submit(w->io);
	return wr.result;
}

/* Whether the kernel may have meant that it is a super-packet, and not the packets as such. */
static bool may_mean_offload(int result)
{
	return result == -EINVAL || result == -EIO || result == -EMSGSIZE || result == -EOPNOTSUPP;
}

/* The kernel refuses this super-packet (some kernels do, PITFALLS row 46) with @result: its packets go
 * one by one, and from now on all do if that works. */
static void write_split(struct worker *w, const struct gro_write *gw, int result)
{
	struct rx *rx = &w->rx;
	uint32_t len = 0, n_written = 0;
	struct gso_split split;

	for (uint32_t i = 1; i < gw->n_iov; i++) {
		memcpy(rx->scratch + len, gw->iov[i].iov_base, gw->iov[i].iov_len);
		len += (uint32_t)gw->iov[i].iov_len;
	}
	bool can_split = gso_split_init(&split, gw->iov[0].iov_base, rx->scratch, len) == 0;
	for (uint32_t i = 0; can_split && i < split.n_segments; i++) { /* always: we coalesced it */
		uint8_t hdr[GSO_MAX_HEADER];
		struct gso_segment seg;
		gso_split_segment(&split, i, &seg, hdr);
		n_written += write_single(w, hdr, split.hdr_len, &seg) >= 0;
	}
	if (n_written < gw->n_segments)
		drop(w, NULL, DROP_RX_TUN_FAILED, gw->n_segments - n_written);
	io_stat_add(&w->stats.write_fallbacks, 1);
	if (n_written == 0) /* the interface is down, for example */
		return;
	rx->gro.tcp = false;
	rx->gro.udp = false;
	atomic_store_explicit(&w->stats.write_error, -result, memory_order_relaxed);
}

/* Writes what was coalesced so far, and makes ready for more. */
static void write_tun(struct worker *w)
{
	struct rx *rx = &w->rx;
	uint32_t n = gro_finish(&rx->gro, rx->gro_write, GRO_MAX_PACKETS);

	for (uint32_t i = 0; i < n; i++) {
		const struct gro_write *gw = &rx->gro_write[i];
		uint32_t skip = w->vnet_hdr ? 0 : 1;
		rx->write[i] =
			(struct io_write){ .iov = gw->iov + skip, .n_iov = gw->n_iov - skip };
	}
	if (n > 0) {
		w->io->ops->write_burst(w->io, rx->write, n);
		w->io->ops->submit(w->io);
	}
	for (uint32_t i = 0; i < n; i++) {
		if (LIKELY(rx->write[i].result == 0))
			continue;
		if (may_mean_offload(rx->write[i].result) && rx->gro_write[i].n_segments > 1)
			write_split(w, &rx->gro_write[i], rx->write[i].result);
		else
			drop(w, NULL, DROP_RX_TUN_FAILED, rx->gro_write[i].n_segments);
	}
	gro_begin(&rx->gro);
}

/* The inner packet of an authenticated message: P-262 to P-265, P-282, P-302. Returns the bytes that
 * count as received (P-420), 0 if it was dropped. */
static uint32_t deliver(struct worker *w, struct peer *peer, const struct aead_open_job *job,
			uint8_t tos)
{
	uint32_t plain_len = job->in_len - AEAD_TAG_LEN;
	uint32_t len = ip_inner_len(job->out, plain_len);
	struct ip_view ip;

	if (len == 0 || !ip_view(&ip, job->out, len)) {
		drop(w, peer, DROP_RX_BAD_INNER, 1);
		return 0;
	}
	struct allowedips_owner *o = ip.version == 4
					     ? allowedips_lookup4(&w->device->allowedips, ip.src)
					     : allowedips_lookup6(&w->device->allowedips, ip.src);
	if (!o || peer_of_prefixes(o) != peer) {
		drop(w, peer, DROP_RX_NOT_ALLOWED, 1);
		return 0;
	}
	ip_ecn_decap(job->out, tos);
	if (!gro_add(&w->rx.gro, job->out, len)) {
		write_tun(w);
		(void)gro_add(&w->rx.gro, job->out, len); /* an empty table takes it */
	}
	return plain_len + TRANSPORT_OVERHEAD;
}

/* The first message on a responder's session (P-173). While we hold an older session that we could
 * send with, the change must be in force before the packet reaches the TUN: its answer comes at once,
 * and the peer may know the new session only. Otherwise packets wait at the control thread, which
 * sends them before it makes the session current. */
static void confirm(struct session *s, uint64_t now_ns)
{
	struct peer *peer = s->entry.peer;
	struct session *current = rcu_read(&peer->current);
	struct session *claimed = s;

	/* acq_rel: pairs with withdraw_next() in control/sessions.c */
	if (current && keypair_may_send(&current->keypair, now_ns) &&
	    atomic_compare_exchange_strong(&peer->promotable, &claimed, NULL))
		rcu_publish(&peer->current, s);
}

/* What a run of authenticated messages of one session means for its peer. Comes before the packets
 * reach the TUN, so that an answer to them finds the new endpoint and session. */
static void note_received(struct worker *w, struct session *s, const struct endpoint *from,
			  bool has_data, uint64_t now_ns)
{
	struct peer *peer = s->entry.peer;
	uint32_t call = 0;

	(void)endpoint_cell_update(&peer->endpoint, from); /* P-340 */
	if (UNLIKELY(atomic_load_explicit(&s->keypair.is_unconfirmed, memory_order_relaxed)) &&
	    atomic_exchange_explicit(&s->keypair.is_unconfirmed, false, memory_order_relaxed)) {
		confirm(s, now_ns);
		call |= ATTENTION_CONFIRMED;
	}
	if (timers_authenticated_received(&peer->timers, now_ns))
		call |= ATTENTION_TIMER;
	if (has_data && timers_data_received(&peer->timers, now_ns))
		call |= ATTENTION_TIMER;

	struct session *current = rcu_read(&peer->current); /* P-226 */
	if (current && keypair_wants_rekey_after_receive(&current->keypair, now_ns) &&
	    !atomic_load_explicit(&peer->timers.sent_last_minute_handshake, memory_order_relaxed) &&
	    !atomic_exchange_explicit(&peer->timers.sent_last_minute_handshake, true,
				      memory_order_relaxed))
		call |= ATTENTION_REKEY_RECEIVED;
	if (call)
		device_call_attention(w->device, peer, call);
}

/* Marks messages from @i on that belong to one session and came from one place as received or not
 * (job.ok); returns the index behind them. */
static uint32_t accept_run(struct worker *w, uint32_t i, uint64_t now_ns)
{
	struct rx *rx = &w->rx;
	struct session *s = rx->message[i].session;
	const struct endpoint *from = rx->message[i].from;
	uint32_t n_accepted = 0, n_bad = 0, n_replayed = 0;
	bool has_data = false;

	for (; i < rx->n_jobs && rx->message[i].session == s && rx->message[i].from == from; i++) {
		struct aead_open_job *job = &rx->job[i];
		if (UNLIKELY(!job->ok)) {
			n_bad++;
			continue;
		}
		job->ok = replay_accept(&s->keypair.replay, rx->message[i].counter); /* P-143 */
		if (UNLIKELY(!job->ok)) {
			n_replayed++;
			continue;
		}
		n_accepted++;
		has_data |= job->in_len > AEAD_TAG_LEN;
	}
	if (UNLIKELY(n_bad))
		drop(w, s->entry.peer, DROP_RX_BAD_TAG, n_bad);
	if (UNLIKELY(n_replayed))
		drop(w, s->entry.peer, DROP_RX_REPLAY, n_replayed);
	if (LIKELY(n_accepted))
		note_received(w, s, from, has_data, now_ns);
	return i;
}

/* Opens all jobs, half of them on an idle worker if there are many. */
static void open_all(struct worker *w)
{
	struct rx *rx = &w->rx;
	uint32_t n = rx->n_jobs;

	if (n >= RX_SHARE_JOBS) {
		struct crypto_batch b = { .aead = w->aead,
					  .open = rx->job + n / 2,
					  .n = n - n / 2 };
		if (worker_share(w, &b)) {
			w->aead->open_burst(rx->job, n / 2);
			crypto_pool_wait(w->pool, &b);
			return;
		}
	}
	w->aead->open_burst(rx->job, n);
}

/* Opens and delivers everything that was collected. */
static void process(struct worker *w, uint64_t now_ns)
{
	struct rx *rx = &w->rx;

	open_all(w);
	TRACE2(rx_open, w->index, rx->n_jobs);
	gro_begin(&rx->gro);
	for (uint32_t i = 0; i < rx->n_jobs;) {
		uint32_t end = accept_run(w, i, now_ns);
		struct peer *peer = rx->message[i].session->entry.peer;
		uint64_t bytes = 0;
		for (; i < end; i++) {
			if (!rx->job[i].ok)
				continue;
			if (rx->job[i].in_len == AEAD_TAG_LEN)
				bytes += TRANSPORT_OVERHEAD; /* keepalive */
			else
				bytes += deliver(w, peer, &rx->job[i], rx->message[i].tos);
		}
		if (bytes)
			atomic_fetch_add_explicit(&peer->rx_bytes, bytes, memory_order_relaxed);
	}
	write_tun(w);
	for (uint32_t i = 0; i < rx->n_forwarded; i++)
		forwarded_destroy(rx->forwarded[i]);
	rx->n_forwarded = 0;
	rx->n_jobs = 0;
}

/* Hands a message to the thread that owns it. */
static void forward(struct worker *w, uint32_t to, const uint8_t *data, uint32_t len,
		    const struct io_datagram *d)
{
	struct device *dev = w->device;
	struct forwarded *f = forwarded_create(&dev->forwarded, data, len, &d->from, d->tos);
	struct note note = { .kind = NOTE_FORWARDED, .forwarded = f };

	if (!f || !mailbox_push(&dev->mailbox[to], w->index, note)) {
		forwarded_destroy(f);
		drop(w, NULL, DROP_RX_FORWARD_FULL, 1);
		return;
	}
	if (to == dev->n_workers)
		w->rx.handed_over = true;
	else
		dev->wake_worker(dev->wake_ctx, to);
}

static void collect_transport(struct worker *w, uint8_t *data, uint32_t len,
			      const struct io_datagram *d, uint64_t now_ns)
{
	struct rx *rx = &w->rx;
	const struct message_transport *m = (const struct message_transport *)data;
	struct index_entry *e =
		index_table_lookup(&w->device->indices, le32_get(m->receiver_index));

	if (UNLIKELY(!e || !e->session)) { /* P-092 */
		drop(w, NULL, DROP_RX_UNKNOWN_INDEX, 1);
		return;
	}
	if (UNLIKELY(!keypair_may_receive(&e->session->keypair, now_ns))) { /* P-142 */
		drop(w, e->peer, DROP_RX_EXPIRED, 1);
		return;
	}
	/* used when the burst is opened and delivered */
	__builtin_prefetch(&e->session->keypair.replay);
	__builtin_prefetch(&e->peer->timers);
	uint64_t counter = le64_get(m->counter);
	uint32_t n = rx->n_jobs++;
	rx->message[n] = (struct rx_message){
		.session = e->session, .from = &d->from, .counter = counter, .tos = d->tos
	};
	rx->job[n] = (struct aead_open_job){ .key = e->session->keypair.receiving_key,
					     .counter = counter,
					     .in = data + sizeof(*m),
					     .in_len = len - (uint32_t)sizeof(*m),
					     .out = data + sizeof(*m) };
	if (rx->n_jobs == RX_MAX_JOBS)
		process(w, now_ns);
}

/* One message, wherever it came from. Steering brings us what is ours, but not always: the kernel's GRO
 * may glue a message of another kind or session behind one of ours. */
static void collect(struct worker *w, uint8_t *data, uint32_t len, const struct io_datagram *d,
		    uint64_t now_ns)
{
	enum message_type type = message_classify(data, len); /* P-034 */

	if (UNLIKELY(type == MESSAGE_INVALID)) {
		drop(w, NULL, DROP_RX_MALFORMED, 1);
		return;
	}
	if (UNLIKELY(type != MESSAGE_TRANSPORT)) {
		forward(w, w->device->n_workers, data, len, d);
		return;
	}
	uint32_t owner = udp_steer(data + offsetof(struct message_transport, receiver_index),
				   w->device->n_workers);
	if (LIKELY(owner == w->index))
		collect_transport(w, data, len, d, now_ns);
	else
		forward(w, owner, data, len, d);
}

static void wake_control_if_needed(struct worker *w)
{
	if (!w->rx.handed_over)
		return;
	w->rx.handed_over = false;
	w->device->wake_control(w->device->wake_ctx);
}

uint32_t rx_step(struct worker *w, uint64_t now_ns)
{
	struct rx *rx = &w->rx;
	uint32_t n = w->io->ops->recv_burst(w->io, rx->datagram, RX_RECV_BURST);

	for (uint32_t i = 0; i < n; i++) {
		struct io_datagram *d = &rx->datagram[i];
		priority_count(&w->priority, 1, d->len);
		if (UNLIKELY(d->len == 0))
			drop(w, NULL, DROP_RX_MALFORMED, 1);
		for (uint32_t off = 0; off < d->len; off += d->segment_len)
			collect(w, d->data + off, MIN(d->segment_len, d->len - off), d, now_ns);
	}
	if (rx->n_jobs > 0)
		process(w, now_ns);
	wake_control_if_needed(w);
	return n;
}

uint32_t rx_forwarded_step(struct worker *w, uint64_t now_ns)
{
	struct rx *rx = &w->rx;
	struct mailbox *m = &w->device->mailbox[w->index];
	struct io_datagram d[RX_RECV_BURST]; /* lives until the messages are processed */
	uint32_t n = 0;
	struct note note;

	if (LIKELY(!mailbox_has_news(m)))
		return 0;
	for (; n < RX_RECV_BURST && mailbox_pop(m, &note); n++) {
		struct forwarded *f = note.forwarded;
		d[n] = (struct io_datagram){ .from = f->from, .tos = f->tos };
		rx->forwarded[rx->n_forwarded++] = f;
		collect(w, f->data, f->len, &d[n], now_ns);
	}
	if (rx->n_jobs > 0)
		process(w, now_ns);
	for (uint32_t i = 0; i < rx->n_forwarded; i++) /* none was worth processing */
		forwarded_destroy(rx->forwarded[i]);
	rx->n_forwarded = 0;
	wake_control_if_needed(w);
	return n;
}

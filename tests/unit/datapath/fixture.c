/* SPDX-License-Identifier: MPL-2.0 */
/* A device with workers and an engine in memory. */
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/secret.h"
#include "protocol/no_kernel.h"

static uint32_t io_recv(struct io *io, struct io_datagram *d, uint32_t n)
{
	struct fixture_io *x = container_of(io, struct fixture_io, io);

	x->n_recvs++;
	cr_assert(le(u32, x->n_datagrams, n));
	n = x->n_datagrams;
	memcpy(d, x->datagram, n * sizeof(*d));
	x->n_datagrams = 0;
	return n;
}

static uint32_t io_read(struct io *io, struct io_packet *p, uint32_t n)
{
	struct fixture_io *x = container_of(io, struct fixture_io, io);

	x->n_reads++;
	cr_assert(le(u32, x->n_packets, n));
	n = x->n_packets;
	memcpy(p, x->packet, n * sizeof(*p));
	x->n_packets = 0;
	return n;
}

static void io_send(struct io *io, struct io_send *s, uint32_t n)
{
	struct fixture_io *x = container_of(io, struct fixture_io, io);

	x->n_send_calls++;
	for (uint32_t i = 0; i < n; i++) {
		cr_assert(s[i].segment_len > 0 && s[i].len <= 65507);
		uint32_t n_all = (s[i].len + s[i].segment_len - 1) / s[i].segment_len;
		int error = x->send_error                  ? x->send_error
			    : endpoint_has_source(s[i].to) ? x->source_error
							   : 0;
		s[i].result = error;
		s[i].n_sent = error ? MIN(x->n_sent_before, n_all) : n_all;
		if (error)
			continue;
		cr_assert(lt(u32, x->n_sends, FIXTURE_MAX_SENDS));
		struct fixture_send *out = &x->send[x->n_sends++];
		*out = (struct fixture_send){ .data = malloc(s[i].len),
					      .len = s[i].len,
					      .segment_len = s[i].segment_len,
					      .tos = s[i].tos,
					      .call = x->n_send_calls,
					      .to = *s[i].to };
		memcpy(out->data, s[i].data, s[i].len);
	}
}

static bool is_super_packet(const struct io_write *w)
{
	const struct virtio_net_hdr *vnet = w->iov[0].iov_base;
	return w->iov[0].iov_len == sizeof(*vnet) && vnet->gso_type != 0;
}

static void io_write(struct io *io, struct io_write *w, uint32_t n)
{
	struct fixture_io *x = container_of(io, struct fixture_io, io);

	x->n_write_calls++;
	for (uint32_t i = 0; i < n; i++) {
		w[i].result = is_super_packet(&w[i]) ? x->write_error : x->single_write_error;
		if (w[i].result < 0)
			continue;
		cr_assert(lt(u32, x->n_writes, FIXTURE_MAX_WRITES));
		struct fixture_write *out = &x->write[x->n_writes++];
		*out = (struct fixture_write){ .data = malloc(FIXTURE_MAX_LEN),
					       .n_iov = w[i].n_iov,
					       .call = x->n_write_calls };
		for (uint32_t k = 0; k < w[i].n_iov; k++) {
			memcpy(out->data + out->len, w[i].iov[k].iov_base, w[i].iov[k].iov_len);
			out->len += (uint32_t)w[i].iov[k].iov_len;
		}
	}
}

static const struct io_ops io_ops = {
	.name = "fixture",
	NO_KERNEL_IO,
	.wait = no_io_wait,
	.recv_burst = io_recv,
	.read_burst = io_read,
	.send_burst = io_send,
	.write_burst = io_write,
};

static void wake_control(void *ctx)
{
	((struct fixture *)ctx)->n_control_woken++;
}

static void wake_worker(void *ctx, uint32_t worker)
{
	((struct fixture *)ctx)->n_worker_woken[worker]++;
}

static void init_worker(struct fixture *f, uint32_t i, bool vnet_hdr)
{
	struct worker *w = aligned_alloc(CACHELINE, ROUND_UP(sizeof(*w), CACHELINE));

	memset(w, 0, sizeof(*w));
	cr_assert(eq(int,
		     worker_init(w, &(struct worker_params){ .device = &f->device,
							     .aead = aead_select(0),
							     .index = i,
							     .tun_fd = -1,
							     .wake_fd = -1,
							     .vnet_hdr = vnet_hdr,
							     .gro_tcp = vnet_hdr,
							     .gro_udp = vnet_hdr }),
		     0));
	f->io[i].io.ops = &io_ops;
	w->io = &f->io[i].io;
	f->worker[i] = w;
}

static void init_peer(struct fixture *f)
{
	static const uint8_t key[32] = { 1 };
	struct allowedips_prefix prefix = { .addr = { 10, 0, 0, 1 }, .len = 32 };
	struct session_keys keys = { .remote_index = REMOTE_INDEX, .is_initiator = true };
	struct endpoint e = { 0 };

	uint8_t wire[4];
	store_be32(wire, LOCAL_INDEX); /* steering takes it in network order (udp_steer()) */
	keys.local_index = load_le32(wire);
	f->peer = device_add_peer(&f->device, key);
	cr_assert(eq(int, allowedips_insert(&f->device.allowedips, &prefix, &f->peer->allowed), 0));
	e.to.in4.sin_family = AF_INET;
	e.to.in4.sin_port = 1234;
	endpoint_cell_set(&f->peer->endpoint, &e);
	memset(f->sending_key, 0x11, 32);
	memset(f->receiving_key, 0x22, 32);
	memcpy(keys.sending, f->sending_key, 32);
	memcpy(keys.receiving, f->receiving_key, 32);
	f->session = session_create(&f->device.session_pool, f->peer, &keys, NOW_NS - NSEC_PER_SEC);
	cr_assert(index_table_insert(&f->device.indices, &f->session->entry));
	rcu_publish(&f->peer->current, f->session);
}

void fixture_init(struct fixture *f, uint32_t n_workers, bool vnet_hdr)
{
	rcu_thread_register();
	cr_assert(eq(int, crypto_init(), 0));
	cr_assert(eq(int,
		     device_init(&f->device, &(struct device_params){ .n_workers = n_workers,
								      .wake_control = wake_control,
								      .wake_worker = wake_worker,
								      .wake_ctx = f }),
		     0));
	for (uint32_t i = 0; i < n_workers; i++)
		init_worker(f, i, vnet_hdr);
	init_peer(f);
}

void fixture_forget(struct fixture_io *io)
{
	for (uint32_t i = 0; i < io->n_sends; i++)
		free(io->send[i].data);
	for (uint32_t i = 0; i < io->n_writes; i++)
		free(io->write[i].data);
	io->n_sends = 0;
	io->n_send_calls = 0;
	io->n_writes = 0;
	io->n_write_calls = 0;
}

static void discard(void *ctx, struct note note)
{
	struct fixture *f = ctx;

	if (note.kind == NOTE_STAGED)
		staged_packet_destroy(&f->device.staged, note.staged);
	else
		forwarded_destroy(note.forwarded);
}

void fixture_finish(struct fixture *f)
{
	for (uint32_t i = 0; i < f->device.n_workers; i++) {
		worker_finish(f->worker[i]);
		free(f->worker[i]);
		fixture_forget(&f->io[i]);
	}
	mailbox_drain(device_control_mailbox(&f->device), discard, f);
	cr_assert(eq(u64, atomic_load(&f->device.staged.used), 0));
	session_retire(f->session, &f->device.indices);
	device_remove_peer(&f->device, f->peer);
	rcu_flush();
	device_free_peer(&f->device, f->peer);
	device_finish(&f->device);
	rcu_thread_unregister();
}

void fixture_packet(uint8_t *buf, uint32_t len, uint8_t src, uint8_t dst, uint8_t tos)
{
	for (uint32_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(i * 7);
	memset(buf, 0, MIN(len, 20U));
	buf[0] = 0x45;
	buf[1] = tos;
	store_be16(buf + 2, (uint16_t)len);
	buf[8] = 64;
	buf[9] = 253; /* experimental */
	store_be32(buf + 12, 0x0a000000 + src);
	store_be32(buf + 16, 0x0a000000 + dst);
}

void fixture_queue_packet(struct fixture *f, uint8_t *data, uint32_t len)
{
	f->io[0].packet[f->io[0].n_packets++] = (struct io_packet){ .data = data, .len = len };
}

uint32_t fixture_seal(const struct fixture *f, uint64_t counter, const uint8_t *plain, uint32_t len,
		      uint8_t *ret)
{
	struct message_transport *m = (struct message_transport *)ret;

	m->type = le32(MESSAGE_TRANSPORT);
	m->receiver_index = le32(f->session->keypair.local_index);
	m->counter = le64(counter);
	aead_select(0)->seal_burst(&(struct aead_seal_job){ .key = f->receiving_key,
							    .counter = counter,
							    .in = { plain, NULL },
							    .in_len = { len, 0 },
							    .out = ret + sizeof(*m) },
				   1);
	return len + TRANSPORT_OVERHEAD;
}

void fixture_queue_datagram(struct fixture *f, uint32_t worker, uint8_t *data, uint32_t len,
			    uint32_t segment_len, uint8_t tos)
{
	struct fixture_io *x = &f->io[worker];
	struct io_datagram *d = &x->datagram[x->n_datagrams++];

	*d = (struct io_datagram){
		.data = data, .len = len, .segment_len = segment_len, .tos = tos
	};
	endpoint_cell_get(&f->peer->endpoint, &d->from);
}

int32_t fixture_open(const struct fixture *f, uint32_t send, uint32_t i, uint64_t counter,
		     uint8_t *ret)
{
	const struct fixture_send *s = &f->io[0].send[send];
	const uint8_t *d = s->data + i * s->segment_len;
	uint32_t len = MIN(s->len - i * s->segment_len, s->segment_len);
	struct aead_open_job job = { .key = f->sending_key,
				     .counter = counter,
				     .in = d + 16,
				     .in_len = len - 16,
				     .out = ret };

	if (load_le32(d) != MESSAGE_TRANSPORT || load_le32(d + 4) != REMOTE_INDEX ||
	    load_le64(d + 8) != counter)
		return -1;
	aead_select(0)->open_burst(&job, 1);
	return job.ok ? (int32_t)(len - 32) : -1;
}

uint64_t fixture_drops(const struct fixture *f, enum drop_reason why)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i <= f->device.n_workers; i++)
		n += atomic_load(&f->device.drops[i].n[why]);
	return n;
}

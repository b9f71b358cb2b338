/* SPDX-License-Identifier: MPL-2.0 */
/* Devices in virtual time. */
#include "sim.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/rcu.h"
#include "crypto/secret.h"
#include "crypto/x25519.h"
#include "no_kernel.h"
#include "noise/message.h"

enum { QUEUE_LEN = 512, PACKET_LEN = 2048, INNER_MIN_LEN = 28 };
#define START_NS       (UINT64_C(1000000) * NSEC_PER_SEC)
#define START_REALTIME UINT64_C(1700000000)

struct sim_buffer {
	uint32_t len;
	uint8_t tos;
	struct endpoint from;
	struct virtio_net_hdr vnet;
	uint8_t data[PACKET_LEN];
};

struct sim_queue {
	struct sim_buffer *slot;
	uint32_t head, n;
};

struct sim_io {
	struct io io;
	struct sim_node *node;
	struct sim_queue udp, tun;
	struct sim_buffer taken_udp[RX_RECV_BURST], taken_tun[TX_READ_BURST];
};

struct sim_flight {
	struct sim_flight *next;
	uint64_t at_ns;
	uint32_t to;
	uint32_t len;
	uint8_t tos;
	struct endpoint from;
	uint8_t data[];
};

uint32_t sim_random(struct sim *s)
{
	s->random_state = s->random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)(s->random_state >> 33);
}

/* The buffer, or NULL: full, or too long. */
static struct sim_buffer *queue_push(struct sim_queue *q, const uint8_t *data, uint32_t len,
				     const struct endpoint *from, uint8_t tos)
{
	if (q->n == QUEUE_LEN || len > PACKET_LEN)
		return NULL;
	struct sim_buffer *b = &q->slot[(q->head + q->n++) % QUEUE_LEN];
	b->len = len;
	b->tos = tos;
	b->vnet = (struct virtio_net_hdr){ 0 };
	if (from)
		b->from = *from;
	memcpy(b->data, data, len);
	return b;
}

static uint32_t queue_take(struct sim_queue *q, struct sim_buffer *ret, uint32_t n)
{
	uint32_t i = 0;

	for (; i < n && q->n > 0; i++, q->n--) {
		ret[i] = q->slot[q->head];
		q->head = (q->head + 1) % QUEUE_LEN;
	}
	return i;
}

/* --- the link --- */

static void take_off(struct sim *s, const struct sim_node *from, uint32_t to, uint8_t tos,
		     struct bytes d)
{
	struct sim_flight *f = malloc(sizeof(*f) + d.len);
	struct sim_flight **at = &s->flights;

	f->at_ns = s->now_ns + s->link.delay_ns +
		   (s->link.jitter_ns ? (sim_random(s) * UINT64_C(1000)) % s->link.jitter_ns : 0);
	f->to = to;
	f->len = (uint32_t)d.len;
	f->tos = tos;
	f->from = from->address;
	memcpy(f->data, d.data, d.len);
	while (*at && (*at)->at_ns <= f->at_ns)
		at = &(*at)->next;
	f->next = *at;
	*at = f;
}

static void note_sent(struct sim_node *n, const struct endpoint *to, uint8_t tos, struct bytes d)
{
	struct sim_sent *x = &n->sent[n->n_sent++ % 1024];

	*x = (struct sim_sent){
		.at_ns = n->sim->now_ns,
		.type = d.data[0],
		.tos = tos,
		.len = (uint32_t)d.len,
		.to = *to,
	};
	memcpy(x->data, d.data, MIN(d.len, sizeof(x->data)));
	n->n_sent_of_type[d.data[0] % 5]++;
	if (d.data[0] == MESSAGE_TRANSPORT) {
		x->counter = load_le64(d.data + 8);
		n->n_keepalives += d.len == 32;
	}
}

static int op_send(void *ctx, const struct endpoint *to, uint8_t tos, struct bytes d)
{
	struct sim_node *n = ctx;
	struct sim *s = n->sim;
	uint8_t copy[PACKET_LEN];

	int error = n->send_error                                ? n->send_error
		    : n->source_error && endpoint_has_source(to) ? n->source_error
								 : 0;
	if (error) {
		n->n_send_errors++;
		return error;
	}
	note_sent(n, to, tos, d);
	if (n->is_mute)
		return 0;
	memcpy(copy, d.data, d.len);
	if (s->on_send && !s->on_send(s, n, copy, (uint32_t)d.len))
		return 0;
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		const struct sockaddr_in *a = &s->node[i].address.to.in4;
		if (to->to.in4.sin_addr.s_addr != a->sin_addr.s_addr ||
		    to->to.in4.sin_port != a->sin_port)
			continue;
		if (s->link.is_cut || sim_random(s) % 1000 < s->link.loss)
			return 0;
		take_off(s, n, i, tos, (struct bytes){ copy, d.len });
		if (sim_random(s) % 1000 < s->link.duplication)
			take_off(s, n, i, tos, (struct bytes){ copy, d.len });
	}
	return 0;
}

/* --- the engine --- */

static uint32_t io_recv(struct io *io, struct io_datagram *d, uint32_t n)
{
	struct sim_io *x = container_of(io, struct sim_io, io);

	n = queue_take(&x->udp, x->taken_udp, MIN(n, (uint32_t)RX_RECV_BURST));
	for (uint32_t i = 0; i < n; i++)
		d[i] = (struct io_datagram){ .data = x->taken_udp[i].data,
					     .len = x->taken_udp[i].len,
					     .segment_len = x->taken_udp[i].len,
					     .tos = x->taken_udp[i].tos,
					     .from = x->taken_udp[i].from };
	return n;
}

static uint32_t io_read(struct io *io, struct io_packet *p, uint32_t n)
{
	struct sim_io *x = container_of(io, struct sim_io, io);

	n = queue_take(&x->tun, x->taken_tun, MIN(n, (uint32_t)TX_READ_BURST));
	for (uint32_t i = 0; i < n; i++)
		p[i] = (struct io_packet){ .data = x->taken_tun[i].data,
					   .len = x->taken_tun[i].len,
					   .vnet = x->taken_tun[i].vnet };
	return n;
}

static void io_send(struct io *io, struct io_send *snd, uint32_t n)
{
	io_send_each(snd, n, op_send, container_of(io, struct sim_io, io)->node);
}

static void io_write(struct io *io, struct io_write *w, uint32_t n)
{
	struct sim_node *node = container_of(io, struct sim_io, io)->node;

	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *pkt = w[i].iov[0].iov_base;
		w[i].result = 0;
		bool is_icmp = pkt[0] >> 4 == 6 ? pkt[6] == 58 : pkt[9] == 1;
		if (is_icmp) { /* for our own kernel */
			node->n_icmp++;
			continue;
		}
		if (node->n_delivered == SIM_MAX_DELIVERED)
			continue;
		node->delivered_at_ns[node->n_delivered] = node->sim->now_ns;
		node->delivered[node->n_delivered++] = load_be32(pkt + 20);
	}
}

static const struct io_ops io_ops = {
	.name = "sim",
	NO_KERNEL_IO,
	.wait = no_io_wait,
	.recv_burst = io_recv,
	.read_burst = io_read,
	.send_burst = io_send,
	.write_burst = io_write,
};

/* --- what control wants --- */

static void op_realtime(void *ctx, uint64_t *sec, uint32_t *nsec)
{
	struct sim_node *n = ctx;
	uint64_t t = START_REALTIME * NSEC_PER_SEC + (n->sim->now_ns - START_NS) +
		     (uint64_t)n->realtime_offset_ns;

	*sec = t / NSEC_PER_SEC;
	*nsec = (uint32_t)(t % NSEC_PER_SEC);
}

static const struct control_ops control_ops = {
	.send = op_send,
	NO_KERNEL_CONTROL,
	.realtime = op_realtime,
};

/* --- running --- */

static void inject(struct sim *s, uint32_t to, const struct endpoint *from, uint8_t tos,
		   struct bytes d, bool is_misdirected)
{
	struct sim_node *n = &s->node[to];

	bool is_for_worker = d.len > 0 && d.data[0] == MESSAGE_TRANSPORT;

	if (is_for_worker != is_misdirected)
		queue_push(&n->io->udp, d.data, (uint32_t)d.len, from, tos);
	else
		control_receive(&n->control, d, from, tos, s->now_ns);
}

static void land(struct sim *s)
{
	struct sim_flight *f = s->flights;
	s->flights = f->next;
	struct sim_node *n = &s->node[f->to];

	f->from.from.in4 = n->local;
	if (n->control.has_sockets)
		inject(s, f->to, &f->from, f->tos, (struct bytes){ f->data, f->len }, false);
	free(f);
}

void sim_inject(struct sim *s, uint32_t to, const struct endpoint *from, const uint8_t *data,
		uint32_t len)
{
	inject(s, to, from, s->injected_tos, (struct bytes){ data, len }, s->is_misdirected);
}

/* Lets everybody work until nobody has anything left to do at this moment. */
static void settle(struct sim *s)
{
	for (bool busy = true; busy;) {
		busy = false;
		while (s->flights && s->flights->at_ns <= s->now_ns) {
			land(s);
			busy = true;
		}
		for (uint32_t i = 0; i < s->n_nodes; i++) {
			struct sim_node *n = &s->node[i];
			busy |= control_step(&n->control, 64, s->now_ns) > 0;
			busy |= worker_step(n->worker, s->now_ns) > 0;
			busy |= control_next_deadline(&n->control, s->now_ns) <= s->now_ns;
			busy |= mailbox_has_news(device_control_mailbox(&n->device));
			busy |= atomic_load(&n->device.attention.head) != NULL;
		}
		rcu_quiescent();
	}
}

void sim_run(struct sim *s, uint64_t ns)
{
	uint64_t end = s->now_ns + ns;

	settle(s);
	for (;;) {
		uint64_t next = s->flights ? s->flights->at_ns : UINT64_MAX;
		for (uint32_t i = 0; i < s->n_nodes; i++)
			next = MIN(next, control_next_deadline(&s->node[i].control, s->now_ns));
		if (next > end)
			break;
		s->now_ns = MAX(next, s->now_ns);
		settle(s);
	}
	s->now_ns = end;
	settle(s);
}

void sim_jump(struct sim *s, uint64_t ns)
{
	s->now_ns += ns;
}

void sim_inner(uint8_t *ret, uint32_t from, uint32_t to, uint32_t id, uint32_t len)
{
	memset(ret, 0, len);
	ret[0] = 0x45;
	store_be16(ret + 2, (uint16_t)len);
	ret[8] = 64;
	ret[9] = 253; /* experimental: nobody coalesces it */
	store_be32(ret + 12, 0x0a000000 + from);
	store_be32(ret + 16, 0x0a000000 + to);
	store_be32(ret + 20, id);
}

void sim_send_len(struct sim *s, uint32_t from, uint32_t to, uint32_t id, uint32_t len)
{
	uint8_t p[PACKET_LEN];

	sim_inner(p, from, to, id, len);
	queue_push(&s->node[from].io->tun, p, len, NULL, 0);
}

void sim_send_raw(struct sim *s, uint32_t from, const uint8_t *data, uint32_t len)
{
	queue_push(&s->node[from].io->tun, data, len, NULL, 0);
}

void sim_send_vnet(struct sim *s, uint32_t from, const struct virtio_net_hdr *vnet,
		   const uint8_t *data, uint32_t len)
{
	struct sim_buffer *b = queue_push(&s->node[from].io->tun, data, len, NULL, 0);

	if (b)
		b->vnet = *vnet;
}

uint32_t sim_seal(const struct session *x, uint64_t counter, const uint8_t *plain, uint32_t len,
		  uint8_t *ret)
{
	struct message_transport *m = (struct message_transport *)ret;

	m->type = le32(MESSAGE_TRANSPORT);
	m->receiver_index = le32(x->keypair.remote_index);
	m->counter = le64(counter);
	aead_select(0)->seal_burst(&(struct aead_seal_job){ .key = x->keypair.sending_key,
							    .counter = counter,
							    .in = { plain, NULL },
							    .in_len = { len, 0 },
							    .out = (uint8_t *)(m + 1) },
				   1);
	return len + TRANSPORT_OVERHEAD;
}

uint64_t sim_drops(const struct sim *s, uint32_t of, enum drop_reason why)
{
	const struct device *d = &s->node[of].device;
	uint64_t n = 0;

	for (uint32_t i = 0; i <= d->n_workers; i++)
		n += atomic_load(&d->drops[i].n[why]);
	return n;
}

void sim_send(struct sim *s, uint32_t from, uint32_t to, uint32_t id)
{
	sim_send_len(s, from, to, id, INNER_MIN_LEN);
}

struct peer *sim_peer(struct sim *s, uint32_t of, uint32_t for_node)
{
	return device_find_peer(&s->node[of].device, s->node[for_node].public_key);
}

bool sim_has_session(struct sim *s, uint32_t of, uint32_t for_node)
{
	struct peer *p = sim_peer(s, of, for_node);
	struct session *x = p ? rcu_peek(&p->current) : NULL;

	return x && keypair_may_send(&x->keypair, s->now_ns);
}

void sim_configure(struct sim *s, uint32_t of, uint32_t about, struct config_peer section)
{
	struct config_set set = { .peers = &section, .n_peers = 1 };

	memcpy(section.public_key, s->node[about].public_key, KEY_LEN);
	if (control_apply(&s->node[of].control, &set, s->now_ns) != 0)
		abort();
}

void sim_set_keepalive(struct sim *s, uint32_t of, uint32_t about, uint16_t sec)
{
	sim_configure(s, of, about,
		      (struct config_peer){ .has_keepalive = true, .keepalive_sec = sec });
}

void sim_set_up(struct sim *s, uint32_t of, bool up)
{
	if (control_set_up(&s->node[of].control, up, s->now_ns) != 0)
		abort();
}

const struct sim_sent *sim_last_sent(const struct sim_node *node, uint8_t type, uint32_t i)
{
	uint64_t oldest = node->n_sent > 1024 ? node->n_sent - 1024 : 0;

	for (uint64_t k = node->n_sent; k > oldest; k--) {
		const struct sim_sent *x = &node->sent[(k - 1) % 1024];
		if (x->type == type && i-- == 0)
			return x;
	}
	return NULL;
}

/* --- set-up --- */

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void init_node(struct sim *s, uint32_t i)
{
	struct sim_node *n = &s->node[i];

	n->sim = s;
	n->number = i;
	n->address.to.in4.sin_family = AF_INET;
	n->address.to.in4.sin_addr.s_addr = htonl(0xc0000201 + i);
	n->address.to.in4.sin_port = htons(51820);
	for (uint32_t k = 0; k < sizeof(n->private_key); k++)
		n->private_key[k] = (uint8_t)sim_random(s);
	x25519_clamp(n->private_key);
	x25519_public(n->public_key, n->private_key);

	must(device_init(&n->device, &(struct device_params){ .n_workers = 1,
							      .wake_control = wake_nobody,
							      .wake_worker = wake_no_worker }) ==
	     0);
	must(control_init(&n->control, &(struct control_params){ .device = &n->device,
								 .aead = aead_select(0),
								 .ops = &control_ops,
								 .ops_ctx = n,
								 .now_ns = s->now_ns }) == 0);
	n->io = calloc(1, sizeof(*n->io));
	n->io->io.ops = &io_ops;
	n->io->node = n;
	n->io->udp.slot = calloc(QUEUE_LEN, sizeof(struct sim_buffer));
	n->io->tun.slot = calloc(QUEUE_LEN, sizeof(struct sim_buffer));
	n->worker = aligned_alloc(CACHELINE, ROUND_UP(sizeof(*n->worker), CACHELINE));
	memset(n->worker, 0, sizeof(*n->worker));
	must(worker_init(n->worker, &(struct worker_params){ .device = &n->device,
							     .aead = aead_select(0),
							     .tun_fd = -1,
							     .wake_fd = -1 }) == 0);
	n->worker->io = &n->io->io;
	/* jitter, too, is the seed's */
	n->control.jitter_state = UINT64_C(1) << 32 | sim_random(s);
	n->worker->random_state = UINT64_C(1) << 32 | sim_random(s);

	struct config_set set = { .has_private_key = true };
	memcpy(set.private_key, n->private_key, sizeof(set.private_key));
	must(control_apply(&n->control, &set, s->now_ns) == 0);
	sim_set_up(s, i, true);
}

static void introduce(struct sim *s, uint32_t of, uint32_t about)
{
	struct config_allowed_ip ip = { .addr = { 10, 0, 0, (uint8_t)about }, .len = 32 };
	struct config_peer section = { .has_endpoint = true,
				       .endpoint = s->node[about].address,
				       .n_allowed_ips = 1 };
	struct config_set set = {
		.peers = &section, .n_peers = 1, .allowed_ips = &ip, .n_allowed_ips = 1
	};

	memcpy(section.public_key, s->node[about].public_key, KEY_LEN);
	must(control_apply(&s->node[of].control, &set, s->now_ns) == 0);
}

void sim_init(struct sim *s, uint32_t n_nodes, uint64_t seed)
{
	memset(s, 0, sizeof(*s));
	rcu_thread_register();
	must(crypto_init() == 0);
	s->now_ns = START_NS;
	s->random_state = seed;
	s->n_nodes = n_nodes;
	s->link.delay_ns = 10 * NSEC_PER_MSEC;
	for (uint32_t i = 0; i < n_nodes; i++)
		init_node(s, i);
	for (uint32_t i = 1; i < n_nodes; i++) {
		introduce(s, 0, i);
		introduce(s, i, 0);
	}
}

void sim_finish(struct sim *s)
{
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		struct sim_node *n = &s->node[i];
		control_finish(&n->control);
		worker_finish(n->worker);
		device_finish(&n->device);
		free(n->worker);
		free(n->io->udp.slot);
		free(n->io->tun.slot);
		free(n->io);
	}
	while (s->flights) {
		struct sim_flight *f = s->flights;
		s->flights = f->next;
		free(f);
	}
	rcu_thread_unregister();
}

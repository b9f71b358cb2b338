/* SPDX-License-Identifier: MPL-2.0 */
/* Two complete devices with real threads: workers that run worker_step(), a control thread each that
 * handles handshakes and timers and all the time reconfigures its device at random. They are joined
 * by rings in memory, one for each pair of threads, so that this test adds no order of its own
 * between the threads of a device. Time runs faster than real: sessions are renewed and expire.
 *
 * Meant for ThreadSanitizer and AddressSanitizer. Besides, no packet may arrive twice or damaged, and
 * nothing may be left at the end. */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/spsc_ring.h"
#include "control/apply.h"
#include "control/control.h"
#include "control/report.h"
#include "crypto/x25519.h"
#include "datapath/worker.h"
#include "protocol/no_kernel.h"
#include "udp/udp.h"

enum {
	N_WORKERS = 2,
	CONTROL = N_WORKERS, /* number of the control thread, besides the workers */
	N_THREADS = N_WORKERS + 1,
	N_KEYS = 3,    /* private keys of each side, */
	N_NOISE = 600, /* and peers that never answer: the tables grow and shrink */
	N_SLOTS = 256,
	MAX_LEN = 2400,
	MAX_MERGED = 8,   /* datagrams of one UDP_GRO buffer */
	BURST_LEN = 2200, /* bytes of a packet in a large burst */
	MAX_TAKEN = 160,
	SECONDS = 4,
	TIME_FACTOR = 60,
	N_IDS = 1 << 22, /* packets of one worker */
};

struct datagram {
	struct endpoint from;
	uint8_t tos;
	uint32_t len;
	uint8_t data[];
};

struct side;

struct engine {
	struct io io;
	struct side *side;
	uint32_t number;
	uint32_t random;
	uint32_t next_id;
	uint32_t n_taken;
	struct datagram *taken[MAX_TAKEN];
	uint8_t packet[TX_READ_BURST][MAX_LEN];
	uint8_t merged[RX_RECV_BURST][MAX_MERGED * MAX_LEN];
};

struct side {
	uint32_t number;
	struct device device;
	struct control control;
	struct worker *worker[N_WORKERS];
	struct crypto_pool pool;
	struct engine engine[N_WORKERS];
	uint32_t control_random;
	struct spsc_ring in[N_THREADS][N_THREADS]; /* to our thread, from theirs */
	void *slots[N_THREADS][N_THREADS][N_SLOTS];
	pthread_t thread[N_THREADS];
	_Atomic uint64_t n_delivered, n_damaged, n_doubled, n_forwarded;
	uint64_t n_changes, n_reports; /* owner: the control thread */
	uint64_t n_dh_steps[N_WORKERS];
};

static struct side sides[2];
static uint8_t private_keys[2][N_KEYS][32], public_keys[2][N_KEYS][32], noise_keys[N_NOISE][32];
static _Atomic uint32_t key_in_use[2]; /* what each side should use, and the other side expect */
static _Atomic uint32_t psk_in_use;
static _Atomic uint8_t seen[2][N_WORKERS][N_IDS / 8]; /* by side and worker that sent */
static atomic_bool workers_stop, control_stop;
static uint64_t start_ns;

static uint64_t now(void)
{
	return start_ns + (clock_boottime_ns() - start_ns) * TIME_FACTOR;
}

static uint32_t draw(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

static struct endpoint address_of(uint32_t side, uint32_t port)
{
	struct endpoint e;

	memset(&e, 0, sizeof(e));
	e.to.in4.sin_family = AF_INET;
	e.to.in4.sin_addr.s_addr = htonl(0xc0000201 + side);
	e.to.in4.sin_port = htons((uint16_t)(51820 + port));
	return e;
}

/* --- the network --- */

/* Which thread of the other side gets it: where steering would bring it, but not always. */
static uint32_t destination(const uint8_t *data, uint32_t *random)
{
	if (draw(random) % 16 == 0)
		return draw(random) % N_THREADS;
	if (data[0] != MESSAGE_TRANSPORT)
		return CONTROL;
	return udp_steer(data + offsetof(struct message_transport, receiver_index), N_WORKERS);
}

static int transmit(struct side *s, uint32_t from_thread, uint32_t *random,
		    const struct endpoint *to, uint8_t tos, struct bytes d)
{
	uint32_t there = ntohl(to->to.in4.sin_addr.s_addr) - 0xc0000201;

	if (endpoint_has_source(to) && draw(random) % 64 == 0)
		return -EADDRNOTAVAIL; /* P-347 */
	if (there != 1 - s->number || draw(random) % 50 == 0)
		return 0; /* lost, or to those who never answer */
	struct datagram *g = malloc(sizeof(*g) + d.len);
	if (!g)
		abort();
	g->from = address_of(s->number, draw(random) % 200 == 0);
	g->from.from.in4.s_addr = htonl(0x0a000001 + draw(random) % 2);
	g->tos = tos;
	g->len = (uint32_t)d.len;
	memcpy(g->data, d.data, d.len);
	uint32_t to_thread = destination(d.data, random);
	if (spsc_ring_push(&sides[there].in[to_thread][from_thread], g))
		return 0;
	free(g);
	return -EAGAIN;
}

static uint32_t take(struct side *s, uint32_t thread, struct datagram **ret, uint32_t n)
{
	uint32_t got = 0;

	for (uint32_t from = 0; from < N_THREADS; from++)
		got += spsc_ring_pop_burst(&s->in[thread][from], (void **)(ret + got), n - got);
	return got;
}

/* --- the engine --- */

static int io_wait(struct io *io, uint64_t timeout_ns)
{
	struct timespec t = { .tv_nsec = 100000 };

	(void)io;
	if (timeout_ns)
		(void)nanosleep(&t, NULL);
	return 0;
}

static void free_taken(struct engine *e)
{
	for (uint32_t i = 0; i < e->n_taken; i++)
		free(e->taken[i]);
	e->n_taken = 0;
}

/* Equal datagrams from one place behind one another, as the kernel's UDP_GRO does. Returns how many of
 * @g went into the buffer. */
static uint32_t merge(uint8_t *buffer, struct datagram *const *g, uint32_t n,
		      struct io_datagram *ret)
{
	uint32_t i = 0;

	*ret = (struct io_datagram){
		.data = buffer, .segment_len = g[0]->len, .tos = g[0]->tos, .from = g[0]->from
	};
	for (;
	     i < MIN(n, (uint32_t)MAX_MERGED) && g[i]->len == g[0]->len && g[i]->tos == g[0]->tos &&
	     endpoint_equal(&g[i]->from, &g[0]->from) && g[i]->len <= MAX_LEN;
	     i++) {
		memcpy(buffer + ret->len, g[i]->data, g[i]->len);
		ret->len += g[i]->len;
	}
	return i;
}

static uint32_t io_recv(struct io *io, struct io_datagram *d, uint32_t n)
{
	struct engine *e = container_of(io, struct engine, io);
	uint32_t n_merged = 0;

	free_taken(e);
	e->n_taken = take(e->side, e->number, e->taken, MAX_TAKEN);
	for (uint32_t i = 0; i < e->n_taken; n_merged++) {
		if (n_merged == n) /* what is behind them is lost */
			break;
		i += merge(e->merged[n_merged], e->taken + i, e->n_taken - i, d + n_merged);
	}
	return n_merged;
}

/* An inner packet whose payload follows from its id and sender. */
static uint32_t make_packet(struct engine *e, uint8_t *p, bool in_burst)
{
	uint32_t id = e->next_id++ % N_IDS;
	uint32_t len = in_burst ? BURST_LEN : 64 + id % 400;
	bool is_noise = !in_burst && draw(&e->random) % 8 == 0;

	memset(p, (int)(id & 0xff), len);
	memset(p, 0, 28);
	p[0] = 0x45;
	p[1] = in_burst ? 0 : (uint8_t)(id & 3);
	store_be16(p + 2, (uint16_t)len);
	p[8] = 64;
	p[9] = 253;
	store_be32(p + 12, 0x0a000000 + e->side->number);
	store_be32(p + 16, is_noise ? 0x0a090000 + draw(&e->random) % N_NOISE
				    : 0x0a000000 + 1 - e->side->number);
	store_be32(p + 20, id);
	store_be32(p + 24, e->number);
	return len;
}

static uint32_t io_read(struct io *io, struct io_packet *p, uint32_t n)
{
	struct engine *e = container_of(io, struct engine, io);

	bool in_burst = draw(&e->random) % 16 == 0; /* a backlog: idle workers help */
	if (!in_burst)
		n = MIN(n, draw(&e->random) % 6);
	if (atomic_load_explicit(&workers_stop, memory_order_relaxed))
		n = 0;
	for (uint32_t i = 0; i < n; i++)
		p[i] = (struct io_packet){ .data = e->packet[i],
					   .len = make_packet(e, e->packet[i], in_burst) };
	return n;
}

static int send_one(void *ctx, const struct endpoint *to, uint8_t tos, struct bytes d)
{
	struct engine *e = ctx;

	return transmit(e->side, e->number, &e->random, to, tos, d);
}

static void io_send(struct io *io, struct io_send *snd, uint32_t n)
{
	io_send_each(snd, n, send_one, container_of(io, struct engine, io));
}

static void check_packet(struct side *s, const uint8_t *p, size_t len)
{
	uint32_t id = load_be32(p + 20), worker = load_be32(p + 24);
	bool good = len == load_be16(p + 2) && (len == 64 + id % 400 || len == BURST_LEN) &&
		    id < N_IDS && worker < N_WORKERS &&
		    load_be32(p + 12) == 0x0a000000 + 1 - s->number;

	for (size_t i = 28; good && i < len; i++)
		good = p[i] == (id & 0xff);
	if (!good) {
		atomic_fetch_add_explicit(&s->n_damaged, 1, memory_order_relaxed);
		return;
	}
	uint8_t bit = (uint8_t)BIT(id % 8);
	uint8_t before = atomic_fetch_or_explicit(&seen[1 - s->number][worker][id / 8], bit,
						  memory_order_relaxed);
	if (before & bit)
		atomic_fetch_add_explicit(&s->n_doubled, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->n_delivered, 1, memory_order_relaxed);
}

static void io_write(struct io *io, struct io_write *w, uint32_t n)
{
	struct engine *e = container_of(io, struct engine, io);

	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *p = w[i].iov[0].iov_base;
		w[i].result = 0;
		if (p[9] == 253)
			check_packet(e->side, p, w[i].iov[0].iov_len);
	}
}

static const struct io_ops io_ops = {
	.name = "memory",
	NO_KERNEL_IO,
	.wait = io_wait,
	.recv_burst = io_recv,
	.read_burst = io_read,
	.send_burst = io_send,
	.write_burst = io_write,
};

/* --- what control wants --- */

static int op_send(void *ctx, const struct endpoint *to, uint8_t tos, struct bytes d)
{
	struct side *s = ctx;
	return transmit(s, CONTROL, &s->control_random, to, tos, d);
}

static void op_realtime(void *ctx, uint64_t *sec, uint32_t *nsec)
{
	uint64_t t = now();

	(void)ctx;
	*sec = t / NSEC_PER_SEC;
	*nsec = (uint32_t)(t % NSEC_PER_SEC);
}

static const struct control_ops control_ops = {
	.send = op_send,
	NO_KERNEL_CONTROL,
	.realtime = op_realtime,
};

/* --- configuration --- */

static void apply(struct side *s, const struct config_set *set)
{
	if (control_apply(&s->control, set, now()) != 0)
		abort();
	s->n_changes++;
}

/* One section with one allowed IP. */
static void apply_peer(struct side *s, const uint8_t key[32], uint32_t addr,
		       struct config_peer section)
{
	struct config_allowed_ip ip = { .len = 32 };
	struct config_set set = {
		.peers = &section, .n_peers = 1, .allowed_ips = &ip, .n_allowed_ips = 1
	};

	store_be32(ip.addr, addr);
	memcpy(section.public_key, key, 32);
	section.n_allowed_ips = 1;
	apply(s, &set);
}

/* The peer that matters, with the key that the other side should have now. */
static void set_peer(struct side *s)
{
	uint32_t there = 1 - s->number;
	struct config_peer section = { .has_psk = true,
				       .has_endpoint = true,
				       .endpoint = address_of(there, 0),
				       .has_keepalive = true,
				       .keepalive_sec = (uint16_t)(draw(&s->control_random) % 3) };

	section.psk[0] = (uint8_t)atomic_load(&psk_in_use);
	apply_peer(s, public_keys[there][atomic_load(&key_in_use[there])], 0x0a000000 + there,
		   section);
}

static void remove_peer(struct side *s, const uint8_t key[32])
{
	apply_peer(s, key, 0x0a630000, (struct config_peer){ .remove = true });
}

static void set_private_key(struct side *s)
{
	struct config_set set = { .has_private_key = true };

	memcpy(set.private_key, private_keys[s->number][atomic_load(&key_in_use[s->number])], 32);
	apply(s, &set);
}

static void change_noise(struct side *s)
{
	uint32_t i = draw(&s->control_random) % N_NOISE;
	struct config_peer section = { .has_endpoint = true, .endpoint = address_of(7, 0) };

	if (draw(&s->control_random) % 2)
		remove_peer(s, noise_keys[i]);
	else
		apply_peer(s, noise_keys[i], 0x0a090000 + draw(&s->control_random) % N_NOISE,
			   section);
}

static void report(struct side *s)
{
	struct uapi_text text;

	uapi_text_init(&text);
	control_report(&s->control, &text);
	control_report_drops(&s->control, &text);
	control_report_peer_drops(&s->control, &text);
	if (!uapi_text_failed(&text))
		s->n_reports++;
	uapi_text_finish(&text);
}

static bool holds_no_source(void *ctx, const struct endpoint *e)
{
	(void)ctx;
	(void)e;
	return false;
}

static void change_something(struct side *s)
{
	uint32_t *random = &s->control_random;

	switch (draw(random) % 40) {
	case 0: /* the other side finds out by and by */
		atomic_store(&key_in_use[s->number], draw(random) % N_KEYS);
		set_private_key(s);
		break;
	case 1:
		atomic_store(&psk_in_use, draw(random) % 2);
		set_peer(s);
		break;
	case 2:
		remove_peer(s, public_keys[1 - s->number][draw(random) % N_KEYS]);
		set_peer(s);
		break;
	case 3:
		if (control_set_up(&s->control, false, now()) != 0 ||
		    control_set_up(&s->control, true, now()) != 0)
			abort();
		s->n_changes++;
		break;
	case 4:
		apply(s, &(struct config_set){ .has_fwmark = true, .fwmark = draw(random) % 2 });
		break;
	case 5:
		atomic_store(&s->device.mtu, 600 + draw(random) % 900);
		break;
	case 6:
		control_check_sources(&s->control, holds_no_source, NULL);
		break;
	case 7 ... 10:
		set_peer(s);
		break;
	case 11 ... 15:
		report(s);
		break;
	default:
		for (uint32_t i = 0; i < 16; i++)
			change_noise(s);
		break;
	}
}

/* --- threads --- */

static void *worker_main(void *arg)
{
	struct engine *e = arg;
	struct worker *w = e->side->worker[e->number];

	rcu_thread_register();
	while (!atomic_load_explicit(&control_stop, memory_order_relaxed)) {
		(void)worker_step(w, now());
		/* as worker_loop() sleeps, but nobody wakes us */
		idle_set_add(&w->pool->idle, w->index);
		idle_set_add(&w->device->dh_pool->idle, w->index);
		if (!crypto_pool_serve(w->pool) && !worker_serve_dh(w)) {
			rcu_offline();
			(void)io_wait(&e->io, 1);
			rcu_online();
		}
		idle_set_remove(&w->pool->idle, w->index);
		idle_set_remove(&w->device->dh_pool->idle, w->index);
	}
	rcu_thread_unregister();
	free_taken(e);
	return NULL;
}

static void *control_main(void *arg)
{
	struct side *s = arg;
	struct datagram *d[32];

	rcu_thread_register();
	while (!atomic_load_explicit(&control_stop, memory_order_relaxed)) {
		uint32_t n = take(s, CONTROL, d, ARRAY_SIZE(d));
		for (uint32_t i = 0; i < n; i++) {
			control_receive(&s->control, (struct bytes){ d[i]->data, d[i]->len },
					&d[i]->from, d[i]->tos, now());
			free(d[i]);
		}
		uint64_t before = now();
		(void)control_step(&s->control, draw(&s->control_random) % 3, before);
		control_learn_cost(&s->control, before, now());
		if (draw(&s->control_random) % 8 == 0 &&
		    !atomic_load_explicit(&workers_stop, memory_order_relaxed))
			change_something(s);
		rcu_quiescent();
		(void)io_wait(NULL, 1);
	}
	rcu_thread_unregister();
	return NULL;
}

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void make_keys(void)
{
	uint32_t random = 1;

	for (uint32_t s = 0; s < 2; s++) {
		for (uint32_t k = 0; k < N_KEYS; k++) {
			for (uint32_t i = 0; i < 32; i++)
				private_keys[s][k][i] = (uint8_t)draw(&random);
			x25519_clamp(private_keys[s][k]);
			x25519_public(public_keys[s][k], private_keys[s][k]);
		}
	}
	for (uint32_t k = 0; k < N_NOISE; k++)
		for (uint32_t i = 0; i < 32; i++)
			noise_keys[k][i] = (uint8_t)draw(&random);
}

static void init_rings(struct side *s)
{
	for (uint32_t i = 0; i < N_THREADS; i++)
		for (uint32_t k = 0; k < N_THREADS; k++)
			spsc_ring_init(&s->in[i][k], s->slots[i][k], N_SLOTS);
}

static void init_side(struct side *s, uint32_t number)
{
	s->number = number;
	s->control_random = 100 + number;
	must(device_init(&s->device, &(struct device_params){ .n_workers = N_WORKERS,
							      .wake_control = wake_nobody,
							      .wake_worker = wake_no_worker }) ==
	     0);
	must(control_init(&s->control, &(struct control_params){ .device = &s->device,
								 .aead = aead_select(0),
								 .ops = &control_ops,
								 .ops_ctx = s,
								 .now_ns = now() }) == 0);
	crypto_pool_init(&s->pool);
	for (uint32_t i = 0; i < N_WORKERS; i++) {
		struct worker *w =
			aligned_alloc(CACHELINE, ROUND_UP(sizeof(struct worker), CACHELINE));
		must(w != NULL);
		memset(w, 0, sizeof(*w));
		must(worker_init(w, &(struct worker_params){ .device = &s->device,
							     .aead = aead_select(0),
							     .pool = &s->pool,
							     .index = i,
							     .tun_fd = -1,
							     .wake_fd = -1 }) == 0);
		s->engine[i] = (struct engine){
			.io.ops = &io_ops, .side = s, .number = i, .random = 10 * number + i
		};
		w->io = &s->engine[i].io;
		s->worker[i] = w;
	}
	set_private_key(s);
	set_peer(s);
	must(control_set_up(&s->control, true, now()) == 0);
}

static void start_side(struct side *s)
{
	must(pthread_create(&s->thread[CONTROL], NULL, control_main, s) == 0);
	for (uint32_t i = 0; i < N_WORKERS; i++)
		must(pthread_create(&s->thread[i], NULL, worker_main, &s->engine[i]) == 0);
}

static void free_rings(struct side *s)
{
	for (uint32_t i = 0; i < N_THREADS; i++)
		for (struct datagram *d; take(s, i, &d, 1);)
			free(d);
}

static bool finish_side(struct side *s)
{
	control_finish(&s->control);
	for (uint32_t i = 0; i < N_WORKERS; i++) {
		worker_finish(s->worker[i]);
		s->n_dh_steps[i] = atomic_load(&s->worker[i]->n_dh_steps);
		free(s->worker[i]);
	}
	rcu_flush();
	bool clean = s->control.n_answers == 0 && s->device.session_pool.n_in_use == 0 &&
		     s->device.peer_pool.n_in_use == 0 && atomic_load(&s->device.staged.used) == 0;
	device_finish(&s->device);
	free_rings(s);
	uint32_t n_shared = atomic_load(&s->pool.tail);
	uint64_t n_dh_steps = 0;
	for (uint32_t i = 0; i < N_WORKERS; i++)
		n_dh_steps += s->n_dh_steps[i];
	printf("side %u: %ju packets delivered, %ju damaged, %ju doubled, %u batches shared, "
	       "%ju steps of %ju handshakes, %ju changes, %ju reports; %s\n",
	       s->number, (uintmax_t)s->n_delivered, (uintmax_t)s->n_damaged,
	       (uintmax_t)s->n_doubled, (unsigned)n_shared, (uintmax_t)n_dh_steps,
	       (uintmax_t)s->control.n_handled, (uintmax_t)s->n_changes, (uintmax_t)s->n_reports,
	       clean ? "nothing left" : "something is left");
	return clean && s->n_damaged == 0 && s->n_doubled == 0 && s->n_delivered > 100 &&
	       n_shared > 0 && n_dh_steps > 0 && s->n_changes > 100;
}

static void sleep_ms(uint32_t ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };
	(void)nanosleep(&t, NULL);
}

int main(void)
{
	bool ok = true;

	start_ns = clock_boottime_ns();
	rcu_thread_register();
	must(crypto_init() == 0);
	make_keys();
	for (uint32_t i = 0; i < 2; i++)
		init_rings(&sides[i]);
	for (uint32_t i = 0; i < 2; i++)
		init_side(&sides[i], i);
	rcu_offline();
	for (uint32_t i = 0; i < 2; i++)
		start_side(&sides[i]);
	sleep_ms(SECONDS * 1000);
	atomic_store(&workers_stop, true); /* no new packets */
	sleep_ms(100);
	atomic_store(&control_stop, true);
	for (uint32_t i = 0; i < 2; i++)
		for (uint32_t k = 0; k < N_THREADS; k++)
			must(pthread_join(sides[i].thread[k], NULL) == 0);
	rcu_online();
	for (uint32_t i = 0; i < 2; i++)
		ok &= finish_side(&sides[i]);
	rcu_thread_unregister();
	printf("%s\n", ok ? "ok" : "not ok");
	return ok ? 0 : 1;
}

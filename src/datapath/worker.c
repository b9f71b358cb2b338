/* SPDX-License-Identifier: MPL-2.0 */
/* The worker's loop. */
#include "datapath/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/entropy.h"
#include "base/rcu.h"
#include "io/io_stats.h"
#include "noise/message.h"

int worker_init(struct worker *w, const struct worker_params *params)
{
	w->device = params->device;
	w->aead = params->aead;
	w->pool = params->pool;
	w->index = params->index;
	w->drops = &params->device->drops[params->index];
	w->tun_fd = params->tun_fd;
	w->wake_fd = params->wake_fd;
	w->tun_writes_only = params->tun_writes_only;
	w->vnet_hdr = params->vnet_hdr;
	w->nice = params->nice;
	w->next_udp4 = -1;
	w->next_udp6 = -1;

	int r = entropy_fill(&w->random_state, sizeof(w->random_state));
	if (r == 0)
		r = tx_init(&w->tx);
	if (r == 0)
		r = rx_init(&w->rx, params->gro_tcp, params->gro_udp);
	if (r < 0)
		worker_finish(w);
	w->random_state |= 1;
	return r;
}

void worker_finish(struct worker *w)
{
	struct note note;

	/* Passed on to us after our last round. */
	while (mailbox_pop(&w->device->mailbox[w->index], &note))
		forwarded_destroy(note.forwarded);
	tx_finish(&w->tx);
	rx_finish(&w->rx);
}

size_t worker_memory(const struct worker *w)
{
	return sizeof(*w) + tx_memory() + rx_memory() + w->io->memory;
}

uint64_t worker_jitter_ns(struct worker *w)
{
	/* xorshift64: spreads retries, hides nothing */
	w->random_state ^= w->random_state << 13;
	w->random_state ^= w->random_state >> 7;
	w->random_state ^= w->random_state << 17;
	return w->random_state % (REKEY_TIMEOUT_JITTER_MAX_NS + 1);
}

void worker_stop(struct worker *w)
{
	atomic_store_explicit(&w->stop, true, memory_order_relaxed);
	w->device->wake_worker(w->device->wake_ctx, w->index);
}

void worker_set_sockets(struct worker *w, int udp4, int udp6)
{
	w->next_udp4 = udp4;
	w->next_udp6 = udp6;
	/* release: pairs with acquire in apply_sockets(), the descriptors go first */
	atomic_fetch_add_explicit(&w->sockets_wanted, 1, memory_order_release);
	w->device->wake_worker(w->device->wake_ctx, w->index);
}

bool worker_has_applied(const struct worker *w)
{
	/* pairs with release in apply_sockets(): the old descriptors are no longer used */
	return atomic_load_explicit(&w->sockets_applied, memory_order_acquire) ==
		       atomic_load_explicit(&w->sockets_wanted, memory_order_relaxed) ||
	       atomic_load_explicit(&w->failed, memory_order_acquire) != 0;
}

static int apply_sockets(struct worker *w)
{
	/* pairs with release in worker_set_sockets() */
	uint32_t wanted = atomic_load_explicit(&w->sockets_wanted, memory_order_acquire);
	if (LIKELY(wanted == atomic_load_explicit(&w->sockets_applied, memory_order_relaxed)))
		return 0;

	int r = w->io->ops->set_fds(w->io, &(struct io_fds){ .tun = w->tun_fd,
							     .tun_writes_only = w->tun_writes_only,
							     .udp4 = w->next_udp4,
							     .udp6 = w->next_udp6,
							     .wake = w->wake_fd });
	/* pairs with acquire in worker_has_applied() */
	atomic_store_explicit(&w->sockets_applied, wanted, memory_order_release);
	w->device->wake_control(w->device->wake_ctx);
	return r;
}

/* Cipher work of another worker; false = there was none. */
static bool serve(struct worker *w)
{
	if (!w->pool || !crypto_pool_serve(w->pool))
		return false;
	io_stat_add(&w->stats.batches_served, 1);
	return true;
}

uint32_t worker_step(struct worker *w, uint64_t now_ns)
{
	w->now_ns = now_ns;
	int r = apply_sockets(w);
	if (r < 0) {
		atomic_store_explicit(&w->failed, r, memory_order_release);
		return 0;
	}
	uint32_t n = rx_step(w, now_ns);
	n += rx_forwarded_step(w, now_ns);
	n += tx_step(w, now_ns);
	if (n > 0)
		io_stat_add(&w->stats.packets, n);
	/* No more than one: what comes in for ourselves meanwhile waits no longer than for that. */
	return n + serve(w);
}

bool worker_share(struct worker *w, struct crypto_batch *b)
{
	if (!w->pool || !idle_set_has_any(&w->pool->idle) ||
	    !idle_cores_any(&w->pool->cores, w->now_ns) || !crypto_pool_offer(w->pool, b))
		return false;
	int idle = idle_set_claim(&w->pool->idle);
	if (idle >=
	    0) /* else somebody just woke up and will look for work, or we find it ourselves */
		w->device->wake_worker(w->device->wake_ctx, (uint32_t)idle);
	io_stat_add(&w->stats.batches_shared, 1);
	return true;
}

bool worker_serve_dh(struct worker *w)
{
	struct dh_pool *p = w->device->dh_pool;
	struct dh_job *job = dh_pool_take(p);

	if (!job)
		return false;
	idle_set_remove(&p->idle, w->index);
	if (dh_pool_run(p, job))
		w->device->wake_control(w->device->wake_ctx);
	atomic_fetch_add_explicit(&w->n_dh_steps, 1, memory_order_relaxed);
	return true;
}

/* Enters us among those who can be woken for somebody's work. */
static void set_idle(struct worker *w)
{
	if (w->pool)
		idle_set_add(&w->pool->idle, w->index);
	idle_set_add(&w->device->dh_pool->idle, w->index);
}

static void clear_idle(struct worker *w)
{
	if (w->pool)
		idle_set_remove(&w->pool->idle, w->index);
	idle_set_remove(&w->device->dh_pool->idle, w->index);
}

/* Nothing of our own to do: cipher work of others, a step of a handshake, or sleep. During such a step
 * we stay in the set of those who may get cipher work: it waits no longer than for one step, and
 * who offered it takes it back when it has nothing else to do. 0 or -errno. */
static int idle(struct worker *w)
{
	/* pairs with idle_set_claim(): who offers after our look finds us in the set */
	set_idle(w);
	if (serve(w) || worker_serve_dh(w)) {
		clear_idle(w);
		rcu_quiescent();
		return w->io->ops->wait(w->io, 0);
	}
	rcu_offline(); /* pairs with rcu_online(): we hold nothing while asleep */
	int r = w->io->ops->wait(w->io, UINT64_MAX);
	rcu_online();
	clear_idle(w);
	return r;
}

void worker_loop(struct worker *w)
{
	rcu_thread_register();
	if (pthread_getcpuclockid(pthread_self(), &w->stats.cpu_clock) == 0)
		/* release: pairs with acquire of who reads the clock */
		atomic_store_explicit(&w->stats.has_clock, true, memory_order_release);
	priority_begin(&w->priority, w->nice, clock_boottime_ns());
	while (!atomic_load_explicit(&w->stop, memory_order_relaxed)) {
		uint32_t n = worker_step(w, clock_boottime_ns());
		int r;
		if (n > 0) {
			rcu_quiescent();
			priority_update(&w->priority, w->now_ns);
			r = w->io->ops->wait(w->io, 0);
		} else {
			r = idle(w);
		}
		if (r < 0 || atomic_load_explicit(&w->failed, memory_order_relaxed)) {
			atomic_store_explicit(&w->failed, r < 0 ? r : w->failed,
					      memory_order_release);
			w->device->wake_control(w->device->wake_ctx);
			break;
		}
	}
	/* The clock ends with the thread; who asks for it then gets an error and no harm. */
	atomic_store_explicit(&w->stats.has_clock, false, memory_order_relaxed);
	/* io_uring lets go of the TUN and the sockets at once only when this thread asks for it. */
	(void)w->io->ops->set_fds(w->io, &(struct io_fds){ -1, -1, -1, -1, false });
	rcu_thread_unregister();
}

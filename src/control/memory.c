/* SPDX-License-Identifier: MPL-2.0 */
#include "control/memory.h"

#include "datapath/worker.h"
#include "device/device.h"

enum { SESSIONS_PER_PEER = 3 }; /* previous, current, next */

static uint64_t buffers_of(const struct loop *l)
{
	uint64_t n =
		sizeof(*l) + LOOP_RECV_BUF_LEN + control_memory() + device_memory(l->params.device);

	for (uint32_t i = 0; i < l->params.device->n_workers; i++)
		n += worker_memory(&l->params.workers[i]);
	return n;
}

void memory_measure(const struct loop *l, struct memory_use *ret)
{
	struct device *d = l->params.device;

	*ret = (struct memory_use){
		.buffers = buffers_of(l),
		.waiting = atomic_load_explicit(&d->staged.used, memory_order_relaxed) +
			   atomic_load_explicit(&d->forwarded.used, memory_order_relaxed),
		.max_waiting = (uint64_t)STAGED_MAX_BYTES + FORWARDED_MAX_BYTES,
		.peers = secret_pool_memory(&d->peer_pool) + secret_pool_memory(&d->session_pool),
		.per_peer = d->peer_pool.slot_size + SESSIONS_PER_PEER * d->session_pool.slot_size,
	};
}

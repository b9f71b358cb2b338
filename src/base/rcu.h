/* SPDX-License-Identifier: MPL-2.0 */
/* Read-copy-update, quiescent-state flavour (liburcu-qsbr). Readers pay nothing: between two calls
 * of rcu_quiescent() everything that they got from rcu_read() stays valid. A writer publishes with
 * rcu_publish() and frees what it replaced after rcu_wait() or by rcu_defer().
 *
 * A thread that reads must be registered, must call rcu_quiescent() regularly (once per loop), and
 * must be offline while it may sleep: an online sleeper holds up every writer. Threads that only
 * write need not be registered. Fork before the first rcu_defer(): it starts a thread. */
#pragma once

#include <stdatomic.h>

/* A pointer that one thread publishes and others read. */
#define RCU_PTR(type) _Atomic(type *)
/* Pairs with rcu_read(): who sees the pointer sees the object as it was when published. */
#define rcu_publish(slot, ptr) atomic_store_explicit((slot), (ptr), memory_order_release)
/* Pairs with rcu_publish(). Valid until this thread's next rcu_quiescent() or rcu_offline(). */
#define rcu_read(slot) atomic_load_explicit((slot), memory_order_acquire)
/* For the only writer of @slot, who needs no order with itself. */
#define rcu_peek(slot) atomic_load_explicit((slot), memory_order_relaxed)

/* Embedded in an object that is to be freed after a grace period. */
struct rcu_item {
	void *urcu[2]; /* liburcu's struct rcu_head */
	void (*fn)(struct rcu_item *item);
};

/* Each reading thread calls these at its start (it is online then) and before its end. */
void rcu_thread_register(void);
void rcu_thread_unregister(void);

/* Readers only: "I hold no pointer that I got before". */
void rcu_quiescent(void);
/* Around anything that may sleep. Between the two the thread must not read. */
void rcu_offline(void);
void rcu_online(void);

/* Waits until every reader has been quiescent or offline once; what was unpublished before may then
 * be freed. Blocks; counts as quiescent for the caller. */
void rcu_wait(void);

/* Starts the threads of liburcu's own that there will ever be, which else begin with the first table
 * and the first rcu_defer(): who may not make threads later calls this in time. */
void rcu_start(void);

/* Calls @fn(@item) after a grace period, on liburcu's own thread; never blocks. @fn must not use
 * what belongs to the caller's thread. */
void rcu_defer(struct rcu_item *item, void (*fn)(struct rcu_item *item));

/* Waits until all items deferred so far were called. Blocks like rcu_wait(). */
void rcu_flush(void);

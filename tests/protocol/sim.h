/* SPDX-License-Identifier: MPL-2.0 */
/* Two (or more) complete devices in one thread and in virtual time: real control state, real worker,
 * an I/O engine in memory, and a link that delays, loses, doubles and reorders. Hours take
 * milliseconds. The process is registered with RCU by sim_init(). */
#pragma once

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>

#include "control/apply.h"
#include "control/control.h"
#include "datapath/worker.h"
#include "device/device.h"

enum { SIM_MAX_NODES = 4, SIM_MAX_DELIVERED = 8192, SIM_MTU = 1420 };

struct sim_link {
	uint64_t delay_ns;    /* one way */
	uint64_t jitter_ns;   /* added at random: reorders when it exceeds the spacing */
	uint32_t loss;        /* per mille */
	uint32_t duplication; /* per mille */
	bool is_cut;          /* nothing passes */
};

/* What a node put on the wire, kept for the tests to look at. */
struct sim_sent {
	uint64_t at_ns;
	uint8_t type; /* 1 - 4 */
	uint8_t tos;
	uint32_t len;
	uint64_t counter;   /* of a transport message */
	struct endpoint to; /* with the sticky source that it was sent with */
	uint8_t data[148];  /* its first bytes */
};

struct sim_node {
	struct sim *sim;
	uint32_t number;
	struct device device;
	struct control control;
	struct worker *worker;
	struct sim_io *io;
	uint8_t private_key[32], public_key[32];
	int64_t realtime_offset_ns; /* a step of CLOCK_REALTIME */
	struct endpoint address;    /* where the others reach it */
	struct in_addr
		local;    /* what datagrams to it are addressed to, as sticky source; 0 = untold */
	bool is_mute;     /* all that it sends is lost */
	int send_error;   /* -errno for everything sent, */
	int source_error; /* or only for what has a sticky source; 0 = none */
	uint64_t n_send_errors;
	/* inner packets that came out of the TUN: their id (sim_packet_id()), in order */
	uint32_t delivered[SIM_MAX_DELIVERED];
	uint64_t delivered_at_ns[SIM_MAX_DELIVERED];
	uint32_t n_delivered;
	/* everything it sent, a ring of the latest */
	struct sim_sent sent[1024];
	uint64_t n_sent;
	uint64_t n_sent_of_type[5];
	uint64_t n_keepalives; /* transport messages of 32 bytes */
	uint64_t n_icmp;       /* packets to our own TUN that are ICMP errors */
};

struct sim {
	uint64_t now_ns;
	uint64_t random_state;
	struct sim_link link;
	struct sim_node node[SIM_MAX_NODES];
	uint32_t n_nodes;
	struct sim_flight *flights; /* in order of arrival */
	uint8_t injected_tos;       /* outer TOS of what sim_inject() brings, */
	bool is_misdirected;        /* and it comes to the wrong thread, as without steering */
	/* Sees each datagram before it takes off; false = it is lost. May change it. */
	bool (*on_send)(struct sim *s, struct sim_node *from, uint8_t *data, uint32_t len);
	void *user;
};

/* @n_nodes devices that are up, each the peer of node 0 and node 0 theirs: endpoints known on both
 * sides, 10.0.0.N/32 allowed, no PSK. Everything starts at an arbitrary time. */
void sim_init(struct sim *s, uint32_t n_nodes, uint64_t seed);
void sim_finish(struct sim *s);

/* Runs all nodes for @ns of virtual time. */
void sim_run(struct sim *s, uint64_t ns);
static inline void sim_run_sec(struct sim *s, double sec)
{
	sim_run(s, (uint64_t)(sec * 1e9));
}
/* The clock that runs during suspend jumps, nobody had a chance to do anything. */
void sim_jump(struct sim *s, uint64_t ns);

/* Node @from's kernel sends an inner packet to node @to: @id comes out as delivered[]. */
void sim_send(struct sim *s, uint32_t from, uint32_t to, uint32_t id);
void sim_send_len(struct sim *s, uint32_t from, uint32_t to, uint32_t id, uint32_t len);
/* The same with any bytes, which may be a super-packet. */
void sim_send_raw(struct sim *s, uint32_t from, const uint8_t *data, uint32_t len);
void sim_send_vnet(struct sim *s, uint32_t from, const struct virtio_net_hdr *vnet,
		   const uint8_t *data, uint32_t len);

/* The peer object that node @of has for node @for_node. */
struct peer *sim_peer(struct sim *s, uint32_t of, uint32_t for_node);
/* Has a session that it may send with now. */
bool sim_has_session(struct sim *s, uint32_t of, uint32_t for_node);
/* One peer section applied to node @of about node @about; fill in what is to change. */
void sim_configure(struct sim *s, uint32_t of, uint32_t about, struct config_peer section);
void sim_set_keepalive(struct sim *s, uint32_t of, uint32_t about, uint16_t sec);
void sim_set_up(struct sim *s, uint32_t of, bool up);
/* A datagram arrives at node @to as if from @from, now. */
void sim_inject(struct sim *s, uint32_t to, const struct endpoint *from, const uint8_t *data,
		uint32_t len);
/* The @i-th latest datagram of @type that @node sent (0 = the last); NULL = none kept. */
const struct sim_sent *sim_last_sent(const struct sim_node *node, uint8_t type, uint32_t i);
uint32_t sim_random(struct sim *s);
/* Initiations that node @of sent so far. */
static inline uint64_t sim_n_initiations(const struct sim *s, uint32_t of)
{
	return s->node[of].n_sent_of_type[1];
}

/* A transport message to whoever is at the other end of @x, with @counter and any plaintext. Returns
 * its length; @ret has room for @len + 32. */
uint32_t sim_seal(const struct session *x, uint64_t counter, const uint8_t *plain, uint32_t len,
		  uint8_t *ret);
/* The inner packet that sim_send() makes. */
void sim_inner(uint8_t *ret, uint32_t from, uint32_t to, uint32_t id, uint32_t len);
/* Sum over all threads of node @of. */
uint64_t sim_drops(const struct sim *s, uint32_t of, enum drop_reason why);

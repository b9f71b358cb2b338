/* SPDX-License-Identifier: MPL-2.0 */
/* One burst through struct gro, and the packets to feed it with. Shared state: each Criterion test is
 * a process of its own. */
#pragma once

#include "packet/gro.h"
#include "unit/packet/build.h"

enum { MSS = 1000 }; /* payload of the packets below */

extern struct gro gro;
extern struct packet packets[GRO_MAX_PACKETS]; /* what was added; copies */
extern struct gro_write writes[GRO_MAX_PACKETS];
extern uint8_t built[ROOM]; /* what add() built last */

void begin(bool tcp, bool udp);
struct packet *add_bytes(const uint8_t *data, uint32_t len);
struct packet *add(const struct spec *s);
/* @n packets of one flow, the first being @s. */
void add_run(struct spec s, unsigned n);
/* Number of writes. */
uint32_t finish(void);
void end(void);

/* Checks that write @i holds @n packets. */
void expect_write(uint32_t i, uint32_t n);
struct virtio_net_hdr vnet_of(uint32_t i);

/* IPv4, DF, counting ids; TCP with 12 bytes of options. */
struct spec tcp(void);
struct spec udp(void);
struct spec as_v6(struct spec s);
/* The packet that follows @s in its flow. */
struct spec following(struct spec s);

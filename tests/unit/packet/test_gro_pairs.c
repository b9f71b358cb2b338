/* SPDX-License-Identifier: MPL-2.0 */
/* Pairs of packets: may the second join the first? */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/macro.h"
#include "packet/gro.h"
#include "unit/packet/burst.h"

struct pair {
	const char *what;
	void (*change)(struct spec *first, struct spec *second);
	bool is_merged;
};

/* One row of a table: @body changes a and b. */
#define CHANGE(name, body)                               \
	static void name(struct spec *a, struct spec *b) \
	{                                                \
		(void)a;                                 \
		(void)b;                                 \
		body;                                    \
	}

CHANGE(nothing, )
CHANGE(tos, b->tos = 4)
CHANGE(ecn, b->tos = 3)
CHANGE(ttl, b->ttl--)
CHANGE(host, b->host++)
CHANGE(source_port, b->sport++)
CHANGE(destination_port, b->dport++)
CHANGE(shorter, b->payload_len--)
CHANGE(longer, b->payload_len++)
CHANGE(no_payload, b->payload_len = 0)
CHANGE(one_byte, b->payload_len = 1)
CHANGE(both_one_byte, a->payload_len = b->payload_len = 1; b->seq = a->seq + 1)
CHANGE(no_df, b->frag = 0)
CHANGE(both_no_df, a->frag = b->frag = 0)
CHANGE(same_id, b->ip_id = a->ip_id)
CHANGE(same_id_no_df, b->ip_id = a->ip_id; a->frag = b->frag = 0)
CHANGE(id_plus_two, b->ip_id++)
CHANGE(id_minus_one, b->ip_id = (uint16_t)(a->ip_id - 1))
CHANGE(id_wraps, a->ip_id = 0xffff; b->ip_id = 0)
CHANGE(reserved_bit, a->frag = b->frag = 0x8000)
CHANGE(fragments, a->frag = b->frag = 0x2000)
CHANGE(last_fragment, b->frag = 0x00b9)
CHANGE(options, a->n_ip_options = b->n_ip_options = 1)
CHANGE(options_on_second, b->n_ip_options = 1)
CHANGE(flow_label, b->flow_label++)
CHANGE(traffic_class, b->tos = 1)
CHANGE(sequence_gap, b->seq++)
CHANGE(retransmission, b->seq = a->seq)
CHANGE(sequence_wraps, a->seq = (uint32_t)-MSS; b->seq = 0)
CHANGE(ack, b->ack++)
CHANGE(window, b->window++)
CHANGE(urgent_pointer, b->urgent = 1)
CHANGE(same_urgent_pointer, a->urgent = b->urgent = 9)
CHANGE(reserved, b->reserved = 1)
CHANGE(same_reserved, a->reserved = b->reserved = 1)
CHANGE(option_bytes, b->option_fill = 0)
CHANGE(fewer_options, b->n_tcp_options--)
CHANGE(no_options, a->n_tcp_options = b->n_tcp_options = 0)
CHANGE(full_options, a->n_tcp_options = b->n_tcp_options = 10)
CHANGE(psh_first, a->flags |= PSH)
CHANGE(psh_second, b->flags |= PSH)
CHANGE(fin_first, a->flags |= FIN)
CHANGE(fin_second, b->flags |= FIN)
CHANGE(psh_fin_second, b->flags |= PSH | FIN)
CHANGE(syn_first, a->flags |= SYN)
CHANGE(syn_second, b->flags |= SYN)
CHANGE(syn_both, a->flags |= SYN; b->flags |= SYN)
CHANGE(rst_second, b->flags |= RST)
CHANGE(rst_both, a->flags |= RST; b->flags |= RST)
CHANGE(urg_second, b->flags |= URG)
CHANGE(urg_both, a->flags |= URG; b->flags |= URG)
CHANGE(ack_second, a->flags = 0)
CHANGE(ack_none, a->flags = b->flags = 0)
CHANGE(ece_second, b->flags |= ECE)
CHANGE(ece_both, a->flags |= ECE; b->flags |= ECE)
CHANGE(cwr_first, a->flags |= CWR)
CHANGE(cwr_second, b->flags |= CWR)
CHANGE(cwr_both, a->flags |= CWR; b->flags |= CWR)
CHANGE(zero_checksum_first, a->no_udp_checksum = true)
CHANGE(zero_checksum_second, b->no_udp_checksum = true)
CHANGE(zero_checksum_both, a->no_udp_checksum = b->no_udp_checksum = true)

static const struct pair any_pairs[] = {
	{ "as they come", nothing, true },
	{ "other TOS", tos, false },
	{ "other ECN", ecn, false },
	{ "other TTL", ttl, false },
	{ "other addresses", host, false },
	{ "other source port", source_port, false },
	{ "other destination port", destination_port, false },
	{ "second shorter", shorter, true },
	{ "second longer", longer, false },
	{ "second empty", no_payload, false },
	{ "second of one byte", one_byte, true },
	{ "both of one byte", both_one_byte, true },
	{ "IP options", options, false },
	{ "IP options on the second", options_on_second, false },
};

static const struct pair v4_pairs[] = {
	{ "DF gone", no_df, false },       { "no DF", both_no_df, true },
	{ "same id, DF", same_id, true },  { "same id, no DF", same_id_no_df, false },
	{ "id + 2", id_plus_two, false },  { "id - 1", id_minus_one, false },
	{ "id wraps", id_wraps, true },    { "reserved bit", reserved_bit, false },
	{ "fragments", fragments, false }, { "last fragment", last_fragment, false },
};

static const struct pair v6_pairs[] = {
	{ "other flow label", flow_label, false },
	{ "other traffic class", traffic_class, false },
	{ "fragments", fragments, false },
};

static const struct pair tcp_pairs[] = {
	{ "gap", sequence_gap, false },
	{ "retransmission", retransmission, false },
	{ "sequence wraps", sequence_wraps, true },
	{ "other acknowledgement", ack, false },
	{ "other window", window, false },
	{ "other urgent pointer", urgent_pointer, false },
	{ "same urgent pointer", same_urgent_pointer, true },
	{ "reserved bits", reserved, false },
	{ "same reserved bits", same_reserved, true },
	{ "other option bytes", option_bytes, false },
	{ "fewer options", fewer_options, false },
	{ "no options", no_options, true },
	{ "40 bytes of options", full_options, true },
	{ "PSH on the first", psh_first, false },
	{ "PSH on the second", psh_second, true },
	{ "FIN on the first", fin_first, false },
	{ "FIN on the second", fin_second, true },
	{ "PSH and FIN on the second", psh_fin_second, true },
	{ "SYN on the first", syn_first, false },
	{ "SYN on the second", syn_second, false },
	{ "SYN on both", syn_both, false },
	{ "RST on the second", rst_second, false },
	{ "RST on both", rst_both, false },
	{ "URG on the second", urg_second, false },
	{ "URG on both", urg_both, false },
	{ "ACK on the second", ack_second, false },
	{ "no ACK", ack_none, true },
	{ "ECE on the second", ece_second, false },
	{ "ECE on both", ece_both, true },
	{ "CWR on the first", cwr_first, true },
	{ "CWR on the second", cwr_second, false },
	{ "CWR on both", cwr_both, false },
};

static const struct pair udp_pairs[] = {
	{ "first without checksum", zero_checksum_first, false },
	{ "second without checksum", zero_checksum_second, false },
	{ "both without checksum", zero_checksum_both, false },
};

static void check_pair(const struct pair *p, struct spec first)
{
	struct spec second = following(first);

	p->change(&first, &second);
	begin(true, true);
	add(&first);
	add(&second);
	cr_expect(eq(u32, finish(), p->is_merged ? 1 : 2), "IPv%u, protocol %u: %s", first.version,
		  first.protocol, p->what);
	end();
}

#define CHECK_PAIRS(table, first)                         \
	for (size_t i_ = 0; i_ < ARRAY_SIZE(table); i_++) \
	check_pair(&(table)[i_], first)

Test(gro, pairs)
{
	CHECK_PAIRS(any_pairs, tcp());
	CHECK_PAIRS(any_pairs, udp());
	CHECK_PAIRS(any_pairs, as_v6(tcp()));
	CHECK_PAIRS(any_pairs, as_v6(udp()));
	CHECK_PAIRS(v4_pairs, tcp());
	CHECK_PAIRS(v4_pairs, udp());
	CHECK_PAIRS(v6_pairs, as_v6(tcp()));
	CHECK_PAIRS(v6_pairs, as_v6(udp()));
	CHECK_PAIRS(tcp_pairs, tcp());
	CHECK_PAIRS(tcp_pairs, as_v6(tcp()));
	CHECK_PAIRS(udp_pairs, udp());
	CHECK_PAIRS(udp_pairs, as_v6(udp()));
}

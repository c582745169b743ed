/* SPDX-License-Identifier: GPL-2.0 */
/* ICMP errors about translated flows: the packet they quote is the translated one, and the client knows the other.
 *
 *   A:ap -> VIP:p ==> A:ap -> B:bp ---> B: port closed
 *   A <== [from VIP, quotes A:ap -> VIP:p] <== ICMP error from B to A, quotes A:ap -> B:bp
 * The quoted packet's reversal is the key of the flow's reply row. */
#ifndef FAIRWAY_LIB_ICMP_ERROR_H
#define FAIRWAY_LIB_ICMP_ERROR_H

#include "lib/flow.h"

/* The quoted packet's tuple; ports from its first eight bytes (an echo: its identifier). 0, or a drop reason. */
static __always_inline int fw_read_quoted(struct __sk_buff *skb, bool v6, __u32 off, struct fw_pkt *in)
{
	__u8 l4[8];

	in->zero_echo = 0;
	if (v6) {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
			return FW_DROP_MALFORMED;
		__builtin_memcpy(&in->saddr, &ip.saddr, 16);
		__builtin_memcpy(&in->daddr, &ip.daddr, 16);
		in->protocol = ip.nexthdr;
		in->l4_off = off + sizeof(ip);
	} else {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
			return FW_DROP_MALFORMED;
		fw_addr_set_v4(&in->saddr, ip.saddr);
		fw_addr_set_v4(&in->daddr, ip.daddr);
		in->protocol = ip.protocol;
		in->l4_off = off + ip.ihl * 4;
	}
	if (bpf_skb_load_bytes(skb, in->l4_off, l4, sizeof(l4)))
		return FW_DROP_MALFORMED;
	if (in->protocol == IPPROTO_ICMP || in->protocol == IPPROTO_ICMPV6) {
		__builtin_memcpy(&in->sport_be, l4 + 4, 2);
		in->dport_be = 0;
		if (!in->sport_be)
			in->zero_echo = FW_ZERO_ECHO_REQUEST;
		return 0;
	}
	__builtin_memcpy(&in->sport_be, l4, 2);
	__builtin_memcpy(&in->dport_be, l4 + 2, 2);
	return 0;
}

/* Gives the quoted packet the tuple that its sender knows: `row` is the flow's reply row, thus reversed. The ICMP
 * checksum follows; IPv4's header checksum makes up for its addresses, so that only ports change the message's sum. */
static __always_inline int fw_write_quoted(struct __sk_buff *skb, bool v6, __u32 off, __u32 icmp_off,
					   const struct fw_pkt *in, const struct fw_flow *row)
{
	__u32 check = icmp_off + offsetof(struct fw_icmp, checksum);
	struct fw_addr before[2] = {in->saddr, in->daddr}, after[2] = {row->daddr, row->saddr};
	__be16 ports_before[2] = {in->sport_be, in->dport_be}, ports_after[2] = {row->dport_be, row->sport_be};
	__be32 word_before, word_after;
	__s64 diff = bpf_csum_diff((__be32 *)before, sizeof(before), (__be32 *)after, sizeof(after), 0);

	if (v6) {
		if (bpf_l4_csum_replace(skb, check, 0, (__u64)diff, 0) ||
		    bpf_skb_store_bytes(skb, off + offsetof(struct ipv6hdr, saddr), after, 32, 0))
			return FW_DROP_REWRITE;
	} else {
		__be32 pair[2] = {after[0].words[3], after[1].words[3]};

		if (bpf_l3_csum_replace(skb, off + offsetof(struct iphdr, check), 0, (__u64)diff, 0) ||
		    bpf_skb_store_bytes(skb, off + offsetof(struct iphdr, saddr), pair, 8, 0))
			return FW_DROP_REWRITE;
	}
	if (in->protocol == IPPROTO_ICMP || in->protocol == IPPROTO_ICMPV6)
		return bpf_l4_csum_replace(skb, check, ports_before[0], ports_after[0], 2) ||
				       bpf_skb_store_bytes(skb, in->l4_off + 4, &ports_after[0], 2, 0)
			       ? FW_DROP_REWRITE
			       : 0;
	__builtin_memcpy(&word_before, ports_before, 4);
	__builtin_memcpy(&word_after, ports_after, 4);
	return bpf_l4_csum_replace(skb, check, word_before, word_after, 4) ||
			       bpf_skb_store_bytes(skb, in->l4_off, ports_after, 4, 0)
		       ? FW_DROP_REWRITE
		       : 0;
}

/* The error's own addresses: it goes to the flow's client, and comes from the Service where it came from the backend.
 */
static __always_inline int fw_write_outer(struct __sk_buff *skb, struct fw_pkt *pkt, const struct fw_pkt *in,
					  const struct fw_flow *row)
{
	struct fw_addr before[2] = {pkt->saddr, pkt->daddr}, after[2] = {pkt->saddr, row->daddr};
	__s64 diff;

	if (fw_addr_eq(&pkt->saddr, &in->daddr))
		after[0] = row->saddr;
	diff = bpf_csum_diff((__be32 *)before, sizeof(before), (__be32 *)after, sizeof(after), 0);
	if (pkt->v6) {
		if (bpf_l4_csum_replace(skb, pkt->l4_off + offsetof(struct fw_icmp, checksum), 0, (__u64)diff,
					BPF_F_PSEUDO_HDR) ||
		    bpf_skb_store_bytes(skb, FW_ETH_HLEN + offsetof(struct ipv6hdr, saddr), after, 32, 0))
			return FW_DROP_REWRITE;
	} else {
		__be32 pair[2] = {after[0].words[3], after[1].words[3]};

		if (bpf_l3_csum_replace(skb, FW_ETH_HLEN + offsetof(struct iphdr, check), 0, (__u64)diff, 0) ||
		    bpf_skb_store_bytes(skb, FW_ETH_HLEN + offsetof(struct iphdr, saddr), pair, 8, 0))
			return FW_DROP_REWRITE;
	}
	pkt->saddr = after[0];
	pkt->daddr = after[1];
	return 0;
}

/* Translates an ICMP error that goes back along a flow; `dir` names the flow's reply direction.
 * 1: translated; 0: about no flow of ours; negative: minus the drop reason. */
FW_GLOBAL int fw_icmp_error_translate(struct __sk_buff *skb, struct fw_pkt *pkt, __u32 dir, __u32 *flags_out)
{
	struct fw_scratch *scratch_row = fw_get_scratch();
	struct fw_flow *row, *copy;
	struct fw_flow_key *key;
	struct fw_pkt *in;
	__u32 off;
	int why;

	if (!pkt || !flags_out || !scratch_row)
		return -FW_DROP_MALFORMED;
	in = &scratch_row->quoted;
	copy = &scratch_row->flow;
	key = &scratch_row->error_key;
	off = (__u32)pkt->l4_off + 8;
	why = fw_read_quoted(skb, pkt->v6, off, in);
	if (why)
		return 0; /* it quotes too little to tell: the client gets it as it is */
	key->saddr = in->daddr;
	key->daddr = in->saddr;
	key->sport_be = in->dport_be;
	key->dport_be = in->sport_be;
	key->protocol = in->protocol;
	key->dir = (__u8)dir;
	key->pad = 0;
	row = fw_flow_find(key, fw_now_s());
	if (!row)
		return 0;
	*copy = *row;
	*flags_out = copy->flags;
	why = fw_write_quoted(skb, pkt->v6, off, pkt->l4_off, in, copy);
	if (!why)
		why = fw_write_outer(skb, pkt, in, copy);
	return why ? -why : 1;
}

#endif

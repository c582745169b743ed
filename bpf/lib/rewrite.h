/* SPDX-License-Identifier: GPL-2.0 */
/* Rewriting a packet's tuple, with its checksums: right for complete checksums, for CHECKSUM_PARTIAL and for GSO.
 * The 16-byte forms of IPv4 addresses differ in their last word alone, so one difference serves both families. */
#ifndef FAIRWAY_LIB_REWRITE_H
#define FAIRWAY_LIB_REWRITE_H

#include "lib/packet.h"

static __always_inline int fw_checksum_offset(const struct fw_pkt *pkt)
{
	switch (pkt->protocol) {
	case IPPROTO_TCP:
		return offsetof(struct tcphdr, check);
	case IPPROTO_UDP:
		return offsetof(struct udphdr, check);
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return offsetof(struct fw_icmp, checksum);
	}
	return -1;
}

/* The addresses in the IP header, and IPv4's checksum. */
static __always_inline int fw_store_addresses(struct __sk_buff *skb, bool v6, const struct fw_addr *saddr,
					      const struct fw_addr *daddr, __s64 diff)
{
	__be32 pair[2];

	if (v6) {
		return bpf_skb_store_bytes(skb, FW_ETH_HLEN + offsetof(struct ipv6hdr, saddr), saddr, 16, 0) ||
		       bpf_skb_store_bytes(skb, FW_ETH_HLEN + offsetof(struct ipv6hdr, daddr), daddr, 16, 0);
	}
	pair[0] = saddr->words[3];
	pair[1] = daddr->words[3];
	return bpf_l3_csum_replace(skb, FW_ETH_HLEN + offsetof(struct iphdr, check), 0, (__u64)diff, 0) ||
	       bpf_skb_store_bytes(skb, FW_ETH_HLEN + offsetof(struct iphdr, saddr), pair, 8, 0);
}

static __always_inline int fw_store_ports(struct __sk_buff *skb, const struct fw_pkt *pkt, __be16 sport, __be16 dport,
					  __u32 check_off, __u64 flags)
{
	__be32 before = 0, after = 0;
	__be16 old_ports[2] = {pkt->sport_be, pkt->dport_be}, new_ports[2] = {sport, dport};

	if (old_ports[0] == new_ports[0] && old_ports[1] == new_ports[1])
		return 0;
	if (pkt->protocol == IPPROTO_ICMP || pkt->protocol == IPPROTO_ICMPV6) {
		/* an echo's identifier is its only port: the other of the two is 0 */
		__be16 id = sport ? sport : dport, old_id = pkt->sport_be ? pkt->sport_be : pkt->dport_be;

		return bpf_l4_csum_replace(skb, check_off, old_id, id, 2) ||
		       bpf_skb_store_bytes(skb, pkt->l4_off + 4, &id, 2, 0);
	}
	__builtin_memcpy(&before, old_ports, 4);
	__builtin_memcpy(&after, new_ports, 4);
	return bpf_l4_csum_replace(skb, check_off, before, after, flags | 4) ||
	       bpf_skb_store_bytes(skb, pkt->l4_off, new_ports, 4, 0);
}

/* Which of the two an echo is stays known where its identifier becomes 0. */
static __always_inline void fw_keep_zero_echo(struct fw_pkt *pkt, const struct fw_flow *to)
{
	if (pkt->protocol != IPPROTO_ICMP && pkt->protocol != IPPROTO_ICMPV6)
		return;
	if (to->sport_be || to->dport_be)
		pkt->zero_echo = 0;
	else if (pkt->sport_be || pkt->dport_be)
		pkt->zero_echo = pkt->sport_be ? FW_ZERO_ECHO_REQUEST : FW_ZERO_ECHO_REPLY;
}

/* Gives the packet the tuple `to` and keeps `pkt` in step. 0, or a drop reason. */
FW_GLOBAL int fw_rewrite(struct __sk_buff *skb, struct fw_pkt *pkt, const struct fw_flow *to)
{
	struct fw_addr before[2], after[2];
	__u64 flags = 0;
	__s64 diff;
	int check;

	if (!pkt || !to)
		return FW_DROP_REWRITE;
	before[0] = pkt->saddr;
	before[1] = pkt->daddr;
	after[0] = to->saddr;
	after[1] = to->daddr;
	diff = bpf_csum_diff((__be32 *)before, sizeof(before), (__be32 *)after, sizeof(after), 0);
	if (pkt->fragment != FW_FRAG_LATER) {
		check = fw_checksum_offset(pkt);
		if (check < 0)
			return FW_DROP_REWRITE;
		check += pkt->l4_off;
		if (pkt->protocol == IPPROTO_UDP)
			flags = BPF_F_MARK_MANGLED_0;
		/* ICMP of IPv4 alone has no pseudo header */
		if (pkt->protocol != IPPROTO_ICMP &&
		    bpf_l4_csum_replace(skb, check, 0, (__u64)diff, flags | BPF_F_PSEUDO_HDR))
			return FW_DROP_REWRITE;
		if (fw_store_ports(skb, pkt, to->sport_be, to->dport_be, check, flags))
			return FW_DROP_REWRITE;
	}
	if (fw_store_addresses(skb, pkt->v6, &to->saddr, &to->daddr, diff))
		return FW_DROP_REWRITE;
	fw_keep_zero_echo(pkt, to);
	pkt->saddr = to->saddr;
	pkt->daddr = to->daddr;
	pkt->sport_be = to->sport_be;
	pkt->dport_be = to->dport_be;
	return 0;
}

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/* What may come out of a pod: its own MAC, its own addresses, and no word in the name of a router or of another pod.
 * Holds against CAP_NET_RAW too, as it is checked on the node's side of the veth. */
#ifndef FAIRWAY_LIB_ANTISPOOF_H
#define FAIRWAY_LIB_ANTISPOOF_H

#include "lib/packet.h"

#define FW_GATEWAY_V4 bpf_htonl(0xa9fe0101) /* 169.254.1.1: every pod's gateway */

static __always_inline bool fw_mac_eq(const __u8 *a, const __u8 *b)
{
	const __u16 *x = (const __u16 *)a, *y = (const __u16 *)b;

	return ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2])) == 0;
}

/* ARP from a pod: only in its own name. Whoever asks for the gateway is answered here; the rest is for the stack. */
FW_GLOBAL int fw_pod_arp(struct __sk_buff *skb, const struct fw_local_if *pod)
{
	struct fw_arp arp;
	__u8 macs[12];

	if (!pod)
		return fw_drop(skb, FW_DROP_UNKNOWN_IF);
	if (bpf_skb_load_bytes(skb, FW_ETH_HLEN, &arp, sizeof(arp)))
		return fw_drop(skb, FW_DROP_MALFORMED);
	if (arp.hardware != bpf_htons(1) || arp.protocol != bpf_htons(ETH_P_IP) || arp.hardware_len != 6 ||
	    arp.protocol_len != 4)
		return fw_drop(skb, FW_DROP_MALFORMED);
	if (!fw_mac_eq(arp.sender_mac, pod->mac) || (arp.sender_ip != 0 && arp.sender_ip != pod->v4.words[3]))
		return fw_drop(skb, FW_DROP_ROGUE_ARP);
	if (arp.operation != bpf_htons(1) || arp.target_ip != FW_GATEWAY_V4)
		return FW_PASS;
	arp.operation = bpf_htons(2);
	__builtin_memcpy(arp.target_mac, arp.sender_mac, 6);
	__builtin_memcpy(arp.sender_mac, pod->host_mac, 6);
	arp.target_ip = arp.sender_ip;
	arp.sender_ip = FW_GATEWAY_V4;
	__builtin_memcpy(macs, pod->mac, 6);
	__builtin_memcpy(macs + 6, pod->host_mac, 6);
	if (bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0) ||
	    bpf_skb_store_bytes(skb, FW_ETH_HLEN, &arp, sizeof(arp), 0))
		return fw_drop(skb, FW_DROP_REWRITE);
	return bpf_redirect(skb->ifindex, 0);
}

static __always_inline bool fw_is_link_local6(const struct fw_addr *a)
{
	return a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;
}

static __always_inline bool fw_is_gateway6(const struct fw_addr *a)
{
	return a->halves[0] == bpf_cpu_to_be64(0xfe80000000000000ULL) && a->halves[1] == bpf_cpu_to_be64(1);
}

/* A pod's ICMPv6, and whatever hides behind extension headers (RFC 7113): no advertisement of a router, no redirect,
 * no claim of another's address. 0, or a drop reason; `for_stack` tells that it is talk with the gateway. */
FW_GLOBAL int fw_pod_nd(struct __sk_buff *skb, struct fw_pkt *pkt, const struct fw_local_if *pod, __u32 *for_stack)
{
	struct fw_addr target;
	__u8 type = 0;
	int why;

	if (!pkt || !pod || !for_stack)
		return FW_DROP_UNKNOWN_IF;
	why = fw_skip_extensions(skb, pkt);
	if (why)
		return why;
	if (pkt->protocol != IPPROTO_ICMPV6)
		return 0;
	if (pkt->fragment == FW_FRAG_LATER)
		return 0;
	if (bpf_skb_load_bytes(skb, pkt->l4_off, &type, 1))
		return FW_DROP_MALFORMED;
	if ((type >= FW_MLD_FIRST && type <= FW_MLD_LAST) || type == FW_MLD2_REPORT) {
		*for_stack = 1;
		return 0;
	}
	if (type < FW_ND_ROUTER_SOLICIT || type > FW_ND_REDIRECT)
		return 0;
	if (type == FW_ND_ROUTER_ADVERT || type == FW_ND_REDIRECT || pkt->fragment != FW_FRAG_NONE)
		return FW_DROP_ROGUE_ND;
	if (type == FW_ND_ADVERT) {
		if (bpf_skb_load_bytes(skb, pkt->l4_off + 8, &target, sizeof(target)))
			return FW_DROP_MALFORMED;
		if (!fw_addr_eq(&target, &pod->v6) && !(fw_is_link_local6(&target) && fw_addr_eq(&target, &pkt->saddr)))
			return FW_DROP_ROGUE_ND;
	}
	*for_stack = 1;
	return 0;
}

static __always_inline bool fw_is_extension(__u8 protocol)
{
	return protocol == FW_EXT_HOP || protocol == FW_EXT_ROUTING || protocol == FW_EXT_DEST ||
	       protocol == FW_EXT_FRAGMENT;
}

/* The source address is the pod's own; IPv6's neighbour talk may come from :: or a link-local address, and then goes no
 * further than to the stack. 0, or a drop reason. */
static __always_inline int fw_check_source(struct __sk_buff *skb, struct fw_pkt *pkt, const struct fw_local_if *pod,
					   __u32 *for_stack)
{
	int why;

	if (!pkt->v6)
		return fw_addr_eq(&pkt->saddr, &pod->v4) ? 0 : FW_DROP_SPOOFED_IP;
	if (pkt->protocol == IPPROTO_ICMPV6 || fw_is_extension(pkt->protocol)) {
		why = fw_pod_nd(skb, pkt, pod, for_stack);
		if (why)
			return why;
		if (*for_stack &&
		    (fw_addr_is_zero(&pkt->saddr) || (fw_is_link_local6(&pkt->saddr) && !fw_is_gateway6(&pkt->saddr))))
			return 0;
	}
	return fw_addr_eq(&pkt->saddr, &pod->v6) && !fw_addr_is_zero(&pkt->saddr) ? 0 : FW_DROP_SPOOFED_IP;
}

#endif

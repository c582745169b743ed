/* SPDX-License-Identifier: GPL-2.0 */
/* The straight way: a pod speaks to another pod of this node, and nothing is translated. It decides most packets of a node,
 * so it reads each header once and keeps nothing; what it does not know it leaves to the general way (fw_pod_in), which
 * drops, answers and counts. Both give the same verdict for every packet that both know. */
#ifndef FAIRWAY_LIB_STRAIGHT_H
#define FAIRWAY_LIB_STRAIGHT_H

#include "lib/antispoof.h"
#include "lib/deliver.h"

#define FW_NOT_STRAIGHT 0x100

/* A pod of this node, neither translated towards nor tracked. */
static __always_inline bool fw_is_straight(const struct fw_endpoint *ep)
{
	return ep && (ep->flags & (FW_EP_LOCAL | FW_EP_NODE | FW_EP_NAT | FW_EP_TRACK)) == FW_EP_LOCAL;
}

static __always_inline void fw_next_macs(struct ethhdr *eth, const struct fw_endpoint *ep)
{
	__builtin_memcpy(eth->h_source, eth->h_dest, 6);
	__builtin_memcpy(eth->h_dest, ep->mac, 6);
}

static __always_inline int fw_straight4(struct __sk_buff *skb, const struct fw_local_if *pod)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + FW_ETH_HLEN;
	struct fw_endpoint *ep;
	struct fw_addr daddr;
	__u32 check;

	if ((void *)(ip + 1) > end || *(__u8 *)ip != 0x45 || ip->saddr != pod->v4.words[3] || !ip->saddr || ip->ttl <= 1)
		return FW_NOT_STRAIGHT;
	fw_addr_set_v4(&daddr, ip->daddr);
	ep = bpf_map_lookup_elem(&endpoints, &daddr);
	if (!fw_is_straight(ep))
		return FW_NOT_STRAIGHT;
	check = ip->check + bpf_htons(0x0100);
	ip->check = (__u16)(check + (check >= 0xffff));
	ip->ttl--;
	fw_next_macs(data, ep);
	return bpf_redirect_peer(ep->ifindex, 0);
}

static __always_inline int fw_straight6(struct __sk_buff *skb, const struct fw_local_if *pod)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + FW_ETH_HLEN;
	struct fw_endpoint *ep;
	struct fw_addr addr;

	/* ICMPv6 and extension headers are looked at more closely (neighbour discovery) */
	if ((void *)(ip + 1) > end || ip->version != 6 || ip->hop_limit <= 1 ||
	    (ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP))
		return FW_NOT_STRAIGHT;
	__builtin_memcpy(&addr, &ip->saddr, sizeof(addr));
	if (!fw_addr_eq(&addr, &pod->v6) || fw_addr_is_zero(&addr))
		return FW_NOT_STRAIGHT;
	__builtin_memcpy(&addr, &ip->daddr, sizeof(addr));
	ep = bpf_map_lookup_elem(&endpoints, &addr);
	if (!fw_is_straight(ep))
		return FW_NOT_STRAIGHT;
	ip->hop_limit--;
	fw_next_macs(data, ep);
	return bpf_redirect_peer(ep->ifindex, 0);
}

static __always_inline int fw_straight(struct __sk_buff *skb, const struct fw_local_if *pod)
{
	if (pod->flags)
		return FW_NOT_STRAIGHT;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return fw_straight4(skb, pod);
	return skb->protocol == bpf_htons(ETH_P_IPV6) ? fw_straight6(skb, pod) : FW_NOT_STRAIGHT;
}

#endif

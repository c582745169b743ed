/* SPDX-License-Identifier: GPL-2.0 */
/* The straight way: a pod speaks to another pod of this node, and nothing is translated. It is most of a node's traffic, so
 * its verdict is remembered per CPU: one array row instead of two hash lookups (measured: 60 ns a packet, a third of what
 * the datapath adds to a bare veth).
 *
 * A row holds what the general way (fw_pod_in) looked at, all of it, and is compared in full: device, source MAC, both
 * addresses. It is valid for one epoch. Whoever changes `endpoints` or `local_ifs` raises the epoch after the change; the
 * general way reads it before it looks anything up, so that a row made from an old answer is never valid in a new epoch. */
#ifndef FAIRWAY_LIB_STRAIGHT_H
#define FAIRWAY_LIB_STRAIGHT_H

#include "lib/antispoof.h"
#include "lib/deliver.h"

#define FW_NOT_STRAIGHT 0x100
#define FW_STRAIGHT_ROWS 512 /* a power of two */

struct fw_straight {
	struct fw_addr saddr;
	struct fw_addr daddr;
	__u32 epoch;       /* 0: never written */
	__u32 in_ifindex;
	__u32 out_ifindex;
	__u8 smac[6];
	__u8 next_mac[6];
	__be16 protocol;   /* of the frame */
	__u16 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct fw_straight);
	__uint(max_entries, FW_STRAIGHT_ROWS);
} straight SEC(".maps");

static __always_inline __u32 fw_straight_index(__u32 saddr_tail, __u32 daddr_tail)
{
	__u32 mix = (saddr_tail ^ (daddr_tail * 0x9e3779b1u)) * 0x85ebca6bu;

	return (mix >> 20) & (FW_STRAIGHT_ROWS - 1);
}

static __always_inline void fw_straight_macs(struct ethhdr *eth, const struct fw_straight *row)
{
	__builtin_memcpy(eth->h_source, eth->h_dest, 6);
	__builtin_memcpy(eth->h_dest, row->next_mac, 6);
}

static __always_inline int fw_straight4(struct __sk_buff *skb, __u32 now)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + FW_ETH_HLEN;
	struct fw_straight *row;
	__u32 index, check;

	if ((void *)(ip + 1) > end || *(__u8 *)ip != 0x45 || ip->ttl <= 1)
		return FW_NOT_STRAIGHT;
	index = fw_straight_index(ip->saddr, ip->daddr);
	row = bpf_map_lookup_elem(&straight, &index);
	if (!row || row->epoch != now || row->in_ifindex != skb->ifindex || row->protocol != bpf_htons(ETH_P_IP) ||
	    row->saddr.words[3] != ip->saddr || row->daddr.words[3] != ip->daddr ||
	    !fw_mac_eq(row->smac, ((struct ethhdr *)data)->h_source))
		return FW_NOT_STRAIGHT;
	check = ip->check + bpf_htons(0x0100);
	ip->check = (__u16)(check + (check >= 0xffff));
	ip->ttl--;
	fw_straight_macs(data, row);
	return bpf_redirect_peer(row->out_ifindex, 0);
}

static __always_inline int fw_straight6(struct __sk_buff *skb, __u32 now)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + FW_ETH_HLEN;
	const struct fw_addr *saddr = (const struct fw_addr *)&ip->saddr, *daddr = (const struct fw_addr *)&ip->daddr;
	struct fw_straight *row;
	__u32 index;

	/* ICMPv6 and extension headers are looked at more closely (neighbour discovery) */
	if ((void *)(ip + 1) > end || ip->version != 6 || ip->hop_limit <= 1 ||
	    (ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP))
		return FW_NOT_STRAIGHT;
	index = fw_straight_index(saddr->words[3], daddr->words[3]);
	row = bpf_map_lookup_elem(&straight, &index);
	if (!row || row->epoch != now || row->in_ifindex != skb->ifindex || row->protocol != bpf_htons(ETH_P_IPV6) ||
	    !fw_addr_eq(&row->saddr, saddr) || !fw_addr_eq(&row->daddr, daddr) ||
	    !fw_mac_eq(row->smac, ((struct ethhdr *)data)->h_source))
		return FW_NOT_STRAIGHT;
	ip->hop_limit--;
	fw_straight_macs(data, row);
	return bpf_redirect_peer(row->out_ifindex, 0);
}

/* A verdict that still holds, or FW_NOT_STRAIGHT. `now` is the epoch. */
static __always_inline int fw_straight_try(struct __sk_buff *skb, __u32 now)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return fw_straight4(skb, now);
	return skb->protocol == bpf_htons(ETH_P_IPV6) ? fw_straight6(skb, now) : FW_NOT_STRAIGHT;
}

/* Remembers the general way's verdict "to this pod", where nothing but its addresses decided it. */
static __always_inline void fw_straight_learn(struct __sk_buff *skb, const struct fw_pkt *pkt, const struct fw_local_if *pod,
					      const struct fw_endpoint *ep, __u32 epoch)
{
	__u32 index = fw_straight_index(pkt->saddr.words[3], pkt->daddr.words[3]);
	struct fw_straight *row;

	if (pod->flags || (ep->flags & (FW_EP_LOCAL | FW_EP_NODE | FW_EP_NAT | FW_EP_TRACK)) != FW_EP_LOCAL)
		return;
	row = bpf_map_lookup_elem(&straight, &index);
	if (!row)
		return;
	row->saddr = pkt->saddr;
	row->daddr = pkt->daddr;
	row->in_ifindex = skb->ifindex;
	row->out_ifindex = ep->ifindex;
	row->protocol = (__be16)skb->protocol;
	__builtin_memcpy(row->smac, pod->mac, 6);
	__builtin_memcpy(row->next_mac, ep->mac, 6);
	row->epoch = epoch;
}

#endif

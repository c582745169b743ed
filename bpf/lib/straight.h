/* SPDX-License-Identifier: GPL-2.0 */
/* The straight way: between pods, nothing translated. It is most of a node's traffic, so what the general way found out
 * about a pair of addresses is remembered per CPU: one array row instead of two to four hash lookups (measured: 50 ns a
 * packet between pods of one node, half of what the datapath adds to a bare veth).
 *
 *   pod_in:                 general way: fw_pod_in       to a pod of this node, or to another node's (native, VXLAN)
 *   uplink_in, overlay_in:  general way: fw_arrive       to a pod of this node
 *
 * A row holds all that the general way looked at and is compared in full: device, source MAC, both addresses. It is
 * valid for one epoch. Whoever changes `endpoints`, `local_ifs`, `nodes` or `config` raises the epoch after the change;
 * the general way reads it before it looks anything up, so that a row made from an old answer is never valid in a new
 * epoch. */
#ifndef FAIRWAY_LIB_STRAIGHT_H
#define FAIRWAY_LIB_STRAIGHT_H

#include "lib/antispoof.h"
#include "lib/wire.h"

#define FW_NOT_STRAIGHT 0x100
#define FW_STRAIGHT_ROWS 512 /* a power of two */

enum fw_way {
	FW_WAY_POD = 0,	    /* of this node, from a pod of this node */
	FW_WAY_ARRIVAL = 1, /* of this node, from another: no hop less, it was counted at the sender's node */
	FW_WAY_NODE = 2,
	FW_WAY_WIRE = 3, /* to a node whose frame is prepared (lib/wire.h) */

	FW_WAY_SENDER_TRACKED = 0x10, /* beside one of the others, to fw_straight_learn() */
};

struct fw_straight {
	struct fw_addr saddr;
	struct fw_addr daddr;
	__u32 epoch; /* 0: never written */
	__u32 in_ifindex;
	__u32 out_ifindex;
	__u32 sender; /* FW_WAY_ARRIVAL: the source's node */
	__u32 src_if; /* isolated ends: each packet needs a pass (lib/pass.h) */
	__u32 dst_if;
	__u8 smac[6];
	__u8 next_mac[6];
	__be16 protocol;     /* of the frame */
	__u16 way;	     /* enum fw_way */
	__u64 learned;	     /* jiffies */
	struct fw_node node; /* FW_WAY_NODE, FW_WAY_WIRE: what the kernel said of it holds for a moment */
	struct fw_wire wire; /* FW_WAY_WIRE */
};
FW_MAP_SIZED(straight, BPF_MAP_TYPE_PERCPU_ARRAY, struct fw_straight, FW_STRAIGHT_ROWS);

/* By the addresses' last words. */
static __always_inline struct fw_straight *fw_straight_row(__u32 source, __u32 destination)
{
	__u32 mix = (source ^ (destination * 0x9e3779b1u)) * 0x85ebca6bu;
	__u32 index = (mix >> 20) & (FW_STRAIGHT_ROWS - 1);

	return bpf_map_lookup_elem(&straight, &index);
}

/* Of a GSO frame, its segments; the frame has no IP options nor extension headers. What this cannot tell is judged by
 * the general way. */
static __always_inline bool fw_surely_fits(struct __sk_buff *skb, __u32 mtu, bool v6)
{
	const struct tcphdr *tcp =
		(void *)(long)skb->data + FW_ETH_HLEN + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	__u32 ip = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);

	if (!skb->gso_size)
		return skb->len - FW_ETH_HLEN <= mtu;
	/* UDP GSO is read as if it were TCP: that counts too many bytes, never too few */
	if ((void *)(tcp + 1) > (void *)(long)skb->data_end || tcp->doff < 5)
		return false;
	return ip + tcp->doff * 4 + skb->gso_size <= mtu;
}

/* `sender`: the node that the overlay's packet came from, 0 elsewhere. */
static __always_inline bool fw_straight_matches(struct __sk_buff *skb, const struct fw_straight *row, __u32 now,
						__u32 sender, bool v6)
{
	const struct ethhdr *eth = (void *)(long)skb->data;

	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return false;
	return row->epoch == now && row->in_ifindex == skb->ifindex && row->protocol == (__be16)skb->protocol &&
	       fw_mac_eq(row->smac, eth->h_source) && (!sender || row->sender == sender) &&
	       (row->way < FW_WAY_NODE || fw_surely_fits(skb, row->node.mtu, v6));
}

static __always_inline int fw_straight_go(struct __sk_buff *skb, struct fw_straight *row, bool v6)
{
	const struct fw_config *cfg;

	if (row->way < FW_WAY_NODE) {
		if (!fw_hop(skb, row->next_mac, row->way == FW_WAY_POD))
			return FW_NOT_STRAIGHT;
		if (row->way == FW_WAY_ARRIVAL && skb->pkt_type != 0 && bpf_skb_change_type(skb, 0))
			return fw_drop(skb, FW_DROP_REWRITE);
		return bpf_redirect_peer(row->out_ifindex, 0);
	}
	cfg = fw_get_config();
	if (!cfg || !fw_within_a_moment(row->learned) || !fw_hop(skb, NULL, true))
		return FW_NOT_STRAIGHT;
	if (row->way == FW_WAY_WIRE)
		return row->wire.ip_sum ? fw_wire_encapsulate(skb, cfg, &row->node, &row->wire, v6)
					: fw_wire_native(skb, cfg, &row->wire);
	return row->node.mode == FW_NODE_VXLAN ? fw_to_node_vxlan(skb, cfg, &row->node)
					       : fw_to_node_native(skb, cfg, &row->node, v6);
}

static __always_inline int fw_straight4(struct __sk_buff *skb, __u32 now, __u32 sender)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + FW_ETH_HLEN;
	struct fw_straight *row;

	if ((void *)(ip + 1) > end || *(__u8 *)ip != 0x45 || ip->ttl <= 1)
		return FW_NOT_STRAIGHT;
	row = fw_straight_row(ip->saddr, ip->daddr);
	if (!row || row->saddr.words[3] != ip->saddr || row->daddr.words[3] != ip->daddr ||
	    !fw_straight_matches(skb, row, now, sender, false))
		return FW_NOT_STRAIGHT;
	if ((row->src_if | row->dst_if) && ((ip->frag_off & bpf_htons(FW_IP_MF | FW_IP_OFFSET)) ||
					    !fw_has_pass(skb, &row->saddr, &row->daddr, ip->protocol,
							 FW_ETH_HLEN + sizeof(*ip), row->src_if, row->dst_if)))
		return FW_NOT_STRAIGHT;
	return fw_straight_go(skb, row, false);
}

static __always_inline int fw_straight6(struct __sk_buff *skb, __u32 now, __u32 sender)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + FW_ETH_HLEN;
	const struct fw_addr *saddr = (const struct fw_addr *)&ip->saddr, *daddr = (const struct fw_addr *)&ip->daddr;
	struct fw_straight *row;

	/* ICMPv6 and extension headers are looked at more closely (neighbour discovery) */
	if ((void *)(ip + 1) > end || ip->version != 6 || ip->hop_limit <= 1 ||
	    (ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP))
		return FW_NOT_STRAIGHT;
	row = fw_straight_row(saddr->words[3], daddr->words[3]);
	if (!row || !fw_addr_eq(&row->saddr, saddr) || !fw_addr_eq(&row->daddr, daddr) ||
	    !fw_straight_matches(skb, row, now, sender, true))
		return FW_NOT_STRAIGHT;
	if ((row->src_if | row->dst_if) && !fw_has_pass(skb, &row->saddr, &row->daddr, ip->nexthdr,
							FW_ETH_HLEN + sizeof(*ip), row->src_if, row->dst_if))
		return FW_NOT_STRAIGHT;
	return fw_straight_go(skb, row, true);
}

/* The epoch, read before anything is looked up. 0: nothing is to be remembered. */
static __always_inline __u32 fw_straight_now(void)
{
	__u32 *now = fw_get_epoch();

	return now ? *(volatile __u32 *)now : 0;
}

/* A verdict that still holds, or FW_NOT_STRAIGHT. */
static __always_inline int fw_straight_try(struct __sk_buff *skb, __u32 now, __u32 sender)
{
	if (now == 0)
		return FW_NOT_STRAIGHT;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return fw_straight4(skb, now, sender);
	return skb->protocol == bpf_htons(ETH_P_IPV6) ? fw_straight6(skb, now, sender) : FW_NOT_STRAIGHT;
}

/* Remembers the general way's verdict, where nothing but addresses decided it, and policy: neither end is translated.
 */
FW_GLOBAL int fw_straight_learn(struct __sk_buff *skb, const struct fw_pkt *pkt, const struct fw_endpoint *ep,
				__u32 way, __u32 epoch)
{
	bool sender_tracked = way & FW_WAY_SENDER_TRACKED;
	const struct fw_endpoint *from;
	struct fw_straight *row;
	struct fw_node *node;
	__u32 id;

	way &= ~FW_WAY_SENDER_TRACKED;
	if (!pkt || !ep || epoch == 0 || (ep->flags & (FW_EP_NODE | FW_EP_NAT | FW_EP_SHAPED)))
		return 0;
	row = fw_straight_row(pkt->saddr.words[3], pkt->daddr.words[3]);
	if (!row)
		return 0;
	row->epoch = 0;
	row->src_if = sender_tracked ? skb->ifindex : 0;
	row->dst_if = way != FW_WAY_NODE && (ep->flags & FW_EP_TRACK) ? ep->ifindex : 0;
	if (way == FW_WAY_NODE) {
		id = ep->node;
		node = bpf_map_lookup_elem(&nodes, &id);
		if (!node)
			return 0;
		row->node = *node;
		if (fw_wire_learn(skb, &row->node, pkt->v6, &row->wire))
			way = FW_WAY_WIRE;
	}
	if (bpf_skb_load_bytes(skb, 6, row->smac, 6))
		return 0;
	row->saddr = pkt->saddr;
	from = bpf_map_lookup_elem(&endpoints, &row->saddr);
	row->sender = from ? from->node : 0;
	row->daddr = pkt->daddr;
	row->learned = bpf_jiffies64();
	row->in_ifindex = skb->ifindex;
	row->out_ifindex = ep->ifindex;
	row->protocol = (__be16)skb->protocol;
	row->way = (__u16)way;
	__builtin_memcpy(row->next_mac, ep->mac, 6);
	row->epoch = epoch;
	return 1;
}

#endif

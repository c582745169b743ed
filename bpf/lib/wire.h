/* SPDX-License-Identifier: GPL-2.0 */
/* A frame to another node's pod, ready for the uplink: its MACs and, where the way is VXLAN over IPv4, all that stands
 * before the pod's packet. So it needs no neighbour's row and no route of its own, nor the overlay's device.
 *
 *   native  | dst src type | IP ...                                      the two MACs are written
 *   VXLAN   | dst src 0800 | IP | UDP | VXLAN | dst src type | IP ...    64 bytes are written
 *
 * The kernel's tables are asked again after a moment (fw_within_a_moment), and that packet goes by bpf_redirect_neigh
 * or the device: it keeps the kernel's neighbour alive, and finds out what has become of it. While there is none, all
 * do. */
#ifndef FAIRWAY_LIB_WIRE_H
#define FAIRWAY_LIB_WIRE_H

#include "abi/overlay.h"
#include "lib/deliver.h"
#include "lib/pass.h"

#define FW_VXLAN_ROOM 50 /* IP, UDP, VXLAN, the inner frame's header */
#define FW_VXLAN_TTL 64
#define FW_VXLAN_PORT_BASE 32768 /* the outer source port tells the inner flow: 16384 of them */
#define FW_VXLAN_HAS_VNI bpf_htonl(0x08000000)

/* As it is on the wire from `outer` on: so all of it is aligned. */
struct fw_vxlan_frame {
	__u8 pad[2];
	struct ethhdr outer;
	struct iphdr ip;
	struct udphdr udp;
	__be32 vxlan_flags;
	__be32 vni;
	struct ethhdr inner;
};
#define FW_VXLAN_FRAME (FW_ETH_HLEN + FW_VXLAN_ROOM)

struct fw_wire {
	__u32 ip_sum; /* of the outer IP header, without length, id and ECN; 0: native */
	struct fw_vxlan_frame frame;
};

/* The next hop's MAC and the uplink's own, as the kernel knows them now. `near`: only if the next hop is the node
 * itself. */
static __always_inline bool fw_next_hop(struct __sk_buff *skb, __u32 uplink, const struct bpf_redir_neigh *to,
					bool near, struct ethhdr *eth)
{
	struct bpf_fib_lookup route = {.family = (__u8)to->nh_family, .ifindex = uplink};

	if (to->nh_family == FW_AF_INET6)
		__builtin_memcpy(route.ipv6_dst, to->ipv6_nh, 16);
	else
		route.ipv4_dst = to->ipv4_nh;
	if (bpf_fib_lookup(skb, &route, sizeof(route), BPF_FIB_LOOKUP_OUTPUT) != BPF_FIB_LKUP_RET_SUCCESS ||
	    route.ifindex != uplink)
		return false;
	if (near && (to->nh_family == FW_AF_INET6 ? __builtin_memcmp(route.ipv6_dst, to->ipv6_nh, 16) != 0
						  : route.ipv4_dst != to->ipv4_nh))
		return false;
	__builtin_memcpy(eth->h_dest, route.dmac, 6);
	__builtin_memcpy(eth->h_source, route.smac, 6);
	return true;
}

static __always_inline void fw_wire_prepare_vxlan(const struct fw_config *cfg, __be32 to, struct fw_wire *wire)
{
	struct fw_vxlan_frame *frame = &wire->frame;
	const __u16 *word = (const __u16 *)&frame->ip;
	__u32 sum = 0;
	int i;

	frame->outer.h_proto = bpf_htons(ETH_P_IP);
	__builtin_memset(&frame->ip, 0, sizeof(frame->ip));
	frame->ip.version = 4;
	frame->ip.ihl = 5;
	frame->ip.ttl = FW_VXLAN_TTL;
	frame->ip.protocol = IPPROTO_UDP;
	frame->ip.saddr = cfg->node_v4.words[3];
	frame->ip.daddr = to;
	frame->udp.dest = bpf_htons(FW_VXLAN_PORT);
	frame->udp.check = 0;
	frame->vxlan_flags = FW_VXLAN_HAS_VNI;
	frame->vni = bpf_htonl(cfg->vxlan_vni << 8);
	for (i = 0; i < 10; i++)
		sum += word[i];
	wire->ip_sum = sum;
}

/* Prepares the way to a node for the frames that are like this one. False where the kernel has to be asked each time.
 */
static __always_inline bool fw_wire_learn(struct __sk_buff *skb, const struct fw_node *node, bool v6,
					  struct fw_wire *wire)
{
	const struct fw_config *cfg = fw_get_config();
	bool vxlan = node->mode == FW_NODE_VXLAN;
	struct bpf_redir_neigh to = {};

	if (!cfg || !fw_node_neigh(node, v6 && !vxlan, &to))
		return false;
	if (vxlan && (to.nh_family != FW_AF_INET || !cfg->vxlan_ifindex || !fw_addr_is_v4(&cfg->node_v4)))
		return false;
	if (!fw_next_hop(skb, cfg->uplink_ifindex, &to, !vxlan, &wire->frame.outer))
		return false;
	wire->ip_sum = 0;
	if (vxlan) {
		if (bpf_skb_load_bytes(skb, 0, &wire->frame.inner, FW_ETH_HLEN))
			return false;
		fw_wire_prepare_vxlan(cfg, to.ipv4_nh, wire);
	}
	return true;
}

/* A frame for the overlay's device: no port of this node that leads to a pod (those are others), and no answer. */
static __always_inline bool fw_is_for_overlay(struct __sk_buff *skb, const struct fw_config *cfg)
{
	const struct iphdr *ip = (void *)(long)skb->data + FW_ETH_HLEN;
	const struct udphdr *udp = (void *)(ip + 1);

	return skb->protocol == bpf_htons(ETH_P_IP) && (void *)(udp + 1) <= (void *)(long)skb->data_end &&
	       *(const __u8 *)ip == 0x45 && ip->protocol == IPPROTO_UDP && ip->daddr == cfg->node_v4.words[3] &&
	       !(ip->frag_off & bpf_htons(FW_IP_MF | FW_IP_OFFSET)) && udp->dest == bpf_htons(FW_VXLAN_PORT) &&
	       cfg->vxlan_ifindex;
}

/* RFC 6040, as the kernel does it: the inner header's ECN, where congestion is not yet told of. */
static __always_inline __u8 fw_outer_ecn(struct __sk_buff *skb, bool v6)
{
	const __u8 *ip = (void *)(long)skb->data + FW_ETH_HLEN;
	__u8 ecn;

	if ((void *)(ip + 2) > (void *)(long)skb->data_end)
		return 0;
	ecn = v6 ? (ip[1] >> 4) & 3 : ip[1] & 3;
	return ecn == 3 ? 2 : ecn;
}

/* A GSO frame may grow beyond what an IPv4 header can tell, and one that is encapsulated already is refused: both are
 * left to the overlay's device, as they are. */
static __always_inline int fw_wire_encapsulate(struct __sk_buff *skb, const struct fw_config *cfg,
					       const struct fw_node *node, struct fw_wire *wire, bool v6)
{
	const __u64 how = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
			  BPF_F_ADJ_ROOM_ENCAP_L2(FW_ETH_HLEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH;
	__u32 total = skb->len - FW_ETH_HLEN + FW_VXLAN_ROOM, sum;
	struct fw_vxlan_frame *frame = &wire->frame;

	frame->ip.tos = fw_outer_ecn(skb, v6);
	frame->ip.tot_len = bpf_htons((__u16)total);
	frame->ip.id = (__u16)bpf_get_prandom_u32();
	sum = wire->ip_sum + bpf_htons(frame->ip.tos) + frame->ip.tot_len + frame->ip.id;
	sum = (sum & 0xffff) + (sum >> 16);
	frame->ip.check = (__u16) ~((sum & 0xffff) + (sum >> 16));
	frame->udp.source = bpf_htons(FW_VXLAN_PORT_BASE + (bpf_get_hash_recalc(skb) & 0x3fff));
	frame->udp.len = bpf_htons((__u16)(total - sizeof(struct iphdr)));
	if (total > 0xffff || bpf_skb_adjust_room(skb, FW_VXLAN_ROOM, BPF_ADJ_ROOM_MAC, how))
		return fw_to_node_vxlan(skb, cfg, node);
	if (bpf_skb_store_bytes(skb, 0, &frame->outer, FW_VXLAN_FRAME, 0))
		return fw_drop(skb, FW_DROP_REWRITE);
	skb->mark = FW_MARK_TO_POD;
	return bpf_redirect(cfg->uplink_ifindex, 0);
}

static __always_inline int fw_wire_native(struct __sk_buff *skb, const struct fw_config *cfg,
					  const struct fw_wire *wire)
{
	struct ethhdr *eth = (void *)(long)skb->data;

	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return fw_drop(skb, FW_DROP_MALFORMED);
	__builtin_memcpy(eth->h_dest, wire->frame.outer.h_dest, 6);
	__builtin_memcpy(eth->h_source, wire->frame.outer.h_source, 6);
	skb->mark = FW_MARK_TO_POD;
	return bpf_redirect(cfg->uplink_ifindex, 0);
}

#endif

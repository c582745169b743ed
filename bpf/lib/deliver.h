/* SPDX-License-Identifier: GPL-2.0 */
/* Where a packet goes next:
 *
 *   this node's pod    --> straight into its namespace (bpf_redirect_peer)
 *   another node's pod --> native: its node's MAC on the uplink; VXLAN: a tunnel key, and the overlay device
 *   beyond the cluster --> the uplink as the kernel's routes say; uplink_out masquerades
 *   all else           --> the kernel's stack, which knows how to answer (too large, out of hops, no route) */
#ifndef FAIRWAY_LIB_DELIVER_H
#define FAIRWAY_LIB_DELIVER_H

#include "lib/packet.h"

/* Left to the kernel: it answers with a true ICMP error, or fragments. */
static __always_inline int fw_slow_path(struct __sk_buff *skb)
{
	fw_count(FW_EVENT_SLOW_PATH, skb->len);
	return FW_PASS;
}

/* One router's work on a frame: a hop less and, where `mac` is set, the next MACs. `mac` may be null. */
static __always_inline bool fw_hop(struct __sk_buff *skb, const __u8 *mac, bool decrement)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + FW_ETH_HLEN;
		__u32 check;

		if ((void *)(ip + 1) > end)
			return false;
		if (decrement) {
			check = ip->check + bpf_htons(0x0100);
			ip->check = (__u16)(check + (check >= 0xffff));
			ip->ttl--;
		}
	} else {
		struct ipv6hdr *ip = data + FW_ETH_HLEN;

		if ((void *)(ip + 1) > end)
			return false;
		if (decrement)
			ip->hop_limit--;
	}
	if (mac) {
		__builtin_memcpy(eth->h_source, eth->h_dest, 6);
		__builtin_memcpy(eth->h_dest, mac, 6);
	}
	return true;
}

/* The largest packet that a device takes. */
static __always_inline __u32 fw_device_mtu(struct __sk_buff *skb, __u32 ifindex)
{
	__u32 mtu = 0;

	return bpf_check_mtu(skb, ifindex, &mtu, 0, 0) < 0 ? 0 : mtu;
}

/* On a packet to a shaped pod, which goes by its veth's egress: pod_out does not judge it again, in another generation
 * or by a tuple that is translated by then. The kernel takes marks off at a namespace's border: no pod can set it. */
#define FW_MARK_JUDGED 0x66770001
/* On a packet that pod_in sends to another node's pod by the straight way: there is nothing to masquerade. */
#define FW_MARK_TO_POD 0x66770002

/* Through the queue of the veth's host side, which redirect_peer passes by. Unlike it, veth refuses what is too large.
 */
FW_GLOBAL int fw_to_shaped_pod(struct __sk_buff *skb, __u32 ifindex)
{
	skb->mark = FW_MARK_JUDGED;
	if (!skb->gso_size && skb->len - FW_ETH_HLEN > fw_device_mtu(skb, ifindex))
		return fw_slow_path(skb);
	return bpf_redirect(ifindex, 0);
}

/* Into a pod of this node, from a device's ingress. */
static __always_inline int fw_to_pod(struct __sk_buff *skb, const struct fw_endpoint *ep, bool decrement)
{
	if (!fw_hop(skb, ep->mac, decrement))
		return fw_drop(skb, FW_DROP_MALFORMED);
	if (ep->flags & FW_EP_SHAPED)
		return fw_to_shaped_pod(skb, ep->ifindex);
	return bpf_redirect_peer(ep->ifindex, 0);
}

/* The largest packet that the way to a node takes, 0 where the node is not known. */
static __always_inline __u32 fw_node_mtu(__u32 id)
{
	struct fw_node *node = bpf_map_lookup_elem(&nodes, &id);

	return node ? node->mtu : 0;
}

/* The node's address on the wire, as a next hop for packets of a family; false where it has none. */
static __always_inline bool fw_node_neigh(const struct fw_node *node, bool v6, struct bpf_redir_neigh *next)
{
	if (!v6 && fw_addr_is_v4(&node->underlay_v4)) {
		next->nh_family = FW_AF_INET;
		next->ipv4_nh = node->underlay_v4.words[3];
		return true;
	}
	next->nh_family = FW_AF_INET6;
	__builtin_memcpy(next->ipv6_nh, &node->underlay_v6, 16);
	return !fw_addr_is_zero(&node->underlay_v6);
}

static __always_inline int fw_to_node_native(struct __sk_buff *skb, const struct fw_config *cfg,
					     const struct fw_node *node, bool v6)
{
	struct bpf_redir_neigh next = {};

	if (!fw_node_neigh(node, v6, &next))
		return fw_drop(skb, FW_DROP_NO_NODE);
	return bpf_redirect_neigh(cfg->uplink_ifindex, &next, sizeof(next), 0);
}

static __always_inline int fw_to_node_vxlan(struct __sk_buff *skb, const struct fw_config *cfg,
					    const struct fw_node *node)
{
	struct bpf_tunnel_key key = {.tunnel_id = cfg->vxlan_vni, .tunnel_ttl = 64};
	__u64 flags = BPF_F_ZERO_CSUM_TX;

	if (cfg->vxlan_ifindex == 0)
		return fw_drop(skb, FW_DROP_NO_LINK);
	if (fw_addr_is_v4(&node->underlay_v4)) {
		key.remote_ipv4 = bpf_ntohl(node->underlay_v4.words[3]); /* this helper takes host order */
	} else if (!fw_addr_is_zero(&node->underlay_v6)) {
		__builtin_memcpy(key.remote_ipv6, &node->underlay_v6, 16);
		flags = BPF_F_TUNINFO_IPV6;
	} else {
		return fw_drop(skb, FW_DROP_NO_NODE);
	}
	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags))
		return fw_drop(skb, FW_DROP_REWRITE);
	return bpf_redirect(cfg->vxlan_ifindex, 0);
}

/* To a pod of another node. The caller has seen that it fits, or wants the kernel to say that it does not. */
FW_GLOBAL int fw_to_node(struct __sk_buff *skb, struct fw_pkt *pkt, __u32 id, __u32 decrement)
{
	const struct fw_config *cfg = fw_get_config();
	struct fw_node *node = bpf_map_lookup_elem(&nodes, &id);

	if (!cfg || !pkt)
		return fw_drop(skb, FW_DROP_NO_CONFIG);
	if (!node)
		return fw_drop(skb, FW_DROP_NO_NODE);
	if (fw_wire_size(skb, pkt) > node->mtu)
		return fw_slow_path(skb);
	if (decrement && !fw_hop(skb, NULL, true))
		return fw_drop(skb, FW_DROP_MALFORMED);
	if (node->mode == FW_NODE_VXLAN)
		return fw_to_node_vxlan(skb, cfg, node);
	return fw_to_node_native(skb, cfg, node, pkt->v6);
}

/* Beyond the cluster, by the kernel's routes: straight to the uplink where they lead there and the neighbour is known,
 * else through the stack, which resolves, answers or refuses. */
FW_GLOBAL int fw_to_world(struct __sk_buff *skb, struct fw_pkt *pkt)
{
	const struct fw_config *cfg = fw_get_config();
	struct bpf_fib_lookup route = {};
	__u8 macs[12];

	if (!cfg || !pkt)
		return fw_drop(skb, FW_DROP_NO_CONFIG);
	route.ifindex = skb->ifindex;
	route.tot_len = fw_wire_size(skb, pkt);
	if (pkt->v6) {
		route.family = FW_AF_INET6;
		__builtin_memcpy(route.ipv6_src, &pkt->saddr, 16);
		__builtin_memcpy(route.ipv6_dst, &pkt->daddr, 16);
	} else {
		route.family = FW_AF_INET;
		route.ipv4_src = pkt->saddr.words[3];
		route.ipv4_dst = pkt->daddr.words[3];
	}
	if (bpf_fib_lookup(skb, &route, sizeof(route), 0) != BPF_FIB_LKUP_RET_SUCCESS ||
	    route.ifindex != cfg->uplink_ifindex)
		return FW_PASS;
	if (!fw_hop(skb, NULL, true))
		return fw_drop(skb, FW_DROP_MALFORMED);
	__builtin_memcpy(macs, route.dmac, 6);
	__builtin_memcpy(macs + 6, route.smac, 6);
	if (bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0))
		return fw_drop(skb, FW_DROP_REWRITE);
	return bpf_redirect(route.ifindex, 0);
}

#endif

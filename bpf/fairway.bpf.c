// SPDX-License-Identifier: GPL-2.0
/* Entry points. Each is a packet's way in a few lines; the topics are in lib/.
 *
 *      pod A                      node                               other nodes, the world
 *   +---------+  pod_in (ingress of its veth)          uplink_out / overlay device
 *   |  eth0   |--->[source ok?]-->[where to?]--------------------------------------------->
 *   |         |            |           \--- pod B on this node: redirect_peer, at once
 *   |         |            \--- a Service: service_in, then the same
 *   |         |<-----redirect_peer----- uplink_in / overlay_in <----------------------------
 *   +---------+<--pod_out-- the node's stack (its own answers and errors; what was redirected does not come by)
 *   processes of the node --> host_service_out (egress of the veth to which the service ranges are routed)
 *   processes of the node --> its own address, where a port of it leads to a pod: loopback_out (egress of lo)
 *   connect() of any process in the node's cgroup --> sock_lb (connect4, connect6) */
#include "lib/base.h"

#include "lib/answer.h"
#include "lib/antispoof.h"
#include "lib/deliver.h"
#include "lib/masquerade.h"
#include "lib/node_frontend.h"
#include "lib/pod_leaves.h"
#include "lib/service.h"
#include "lib/sock_lb.h"
#include "lib/straight.h"
#include "lib/translate.h"

char LICENSE[] SEC("license") = "GPL";

static __always_inline bool fw_is_ip(const struct __sk_buff *skb)
{
	return skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6);
}

/* pod -> an address that no endpoint has: a Service, or beyond the cluster. */
FW_GLOBAL int fw_pod_to_other(struct __sk_buff *skb, struct fw_pkt *pkt, __u32 if_flags)
{
	const struct fw_config *cfg = fw_get_config();
	struct fw_scratch *scratch_row = fw_get_scratch();
	const struct fw_frontend *fe;
	struct fw_addr *client;
	__u32 flags = 0;
	bool known;
	int done;

	if (!pkt || !cfg || !scratch_row)
		return fw_drop(skb, FW_DROP_NO_CONFIG);
	client = &scratch_row->client;
	*client = pkt->saddr;
	if (if_flags & FW_IF_HAIRPIN) {
		done = fw_service_reply(skb, pkt, &flags);
		if (done < 0)
			return fw_drop(skb, -done);
		if (done)
			return fw_to_endpoint(skb, pkt, if_flags);
	}
	done = fw_parse_l4(skb, pkt);
	if (done == FW_DROP_FRAGMENT && !(if_flags & FW_IF_TRACK) && !fw_in_service_range(cfg, &pkt->daddr))
		return fw_to_world(skb, pkt); /* uplink_out decides */
	if (done)
		return fw_drop(skb, done);
	fe = fw_find_frontend(&pkt->daddr, pkt->dport_be, pkt->protocol);
	if (fe) {
		/* judged as what policies select: the resolver has the Service's address */
		if (fe->flags & FW_FE_NODE_LOCAL) {
			done = fw_judge_from_pod(skb, pkt, if_flags, NULL);
			return done ? fw_drop(skb, done) : FW_PASS;
		}
		done = fw_translate(skb, pkt, fe, FW_SENDER_POD);
		if (done)
			return done;
		fw_mark_client(client, skb->ifindex, fw_addr_eq(client, &pkt->daddr));
		return fw_to_endpoint(skb, pkt, if_flags);
	}
	if (fw_in_service_range(cfg, &pkt->daddr) && (cfg->flags & FW_CFG_SERVICES_SYNCED))
		return fw_refuse(skb, pkt, FW_DROP_UNKNOWN_SERVICE, FW_SENDER_POD);
	/* to a pod or a Service that we do not know (yet) the kernel's route leads, or its unreachable route */
	known = !fw_in_service_range(cfg, &pkt->daddr) && !fw_in_cluster_range(cfg, &pkt->daddr);
	if (known && (if_flags & FW_IF_NAT) && (done = fw_direct_clash(skb, pkt)))
		return fw_drop(skb, done);
	done = fw_judge_from_pod(skb, pkt, if_flags, NULL);
	if (done)
		return fw_drop(skb, done);
	if (!known)
		return FW_PASS;
	if (pkt->hops <= 1)
		return fw_slow_path(skb);
	return fw_to_world(skb, pkt);
}

static __always_inline bool fw_is_loopback(const struct fw_addr *addr)
{
	if (fw_addr_is_v4(addr))
		return addr->bytes[12] == 127;
	return addr->halves[0] == 0 && addr->halves[1] == bpf_cpu_to_be64(1);
}

static __always_inline bool fw_is_link_local4(const struct fw_addr *addr)
{
	return fw_addr_is_v4(addr) && addr->bytes[12] == 169 && addr->bytes[13] == 254 &&
	       addr->words[3] != FW_GATEWAY_V4;
}

/* From a pod, past the straight way: whatever is not plainly one pod of this node speaking to another. */
static __always_inline int fw_pod_in(struct __sk_buff *skb, const struct fw_local_if *pod, __u32 now)
{
	__u32 for_stack = 0;
	struct fw_endpoint *ep;
	struct fw_pkt pkt = {};
	int why;

	if (!fw_is_ip(skb))
		return skb->protocol == bpf_htons(ETH_P_ARP) ? fw_pod_arp(skb, pod) : fw_drop(skb, FW_DROP_NOT_IP);
	why = fw_parse_l3(skb, &pkt);
	if (!why)
		why = fw_check_source(skb, &pkt, pod, &for_stack);
	if (why)
		return fw_drop(skb, why);
	if (for_stack)
		return FW_PASS;

	if (pod->flags & FW_IF_HOST_PORT) {
		why = fw_host_port_reply(skb, &pkt, pod->flags);
		if (why != FW_NO_FLOW)
			return why;
	}
	ep = bpf_map_lookup_elem(&endpoints, &pkt.daddr);
	if (!ep) {
		if (fw_is_link_scope(&pkt.daddr)) {
			/* 169.254.0.0/16 holds clouds' metadata servers: the stack forwards to them */
			why = fw_is_link_local4(&pkt.daddr) ? fw_judge_from_pod(skb, &pkt, pod->flags, NULL) : 0;
			return why ? fw_drop(skb, why) : FW_PASS;
		}
		if (fw_is_loopback(&pkt.daddr))
			return fw_drop(skb, FW_DROP_MARTIAN);
		return fw_pod_to_other(skb, &pkt, pod->flags);
	}
	if (ep->flags & FW_EP_NODE) {
		if (ep->node == 0) {
			why = fw_pod_to_own_node(skb, &pkt, ep->flags, pod->flags);
			if (why != FW_NO_FLOW)
				return why;
		}
		why = fw_pod_leaves(skb, &pkt, pod->flags, ep);
		return why ? fw_drop(skb, why) : FW_PASS;
	}
	if (pkt.hops <= 1)
		return fw_slow_path(skb);
	why = fw_pod_leaves(skb, &pkt, pod->flags, ep);
	if (why)
		return fw_drop(skb, why);
	if (!(pod->flags & ~FW_IF_TRACK))
		fw_straight_learn(skb, &pkt, ep,
				  (ep->flags & FW_EP_LOCAL ? FW_WAY_POD : FW_WAY_NODE) |
					  (pod->flags & FW_IF_TRACK ? FW_WAY_SENDER_TRACKED : 0),
				  now);
	return ep->flags & FW_EP_LOCAL ? fw_to_pod(skb, ep, true) : fw_to_node(skb, &pkt, ep->node, 1);
}

SEC("tc")
int pod_in(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex, now = fw_straight_now();
	int verdict = fw_straight_try(skb, now, 0);
	struct fw_local_if *pod;
	struct ethhdr *eth;

	if (verdict != FW_NOT_STRAIGHT)
		return verdict;
	pod = bpf_map_lookup_elem(&local_ifs, &ifindex);
	if (!pod)
		return fw_drop(skb, FW_DROP_UNKNOWN_IF);
	if (!fw_pull(skb, FW_ETH_HLEN))
		return fw_drop(skb, FW_DROP_MALFORMED);
	eth = (void *)(long)skb->data;
	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return fw_drop(skb, FW_DROP_MALFORMED);
	if (!fw_mac_eq(eth->h_source, pod->mac))
		return fw_drop(skb, FW_DROP_SPOOFED_MAC);
	return fw_pod_in(skb, pod, now);
}

/* From the node's stack to a pod: what was redirected does not come by here. The node's own answers to a translated
 * flow do, and the errors that the stack made. */
SEC("tc")
int pod_out(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex, flags = 0;
	struct fw_local_if *pod = bpf_map_lookup_elem(&local_ifs, &ifindex);
	struct fw_pkt pkt = {};
	int done;

	if (skb->mark == FW_MARK_JUDGED) {
		skb->mark = 0;
		return FW_PASS;
	}
	if (!pod || !(pod->flags & (FW_IF_NAT | FW_IF_TRACK)) || !fw_is_ip(skb) || fw_parse_l3(skb, &pkt))
		return FW_PASS;
	/* what came in by a device is forwarded; the rest is the node's own */
	if ((pod->flags & FW_IF_TRACK) && skb->ingress_ifindex != 0) {
		done = fw_judge(skb, &pkt, 0, ifindex);
		if (done)
			return fw_drop(skb, done);
	}
	if (!(pod->flags & FW_IF_NAT))
		return FW_PASS;
	done = fw_service_reply(skb, &pkt, &flags);
	return done < 0 ? fw_drop(skb, -done) : FW_PASS;
}

/* From outside the node, past the checks: into the pod, with its translation undone where it is the client. */
static __always_inline int fw_arrive(struct __sk_buff *skb, struct fw_pkt *pkt, const struct fw_endpoint *ep)
{
	__u32 flags = 0;
	int done;

	if (ep->flags & FW_EP_TRACK) {
		done = fw_judge(skb, pkt, 0, ep->ifindex);
		if (done)
			return fw_drop(skb, done);
	}
	if (ep->flags & FW_EP_NAT) {
		done = fw_service_reply(skb, pkt, &flags);
		if (done < 0)
			return fw_drop(skb, -done);
	}
	if (skb->pkt_type != 0 && bpf_skb_change_type(skb, 0)) /* the overlay's MACs are nobody's: PACKET_HOST */
		return fw_drop(skb, FW_DROP_REWRITE);
	return fw_to_pod(skb, ep, false);
}

/* Sources that cannot come from outside: loopback, and addresses of this node's pods. */
static __always_inline bool fw_is_martian(const struct fw_config *cfg, const struct fw_addr *saddr)
{
	struct fw_endpoint *ep;

	if (fw_is_loopback(saddr))
		return true;
	if (!fw_in_cluster_range(cfg, saddr))
		return false;
	ep = bpf_map_lookup_elem(&endpoints, saddr);
	return ep && (ep->flags & FW_EP_LOCAL);
}

/* From outside to a port of the node that leads to a pod of it. `pkt` has its ports. */
static __always_inline int fw_arrive_at_frontend(struct __sk_buff *skb, struct fw_pkt *pkt)
{
	struct fw_endpoint *ep = fw_find_endpoint(&pkt->saddr);
	int done;

	if (ep && (ep->flags & FW_EP_NODE) && ep->node == 0)
		return FW_PASS; /* our own address as source: the stack has a name for it */
	done = fw_node_frontend(skb, pkt, FW_SENDER_WORLD);
	if (done)
		return done;
	ep = fw_find_endpoint(&pkt->daddr);
	return ep && (ep->flags & FW_EP_LOCAL) ? fw_arrive(skb, pkt, ep) : fw_drop(skb, FW_DROP_NO_ENDPOINT);
}

/* To the node's own address: a masqueraded flow's answer, a host process's, or the node's own business. */
FW_GLOBAL int fw_arrive_at_node(struct __sk_buff *skb, struct fw_pkt *pkt, __u32 ep_flags)
{
	const struct fw_config *cfg = fw_get_config();
	struct fw_endpoint *ep;
	__u16 port;
	int done;

	if (!pkt || !cfg)
		return FW_PASS;
	done = fw_parse_l4(skb, pkt);
	if (done)
		return FW_PASS; /* the stack's own fragments, or nothing that it cannot refuse itself */
	port = bpf_ntohs(pkt->dport_be);
	if (pkt->icmp_error || (port >= cfg->masq_port_min && port <= cfg->masq_port_max)) {
		done = fw_unmasquerade(skb, pkt);
		if (done < 0)
			return fw_drop(skb, -done);
		if (done) {
			ep = fw_find_endpoint(&pkt->daddr);
			if (!ep || !(ep->flags & FW_EP_LOCAL))
				return fw_drop(skb, FW_DROP_STALE_REPLY);
			return fw_arrive(skb, pkt, ep);
		}
	}
	done = ep_flags & FW_EP_NAT ? fw_to_own_node(skb, pkt) : FW_PASS;
	return done == FW_PASS && (cfg->flags & FW_CFG_NODE_FRONTENDS) ? fw_arrive_at_frontend(skb, pkt) : done;
}

SEC("tc")
int uplink_in(struct __sk_buff *skb)
{
	const struct fw_config *cfg = fw_get_config();
	__u32 now = fw_straight_now();
	int verdict = fw_straight_try(skb, now, 0);
	struct fw_endpoint *ep;
	struct fw_pkt pkt = {};

	if (verdict != FW_NOT_STRAIGHT)
		return verdict;
	if (!cfg || !fw_is_ip(skb) || fw_is_for_overlay(skb, cfg) || fw_parse_l3(skb, &pkt))
		return FW_PASS;
	if (fw_is_martian(cfg, &pkt.saddr))
		return fw_drop(skb, FW_DROP_MARTIAN);
	ep = bpf_map_lookup_elem(&endpoints, &pkt.daddr);
	if (!ep)
		return FW_PASS;
	if (ep->flags & FW_EP_LOCAL) {
		fw_straight_learn(skb, &pkt, ep, FW_WAY_ARRIVAL, now);
		return fw_arrive(skb, &pkt, ep);
	}
	if ((ep->flags & FW_EP_NODE) && ep->node == 0)
		return fw_arrive_at_node(skb, &pkt, ep->flags);
	return FW_PASS;
}

/* The last thing a packet meets before the wire: what a pod sent beyond the cluster gets the node's address. */
SEC("tc")
int uplink_out(struct __sk_buff *skb)
{
	const struct fw_config *cfg = fw_get_config();
	struct fw_endpoint *ep;
	struct fw_pkt pkt = {};
	int why;

	if (skb->mark == FW_MARK_TO_POD) {
		skb->mark = 0;
		return FW_PASS;
	}
	if (!cfg || !fw_is_ip(skb))
		return FW_PASS;
	why = fw_parse_l3(skb, &pkt);
	if (why)
		return fw_drop(skb, why);
	if (!fw_in_cluster_range(cfg, &pkt.saddr) || fw_in_cluster_range(cfg, &pkt.daddr) ||
	    fw_is_link_scope(&pkt.daddr))
		return FW_PASS;
	if (!(cfg->flags & (pkt.v6 ? FW_CFG_MASQUERADE_V6 : FW_CFG_MASQUERADE_V4)))
		return FW_PASS;
	ep = bpf_map_lookup_elem(&endpoints, &pkt.daddr);
	if (ep && (ep->flags & FW_EP_NODE))
		return FW_PASS;
	why = fw_masquerade(skb, &pkt);
	return why ? fw_drop(skb, why) : FW_PASS;
}

#define FW_EINVAL 22

/* The node that put a packet into the tunnel: whoever reaches the node can send to its VXLAN port, pods too. So nodes
 * do, to the Node's address alone, where a pod has its own; at any other it may come masqueraded, with a node's. 0: it
 * did not come out of one, which only a test's packet does. */
FW_GLOBAL int fw_tunnel_sender(struct __sk_buff *skb)
{
	const struct fw_config *cfg = fw_get_config();
	struct bpf_tunnel_key key = {};
	const struct fw_endpoint *node;
	struct fw_addr outer = {}, here = {};
	int why = bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0);

	if (why == -FW_EINVAL)
		return 0;
	if (!why) {
		fw_addr_set_v4(&outer, bpf_htonl(key.remote_ipv4));
		fw_addr_set_v4(&here, bpf_htonl(key.local_ipv4));
	} else {
		if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6))
			return -1;
		__builtin_memcpy(&outer, key.remote_ipv6, 16);
		__builtin_memcpy(&here, key.local_ipv6, 16);
	}
	node = bpf_map_lookup_elem(&endpoints, &outer);
	if (!cfg || (!fw_addr_eq(&here, &cfg->node_v4) && !fw_addr_eq(&here, &cfg->node_v6)))
		return -1;
	if (key.tunnel_id != cfg->vxlan_vni || !node || !(node->flags & FW_EP_NODE) || node->node == 0)
		return -1;
	return (int)node->node;
}

/* From another node's pods, out of the tunnel. */
SEC("tc")
int overlay_in(struct __sk_buff *skb)
{
	const struct fw_config *cfg = fw_get_config();
	int sender = fw_tunnel_sender(skb), verdict;
	__u32 now = fw_straight_now();
	struct fw_endpoint *ep;
	struct fw_pkt pkt = {};

	if (sender < 0)
		return fw_drop(skb, FW_DROP_SPOOFED_OVERLAY);
	verdict = fw_straight_try(skb, now, (__u32)sender);
	if (verdict != FW_NOT_STRAIGHT)
		return verdict;
	if (!cfg)
		return fw_drop(skb, FW_DROP_NO_CONFIG);
	if (!fw_is_ip(skb))
		return fw_drop(skb, FW_DROP_NOT_IP);
	if (fw_parse_l3(skb, &pkt))
		return fw_drop(skb, FW_DROP_MALFORMED);
	if (fw_is_martian(cfg, &pkt.saddr))
		return fw_drop(skb, FW_DROP_MARTIAN);
	ep = bpf_map_lookup_elem(&endpoints, &pkt.saddr); /* a pod that is not known yet has no row */
	if (sender && ep && ep->node != (__u32)sender)
		return fw_drop(skb, FW_DROP_SPOOFED_OVERLAY);
	ep = bpf_map_lookup_elem(&endpoints, &pkt.daddr);
	if (ep && (ep->flags & FW_EP_LOCAL)) {
		fw_straight_learn(skb, &pkt, ep, FW_WAY_ARRIVAL, now);
		return fw_arrive(skb, &pkt, ep);
	}
	if (!ep && fw_in_cluster_range(cfg, &pkt.daddr))
		return fw_drop(skb, FW_DROP_NO_ENDPOINT);
	if (skb->pkt_type != 0 && bpf_skb_change_type(skb, 0))
		return fw_drop(skb, FW_DROP_REWRITE);
	return FW_PASS;
}

/* From a process of the node to a Service, as its route led it to our veth. From here no way but out: to a pod of this
 * node by its veth's egress, to the node itself by this veth's ingress. */
FW_GLOBAL int fw_host_to_backend(struct __sk_buff *skb, struct fw_pkt *pkt)
{
	const struct fw_config *cfg = fw_get_config();
	struct fw_endpoint *ep;

	if (!pkt || !cfg)
		return fw_drop(skb, FW_DROP_NO_CONFIG);
	ep = fw_find_endpoint(&pkt->daddr);
	if (ep && (ep->flags & FW_EP_LOCAL)) {
		if (!fw_hop(skb, ep->mac, false))
			return fw_drop(skb, FW_DROP_MALFORMED);
		return bpf_redirect(ep->ifindex, 0);
	}
	if (ep && (ep->flags & FW_EP_NODE) && ep->node == 0)
		return fw_to_host_process(skb, cfg);
	if (ep && !(ep->flags & FW_EP_NODE))
		return fw_to_node(skb, pkt, ep->node, 0);
	return bpf_redirect_neigh(cfg->uplink_ifindex, NULL, 0, 0);
}

SEC("tc")
int host_service_out(struct __sk_buff *skb)
{
	const struct fw_config *cfg = fw_get_config();
	const struct fw_frontend *fe;
	struct fw_addr client;
	struct fw_pkt pkt = {};
	__u32 flags = 0;
	int done;

	if (!cfg || !fw_is_ip(skb) || fw_parse_l3(skb, &pkt))
		return FW_PASS;
	client = pkt.saddr;
	done = fw_service_reply(skb, &pkt, &flags); /* the node as its own backend answers to the VIP */
	if (done < 0)
		return fw_drop(skb, -done);
	if (done)
		return fw_to_host_process(skb, cfg);
	done = fw_parse_l4(skb, &pkt);
	if (done)
		return fw_drop(skb, done);
	fe = fw_find_frontend(&pkt.daddr, pkt.dport_be, pkt.protocol);
	if (!fe) {
		if (!(cfg->flags & FW_CFG_SERVICES_SYNCED) || !fw_in_service_range(cfg, &pkt.daddr))
			return FW_PASS;
		return fw_refuse(skb, &pkt, FW_DROP_UNKNOWN_SERVICE, FW_SENDER_HOST);
	}
	done = fw_translate(skb, &pkt, fe, FW_SENDER_HOST);
	if (done)
		return done;
	fw_mark_client(&client, 0, false);
	return fw_host_to_backend(skb, &pkt);
}

/* What the node sends to itself; attached only where an address of the node has frontends. Its own packets to its own
 * address meet no other device. */
SEC("tc")
int loopback_out(struct __sk_buff *skb)
{
	const struct fw_config *cfg = fw_get_config();
	struct fw_endpoint *ep;
	struct fw_pkt pkt = {};
	int done;

	if (!cfg || !cfg->host_service_ifindex || !fw_is_ip(skb) || fw_parse_l3(skb, &pkt) ||
	    fw_is_loopback(&pkt.daddr))
		return FW_PASS;
	ep = bpf_map_lookup_elem(&endpoints, &pkt.daddr);
	if (!ep || !(ep->flags & FW_EP_NODE) || ep->node != 0 || fw_parse_l4(skb, &pkt))
		return FW_PASS;
	done = fw_node_frontend(skb, &pkt, FW_SENDER_SELF);
	return done ? done : fw_host_to_backend(skb, &pkt);
}

SEC("cgroup/connect4")
int sock_connect4(struct bpf_sock_addr *ctx)
{
	struct fw_addr addr;
	__be16 port = (__be16)ctx->user_port;
	bool changed = false;
	int go;

	if (ctx->protocol != IPPROTO_TCP)
		return FW_SOCK_GO;
	fw_addr_set_v4(&addr, ctx->user_ip4);
	go = fw_sock_connect(bpf_get_socket_cookie(ctx), &addr, &port, &changed);
	if (changed && fw_addr_is_v4(&addr)) {
		ctx->user_ip4 = addr.words[3];
		ctx->user_port = port;
	}
	return go;
}

SEC("cgroup/connect6")
int sock_connect6(struct bpf_sock_addr *ctx)
{
	struct fw_addr addr;
	__be16 port = (__be16)ctx->user_port;
	bool changed = false;
	int go;

	if (ctx->protocol != IPPROTO_TCP)
		return FW_SOCK_GO;
	fw_sock_read6(ctx, &addr);
	go = fw_sock_connect(bpf_get_socket_cookie(ctx), &addr, &port, &changed);
	if (changed) {
		fw_sock_write6(ctx, &addr);
		ctx->user_port = port;
	}
	return go;
}

SEC("cgroup/getpeername4")
int sock_peername4(struct bpf_sock_addr *ctx)
{
	struct fw_addr addr;
	__be16 port = (__be16)ctx->user_port;

	fw_addr_set_v4(&addr, ctx->user_ip4);
	if (ctx->protocol == IPPROTO_TCP && fw_sock_peername(bpf_get_socket_cookie(ctx), &addr, &port)) {
		ctx->user_ip4 = addr.words[3];
		ctx->user_port = port;
	}
	return FW_SOCK_GO;
}

SEC("cgroup/getpeername6")
int sock_peername6(struct bpf_sock_addr *ctx)
{
	struct fw_addr addr;
	__be16 port = (__be16)ctx->user_port;

	fw_sock_read6(ctx, &addr);
	if (ctx->protocol == IPPROTO_TCP && fw_sock_peername(bpf_get_socket_cookie(ctx), &addr, &port)) {
		fw_sock_write6(ctx, &addr);
		ctx->user_port = port;
	}
	return FW_SOCK_GO;
}

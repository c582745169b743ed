/* SPDX-License-Identifier: GPL-2.0 */
/* A packet to a frontend, and one that was translated: its flow, whether it fits its way, the client's mark, where it
 * goes.
 *
 *   fw_translate: fw_service_flow -> too large, out of hops: answered -> fw_rewrite -> fw_mark_client -> fw_to_endpoint
 */
#ifndef FAIRWAY_LIB_TRANSLATE_H
#define FAIRWAY_LIB_TRANSLATE_H

#include "lib/answer.h"
#include "lib/deliver.h"
#include "lib/policy.h"
#include "lib/service.h"

/* A packet that a pod sent and that was translated, now to a pod's or a node's address, or beyond the cluster. */
FW_GLOBAL int fw_to_endpoint(struct __sk_buff *skb, struct fw_pkt *pkt, __u32 if_flags)
{
	struct fw_endpoint *ep;
	int why;

	if (!pkt)
		return fw_drop(skb, FW_DROP_MALFORMED);
	ep = fw_find_endpoint(&pkt->daddr);
	why = fw_judge_from_pod(skb, pkt, if_flags, ep);
	if (why)
		return fw_drop(skb, why);
	if (!ep)
		return fw_to_world(skb, pkt);
	if (ep->flags & FW_EP_NODE)
		return FW_PASS;
	if (ep->flags & FW_EP_LOCAL)
		return fw_to_pod(skb, ep, true);
	return fw_to_node(skb, pkt, ep->node, 1);
}

/* A packet to this node's own address, where the node has translated flows: is it a reply to one? */
static __always_inline int fw_to_own_node(struct __sk_buff *skb, struct fw_pkt *pkt)
{
	const struct fw_config *cfg = fw_get_config();
	__u32 flags = 0;
	int done;

	if (!cfg || cfg->host_service_ifindex == 0)
		return FW_PASS;
	done = fw_service_reply(skb, pkt, &flags);
	if (done < 0)
		return fw_drop(skb, -done);
	return done && (flags & FW_FLOW_HOST) ? fw_to_host_process(skb, cfg) : FW_PASS;
}

/* The MTU towards an address; 0: this node, no limit. */
static __always_inline __u32 fw_mtu_towards(const struct fw_config *cfg, const struct fw_addr *addr)
{
	struct fw_endpoint *ep = fw_find_endpoint(addr);

	if (!ep)
		return cfg->uplink_mtu;
	if (ep->flags & FW_EP_LOCAL)
		return 0;
	return ep->flags & FW_EP_NODE ? cfg->uplink_mtu : fw_node_mtu(ep->node);
}

/* What lo carried fits no pod's veth. */
static __always_inline __u32 fw_pod_mtu(struct __sk_buff *skb, const struct fw_addr *addr)
{
	struct fw_endpoint *ep = fw_find_endpoint(addr);

	return ep && (ep->flags & FW_EP_LOCAL) ? fw_device_mtu(skb, ep->ifindex) : 0;
}

/* A packet to a frontend, translated but for its way: 0, or the verdict that ends it (never 0 as a verdict).
 * What does not fit or has no hop left is answered here, before it is translated: the sender knows the VIP alone. */
FW_GLOBAL int fw_translate(struct __sk_buff *skb, struct fw_pkt *pkt, const struct fw_frontend *fe, __u32 sender)
{
	const struct fw_config *cfg = fw_get_config();
	struct fw_scratch *scratch_row = fw_get_scratch();
	struct fw_flow *flow;
	__u32 mtu;
	int why;

	if (!pkt || !fe || !cfg || !scratch_row)
		return fw_drop(skb, FW_DROP_NO_CONFIG);
	flow = &scratch_row->flow;
	if (pkt->icmp_error || (pkt->protocol != IPPROTO_TCP && pkt->protocol != IPPROTO_UDP))
		return FW_PASS;
	why = fw_service_flow(pkt, fe, flow, sender == FW_SENDER_HOST || sender == FW_SENDER_SELF);
	if (why == FW_NO_FLOW)
		return FW_PASS;
	if (why == FW_DROP_NO_BACKEND && sender != FW_SENDER_WORLD)
		return fw_refuse(skb, pkt, why, sender);
	if (why)
		return fw_drop(skb, why);
	if (sender == FW_SENDER_POD && pkt->hops <= 1)
		return fw_answer_icmp(skb, pkt, FW_ANSWER_EXPIRED, 0, sender);
	mtu = sender == FW_SENDER_SELF ? fw_pod_mtu(skb, &flow->daddr) : fw_mtu_towards(cfg, &flow->daddr);
	if (mtu && fw_wire_size(skb, pkt) > mtu &&
	    (pkt->v6 || sender == FW_SENDER_SELF || (pkt->frag_off_be & bpf_htons(FW_IP_DF))))
		return fw_answer_icmp(skb, pkt, FW_ANSWER_TOO_BIG, mtu, sender);
	why = fw_rewrite(skb, pkt, flow);
	return why ? fw_drop(skb, why) : 0;
}

/* Marks the client, so that replies to it are looked up, and its direct flows are checked for clashes. */
static __always_inline void fw_mark_client(const struct fw_addr *client, __u32 ifindex, bool hairpin)
{
	struct fw_endpoint *ep = bpf_map_lookup_elem(&endpoints, client);
	struct fw_local_if *pod = bpf_map_lookup_elem(&local_ifs, &ifindex);
	__u32 want = FW_IF_NAT | (hairpin ? FW_IF_HAIRPIN : 0), *now = fw_get_epoch();
	bool changed;

	changed = (ep && !(ep->flags & FW_EP_NAT)) || (pod && (pod->flags & want) != want);
	if (ep && !(ep->flags & FW_EP_NAT))
		__sync_fetch_and_or(&ep->flags, FW_EP_NAT);
	if (pod && (pod->flags & want) != want)
		__sync_fetch_and_or(&pod->flags, want);
	if (now && changed)
		__sync_fetch_and_add(now, 1);
}

#endif

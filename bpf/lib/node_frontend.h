/* SPDX-License-Identifier: GPL-2.0 */
/* Ports of this node that lead to its pods (hostPort). Both directions are translated here, on the pod's node, so that
 * the pod sees the true client.
 *
 *   client:ap --> node:hp  ==[uplink_in | pod_in | loopback_out: fw_node_frontend]==>  client:ap --> pod:cp
 *   client:ap <-- node:hp  <==[pod_in of the pod: fw_host_port_reply]==                client:ap <-- pod:cp
 * Packets to the node are looked up only under FW_CFG_NODE_FRONTENDS, a pod's only where it has FW_IF_HOST_PORT. */
#ifndef FAIRWAY_LIB_NODE_FRONTEND_H
#define FAIRWAY_LIB_NODE_FRONTEND_H

#include "lib/translate.h"

/* A packet to this node's own address, where some frontend has one. `pkt` has its ports. 0: it goes on to the pod that
 * pkt->daddr is now; else the verdict that ends it. */
FW_GLOBAL int fw_node_frontend(struct __sk_buff *skb, struct fw_pkt *pkt, __u32 sender)
{
	const struct fw_frontend *fe;
	__u32 flags = 0;
	int done;

	if (!pkt)
		return FW_PASS;
	if (pkt->icmp_error) {
		/* about what the pod answered: it quotes node:port -> client, which reversed is what the client sent */
		done = fw_icmp_error_translate(skb, pkt, FW_FLOW_FORWARD, &flags);
		if (done < 0)
			return fw_drop(skb, -done);
		return done ? 0 : FW_PASS;
	}
	fe = fw_find_frontend(&pkt->daddr, pkt->dport_be, pkt->protocol);
	return fe ? fw_translate(skb, pkt, fe, sender) : FW_PASS;
}

/* pod -> this node: a reply to a process of the node, or to a port of the node that leads to a pod; else FW_NO_FLOW. */
FW_GLOBAL int fw_pod_to_own_node(struct __sk_buff *skb, struct fw_pkt *pkt, __u32 ep_flags, __u32 if_flags)
{
	struct fw_scratch *scratch_row = fw_get_scratch();
	const struct fw_config *cfg = fw_get_config();
	int done;

	if (!pkt || !cfg || !scratch_row)
		return FW_NO_FLOW;
	if (ep_flags & FW_EP_NAT) {
		done = fw_to_own_node(skb, pkt);
		if (done != FW_PASS)
			return done;
	}
	if (!(cfg->flags & FW_CFG_NODE_FRONTENDS) || fw_parse_l4(skb, pkt))
		return FW_NO_FLOW;
	scratch_row->client = pkt->saddr;
	done = fw_node_frontend(skb, pkt, FW_SENDER_POD);
	if (done == FW_PASS)
		return FW_NO_FLOW;
	if (done)
		return done;
	fw_mark_client(&scratch_row->client, skb->ifindex, fw_addr_eq(&scratch_row->client, &pkt->daddr));
	return fw_to_endpoint(skb, pkt, if_flags);
}

/* From a pod to which a port of the node leads: is it a reply to a client of that port? It then leaves with the node's
 * address, the way that the client's packets came. Else FW_NO_FLOW, nothing changed; so too where the kernel is to
 * answer. */
FW_GLOBAL int fw_host_port_reply(struct __sk_buff *skb, struct fw_pkt *pkt, __u32 if_flags)
{
	struct fw_scratch *scratch_row = fw_get_scratch();
	const struct fw_config *cfg = fw_get_config();
	struct fw_endpoint *ep;
	struct fw_flow_key key;
	__u32 mtu, flags = 0;
	int done;

	if (!pkt || !cfg || !scratch_row || pkt->hops <= 1)
		return FW_NO_FLOW;
	mtu = fw_mtu_towards(cfg, &pkt->daddr);
	if (mtu && fw_wire_size(skb, pkt) > mtu && !fw_parse_l4(skb, pkt)) {
		/* before it is translated: the pod knows its own address alone */
		fw_flow_key_of(pkt, FW_FLOW_REPLY, &key);
		return fw_flow_find(&key, fw_now_s()) ? fw_answer_icmp(skb, pkt, FW_ANSWER_TOO_BIG, mtu, FW_SENDER_POD)
						      : FW_NO_FLOW;
	}
	ep = fw_find_endpoint(&pkt->daddr);
	done = fw_judge_before_reply(skb, pkt, if_flags, ep);
	if (done > 0)
		return fw_drop(skb, done);
	done = fw_service_reply(skb, pkt, &flags);
	if (done < 0)
		return fw_drop(skb, -done);
	if (!done)
		return FW_NO_FLOW;
	done = fw_judge_reply(skb, pkt, if_flags, ep);
	if (done)
		return fw_drop(skb, done);
	ep = fw_find_endpoint(&pkt->daddr); /* the pod itself, where it was its own client */
	if (ep && (ep->flags & FW_EP_LOCAL))
		return fw_to_pod(skb, ep, true);
	if (ep && !(ep->flags & FW_EP_NODE))
		return fw_to_node(skb, pkt, ep->node, 1);
	if (flags & FW_FLOW_HOST)
		return fw_to_host_process(skb, cfg);
	if (!fw_hop(skb, NULL, true))
		return fw_drop(skb, FW_DROP_MALFORMED);
	return bpf_redirect_neigh(cfg->uplink_ifindex, NULL, 0, 0);
}

#endif

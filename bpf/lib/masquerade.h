/* SPDX-License-Identifier: GPL-2.0 */
/* Masquerade: what leaves the cluster leaves with the node's address.
 *
 *   pod A:ap -> R:rp  --[uplink_out]-->  N:np -> R:rp      np: one port may serve as many flows as there are R:rp
 *   pod A:ap <- R:rp  <--[uplink_in]--   N:np <- R:rp
 * It sits at the uplink's egress, so that nothing passes it: neither what was redirected nor what the kernel's stack
 * forwarded or cut into fragments. */
#ifndef FAIRWAY_LIB_MASQUERADE_H
#define FAIRWAY_LIB_MASQUERADE_H

#include "lib/flow.h"
#include "lib/icmp_error.h"
#include "lib/rewrite.h"

#define FW_MASQ_TRIES 32

static __always_inline bool fw_in_cluster_range(const struct fw_config *cfg, const struct fw_addr *addr)
{
	return fw_addr_is_v4(addr) ? fw_in_range(addr, &cfg->cluster_v4, cfg->cluster_v4_len)
				   : fw_in_range(addr, &cfg->cluster_v6, cfg->cluster_v6_len);
}

/* Not a destination beyond the cluster: multicast, broadcast and link-local stay as they are. */
static __always_inline bool fw_is_link_scope(const struct fw_addr *addr)
{
	if (fw_addr_is_v4(addr)) {
		__u32 v4 = bpf_ntohl(addr->words[3]);

		return v4 >> 28 == 0xe || v4 == 0xffffffff || v4 >> 16 == 0xa9fe;
	}
	return addr->bytes[0] == 0xff || (addr->bytes[0] == 0xfe && (addr->bytes[1] & 0xc0) == 0x80);
}

/* A search of bounded length, from a place that the flow itself gives: after a lost row a flow finds its port again. */
FW_LOCAL int fw_masquerade_new(const struct fw_flow_key *key, struct fw_flow *flow)
{
	const struct fw_config *cfg = fw_get_config();
	__u32 i, n, start;
	__u16 own;
	int why;

	if (!key || !flow || !cfg)
		return FW_DROP_NO_CONFIG;
	if (cfg->masq_port_max < cfg->masq_port_min || cfg->masq_port_min == 0)
		return FW_DROP_MASQ_EXHAUSTED;
	n = (__u32)cfg->masq_port_max - cfg->masq_port_min + 1;
	own = bpf_ntohs(key->sport_be);
	start = own >= cfg->masq_port_min && own <= cfg->masq_port_max ? (__u32)own - cfg->masq_port_min
								       : fw_flow_hash(key);
	for (i = 0; i < FW_MASQ_TRIES; i++) {
		flow->sport_be = bpf_htons((__u16)(cfg->masq_port_min + (start + i) % n));
		why = fw_flow_create(key, flow);
		if (why >= 0)
			return why;
		if (i + 1 >= n)
			break;
	}
	return FW_DROP_MASQ_EXHAUSTED;
}

static __always_inline bool fw_masquerades(const struct fw_pkt *pkt)
{
	if (pkt->protocol == IPPROTO_ICMP || pkt->protocol == IPPROTO_ICMPV6)
		return pkt->sport_be != 0 || pkt->fragment == FW_FRAG_LATER;
	return pkt->protocol == IPPROTO_TCP || pkt->protocol == IPPROTO_UDP;
}

/* An ICMP error from a pod about a packet that came in through a masquerade: it goes out along the flow. */
static __always_inline int fw_masquerade_error(struct __sk_buff *skb, struct fw_pkt *pkt)
{
	__u32 flags = 0;
	int done = fw_icmp_error_translate(skb, pkt, FW_FLOW_MASQ_FORWARD, &flags);

	if (done < 0)
		return -done;
	return done ? 0 : FW_DROP_MASQ_PROTOCOL;
}

/* A packet of a pod to beyond the cluster gets the node's address and a port of ours. 0, or a drop reason. */
FW_GLOBAL int fw_masquerade(struct __sk_buff *skb, struct fw_pkt *pkt)
{
	const struct fw_config *cfg = fw_get_config();
	struct fw_scratch *scratch_row = fw_get_scratch();
	struct fw_flow_key key;
	struct fw_flow *row, *flow;
	const struct fw_addr *node;
	__u32 now_s = fw_now_s();
	int why;

	if (!pkt || !cfg || !scratch_row)
		return FW_DROP_NO_CONFIG;
	flow = &scratch_row->flow;
	node = pkt->v6 ? &cfg->node_v6 : &cfg->node_v4;
	why = fw_parse_l4(skb, pkt);
	if (why)
		return why;
	if (pkt->icmp_error)
		return fw_masquerade_error(skb, pkt);
	if (!fw_masquerades(pkt))
		return FW_DROP_MASQ_PROTOCOL;
	if (fw_addr_is_zero(node))
		return FW_DROP_NO_LINK;
	fw_flow_key_of(pkt, FW_FLOW_MASQ_FORWARD, &key);
	row = fw_flow_find(&key, now_s);
	if (row) {
		*flow = *row;
		fw_flow_seen(&key, row, pkt, now_s);
		return fw_rewrite(skb, pkt, flow);
	}
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->saddr = *node;
	flow->daddr = pkt->daddr;
	flow->dport_be = pkt->dport_be;
	flow->flags = FW_FLOW_MASQUERADE;
	why = fw_masquerade_new(&key, flow);
	if (why)
		return why;
	fw_count(FW_EVENT_MASQUERADED, skb->len);
	return fw_rewrite(skb, pkt, flow);
}

/* A packet to the node's own address that may answer a masqueraded flow. `pkt` has its ports.
 * 1: it does, and goes to the pod now in pkt->daddr; 0: it does not; negative: minus the drop reason. */
FW_GLOBAL int fw_unmasquerade(struct __sk_buff *skb, struct fw_pkt *pkt)
{
	struct fw_flow_key key;
	struct fw_scratch *scratch_row = fw_get_scratch();
	struct fw_flow *row;
	__u32 now_s = fw_now_s(), flags = 0;
	int why;

	if (!pkt || !scratch_row)
		return -FW_DROP_MALFORMED;
	if (pkt->icmp_error)
		return fw_icmp_error_translate(skb, pkt, FW_FLOW_MASQ_REPLY, &flags);
	fw_flow_key_of(pkt, FW_FLOW_MASQ_REPLY, &key);
	row = fw_flow_find(&key, now_s);
	if (!row)
		return 0;
	scratch_row->flow = *row;
	fw_flow_seen(&key, row, pkt, now_s);
	why = fw_rewrite(skb, pkt, &scratch_row->flow);
	return why ? -why : 1;
}

#endif

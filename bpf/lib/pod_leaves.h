/* SPDX-License-Identifier: GPL-2.0 */
/* A pod's packet to a known endpoint: translated back where it is a reply, kept apart from translated flows where it is
 * none, and judged by the tuple that client and backend share. */
#ifndef FAIRWAY_LIB_POD_LEAVES_H
#define FAIRWAY_LIB_POD_LEAVES_H

#include "lib/policy.h"
#include "lib/service.h"

#define FW_UNTRANSLATED (-1)

/* Where one of the two ends has translated flows, ports matter. 0, FW_UNTRANSLATED where it was a reply to a translated
 * flow, or a drop reason. */
FW_GLOBAL int fw_pod_nat(struct __sk_buff *skb, struct fw_pkt *pkt, __u32 if_flags, __u32 ep_flags)
{
	__u32 flags = 0;
	int done = 0;

	if (!pkt)
		return FW_DROP_MALFORMED;
	if (ep_flags & FW_EP_NAT) {
		done = fw_service_reply(skb, pkt, &flags);
		if (done < 0)
			return -done;
	}
	if (done)
		return FW_UNTRANSLATED;
	if (!(if_flags & FW_IF_NAT))
		return 0;
	done = fw_parse_l4(skb, pkt);
	if (done)
		return done == FW_DROP_FRAGMENT ? 0 : done;
	return pkt->protocol == IPPROTO_TCP || pkt->protocol == IPPROTO_UDP ? fw_direct_clash(skb, pkt) : 0;
}

/* 0, or a drop reason. */
static __always_inline int fw_pod_leaves(struct __sk_buff *skb, struct fw_pkt *pkt, __u32 if_flags,
					 const struct fw_endpoint *ep)
{
	/* replies to a node's processes are not looked for here */
	__u32 ep_flags = ep->flags & FW_EP_NODE ? 0 : ep->flags;
	int why;

	if (!(if_flags & FW_IF_NAT) && !(ep_flags & FW_EP_NAT))
		return fw_judge_from_pod(skb, pkt, if_flags, ep);
	why = fw_judge_before_reply(skb, pkt, if_flags, ep);
	if (why)
		return why;
	why = fw_pod_nat(skb, pkt, if_flags, ep_flags);
	if (why > 0)
		return why;
	if (why == FW_UNTRANSLATED)
		return fw_judge_reply(skb, pkt, if_flags, ep);
	return pkt->icmp_error ? 0 : fw_judge_from_pod(skb, pkt, if_flags, ep);
}

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/* Services: frontend -> slot -> backend, and the flows translated per packet.
 *
 *   client A:ap -> VIP:p   ==[fw_service_flow]==>   A:ap -> B:bp         (hairpin: VIP:ap -> A:bp)
 *   client A:ap <- VIP:p   <==[fw_service_reply]==  A:ap <- B:bp
 * Both directions are translated on the client's node. Every packet checks that its backend still lives. */
#ifndef FAIRWAY_LIB_SERVICE_H
#define FAIRWAY_LIB_SERVICE_H

#include "lib/flow.h"
#include "lib/icmp_error.h"
#include "lib/rewrite.h"

#define FW_SLOT_TRIES 8
#define FW_PORT_TRIES 16
#define FW_NO_FLOW 0x100 /* no drop reason and no verdict */

static __always_inline const struct fw_frontend *fw_find_frontend(const struct fw_addr *addr, __be16 port,
								  __u8 protocol)
{
	struct fw_frontend_key key = {.addr = *addr, .port_be = port, .protocol = protocol};

	return bpf_map_lookup_elem(&frontends, &key);
}

static __always_inline bool fw_in_service_range(const struct fw_config *cfg, const struct fw_addr *addr)
{
	return fw_addr_is_v4(addr) ? fw_in_range(addr, &cfg->service_v4, cfg->service_v4_len)
				   : fw_in_range(addr, &cfg->service_v6, cfg->service_v6_len);
}

/* A live backend of the frontend, copied to `out`: its id, or 0. */
FW_GLOBAL __u32 fw_pick_backend(const struct fw_frontend *fe, struct fw_backend *out)
{
	__u32 count, base, start, i;

	if (!fe || !out)
		return 0;
	count = fe->count;
	base = fe->slot_base;
	if (count == 0)
		return 0;
	start = bpf_get_prandom_u32() % count;
	for (i = 0; i < FW_SLOT_TRIES; i++) {
		__u32 slot = base + (start + i) % count, *id;
		struct fw_backend *be;

		id = bpf_map_lookup_elem(&svc_slots, &slot);
		if (!id || *id == 0)
			continue;
		be = bpf_map_lookup_elem(&backends, id);
		if (!be)
			continue;
		*out = *be;
		return *id;
	}
	return 0;
}

static __always_inline bool fw_backend_lives(const struct fw_flow *row)
{
	__u32 id = row->backend;
	const struct fw_backend *be = bpf_map_lookup_elem(&backends, &id);

	return be && be->generation == row->backend_generation;
}

/* Writes the flow with the client's own source port, or, where a live flow owns that tuple, with another.
 * 0, or a drop reason. */
FW_LOCAL int fw_flow_create_any_port(const struct fw_flow_key *key, struct fw_flow *flow, __u32 keep_port)
{
	const struct fw_config *cfg = fw_get_config();
	__u32 i, n, start;
	int why;

	if (!key || !flow || !cfg)
		return FW_DROP_NO_CONFIG;
	if (keep_port) {
		why = fw_flow_create(key, flow);
		if (why >= 0)
			return why;
	}
	fw_count(FW_EVENT_PORT_CLASH, 0);
	n = (__u32)cfg->masq_port_max - cfg->masq_port_min + 1;
	if (cfg->masq_port_max < cfg->masq_port_min)
		return FW_DROP_NAT_CLASH;
	start = fw_flow_hash(key);
	for (i = 0; i < FW_PORT_TRIES; i++) {
		flow->sport_be = bpf_htons((__u16)(cfg->masq_port_min + (start + i) % n));
		why = fw_flow_create(key, flow);
		if (why >= 0)
			return why;
	}
	return FW_DROP_NAT_CLASH;
}

/* Does the node itself own this address? */
static __always_inline bool fw_is_own_node(const struct fw_addr *addr)
{
	struct fw_endpoint *ep = bpf_map_lookup_elem(&endpoints, addr);

	return ep && (ep->flags & FW_EP_NODE) && ep->node == 0;
}

/* The flow that a packet to a frontend belongs to, made if there is none: `flow` gets the tuple it is to leave with.
 * `from_host`: the client is a process of the node. 0, a drop reason, or FW_NO_FLOW: no flow, and the packet may begin
 * none. */
FW_GLOBAL int fw_service_flow(const struct fw_pkt *pkt, const struct fw_frontend *fe, struct fw_flow *flow,
			      __u32 from_host)
{
	struct fw_scratch *scratch_row = fw_get_scratch();
	struct fw_flow_key key, other;
	struct fw_backend *be;
	struct fw_flow *row;
	__u32 now_s = fw_now_s();
	bool syn;

	if (!pkt || !fe || !flow || !scratch_row)
		return FW_DROP_MALFORMED;
	be = &scratch_row->backend;
	syn = pkt->protocol == IPPROTO_TCP && (pkt->tcp_flags & (FW_TCP_SYN | FW_TCP_ACK)) == FW_TCP_SYN;
	fw_flow_key_of(pkt, FW_FLOW_FORWARD, &key);
	row = fw_flow_find(&key, now_s);
	if (row) {
		*flow = *row;
		if (syn && (row->flags & FW_FLOW_REPLIED)) {
			fw_count(FW_EVENT_STALE_ROW, 0); /* the client uses its port anew */
		} else if (!fw_backend_lives(flow)) {
			fw_count(FW_EVENT_BACKEND_GONE, 0);
		} else {
			fw_flow_seen(&key, row, pkt, now_s);
			return 0;
		}
		fw_flow_other_key(&key, flow, &other);
		fw_flow_delete(&other);
		fw_flow_delete(&key);
	}
	/* a reply to the node's own connection, whose port happens to be a hostPort */
	if ((fe->flags & FW_FE_HOST_PORT) && pkt->protocol == IPPROTO_TCP && !syn)
		return FW_NO_FLOW;
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->backend = fw_pick_backend(fe, be);
	if (!flow->backend)
		return FW_DROP_NO_BACKEND;
	flow->backend_generation = be->generation;
	flow->service = fe->service;
	flow->flags = FW_FLOW_SERVICE | (from_host ? FW_FLOW_HOST : 0);
	flow->saddr = pkt->saddr;
	flow->daddr = be->addr;
	flow->sport_be = pkt->sport_be;
	flow->dport_be = be->port_be;
	/* hairpin, and the node speaking to itself: a packet from the receiver's own address would be a martian to it
	 */
	if (fw_addr_eq(&be->addr, &pkt->saddr) || (from_host && fw_is_own_node(&be->addr)))
		flow->saddr = pkt->daddr;
	return fw_flow_create_any_port(&key, flow, 1);
}

/* A packet that may be a reply to a translated flow: gives it back the addresses the client knows.
 * 1: translated, `flags_out` holds the row's; 0: it is none; negative: minus the drop reason. */
FW_GLOBAL int fw_service_reply(struct __sk_buff *skb, struct fw_pkt *pkt, __u32 *flags_out)
{
	struct fw_scratch *scratch_row = fw_get_scratch();
	struct fw_flow_key key;
	struct fw_flow *row;
	__u32 now_s = fw_now_s();
	int why;

	if (!pkt || !flags_out || !scratch_row)
		return -FW_DROP_MALFORMED;
	why = fw_parse_l4(skb, pkt);
	if (why == FW_DROP_FRAGMENT)
		return 0; /* of a direct flow: let it pass as it is */
	if (why)
		return -why;
	if (pkt->icmp_error)
		return fw_icmp_error_translate(skb, pkt, FW_FLOW_REPLY, flags_out);
	fw_flow_key_of(pkt, FW_FLOW_REPLY, &key);
	row = fw_flow_find(&key, now_s);
	if (!row)
		return 0;
	scratch_row->flow = *row;
	fw_flow_seen(&key, row, pkt, now_s);
	*flags_out = scratch_row->flow.flags;
	why = fw_rewrite(skb, pkt, &scratch_row->flow);
	return why ? -why : 1;
}

/* A packet of a pod to an address that is no Service, from a pod that has translated flows too: where both would have
 * one tuple on the wire, the direct flow gets another source port. `pkt` has its ports. 0, or a drop reason. */
FW_GLOBAL int fw_direct_clash(struct __sk_buff *skb, struct fw_pkt *pkt)
{
	struct fw_scratch *scratch_row = fw_get_scratch();
	struct fw_flow_key key, other;
	struct fw_flow *row, *flow;
	__u32 now_s = fw_now_s();
	bool syn;
	int why;

	if (!pkt || !scratch_row)
		return FW_DROP_MALFORMED;
	flow = &scratch_row->flow;
	syn = (pkt->tcp_flags & (FW_TCP_SYN | FW_TCP_ACK)) == FW_TCP_SYN;
	fw_flow_key_of(pkt, FW_FLOW_FORWARD, &key);
	row = fw_flow_find(&key, now_s);
	if (row) {
		*flow = *row;
		/* a translated flow's row is a leftover: its frontend is gone */
		if ((row->flags & FW_FLOW_DIRECT) && (!syn || !(row->flags & FW_FLOW_REPLIED))) {
			fw_flow_seen(&key, row, pkt, now_s);
			return fw_rewrite(skb, pkt, flow);
		}
		fw_flow_other_key(&key, flow, &other);
		fw_flow_delete(&other);
		fw_flow_delete(&key);
	}
	other.saddr = pkt->daddr;
	other.daddr = pkt->saddr;
	other.sport_be = pkt->dport_be;
	other.dport_be = pkt->sport_be;
	other.protocol = pkt->protocol;
	other.dir = FW_FLOW_REPLY;
	other.pad = 0;
	row = fw_flow_find(&other, now_s);
	if (!row)
		return 0;
	if (pkt->protocol == IPPROTO_TCP) {
		if (!syn)
			return 0;
		if (row->flags & (FW_FLOW_FIN | FW_FLOW_RST)) {
			fw_count(FW_EVENT_STALE_ROW, 0);
			fw_flow_delete(&other);
			return 0;
		}
	}
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->saddr = pkt->saddr;
	flow->daddr = pkt->daddr;
	flow->dport_be = pkt->dport_be;
	flow->flags = FW_FLOW_DIRECT;
	why = fw_flow_create_any_port(&key, flow, 0);
	return why ? why : fw_rewrite(skb, pkt, flow);
}

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/* Flows: the two tables, their expiry and promotion (design section 4, conntrack).
 *
 *   new flow --> flows_new (LRU: nothing half-open can fill more than it) --> both sides have spoken --> flows (plain
 * hash: nothing half-open can displace it; full: the flow stays in the LRU, counted). Rows expire when they are looked
 * up, as the agent that sweeps them may be dead. */
#ifndef FAIRWAY_LIB_FLOW_H
#define FAIRWAY_LIB_FLOW_H

#include "lib/packet.h"
#include "abi/timeouts.h"

/* What is known of a connection while policy judges it (lib/policy.h). */
struct fw_judging {
	struct fw_track_key key;
	struct fw_track row;	 /* as read, then as it is to be */
	struct fw_addr beginner; /* of the connection; `other` has the port that is asked about */
	struct fw_addr other;
	struct fw_hit_key hit_key;
	struct fw_denied_key denied_key;
	struct fw_cidr_key cidr_key;
	struct fw_verdict_key verdict_key;
	__u32 generation;
	__u32 src_if; /* of the packet: isolated pods' interfaces, 0 for an end that is none of this node's */
	__u32 dst_if;
	__u32 rule; /* of the last verdict */
	__be16 other_port_be;
	__u8 tcp_flags;
	__u8 low_sends;
	__u8 replaces; /* an older row has the key */
	__u8 pad[3];
};

/* What the 512 bytes of stack do not hold. A program runs to its end on its CPU with softirqs off, so that no other
 * uses the row meanwhile; each function says which part it uses, and no two that call each other share one. */
struct fw_scratch {
	struct fw_flow flow;	      /* service_reply, direct_clash, translate, masquerade, unmasquerade, icmp_error */
	struct fw_flow other_row;     /* flow_create, flow_promote */
	struct fw_pkt quoted;	      /* icmp_error, judge_error */
	struct fw_flow_key error_key; /* icmp_error */
	struct fw_addr client;	      /* pod_to_other, pod_to_own_node */
	struct fw_pkt before;	      /* pod_in: a packet as it was before its translation was undone */
	struct fw_judging judging;    /* judge and what it calls */
	struct fw_backend backend;    /* service_flow */
};
FW_MAP(scratch, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct fw_scratch, 0);

static __always_inline struct fw_scratch *fw_get_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

static __always_inline __u32 fw_flow_hash(const struct fw_flow_key *key)
{
	const __u64 *w = (const __u64 *)key;
	__u64 h = 0x9e3779b97f4a7c15ULL;

	h = (h ^ w[0]) * 0xff51afd7ed558ccdULL;
	h ^= h >> 32;
	h = (h ^ w[1]) * 0xc4ceb9fe1a85ec53ULL;
	h ^= h >> 32;
	h = (h ^ w[2]) * 0xff51afd7ed558ccdULL;
	h ^= h >> 32;
	h = (h ^ w[3]) * 0xc4ceb9fe1a85ec53ULL;
	h ^= h >> 32;
	h = (h ^ w[4]) * 0xff51afd7ed558ccdULL;
	return (__u32)(h ^ (h >> 32));
}

/* Another CPU may have refreshed the row since this one read the clock: its age is signed. */
static __always_inline bool fw_flow_expired(const struct fw_flow_key *key, const struct fw_flow *row, __u32 now_s)
{
	return (__s32)(now_s - row->last_seen_s) > (__s32)fw_flow_timeout_s(key->protocol, row->flags);
}

/* The live row of `key`, or null. A row that was recycled under us has another check. */
static __always_inline struct fw_flow *fw_flow_find(const struct fw_flow_key *key, __u32 now_s)
{
	struct fw_flow *row = bpf_map_lookup_elem(&flows, key);
	__u32 check = fw_flow_hash(key);

	if (row && row->check == check) {
		if (!fw_flow_expired(key, row, now_s))
			return row;
		bpf_map_delete_elem(&flows, key);
	}
	row = bpf_map_lookup_elem(&flows_new, key);
	if (row && row->check == check) {
		if (!fw_flow_expired(key, row, now_s))
			return row;
		bpf_map_delete_elem(&flows_new, key);
	}
	return NULL;
}

static __always_inline void fw_flow_delete(const struct fw_flow_key *key)
{
	bpf_map_delete_elem(&flows, key);
	bpf_map_delete_elem(&flows_new, key);
}

/* The key of the packets that go the other way: their tuple as they arrive is ours reversed as we leave. */
static __always_inline void fw_flow_other_key(const struct fw_flow_key *key, const struct fw_flow *row,
					      struct fw_flow_key *other)
{
	other->saddr = row->daddr;
	other->daddr = row->saddr;
	other->sport_be = row->dport_be;
	other->dport_be = row->sport_be;
	other->protocol = key->protocol;
	other->dir = key->dir ^ 1;
	other->pad = 0;
}

/* Moves both rows of a flow to the established table. */
FW_LOCAL int fw_flow_promote(const struct fw_flow_key *key, const struct fw_flow *row)
{
	struct fw_scratch *scratch_row = fw_get_scratch();
	struct fw_flow_key other;
	struct fw_flow *copy, *old;

	if (!key || !row || !scratch_row)
		return 0;
	copy = &scratch_row->other_row;
	fw_flow_other_key(key, row, &other);
	old = bpf_map_lookup_elem(&flows_new, &other);
	if (!old)
		return 0;
	*copy = *old;
	if (copy->check != fw_flow_hash(&other))
		return 0;
	copy->flags |= FW_FLOW_ESTABLISHED;
	if (bpf_map_update_elem(&flows, &other, copy, BPF_ANY)) {
		fw_count(FW_EVENT_ESTABLISHED_FULL, 0);
		return 0;
	}
	*copy = *row;
	copy->flags |= FW_FLOW_ESTABLISHED;
	if (copy->check != fw_flow_hash(key) || bpf_map_update_elem(&flows, key, copy, BPF_ANY)) {
		bpf_map_delete_elem(&flows, &other);
		fw_count(FW_EVENT_ESTABLISHED_FULL, 0);
		return 0;
	}
	bpf_map_delete_elem(&flows_new, key);
	bpf_map_delete_elem(&flows_new, &other);
	fw_count(FW_EVENT_FLOW_PROMOTED, 0);
	return 1;
}

/* A packet of a known flow went by: refreshes the row, and follows the flow's state. `row` lives in a map. */
static __always_inline void fw_flow_seen(const struct fw_flow_key *key, struct fw_flow *row, const struct fw_pkt *pkt,
					 __u32 now_s)
{
	__u32 flags = row->flags;
	bool reply = key->dir & 1;

	if (row->last_seen_s != now_s)
		row->last_seen_s = now_s;
	if (pkt->tcp_flags & FW_TCP_FIN)
		flags |= FW_FLOW_FIN;
	if (pkt->tcp_flags & FW_TCP_RST)
		flags |= FW_FLOW_RST;
	if (reply)
		flags |= FW_FLOW_REPLIED;
	if (flags != row->flags) {
		struct fw_flow_key other_key;
		struct fw_flow *other;

		row->flags = flags;
		fw_flow_other_key(key, row, &other_key);
		other = fw_flow_find(&other_key, now_s);
		if (other)
			other->flags |= flags & (FW_FLOW_FIN | FW_FLOW_RST | FW_FLOW_REPLIED);
	}
	if (!reply && (flags & FW_FLOW_REPLIED) && !(flags & (FW_FLOW_ESTABLISHED | FW_FLOW_FIN | FW_FLOW_RST)))
		fw_flow_promote(key, row);
}

/* Writes both rows of a new flow. The reply's row decides: whoever writes it first owns the tuple.
 * 0; -1: another live flow owns the tuple; else a drop reason. */
FW_GLOBAL int fw_flow_create(const struct fw_flow_key *of, struct fw_flow *row)
{
	struct fw_scratch *scratch_row = fw_get_scratch();
	struct fw_flow_key own, other, *key = &own;
	struct fw_flow *reply, *rival;
	__u32 now_s = fw_now_s();

	if (!of || !row || !scratch_row)
		return FW_DROP_TABLE_FULL;
	own = *of;
	reply = &scratch_row->other_row;
	fw_flow_other_key(key, row, &other);
	reply->pad = 0;
	reply->saddr = key->daddr;
	reply->daddr = key->saddr;
	reply->sport_be = key->dport_be;
	reply->dport_be = key->sport_be;
	reply->check = fw_flow_hash(&other);
	reply->backend = row->backend;
	reply->backend_generation = row->backend_generation;
	reply->service = row->service;
	reply->flags = row->flags;
	reply->last_seen_s = now_s;

	rival = fw_flow_find(&other, now_s);
	if (rival) {
		bool ours = fw_addr_eq(&rival->daddr, &key->saddr) && fw_addr_eq(&rival->saddr, &key->daddr) &&
			    rival->sport_be == key->dport_be && rival->dport_be == key->sport_be;

		if (!ours && !(rival->flags & (FW_FLOW_FIN | FW_FLOW_RST)))
			return -1;
		fw_flow_delete(&other);
	}
	if (bpf_map_update_elem(&flows_new, &other, reply, BPF_NOEXIST))
		return -1;
	/* a rival may have been promoted between the look and the write */
	if (bpf_map_lookup_elem(&flows, &other)) {
		bpf_map_delete_elem(&flows_new, &other);
		return -1;
	}
	row->check = fw_flow_hash(key);
	row->last_seen_s = now_s;
	bpf_map_delete_elem(&flows, key);
	*reply = *row;
	if (bpf_map_update_elem(&flows_new, key, reply, BPF_ANY)) {
		bpf_map_delete_elem(&flows_new, &other);
		return FW_DROP_TABLE_FULL;
	}
	fw_count(FW_EVENT_FLOW_NEW, 0);
	return 0;
}

static __always_inline void fw_flow_key_of(const struct fw_pkt *pkt, __u8 dir, struct fw_flow_key *key)
{
	key->saddr = pkt->saddr;
	key->daddr = pkt->daddr;
	key->sport_be = pkt->sport_be;
	key->dport_be = pkt->dport_be;
	key->protocol = pkt->protocol;
	key->dir = dir;
	key->pad = 0;
}

#endif

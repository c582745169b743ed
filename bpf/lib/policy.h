/* SPDX-License-Identifier: GPL-2.0 */
/* Policy: may this packet pass? Asked once in a program's run, for both ends that are isolated pods of this node:
 *
 *   pod_in              egress of its pod, and ingress of the pod it goes to, if that is on this node
 *   uplink_in, overlay_in   ingress, before a translation is undone
 *   pod_out             ingress of what the node's stack forwards; what the node itself sends is never judged
 *
 * A packet of a connection that was found allowed in this generation passes by its row (lib/track.h). Else the
 * connection is judged in its true direction: abi/policy.h says how. All lookups use the bank of the one generation
 * read. */
#ifndef FAIRWAY_LIB_POLICY_H
#define FAIRWAY_LIB_POLICY_H

#include "lib/icmp_error.h"
#include "lib/pass.h"
#include "lib/track.h"

/* New rows of `pol_hits` that a CPU writes in a second: what a flood of denied packets costs at most. */
#define FW_HITS_A_SECOND 256

struct fw_hit_budget {
	__u32 second;
	__u32 used;
};
FW_MAP(hit_budget, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct fw_hit_budget, 0);

enum fw_judge_mode {
	FW_JUDGE_PACKET = 0,
	FW_JUDGE_QUOTED =
		1, /* an ICMP error, by the row of the packet it quotes: none, and it has to be judged itself */
	FW_JUDGE_ROWLESS = 2, /* an ICMP error by itself: leaves no row, since nothing replies to it */
};
#define FW_JUDGE_NO_ROW (-1)

/* The class of an address that lies in a map as a peer, in one bank. */
static __always_inline __u32 fw_peer_class_of(struct fw_judging *j, const struct fw_addr *addr, __u32 bank)
{
	const struct fw_peer_class *row = bpf_map_lookup_elem(&pol_peers, addr);

	if (row && row->v[bank & 1] != FW_PEER_ANY)
		return row->v[bank & 1];
	j->cidr_key.prefixlen = FW_CIDR_FAMILY_BITS + 128;
	j->cidr_key.family = fw_addr_is_v4(addr) ? 4 : 6;
	j->cidr_key.addr = *addr;
	row = bpf_map_lookup_elem(&pol_cidrs, &j->cidr_key);
	return row && row->v[bank & 1] != FW_PEER_ANY ? row->v[bank & 1] : FW_PEER_NONE;
}

static __always_inline __u16 fw_port_class_of(__u8 protocol, __be16 port_be, __u32 bank)
{
	__u32 port = bpf_ntohs(port_be), index;
	const struct fw_port_chunk *row;

	if (protocol == IPPROTO_TCP)
		index = FW_PORT_TCP;
	else if (protocol == IPPROTO_UDP)
		index = FW_PORT_UDP;
	else if (protocol == IPPROTO_SCTP)
		index = FW_PORT_SCTP;
	else
		return FW_PORT_NONE;
	index = index * FW_PORT_CHUNKS + port / FW_PORT_CHUNK;
	row = bpf_map_lookup_elem(&pol_ports, &index);
	return row ? row->v[bank & 1][port % FW_PORT_CHUNK] : FW_PORT_NONE;
}

/* One direction of a pod, by the peer and the port in `judging`. 0: allowed; 1: denied. Leaves the rule there. */
FW_GLOBAL int fw_verdict_of(__u32 ifindex, __u32 direction)
{
	struct fw_scratch *scratch_row = fw_get_scratch();
	const struct fw_subject_version *subject;
	const struct fw_verdict_row *row;
	struct fw_verdict_key *key;
	const struct fw_subject *both;
	struct fw_judging *j;
	__u32 bank, peer;
	__u16 port;
	int i;

	if (!scratch_row)
		return 1;
	j = &scratch_row->judging;
	bank = j->generation & 1;
	direction &= 1;
	j->rule = 0;
	both = bpf_map_lookup_elem(&pol_subjects, &ifindex);
	if (!both)
		return 0;
	subject = &both->v[bank];
	if (subject->id == 0 || subject->fallback[direction] == FW_SUBJECT_OPEN)
		return 0;
	peer = fw_peer_class_of(j, direction == FW_POL_EGRESS ? &j->other : &j->beginner, bank);
	port = fw_port_class_of(j->key.protocol, j->other_port_be, bank);
	key = &j->verdict_key;
	key->subject = subject->id;
	key->direction = (__u8)direction;
	key->pad = 0;
	for (i = 0; i < 3; i++) {
		key->peer = i < 2 ? peer : FW_PEER_ANY;
		key->port = i != 1 ? port : FW_PORT_ANY;
		row = bpf_map_lookup_elem(&pol_verdicts, key);
		if (row && row->verdict[bank] != FW_VERDICT_NONE) {
			j->rule = row->rule[bank];
			return row->verdict[bank] != FW_VERDICT_ALLOW;
		}
	}
	j->rule = subject->rule[direction];
	return subject->fallback[direction] != FW_SUBJECT_ALLOW;
}

/* Counts what a rule denies to a pod: exactly, at whatever rate. `fresh` is its first row. */
static __always_inline void fw_count_denied(const struct fw_denied_key *key, const struct fw_hit *fresh)
{
	struct fw_hit *row = bpf_map_lookup_elem(&pol_denied, key);

	if (!row) {
		if (!bpf_map_update_elem(&pol_denied, key, fresh, BPF_NOEXIST))
			return;
		row = bpf_map_lookup_elem(&pol_denied, key); /* another CPU was first, or the table is full */
	}
	if (!row) {
		fw_count(FW_EVENT_RULE_UNCOUNTED, 0);
		return;
	}
	__sync_fetch_and_add(&row->packets, 1);
	row->last_ns = fresh->last_ns;
}

/* Notes who was denied what, and by which rule, on the pod behind `ifindex`. */
FW_LOCAL void fw_note_denied(struct fw_judging *j, __u32 ifindex, __u32 direction)
{
	struct fw_hit_key *key = &j->hit_key;
	struct fw_hit fresh = {.packets = 1};
	struct fw_hit_budget *budget;
	__u32 zero = 0, second;
	struct fw_hit *hit;

	key->saddr = j->beginner;
	key->daddr = j->other;
	key->dport_be = j->other_port_be;
	key->protocol = j->key.protocol;
	key->direction = (__u8)direction;
	key->rule = j->rule;
	fresh.last_ns = bpf_ktime_get_ns();
	j->denied_key.rule = j->rule;
	j->denied_key.ifindex = ifindex;
	j->denied_key.direction = direction;
	fw_count_denied(&j->denied_key, &fresh);
	hit = bpf_map_lookup_elem(&pol_hits, key);
	if (hit) {
		__sync_fetch_and_add(&hit->packets, 1);
		hit->last_ns = fresh.last_ns;
		return;
	}
	budget = bpf_map_lookup_elem(&hit_budget, &zero);
	if (!budget)
		return;
	second = (__u32)(fresh.last_ns / 1000000000ULL);
	if (budget->second != second) {
		budget->second = second;
		budget->used = 0;
	}
	if (++budget->used > FW_HITS_A_SECOND) {
		fw_count(FW_EVENT_HIT_SKIPPED, 0);
		return;
	}
	bpf_map_update_elem(&pol_hits, key, &fresh, BPF_ANY);
}

/* Judges the ends of which the row in `judging` does not say that this generation lets them. 0, or a drop reason. */
static __always_inline int fw_judge_ends(struct fw_judging *j, __u32 egress_if, __u32 ingress_if)
{
	if (egress_if && j->row.egress_generation != j->generation) {
		bool denied = fw_verdict_of(egress_if, FW_POL_EGRESS);

		j->row.egress_generation = denied ? 0 : j->generation;
		j->row.egress_rule = j->rule;
		if (denied)
			return FW_DROP_POLICY_EGRESS;
	}
	if (ingress_if && j->row.ingress_generation != j->generation) {
		bool denied = fw_verdict_of(ingress_if, FW_POL_INGRESS);

		j->row.ingress_generation = denied ? 0 : j->generation;
		j->row.ingress_rule = j->rule;
		if (denied)
			return FW_DROP_POLICY_INGRESS;
	}
	return 0;
}

/* A connection's first packet was allowed: its row. */
static __always_inline void fw_track_create(struct fw_judging *j, __u32 now_s)
{
	j->row.check = fw_track_hash(&j->key);
	j->row.last_seen_s = now_s;
	j->row.flags = (j->low_sends ? FW_TRACK_LOW_BEGAN : 0) | fw_track_says(j->tcp_flags, j->low_sends, true);
	if (j->replaces)
		bpf_map_delete_elem(&track, &j->key);
	bpf_map_update_elem(&track_new, &j->key, &j->row, j->replaces ? BPF_ANY : BPF_NOEXIST);
	fw_count(FW_EVENT_TRACK_NEW, 0);
}

/* A packet of a known connection passes: its row follows. `judged`: the row is written whole. */
static __always_inline void fw_track_follow(struct fw_judging *j, struct fw_track *row, bool began, bool judged,
					    __u32 now_s)
{
	bool syn = (j->tcp_flags & (FW_TCP_SYN | FW_TCP_ACK)) == FW_TCP_SYN;
	__u32 says = fw_track_says(j->tcp_flags, j->low_sends, began), old = j->row.flags;
	/* the same end uses its port anew */
	__u32 reopened = syn ? old & (FW_TRACK_BOTH_FIN | FW_TRACK_RST) : 0;
	bool due = fw_track_is_due(&j->row, began, now_s);

	j->row.flags = (old & ~reopened) | says;
	if (began && fw_track_may_promote(&j->row, syn, now_s)) {
		j->row.last_seen_s = now_s;
		fw_track_promote(&j->key, &j->row);
		if (j->row.flags & FW_TRACK_ESTABLISHED)
			return;
	}
	if (judged) {
		j->row.last_seen_s = now_s;
		fw_track_write(&j->key, &j->row, BPF_EXIST);
		return;
	}
	if (reopened)
		__sync_fetch_and_and(&row->flags, ~reopened);
	if (says & ~old)
		__sync_fetch_and_or(&row->flags, says);
	if (due)
		row->last_seen_s = now_s;
}

static __always_inline void fw_pass_one_way(const struct fw_judging *j, bool up, __u64 now)
{
	const struct fw_track_key *key = &j->key;
	const struct fw_addr *saddr = up ? &key->low : &key->high, *daddr = up ? &key->high : &key->low;
	__be16 sport_be = up ? key->low_port_be : key->high_port_be,
	       dport_be = up ? key->high_port_be : key->low_port_be;
	bool same = up == !!j->low_sends;
	struct fw_pass *pass = fw_pass_row(saddr, daddr, sport_be, dport_be);

	if (!pass)
		return;
	pass->saddr = *saddr;
	pass->daddr = *daddr;
	pass->sport_be = sport_be;
	pass->dport_be = dport_be;
	pass->protocol = key->protocol;
	pass->src_if = same ? j->src_if : j->dst_if;
	pass->dst_if = same ? j->dst_if : j->src_if;
	pass->generation = j->generation;
	pass->given = now;
}

/* A packet of an open connection was found allowed, and so was the connection: the next ones, either way, pass for a
 * moment. */
static __always_inline void fw_pass_give(const struct fw_judging *j)
{
	__u64 now = bpf_jiffies64();

	if (!fw_track_is_open(j->row.flags))
		return;
	fw_pass_one_way(j, true, now);
	fw_pass_one_way(j, false, now);
}

/* The connection in `judging`: 0, a drop reason, or FW_JUDGE_NO_ROW. */
FW_GLOBAL int fw_judge_flow(__u32 mode)
{
	struct fw_scratch *scratch_row = fw_get_scratch();
	__u32 egress_if, ingress_if, before, now_s = fw_now_s();
	struct fw_track *row = NULL;
	bool began = true, low_began;
	struct fw_judging *j;
	int why;

	if (!scratch_row)
		return FW_DROP_MALFORMED;
	j = &scratch_row->judging;
	if (mode != FW_JUDGE_ROWLESS)
		row = fw_track_find(&j->key, &j->row, now_s, false);
	if (!row && mode == FW_JUDGE_QUOTED)
		return FW_JUDGE_NO_ROW;
	j->replaces = 0;
	if (row) {
		began = !!(j->row.flags & FW_TRACK_LOW_BEGAN) == !!j->low_sends;
		/* the other end begins one of its own on the same tuple */
		if (!began && (j->tcp_flags & (FW_TCP_SYN | FW_TCP_ACK)) == FW_TCP_SYN) {
			j->replaces = 1;
			began = true;
			row = NULL;
		}
	}
	if (!row)
		__builtin_memset(&j->row, 0, sizeof(j->row));
	egress_if = began ? j->src_if : j->dst_if;
	ingress_if = began ? j->dst_if : j->src_if;
	if (row && (!egress_if || j->row.egress_generation == j->generation) &&
	    (!ingress_if || j->row.ingress_generation == j->generation)) {
		if (mode == FW_JUDGE_PACKET) {
			fw_track_follow(j, row, began, false, now_s);
			fw_pass_give(j);
		}
		return 0;
	}
	low_began = began ? j->low_sends : !j->low_sends;
	j->beginner = low_began ? j->key.low : j->key.high;
	j->other = low_began ? j->key.high : j->key.low;
	j->other_port_be = low_began ? j->key.high_port_be : j->key.low_port_be;
	before = j->row.egress_generation | j->row.ingress_generation;
	why = fw_judge_ends(j, egress_if, ingress_if);
	if (row)
		fw_count(FW_EVENT_REJUDGED, 0);
	if (why) {
		if (row && before)
			fw_track_write(&j->key, &j->row, BPF_EXIST);
		if (why == FW_DROP_POLICY_EGRESS)
			fw_note_denied(j, egress_if, FW_POL_EGRESS);
		else
			fw_note_denied(j, ingress_if, FW_POL_INGRESS);
		return why;
	}
	if (row && mode == FW_JUDGE_PACKET)
		fw_track_follow(j, row, began, true, now_s);
	else if (row)
		fw_track_write(&j->key, &j->row, BPF_EXIST);
	else if (mode == FW_JUDGE_PACKET)
		fw_track_create(j, now_s);
	return 0;
}

/* An ICMP error passes with the connection whose packet it quotes, whichever end's row has it. */
static __always_inline int fw_judge_error(struct __sk_buff *skb, struct fw_pkt *pkt, struct fw_scratch *scratch_row)
{
	struct fw_judging *j = &scratch_row->judging;
	struct fw_pkt *quoted = &scratch_row->quoted;
	const struct fw_endpoint *from;
	int why;

	j->beginner = pkt->saddr; /* kernel 6.1 takes no key from a function's argument */
	from = bpf_map_lookup_elem(&endpoints, &j->beginner);
	/* only a router or a node has something to say about packets that were not to itself */
	if (!fw_read_quoted(skb, pkt->v6, (__u32)pkt->l4_off + 8, quoted) && fw_addr_eq(&quoted->saddr, &pkt->daddr) &&
	    ((!j->src_if && (!from || (from->flags & FW_EP_NODE))) || fw_addr_eq(&quoted->daddr, &pkt->saddr))) {
		j->low_sends = !fw_track_key_of(quoted, &j->key);
		why = fw_judge_flow(FW_JUDGE_QUOTED);
		if (why != FW_JUDGE_NO_ROW)
			return why;
	}
	j->low_sends = fw_track_key_of(pkt, &j->key);
	return fw_judge_flow(FW_JUDGE_ROWLESS);
}

/* May a packet pass, whose ends are isolated pods of this node behind these interfaces (0: that end is not)? 0, or a
 * drop reason. */
FW_GLOBAL int fw_judge(struct __sk_buff *skb, struct fw_pkt *pkt, __u32 src_if, __u32 dst_if)
{
	struct fw_scratch *scratch_row = fw_get_scratch();
	const struct fw_policy_state *state;
	struct fw_judging *j;
	__u32 zero = 0;
	int why;

	state = bpf_map_lookup_elem(&pol_state, &zero);
	if (!pkt || !state || !scratch_row)
		return FW_DROP_MALFORMED;
	j = &scratch_row->judging;
	j->generation = FW_READ(state->generation);
	if (j->generation == 0)
		return 0;
	if (!pkt->l4_parsed) {
		why = fw_parse_l4(skb, pkt);
		if (why)
			return why;
	}
	j->src_if = src_if;
	j->dst_if = dst_if;
	j->tcp_flags = pkt->tcp_flags;
	if (pkt->icmp_error)
		return fw_judge_error(skb, pkt, scratch_row);
	j->low_sends = fw_track_key_of(pkt, &j->key);
	return fw_judge_flow(FW_JUDGE_PACKET);
}

/* A pod of this node sends: `ep` is where to, null where nobody has the address. Nothing stands between a pod and
 * itself, nor between it and its node. */
static __always_inline int fw_judge_from_pod(struct __sk_buff *skb, struct fw_pkt *pkt, __u32 if_flags,
					     const struct fw_endpoint *ep)
{
	__u32 src = if_flags & FW_IF_TRACK ? skb->ifindex : 0, dst = 0;

	if (ep && (ep->flags & FW_EP_LOCAL)) {
		if (ep->ifindex == skb->ifindex)
			return 0;
		dst = ep->flags & FW_EP_TRACK ? ep->ifindex : 0;
	} else if (ep && (ep->flags & FW_EP_NODE) && ep->node == 0) {
		return 0;
	}
	return src | dst ? fw_judge(skb, pkt, src, dst) : 0;
}

/* A pod's packet that may be a reply to a translated flow is judged by what it is before it is translated back; and
 * only the look for its flow tells whether it is one. So the packet is kept, and an error judged at once, since what it
 * quotes is translated too. 0, or a drop reason. */
static __always_inline int fw_judge_before_reply(struct __sk_buff *skb, struct fw_pkt *pkt, __u32 if_flags,
						 const struct fw_endpoint *ep)
{
	struct fw_scratch *scratch_row = fw_get_scratch();
	int why;

	if (!(if_flags & FW_IF_TRACK) && !(ep && (ep->flags & FW_EP_TRACK)))
		return 0;
	why = fw_parse_l4(skb, pkt);
	if (why || !scratch_row)
		return why ? why : FW_DROP_MALFORMED;
	scratch_row->before = *pkt;
	return pkt->icmp_error ? fw_judge_from_pod(skb, pkt, if_flags, ep) : 0;
}

/* It was a reply, and is translated. */
static __always_inline int fw_judge_reply(struct __sk_buff *skb, struct fw_pkt *pkt, __u32 if_flags,
					  const struct fw_endpoint *ep)
{
	struct fw_scratch *scratch_row = fw_get_scratch();

	if (pkt->icmp_error || !scratch_row)
		return 0;
	return fw_judge_from_pod(skb, &scratch_row->before, if_flags, ep);
}

#endif
